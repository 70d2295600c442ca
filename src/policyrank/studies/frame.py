"""What every study shares: claims, how they are judged, rows of what was measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from types import ModuleType
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from policyrank.board import Leaderboard
from policyrank.board.intervals import quantile
from policyrank.evidence import Scores
from policyrank.ranking import aggregate

Scale = Literal["smoke", "small", "full"]
Answer = Literal["holds", "not shown", "contradicted"]
Row = tuple[str, str, str, int, float]
"""Method, setting, metric, replicate, value."""
Report = Callable[[str], None]
"""Told what is being done, in a line."""


def quiet(line: str) -> None:
    """Tell nobody."""


def prefixed(report: Report, prefix: str) -> Report:
    """``report``, with ``prefix`` before each line."""

    def say(line: str) -> None:
        report(prefix + line)

    return say


class Run(Protocol):
    """A study's measurement: methods are policies, settings are tasks, seeds are replicates."""

    def __call__(self, scale: Scale, seed: int, report: Report = quiet) -> Scores: ...


@dataclass(frozen=True)
class Claim:
    """Method ``better`` beats ``than`` on ``metric`` by more than ``smallest``, in ``tasks``.

    ``smallest`` is in the metric's unit; a negative one makes it a claim of being no worse than by
    that much. ``exact``: both numbers are computed, not sampled, so that one pair decides.
    ``than_tasks``: where the other was measured, if not in the same tasks.
    """

    text: str
    better: str
    than: str
    metric: str
    smallest: float = 0.0
    tasks: tuple[str, ...] = ()
    than_tasks: tuple[str, ...] = ()
    exact: bool = False


def for_each(values: Iterable[object], pattern: Claim) -> Iterator[Claim]:
    """The claim for each value, which takes the place of ``{}`` in its text and its names.

    The parts of a tuple take those of ``{0}``, ``{1}``, ...

    Examples
    --------
    >>> pattern = Claim("{} beats chance", "{}", "chance", "AP")
    >>> [claim.text for claim in for_each(["BM25", "MiniLM"], pattern)]
    ['BM25 beats chance', 'MiniLM beats chance']
    """
    for value in values:
        parts = value if isinstance(value, tuple) else (value,)
        yield replace(
            pattern,
            text=pattern.text.format(*parts),
            better=pattern.better.format(*parts),
            than=pattern.than.format(*parts),
            metric=pattern.metric.format(*parts),
            tasks=tuple(task.format(*parts) for task in pattern.tasks),
        )


@dataclass(frozen=True)
class Verdict:
    """What the measurement says of a claim: the mean paired difference and its interval.

    ``units`` pairs were there, of ``unit`` (replicates or tasks).
    """

    claim: Claim
    effect: float
    lower: float
    upper: float
    units: int
    unit: str
    verdict: Answer


@dataclass(frozen=True, eq=False)
class Study:
    """A study that has run."""

    slug: str
    scores: Scores
    verdicts: tuple[Verdict, ...]
    boards: dict[str, Leaderboard]
    scale: Scale
    seed: int
    seconds: float


def by_metric(
    method: str, setting: str, replicate: int, values: Mapping[str, float]
) -> Iterator[Row]:
    """Rows of one method's value in each metric."""
    for metric, value in values.items():
        yield method, setting, metric, replicate, value


def by_method(
    setting: str, metric: str, replicate: int, values: Mapping[str, float]
) -> Iterator[Row]:
    """Rows of each method's value in one metric."""
    for method, value in values.items():
        yield method, setting, metric, replicate, value


def scores_of(rows: Iterable[Row], lower_is_better: Iterable[str] = ()) -> Scores:
    """Scores of rows (method, setting, metric, replicate, value)."""
    methods, settings, metrics, replicates, values = zip(*rows, strict=True)
    return Scores.of(
        methods,
        settings,
        values,
        metric=metrics,
        replicate=replicates,
        lower_is_better=frozenset(lower_is_better),
    )


