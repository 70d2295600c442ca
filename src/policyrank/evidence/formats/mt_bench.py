"""MT-bench: what FastChat's judges write, single answers and pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from policyrank.evidence.account import listed, plural
from policyrank.evidence.comparisons import Comparisons
from policyrank.evidence.formats.duels import Duels, judge_name, outcome_of
from policyrank.evidence.formats.entries import of_shape
from policyrank.evidence.formats.results import (
    Duel,
    Score,
    Wanted,
    read_as,
    scores_of,
    with_replicates,
)
from policyrank.evidence.scores import Scores
from policyrank.evidence.sources import Source


class _Single(msgspec.Struct):
    question_id: str | int
    model: str
    score: float | None
    turn: int | None = None
    judge: Any = None


def read_single(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """Ratings of answers: question and turn are the task; -1 is no rating."""
    rows: list[Score] = []
    unrated: list[str] = []
    judges: set[str] = set()
    for source in sources:
        for _, one in of_shape(source, _Single, wanted.account):
            task = _task(one.question_id, one.turn)
            if one.score is None or one.score == -1:
                unrated.append(f"{one.model} on {task}")
                continue
            rows.append(Score(one.model, task, one.score))
            judges.add(judge_name(one.judge))
    if unrated:
        wanted.account.note(
            f"{plural(len(unrated), 'answer')} left out: the judge gave no rating"
            f" ({listed(unrated, most=3)})"
        )
    read_as(wanted.account, "MT-bench ratings", sources, "each turn of a question is a task")
    by = f" (by {listed(sorted(judges))})" if len(judges) > 1 else ""
    rows = with_replicates(rows, wanted.account, f"several ratings of an answer{by}")
    return scores_of(rows, wanted.account)


class _Pair(msgspec.Struct):
    question_id: str | int
    model_1: str
    model_2: str
    g1_winner: str | None
    g2_winner: str | None
    turn: int | None = None
    judge: Any = None


def read_pairs(sources: Sequence[Source], wanted: Wanted) -> Comparisons:
    """Two games in opposite order are one result: a win where both agree, else a tie."""
    duels = Duels(wanted.account)
    failed = disagree = 0
    for source in sources:
        for place, one in of_shape(source, _Pair, wanted.account):
            verdicts = one.g1_winner, one.g2_winner
            if "error" in verdicts or None in verdicts:
                failed += 1
                continue
            first, second = outcome_of(verdicts[0]), outcome_of(verdicts[1])
            outcome = first if first == second else 0.5
            if math.isnan(first) or math.isnan(second):
                outcome = math.nan
            elif first != second:
                disagree += 1
            task = _task(one.question_id, one.turn)
            duels.put(place, Duel(one.model_1, one.model_2, outcome, task, judge_name(one.judge)))
    if failed:
        wanted.account.note(f"{plural(failed, 'pair')} left out: the judge failed in a game")
    if disagree:
        wanted.account.note(f"{plural(disagree, 'pair')} whose two games differ count as ties")
    read_as(wanted.account, "MT-bench pairs", sources, "both orders of a pair are one result")
    return duels.comparisons()


def _task(question: str | int, turn: int | None) -> str:
    return str(question) if turn is None else f"{question}:{turn}"
