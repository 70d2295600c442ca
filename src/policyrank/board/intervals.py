"""Confidence sets for ranks, and what else can be read off draws of the ratings' errors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg.blas import dtrmm
from scipy.linalg.lapack import dpotrf
from scipy.special import ndtri, stdtrit
from threadpoolctl import threadpool_limits

from policyrank.errors import EvidenceError

Float = NDArray[np.float64]
Seed = int | np.random.Generator

MANY = 1000
"""Policies beyond which boards take shortcuts: fewer draws, no step-down."""

BLOCK = 128
"""Rows of draws that are compared at once."""


def generator(seed: Seed) -> np.random.Generator:
    """The generator that ``seed`` is, or that it starts.

    Examples
    --------
    >>> rng = generator(3)
    >>> generator(rng) is rng
    True
    """
    if isinstance(seed, np.random.Generator):
        return seed
    return np.random.default_rng(seed)


def quantile(p: float, df: float | None) -> float:
    """The ``p`` quantile of the standard normal, or of Student's t.

    ``df``: degrees of freedom of the t; None: normal.

    Examples
    --------
    >>> round(quantile(0.975, None), 2), round(quantile(0.975, 5), 2)
    (1.96, 2.57)
    """
    if df is None:
        return float(ndtri(p))
    return float(stdtrit(df, p))


def few_units(units: float) -> float:
    """By how much the spread of resamples of few units is widened.

    sqrt(n / (n - 1)), and Student's t in place of the normal.

    Examples
    --------
    >>> [round(few_units(units), 2) for units in (5, 30, 1000)]
    [1.58, 1.06, 1.0]
    """
    if units <= 1:
        return 1.0
    return float(np.sqrt(units / (units - 1)) * stdtrit(units - 1, 0.975) / ndtri(0.975))


def error_draws(
    covariance: ArrayLike, size: int, *, df: float | None = None, seed: Seed = 0
) -> Float:
    """Draws (size, n) of a centred normal (or, with ``df``, multivariate t) of this covariance.

    Examples
    --------
    >>> draws = error_draws([[1.0, 0.9], [0.9, 1.0]], 10_000)
    >>> np.cov(draws, rowvar=False).round(1).tolist()
    [[1.0, 0.9], [0.9, 1.0]]
    """
    rng = generator(seed)
    cov = np.asarray(covariance, dtype=float)
    draws = _correlated(rng.standard_normal((size, len(cov))), cov)
    if df is None:
        return draws
    return draws * np.sqrt(df / rng.chisquare(df, size))[:, None]


def _correlated(draws: Float, covariance: Float) -> Float:
    """draws @ R' with R R' = covariance; of thousands of columns the draws are overwritten."""
    if len(covariance) <= MANY:
        value, vector = np.linalg.eigh(covariance)
        return draws @ (vector * np.sqrt(np.clip(value, 0, None))).T
    # Eigenvectors of thousands take ten times as long; a ridge far below rounding of the draws
    # makes the centred covariance, which has a null direction, positive.
    ridge = 1e-10 * np.trace(covariance) / len(covariance)
    lower = covariance.copy()
    lower[np.diag_indices_from(lower)] += ridge
    with threadpool_limits(1, "blas"):
        root, failed = dpotrf(lower.T, lower=0, clean=0, overwrite_a=1)
    if failed:
        raise EvidenceError("the covariance of the ratings is not positive semidefinite.")
    correlated = dtrmm(1.0, root, draws.T, trans_a=1, overwrite_b=1)
    return np.asarray(correlated.T, dtype=np.float64)


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
    if draws is None and covariance is None:
        raise EvidenceError("give a covariance or draws")
    if draws is None:
        cov = np.asarray(covariance, dtype=float)
        z = error_draws(cov, size, df=df, seed=seed)
    elif covariance is None:
        z = np.asarray(draws, dtype=float)
        cov = np.cov(z, rowvar=False).reshape(n, n)
    else:
        cov, z = np.asarray(covariance, dtype=float), np.asarray(draws, dtype=float)
    certain = units is None or 0.5**units * n * (n - 1) / 2 <= 1 - level
    gaps = _Gaps(x, cov, certain=certain)
    columns = np.ascontiguousarray(z.T, dtype=np.float32)
    if not simultaneous:
        own = np.empty(n)
        for j in range(n):
            own[j] = np.quantile(_largest(columns, j, slice(None), gaps.scale(j)), level)
        statistic = gaps.statistics()
        return _sets(statistic > own[:, None], own[:, None] < statistic.T)
    critical = np.inf
    if n > 1:
        critical = float(np.quantile(_largest_of_all(columns, gaps), level))
    better = gaps.beyond(critical)
    while stepdown:
        critical = _stepped_down(columns, gaps, better, level, critical)
        sharper = better | gaps.beyond(critical)
        if (sharper == better).all():
            break
        better = sharper
    return _sets(better, better.T)


@dataclass(frozen=True, eq=False)
class _Gaps:
    """Studentised differences of ratings, a row at a time: (n, n) only where it is asked for."""

    rating: Float
    covariance: Float
    certain: bool

    @cached_property
    def floor(self) -> float:
        """The variance of a difference below which it is taken as known."""
        largest = float(np.max(np.abs(self.rating), initial=0.0))
        return 1e-12 * max(largest, 1e-300) ** 2

    @cached_property
    def own(self) -> Float:
        """The variance of each rating: (n,)."""
        return self.covariance.diagonal().copy()

    def variance(self, j: int) -> Float:
        """Of the differences between j and each other: (n,)."""
        return np.maximum(self.own[j] + self.own - 2 * self.covariance[j], 0)

    def scale(self, j: int) -> NDArray[np.float32]:
        """One over the standard deviation of each difference, 0 where it is known."""
        variance = self.variance(j)
        known = variance > self.floor
        sd = np.sqrt(np.where(known, variance, 1.0))
        return np.where(known, 1 / sd, 0.0).astype(np.float32)

    def statistic(self, j: int) -> Float:
        """The difference between j and each other over its standard deviation: (n,)."""
        gap = self.rating[j] - self.rating
        variance = self.variance(j)
        sure = np.zeros_like(gap)
        if self.certain:
            sure = np.where(gap > 0, np.inf, -np.inf)
        sure = np.where(np.abs(gap) > np.sqrt(self.floor), sure, 0.0)
        known = variance > self.floor
        return np.where(known, gap / np.sqrt(np.where(known, variance, 1.0)), sure)

    def statistics(self) -> Float:
        """All of them: (n, n)."""
        out = np.empty(self.covariance.shape)
        for j in range(len(out)):
            out[j] = self.statistic(j)
        return out

    def beyond(self, critical: float) -> NDArray[np.bool_]:
        """Where the row's statistic exceeds a critical value: (n, n)."""
        out = np.empty(self.covariance.shape, dtype=bool)
        for j in range(len(out)):
            out[j] = self.statistic(j) > critical
        return out


