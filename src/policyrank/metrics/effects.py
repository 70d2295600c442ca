"""Numbers about estimated effects of treatments.

Error, ranking quality, and what treating by them costs. None depends on the order of rows: equal
estimates share their places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyrank.errors import EvidenceError, OptionError

Float = NDArray[np.float64]


def _checked(
    estimate: ArrayLike, effect: ArrayLike, weight: ArrayLike | None
) -> tuple[Float, Float, Float]:
    t, y = np.asarray(estimate, dtype=float), np.asarray(effect, dtype=float)
    if t.shape != y.shape or t.ndim != 1 or not len(t):
        raise EvidenceError(f"estimates {t.shape} and effects {y.shape}: two equally long lists.")
    w = np.ones(len(t)) if weight is None else np.asarray(weight, dtype=float)
    if w.shape != t.shape:
        raise EvidenceError(f"weights {w.shape}: one for each of {len(t)} rows.")
    for name, values in (("estimate", t), ("effect", y), ("weight", w)):
        if not np.isfinite(values).all():
            row = int(np.argmin(np.isfinite(values)))
            raise EvidenceError(f"row {row + 1}: its {name} is {values[row]}, which is not finite.")
    if (w < 0).any() or not w.any():
        raise EvidenceError("weights are 0 or more, and not all 0.")
    return t, y, w


def pehe(estimate: ArrayLike, effect: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Root mean squared error of individual effects.

    Precision in estimating heterogeneous effects.

    Examples
    --------
    >>> round(pehe([1, 2], [1, 4]), 6)
    1.414214
    """
    t, y, w = _checked(estimate, effect, weight)
    return float(np.sqrt(np.average((t - y) ** 2, weights=w)))


