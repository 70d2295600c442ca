"""A mean of independent units: its interval, and how surely it lies on one side of a bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrc, stdtr

from policyrank.board.bounded import clopper_pearson, dispersion, q_wilson
from policyrank.board.intervals import quantile

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """An effect with its interval.

    Attributes
    ----------
    effect, lower, upper, units
        mean over so many units
    above, below
        one-sided p that it is not above, not below a bound
    """

    effect: float
    lower: float
    upper: float
    units: int
    above: Callable[[float], float]
    below: Callable[[float], float]


def student(values: Float, level: float = 0.95, overlap: float = 0.0) -> Estimate:
    """Mean of units by Student's t; equal values say no more than their signs do.

    ``overlap``: of random splits of the same data, test over training part (Nadeau and Bengio 2003,
    "Inference for the generalization error": the variance is s^2 (1/n + overlap)).

    Examples
    --------
    >>> found = student(np.array([0.5, 1.0, 2.0]))
    >>> [round(float(end), 4) for end in (found.effect, found.lower, found.upper)]
    [1.1667, -0.7306, 3.064]
    >>> round(2 * found.above(0.0), 4), student(np.ones(5)).above(0.0)
    (0.1181, 0.03125)
    >>> wider = student(np.array([0.5, 1.0, 2.0]), overlap=0.5)  # sqrt(2.5) times as wide
    >>> round(float(wider.lower), 4)
    -1.8332
    """
    n = len(values)
    mean = float(values.mean()) if n else np.nan
    if n < 2:
        return Estimate(mean, -np.inf, np.inf, n, lambda _: 1.0, lambda _: 1.0)
    error = float(values.std(ddof=1) * np.sqrt(1 / n + overlap))
    if error < 1e-12 * max(1.0, abs(mean)):
        return _alike(mean, n)
    half = float(quantile((1 + level) / 2, n - 1) * error)
    return _by_t(mean, mean - half, mean + half, error, n)


def _alike(mean: float, n: int) -> Estimate:
    """Of units that are all the same."""

    def above(bound: float) -> float:
        return 0.5**n if mean > bound else 1.0

    def below(bound: float) -> float:
        return 0.5**n if mean < bound else 1.0

    return Estimate(mean, mean, mean, n, above, below)


def of_resamples(values: Float, level: float = 0.95) -> Estimate:
    """Mean over resamples of the same data, whose spread is the error itself.

    The interval holds their percentiles; p is Student's with their standard deviation as the error,
    as so few resamples show no small share.

    Examples
    --------
    >>> found = of_resamples(np.linspace(-1, 3, 401))
    >>> round(found.lower, 6), round(found.above(0.0), 3)
    (-0.9, 0.194)
    """
    n = len(values)
    if n < 2:
        return student(values, level)
    mean, error = float(values.mean()), float(values.std(ddof=1))
    if error < 1e-12 * max(1.0, abs(mean)):
        return _alike(mean, 1)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return _by_t(mean, float(low), float(high), error, n)


def _by_t(mean: float, low: float, high: float, error: float, n: int) -> Estimate:
    def above(bound: float) -> float:
        return float(stdtr(n - 1, -(mean - bound) / error))

    def below(bound: float) -> float:
        return float(stdtr(n - 1, (mean - bound) / error))

    return Estimate(mean, low, high, n, above, below)


def of_share(values: Float, bound: float, level: float = 0.95) -> Estimate:
    """Mean of values in [0, 1], less a bound.

    Of passes and failures exactly (Clopper and Pearson, binomial tails), of other values by
    Wilson's score interval with the dispersion that was seen.

    Examples
    --------
    >>> found = of_share(np.repeat([1.0, 0.0], [90, 10]), 0.8)
    >>> [round(float(end), 4) for end in (found.effect, found.lower, found.upper)]
    [0.1, 0.0238, 0.151]
    >>> round(found.above(0.0), 4)
    0.0057
    """
    n, mean = len(values), float(values.mean())
    if np.isin(values, (0.0, 1.0)).all():
        low, high = clopper_pearson(mean, n, level)
        passed = round(mean * n)

        def above(smallest: float) -> float:
            p = min(max(bound + smallest, 0.0), 1.0)
            return float(bdtrc(passed - 1, n, p)) if passed else 1.0

        def below(smallest: float) -> float:
            return float(bdtr(passed, n, min(max(bound + smallest, 0.0), 1.0)))

        return Estimate(mean - bound, float(low) - bound, float(high) - bound, n, above, below)
    psi = dispersion(mean, float(values.var(ddof=1)) / n, 1 / (4 * n), n - 1)
    low, high = q_wilson(mean, psi, n - 1, level)

    def tail(smallest: float) -> float:
        p = min(max(bound + smallest, 1e-12), 1 - 1e-12)
        return float((mean - p) / np.sqrt(psi * p * (1 - p)))

    return Estimate(
        mean - bound,
        float(low) - bound,
        float(high) - bound,
        n,
        lambda smallest: float(stdtr(n - 1, -tail(smallest))),
        lambda smallest: float(stdtr(n - 1, tail(smallest))),
    )
