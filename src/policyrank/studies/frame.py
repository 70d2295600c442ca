"""What every study shares: claims, how they are judged, the page that is committed."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import Literal, Protocol

import numpy as np
import polars as pl

from policyrank.board import Leaderboard
from policyrank.board.intervals import quantile
from policyrank.evidence import Scores
from policyrank.ranking import aggregate

Scale = Literal["smoke", "small", "full"]


class Run(Protocol):
    """A study's measurement: methods are policies, settings are tasks, seeds are replicates."""

    def __call__(self, scale: Scale, seed: int) -> Scores: ...


@dataclass(frozen=True)
class Claim:
    """Method ``better`` beats ``than`` on ``metric`` by more than ``smallest`` (in the metric's
    unit), in ``tasks``.

    ``exact``: both numbers are computed, not sampled, so that one pair decides. A negative
    ``smallest`` makes it a claim of being no worse than by that much. ``than_tasks``: where the
    other was measured, if not in the same tasks.
    """

    text: str
    better: str
    than: str
    metric: str
    smallest: float = 0.0
    tasks: tuple[str, ...] = ()
    than_tasks: tuple[str, ...] = ()
    exact: bool = False


@dataclass(frozen=True)
class Verdict:
    """What the measurement says of a claim: the mean paired difference, its interval, over how many
    units.
    """

    claim: Claim
    effect: float
    lower: float
    upper: float
    units: int
    unit: str
    verdict: Literal["holds", "not shown", "contradicted"]


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


def judge(claim: Claim, scores: Scores, level: float = 0.95) -> Verdict:
    """Pair the two methods over seeds (each a mean over tasks), or over tasks where there is one
    seed.

    *holds*: the whole interval lies above the smallest effect that counts; *contradicted*: it lies
    below it and below zero, so the opposite is true; otherwise *not shown*.
    """
    unmeasured = Verdict(
        claim, np.nan, np.nan, np.nan, 0, "replicates", "not shown"
    )  # a small scale may not reach it
    if scores.metric is not None and claim.metric not in scores.metric.names:
        return unmeasured
    used = scores.filter(metrics=claim.metric) if scores.metric is not None else scores
    found = []
    for name, tasks in ((claim.better, claim.tasks), (claim.than, claim.than_tasks or claim.tasks)):
        measured = [t for t in tasks if t in used.task.names]
        if (tasks and not measured) or name not in used.policies:
            return unmeasured
        part = used.filter(tasks=measured) if tasks else used
        if name not in part.policies:
            return unmeasured
        cube = part.cube()[:, part.policies.index(name)]
        found.append(np.nanmean(cube, axis=0, keepdims=True) if claim.than_tasks else cube)
    gap = found[0] - found[1]
    gap = gap[:, ~np.isnan(gap).any(axis=0)] if not np.isnan(gap).all() else gap
    over_seeds = gap.shape[1] > 1
    values = gap.mean(axis=0) if over_seeds else gap[:, 0]
    n = len(values)
    effect = float(values.mean())
    half = (
        quantile((1 + level) / 2, n - 1) * float(values.std(ddof=1)) / np.sqrt(n)
        if n > 1
        else np.inf
    )
    half = 0.0 if claim.exact else half
    low, high = effect - half, effect + half
    verdict = (
        "holds"
        if low > claim.smallest
        else "contradicted"
        if high < min(claim.smallest, 0.0)
        else "not shown"
    )
    return Verdict(claim, effect, low, high, n, "replicates" if over_seeds else "tasks", verdict)  # type: ignore[arg-type]


def run_study(
    slug: str, scale: Scale = "small", seed: int = 0, report: Callable[[str], None] | None = None
) -> Study:
    """Run a study, judge its claims, and rank its methods by each metric."""
    module = import_module(f"policyrank.studies.{slug.replace('-', '_')}")
    if report is not None:
        module.report = report  # type: ignore[attr-defined]
    start = time.perf_counter()
    scores = module.run(scale, seed)
    seconds = time.perf_counter() - start
    boards = {}
    for metric in scores.metric.names if scores.metric else ("score",):
        part = scores.filter(metrics=metric) if scores.metric else scores
        for tasks in _settings(part):
            group = part.filter(tasks=tasks)
            title = f"{metric}: {tasks[0]}" + (
                f" and {len(tasks) - 1} more settings" if len(tasks) > 1 else ""
            )
            boards[title] = aggregate(
                group, resample="replicates" if group.cube().shape[2] > 1 else "tasks"
            )
    return Study(
        slug, scores, tuple(judge(c, scores) for c in module.CLAIMS), boards, scale, seed, seconds
    )


