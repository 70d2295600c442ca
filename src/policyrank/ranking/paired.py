"""One Newton fit for all models of paired comparisons, on counts.

A cell is a set of equal comparisons: i against j with outcome y and total mass w. Its linear
predictor is d = theta_i - theta_j + x . beta, and a link says how likely each outcome is given d
(and a tie parameter phi).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse.linalg import LinearOperator, cg
from scipy.special import expit, log_expit, log_ndtr
from threadpoolctl import ThreadpoolController

from policyrank.errors import EvidenceError
from policyrank.evidence import Comparisons, Labels

Float = NDArray[np.float64]
DENSE_LIMIT = 4000


class Terms(NamedTuple):
    """Log-likelihood of each cell per unit of mass, its gradient and negative second derivatives in
    (d, phi).
    """

    value: Float
    d: Float
    dd: Float
    phi: Float
    phiphi: Float
    dphi: Float


class Link(NamedTuple):
    """A model of one comparison; ``start`` is the first value of the tie parameter (None: it has
    none).

    ``linear`` links have a log-likelihood that is linear in the outcome, so outcomes of a pair may
    be summed. ``slope``: how steep the win probability is at d = 0, relative to the logistic.
    ``tieless``: the link that is left when there are no ties.
    """

    terms: Callable[[Float, Float, Any], Terms]
    start: float | None = None
    positive: bool = False
    linear: bool = False
    slope: float = 1.0
    tieless: str | None = None
    score: Callable[[Float, Float, Any], tuple[Float, Float | float]] | None = None

    def gradient(self, d: Float, y: Float, phi: Any) -> tuple[Float, Float | float]:
        """First derivatives in (d, phi), by the short way where there is one."""
        if self.score is not None:
            return self.score(d, y, phi)
        terms = self.terms(d, y, phi)
        return terms.d, terms.phi


def _logistic(d: Float, y: Float, phi: Any) -> Terms:
    p = expit(d)
    zero = np.zeros_like(p)
    return Terms(y * log_expit(d) + (1 - y) * log_expit(-d), y - p, p * (1 - p), zero, zero, zero)


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
    """A win needs a margin of phi = log eta > 0: P(i) = sigma(d - phi), P(j) = sigma(-d - phi) (Rao
    and Kupper 1967).
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
    "half": Link(_logistic, linear=True, score=lambda d, y, phi: (y - expit(d), 0.0)),
    "davidson": Link(_davidson, start=0.0, tieless="half"),
    "rao-kupper": Link(_rao_kupper, start=0.5, positive=True, tieless="half"),
    "probit": Link(_probit, linear=True, slope=_PROBIT_SLOPE),
    "glenn-david": Link(
        _glenn_david, start=0.3, positive=True, slope=_PROBIT_SLOPE, tieless="probit"
    ),
}


