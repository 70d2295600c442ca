"""What every study shares: rows of what was measured, and how it is run, judged and ranked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, Literal, Protocol

import numpy as np

from policyrank.board import Leaderboard
from policyrank.evidence import Scores
from policyrank.ranking import aggregate
from policyrank.studies.claims import Unit, Verdict, judge
from policyrank.studies.fairness import Health, Tuned
from policyrank.studies.sources import commit as commit_of, versions_of

Scale = Literal["smoke", "small", "full"]
MASTER_SEEDS = (101, 202)
"""Of the pages: two, so that a reader sees what another draw says."""
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


@dataclass(frozen=True, eq=False)
class Measured:
    """What a study measured.

    Attributes
    ----------
    scores
        methods are policies, settings are tasks, draws are replicates
    tuned
        how methods with settings were tuned
    health
        of baselines: claims on an unhealthy one are failed runs
    """

    scores: Scores
    tuned: tuple[Tuned, ...] = ()
    health: tuple[Health, ...] = ()


class Run(Protocol):
    """A study's measurement."""

    def __call__(self, scale: Scale, seed: int, report: Report = quiet) -> Scores | Measured: ...


@dataclass(frozen=True, eq=False)
class Study:
    """A study that has run with one master seed.

    Attributes
    ----------
    seconds
        that it took
    versions
        name -> version of the packages that it depends on
    commit
        of policyrank's own source; None outside of a checkout
    """

    slug: str
    measured: Measured
    verdicts: tuple[Verdict, ...]
    scale: Scale
    seed: int
    seconds: float
    versions: Mapping[str, str]
    commit: str | None = None

    @property
    def scores(self) -> Scores:
        """What was measured."""
        return self.measured.scores


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


def module_of(slug: str) -> ModuleType:
    """The study's file, imported."""
    return import_module(f"policyrank.studies.{slug.replace('-', '_')}")


def measure(
    slug: str, scale: Scale = "small", seed: int = MASTER_SEEDS[0], report: Report | None = None
) -> tuple[Measured, float]:
    """Run a study's measurement; what it found, and the seconds that it took."""
    module: Any = module_of(slug)
    start = time.perf_counter()
    found = module.run(scale, seed, report or quiet)
    if not isinstance(found, Measured):
        found = Measured(found)
    return found, time.perf_counter() - start


def run_study(
    slug: str, scale: Scale = "small", seed: int = MASTER_SEEDS[0], report: Report | None = None
) -> Study:
    """Run a study with one master seed, and judge its claims."""
    found, seconds = measure(slug, scale, seed, report)
    return judged(slug, found, scale, seed, seconds, versions_of(), commit_of())


def judged(
    slug: str,
    found: Measured,
    scale: Scale,
    seed: int,
    seconds: float,
    versions: Mapping[str, str],
    commit: str | None,
) -> Study:
    """A study of what was measured, its claims judged."""
    module: Any = module_of(slug)
    sick = [own.method for own in found.health if not own.healthy]
    verdicts = judge(module.CLAIMS, found.scores, module.UNIT, seed=seed, unhealthy=sick)
    return Study(slug, found, tuple(verdicts), scale, seed, seconds, versions, commit)


def boards(study: Study) -> dict[str, Leaderboard]:
    """A board of each metric and settings that the same methods were measured in.

    Methods that are constants (``CONSTANTS`` of the study's file) are not ranked.
    """
    scores = study.scores
    module: Any = module_of(study.slug)
    constants = frozenset(getattr(module, "CONSTANTS", ()))
    methods = [name for name in scores.policies if name not in constants]
    if len(methods) < 2:
        return {}
    scores = scores.filter(policies=methods)
    unit = module.UNIT
    if scores.metric is None:
        return dict(_boards_of("score", scores, unit))
    found: dict[str, Leaderboard] = {}
    for code, metric in enumerate(scores.metric.names):
        if len(np.unique(scores.policy.codes[scores.metric.codes == code])) > 1:
            found.update(_boards_of(metric, scores.filter(metrics=metric), unit))
    return found


def _boards_of(metric: str, scores: Scores, unit: Unit) -> Iterator[tuple[str, Leaderboard]]:
    for settings in shared_settings(scores):
        title = f"{metric}: {settings[0]}"
        if len(settings) > 1:
            title += f" and {len(settings) - 1} more settings"
        group = scores.filter(tasks=settings)
        replicated = group.cube().shape[2] > 1 and unit.within != "task"
        yield title, aggregate(group, resample="replicates" if replicated else "tasks")


def shared_settings(scores: Scores) -> list[list[str]]:
    """Settings that were measured with the same methods, together; with one alone: none."""
    groups: dict[tuple[bool, ...], list[str]] = {}
    for task, row in zip(scores.task.names, ~np.isnan(scores.table()), strict=True):
        if row.sum() > 1:
            groups.setdefault(tuple(row), []).append(task)
    return list(groups.values())
