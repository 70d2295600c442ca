"""Scores against a threshold: performance profiles, and how far scores fall short of a target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from policyrank.board.intervals import Seed, generator
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.errors import EvidenceError, OptionError
from policyrank.evidence import Scores
from policyrank.ranking.aggregates import AggregateOptions, aggregate, table_notes
from policyrank.ranking.conventions import checks_options, need
from policyrank.ranking.diagnostics import input_notes
from policyrank.ranking.score_errors import mean_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Float = NDArray[np.float64]

GRID = 101
"""Thresholds between the lowest and the highest score, where none are given."""


@dataclass(frozen=True, eq=False)
class PerformanceProfiles:
    """Which share of a policy's runs scores better than each threshold.

    Attributes
    ----------
    policies
        by falling mean of their shares
    thresholds
        (k,), in the scores' own unit
    share
        (n, k), mean over tasks of the share of runs
    lower, upper
        (n, k), of each share on its own; NaN: none
    better
        "above" the threshold, or "below" where lower is better
    level, interval
        of the intervals, and their kind
    notes
        what a careful reader should know

    Examples
    --------
    >>> scores = Scores.from_table([[0.2, 0.5], [0.6, 0.9]], ["go", "chess"], ["x", "y"])
    >>> found = performance_profiles(scores, [0.0, 0.55], interval="none")
    >>> found.policies, found.share.tolist()
    (('x', 'y'), [[1.0, 0.5], [1.0, 0.5]])
    """

    policies: tuple[str, ...]
    thresholds: Float
    share: Float
    lower: Float
    upper: Float
    better: Literal["above", "below"]
    level: float
    interval: str
    notes: tuple[Note, ...] = ()

    @property
    def frame(self) -> pl.DataFrame:
        """One row a policy and threshold: policy, threshold, share, lower, upper."""
        size = len(self.thresholds)
        columns = {
            "policy": np.repeat(np.array(self.policies, dtype=object), size).tolist(),
            "threshold": np.tile(self.thresholds, len(self.policies)),
            "share": self.share.ravel(),
            "lower": self.lower.ravel(),
            "upper": self.upper.ravel(),
        }
        return pl.DataFrame(columns).with_columns(pl.col("lower", "upper").fill_nan(None))

    def plot(
        self, path: str | Path | None = None, *, top: int = 8, title: str | None = None
    ) -> Figure:
        """The first ``top`` profiles with their bands, written to .png, .svg or .pdf."""
        from policyrank.ranking.profile_plot import draw_profiles

        return draw_profiles(self, path, top=top, title=title)

    def text(self, places: Iterable[int]) -> str:
        """A table of shares at some thresholds, in percent with their intervals."""
        width = max(map(len, self.policies))
        cells = [f"{self.better} {self.thresholds[place]:.4g}".rjust(18) for place in places]
        lines = [" " * width + "".join(cells)]
        for policy, name in enumerate(self.policies):
            cells = [self._cell(policy, place).rjust(18) for place in places]
            lines.append(name.ljust(width) + "".join(cells))
        return "\n".join(lines)

    def _cell(self, policy: int, place: int) -> str:
        share, lower = self.share[policy, place], self.lower[policy, place]
        if np.isnan(lower):
            return f"{share:.0%}"
        return f"{share:.0%} [{lower:.0%}, {self.upper[policy, place]:.0%}]"


def performance_profiles(
    evidence: Scores,
    thresholds: ArrayLike | None = None,
    *,
    interval: Literal["closed", "bootstrap", "none"] = "closed",
    resamples: int = 2000,
    level: float = 0.95,
    seed: Seed = 0,
) -> PerformanceProfiles:
    """The share of runs that score above each threshold, the mean over tasks.

    Where one profile lies above another everywhere, the policy is stochastically better. Tasks
    need a scale that they share: normalise scores first.

    Parameters
    ----------
    evidence
        Scores; of metrics whose smaller values are better the share below each threshold
    thresholds
        (k,), in the scores' own unit; None: 101 from the lowest to the highest score
    interval
        of each share on its own. ``"closed"``: Wilson's with the dispersion that was seen, over
        replicates inside tasks (over tasks where there is one score each); ``"bootstrap"``:
        percentiles of runs drawn anew inside each task and policy, as rliable has them, but the
        closed ones where they have no width (all runs on one side); ``"none"``
    resamples, level, seed
        of the intervals

    Raises
    ------
    EvidenceError
        For scores with weights, metrics of both directions, or a bootstrap of one score a task.
    OptionError
        For another kind of interval, a level outside (0, 1), or thresholds that are not finite.

    References
    ----------
    Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of the Statistical Precipice",
    arXiv 2108.13264, section 4.2; Dolan and More (2002).

    Examples
    --------
    >>> scores = Scores.from_table([[0.2, 0.5], [0.6, 0.9]], ["go", "chess"], ["x", "y"])
    >>> found = performance_profiles(scores, [0.2, 0.5])
    >>> found.share.tolist(), bool((found.lower < found.share).all())
    ([[1.0, 0.5], [0.5, 0.5]], True)
    """
    need(evidence, Scores, "performance profiles")
    if interval not in ("closed", "bootstrap", "none"):
        raise OptionError(f"interval={interval!r}: use 'closed', 'bootstrap' or 'none'.")
    if not 0 < level < 1:
        raise OptionError(f"level={level}: it lies between 0 and 1, for example 0.95.")
    _refuse_weights(evidence)
    sign, cube = _direction(evidence), evidence.cube()
    at = _thresholds(evidence, thresholds)
    parts = [np.where(np.isnan(cube), np.nan, cube > sign * level_of) for level_of in at]
    share = np.array([_mean_over_tasks(part) for part in parts]).T
    ends = np.full((*share.shape, 2), np.nan)
    if interval == "closed":
        ends = np.stack(list(_closed(evidence, parts, level)), axis=1)
    elif interval == "bootstrap":
        drawn = _bootstrapped(parts, resamples, level, generator(seed))
        closed = np.stack(list(_closed(evidence, parts, level)), axis=1)
        ends = np.where(drawn[..., :1] < drawn[..., 1:], drawn, closed)
    order = np.lexsort((np.array(evidence.policies), -np.round(share.mean(axis=1), 12)))
    return PerformanceProfiles(
        policies=tuple(evidence.policies[place] for place in order),
        thresholds=at,
        share=share[order],
        lower=ends[order, :, 0],
        upper=ends[order, :, 1],
        better="above" if sign > 0 else "below",
        level=level,
        interval=interval,
        notes=(*input_notes(evidence.notes), *table_notes(evidence, cube, "profile")),
    )


def _refuse_weights(evidence: Scores) -> None:
    if evidence.weight is not None and not (evidence.weight == 1).all():
        raise EvidenceError("thresholds of scores take no weights. Drop them.")


def _direction(evidence: Scores) -> float:
    """1 where larger scores are better, -1 where smaller ones are."""
    told = evidence.score != 0
    flipped = (evidence.oriented != evidence.score)[told]
    if flipped.any() and not flipped.all():
        raise EvidenceError(
            "larger scores are better by some metrics and smaller by others: a threshold means"
            " nothing for both. Filter the metrics, or normalise the scores."
        )
    return -1.0 if flipped.any() else 1.0


def _thresholds(evidence: Scores, given: ArrayLike | None) -> Float:
    if given is None:
        return np.linspace(evidence.score.min(), evidence.score.max(), GRID)
    at = np.unique(np.asarray(given, dtype=float))
    if not at.size or not np.isfinite(at).all():
        raise OptionError("thresholds: give finite numbers, at least one.")
    return at


def _mean_over_tasks(part: Float) -> Float:
    """Of (tasks, n, replicates), NaN not measured: the mean over tasks of that over replicates."""
    there = ~np.isnan(part)
    number = there.sum(axis=2)
    sums = np.where(there, part, 0.0).sum(axis=2)
    by_task = np.divide(sums, number, out=np.zeros_like(sums), where=number > 0)
    return np.asarray(by_task.sum(axis=0) / (number > 0).sum(axis=0), dtype=float)


def _closed(evidence: Scores, parts: list[Float], level: float) -> Iterator[Float]:
    """Ends (n, 2) at each threshold."""
    tasks, n, runs = parts[0].shape
    draw = "replicates" if runs > 1 else "tasks"
    for part in parts:
        if draw == "tasks" and tasks < 2:
            yield np.full((n, 2), np.nan)
        else:
            found = mean_errors(evidence, part, draw, False, (0.0, 1.0), level, [])
            yield found["ends"]


def _bootstrapped(
    parts: list[Float], resamples: int, level: float, rng: np.random.Generator
) -> Float:
    """Percentiles (n, k, 2) of runs drawn with replacement inside each task and policy."""
    tasks, n, runs = parts[0].shape
    if runs < 2:
        raise EvidenceError(
            "interval='bootstrap' needs several scores a task and policy. Use interval='closed'."
        )
    above = np.stack(parts, axis=-1)
    ends = np.full((n, len(parts), 2), np.nan)
    for policy in range(n):
        drawn, measured = np.zeros((resamples, len(parts))), 0
        for task in range(tasks):
            own = above[task, policy]
            own = own[~np.isnan(own[:, 0])]
            if len(own):
                times = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), size=resamples)
                drawn += times @ own / len(own)
                measured += 1
        tail = (1 - level) / 2
        ends[policy] = np.quantile(drawn / measured, [tail, 1 - tail], axis=0).T
    return ends


@checks_options
def optimality_gap(
    evidence: Scores, *, target: float = 1.0, **options: Unpack[AggregateOptions]
) -> Leaderboard:
    """Optimality gap: by how much scores fall short of a target; what is beyond it counts nothing.

    The rating is minus the gap, mean of min(score, target) - target over runs and tasks (of metrics
    whose smaller values are better, target - max(score, target)).

    Parameters
    ----------
    evidence
        Scores
    target
        a score beyond which more is of no use, in the scores' own unit
    options
        of ``aggregate``, whose mean this is

    Raises
    ------
    EvidenceError
        For metrics of both directions.

    References
    ----------
    Agarwal et al. (2021), arXiv 2108.13264, section 4.3.

    Examples
    --------
    >>> scores = Scores.from_table([[0.5, 2.0], [1.5, 0.9]], ["go", "chess"], ["x", "y"])
    >>> optimality_gap(scores, interval="none").rating.round(3).tolist()    # gaps .05 and .25
    [-0.05, -0.25]
    """
    need(evidence, Scores, "optimality-gap")
    if not np.isfinite(target):
        raise OptionError(f"target={target}: give a finite score.")
    sign = _direction(evidence)
    short = sign * np.minimum(sign * evidence.score, sign * target)
    used = replace(evidence, score=short, stderr=None, interval=None)
    if options.get("bounds", "auto") == "auto":
        # Scores that were cut to the target say nothing of how low a score can be.
        in_unit = evidence.score.min() >= 0 and evidence.score.max() <= 1
        options["bounds"] = (0.0, 1.0) if in_unit else None
    board = aggregate(used, statistic="mean", **options)
    settings: dict[str, Any] = {"target": target, **board.settings}
    return replace(
        board,
        rating=board.rating - sign * target,
        lower=np.minimum(board.lower - sign * target, 0.0),
        upper=np.minimum(board.upper - sign * target, 0.0),
        method="optimality-gap",
        unit="minus the optimality gap",
        settings=settings,
    )
