"""Errors of mean scores: over tasks as a sample, or over replicates inside tasks; units whole."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from policyrank.board.bounded import clopper_pearson, dispersion, gaffke, q_wilson
from policyrank.board.clusters import ALONE, satterthwaite
from policyrank.board.intervals import as_normal
from policyrank.board.leaderboard import Note
from policyrank.errors import EvidenceError
from policyrank.evidence import Scores
from policyrank.ranking.ballot_errors import share_errors

Float = NDArray[np.float64]

FEW_PASSES = 20
"""Tasks below which Wilson's interval misses some pass rates in more than 7 of 100 samples."""


class MeanErrors(NamedTuple):
    """Of means of columns.

    ``mean`` (n,), ``covariance`` (n, n), ``df`` (n, n) of each mean and each difference (NaN: it
    rests on one unit), ``units`` (n,) effective number and ``rows`` (n,) number of values.
    """

    mean: Float
    covariance: Float
    df: Float
    units: Float
    rows: Float


def over_units(values: Float, cluster: NDArray[np.int64] | None = None) -> MeanErrors:
    """Of means over rows (rows, n), clusters of rows whole (CR2); NaN: not measured.

    Policies that share rows are compared on them: their errors covary.

    Examples
    --------
    >>> found = over_units(np.array([[1.0, 2], [2, 4], [6, 6]]))
    >>> found.covariance.round(3).tolist(), found.df.round(6).tolist()
    ([[2.333, 1.667], [1.667, 1.333]], [[2.0, 2.0], [2.0, 2.0]])
    """
    there = ~np.isnan(values)
    rows = there.sum(axis=0).astype(float)
    mean = np.nansum(values, axis=0) / np.maximum(rows, 1)
    influence = np.where(there, values - mean, 0.0) / np.maximum(rows, 1)
    if cluster is None:
        cluster = np.arange(len(values))
    return _clustered(mean, influence, there / np.maximum(rows, 1), cluster, rows)


def _clustered(
    mean: Float, influence: Float, share: Float, cluster: NDArray[np.int64], rows: Float
) -> MeanErrors:
    """From each row's influence on the means and its share of them: (rows, n)."""
    size = int(cluster.max()) + 1
    sums, shares = np.zeros((size, len(mean))), np.zeros((size, len(mean)))
    np.add.at(sums, cluster, influence)
    np.add.at(shares, cluster, share)
    alone = shares.max(axis=0) > ALONE
    inflated = sums / np.sqrt(np.where(shares < ALONE, 1 - shares, 1.0))
    own = np.full(len(mean), np.nan)
    for policy in np.flatnonzero(~alone):
        own[policy] = satterthwaite(shares[:, policy])
    df = np.minimum(own[:, None], own)
    units = 1 / np.maximum((shares**2).sum(axis=0), 1e-300)
    return MeanErrors(mean, inflated.T @ inflated, df, units, rows)


def inside_tasks(
    cube: Float, *, paired: bool, cluster: NDArray[np.int64] | None = None
) -> MeanErrors:
    """Of means over tasks of the mean over replicates, tasks as they are: (tasks, n, replicates).

    A task with one replicate varies as the others do. ``paired``: a replicate is one fortune for
    all policies. ``cluster``: (tasks * replicates,), replicates that share more.
    """
    there = ~np.isnan(cube)
    number = there.sum(axis=2)
    with np.errstate(invalid="ignore"):
        task_mean = np.where(number > 0, np.nansum(cube, axis=2) / np.maximum(number, 1), np.nan)
    tasks = (number > 0).sum(axis=0)
    mean = np.nansum(task_mean, axis=0) / np.maximum(tasks, 1)
    off = np.where(there, cube - np.nan_to_num(task_mean)[:, :, None], 0.0)
    freedom = np.maximum(number - 1, 0)
    spread = (off**2).sum(axis=2) / np.maximum(freedom, 1)
    pooled = (off**2).sum(axis=(0, 2)) / np.maximum(freedom.sum(axis=0), 1)
    of_task = np.where(freedom > 0, spread, pooled) / np.maximum(number, 1) / tasks**2
    of_task = np.where(number > 0, of_task, 0.0)
    variance = of_task.sum(axis=0)
    squares = (of_task**2 / np.maximum(freedom, 1)).sum(axis=0)
    df = np.where(variance > 0, variance**2 / np.maximum(squares, 1e-300), freedom.sum(axis=0))
    df = np.where(freedom.sum(axis=0) > 0, np.maximum(df, 1.0), np.nan)
    rows = number.sum(axis=0).astype(float)
    weight = 1 / np.maximum(number * tasks, 1)
    units = 1 / np.maximum((number * weight**2).sum(axis=0), 1e-300)
    if cluster is not None:
        shared = (number / np.maximum(number - 1, 1)) ** 0.5
        influence = off * (weight * shared)[:, :, None]
        share = there * weight[:, :, None]
        flat = [part.transpose(0, 2, 1).reshape(-1, len(mean)) for part in (influence, share)]
        return _clustered(mean, flat[0], flat[1], cluster, rows)
    if not paired:
        both = variance[:, None] + variance
        parts = variance**2 / df
        pairs = both**2 / np.maximum(parts[:, None] + parts, 1e-300)
        pairs = np.where(both > 0, pairs, df[:, None] + df)
        np.fill_diagonal(pairs, df)
        return MeanErrors(mean, np.diag(variance), pairs, units, rows)
    scaled = off * (np.sqrt(number / np.maximum(freedom, 1)) * weight)[:, :, None]
    covariance = np.einsum("tik,tjk->ij", scaled, scaled)
    np.fill_diagonal(covariance, variance)
    return MeanErrors(mean, covariance, np.minimum(df[:, None], df), units, rows)


