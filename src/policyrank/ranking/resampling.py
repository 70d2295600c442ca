"""Bootstrap of paired fits: multinomial draws over the counts, solved as one batch."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from policyrank.board.intervals import Seed, generator
from policyrank.ranking.cells import Cells, is_strong
from policyrank.ranking.likelihood import Fit, Float, newton, single_threaded
from policyrank.ranking.links import Link
from policyrank.ranking.robust_errors import Units


def bootstrap_fits(
    cells: Cells, link: Link, fit: Fit, *, resamples: int, seed: Seed = 0, weak_prior: float
) -> tuple[Float, int]:
    """Parameters refitted to resampled counts: (resamples, parameters), and how many needed a prior
    to exist.

    Comparisons are drawn with replacement, or whole clusters where the cells have clusters. Each
    batch is solved by the chord method with the full data's inverse information; the few fits that
    it does not settle by Newton. A resample in which some policy never wins, or never loses, has no
    maximum: it gets a Gaussian prior with sd ``weak_prior``.
    """
    size = int(np.clip(3_000_000 // max(len(cells.i), 1), 1, 250))
    sizes = [min(size, resamples - start) for start in range(0, resamples, size)]
    rngs = generator(seed).spawn(len(sizes))

    def batch(size: int, rng: np.random.Generator) -> tuple[Float, int]:
        return _refits(cells, link, fit, _resampled_counts(cells, size, rng), weak_prior)

    with single_threaded(cells.size), ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = list(pool.map(batch, sizes, rngs))
    refits, weak = zip(*parts, strict=True)
    return np.concatenate(refits), sum(weak)


def _resampled_counts(cells: Cells, size: int, rng: np.random.Generator) -> Float:
    """(size, cells), how often each cell is drawn."""
    if cells.cluster is None:
        total = cells.count.sum()
        return rng.multinomial(round(total), cells.count / total, size=size).astype(float)
    units = Units.of(cells)
    picked = rng.multinomial(round(units.number), units.copies / units.number, size=size)
    return picked[:, units.member] * units.times(cells)


def _refits(
    cells: Cells, link: Link, fit: Fit, counts: Float, weak_prior: float
) -> tuple[Float, int]:
    """Parameters refitted to each row of counts, and how many needed a prior."""
    parameters, settled = _chord(_Resampled.of(cells, link, counts), link, fit)
    weak = 0
    for row in np.flatnonzero(~settled):
        resampled = replace(cells, count=counts[row]).take(counts[row] > 0)
        precision = None
        if fit.precision.any():
            precision = fit.precision
        elif not is_strong(resampled, link):
            precision = np.full(cells.size, weak_prior**-2)
            weak += 1
        fixed = {}
        for policy in np.flatnonzero(~fit.free[: cells.size]).tolist():
            fixed[policy] = float(fit.theta[policy])
        refit = newton(resampled, link, precision=precision, fixed=fixed)
        parameters[row] = refit.parameters
    return parameters, weak


class _Resampled(NamedTuple):
    """Resamples of the same comparisons: i against j with covariates x, of mass (batch, cells).

    ``outcome`` is (cells,), or (batch, cells) where pairs are merged.
    """

    policies: int
    i: NDArray[np.int64]
    j: NDArray[np.int64]
    x: Float
    outcome: Float
    mass: Float

    @classmethod
    def of(cls, cells: Cells, link: Link, counts: Float) -> _Resampled:
        mass = counts * cells.weight
        if not link.linear or cells.x.shape[1]:
            return cls(cells.size, cells.i, cells.j, cells.x, cells.y, mass)
        # A likelihood that is linear in the outcome needs only each pair's mean.
        i, j, member = cells.pairs()
        won = (member @ (mass * cells.y).T).T
        mass = (member @ mass.T).T
        mean = np.divide(won, mass, out=np.full_like(won, 0.5), where=mass > 0)
        return cls(cells.size, i, j, np.zeros((len(i), 0)), mean, mass)

    @property
    def incidence(self) -> sparse.csr_matrix:
        """(policies, cells), 1 for i and -1 for j."""
        cells = len(self.i)
        signs = np.r_[np.ones(cells), -np.ones(cells)]
        places = np.r_[self.i, self.j], np.tile(np.arange(cells), 2)
        return sparse.csr_matrix((signs, places), shape=(self.policies, cells))


def _chord(resampled: _Resampled, link: Link, fit: Fit) -> tuple[Float, NDArray[np.bool_]]:
    """Parameters by steps with the full data's inverse information, and which resamples settled."""
    assert fit.inverse is not None
    policies, size = resampled.policies, len(resampled.mass)
    covariates = resampled.x.shape[1]
    incidence = resampled.incidence
    precision = np.r_[fit.precision, np.zeros(covariates + 1)]
    parameters = np.tile(fit.parameters, (size, 1))
    settled = np.zeros(size, bool)
    live = np.arange(size)
    for _ in range(40):
        now = parameters[live]
        gap = now[:, resampled.i] - now[:, resampled.j]
        if covariates:
            gap += now[:, policies : policies + covariates] @ resampled.x.T
        outcome = resampled.outcome
        if outcome.ndim == 2:
            outcome = outcome[live]
        mass = resampled.mass[live]
        of_gap, of_phi = link.gradient(gap, outcome, now[:, -1:])
        flow = mass * of_gap
        of_policies = (incidence @ flow.T).T
        gradient = np.column_stack([of_policies, flow @ resampled.x, (mass * of_phi).sum(axis=1)])
        step = (gradient - precision * now) @ fit.inverse
        largest = np.abs(step).max(axis=1)
        usable = np.isfinite(largest) & (largest < 5)
        if link.positive:
            usable &= now[:, -1] + step[:, -1] > 0
        small = largest < 1e-7
        parameters[live[usable]] += step[usable]
        settled[live[usable & small]] = True
        live = live[usable & ~small]
        if not len(live):
            break
    return parameters, settled
