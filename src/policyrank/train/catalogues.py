"""Lists that a model wrote, brought into a catalogue: what it named, or what is most like it.

Scores over the whole catalogue: by likeness to what was listed (remap), by grades of the first of
them (reflect), and by how often each is right (adjust).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

from policyrank.errors import OptionError

Float = NDArray[np.float64]


def place_weights(items: int) -> Float:
    """What an item counts by its place: 1 / sqrt(place), (items,).

    Examples
    --------
    >>> place_weights(4).round(4)
    array([1.    , 0.7071, 0.5774, 0.5   ])
    """
    return 1 / np.sqrt(np.arange(1, items + 1))


def remap(similarity: Float, context: Float | None = None, *, weight: float = 1.0) -> Float:
    """How much each catalogue item is what a list means: (catalogue,).

    Parameters
    ----------
    similarity
        (items, catalogue): of each listed item, in its order, to each of the catalogue, 1 more
        where it is the same
    context
        (catalogue,), likeness to what was asked; None: 0
    weight
        of the context

    Raises
    ------
    OptionError
        For shapes that do not fit.

    References
    ----------
    Zhu et al. (2025), "Rank-GRPO", arXiv 2510.20150, its first stage.

    Examples
    --------
    >>> remap(np.array([[2.0, 0.5, 0.0], [0.0, 0.0, 2.0]])).round(4)
    array([2.    , 0.5   , 1.4142])
    """
    if similarity.ndim != 2 or (context is not None and context.shape != similarity.shape[1:]):
        raise OptionError("similarity is (items, catalogue), context (catalogue,).")
    scores = place_weights(len(similarity)) @ similarity
    return scores if context is None else scores + weight * context


def reflect(scores: Float, grades: Float, *, weight: float = 0.5) -> Float:
    """Scores (catalogue,) with grades from -2 to 2 of those that were graded (else 0 or NaN)."""
    return scores + weight * np.nan_to_num(grades)


@dataclass(frozen=True, eq=False)
class Adjustment:
    """Scores times ``scale``, plus ``shift``: both (catalogue,)."""

    scale: Float
    shift: Float

    def __call__(self, scores: Float) -> Float:
        """Adjusted scores: (..., catalogue)."""
        return self.scale * scores + self.shift


def fit_adjustment(scores: Float, chosen: Float, *, penalty: float = 0.01) -> Adjustment:
    """What makes what was chosen likeliest: it takes the bias to what is popular away.

    Maximises the mean log-likelihood of what was chosen under softmax(scale * scores + shift), less
    ``penalty`` times |scale - 1|^2 + |shift|^2.

    Parameters
    ----------
    scores
        (lists, catalogue)
    chosen
        (lists, catalogue), how often each was the truth

    Raises
    ------
    OptionError
        For shapes that do not fit, or nothing chosen.
    """
    if scores.ndim != 2 or scores.shape != chosen.shape or not chosen.sum() > 0:
        raise OptionError("scores and chosen are (lists, catalogue), and something was chosen.")
    size, count = scores.shape[1], chosen.sum()
    each = chosen.sum(axis=1, keepdims=True)

    def loss(parameters: Float) -> tuple[float, Float]:
        scale, shift = parameters[:size], parameters[size:]
        log = log_softmax(scale * scores + shift, axis=1)
        off = (each * np.exp(log) - chosen) / count
        value = -float((chosen * log).sum() / count)
        value += penalty * float(((scale - 1) ** 2).sum() + (shift**2).sum())
        gradient = np.r_[
            (off * scores).sum(axis=0) + 2 * penalty * (scale - 1),
            off.sum(axis=0) + 2 * penalty * shift,
        ]
        return value, gradient

    start = np.r_[np.ones(size), np.zeros(size)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    return Adjustment(found[:size], found[size:])


def first_of(scores: Float, items: int, *, without: NDArray[np.bool_] | None = None) -> list[int]:
    """The catalogue's items of highest score, ties by position: at most ``items``.

    ``without``: (catalogue,), those that may not be listed, such as ones already talked about.
    """
    allowed = np.ones(len(scores), dtype=bool) if without is None else ~without
    order = np.argsort(-np.where(allowed, scores, -np.inf), kind="stable")
    return order[: min(items, int(allowed.sum()))].tolist()
