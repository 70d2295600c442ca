"""Statistics of scores over tasks and runs, and their errors on resampled tables."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Statistic = Callable[[Float], Float]
"""Of scores (..., tasks, n, runs): one number a policy, (..., n)."""


def _mean(cube: Float) -> Float:
    return np.nanmean(np.nanmean(cube, axis=-1), axis=-2)


def _median(cube: Float) -> Float:
    return np.nanmedian(np.nanmean(cube, axis=-1), axis=-2)


def _interquartile_mean(cube: Float) -> Float:
    """The mean of the middle half of all runs, tasks pooled; cut as by trim_mean(0.25)."""
    flat = np.sort(np.swapaxes(cube, -1, -2).reshape(*cube.shape[:-3], -1, cube.shape[-2]), axis=-2)
    count = (~np.isnan(flat)).sum(axis=-2, keepdims=True)
    place = np.arange(flat.shape[-2])[:, None]
    cut = count // 4
    middle = (place >= cut) & (place < count - cut)
    return np.where(middle, flat, 0).sum(axis=-2) / middle.sum(axis=-2)


LOWEST, TAIL = 0.05, 50
"""The share of runs that ``cvar`` is the mean of, and runs in it from which on resamples cover: 91%
to 95% of five laws at 50, 70% to 93% at 5 to 10.
"""


def short_tail(cube: Float) -> bool:
    """Whether the lowest runs of a policy are too few to say how sure their mean is."""
    runs = (~np.isnan(cube)).sum(axis=(0, 2)).min()
    return bool(LOWEST * runs < TAIL)


def _cvar(cube: Float) -> Float:
    """The mean of the lowest 5% of all runs, tasks pooled; the run at the cut counts in part.

    Conditional value at risk (Rockafellar and Uryasev 2000).
    """
    flat = np.sort(np.swapaxes(cube, -1, -2).reshape(*cube.shape[:-3], -1, cube.shape[-2]), axis=-2)
    count = (~np.isnan(flat)).sum(axis=-2, keepdims=True)
    place = np.arange(flat.shape[-2])[:, None]
    weight = np.clip(LOWEST * count - place, 0.0, 1.0)
    return np.where(weight > 0, flat * weight, 0.0).sum(axis=-2) / weight.sum(axis=-2)


def _mean_rank(cube: Float) -> Float:
    table = np.nanmean(cube, axis=-1)
    above = (table[..., None, :] > table[..., None]).sum(axis=-1) + 0.5 * (
        table[..., None, :] == table[..., None]
    ).sum(axis=-1)
    return -np.nanmean(np.where(np.isnan(table), np.nan, above + 0.5), axis=-2)


def _win_rate(cube: Float) -> Float:
    """Probability that a run of the policy beats one of another policy on the same task, ties half;
    mean over both.
    """
    weight = (~np.isnan(cube)).astype(float)[None]
    return np.nanmean(_rates(cube, weight)[0], axis=0)


def _rates(cube: Float, weight: Float) -> Float:
    """Mean win rate over opponents by task, runs weighted: weights (batch, tasks, n, runs) ->
    (batch, tasks, n).
    """
    tasks, n, _ = cube.shape
    share = weight / np.maximum(weight.sum(axis=-1, keepdims=True), 1e-300)
    out = np.full((len(weight), tasks, n), np.nan)
    for t in range(tasks):
        measured = ~np.isnan(cube[t]).all(axis=-1)
        x = np.where(np.isnan(cube[t]), 0.0, cube[t])
        rate = np.zeros((len(weight), n))
        for j in np.flatnonzero(measured):
            wins = 0.5 + 0.5 * np.sign(x[:, :, None] - x[j])
            beaten = np.einsum("bnr,nrb->bn", share[:, t], wins @ share[:, t, j].T)
            beaten[:, j] = 0
            rate += beaten
        if measured.sum() > 1:
            out[:, t, measured] = rate[:, measured] / (measured.sum() - 1)
    return out


def _z_score(cube: Float) -> Float:
    table = np.nanmean(cube, axis=-1)
    spread = np.nanstd(table, axis=-1, keepdims=True)
    off = table - np.nanmean(table, axis=-1, keepdims=True)
    return np.nanmean(
        np.divide(off, spread, out=np.where(np.isnan(off), np.nan, 0.0), where=spread > 0), axis=-2
    )


STATISTICS: dict[str, tuple[Statistic, str]] = {
    "mean": (_mean, "mean score"),
    "median": (_median, "median over tasks"),
    "interquartile-mean": (_interquartile_mean, "mean of the middle half of runs"),
    "cvar": (_cvar, "mean of the lowest 5% of runs"),
    "mean-rank": (_mean_rank, "minus the mean rank"),
    "win-rate": (_win_rate, "probability to beat another policy"),
    "z-score": (_z_score, "mean z-score"),
}


def resampled(
    cube: Float,
    function: Statistic,
    rating: Float,
    draw: str,
    paired: bool,
    resamples: int,
    rng: np.random.Generator,
) -> tuple[Float, float]:
    """Errors of the statistic on resampled tables, and their degrees of freedom."""
    tasks, n, runs = cube.shape
    # The runs of a cell first, so that a draw below its number of runs is one of them.
    packed = np.take_along_axis(cube, np.argsort(np.isnan(cube), axis=2, kind="stable"), axis=2)
    number = (~np.isnan(cube)).sum(axis=2)
    size = max(1, min(resamples, 4_000_000 // (cube.size * (n if function is _mean_rank else 1))))
    out = []
    for start in range(0, resamples, size):
        batch = min(size, resamples - start)
        uniform = rng.random((batch, tasks, 1 if paired else n, runs))
        runs_drawn = (uniform * np.maximum(number, 1)[..., None]).astype(np.int64)
        tasks_drawn = rng.integers(tasks, size=(batch, tasks))
        if function is _win_rate:
            weight = np.broadcast_to(
                (np.arange(runs) < number[..., None]).astype(float),
                (1 if draw == "tasks" else batch, *cube.shape),
            )
            if draw != "tasks":
                cell = np.arange(batch * tasks * n).reshape(batch, tasks, n, 1) * runs + runs_drawn
                live = np.broadcast_to(weight, runs_drawn.shape).ravel()
                weight = np.bincount(cell.ravel(), live, batch * cube.size).reshape(
                    runs_drawn.shape
                )
            rates = np.broadcast_to(_rates(packed, weight), (batch, tasks, n))
            rates = (
                rates
                if draw == "replicates"
                else np.take_along_axis(rates, tasks_drawn[..., None], axis=1)
            )
            out.append(np.nanmean(rates, axis=1))
            continue
        sample = np.broadcast_to(packed, (batch, *packed.shape))
        if draw != "tasks":
            sample = np.where(
                np.arange(runs) < number[..., None],
                np.take_along_axis(sample, runs_drawn, axis=3),
                np.nan,
            )
        if draw != "replicates":
            sample = sample[np.arange(batch)[:, None], tasks_drawn]
        out.append(function(sample))
    errors = np.concatenate(out) - rating
    errors = np.where(np.isnan(errors), 0.0, errors)
    if draw != "replicates":
        return errors * np.sqrt(tasks / max(tasks - 1, 1)), max(tasks - 1.0, 1.0)
    units = float(np.median(number[number > 0]))
    df = max(float((number - 1).clip(0).sum(axis=0).mean()), 1.0)
    return errors * np.sqrt(units / max(units - 1, 1)), df
