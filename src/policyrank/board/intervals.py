"""Confidence sets for ranks, and what else can be read off draws of the ratings' errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

from policyrank.errors import EvidenceError

Seed = int | np.random.Generator


def generator(seed: Seed) -> np.random.Generator:
    """The generator that ``seed`` is, or that it starts."""
    return seed if isinstance(seed, np.random.Generator) else np.random.default_rng(seed)


def quantile(p: float, df: float | None) -> float:
    """The ``p`` quantile of the standard normal, or of Student's t with ``df`` degrees of freedom."""
    return float(ndtri(p)) if df is None else float(stdtrit(df, p))


def few_units(units: float) -> float:
    """By how much the spread of resamples of few units is widened: sqrt(n / (n - 1)) and Student's
    t in place of the normal.
    """
    return (
        float(np.sqrt(units / (units - 1)) * stdtrit(units - 1, 0.975) / ndtri(0.975))
        if units > 1
        else 1.0
    )


def error_draws(
    covariance: ArrayLike, size: int, *, df: float | None = None, seed: Seed = 0
) -> NDArray[np.float64]:
    """Draws (size, n) of a centred normal (or, with ``df``, multivariate t) with this covariance."""
    rng = generator(seed)
    value, vector = np.linalg.eigh(np.asarray(covariance, dtype=float))
    z = rng.standard_normal((size, len(value))) @ (vector * np.sqrt(np.clip(value, 0, None))).T
    return z if df is None else z * np.sqrt(df / rng.chisquare(df, size))[:, None]


@dataclass(frozen=True, eq=False)
class RankSets:
    """Confidence sets for ranks.

    Attributes
    ----------
    lower, upper
        int (n,), the best and the worst rank in the set of each policy
    better
        bool (n, n): row is better than column, at this level
    """

    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    better: NDArray[np.bool_]


def rank_confidence_sets(
    rating: ArrayLike,
    covariance: ArrayLike | None = None,
    *,
    draws: ArrayLike | None = None,
    level: float = 0.95,
    simultaneous: bool = True,
    stepdown: bool = True,
    size: int = 1000,
    df: float | None = None,
    units: float | None = None,
    seed: Seed = 0,
) -> RankSets:
    """Confidence sets for the ranks of policies whose ratings were estimated with error.

    The largest studentised difference over pairs gives one critical value for all comparisons. A
    policy's rank set leaves out the places of those that are significantly better, and of those
    that are significantly worse.

    Parameters
    ----------
    rating
        float (n,), estimates, higher is better
    covariance
        float (n, n), of the estimates; or
    draws
        float (size, n), of the estimates' errors (bootstrap replicates minus the estimate)
    level
        coverage in (0, 1)
    simultaneous
        whether all sets cover together (with probability ``level``), or each on its own
    stepdown
        sharpen the simultaneous sets by testing again without the hypotheses already rejected
    size
        how many draws from ``covariance``
    df
        degrees of freedom of the covariance estimate; None: normal
    units
        how many independent units (ballots, tasks, comparisons) the estimates rest on. A difference
        that never varied is then taken as certain only when that many agreeing units would pass a
        sign test over all pairs; None: always
    seed
        int or Generator

    Returns
    -------
    RankSets

    References
    ----------
    Mogstad, Romano, Shaikh and Wilhelm (2024), "Inference for Ranks with Applications to Mobility
    across Neighborhoods and Academic Achievement across Countries", Review of Economic Studies
    91(1); step-down after Romano and Wolf (2005).

    Examples
    --------
    >>> sets = rank_confidence_sets([3.0, 1.0, 0.9], np.eye(3) * 0.01)
    >>> sets.lower, sets.upper
    (array([1, 2, 2]), array([1, 3, 3]))
    """
    x = np.asarray(rating, dtype=float)
    n = len(x)
    if not 0 < level < 1:
        raise EvidenceError(f"level is {level}; it lies between 0 and 1, for example 0.95")
    if draws is None:
        if covariance is None:
            raise EvidenceError("give a covariance or draws")
        cov = np.asarray(covariance, dtype=float)
        z = error_draws(cov, size, df=df, seed=seed)
    else:
        z = np.asarray(draws, dtype=float)
        cov = (
            np.cov(z, rowvar=False).reshape(n, n)
            if covariance is None
            else np.asarray(covariance, dtype=float)
        )
    variance = np.clip(cov.diagonal()[:, None] + cov.diagonal() - 2 * cov, 0, None)
    floor = 1e-12 * max(float(np.max(np.abs(x), initial=0.0)), 1e-300) ** 2
    known = variance > floor
    sd = np.sqrt(np.where(known, variance, 1.0))
    gap = x[:, None] - x
    enough = units is None or 0.5**units * n * (n - 1) / 2 <= 1 - level
    certain = np.where(gap > 0, np.inf, -np.inf) if enough else np.zeros_like(gap)
    stat = np.where(known, gap / sd, np.where(np.abs(gap) > np.sqrt(floor), certain, 0.0))
    scale = np.where(known, 1 / sd, 0.0).astype(np.float32)
    z32 = z.astype(np.float32)
    largest = np.empty((len(z32), n), dtype=np.float32)
    for j in range(n):
        largest[:, j] = np.abs((z32[:, j, None] - z32) * scale[j]).max(axis=1)
    if not simultaneous:
        own = np.quantile(largest, level, axis=0)
        return _sets(stat > own[:, None], own[:, None] < stat.T)
    critical = float(np.quantile(largest.max(axis=1), level))
    better = stat > critical
    while stepdown:
        active = ~better
        np.fill_diagonal(active, False)
        top = np.full(len(z32), -np.inf, dtype=np.float32)
        for j in range(n):
            k = active[j]
            if k.any():
                np.maximum(top, ((z32[:, j, None] - z32[:, k]) * scale[j, k]).max(axis=1), out=top)
        critical = float(np.quantile(top, level)) if np.isfinite(top).all() else critical
        sharper = better | (stat > critical)
        if (sharper == better).all():
            break
        better = sharper
    return _sets(better, better.T)


def _sets(wins: NDArray[np.bool_], losses: NDArray[np.bool_]) -> RankSets:
    """``wins[j, k]``: j's set says that j beats k; ``losses[j, k]``: that k beats j."""
    n = len(wins)
    return RankSets(1 + losses.sum(axis=1), n - wins.sum(axis=1), wins)


def rank_probabilities(rating: ArrayLike, draws: ArrayLike) -> NDArray[np.float64]:
    """How often each policy takes each rank when ``draws`` are added to the ratings: (n, ranks)."""
    x = np.asarray(rating, dtype=float) + np.asarray(draws, dtype=float)
    n = x.shape[1]
    order = np.argsort(-x, axis=1, kind="stable")
    place = np.broadcast_to(np.arange(n), x.shape)
    counts = np.bincount((order * n + place).ravel(), minlength=n * n)
    return counts.reshape(n, n) / len(x)
