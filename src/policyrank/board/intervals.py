"""Quantiles, and draws of the ratings' errors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtr, stdtrit
from threadpoolctl import threadpool_limits

from policyrank.errors import EvidenceError

Float = NDArray[np.float64]
Seed = int | np.random.Generator

MANY = 1000
"""Policies beyond which boards take shortcuts: fewer draws, no step-down."""


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


def quantile(p: float, df: ArrayLike | None) -> Any:
    """The ``p`` quantile of the standard normal, or of Student's t.

    ``df``: degrees of freedom of the t, one or an array of them; None or infinite: normal.

    Examples
    --------
    >>> round(quantile(0.975, None), 2), round(quantile(0.975, 5), 2)
    (1.96, 2.57)
    """
    if df is None:
        return float(ndtri(p))
    freedom = np.asarray(df, dtype=float)
    found = np.where(np.isinf(freedom), ndtri(p), stdtrit(freedom, p))
    return found if found.ndim else float(found)


def as_normal(t: ArrayLike, df: ArrayLike) -> Float:
    """Student's t as the normal deviate that is as rare; infinite ``df``: t itself, NaN: 0.

    Examples
    --------
    >>> as_normal([2.0, -2.0, 2.0], [3, 3, np.inf]).round(3)
    array([ 1.478, -1.478,  2.   ])
    """
    given, freedom = np.broadcast_arrays(np.asarray(t, dtype=float), np.asarray(df, dtype=float))
    tail = stdtr(freedom, -np.abs(given))
    deviate = np.copysign(ndtri(np.maximum(tail, 1e-300)), given)
    told = np.where(np.isinf(freedom), given, deviate)
    return np.where(np.isnan(freedom), 0.0, told)


def percentile_interval(
    rating: Float, draws: Float, df: ArrayLike | None, level: float
) -> tuple[Float, Float]:
    """Percentiles of draws of the errors, widened by Student's t over the normal at this level.

    Examples
    --------
    >>> draws = np.linspace(-1, 1, 201)[:, None]
    >>> low, high = percentile_interval(np.zeros(1), draws, 4, 0.9)
    >>> low.round(3), high.round(3)
    (array([-1.166]), array([1.166]))
    """
    p = (1 + level) / 2
    wider = quantile(p, df) / quantile(p, None)
    low, high = np.quantile(draws, [1 - p, p], axis=0)
    return rating + low * wider, rating + high * wider


def error_draws(covariance: ArrayLike, size: int, *, seed: Seed = 0) -> Float:
    """Draws (size, n) of a centred normal of this covariance.

    Examples
    --------
    >>> draws = error_draws([[1.0, 0.9], [0.9, 1.0]], 10_000)
    >>> np.cov(draws, rowvar=False).round(1).tolist()
    [[1.0, 0.9], [0.9, 1.0]]
    """
    cov = np.asarray(covariance, dtype=float)
    return _correlated(generator(seed).standard_normal((size, len(cov))), cov)


def _correlated(draws: Float, covariance: Float) -> Float:
    """draws @ R' with R R' = covariance; of thousands of columns the draws are overwritten."""
    if len(covariance) <= MANY:
        value, vector = np.linalg.eigh(covariance)
        return draws @ (vector * np.sqrt(np.clip(value, 0, None))).T
    from scipy.linalg.blas import dtrmm  # slow to import, and rarely needed
    from scipy.linalg.lapack import dpotrf

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
