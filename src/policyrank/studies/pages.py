"""A study as a table, and as the Markdown page that is committed."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata

import polars as pl

from policyrank.board import Leaderboard
from policyrank.board.wording import rank_set
from policyrank.studies.frame import Study, module_of

MOST = 20
"""Rows of a table; more tasks than that are averaged over."""


def table(study: Study) -> pl.DataFrame:
    """Mean of each method in each setting, by metric."""
    frame = study.scores.to_frame()
    if "metric" not in frame.columns:
        frame = frame.with_columns(metric=pl.lit("score"))
    return (
        frame.group_by("metric", "task", "policy", maintain_order=True)
        .agg(pl.col("score").mean())
        .pivot(on="policy", index=["metric", "task"], values="score")
        .sort("metric", "task")
    )


def page(study: Study, command: str) -> str:
    """The study as a Markdown page: claim, what was measured, verdicts, how to run it again."""
    head, _, body = str(module_of(study.slug).__doc__).strip().partition("\n")
    lines = [f"# {head.rstrip('.')}", "", body.strip(), *_verdicts(study)]
    frame = table(study)
    for metric in frame["metric"].unique(maintain_order=True):
        part = frame.filter(pl.col("metric") == metric).drop("metric")
        lines += [*_measurements(study, metric, part), *_ranked(study, metric)]
    lines += _how(study, command)
    return "\n".join(lines)


def _verdicts(study: Study) -> Iterator[str]:
    yield from ("", "## Verdicts", "")
    yield "| claim | effect | 95% interval | over | smallest that counts | verdict |"
    yield "| :-- | --: | :-: | :-: | --: | :-- |"
    for v in study.verdicts:
        interval = f"{v.lower:.4g} … {v.upper:.4g}"
        cells = f"{v.effect:.4g} | {interval} | {v.units} {v.unit} | {v.claim.smallest:g}"
        yield f"| {v.claim.text} | {cells} | **{v.verdict}** |"


def _measurements(study: Study, metric: str, frame: pl.DataFrame) -> Iterator[str]:
    """The table of one metric: a row a setting, a column a method."""
    frame = frame.select(column for column in frame if column.null_count() < frame.height)
    methods = frame.columns[1:]
    if frame.height > getattr(module_of(study.slug), "MOST_SETTINGS", MOST):
        setting = pl.lit(f"mean of {frame.height}").alias("task")
        frame = frame.select(setting, pl.col(methods).mean()).head(1)
    lower = study.scores.lower_is_better & {metric, "*"}
    title = f"{metric} (lower is better)" if lower else metric
    yield from ("", f"## {title}", "")
    yield "| setting | " + " | ".join(methods) + " |"
    yield "| :-- |" + " --: |" * len(methods)
    for setting, *means in frame.iter_rows():
        cells = [setting, *map(_cell, means)]
        yield f"| {' | '.join(cells)} |"


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _ranked(study: Study, metric: str) -> Iterator[str]:
    """The order of the methods in each of the metric's boards."""
    for title, board in study.boards.items():
        where = title.removeprefix(f"{metric}: ")
        if where != title:
            order = ", ".join(_places(board))
            yield from ("", f"Ranked, with rank sets, over {where}: {order}.")


def _places(board: Leaderboard) -> Iterator[str]:
    for i, policy in enumerate(board.policies):
        place = rank_set(board, i) or str(board.rank[i])
        yield f"{policy} ({place})"


def _how(study: Study, command: str) -> Iterator[str]:
    packages = ("policyrank", "numpy", "scipy", "polars")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    machine = f"{platform.machine()} with Python {platform.python_version()}"
    yield from ("", "## How it was run", "", f"`{command}`", "")
    yield (
        f"Scale {study.scale}, seed {study.seed}, {study.seconds:.0f} s on {machine}; {versions}."
    )
    yield ""