def known(errors: MeanErrors, bounds: tuple[float, float] | None, level: float) -> dict[str, Any]:
    """What ``make_leaderboard`` takes: intervals by q-Wilson within bounds, else Student's t.

    Differences are judged by t, their variance with one pseudo-unit of the typical pair's: a pair
    whose few differences happened to agree is not certain.
    """
    covariance = np.nan_to_num(errors.covariance)
    unknown = np.isnan(errors.df.diagonal())
    if unknown.any() and not unknown.all():
        # Whose error is not known is drawn as widely as the widest: it settles nothing.
        widest = covariance.diagonal()[~unknown].max()
        covariance[unknown, unknown] = widest
    own = covariance.diagonal()
    gaps = np.maximum(own[:, None] + own - 2 * covariance, 0)
    typical = float(gaps.sum() / max(gaps.size - len(gaps), 1))
    df = np.nan_to_num(errors.df, nan=1.0)
    spread = np.sqrt((df * gaps + typical) / (df + 1))
    gap = errors.mean[:, None] - errors.mean
    varies = spread > 1e-9 * max(float(np.abs(gap).max()), 1e-300)
    z = as_normal(np.divide(gap, spread, out=np.zeros_like(gap), where=varies), errors.df)
    # Where nothing varies, units that all agree are as good as so many equal signs.
    agreed = -ndtri(0.5 ** np.minimum(np.minimum(errors.units[:, None], errors.units), 100))
    z = np.where(varies, z, np.sign(np.where(np.abs(gap) > 1e-12, gap, 0.0)) * agreed)
    found = {"covariance": covariance, "df": errors.df, "z": z}
    if bounds is None:
        return found
    low, scale = bounds[0], bounds[1] - bounds[0]
    # Of clusters of m values one knows beforehand a quarter as units, three quarters as values.
    clumped = 0.25 + 0.75 * errors.units / np.maximum(errors.rows, 1)
    null = clumped / (4 * errors.units)
    mean, of_mean = (errors.mean - low) / scale, own / scale**2
    freedom = errors.df.diagonal()
    ends = q_wilson(mean, dispersion(mean, of_mean, null, freedom), freedom, level)
    return {**found, "ends": low + scale * np.stack(ends, axis=1)}


def mean_errors(
    evidence: Scores,
    cube: Float,
    draw: str,
    paired: bool,
    bounds: tuple[float, float] | None,
    level: float,
    notes: list[Note],
) -> dict[str, Any]:
    """What ``make_leaderboard`` takes of the mean over tasks of the mean over replicates.

    ``cube``: oriented scores (tasks, n, replicates); ``draw``: "tasks" or "replicates". Adds notes
    on what was taken as independent.
    """
    tasks, _, runs = cube.shape
    unit = None
    if draw == "tasks":
        table = np.nanmean(cube, axis=2)
        if evidence.unit is not None:
            unit = evidence.unit_of_cells().max(axis=1)
        passes = unit is None and not np.isnan(table).any() and np.isin(np.abs(table), (0, 1)).all()
        errors = over_units(table, unit)
        what = f"{tasks} tasks, the same for all policies"
    else:
        table = cube[0].T
        if evidence.unit is not None:
            unit = evidence.unit_of_cells().ravel()
        passes = unit is None and tasks == 1 and paired and np.isin(np.abs(table), (0, 1)).all()
        errors = inside_tasks(cube, paired=paired, cluster=unit)
        what = f"{runs} replicates a task" + (", the same for all policies" if paired else "")
    if unit is not None:
        what = f"{len(np.unique(unit[unit >= 0]))} units, taken whole"
        if errors.units.min() < 0.9 * len(np.unique(unit[unit >= 0])):
            what += f" (as good as {errors.units.min():.1f} of one size)"
    text = f"Intervals rest on {what}."
    if bounds is not None and not passes:
        text += " Failures that none of them showed are not in them; interval='exact' holds anyway."
    notes.append(Note("units", text))
    if passes and len(table) < FEW_PASSES:
        text = (
            f"Wilson's intervals of {len(table)} tasks cover as often as said on average over pass"
            " rates, less often for some near 0 or 1; interval='exact' covers at every rate."
        )
        notes.append(Note("few units", text))
    if passes and bounds in ((0.0, 1.0), (-1.0, 0.0)):
        low = bounds[0]
        found = share_errors(
            table - low, np.ones(len(table)), units=len(table), counted=True, level=level
        )
        return {**found, "ends": found["ends"] + low}
    return known(errors, bounds, level)


def exact_ends(
    evidence: Scores, cube: Float, draw: str, bounds: tuple[float, float] | None, level: float
) -> Float:
    """Ends of intervals over tasks that hold whatever the law of the scores: (n, 2)."""
    table = np.nanmean(cube, axis=2)
    if draw != "tasks" or bounds is None or evidence.unit is not None:
        raise EvidenceError(
            "interval='exact' is of means over independent tasks whose scores have known bounds."
            " Give bounds=(lowest, highest), and resample='tasks'."
        )
    low, scale = bounds[0], bounds[1] - bounds[0]
    ends = []
    for column in table.T:
        share = (column[~np.isnan(column)] - low) / scale
        if np.isin(share, (0.0, 1.0)).all():
            ends.append(clopper_pearson(share.mean(), len(share), level))
        else:
            ends.append(gaffke(share, level))
    return low + scale * np.array(ends, dtype=float)
