"""WildBench: judged answers, judged pairs, and the boards made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from policyrank.errors import EvidenceError
from policyrank.evidence.account import listed, plural
from policyrank.evidence.comparisons import Comparisons
from policyrank.evidence.formats.duels import Duels
from policyrank.evidence.formats.entries import of_shape
from policyrank.evidence.formats.results import (
    Duel,
    Score,
    Wanted,
    document,
    number,
    read_as,
    scores_of,
    with_replicates,
)
from policyrank.evidence.scores import Scores
from policyrank.evidence.sources import Source


class _Answer(msgspec.Struct):
    session_id: str | int
    model_test: str
    score: Any = None


def read_scores(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """score.v2: ratings of 1 to 10, written as text; a session is a task."""
    rows: list[Score] = []
    broken: list[str] = []
    for source in sources:
        for place, one in of_shape(source, _Answer, wanted.account):
            score = _rating(one.score)
            if score is None:
                broken.append(place)
                continue
            rows.append(Score(one.model_test, str(one.session_id), score))
    wanted.account.unusable("a score that is no number", broken, "answer")
    read_as(wanted.account, "WildBench scores", sources, "sessions as tasks")
    setups = sorted({"/".join(source.parts[:-1]) for source in sources})
    what = f"several ratings of an answer (in {listed(setups, most=4)})"
    return scores_of(with_replicates(rows, wanted.account, what), wanted.account)


def _rating(value: Any) -> float | None:
    try:
        return float(value) if isinstance(value, str) else number(value)
    except ValueError:
        return None


class _Pair(msgspec.Struct):
    session_id: str | int
    model_A: str
    model_B: str
    winner: str | None


def read_pairs(sources: Sequence[Source], wanted: Wanted) -> Comparisons:
    """pairwise.v2: the winner's name or tie; how clear the win was is not used."""
    duels = Duels(wanted.account)
    for source in sources:
        for place, one in of_shape(source, _Pair, wanted.account):
            sides = {one.model_A: 1.0, one.model_B: 0.0, "tie": 0.5}
            outcome = sides.get(str(one.winner), math.nan)
            duels.put(place, Duel(one.model_A, one.model_B, outcome, str(one.session_id)))
    wanted.account.note("how clear a win was (extent) is not used")
    read_as(wanted.account, "WildBench pairs", sources, "sessions as tasks")
    return duels.comparisons()


_REWARD = {"win_much": 1.0, "win": 0.5, "tie": 0.0, "lose": -0.5, "lose_much": -1.0}


def read_board(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """Boards of scores, or the mean reward of wins and losses; each file is a task."""
    rows: list[Score] = []
    for source in sources:
        for policy, entry in document(source, dict[str, dict[str, Any]]).items():
            rows.append(Score(policy, source.stem, _board_value(entry, policy, source, wanted)))
    wanted.account.note("categories of tasks not used, they overlap")
    read_as(wanted.account, "WildBench boards", sources, plural(len(rows), "entry"))
    return scores_of(rows, wanted.account)


def _board_value(entry: Mapping[str, Any], policy: str, source: Source, wanted: Wanted) -> float:
    if "win_much" in entry and wanted.metric in (None, "reward"):
        counts = {name: number(entry.get(name)) or 0.0 for name in _REWARD}
        total = sum(counts.values())
        if not total:
            return math.nan
        return sum(_REWARD[name] * count for name, count in counts.items()) / total
    value = number(entry.get(wanted.metric or "score"))
    if value is None:
        there = [name for name in entry if number(entry[name]) is not None]
        raise EvidenceError(
            f"{source.name}: {policy!r} has no {wanted.metric or 'score'}. It has: {listed(there)}."
        )
    return value
