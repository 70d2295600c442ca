"""How far simulated results order policies as real ones do, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.board.intervals import Seed, generator
from policyrank.errors import EvidenceError
from policyrank.evaluation.sim_cells import Cells, Float, names_of
from policyrank.metrics import kendall_tau, mmrv, pearson, regret_at_1, spearman

Measure = Callable[[Float, Float], float]

AGREEMENTS: dict[str, Measure] = {
    "Pearson": pearson,
    "Spearman": spearman,
    "Kendall": kendall_tau,
    "MMRV": mmrv,
    "regret@1": regret_at_1,
}
"""Name -> (real, simulated) -> agreement. MMRV and regret are 0 at best, in the unit of real."""

FEWEST, FEW = 3, 6
"""Policies that an order is of, at least; and that an interval is of."""

MEANS, POOLED = "policies' means", "all cells"


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far simulation orders policies as reality does.

    Attributes
    ----------
    frame
        a row an agreement and a scope: measure, scope, policies, value, lower, upper, and the least
        and largest value with one policy, or one task, left out
    cells
        what it is of
    gap, gap_lower, gap_upper
        mean of simulated less real results
    ceiling
        the Pearson correlation that perfect simulation would show, given the noise of trials; NaN:
        trials are not known
    best_simulated, best_real
        policies that are first on the mean over tasks that all have, several where they tie; none
        where no task has all
    level
        of the intervals
    notes
        what a careful reader should know
    """

    frame: pl.DataFrame
    cells: Cells
    gap: float
    gap_lower: float
    gap_upper: float
    ceiling: float
    best_simulated: tuple[str, ...]
    best_real: tuple[str, ...]
    level: float
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, with findings as an audit has them."""
        from policyrank.evaluation.sim_findings import findings

        return findings(self)

    def plot(self, path: Any = None, *, title: str | None = None) -> Any:
        """Simulated against real results, a mark a cell."""
        from policyrank.evaluation.sim_findings import draw

        return draw(self, path, title=title)


def sim_agreement(
    cells: Cells, *, level: float = 0.95, draws: int = 1000, seed: Seed = 0
) -> Agreement:
    """Agreement of simulated and real results: over policies' means, all cells, and each task.

    Intervals are of a bootstrap over policies, whose results are drawn anew as binomial where
    trials are known and results are shares. Cells of tasks mix how hard tasks are with how good
    policies are: look at the means first.

    Parameters
    ----------
    cells
        what is compared
    level
        of the intervals
    draws
        of the bootstrap
    seed
        of the draws

    Raises
    ------
    EvidenceError
        For fewer than three policies that have both results.

    References
    ----------
    Li et al. (2024), arXiv 2405.05941 (MMRV).
    """
    rng = generator(seed)
    scopes = dict(_scopes(cells))
    there = len(np.unique(scopes[POOLED][0]))
    if there < FEWEST:
        raise EvidenceError(f"{there} policies have both results: an order is of {FEWEST} or more.")
    noise = _noise(cells)
    rows = []
    for scope, (owner, values) in scopes.items():
        rows += list(_rows(cells, scope, values, owner, noise, level, draws, rng))
    frame = pl.DataFrame(rows, infer_schema_length=None)
    gap = _gap(cells, level, draws, rng)
    complete = np.asarray(cells.both.all(axis=0))
    best: list[tuple[str, ...]] = [(), ()]
    if complete.any():
        means = [own[:, complete].mean(axis=1) for own in (cells.simulated, cells.real)]
        best = [_first(cells.policies, own) for own in means]
    ceiling = _ceiling(cells, noise)
    notes = [*cells.notes, *_notes(cells, noise, complete)]
    return Agreement(frame, cells, *gap, ceiling, best[0], best[1], level, tuple(notes))


def _first(names: tuple[str, ...], means: Float) -> tuple[str, ...]:
    """Who has the highest mean, up to rounding."""
    return tuple(names[row] for row in np.flatnonzero(np.isclose(means, means.max())))


Scope = tuple[NDArray[np.intp], Callable[[Float], Float]]
"""The policy of each value, and (..., policies, tasks) -> the values."""


def _scopes(cells: Cells) -> Iterator[tuple[str, Scope]]:
    both = cells.both
    complete = np.asarray(both.all(axis=0))
    who, what = np.nonzero(both)
    if len(cells.tasks) > 1 and complete.any():
        yield MEANS, (np.arange(len(cells.policies)), partial(_mean_of, complete))
    yield POOLED, (who, partial(_at, who, what))
    if len(cells.tasks) > 1:
        for task, name in enumerate(cells.tasks):
            of = np.flatnonzero(both[:, task])
            if len(of) >= FEWEST:
                yield name, (of, partial(_at, of, np.full_like(of, task)))


def _mean_of(tasks: NDArray[np.bool_], own: Float) -> Float:
    return np.asarray(own[..., tasks].mean(axis=-1))


def _at(who: NDArray[np.intp], what: NDArray[np.intp], own: Float) -> Float:
    return own[..., who, what]


def _noise(cells: Cells) -> bool:
    """Whether trials can be drawn anew: they are known, and results are shares."""
    if cells.real_trials is None:
        return False
    values = cells.real[cells.both]
    return bool(((values >= 0) & (values <= 1)).all())


def _drawn(values: Float, trials: Float | None, draws: int, rng: np.random.Generator) -> Float:
    """Results drawn anew: (draws, policies, tasks)."""
    if trials is None:
        return np.broadcast_to(values, (draws, *values.shape))
    there = np.isfinite(values) & (trials > 0)
    share = np.clip(np.where(there, values, 0.0), 0, 1)
    count = np.where(there, trials, 1).astype(int)
    found = rng.binomial(count, share, (draws, *values.shape)) / count
    return np.where(there, found, values)


def _rows(
    cells: Cells,
    scope: str,
    values: Callable[[Float], Float],
    owner: NDArray[np.intp],
    noise: bool,
    level: float,
    draws: int,
    rng: np.random.Generator,
) -> Iterator[dict[str, Any]]:
    real, sim = values(cells.real), values(cells.simulated)
    trials = cells.real_trials if noise else None
    sims = cells.simulated_trials if noise else None
    again_real = values(_drawn(cells.real, trials, draws, rng))
    again_sim = values(_drawn(cells.simulated, sims, draws, rng))
    policies = np.unique(owner)
    places = [np.flatnonzero(owner == name) for name in policies]
    chosen = rng.integers(len(policies), size=(draws, len(policies)))
    samples = []
    for draw, picked in enumerate(chosen):
        rows = np.concatenate([places[own] for own in picked])
        samples.append((again_real[draw, rows], again_sim[draw, rows]))
    left = [np.flatnonzero(owner != name) for name in policies]
    for name, measure in AGREEMENTS.items():
        without = [measure(real[rows], sim[rows]) for rows in left if len(rows) >= 2]
        again = np.array([measure(*own) for own in samples])
        low, high = _interval(again if len(policies) >= FEW else again * np.nan, level)
        yield {
            "measure": name,
            "scope": scope,
            "policies": len(policies),
            "value": measure(real, sim),
            "lower": low,
            "upper": high,
            "least_left_out": _extreme(without, np.min),
            "most_left_out": _extreme(without, np.max),
        }


def _interval(values: Float, level: float) -> tuple[float, float]:
    """Percentiles; NaN where a tenth of the draws have no value, or all have the same.

    Few policies that happen to be in order are so in each resample: that is not certainty.
    """
    there = values[np.isfinite(values)]
    if len(there) >= 0.9 * len(values):
        low, high = np.quantile(there, [(1 - level) / 2, (1 + level) / 2])
        if high > low:
            return float(low), float(high)
    return float("nan"), float("nan")


def _extreme(values: list[float], of: Callable[[Any], Any]) -> float:
    there = [own for own in values if np.isfinite(own)]
    return float(of(there)) if there else float("nan")


def _gap(
    cells: Cells, level: float, draws: int, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Mean of simulated less real over cells, policies resampled."""
    apart = np.where(cells.both, cells.simulated - cells.real, 0.0)
    total, count = apart.sum(axis=1), cells.both.sum(axis=1)
    there = np.flatnonzero(count)
    picked = there[rng.integers(len(there), size=(draws, len(there)))]
    again = total[picked].sum(axis=1) / count[picked].sum(axis=1)
    low, high = _interval(again, level)
    return float(total.sum() / count.sum()), low, high


