"""Numbers about estimated effects of treatments.

Error, ranking quality, and what treating by them costs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyrank.errors import EvidenceError

Float = NDArray[np.float64]


def _both(estimate: ArrayLike, effect: ArrayLike) -> tuple[Float, Float]:
    t, y = np.asarray(estimate, dtype=float), np.asarray(effect, dtype=float)
    if t.shape != y.shape or t.ndim != 1 or not len(t):
        raise EvidenceError(f"estimates {t.shape} and effects {y.shape}: two equally long lists.")
    return t, y


def pehe(estimate: ArrayLike, effect: ArrayLike) -> float:
    """Root mean squared error of individual effects.

    Precision in estimating heterogeneous effects.

    Examples
    --------
    >>> round(pehe([1, 2], [1, 4]), 6)
    1.414214
    """
    t, y = _both(estimate, effect)
    return float(np.sqrt(((t - y) ** 2).mean()))


def treatment_regret(estimate: ArrayLike, effect: ArrayLike) -> float:
    """Mean outcome lost by treating where the estimate is positive instead of where the effect is.

    Examples
    --------
    >>> treatment_regret([-1, -1], [2, -1])
    1.0
    """
    t, y = _both(estimate, effect)
    return float((np.maximum(y, 0) - (t > 0) * y).mean())


def top_share_regret(estimate: ArrayLike, effect: ArrayLike, share: float = 0.2) -> float:
    """Mean effect among the truly best ``share`` less that among the share ranked best.

    Ties are taken in the order given.
    """
    t, y = _both(estimate, effect)
    k = max(1, round(share * len(t)))
    return float(np.sort(y)[::-1][:k].mean() - y[np.argsort(-t, kind="stable")[:k]].mean())


def qini(estimate: ArrayLike, effect: ArrayLike) -> float:
    """Area between the gains of treating in the estimated order and at random.

    Over that of the true order: 1 is perfect, 0 chance; NaN where all effects are equal.
    ``effect`` are true effects or doubly robust scores of them.
    """
    t, y = _both(estimate, effect)
    best = _gain_area(y, y)
    if best <= 1e-12:
        return float("nan")
    return _gain_area(t, y) / best


def _gain_area(by: Float, y: Float) -> float:
    """Area between the gains of treating the highest first and at random."""
    order = np.argsort(-by, kind="stable")
    share = np.arange(1, len(y) + 1) / len(y)
    return float((np.cumsum(y[order]) / len(y) - share * y.mean()).mean())


def autoc(estimate: ArrayLike, effect: ArrayLike) -> float:
    """Area under the targeting operator characteristic (Yadlowsky et al. 2021).

    Mean over shares of the mean effect among the share ranked best, less the mean effect.
    ``effect`` are true effects or doubly robust scores of them.
    """
    t, y = _both(estimate, effect)
    best = np.cumsum(y[np.argsort(-t, kind="stable")]) / np.arange(1, len(t) + 1)
    return float((best - y.mean()).mean())
