"""How far simulated results order policies as real ones do, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.board.intervals import Seed, generator
from policyrank.errors import EvidenceError
from policyrank.evidence import Scores
from policyrank.evidence.scores import ALL
from policyrank.metrics import kendall_tau, mmrv, pearson, regret_at_1, spearman

Float = NDArray[np.float64]
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
class Cells:
    """Simulated and real results of the same policies and tasks.

    Attributes
    ----------
    policies, tasks
        names
    simulated, real
        (policies, tasks), means; NaN where there is none
    simulated_trials, real_trials
        (policies, tasks), how many each is of; None: not known
    notes
        what was left out
    """

    policies: tuple[str, ...]
    tasks: tuple[str, ...]
    simulated: Float
    real: Float
    simulated_trials: Float | None = None
    real_trials: Float | None = None
    notes: tuple[str, ...] = ()

    @property
    def both(self) -> NDArray[np.bool_]:
        """Cells that have both: (policies, tasks)."""
        return np.isfinite(self.simulated) & np.isfinite(self.real)


def cells_of_table(
    table: pl.DataFrame,
    *,
    policy: str = "policy",
    task: str | None = "task",
    simulated: str = "simulated",
    real: str = "real",
    simulated_trials: str | None = None,
    real_trials: str | None = None,
) -> Cells:
    """Cells of a table with a row a policy and task.

    Raises
    ------
    EvidenceError
        For a column that is not there, a cell that is there twice, or results that are no numbers.
    """
    named = (policy, task, simulated, real, simulated_trials, real_trials)
    for column in named:
        if column is not None and column not in table.columns:
            raise EvidenceError(
                f"there is no column {column!r}; there are {', '.join(table.columns)}."
            )
    names = table[policy].cast(pl.String).to_list()
    tasks = ["all"] * len(table) if task is None else table[task].cast(pl.String).to_list()
    rows, columns = tuple(dict.fromkeys(names)), tuple(dict.fromkeys(tasks))
    at = np.array([rows.index(name) for name in names])
    of = np.array([columns.index(name) for name in tasks])
    code = at * len(columns) + of
    twice = np.flatnonzero(np.bincount(code, minlength=len(rows) * len(columns)) > 1)
    if len(twice):
        place = divmod(int(twice[0]), len(columns))
        raise EvidenceError(
            f"{rows[place[0]]!r} on {columns[place[1]]!r} is there more than once: name another"
            " task column, or give episodes in two files."
        )

    def filled(column: str | None) -> Float | None:
        if column is None:
            return None
        values = np.full((len(rows), len(columns)), np.nan)
        try:
            values[at, of] = table[column].cast(pl.Float64).fill_null(np.nan).to_numpy()
        except pl.exceptions.InvalidOperationError:
            raise EvidenceError(f"column {column!r} holds what is no number.") from None
        return values

    sim, true = filled(simulated), filled(real)
    assert sim is not None
    assert true is not None
    return _told(Cells(rows, columns, sim, true, filled(simulated_trials), filled(real_trials)))


def cells_of_scores(simulated: Scores, real: Scores) -> Cells:
    """Cells of two sets of episodes, those that have both, with the number of episodes.

    Raises
    ------
    EvidenceError
        When no policy and task has both.
    """
    policies = tuple(name for name in real.policies if name in set(simulated.policies))
    of_both = [own.task.names for own in (simulated, real)]
    tasks = tuple(name for name in of_both[1] if name in set(of_both[0]))
    if not policies or not tasks:
        raise EvidenceError(
            f"no policy and task is in both: policies {_some(simulated.policies)} and"
            f" {_some(real.policies)}, tasks {_some(of_both[0])} and {_some(of_both[1])}."
        )
    parts = [_means(own, policies, tasks) for own in (simulated, real)]
    notes = []
    for what, own in (("simulated", simulated), ("real", real)):
        others = [name for name in own.policies if name not in policies]
        more = [name for name in own.task.names if name not in tasks]
        if others:
            notes.append(f"only {what}, left out: policies {_some(others)}")
        if more:
            notes.append(f"only {what}, left out: tasks {_some(more)}")
    (sim, sims), (true, trues) = parts
    return _told(Cells(policies, tasks, sim, true, sims, trues, tuple(notes)))


def _means(
    scores: Scores, policies: tuple[str, ...], tasks: tuple[str, ...]
) -> tuple[Float, Float]:
    """Means, and how many each is of: (policies, tasks) both; higher is better."""
    if scores.metric is not None and len(scores.metric.names) > 1:
        raise EvidenceError(
            f"there are several metrics ({_some(scores.metric.names)}): keep the rows of one."
        )
    shape = len(scores.policy.names), len(scores.task.names)
    cell = scores.policy.codes * shape[1] + scores.task.codes
    count = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape).astype(float)
    total = np.bincount(cell, scores.score, minlength=shape[0] * shape[1]).reshape(shape)
    mean = np.full(shape, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    lower = [_is_lower(scores, name) for name in scores.task.names]
    mean[:, lower] *= -1
    rows = [scores.policy.names.index(name) for name in policies]
    columns = [scores.task.names.index(name) for name in tasks]
    at = np.ix_(rows, columns)
    return mean[at], count[at]


def _is_lower(scores: Scores, task: str) -> bool:
    """Whether smaller values of a task are better."""
    known = {task, ALL, *(() if scores.metric is None else scores.metric.names)}
    return bool(known & scores.lower_is_better)


def _some(names: Any, most: int = 4) -> str:
    told = [str(name) for name in names]
    more = f" and {len(told) - most} more" if len(told) > most else ""
    return ", ".join(told[:most]) + more


def _told(cells: Cells) -> Cells:
    """With a note of what does not count."""
    if not cells.both.any():
        raise EvidenceError("no policy and task has both a simulated and a real result.")
    missing = int((~cells.both).sum())
    if not missing:
        return cells
    note = f"{missing} of {cells.both.size} cells have not both, and do not count"
    return replace(cells, notes=(*cells.notes, note))


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
        policies that are first on the mean over tasks that all have; None: no task has all
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
    best_simulated: str | None
    best_real: str | None
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
    if len(scopes[POOLED][0]) < FEWEST or len(np.unique(scopes[POOLED][1])) < FEWEST:
        raise EvidenceError(
            f"{len(np.unique(scopes[POOLED][1]))} policies have both results: an order is of"
            f" {FEWEST} or more."
        )
    noise = _noise(cells)
    rows = []
    for scope, (_, owner, values) in scopes.items():
        rows += list(_rows(cells, scope, values, owner, noise, level, draws, rng))
    frame = pl.DataFrame(rows, infer_schema_length=None)
    gap = _gap(cells, level, draws, rng)
    complete = np.asarray(cells.both.all(axis=0))
    best: list[str | None] = [None, None]
    if complete.any():
        means = [own[:, complete].mean(axis=1) for own in (cells.simulated, cells.real)]
        best = [cells.policies[int(np.argmax(own))] for own in means]
    ceiling = _ceiling(cells, noise)
    notes = [*cells.notes, *_notes(cells, noise, complete)]
    return Agreement(frame, cells, *gap, ceiling, best[0], best[1], level, tuple(notes))


Scope = tuple[NDArray[np.intp], NDArray[np.intp], Callable[[Float], Float]]
"""Cells (rows of both), the policy of each value, and (policies, tasks) -> the values."""


def _scopes(cells: Cells) -> Iterator[tuple[str, Scope]]:
    both = cells.both
    complete = both.all(axis=0)
    who, what = np.nonzero(both)
    if len(cells.tasks) > 1 and complete.any():
        everybody = np.arange(len(cells.policies))
        yield MEANS, (everybody, everybody, lambda own: own[..., complete].mean(axis=-1))
    yield POOLED, (who, who, lambda own: own[..., who, what])
    if len(cells.tasks) > 1:
        for task, name in enumerate(cells.tasks):
            of = np.flatnonzero(both[:, task])
            if len(of) >= FEWEST:
                yield name, (of, of, lambda own, of=of, task=task: own[..., of, task])  # type: ignore[misc]


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
        yield f"means leave out tasks that some policies have not: {_some(left)}"