def _ceiling(cells: Cells, noise: bool) -> float:
    """Pearson of real results with their own true values, over all cells: the root of the share of
    their variance that is not binomial noise."""
    if not noise:
        return float("nan")
    assert cells.real_trials is not None
    values, trials = cells.real[cells.both], cells.real_trials[cells.both]
    spread = float(np.var(values, ddof=1)) if len(values) > 1 else 0.0
    several = np.maximum(trials - 1, 1)
    own = float((values * (1 - values) / several).mean())
    return float(np.sqrt(max(0.0, 1 - own / spread))) if spread > 0 else float("nan")


def _notes(cells: Cells, noise: bool, complete: NDArray[np.bool_]) -> Iterator[str]:
    policies = cells.both.sum(axis=0)
    if (policies < FEW).any() or len(cells.policies) < FEW:
        yield (
            f"there is no interval of fewer than {FEW} policies, nor where all draws agree:"
            " correlations of so few move a lot with each of them"
        )
    if cells.real_trials is None:
        yield (
            "how many trials each real result is of is not known: intervals hold the choice of"
            " policies alone"
        )
    elif not noise:
        yield "results are not all shares: intervals hold the choice of policies alone"
    else:
        few = cells.real_trials[cells.both].min()
        if few < 50:
            error = 100 * np.sqrt(0.25 / few)
            yield (
                f"real results are of as few as {few:.0f} trials: a share of one half is then known"
                f" to {error:.0f} points (a standard error)"
            )
    if len(cells.tasks) > 1 and not complete.any():
        yield "no task has all policies: means over tasks would not be of the same tasks"
    elif len(cells.tasks) > 1 and not complete.all():
        left = [name for name, full in zip(cells.tasks, complete, strict=True) if not full]
        yield f"means leave out tasks that some policies have not: {names_of(left)}"
