"""Scores as probabilities: fitted maps by group, and how far off scores are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit, log_expit, logit

from policyrank.errors import EvidenceError, OptionError

Float = NDArray[np.float64]
Map = Callable[[Float], Float]
Fallback = Literal["zero", "keep"]


def histogram(scores: Float, right: Float, bins: int = 20) -> Map:
    """Share that is right in bins of equal width over [0, 1]; empty bins have their midpoint."""
    place = _bin(scores, bins)
    count = np.bincount(place, minlength=bins)
    share = np.bincount(place, weights=right, minlength=bins) / np.maximum(count, 1)
    value = np.where(count > 0, share, (np.arange(bins) + 0.5) / bins)
    return lambda s: value[_bin(s, bins)]


def _bin(scores: Float, bins: int) -> NDArray[np.int64]:
    """Bin of equal width over [0, 1]."""
    return np.clip((scores * bins).astype(int), 0, bins - 1)


def isotonic(scores: Float, right: Float) -> Map:
    """The increasing step function nearest in squares, linear between the scores seen."""
    at, inverse, count = np.unique(scores, return_inverse=True, return_counts=True)
    mean = np.bincount(inverse, weights=right) / count
    value = isotonic_regression(mean, weights=count).x
    return lambda s: np.interp(s, at, value)


def platt(scores: Float, right: Float) -> Map:
    """sigmoid(a logit(s) + b), a > 0, by likelihood with a ridge of 1e-3 on both."""
    return _logistic(_logit, scores, right)


def _logit(scores: Float) -> Float:
    return logit(scores)[:, None]


def beta(scores: Float, right: Float) -> Map:
    """sigmoid(a log s - b log(1 - s) + c), a and b positive (Kull et al. 2017)."""
    return _logistic(_logs, scores, right)


def _logs(scores: Float) -> Float:
    return np.column_stack([np.log(scores), -np.log1p(-scores)])


def temperature(scores: Float, right: Float) -> Map:
    """sigmoid(a logit(s)), a > 0 (Guo et al. 2017)."""
    return _logistic(_logit, scores, right, intercept=False)


def _logistic(
    features: Callable[[Float], Float], scores: Float, right: Float, intercept: bool = True
) -> Map:
    def inside(s: Float) -> Float:
        return features(np.clip(s, 1e-7, 1 - 1e-7))

    x = inside(scores)

    def loss(w: Float) -> tuple[float, Float]:
        slopes = np.exp(w[:-1])
        z = x @ slopes + w[-1] * intercept
        off = expit(z) - right
        value = -(right * log_expit(z) + (1 - right) * log_expit(-z)).sum() + 5e-4 * (w @ w)
        return value, np.r_[x.T @ off * slopes, off.sum() * intercept] + 1e-3 * w

    w = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="BFGS").x
    return lambda s: expit(inside(s) @ np.exp(w[:-1]) + w[-1] * intercept)


CALIBRATORS: dict[str, Callable[[Float, Float], Map]] = {
    "histogram": histogram,
    "isotonic": isotonic,
    "platt": platt,
    "beta": beta,
    "temperature": temperature,
}


@dataclass(frozen=True)
class GroupCalibration:
    """A map for each group; ``fallback`` for groups of which nothing that was fitted is right."""

    maps: dict[int, Map]
    fallback: Fallback = "zero"

    def __call__(self, scores: ArrayLike, group: ArrayLike) -> Float:
        """Scores in [0, 1] -> probabilities."""
        score, code = np.asarray(scores, dtype=float), np.asarray(group)
        out = score.copy()
        if self.fallback == "zero":
            out[:] = 0.0
        for name in np.unique(code).tolist():
            if name in self.maps:
                own = code == name
                out[own] = self.maps[name](score[own])
        return out


def calibrate(
    scores: ArrayLike,
    right: ArrayLike,
    group: ArrayLike,
    method: str = "platt",
    fallback: Fallback = "zero",
) -> GroupCalibration:
    """Fit a map from score to the chance of being right, for each group.

    Parameters
    ----------
    scores
        in [0, 1]
    right
        whether each was
    group
        integers: class, frequency group, or one for all
    method
        a name in ``CALIBRATORS``

    Raises
    ------
    OptionError
        For an unknown method.
    EvidenceError
        For scores outside [0, 1].
    """
    score, hit = np.asarray(scores, dtype=float), np.asarray(right, dtype=float)
    code = np.asarray(group)
    if method not in CALIBRATORS:
        raise OptionError(f"method={method!r}: use {', '.join(CALIBRATORS)}.")
    _refuse_outside(score)
    fit, maps = CALIBRATORS[method], {}
    for name in np.unique(code).tolist():
        own = code == name
        if hit[own].any():
            maps[name] = fit(score[own], hit[own])
    return GroupCalibration(maps, fallback)


def _refuse_outside(scores: Float) -> None:
    outside = ~((scores >= 0) & (scores <= 1))
    if outside.any():
        row = int(np.argmax(outside))
        raise EvidenceError(f"score {row + 1} is {scores[row]:g}; scores lie in [0, 1].")


def expected_calibration_error(scores: ArrayLike, right: ArrayLike, bins: int = 15) -> float:
    """Mean over the scores of |share right - mean score| in their bin.

    Bins are of equal width over [0, 1].

    Raises
    ------
    EvidenceError
        For scores outside [0, 1], or NaN.

    Examples
    --------
    >>> expected_calibration_error([0.9, 0.9, 0.1, 0.1], [1, 0, 0, 0])
    0.25
    """
    score, hit = np.asarray(scores, dtype=float), np.asarray(right, dtype=float)
    _refuse_outside(score)
    gap = np.bincount(_bin(score, bins), weights=hit - score, minlength=bins)
    return float(np.abs(gap).sum() / max(len(score), 1))
