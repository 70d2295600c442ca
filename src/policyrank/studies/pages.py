"""Studies as tables, and as the Markdown pages that are committed."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from policyrank.board import Leaderboard
from policyrank.board.wording import rank_set
from policyrank.studies.claims import Verdict
from policyrank.studies.fairness import Settings, Tuned
from policyrank.studies.frame import Study, boards, module_of

MOST = 20
"""Rows of a table; more settings than that are averaged over."""
MOST_RANKED = 6
"""Boards that a page tells of."""


def table(study: Study) -> pl.DataFrame:
    """Mean of each method in each setting, by metric; methods in the order of their names."""
    frame = study.scores.to_frame()
    if "metric" not in frame.columns:
        frame = frame.with_columns(metric=pl.lit("score"))
    wide = (
        frame.group_by("metric", "task", "policy", maintain_order=True)
        .agg(pl.col("score").mean())
        .pivot(on="policy", index=["metric", "task"], values="score")
        .sort("metric", "task")
    )
    return wide.select("metric", "task", *sorted(wide.columns[2:]))


def page(studies: Sequence[Study], command: str, picture: str | None = None) -> str:
    """One study, run with some master seeds, as a Markdown page.

    Parameters
    ----------
    studies
        runs of one study, each with its own seed
    command
        that makes the page
    picture
        address of the picture of the main comparison
    """
    first = studies[0]
    head, _, body = str(module_of(first.slug).__doc__).strip().partition("\n")
    lines = [f"# {head.rstrip('.')}", "", body.strip()]
    if picture is not None:
        shown = (
            "Methods"
            if hasattr(module_of(first.slug), "MAIN")
            else "The methods of the first claim"
        )
        lines += ["", f"![{shown}, with 95% intervals]({picture})"]
    lines += [*_verdicts(studies), *_tuning(studies), *_health(studies)]
    tables = [table(study) for study in studies]
    for metric in pl.concat([frame["metric"] for frame in tables]).unique(maintain_order=True):
        parts = [frame.filter(pl.col("metric") == metric).drop("metric") for frame in tables]
        lines += _measurements(first, metric, parts)
    lines += [*_ranked(studies), *_how(studies, command)]
    return "\n".join(lines)


def _verdicts(studies: Sequence[Study]) -> Iterator[str]:
    yield from ("", "## Verdicts", "")
    seeds = " | ".join(
        f"seed {study.seed}: effect | 95% interval | p | verdict" for study in studies
    )
    yield f"| claim | counts from | units | {seeds} |"
    yield "| :-- | --: | :-- |" + " --: | :-: | --: | :-- |" * len(studies)
    for verdicts in zip(*(study.verdicts for study in studies), strict=True):
        first = verdicts[0]
        units = sorted({own.units for own in verdicts})
        over = f"{' and '.join(map(str, units))} ({first.unit})"
        kind = "" if first.claim.kind == "mean" else f" *({first.claim.kind})*"
        cells = [f"{first.claim.text}{kind}", f"{first.claim.smallest:g}", over]
        for own in verdicts:
            cells += _cells(own)
        if len({own.verdict for own in verdicts}) > 1:
            cells[-1] += " ≠"
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield (
        "The effect is how much the first is ahead of the other, positive where it is better. p is"
        " two-sided against the effect that counts, Holm's over the claims of this page; a verdict"
        " is *holds* or *contradicted* below .05. ≠: the seeds differ."
    )
    if any(own.exploratory for study in studies for own in study.verdicts):
        yield "*Exploratory*: the claim was written after the numbers of that seed were seen."


def _cells(own: Verdict) -> tuple[str, str, str, str]:
    interval = f"{own.lower:.4g} … {own.upper:.4g}"
    p = "" if np.isnan(own.p_holm) else f"{own.p_holm:.2g}"
    answer = f"**{own.verdict}**"
    if own.exploratory:
        answer = f"{own.verdict} (exploratory)"
    return f"{own.effect:.4g}", interval, p, answer


def _tuning(studies: Sequence[Study]) -> Iterator[str]:
    """The budget of each tuned method, what was tried and what was chosen."""
    tuned = [(study.seed, own) for study in studies for own in study.measured.tuned]
    if not tuned:
        return
    yield from ("", "## Tuning", "")
    yield "Each method had the same number of settings to choose from, on worlds apart from those"
    yield "judged."
    yield ""
    yield "| method | seed | chosen by | worlds | settings tried, and what they reached | chosen |"
    yield "| :-- | --: | :-- | --: | :-- | :-- |"
    for seed, own in tuned:
        chosen = _settings(own.chosen)
        yield f"| {own.method} | {seed} | {own.metric} | {own.worlds} | {_tried(own)} | {chosen} |"


def _tried(own: Tuned) -> str:
    return "; ".join(f"{_settings(settings)}: {mean:.4g}" for settings, mean in own.tried)


def _settings(settings: Settings) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def _health(studies: Sequence[Study]) -> Iterator[str]:
    signs = [(study.seed, own) for study in studies for own in study.measured.health]
    if not signs:
        return
    yield from ("", "## Health of the runs", "")
    yield "| method | sign | seed | value | well within | |"
    yield "| :-- | :-- | --: | --: | :-- | :-- |"
    for seed, own in signs:
        bounds = f"{own.least:g} … {own.most:g}"
        state = "" if own.healthy else "**failed**"
        yield f"| {own.method} | {own.sign} | {seed} | {own.value:.4g} | {bounds} | {state} |"


def _measurements(study: Study, metric: str, frames: Sequence[pl.DataFrame]) -> Iterator[str]:
    """The table of one metric: a row a setting, a column a method, the seeds side by side."""
    frames = _alike([_measured(study, frame) for frame in frames])
    methods = frames[0].columns[1:]
    lower = study.scores.lower_is_better & {metric, "*"}
    title = f"{metric} (lower is better)" if lower else metric
    yield from ("", f"## {title}", "")
    yield "| setting | " + " | ".join(methods) + " |"
    yield "| :-- |" + " --: |" * len(methods)
    for rows in zip(*(frame.iter_rows() for frame in frames), strict=True):
        cells = [str(rows[0][0])]
        for values in zip(*(row[1:] for row in rows), strict=True):
            cells.append(" / ".join(dict.fromkeys(map(_cell, values))))
        yield f"| {' | '.join(cells)} |"


def _alike(frames: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """The same settings and methods in each, empty where a seed did not measure them."""
    settings = pl.concat([frame.select("task") for frame in frames]).unique(maintain_order=True)
    methods = sorted({name for frame in frames for name in frame.columns[1:]})
    found = []
    for frame in frames:
        missing = [pl.lit(None, pl.Float64).alias(name) for name in methods if name not in frame]
        wide = frame.with_columns(missing).select("task", *methods)
        found.append(settings.join(wide, on="task", how="left", maintain_order="left"))
    return found


def _measured(study: Study, frame: pl.DataFrame) -> pl.DataFrame:
    """The methods that were measured; of many settings their mean over those that all share."""
    kept = [name for name in frame.columns[1:] if frame[name].null_count() < frame.height]
    frame = frame.select("task", *kept)
    if frame.height <= getattr(module_of(study.slug), "MOST_SETTINGS", MOST):
        return frame
    shared = frame.drop_nulls()
    methods = frame.columns[1:]
    if not shared.height:  # no setting has all methods: each over its own, and it is said
        name = "mean of its own settings"
        return frame.select(pl.lit(name).alias("task"), pl.col(methods).mean()).head(1)
    name = f"mean of {shared.height}"
    if shared.height < frame.height:
        name += f" of {frame.height}, which all share"
    return shared.select(pl.lit(name).alias("task"), pl.col(methods).mean()).head(1)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _ranked(studies: Sequence[Study]) -> Iterator[str]:
    """The order of the methods in the first boards."""
    found = [boards(study) for study in studies]
    titles = list(found[0])
    if not titles:
        return
    yield from ("", "## Ranked", "")
    for title in titles[:MOST_RANKED]:
        yield f"- {title}"
        for study, own in zip(studies, found, strict=True):
            if title in own:
                yield f"    - seed {study.seed}: {', '.join(_places(own[title]))}"
    if len(titles) > MOST_RANKED:
        yield f"- and {len(titles) - MOST_RANKED} more boards, which the command prints"


def _places(board: Leaderboard) -> Iterator[str]:
    for i, policy in enumerate(board.policies):
        place = rank_set(board, i) or str(board.rank[i])
        yield f"{policy} ({place})"


def _how(studies: Sequence[Study], command: str) -> Iterator[str]:
    first = studies[0]
    versions = ", ".join(f"{name} {version}" for name, version in first.versions.items())
    machine = f"{platform.machine()} with Python {platform.python_version()}"
    yield from ("", "## How it was run", "", f"`{command}`", "")
    for study in studies:
        commit = "" if study.commit is None else f", commit {study.commit}"
        yield f"- Scale {study.scale}, seed {study.seed}: {study.seconds:.0f} s{commit}"
    yield from ("", f"On {machine}; {versions}.", "")
