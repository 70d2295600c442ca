"""One Newton fit for all models of paired comparisons, on counts; and its covariance."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import ThreadpoolController

from policyrank.board.intervals import MANY
from policyrank.errors import EvidenceError
from policyrank.ranking.cells import Cells, assemble, mirror
from policyrank.ranking.connected import components
from policyrank.ranking.links import LINKS, Link, Terms

Float = NDArray[np.float64]
Evaluation = tuple[float, Terms, Float]
"""Log-likelihood, terms of the cells, gradient."""

DENSE_LIMIT = 4000


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted model.

    Attributes
    ----------
    theta, beta, phi
        ratings (n,), coefficients of covariates (k,), the tie parameter
    loglik, iterations
        the penalised log-likelihood, and the steps to it
    inverse
        (n + k + 1, n + k + 1), of the negative Hessian over (theta, beta, phi); None where there
        are too many policies
    free
        bool (n + k + 1,): which parameters were fitted
    precision
        (n,), the prior's of each theta
    """

    theta: Float
    beta: Float
    phi: float
    loglik: float
    iterations: int
    inverse: Float | None
    free: NDArray[np.bool_]
    precision: Float

    @property
    def parameters(self) -> Float:
        """theta, beta and phi, one after the other."""
        return np.concatenate([self.theta, self.beta, [self.phi]])


@cache
def blas() -> ThreadpoolController:
    return ThreadpoolController()


def single_threaded(size: int) -> AbstractContextManager[Any]:
    """One BLAS thread for small systems: threads cost them ten times what they save."""
    return blas().limit(limits=1, user_api="blas") if size <= MANY else nullcontext()


def newton(cells: Cells, link: Link, **options: Any) -> Fit:
    """Maximise the (penalised) likelihood by Newton's method with step halving.

    Parameters
    ----------
    cells, link
        the counts, and the model of a comparison
    precision
        (n,) Gaussian prior precision of each theta around 0; None: none
    fixed
        policies whose theta is given
    start
        parameters to start from
    tolerance, most
        the largest step at the end, and the number of steps

    Raises
    ------
    EvidenceError
        When it has not converged after ``most`` steps.
    """
    if link.tieless is not None and not (cells.y == 0.5).any():
        link = LINKS[link.tieless]
    with single_threaded(cells.size):
        return _Problem.of(cells, link, **options).solved()


