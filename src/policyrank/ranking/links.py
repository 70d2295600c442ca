"""How likely each outcome of a comparison is, given the difference of the ratings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, log_ndtr

Float = NDArray[np.float64]


class Terms(NamedTuple):
    """Log-likelihood of each cell per unit of mass, and its derivatives in (d, phi).

    ``d`` and ``phi`` are the gradient, ``dd``, ``phiphi`` and ``dphi`` negative second derivatives.
    """

    value: Float
    d: Float
    dd: Float
    phi: Float
    phiphi: Float
    dphi: Float


class Link(NamedTuple):
    """A model of one comparison.

    ``start`` is the first value of the tie parameter (None: it has none).
    ``linear`` links have a log-likelihood that is linear in the outcome, so outcomes of a pair may
    be summed. ``slope``: how steep the win probability is at d = 0, relative to the logistic.
    ``tieless``: the link that is left when there are no ties. ``canonical``: second derivatives are
    the same whatever the outcome.
    """

    terms: Callable[[Float, Float, Any], Terms]
    start: float | None = None
    positive: bool = False
    linear: bool = False
    slope: float = 1.0
    tieless: str | None = None
    score: Callable[[Float, Float, Any], tuple[Float, Float | float]] | None = None
    canonical: bool = False

    def gradient(self, d: Float, y: Float, phi: Any) -> tuple[Float, Float | float]:
        """First derivatives in (d, phi), by the short way where there is one."""
        if self.score is not None:
            return self.score(d, y, phi)
        terms = self.terms(d, y, phi)
        return terms.d, terms.phi

    def expected(self, d: Float, phi: Any) -> Terms:
        """Terms whose second derivatives are the model's expectation over outcomes."""
        if self.canonical:
            return self.terms(d, np.zeros_like(d), phi)
        outcomes = (0.0, 1.0) if self.start is None else (0.0, 0.5, 1.0)
        zero = np.zeros_like(d)
        dd, phiphi, dphi = zero.copy(), zero.copy(), zero.copy()
        for outcome in outcomes:
            terms = self.terms(d, np.full_like(d, outcome), phi)
            chance = np.exp(terms.value)
            dd += chance * terms.d**2
            phiphi += chance * terms.phi**2
            dphi += chance * terms.d * terms.phi
        return Terms(zero, zero, dd, zero, phiphi, dphi)


def _logistic(d: Float, y: Float, phi: Any) -> Terms:
    # expit and log_expit of scipy take several times as long.
    far = np.exp(-np.abs(d))
    p = np.where(d < 0, far, 1.0) / (1 + far)
    value = np.minimum(d, 0) - np.log1p(far) - (1 - y) * d
    zero = np.zeros_like(p)
    return Terms(value, y - p, p * (1 - p), zero, zero, zero)


def _davidson(d: Float, y: Float, phi: Any) -> Terms:
    """Ties with weight exp(phi) = 2 nu beside exp(d/2) and exp(-d/2) (Davidson 1970)."""
    top = np.maximum(np.abs(d) / 2, phi)
    win, loss, tie = np.exp(d / 2 - top), np.exp(-d / 2 - top), np.exp(phi - top)
    total = win + loss + tie
    win, loss, tie = win / total, loss / total, tie / total
    tied = y == 0.5
    mean = (win - loss) / 2
    value = np.where(tied, phi, (y - 0.5) * d) - top - np.log(total)
    return Terms(
        value,
        (y - 0.5) - mean,
        (win + loss) / 4 - mean**2,
        tied - tie,
        tie * (1 - tie),
        -tie * mean,
    )


def _rao_kupper(d: Float, y: Float, phi: Any) -> Terms:
    """A win needs a margin of phi = log eta > 0 (Rao and Kupper 1967).

    P(i) = sigma(d - phi), P(j) = sigma(-d - phi).
    """
    up, down, tied = (y >= 0.5) * 1.0, (y <= 0.5) * 1.0, y == 0.5
    p, q = expit(phi - d), expit(phi + d)
    value = up * log_expit(d - phi) + down * log_expit(-d - phi) + tied * np.log(np.expm1(2 * phi))
    grow = 2 / -np.expm1(-2 * phi)
    curve = 4 * np.exp(-2 * phi) / np.expm1(-2 * phi) ** 2
    a, b = up * p * (1 - p), down * q * (1 - q)
    return Terms(
        value,
        up * p - down * q,
        a + b,
        tied * grow - up * p - down * q,
        a + b + tied * curve,
        b - a,
    )


def _mills(x: Float) -> tuple[Float, Float]:
    """pdf(x) / cdf(x) of the normal, and minus its derivative."""
    r = np.exp(-0.5 * x**2 - 0.5 * np.log(2 * np.pi) - log_ndtr(x))
    return r, r * (r + x)


def _probit(d: Float, y: Float, phi: Any) -> Terms:
    (up, curve_up), (down, curve_down) = _mills(d), _mills(-d)
    zero = np.zeros_like(d)
    return Terms(
        y * log_ndtr(d) + (1 - y) * log_ndtr(-d),
        y * up - (1 - y) * down,
        y * curve_up + (1 - y) * curve_down,
        zero,
        zero,
        zero,
    )


def _glenn_david(d: Float, y: Float, phi: Any) -> Terms:
    """A win needs a margin of phi > 0 on the normal scale (Glenn and David 1960)."""
    a, b = phi - d, -phi - d
    far = np.abs(d) - phi
    log_tie = log_ndtr(phi - np.abs(d)) + np.log1p(
        -np.exp(np.minimum(log_ndtr(-phi - np.abs(d)) - log_ndtr(-far), -1e-300))
    )
    base = -0.5 * np.log(2 * np.pi) - log_tie
    ra, rb = np.exp(-0.5 * a**2 + base), np.exp(-0.5 * b**2 + base)
    td, tp = rb - ra, ra + rb
    tdd, tpp, tdp = td**2 + a * ra - b * rb, tp**2 + a * ra - b * rb, td * tp - a * ra - b * rb
    (up, cu), (down, cd) = _mills(d - phi), _mills(-d - phi)
    win, tied = y > 0.5, y == 0.5

    def choose(w: Float, t: Float, lo: Float) -> Float:
        return np.where(win, w, np.where(tied, t, lo))

    return Terms(
        choose(log_ndtr(d - phi), log_tie, log_ndtr(-d - phi)),
        choose(up, td, -down),
        choose(cu, tdd, cd),
        choose(-up, tp, -down),
        choose(cu, tpp, cd),
        choose(-cu, tdp, cd),
    )


_PROBIT_SLOPE = 4 / np.sqrt(2 * np.pi)

LINKS: dict[str, Link] = {
    "half": Link(
        _logistic, linear=True, canonical=True, score=lambda d, y, phi: (y - expit(d), 0.0)
    ),
    "davidson": Link(_davidson, start=0.0, tieless="half", canonical=True),
    "rao-kupper": Link(_rao_kupper, start=0.5, positive=True, tieless="half"),
    "probit": Link(_probit, linear=True, slope=_PROBIT_SLOPE),
    "glenn-david": Link(
        _glenn_david, start=0.3, positive=True, slope=_PROBIT_SLOPE, tieless="probit"
    ),
}