def ate_error(estimate: ArrayLike, effect: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Distance of the mean estimate from the average treatment effect.

    Examples
    --------
    >>> ate_error([1, 2], [1, 4])
    1.0
    """
    t, y, w = _checked(estimate, effect, weight)
    return float(abs(np.average(t - y, weights=w)))


class Calibration(NamedTuple):
    """The line of effects on their estimates; of right ones slope 1, intercept 0.

    Attributes
    ----------
    slope, intercept
        of least squares; a slope below 1: estimates spread too far
    r2
        share of the effects' variance that the line explains
    error
        mean distance of mean effect and mean estimate over groups of alike estimates
    """

    slope: float
    intercept: float
    r2: float
    error: float


def effect_calibration(
    estimate: ArrayLike, effect: ArrayLike, weight: ArrayLike | None = None, *, bins: int = 10
) -> Calibration:
    """Whether estimated effects are of the right size.

    Parameters
    ----------
    bins
        groups of about equal weight, by estimate; equal estimates stay together

    Raises
    ------
    EvidenceError
        When all estimates are equal: there is no line.

    Examples
    --------
    >>> found = effect_calibration([0, 1, 2, 3], [0, 2, 4, 6], bins=2)
    >>> found.slope, found.r2, found.error    # effects are twice the estimates
    (2.0, 1.0, 1.5)
    """
    t, y, w = _checked(estimate, effect, weight)
    if bins < 1:
        raise OptionError(f"bins={bins}: 1 or more.")
    share = w / w.sum()
    at, to = t - share @ t, y - share @ y
    spread, effects = float(share @ at**2), float(share @ to**2)
    if spread <= 1e-24 * max(1.0, float(np.abs(t).max()) ** 2):
        raise EvidenceError("all estimates are equal: calibration needs at least two.")
    slope = float(share @ (at * to)) / spread
    r2 = slope**2 * spread / effects if effects > 0 else 0.0
    intercept = float(share @ y - slope * (share @ t))
    return Calibration(slope, intercept, r2, _binned_error(t, y, share, bins))


def _binned_error(t: Float, y: Float, share: Float, bins: int) -> float:
    """Equal estimates fall into one bin, that of their middle."""
    values, code = np.unique(t, return_inverse=True)
    own = np.bincount(code, share, minlength=len(values))
    middle = np.cumsum(own) - own / 2
    place = np.minimum((middle * bins).astype(int), bins - 1)[code]
    gaps = np.bincount(place, share * (y - t), minlength=bins)
    return float(np.abs(gaps).sum())


def treatment_regret(
    estimate: ArrayLike, effect: ArrayLike, weight: ArrayLike | None = None
) -> float:
    """Mean outcome lost by treating where the estimate is positive instead of where the effect is.

    Examples
    --------
    >>> treatment_regret([-1, -1], [2, -1])
    1.0
    """
    t, y, w = _checked(estimate, effect, weight)
    return float(np.average(np.maximum(y, 0) - (t > 0) * y, weights=w))


def top_share_regret(
    estimate: ArrayLike,
    effect: ArrayLike,
    share: float = 0.2,
    weight: ArrayLike | None = None,
) -> float:
    """Mean effect among the truly best ``share`` less that among the share ranked best.

    Rows of equal estimate share the places that are left for them, and the last place may be a
    fraction of one: this is the mean over all orders of tied rows.

    Parameters
    ----------
    estimate, effect, weight
        (rows,)
    share
        of the rows (of their weight), in (0, 1]

    Examples
    --------
    >>> top_share_regret([1, 1, 0], [3, 1, 2], share=1 / 3)
    1.0
    """
    t, y, w = _checked(estimate, effect, weight)
    if not 0 < share <= 1:
        raise OptionError(f"share={share}: it lies between 0 and 1.")
    return _mean_of_top(y, y, w, share) - _mean_of_top(t, y, w, share)


def _mean_of_top(by: Float, y: Float, weight: Float, share: float) -> float:
    """Mean of y among the share that is highest in ``by``, ties sharing what is left for them."""
    places = share * weight.sum()
    _, group = np.unique(-by, return_inverse=True)
    equal = np.bincount(group, weight)
    above = np.cumsum(equal) - equal
    taken = np.clip((places - above) / np.maximum(equal, 1e-300), 0, 1)
    return float((taken[group] * weight) @ y / places)


@dataclass(frozen=True, eq=False)
class Targeting:
    """Rows in the order of an estimate, highest first; equal ones share their places.

    Attributes
    ----------
    order
        (rows,) rows in that order
    group
        (rows,), which set of equal estimates each place belongs to
    weight, score
        (rows,), at each place, averaged within equal estimates
    """

    order: NDArray[np.intp]
    group: NDArray[np.intp]
    weight: Float
    score: Float

    @classmethod
    def of(cls, estimate: Float, score: Float, weight: Float) -> Targeting:
        """In the order of ``estimate``."""
        order = np.argsort(-estimate, kind="stable")
        ordered = estimate[order]
        group = np.cumsum(np.r_[False, ordered[1:] != ordered[:-1]])
        size, total = np.bincount(group), np.bincount(group, weight[order])
        gained = np.bincount(group, (weight * score)[order])
        mean = gained / np.where(total > 0, total, 1.0)
        return cls(order, group, (total / size)[group], mean[group])

    def shared(self, values: Float) -> Float:
        """The mean of values of places over equal estimates, as values of rows."""
        means = np.bincount(self.group, values) / np.bincount(self.group)
        out = np.empty(len(values))
        out[self.order] = means[self.group]
        return out

    @property
    def mean(self) -> float:
        """Of all scores."""
        return float(self.weight @ self.score / self.weight.sum())

    @property
    def reached(self) -> Float:
        """Weight up to each place."""
        return np.asarray(np.cumsum(self.weight))

    @property
    def gained(self) -> Float:
        """Weighted sum of scores up to each place."""
        return np.asarray(np.cumsum(self.weight * self.score))

    def autoc(self) -> float:
        """Mean over places of the mean score up to there, less that of all."""
        best = self.gained / np.maximum(self.reached, 1e-300)
        return float(self.weight @ best / self.weight.sum()) - self.mean

    def gain_area(self) -> float:
        """Mean over places of what is gained up to there, less what a random order gains."""
        total = self.weight.sum()
        gap = self.gained - self.reached * self.mean
        return float(self.weight @ gap / total**2)


def qini(estimate: ArrayLike, effect: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Area between the gains of treating in the estimated order and at random.

    Over that of the true order: 1 is perfect, 0 chance; NaN where all effects are equal.

    Parameters
    ----------
    estimate, effect, weight
        (rows,); true effects or doubly robust scores of them; effects of equal estimates are
        averaged

    Examples
    --------
    >>> round(qini([1, 1, 2, 2], [4, 3, 2, 1]), 6), qini([5, 5, 5, 5], [4, 3, 2, 1])
    (-0.8, 0.0)
    """
    t, y, w = _checked(estimate, effect, weight)
    best = Targeting.of(y, y, w).gain_area()
    if best <= 1e-12:
        return float("nan")
    return Targeting.of(t, y, w).gain_area() / best


def autoc(estimate: ArrayLike, effect: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Area under the targeting operator characteristic (Yadlowsky et al. 2021).

    Mean over shares of the mean effect among the share ranked best, less the mean effect: 0 for an
    estimate that is the same for all.

    Parameters
    ----------
    estimate, effect, weight
        (rows,); true effects or doubly robust scores of them; effects of equal estimates are
        averaged, which is the mean over all orders of tied rows

    References
    ----------
    Yadlowsky et al. (2021), arXiv 2111.07966.

    Examples
    --------
    >>> round(autoc([1, 1, 2, 2], [4, 3, 2, 1]), 6), autoc([4, 3, 2, 1], [4, 3, 2, 1])
    (-0.583333, 0.75)
    """
    t, y, w = _checked(estimate, effect, weight)
    return Targeting.of(t, y, w).autoc()