def _largest(
    draws: NDArray[np.float32],
    j: int,
    others: slice | NDArray[np.bool_],
    scale: NDArray[np.float32],
    *,
    signed: bool = False,
) -> NDArray[np.float32]:
    """The largest difference of each draw between j and ``others``, in units of their spread.

    ``draws``: (n, size). Blocks of a few hundred others stay in the processor's cache.
    """
    there = draws[others]
    top = np.full(draws.shape[1], -np.inf, dtype=np.float32)
    room = np.empty((BLOCK, draws.shape[1]), dtype=np.float32)
    for start in range(0, len(there), BLOCK):
        block = there[start : start + BLOCK]
        gap = np.subtract(draws[j], block, out=room[: len(block)])
        if not signed:
            np.abs(gap, out=gap)
        gap *= scale[start : start + BLOCK, None]
        np.maximum(top, gap.max(axis=0), out=top)
    return top


def _largest_of_all(draws: NDArray[np.float32], gaps: _Gaps) -> NDArray[np.float32]:
    """The largest studentised difference of each draw over all pairs: (size,).

    Others of like spread lie in one block. A block is left out where even its extremes, in units of
    its smallest spread, would not reach what was found before; those with the largest errors come
    first.
    """
    sd = np.sqrt(np.clip(gaps.covariance.diagonal(), 0, None))
    order = np.argsort(sd, kind="stable")
    there = draws[order]
    starts = np.arange(0, len(there), BLOCK)
    lowest, highest = np.minimum.reduceat(there, starts), np.maximum.reduceat(there, starts)
    reach = np.abs(draws).max(axis=1) / np.maximum(sd, 1e-300)
    top = np.zeros(draws.shape[1], dtype=np.float32)
    room = np.empty((BLOCK, draws.shape[1]), dtype=np.float32)
    for j in np.argsort(-reach, kind="stable"):
        scale = gaps.scale(j)[order]
        bound = np.maximum(draws[j] - lowest, highest - draws[j])
        bound *= np.maximum.reduceat(scale, starts)[:, None]
        for k in np.flatnonzero((bound > top).any(axis=1)):
            block = slice(starts[k], starts[k] + BLOCK)
            gap = np.subtract(draws[j], there[block], out=room[: len(there[block])])
            np.abs(gap, out=gap)
            gap *= scale[block, None]
            np.maximum(top, gap.max(axis=0), out=top)
    return top


def _stepped_down(
    draws: NDArray[np.float32],
    gaps: _Gaps,
    better: NDArray[np.bool_],
    level: float,
    critical: float,
) -> float:
    """The critical value over the hypotheses that are not rejected yet."""
    active = ~better
    np.fill_diagonal(active, False)
    top = np.full(draws.shape[1], -np.inf, dtype=np.float32)
    for j in np.flatnonzero(active.any(axis=1)):
        left = active[j]
        largest = _largest(draws, j, left, gaps.scale(j)[left], signed=True)
        np.maximum(top, largest, out=top)
    if not np.isfinite(top).all():
        return critical
    return float(np.quantile(top, level))


def _sets(wins: NDArray[np.bool_], losses: NDArray[np.bool_]) -> RankSets:
    """``wins[j, k]``: j's set says that j beats k; ``losses[j, k]``: that k beats j."""
    n = len(wins)
    return RankSets(1 + losses.sum(axis=1), n - wins.sum(axis=1), wins)


def rank_probabilities(rating: ArrayLike, draws: ArrayLike) -> NDArray[np.float64]:
    """How often each policy takes each rank when ``draws`` are added to the ratings: (n, ranks).

    Examples
    --------
    >>> rank_probabilities([1.0, 0.0], [[0.0, 0.0], [-2.0, 0.0]])
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    x = np.asarray(rating, dtype=float) + np.asarray(draws, dtype=float)
    n = x.shape[1]
    order = np.argsort(-x, axis=1, kind="stable")
    place = np.broadcast_to(np.arange(n), x.shape)
    times = np.full(n * n, 0.0)
    np.add.at(times, (order * n + place).ravel(), 1.0)
    times /= len(x)
    return times.reshape(n, n)