@dataclass(frozen=True, eq=False)
class _Problem:
    """A likelihood to be maximised over p = (theta, beta, phi)."""

    cells: Cells
    link: Link
    start: Float
    free: NDArray[np.bool_]
    prior: Float
    penalty: Float
    group: NDArray[np.int64]
    tolerance: float
    most: int

    @classmethod
    def of(
        cls,
        cells: Cells,
        link: Link,
        *,
        precision: Float | None = None,
        fixed: dict[int, float] | None = None,
        start: Float | None = None,
        tolerance: float = 1e-9,
        most: int = 100,
    ) -> _Problem:
        n, k = cells.size, cells.x.shape[1]
        prior = np.zeros(n) if precision is None else precision
        p = np.zeros(n + k + 1) if start is None else start.copy()
        free = np.ones(n + k + 1, dtype=bool)
        free[-1] = link.start is not None
        if link.start is not None and start is None:
            p[-1] = link.start
        for policy, value in (fixed or {}).items():
            p[policy], free[policy] = value, False
        slack = np.full(k, 1e-9 * max(cells.mass.sum(), 1))
        penalty = np.r_[prior, slack, 0.0 if link.start is None else 1e-6]
        group = np.full(n, -1)
        if precision is None:
            group = _loose(cells, fixed or {})
        return cls(cells, link, p, free, prior, penalty, group, tolerance, most)

    def evaluate(self, p: Float) -> Evaluation:
        """The penalised log-likelihood, the terms of its cells, and its gradient."""
        cells, n, k = self.cells, self.cells.size, self.cells.x.shape[1]
        d = p[cells.i] - p[cells.j]
        if k:
            d = d + cells.x @ p[n : n + k]
        terms = self.link.terms(d, cells.y, float(p[-1]))
        w = cells.mass
        g = w * terms.d
        flow = np.bincount(cells.i, g, n) - np.bincount(cells.j, g, n)
        gradient = np.r_[flow, cells.x.T @ g, w @ terms.phi]
        value = float(w @ terms.value - 0.5 * self.penalty @ p**2)
        return value, terms, gradient - self.penalty * p

    def pinned_information(self, terms: Terms) -> Float:
        """The negative Hessian, every level pinned; parameters that are not free stand alone.

        A term of rank one pins the level of each group; it never moves the fitted differences.
        """
        w, n, group = self.cells.mass, self.cells.size, self.group
        information = assemble(self.cells, w * terms.dd, w * terms.dphi, w * terms.phiphi)
        information[np.diag_indices_from(information)] += self.penalty
        mean = np.trace(information) / n
        if (group >= 0).any():
            together = (group[:, None] == group) & (group >= 0)
            ratings = information[:n, :n]
            np.add(ratings, mean / n, out=ratings, where=together)
        for fixed in np.flatnonzero(~self.free):
            information[fixed], information[:, fixed] = 0, 0
            information[fixed, fixed] = mean
        return information

    def step(self, terms: Terms, gradient: Float) -> Float:
        """Newton's step."""
        n, free = self.cells.size, self.free
        gradient = np.where(free, gradient, 0.0)
        plain = not self.cells.x.shape[1] and not free[-1]
        if n > DENSE_LIMIT and not plain:
            raise EvidenceError(
                f"covariates and tie parameters are fitted for up to {DENSE_LIMIT} policies. Use"
                " ties='half', or fewer policies."
            )
        if n > min(MANY, DENSE_LIMIT) and plain:
            h = self.cells.mass * terms.dd
            return _sparse_step(self.cells, h, self.penalty, gradient, free)
        active = self.pinned_information(terms)
        ridge = 1e-13 * max(np.trace(active), 1e-300)
        active[np.diag_indices_from(active)] += ridge
        return np.asarray(np.linalg.solve(active, gradient), dtype=np.float64)

    def halved(
        self, p: Float, step: Float, value: float, decrement: float
    ) -> tuple[Float, Evaluation | None]:
        """The longest of step, step / 2, ... that raises the likelihood enough, and what is there.

        None: no such step was found.
        """
        length = 1.0
        while length >= 1e-10:
            taken = length * step
            if not self.link.positive or p[-1] + taken[-1] > 0:
                found = self.evaluate(p + taken)
                if found[0] >= value + 1e-4 * length * decrement - 1e-12 * abs(value):
                    return taken, found
            length /= 2
        return np.zeros_like(step), None

    def solved(self) -> Fit:
        """Newton's method from the start to the maximum."""
        p = self.start
        value, terms, gradient = self.evaluate(p)
        enough = self.tolerance * 1e-6 * max(self.cells.mass.sum(), 1.0) ** 0.5
        for iteration in range(1, self.most + 1):
            step = self.step(terms, gradient)
            decrement = float(gradient[self.free] @ step[self.free])
            taken, found = self.halved(p, step, value, decrement)
            if found is not None:
                p = p + taken
                value, terms, gradient = found
            if decrement <= enough or np.abs(taken).max() < self.tolerance:
                return self.fit(p, value, terms, iteration)
        raise EvidenceError(
            f"the fit has not converged after {self.most} steps. Give a prior (prior=2.0), or look"
            " for degenerate counts."
        )

    def fit(self, p: Float, value: float, terms: Terms, iterations: int) -> Fit:
        """The fit at the maximum, with the inverse of its information where that is dense."""
        n, k = self.cells.size, self.cells.x.shape[1]
        inverse = None
        if n <= DENSE_LIMIT:
            inverse = inverted(self.pinned_information(terms))
            inverse[~self.free, ~self.free] = 0
        theta, beta, phi = p[:n], p[n : n + k], float(p[-1])
        return Fit(theta, beta, phi, value, iterations, inverse, self.free, self.prior)