def judge(claim: Claim, scores: Scores, level: float = 0.95) -> Verdict:
    """Pair the two methods over seeds, or over tasks where there is one seed.

    A seed's value is the mean over tasks. *holds*: the whole interval lies above the smallest
    effect that counts; *contradicted*: it lies below it and below zero, so the opposite is true;
    otherwise *not shown*, as where a small scale has not measured it.
    """
    gap = _paired(claim, scores)
    if gap is None:
        return Verdict(claim, np.nan, np.nan, np.nan, 0, "replicates", "not shown")
    over_seeds = gap.shape[1] > 1
    values = gap.mean(axis=0) if over_seeds else gap[:, 0]
    unit = "replicates" if over_seeds else "tasks"
    effect = float(values.mean())
    half = 0.0 if claim.exact else _half_width(values, level)
    low, high = effect - half, effect + half
    answer = _answer(low, high, claim.smallest)
    return Verdict(claim, effect, low, high, len(values), unit, answer)


def _paired(claim: Claim, scores: Scores) -> NDArray[np.float64] | None:
    """Differences of the two methods, (tasks, replicates); None if one was not measured."""
    if scores.metric is not None:
        if claim.metric not in scores.metric.names:
            return None
        scores = scores.filter(metrics=claim.metric)
    better = _measured(scores, claim.better, claim.tasks)
    than = _measured(scores, claim.than, claim.than_tasks or claim.tasks)
    if better is None or than is None:
        return None
    if claim.than_tasks:
        better = np.nanmean(better, axis=0, keepdims=True)
        than = np.nanmean(than, axis=0, keepdims=True)
    gap = better - than
    missing = np.isnan(gap)
    if missing.all():
        return gap
    return gap[:, ~missing.any(axis=0)]


def _measured(scores: Scores, method: str, tasks: tuple[str, ...]) -> NDArray[np.float64] | None:
    """Scores of a method in these tasks (all if none is named), (tasks, replicates)."""
    if method not in scores.policies:
        return None
    if tasks:
        measured = [task for task in tasks if task in scores.task.names]
        if not measured:
            return None
        scores = scores.filter(tasks=measured)
    if method not in scores.policies:
        return None
    return scores.cube()[:, scores.policies.index(method)]


def _half_width(values: NDArray[np.float64], level: float) -> float:
    """Half of Student's interval of the mean."""
    n = len(values)
    if n == 1:
        return np.inf
    return quantile((1 + level) / 2, n - 1) * float(values.std(ddof=1)) / np.sqrt(n)


def _answer(low: float, high: float, smallest: float) -> Answer:
    if low > smallest:
        return "holds"
    if high < min(smallest, 0.0):
        return "contradicted"
    return "not shown"


def module_of(slug: str) -> ModuleType:
    """The study's file, imported."""
    return import_module(f"policyrank.studies.{slug.replace('-', '_')}")


def run_study(
    slug: str, scale: Scale = "small", seed: int = 0, report: Report | None = None
) -> Study:
    """Run a study, judge its claims, and rank its methods by each metric."""
    module: Any = module_of(slug)
    start = time.perf_counter()
    scores = module.run(scale, seed, report or quiet)
    seconds = time.perf_counter() - start
    verdicts = tuple(judge(claim, scores) for claim in module.CLAIMS)
    return Study(slug, scores, verdicts, _boards(scores), scale, seed, seconds)


def _boards(scores: Scores) -> dict[str, Leaderboard]:
    """A board of each metric and settings that the same methods were measured in."""
    if scores.metric is None:
        return dict(_boards_of("score", scores))
    boards: dict[str, Leaderboard] = {}
    for metric in scores.metric.names:
        boards.update(_boards_of(metric, scores.filter(metrics=metric)))
    return boards


def _boards_of(metric: str, scores: Scores) -> Iterator[tuple[str, Leaderboard]]:
    for settings in _settings(scores):
        title = f"{metric}: {settings[0]}"
        if len(settings) > 1:
            title += f" and {len(settings) - 1} more settings"
        group = scores.filter(tasks=settings)
        replicated = group.cube().shape[2] > 1
        yield title, aggregate(group, resample="replicates" if replicated else "tasks")


def _settings(scores: Scores) -> list[list[str]]:
    """Settings that were measured with the same methods, together; with one alone: none."""
    groups: dict[tuple[bool, ...], list[str]] = {}
    for task, row in zip(scores.task.names, ~np.isnan(scores.table()), strict=True):
        if row.sum() > 1:
            groups.setdefault(tuple(row), []).append(task)
    return list(groups.values())