@dataclass(frozen=True, eq=False)
class Cells:
    """Equal comparisons counted: i against j with outcome y, ``count`` of them, of ``weight`` each."""

    size: int
    i: NDArray[np.int64]
    j: NDArray[np.int64]
    y: Float
    count: Float
    weight: Float
    x: Float
    cluster: NDArray[np.int64] | None = None

    @property
    def mass(self) -> Float:
        return self.count * self.weight

    @classmethod
    def of(cls, c: Comparisons, *, order_effect: bool = False, cluster: str | None = None) -> Cells:
        """Count a set of comparisons; the order of a and b is kept only where an order effect needs
        it.
        """
        if cluster is not None and getattr(c, cluster, None) is None:
            raise EvidenceError(
                f"cluster={cluster!r}: these comparisons have no column {cluster!r}. Name one when"
                " reading them."
            )
        if c.covariates is None:
            c = c.counted(by=() if cluster is None else (cluster,))
        a, b, y = c.a.astype(np.int64), c.b.astype(np.int64), np.asarray(c.outcome, dtype=float)
        if not order_effect:
            flip = a > b
            a, b, y = np.where(flip, b, a), np.where(flip, a, b), np.where(flip, 1 - y, y)
        x = np.zeros((len(a), 0)) if c.covariates is None else c.covariates
        if not order_effect and c.covariates is not None:
            x = np.where(flip[:, None], -x, x)
        if order_effect:
            x = np.column_stack([np.ones(len(a)), x])
        count = np.ones(len(a)) if c.count is None else c.count.astype(float)
        weight = np.ones(len(a)) if c.weight is None else np.asarray(c.weight, dtype=float)
        labels: Labels | None = getattr(c, cluster) if cluster else None
        group = None if labels is None else labels.codes.astype(np.int64)
        keep = count * weight > 0
        cells = cls(len(c.policies), a, b, y, count, weight, x, group)
        cells = cells if keep.all() else cells.take(keep)
        return cells if x.shape[1] - order_effect else cells.merged()

    def take(self, rows: NDArray[np.bool_]) -> Cells:
        part = {f: getattr(self, f)[rows] for f in ("i", "j", "y", "count", "weight", "x")}
        return replace(self, **part, cluster=None if self.cluster is None else self.cluster[rows])

    def merged(self) -> Cells:
        """Cells that became equal by folding, as one."""
        group = np.zeros(len(self.i), np.int64) if self.cluster is None else self.cluster
        keys = np.column_stack([self.i, self.j, self.y, self.weight, group])
        order = np.lexsort(keys.T)
        new = np.r_[True, (np.diff(keys[order], axis=0) != 0).any(axis=1)]
        first = order[new]
        return replace(
            self.take(first), count=np.add.reduceat(self.count[order], np.flatnonzero(new))
        )

    def pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int64], sparse.csr_matrix]:
        """The distinct ordered pairs, and which cells belong to each: i, j, (pairs, cells)."""
        code, pair = np.unique(self.i * self.size + self.j, return_inverse=True)
        member = sparse.csr_matrix(
            (np.ones(len(pair)), (pair, np.arange(len(pair)))), shape=(len(code), len(pair))
        )
        return code // self.size, code % self.size, member


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted model: parameters, the negative Hessian over (theta, beta, phi) and its inverse
    where it is dense.
    """

    theta: Float
    beta: Float
    phi: float
    loglik: float
    iterations: int
    information: Float | None
    inverse: Float | None
    free: NDArray[np.bool_]
    precision: Float

    @property
    def parameters(self) -> Float:
        return np.concatenate([self.theta, self.beta, [self.phi]])


def components(cells: Cells) -> NDArray[np.int64]:
    """Which connected component of the comparison graph each policy lies in."""
    graph = sparse.coo_matrix((np.ones(len(cells.i)), (cells.i, cells.j)), shape=(cells.size,) * 2)
    return np.asarray(sparse.csgraph.connected_components(graph, directed=False)[1], dtype=np.int64)


def is_strong(cells: Cells, link: Link) -> bool:
    """Whether a finite maximum exists: Ford's condition, that every policy reaches every other
    along wins or ties.

    A tie parameter can also run off together with the ratings, unless some strict wins form a
    cycle.
    """
    i, j, y = cells.i, cells.j, cells.y

    def strong_components(won: NDArray[np.bool_], lost: NDArray[np.bool_]) -> int:
        winner, loser = np.r_[i[won], j[lost]], np.r_[j[won], i[lost]]
        graph = sparse.coo_matrix((np.ones(len(winner)), (winner, loser)), shape=(cells.size,) * 2)
        return int(
            sparse.csgraph.connected_components(graph, directed=True, connection="strong")[0]
        )

    if strong_components(y > 0, y < 1) > 1:
        return False
    return (
        link.start is None
        or not (y == 0.5).any()
        or strong_components(y > 0.5, y < 0.5) < cells.size
    )


def assemble(cells: Cells, dd: Float, dphi: Float, phiphi: Float) -> Float:
    """Sum of w * v v' over cells, v = (e_i - e_j, x, phi): (n + k + 1, n + k + 1) for weights per
    block.
    """
    n, k, i, j, x = cells.size, cells.x.shape[1], cells.i, cells.j, cells.x
    out = np.zeros((n + k + 1, n + k + 1))
    cross = np.bincount(i * n + j, dd, n * n).reshape(n, n)
    cross += cross.T
    out[:n, :n] = np.diag(cross.sum(axis=1)) - cross
    side = np.column_stack([x * dd[:, None], dphi]) if k else dphi[:, None]
    for c in range(k + 1):
        out[:n, n + c] = np.bincount(i, side[:, c], n) - np.bincount(j, side[:, c], n)
    out[n : n + k, n : n + k] = x.T @ (x * dd[:, None])
    out[n : n + k, n + k] = x.T @ dphi
    out[n + k, n + k] = phiphi.sum()
    out[n:, :n] = out[:n, n:].T
    out[n + k, n : n + k] = out[n : n + k, n + k]
    return out


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def single_threaded(size: int) -> AbstractContextManager[Any]:
    """One BLAS thread for small systems: on a few hundred policies the threads cost ten times what
    they save.
    """
    return _blas().limit(limits=1, user_api="blas") if size <= 1000 else nullcontext()


def newton(cells: Cells, link: Link, **options: Any) -> Fit:
    """``_newton`` with as many BLAS threads as pay; see there for the options."""
    with single_threaded(cells.size):
        return _newton(cells, link, **options)


def _newton(
    cells: Cells,
    link: Link,
    *,
    precision: Float | None = None,
    fixed: dict[int, float] | None = None,
    start: Float | None = None,
    tolerance: float = 1e-9,
    most: int = 100,
) -> Fit:
    """Maximise the (penalised) likelihood by Newton's method with step halving.

    Parameters
    ----------
    precision
        (n,) Gaussian prior precision of each theta around 0; None: none
    fixed
        policies whose theta is given
    start
        parameters to start from

    Raises
    ------
    EvidenceError
        When it has not converged after ``most`` steps.
    """
    n, k = cells.size, cells.x.shape[1]
    if link.tieless is not None and not (cells.y == 0.5).any():
        link = LINKS[link.tieless]
    has_phi = link.start is not None
    lam = np.zeros(n) if precision is None else precision
    full_lam = np.r_[lam, np.full(k, 1e-9 * max(cells.mass.sum(), 1)), 1e-6 if has_phi else 0.0]
    p = np.zeros(n + k + 1) if start is None else start.copy()
    if has_phi and start is None:
        p[-1] = link.start
    free = np.ones(n + k + 1, bool)
    free[-1] = has_phi
    for policy, value in (fixed or {}).items():
        p[policy], free[policy] = value, False
    # Where nothing else pins a component's level, a rank-one term does; it never moves the fitted
    # differences.
    gauge = np.zeros((n + k + 1, 0))
    if precision is None:
        part = components(cells)
        pinned = {int(part[f]) for f in fixed or {}}
        loose = [
            np.r_[part == c, np.zeros(k + 1, bool)]
            for c in range(int(part.max()) + 1)
            if c not in pinned
        ]
        gauge = np.array(loose, dtype=float).T.reshape(n + k + 1, -1)

    def evaluate(p: Float) -> tuple[float, Terms, Float]:
        d = p[cells.i] - p[cells.j] + (cells.x @ p[n : n + k] if k else 0.0)
        terms = link.terms(d, cells.y, float(p[-1]))
        w = cells.mass
        g = w * terms.d
        gradient = np.r_[
            np.bincount(cells.i, g, n) - np.bincount(cells.j, g, n),
            cells.x.T @ g,
            (w * terms.phi).sum(),
        ]
        return float(w @ terms.value - 0.5 * full_lam @ p**2), terms, gradient - full_lam * p

    value, terms, gradient = evaluate(p)
    scale = max(cells.mass.sum(), 1.0)
    information = inverse = None
    iteration = 0
    while True:
        iteration += 1
        if iteration > most:
            raise EvidenceError(
                f"the fit has not converged after {most} steps. Give a prior (prior=2.0), or look"
                " for degenerate counts."
            )
        w = cells.mass
        if n <= DENSE_LIMIT:
            information = assemble(cells, w * terms.dd, w * terms.dphi, w * terms.phiphi)
            information[np.diag_indices(n + k + 1)] += full_lam
            step = np.zeros_like(p)
            pinned_info = information + gauge @ gauge.T * (np.trace(information) / max(n, 1) ** 2)
            active = pinned_info[np.ix_(free, free)]
            factor = cho_factor(
                active + np.eye(len(active)) * 1e-13 * max(np.trace(active), 1e-300)
            )
            step[free] = cho_solve(factor, gradient[free])
        else:
            step = _sparse_step(cells, w * terms.dd, full_lam, gradient, free)
        decrement = float(gradient[free] @ step[free])
        length = 1.0
        while True:
            trial = p + length * step
            if not (link.positive and trial[-1] <= 0):
                new_value, new_terms, new_gradient = evaluate(trial)
                if new_value >= value + 1e-4 * length * decrement - 1e-12 * abs(value):
                    break
            length /= 2
            if length < 1e-10:
                trial, new_value, new_terms, new_gradient = p, value, terms, gradient
                break
        p, value, terms, gradient = trial, new_value, new_terms, new_gradient
        if decrement <= tolerance * 1e-6 * scale**0.5 or np.abs(length * step).max() < tolerance:
            break
    if n <= DENSE_LIMIT:
        w = cells.mass
        information = assemble(cells, w * terms.dd, w * terms.dphi, w * terms.phiphi)
        information[np.diag_indices(n + k + 1)] += full_lam
        inverse = np.zeros_like(information)
        pinned_info = information + gauge @ gauge.T * (np.trace(information) / max(n, 1) ** 2)
        inverse[np.ix_(free, free)] = np.linalg.inv(pinned_info[np.ix_(free, free)])
    return Fit(p[:n], p[n : n + k], float(p[-1]), value, iteration, information, inverse, free, lam)


def _sparse_step(
    cells: Cells, h: Float, lam: Float, gradient: Float, free: NDArray[np.bool_]
) -> Float:
    """The Newton step by conjugate gradients, for very many policies (theta only)."""
    if cells.x.shape[1] or free[-1]:
        raise EvidenceError(
            f"covariates and tie parameters are fitted for up to {DENSE_LIMIT} policies. Use"
            " ties='half', or fewer policies."
        )
    n, i, j = cells.size, cells.i, cells.j
    diagonal = np.bincount(i, h, n) + np.bincount(j, h, n) + lam[:n]
    # Conjugate gradients break down on the null space that is left without a prior.
    lam = lam + 1e-9 * diagonal.mean()
    diagonal = np.where(diagonal > 0, diagonal, 1.0)
    mask = free[:n]

    def product(v: Float) -> Float:
        v = np.where(mask, v, 0.0)
        flow = h * (v[i] - v[j])
        return np.where(mask, np.bincount(i, flow, n) - np.bincount(j, flow, n) + lam[:n] * v, v)

    operator = LinearOperator((n, n), matvec=product, dtype=float)
    jacobi = LinearOperator((n, n), matvec=lambda v: v / diagonal, dtype=float)
    solved, _ = cg(operator, np.where(mask, gradient[:n], 0.0), rtol=1e-10, maxiter=2000, M=jacobi)
    return np.r_[np.where(mask, solved, 0.0), np.zeros(len(gradient) - n)]


def sandwich(cells: Cells, link: Link, fit: Fit) -> tuple[Float, float | None]:
    """Covariance of the parameters that does not trust the model, and its degrees of freedom.

    Residuals are inflated by their leverage (HC3; MacKinnon and White 1985). With clusters the
    scores of a cluster are summed first (CR1), and the degrees of freedom are the number of
    clusters minus one.
    """
    assert fit.inverse is not None
    n, k, i, j = cells.size, cells.x.shape[1], cells.i, cells.j
    d = fit.theta[i] - fit.theta[j] + cells.x @ fit.beta
    terms = link.terms(d, cells.y, fit.phi)
    if cells.cluster is None:
        v = fit.inverse
        spread = v[i, i] + v[j, j] - 2 * v[i, j]
        leverage = np.clip(cells.weight * terms.dd * spread, 0, 0.9)
        scale = cells.count * (cells.weight / (1 - leverage)) ** 2
        meat = assemble(
            cells, scale * terms.d**2, scale * terms.d * terms.phi, scale * terms.phi**2
        )
        return fit.inverse @ meat @ fit.inverse, None
    names, group = np.unique(cells.cluster, return_inverse=True)
    clusters = len(names)
    if clusters < 2:
        raise EvidenceError(
            "there is only one cluster: give evidence from several, or drop cluster=..."
        )
    g, g_phi = cells.mass * terms.d, cells.mass * terms.phi
    rows = np.r_[group, group, np.repeat(group, k), group]
    columns = np.r_[i, j, np.tile(np.arange(n, n + k), len(i)), np.full(len(i), n + k)]
    values = np.r_[g, -g, (cells.x * g[:, None]).ravel(), g_phi]
    scores = sparse.csr_matrix((values, (rows, columns)), shape=(clusters, n + k + 1))
    meat = (scores.T @ scores).toarray() * clusters / (clusters - 1)
    return fit.inverse @ meat @ fit.inverse, float(clusters - 1)
