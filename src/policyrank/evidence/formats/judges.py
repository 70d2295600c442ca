"""Judged pairs against a baseline: AlpacaEval, Arena-Hard."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import msgspec

from policyrank.evidence.account import plural
from policyrank.evidence.comparisons import Comparisons
from policyrank.evidence.formats.duels import Duels, judge_name, outcome_of
from policyrank.evidence.formats.entries import of_shape
from policyrank.evidence.formats.results import Duel, Wanted, read_as
from policyrank.evidence.sources import Source


class _Annotation(msgspec.Struct):
    generator_1: str
    generator_2: str
    preference: float | None
    instruction: Any = None
    dataset: str | None = None
    annotator: str | None = None


def read_alpaca(sources: Sequence[Source], wanted: Wanted) -> Comparisons:
    """AlpacaEval's annotations: a preference of 1 to 2 leans from the first to the second."""
    duels = Duels(wanted.account)
    prompts: dict[str, int] = {}
    unparsed = 0
    for source in sources:
        for place, one in of_shape(source, _Annotation, wanted.account):
            if one.preference is None or math.isnan(one.preference):
                unparsed += 1
                continue
            outcome = 0.5 if one.preference == 0 else round(one.preference - 1, 12)
            prompt = prompts.setdefault(f"{one.dataset}\n{one.instruction}", len(prompts))
            task = f"{one.dataset}:{prompt}" if one.dataset else str(prompt)
            duels.put(
                place, Duel(one.generator_2, one.generator_1, outcome, task, one.annotator or "")
            )
    if unparsed:
        wanted.account.note(
            f"{plural(unparsed, 'annotation')} left out: the judge's answer was not understood"
        )
    read_as(
        wanted.account,
        "AlpacaEval annotations",
        sources,
        f"{plural(len(prompts), 'instruction')} as tasks, outcomes as the judge weighed them",
    )
    return duels.comparisons()


class _Game(msgspec.Struct):
    score: str | None = None


class _Judgment(msgspec.Struct):
    model: str
    games: list[_Game | None]
    uid: str | int | None = None
    question_id: str | int | None = None
    category: str | None = None
    baseline: str | None = None
    judge: Any = None


_OLD_BASELINE = "gpt-4-0314"


def read_arena_hard(sources: Sequence[Source], wanted: Wanted) -> Comparisons:
    """Arena-Hard's judgments: the two orders of a prompt are one result, their mean."""
    duels = Duels(wanted.account)
    half = 0
    for source in sources:
        for place, one in of_shape(source, _Judgment, wanted.account):
            labels = [game.score if game is not None else None for game in one.games]
            if len(labels) != 2 or None in labels:
                half += 1
                continue
            if one.baseline is None:
                wanted.account.guess(
                    f"the judgments name no baseline: taken as {_OLD_BASELINE}, the usual one",
                    "Add a baseline to the lines.",
                )
            of_baseline, of_model = (_for_first(label) for label in labels)
            outcome = (1 - of_baseline + of_model) / 2
            baseline = one.baseline or _OLD_BASELINE
            duels.put(
                place, Duel(one.model, baseline, outcome, _prompt(one), judge_name(one.judge))
            )
    if half:
        wanted.account.note(
            f"{plural(half, 'prompt')} left out: one of the two games has no verdict"
        )
    wanted.account.note("both orders of a prompt are one result; A>>B counts as A>B")
    read_as(wanted.account, "Arena-Hard judgments", sources, f"{plural(len(duels.rows), 'prompt')}")
    return duels.comparisons()


def _for_first(label: str | None) -> float:
    """``A>>B``, ``B<A``, ``A=B`` as the outcome of A; NaN: another label."""
    sides = str(label).replace(" ", "").strip("[]")
    if sides in ("A=B", "B=A"):
        return 0.5
    if sides in ("A>B", "A>>B", "B<A", "B<<A"):
        return 1.0
    if sides in ("B>A", "B>>A", "A<B", "A<<B"):
        return 0.0
    return math.nan


def _prompt(one: _Judgment) -> str:
    name = one.question_id if one.uid is None else one.uid
    return f"{one.category}:{name}" if one.category else str(name)


class _Battle(msgspec.Struct):
    question_id: str | int
    model_a: str
    model_b: str
    winner: str | None


def read_battles(sources: Sequence[Source], wanted: Wanted) -> Comparisons:
    """arena_hard_battles.jsonl: its lines are games, a clear win up to three times over."""
    games: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    places: dict[tuple[str, str, str], str] = {}
    lines = 0
    for source in sources:
        for place, one in of_shape(source, _Battle, wanted.account):
            unit = str(one.question_id), one.model_a, one.model_b
            games[unit].append(outcome_of(one.winner))
            places.setdefault(unit, place)
            lines += 1
    duels = Duels(wanted.account)
    for unit, outcomes in games.items():
        task, a, b = unit
        duels.put(places[unit], Duel(a, b, _of_games(outcomes), task))
    read_as(
        wanted.account,
        "Arena-Hard battles",
        sources,
        f"{plural(lines, 'line')} are {plural(len(games), 'prompt')}, each one result (the mean of"
        " its games; repeated lines count once)",
    )
    return duels.comparisons()


def _of_games(outcomes: Sequence[float]) -> float:
    """The mean of a prompt's two games: a value that stands repeated is one game."""
    if any(math.isnan(outcome) for outcome in outcomes):
        return math.nan
    return fmean(set(outcomes))
