"""Many cheap results corrected by a few dear ones: simulation by trials, judges by people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyrank.board.intervals import quantile
from policyrank.errors import EvidenceError

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Corrected:
    """A mean of dear results, sharpened by cheap ones.

    Attributes
    ----------
    value, lower, upper
        of what the dear results measure, in their unit
    weight
        of the cheap results, from 0 (they say nothing) to 1
    alone
        the mean of the dear results alone
    worth
        how many dear results alone would be as sure
    """

    value: float
    lower: float
    upper: float
    weight: float
    alone: float
    worth: float


def prediction_powered_mean(
    dear: ArrayLike,
    cheap: ArrayLike,
    more: ArrayLike,
    *,
    weight: float | None = None,
    level: float = 0.95,
) -> Corrected:
    """The mean of dear results, of which few are there, with cheap results of many more.

    w mean(more) + mean(dear - w cheap), valid however wrong the cheap results are; its weight w is
    the one of least variance, so that they help as far as they agree.

    Parameters
    ----------
    dear, cheap
        (n,), both results of the same units: real and simulated trials of the same starts
    more
        (m,), cheap results of other units alike
    weight
        of the cheap results; None: tuned
    level
        of the interval, by Student's t with n - 1 degrees of freedom

    Raises
    ------
    EvidenceError
        For fewer than two pairs, no more cheap results, or numbers that are not finite.

    References
    ----------
    Angelopoulos, Duchi and Zrnic (2023), "PPI++", arXiv 2311.01453; for robots Badithela et al.
    (2025), "Reliable and Scalable Robot Policy Evaluation with Imperfect Simulators", arXiv
    2510.04354.

    Examples
    --------
    >>> found = prediction_powered_mean([1, 0, 1, 1], [1, 0, 1, 1], [1, 1, 0, 0, 1, 1], weight=1)
    >>> round(found.value, 4), found.alone
    (0.6667, 0.75)
    """
    real, paired, rest = (np.asarray(own, dtype=float).ravel() for own in (dear, cheap, more))
    if len(real) != len(paired) or len(real) < 2 or len(rest) < 1:
        raise EvidenceError(
            f"{len(real)} dear and {len(paired)} cheap results of the same units, {len(rest)} more:"
            " two pairs at least, and one more, are needed."
        )
    if not all(np.isfinite(own).all() for own in (real, paired, rest)):
        raise EvidenceError("results are not all finite: leave those out that failed.")
    n, m = len(real), len(rest)
    spread = float(np.var(np.concatenate([paired, rest]), ddof=1))
    if weight is None:
        weight = 0.0
        if spread > 0:
            along = float(np.cov(real, paired)[0, 1])
            weight = float(np.clip(along / ((1 + n / m) * spread), 0, 1))
    left = real - weight * paired
    value = float(weight * rest.mean() + left.mean())
    variance = float(np.var(left, ddof=1)) / n + weight**2 * spread / m
    half = float(quantile(1 - (1 - level) / 2, n - 1)) * float(np.sqrt(variance))
    own = float(np.var(real, ddof=1))
    worth = own / variance if variance > 0 else float(n)
    return Corrected(value, value - half, value + half, weight, float(real.mean()), float(worth))
