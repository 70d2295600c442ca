"""Which filter to train with, told by logged answers before any training: the R^2 rule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn import rank_weights, reward_reliability
from policyrank.learn.filters import tied_share
from policyrank.learn.reliability import resampled_r2
from policyrank.train.logged_answers import Logged

FEW_PROMPTS = 100
"""Fewer of them make intervals too narrow."""


@dataclass(frozen=True, eq=False)
class FilterReport:
    """Filters by how well the reward tells true scores where they look.

    Attributes
    ----------
    frame
        best first: filter, r2, lower, upper; less_all, less_all_lower, less_all_upper, what its R^2
        is above that of all answers, draw by draw; slope; learned, answers of a prompt that count
        (Kish's effective number); generated, answers that are generated for one of these
    bins, level, resamples
        as they were asked for
    answers, prompts
        how many
    columns
        what was read as what
    notes
        what a careful reader should know
    """

    frame: pl.DataFrame
    bins: int
    level: float
    resamples: int
    answers: int
    prompts: int
    columns: Mapping[str, str]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and texts; what is not known is null."""
        rows = []
        for row in self.frame.to_dicts():
            plain = {}
            for key, value in row.items():
                unknown = isinstance(value, float) and not math.isfinite(value)
                plain[key] = None if unknown else value
            rows.append(plain)
        told = {name: getattr(self, name) for name in ("bins", "level", "resamples")}
        counts = {"answers": self.answers, "prompts": self.prompts}
        return {**counts, **told, "columns": dict(self.columns), "filters": rows,
                "notes": list(self.notes)}  # fmt: skip

    def __str__(self) -> str:
        read = ", ".join(f"{role} from {column!r}" for role, column in self.columns.items())
        lines = [
            f"{self.answers:,} answers of {self.prompts:,} prompts; {read}",
            f"R^2 of true score on reward over {self.bins} groups of like rewards;"
            f" {self.level:.0%} intervals, prompts drawn anew {self.resamples:,} times",
            "",
            f"{'filter':16s} {'R^2':>6s}  {'interval':>16s}  {'above all':>22s}"
            f"  {'learned':>7s} {'generated for one':>18s}",
        ]
        for row in self.frame.to_dicts():
            interval = f"[{row['lower']:.3f}, {row['upper']:.3f}]"
            above = f"{row['less_all']:+.3f} [{row['less_all_lower']:+.3f},"
            above += f" {row['less_all_upper']:+.3f}]"
            lines.append(
                f"{row['filter']:16s} {row['r2']:6.3f}  {interval:>16s}  {above:>22s}"
                f"  {row['learned']:7.2f} {row['generated']:18.2f}"
            )
        return "\n".join([*lines, "", *(f"! {note}" for note in self.notes)]).rstrip()


def compare_filters(
    logged: Logged,
    *,
    bins: int = 20,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    threshold: float | None = None,
    bottom: float | None = None,
) -> FilterReport:
    """R^2 of each filter on logged answers, with intervals over prompts, and what it costs.

    The best filter by this rule is the one to train with first; where the interval of its distance
    to all answers holds 0, the rule does not tell them apart. Intervals are of the R^2 that as many
    answers give on average, which noise makes lower than that of ever more answers; in simulations
    those of 95% hold it 90 to 100% of the time with 100 and 300 prompts, but 68 to 90% with 60.

    Parameters
    ----------
    bins
        groups of like rewards (``learn.reward_reliability``)
    threshold, bottom
        of the filters that look at rewards themselves, not at ranks; None: these are left out

    Raises
    ------
    OptionError
        For fewer bins or resamples than can say anything, or a bottom without a threshold.
    """
    if resamples < 20 or not 0 < level < 1:
        raise OptionError("resamples must be 20 or more, and level between 0 and 1.")
    if bottom is not None and threshold is None:
        raise OptionError("a bottom needs a threshold, above which answers count as well.")
    drawn: dict[str, Tensor] = {}
    rows: list[dict[str, Any]] = []
    for name, (rule, options) in _filters(threshold, bottom).items():
        weights = rank_weights(logged.rewards, logged.prompts, rule, **options)
        found = reward_reliability(logged.rewards, logged.scores, weights, bins=bins)
        drawn[name] = resampled_r2(
            logged.rewards,
            logged.scores,
            weights,
            logged.prompts,
            bins=bins,
            resamples=resamples,
            seed=seed,
        )
        lower, upper = _interval(drawn[name], level)
        learned, generated = _cost(weights, logged.prompts)
        rows.append({"filter": name, "r2": found.r2, "lower": lower, "upper": upper,
                     "slope": found.slope, "learned": learned, "generated": generated})  # fmt: skip
    of_all = next(row["r2"] for row in rows if row["filter"] == "all")
    for row in rows:
        row["less_all"] = row["r2"] - of_all
        ends = _interval(drawn[row["filter"]] - drawn["all"], level)
        row["less_all_lower"], row["less_all_upper"] = ends
    frame = pl.DataFrame(rows).sort(pl.col("r2").fill_nan(-math.inf), descending=True)
    return FilterReport(
        frame,
        bins,
        level,
        resamples,
        len(logged.rewards),
        int(logged.prompts.max()) + 1,
        logged.columns,
        tuple(_notes(logged, frame, drawn)),
    )


def _filters(
    threshold: float | None, bottom: float | None
) -> dict[str, tuple[str, dict[str, Any]]]:
    found: dict[str, tuple[str, dict[str, Any]]] = {
        name: (name, {}) for name in ("all", "best", "best-random", "best-worst")
    }
    for exponent in (1, 2, 3):
        found[f"power-{exponent}"] = ("power", {"exponent": float(exponent)})
    if threshold is not None:
        found["above"] = ("above", {"threshold": threshold})
        found["above-random"] = ("above-random", {"threshold": threshold})
    if threshold is not None and bottom is not None:
        found["outside"] = ("outside", {"threshold": threshold, "bottom": bottom})
    return found


def _interval(drawn: Tensor, level: float) -> tuple[float, float]:
    """Percentiles of what was drawn, draws of which nothing can be said left out."""
    known = drawn[~drawn.isnan()]
    if len(known) < 20:
        return math.nan, math.nan
    tail = (1 - level) / 2
    low, high = known.quantile(torch.tensor([tail, 1 - tail], dtype=known.dtype)).tolist()
    return low, high


def _cost(weights: Tensor, prompts: Tensor) -> tuple[float, float]:
    """Answers of a prompt that count, and answers that are generated for one of them."""
    number = int(prompts.max()) + 1
    sums = torch.zeros(number, dtype=torch.float64).index_add(0, prompts, weights.double())
    squares = torch.zeros(number, dtype=torch.float64)
    squares = squares.index_add(0, prompts, weights.double() ** 2)
    effective = torch.where(squares > 0, sums**2 / squares.clamp(min=1e-300), 0.0)
    learned = effective.mean().item()
    return learned, len(weights) / max(effective.sum().item(), 1e-300)


def _notes(logged: Logged, frame: pl.DataFrame, drawn: Mapping[str, Tensor]) -> list[str]:
    notes = []
    first = frame.row(0, named=True)
    if first["filter"] != "all" and not first["less_all_lower"] > 0:
        notes.append(
            f"{first['filter']} stands first, but the rule does not tell it from all answers: the"
            " interval of the difference holds 0."
        )
    for name, own in drawn.items():
        lost = int(own.isnan().sum())
        if lost:
            notes.append(f"{name}: {lost:,} of {len(own):,} draws had too few groups to tell.")
    unknown = frame.filter(pl.col("r2").is_nan())["filter"].to_list()
    if unknown:
        notes.append(
            f"no R^2 for {', '.join(unknown)}: fewer than three groups of like rewards, or scores"
            " that do not vary."
        )
    if bool((frame["slope"].fill_nan(0) < 0).any()):
        negative = frame.filter(pl.col("slope") < 0)["filter"].to_list()
        notes.append(
            f"score falls as reward rises for {', '.join(negative)}: a high R^2 says nothing good."
        )
    sizes = torch.bincount(logged.prompts)
    if int((sizes == 1).sum()):
        notes.append(
            f"{int((sizes == 1).sum()):,} prompts have one answer, which is their best and worst."
        )
    tied = tied_share(logged.rewards, logged.prompts).item()
    if tied:
        notes.append(
            f"{tied:.0%} of prompts have their best or worst reward twice; equals share its weight."
        )
    if len(sizes) < FEW_PROMPTS:
        narrow = "intervals are too narrow (of 95%, 68 to 90% hold with 60)"
        notes.append(f"{len(sizes)} prompts are few to draw anew: {narrow}.")
    if logged.left_out:
        notes.append(f"{logged.left_out:,} rows without a reward or a score were left out.")
    notes.append(
        "R^2 grows as groups get fewer, and depends on the spread of rewards that a filter leaves:"
        " compare filters on the same answers and groups only, and train at equal numbers of steps."
    )
    return notes
