"""Scores as probabilities: fitted maps by group, and how far off scores are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit, log_expit, logit

Float = NDArray[np.float64]
Map = Callable[[Float], Float]
Fallback = Literal["zero", "keep"]


def histogram(scores: Float, right: Float, bins: int = 20) -> Map:
    """Share that is right in bins of equal width over [0, 1]; empty bins have their midpoint."""
    place = lambda s: np.clip((s * bins).astype(int), 0, bins - 1)  # noqa: E731
    count = np.bincount(place(scores), minlength=bins)
    share = np.bincount(place(scores), weights=right, minlength=bins) / np.maximum(count, 1)
    value = np.where(count > 0, share, (np.arange(bins) + 0.5) / bins)
    return lambda s: value[place(s)]


def isotonic(scores: Float, right: Float) -> Map:
    """The increasing step function nearest in squares, linear between the scores seen."""
    at, inverse, count = np.unique(scores, return_inverse=True, return_counts=True)
    mean = np.bincount(inverse, weights=right) / count
    value = isotonic_regression(mean, weights=count).x
    return lambda s: np.interp(s, at, value)


def platt(scores: Float, right: Float) -> Map:
    """sigmoid(a logit(s) + b), a > 0, by likelihood with a ridge of 1e-3 on both."""
    return _logistic(lambda s: logit(s)[:, None], scores, right)


def beta(scores: Float, right: Float) -> Map:
    """sigmoid(a log s - b log(1 - s) + c), a and b positive (Kull et al. 2017)."""
    return _logistic(lambda s: np.column_stack([np.log(s), -np.log1p(-s)]), scores, right)


def temperature(scores: Float, right: Float) -> Map:
    """sigmoid(a logit(s)), a > 0 (Guo et al. 2017)."""
    return _logistic(lambda s: logit(s)[:, None], scores, right, intercept=False)


def _logistic(
    features: Callable[[Float], Float], scores: Float, right: Float, intercept: bool = True
) -> Map:
    inside = lambda s: features(np.clip(s, 1e-7, 1 - 1e-7))  # noqa: E731
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
    """A map for each group; ``fallback`` for groups without anything right among what was fitted."""

    maps: dict[int, Map]
    fallback: Fallback = "zero"

    def __call__(self, scores: ArrayLike, group: ArrayLike) -> Float:
        """Scores in [0, 1] -> probabilities."""
        s, g = np.asarray(scores, dtype=float), np.asarray(group)
        out = np.zeros_like(s) if self.fallback == "zero" else s.copy()
        for k in np.unique(g).tolist():
            if k in self.maps:
                own = g == k
                out[own] = self.maps[k](s[own])
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
    ValueError
        For scores outside [0, 1] or an unknown method.
    """
    s, y, g = np.asarray(scores, dtype=float), np.asarray(right, dtype=float), np.asarray(group)
    if method not in CALIBRATORS:
        raise ValueError(f"method={method!r}: use {', '.join(CALIBRATORS)}.")
    if len(s) and not ((s >= 0) & (s <= 1)).all():
        raise ValueError(f"scores lie in [{s.min():g}, {s.max():g}], not in [0, 1].")
    maps = {
        k: CALIBRATORS[method](s[g == k], y[g == k])
        for k in np.unique(g).tolist()
        if y[g == k].any()
    }
    return GroupCalibration(maps, fallback)


def expected_calibration_error(scores: ArrayLike, right: ArrayLike, bins: int = 15) -> float:
    """Mean over the scores of |share right - mean score| in their bin, bins of equal width over [0,
    1].

    Examples
    --------
    >>> expected_calibration_error([0.9, 0.9, 0.1, 0.1], [1, 0, 0, 0])
    0.25
    """
    s, y = np.asarray(scores, dtype=float), np.asarray(right, dtype=float)
    place = np.clip((s * bins).astype(int), 0, bins - 1)
    gap = np.bincount(place, weights=y - s, minlength=bins)
    return float(np.abs(gap).sum() / max(len(s), 1))