def expected_inverse(cells: Cells, link: Link, fit: Fit) -> Float:
    """The inverse of the information that the model expects at the fit, as ``Fit.inverse`` is.

    The two are equal for logistic and Davidson's models, whose curvature knows no outcome.
    """
    assert fit.inverse is not None
    if link.canonical:
        return fit.inverse
    fixed = {}
    for policy in np.flatnonzero(~fit.free[: cells.size]).tolist():
        fixed[policy] = float(fit.theta[policy])
    precision = fit.precision if fit.precision.any() else None
    problem = _Problem.of(cells, link, precision=precision, fixed=fixed, start=fit.parameters)
    terms = link.expected(cells.gap(fit.theta, fit.beta), fit.phi)
    with single_threaded(cells.size):
        inverse = inverted(problem.pinned_information(terms))
    inverse[~fit.free, ~fit.free] = 0
    return inverse


def _loose(cells: Cells, fixed: Iterable[int]) -> NDArray[np.int64]:
    """The connected component of each policy, -1 where a fixed policy pins its level: (n,)."""
    part = components((cells.i, cells.j), cells.size)
    return np.where(np.isin(part, part[list(fixed)]), -1, part)


def inverted(positive: Float) -> Float:
    """Of a positive definite matrix; for thousands of rows in place."""
    if len(positive) <= MANY:
        return np.asarray(np.linalg.inv(positive), dtype=np.float64)
    from scipy.linalg.lapack import dpotrf, dpotri  # slow to import, and rarely needed

    # Threads of LAPACK wait for each other for half a minute where the machine is busy.
    with blas().limit(limits=1, user_api="blas"):
        factor, failed = dpotrf(positive.T, lower=0, overwrite_a=1)
        inverse, _ = dpotri(factor, lower=0, overwrite_c=1)
    if failed:
        raise EvidenceError("the fit has no curvature in some direction. Give a prior (prior=2.0).")
    mirror(inverse.T)
    return inverse


def _sparse_step(
    cells: Cells, h: Float, lam: Float, gradient: Float, free: NDArray[np.bool_]
) -> Float:
    """The Newton step by conjugate gradients, for very many policies (theta only)."""
    from scipy.sparse.linalg import LinearOperator, cg  # slow to import, and rarely needed

    n = cells.size
    # The rows in order are enough: scipy would also sort each one and sum its equal entries.
    order = np.argsort(cells.j, kind="stable")
    ends = np.cumsum(np.bincount(cells.j, minlength=n))
    lower = sparse.csr_matrix((h[order], cells.i[order], np.r_[0, ends]), shape=(n, n))
    upper = lower.T
    diagonal = np.bincount(cells.i, h, n) + np.bincount(cells.j, h, n) + lam[:n]
    # Conjugate gradients break down on the null space that is left without a prior.
    own = diagonal + 1e-9 * diagonal.mean()
    diagonal = np.where(diagonal > 0, diagonal, 1.0)
    mask = free[:n]

    def product(v: Float) -> Float:
        v = np.where(mask, v, 0.0)
        return np.where(mask, own * v - upper @ v - lower @ v, v)

    operator = LinearOperator((n, n), matvec=product, dtype=float)
    jacobi = LinearOperator((n, n), matvec=lambda v: v / diagonal, dtype=float)
    solved, _ = cg(operator, np.where(mask, gradient[:n], 0.0), rtol=1e-10, maxiter=2000, M=jacobi)
    return np.r_[np.where(mask, solved, 0.0), np.zeros(len(gradient) - n)]
