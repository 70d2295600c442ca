"""Bootstrap of paired fits: multinomial draws over the counts, solved as one batch."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from scipy import sparse

from policyrank.board.intervals import Seed, generator
from policyrank.ranking.cells import Cells, is_strong
from policyrank.ranking.likelihood import Fit, Float, newton, single_threaded
from policyrank.ranking.links import Link


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
    assert fit.inverse is not None
    size = int(np.clip(3_000_000 // max(len(cells.i), 1), 1, 250))
    sizes = [min(size, resamples - start) for start in range(0, resamples, size)]
    rngs = generator(seed).spawn(len(sizes))
    with single_threaded(cells.size), ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = list(
            pool.map(lambda size, rng: _batch(cells, link, fit, size, rng, weak_prior), sizes, rngs)
        )
    return np.concatenate([p for p, _ in parts]), sum(w for _, w in parts)


def _batch(
    cells: Cells, link: Link, fit: Fit, size: int, rng: np.random.Generator, weak_prior: float
) -> tuple[Float, int]:
    n, k = cells.size, cells.x.shape[1]
    if cells.cluster is None:
        total = int(cells.count.sum())
        counts = rng.multinomial(total, cells.count / cells.count.sum(), size=size).astype(float)
    else:
        names, group = np.unique(cells.cluster, return_inverse=True)
        picked = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=size)
        counts = picked[:, group] * cells.count
    mass, y, i, j = counts * cells.weight, cells.y, cells.i, cells.j
    if link.linear and not k:
        i, j, member = cells.pairs()
        won = (member @ (mass * y).T).T
        mass = (member @ mass.T).T
        y = np.divide(won, mass, out=np.full_like(won, 0.5), where=mass > 0)
    incidence = sparse.csr_matrix(
        (np.r_[np.ones(len(i)), -np.ones(len(i))], (np.r_[i, j], np.tile(np.arange(len(i)), 2))),
        shape=(n, len(i)),
    )
    p = np.tile(fit.parameters, (size, 1))
    full_lam = np.r_[fit.precision, np.zeros(k + 1)]
    live = np.arange(size)
    done = np.zeros(size, bool)
    for _ in range(40):
        q = p[live]
        d = q[:, i] - q[:, j] + (q[:, n : n + k] @ cells.x.T if k else 0.0)
        gd, gphi = link.gradient(d, y if y.ndim == 1 else y[live], q[:, -1:])
        g = mass[live] * gd
        gradient = np.column_stack(
            [(incidence @ g.T).T, g @ cells.x if k else g[:, :0], (mass[live] * gphi).sum(axis=1)]
        )
        step = (gradient - full_lam * q) @ fit.inverse
        size_of = np.abs(step).max(axis=1)
        usable = np.isfinite(size_of) & (size_of < 5)
        if link.positive:
            usable &= q[:, -1] + step[:, -1] > 0
        p[live[usable]] += step[usable]
        done[live[usable & (size_of < 1e-7)]] = True
        live = live[usable & (size_of >= 1e-7)]
        if not len(live):
            break
    weak = 0
    for r in np.flatnonzero(~done):
        resampled = replace(cells, count=counts[r]).take(counts[r] > 0)
        precision = fit.precision if fit.precision.any() else None
        if precision is None and not is_strong(resampled, link):
            precision = np.full(n, weak_prior**-2)
            weak += 1
        fixed = {int(f): float(fit.theta[f]) for f in np.flatnonzero(~fit.free[:n])}
        p[r] = newton(resampled, link, precision=precision, fixed=fixed).parameters
    return p, weak