def _settings(scores: Scores) -> list[list[str]]:
    """Settings that were measured with the same methods, together."""
    groups: dict[tuple[bool, ...], list[str]] = {}
    for task, row in zip(scores.task.names, ~np.isnan(scores.table()), strict=True):
        groups.setdefault(tuple(row), []).append(task)
    return list(groups.values())


def table(study: Study) -> pl.DataFrame:
    """Mean of each method in each setting, by metric."""
    frame = study.scores.to_frame()
    if "metric" not in frame.columns:
        frame = frame.with_columns(metric=pl.lit("score"))
    return (
        frame.group_by("metric", "task", "policy")
        .agg(pl.col("score").mean())
        .pivot(on="policy", index=["metric", "task"], values="score")
        .sort("metric", "task")
    )


def page(study: Study, command: str) -> str:
    """The study as a Markdown page: claim, what was measured, verdicts, how to run it again."""
    module = import_module(f"policyrank.studies.{study.slug.replace('-', '_')}")
    head, _, body = str(module.__doc__).strip().partition("\n")
    lines = [f"# {head.rstrip('.')}", "", body.strip(), "", "## Verdicts", ""]
    lines += [
        "| claim | effect | 95% interval | over | smallest that counts | verdict |",
        "| :-- | --: | :-: | :-: | --: | :-- |",
    ]
    for v in study.verdicts:
        lines.append(
            f"| {v.claim.text} | {v.effect:.4g} | {v.lower:.4g} … {v.upper:.4g} | {v.units}"
            f" {v.unit} | {v.claim.smallest:g} | **{v.verdict}** |"
        )
    frame = table(study)
    for metric in frame["metric"].unique(maintain_order=True):
        part = frame.filter(pl.col("metric") == metric).drop("metric")
        part = part.select(c for c in part.columns if part[c].null_count() < part.height)
        if part.height > 20:  # tasks are what is averaged over
            part = part.select(
                pl.lit(f"mean of {part.height}").alias("task"),
                *(pl.col(c).mean() for c in part.columns[1:]),
            ).head(1)
        lower = study.scores.lower_is_better & {metric, "*"}
        methods = part.columns[1:]
        lines += [
            "",
            f"## {metric}{' (lower is better)' if lower else ''}",
            "",
            "| setting | " + " | ".join(methods) + " |",
            "| :-- |" + " --: |" * len(methods),
        ]
        lines += [
            "| "
            + " | ".join([str(row[0]), *("" if v is None else f"{v:.4g}" for v in row[1:])])
            + " |"
            for row in part.iter_rows()
        ]
        for title, board in study.boards.items():
            if title.startswith(metric + ": "):
                order = ", ".join(
                    f"{p} ({rank})" for p, rank in zip(board.policies, _sets(board), strict=True)
                )
                lines += [
                    "",
                    f"Ranked, with rank sets, over {title.removeprefix(metric + ': ')}: {order}.",
                ]
    versions = ", ".join(
        f"{p} {metadata.version(p)}" for p in ("policyrank", "numpy", "scipy", "polars")
    )
    lines += [
        "",
        "## How it was run",
        "",
        f"`{command}`",
        "",
        (
            f"Scale {study.scale}, seed {study.seed}, {study.seconds:.0f} s on {platform.machine()}"
            f" with Python {platform.python_version()}; {versions}."
        ),
        "",
    ]
    return "\n".join(lines)


def _sets(board: Leaderboard) -> list[str]:
    from policyrank.board.terminal import rank_set

    return [rank_set(board, i) or str(board.rank[i]) for i in range(len(board))]
