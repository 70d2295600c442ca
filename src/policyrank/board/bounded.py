"""Intervals for means of values with a known range: never outside it, never of width zero."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

from policyrank.board.clusters import clustered_mean
from policyrank.board.intervals import as_normal, quantile
from policyrank.errors import EvidenceError

Float = NDArray[np.float64]

GAFFKE_DRAWS = 20_000


def wilson(mean: ArrayLike, units: ArrayLike, level: float = 0.95) -> tuple[Any, Any]:
    """Wilson's score interval for a share of ``units`` that passed.

    References
    ----------
    Wilson (1927), "Probable inference, the law of succession, and statistical inference".

    Examples
    --------
    >>> low, high = wilson([1.0, 0.0, 0.9, 0.81], [3, 5, 10, 100])
    >>> low.round(5).tolist(), high.round(5).tolist()
    ([0.4385, 0.0, 0.59585, 0.72221], [1.0, 0.43448, 0.98212, 0.87485])
    """
    q = quantile((1 + level) / 2, None) ** 2 / np.asarray(units, dtype=float)
    return _between(np.asarray(mean, dtype=float), q)


def clopper_pearson(mean: ArrayLike, units: ArrayLike, level: float = 0.95) -> tuple[Any, Any]:
    """The exact interval for a share of ``units`` that passed.

    References
    ----------
    Clopper and Pearson (1934).

    Examples
    --------
    >>> low, high = clopper_pearson([1.0, 0.0, 0.9, 0.81], [3, 5, 10, 100])
    >>> low.round(5).tolist(), high.round(5).tolist()
    ([0.2924, 0.0, 0.55498, 0.7193], [1.0, 0.52182, 0.99747, 0.88156])
    """
    n = np.asarray(units, dtype=float)
    passed = np.asarray(mean, dtype=float) * n
    tail = (1 - level) / 2
    none, all_of_them = passed <= 0, passed >= n
    low = betaincinv(np.where(none, 1, passed), n - passed + 1, tail)
    high = betaincinv(passed + 1, np.where(all_of_them, 1, n - passed), 1 - tail)
    return np.where(none, 0.0, low), np.where(all_of_them, 1.0, high)


def dispersion(mean: ArrayLike, variance: ArrayLike, null: ArrayLike, df: ArrayLike) -> Float:
    """Variance of a mean of values in [0, 1] over m (1 - m), with one pseudo-unit of prior.

    Parameters
    ----------
    mean
        of the values
    variance
        estimated, of the mean
    null
        of the mean where nothing is known: phi0 / (4 T) for T units, with phi0 = 1 for pass or fail
        and for any score at worst, 1/3 for a uniform one, (P + 1) / (3 (P - 1)) for Borda shares
        over P policies
    df
        degrees of freedom of ``variance``

    Examples
    --------
    >>> values = np.array([1, 0.75, 1, 0.5, 1])
    >>> of_mean = values.var(ddof=1) / 5
    >>> round(5 * float(dispersion(0.85, of_mean, 0.5 / (4 * 5), df=4)), 5)
    0.42763
    """
    m, freedom = np.asarray(mean, dtype=float), np.asarray(df, dtype=float)
    return np.asarray((freedom * variance + np.asarray(null)) / (freedom * m * (1 - m) + 0.25))


def q_wilson(
    mean: ArrayLike, psi: ArrayLike, df: ArrayLike, level: float = 0.95
) -> tuple[Any, Any]:
    """Wilson's interval with an estimated dispersion, for means of values in [0, 1].

    Parameters
    ----------
    mean
        of the values
    psi
        their mean's ``dispersion``
    df
        its degrees of freedom
    level
        coverage

    Returns
    -------
    tuple
        lower and upper ends, within [0, 1]

    Notes
    -----
    Constructed for this library; its coverage is measured by ``policyrank study run
    rank-coverage``. Failures that a sample never showed are not in it: ``gaffke`` is exact.

    Examples
    --------
    >>> psi = dispersion(1.0, 0.0, 2 / 3 / (4 * 3), df=2)    # three ballots that agree
    >>> [round(float(end), 5) for end in q_wilson(1.0, psi, df=2)]
    [0.19554, 1.0]
    """
    q = quantile((1 + level) / 2, df) ** 2 * np.asarray(psi, dtype=float)
    return _between(np.asarray(mean, dtype=float), q)


def _between(mean: Float, q: Float) -> tuple[Any, Any]:
    """The means within q (m (1 - m)) of the squared distance."""
    middle = mean + q / 2
    half = np.sqrt(np.maximum(middle**2 - (1 + q) * mean**2, 0))
    low, high = (middle - half) / (1 + q), (middle + half) / (1 + q)
    return np.where(mean <= 0, 0.0, low.clip(0, 1)), np.where(mean >= 1, 1.0, high.clip(0, 1))


def far_from_half(mean: ArrayLike, psi: ArrayLike, df: ArrayLike) -> Float:
    """How far a mean of values in [0, 1] is above 1/2, as a normal deviate.

    The test that ``q_wilson`` inverts, with Student's t turned into the deviate that is as rare.

    Examples
    --------
    >>> psi = dispersion(1.0, 0.0, 1 / (4 * 3), df=2)
    >>> round(float(far_from_half(1.0, psi, 2)), 2)
    1.21
    """
    t = (np.asarray(mean, dtype=float) - 0.5) / np.sqrt(np.asarray(psi, dtype=float) / 4)
    return as_normal(t, df)


class BoundedErrors(NamedTuple):
    """Of means of values in [0, 1]: what ``make_leaderboard`` takes.

    ``ends`` (n, 2) of intervals, ``z`` (n, n) of differences, ``covariance`` (n, n) with a
    pseudo-unit of prior.
    """

    ends: Float
    z: Float
    covariance: Float


def bounded_errors(
    mean: ArrayLike, covariance: ArrayLike, null: ArrayLike, df: ArrayLike, level: float
) -> BoundedErrors:
    """Errors of means of values in [0, 1], by ``q_wilson`` and the test that it inverts.

    Parameters
    ----------
    mean
        (n,)
    covariance
        (n, n), estimated, of the means
    null
        (n, n), of the means where nothing is known
    df
        degrees of freedom: one, or (n, n), of each mean (diagonal) and of each difference
    level
        of the intervals

    Examples
    --------
    >>> three_ballots = bounded_errors([1, 0], np.zeros((2, 2)), np.eye(2) / 12, 2, 0.95)
    >>> three_ballots.ends.round(3).tolist()
    [[0.139, 1.0], [0.0, 0.861]]
    """
    m, cov, prior = (np.asarray(part, dtype=float) for part in (mean, covariance, null))
    freedom = np.broadcast_to(np.asarray(df, dtype=float), cov.shape)
    own = dispersion(m, cov.diagonal(), prior.diagonal(), freedom.diagonal())
    ends = np.stack(q_wilson(m, own, freedom.diagonal(), level), axis=1)
    halfway = 0.5 + (m[:, None] - m) / 2
    pairs = dispersion(halfway, _of_gaps(cov) / 4, _of_gaps(prior) / 4, freedom)
    np.fill_diagonal(pairs, 1.0)
    z = far_from_half(halfway, pairs, freedom)
    known = np.where(np.isnan(freedom), 1.0, freedom)
    return BoundedErrors(ends, z, (known * cov + prior) / (known + 1))


def share_interval(
    values: ArrayLike, cluster: ArrayLike | None = None, level: float = 0.95
) -> tuple[float, float]:
    """An interval for the mean of values in [0, 1], clusters of them whole.

    By ``q_wilson`` with CR2's variance; knowing nothing beforehand, a cluster counts a quarter as
    one value and three quarters as its values. All of [0, 1] where there is a single cluster.

    Examples
    --------
    >>> low, high = share_interval([1, 1, 1, 0, 1, 1], ["a", "a", "b", "b", "c", "c"])
    >>> round(low, 3), round(high, 3)
    (0.146, 0.993)
    """
    x = np.asarray(values, dtype=float)
    found = clustered_mean(x[:, None], cluster)
    if np.isnan(found.df):
        return 0.0, 1.0
    null = (0.25 + 0.75 * found.effective / len(x)) / (4 * found.effective)
    mean = found.mean[0]
    psi = dispersion(mean, found.covariance[0, 0], null, found.df)
    low, high = q_wilson(mean, psi, found.df, level)
    return float(low), float(high)


def _of_gaps(covariance: Float) -> Float:
    """Variances of differences: (n, n)."""
    own = covariance.diagonal()
    return np.maximum(own[:, None] + own - 2 * covariance, 0)


def gaffke(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """An interval for the mean of values in [0, 1] whatever their distribution.

    Proved for two values, conjectured (and never seen to fail) for all distributions; for pass and
    fail it is Clopper and Pearson's.

    References
    ----------
    Gaffke (2005); Learned-Miller and Thomas (2019), arXiv 1905.06208.

    Examples
    --------
    >>> low, high = gaffke([1, 1, 1])
    >>> round(low, 2), high
    (0.29, 1.0)
    """
    x = np.sort(np.asarray(values, dtype=float))
    if x.min() < 0 or x.max() > 1:
        raise EvidenceError("gaffke: values lie in [0, 1]; scale them to their range first.")
    share = np.random.default_rng(0).dirichlet(np.ones(len(x) + 1), GAFFKE_DRAWS)
    inner = share[:, :-1] @ x
    tail = (1 - level) / 2
    low = float(np.quantile(inner, tail))
    high = float(np.quantile(inner + share[:, -1], 1 - tail))
    return low, min(high, 1.0)


def tango(
    both: int, first: int, second: int, neither: int, level: float = 0.95
) -> tuple[float, float]:
    """Score interval for the difference of two policies' pass rates on the same tasks.

    Parameters
    ----------
    both, first, second, neither
        tasks that both pass, only the first, only the second, neither
    level
        coverage

    Returns
    -------
    tuple
        ends of the interval for the first's rate minus the second's, within [-1, 1]

    References
    ----------
    Tango (1998), "Equivalence test and confidence interval for the difference in proportions for
    the paired-sample design".

    Examples
    --------
    >>> [round(end, 5) for end in tango(36, 12, 2, 0)]
    [0.06111, 0.34471]
    >>> [round(end, 5) for end in tango(54, 0, 0, 0)]
    [-0.06641, 0.06641]
    """
    n = both + first + second + neither
    if n < 1:
        raise EvidenceError("tango: there is no task. Give counts of at least one.")
    z = quantile((1 + level) / 2, None)
    observed = (first - second) / n

    def inside(difference: float) -> bool:
        b = -first - second + (2 * n - first + second) * difference
        c = -second * difference * (1 - difference)
        share = (np.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
        spread = n * (2 * share + difference * (1 - difference))
        return abs(first - second - n * difference) <= z * np.sqrt(max(spread, 0.0))

    return _edge(inside, observed, -1.0), _edge(inside, observed, 1.0)


def _edge(inside: Any, start: float, end: float) -> float:
    """Where a set that holds ``start`` ends towards ``end``, by bisection."""
    if start == end:
        return end
    near, far = start, end
    for _ in range(60):
        middle = (near + far) / 2
        if inside(middle):
            near = middle
        else:
            far = middle
    return near
