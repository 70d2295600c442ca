"""Comparisons counted into cells, and what the graph of who met whom says of a fit.

A cell is a set of equal comparisons: i against j with outcome y and total mass w. Its linear
predictor is d = theta_i - theta_j + x . beta.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from policyrank.errors import EvidenceError
from policyrank.evidence import Comparisons, Labels
from policyrank.ranking.connected import components
from policyrank.ranking.links import Link

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Cells:
    """Equal comparisons: i against j with outcome y, ``count`` of them, of ``weight`` each.

    ``copied``: a cluster's cells have one count, that of equal clusters (ballots by many voters).
    """

    size: int
    i: NDArray[np.int64]
    j: NDArray[np.int64]
    y: Float
    count: Float
    weight: Float
    x: Float
    cluster: NDArray[np.int64] | None = None
    copied: bool = False

    @property
    def mass(self) -> Float:
        return self.count * self.weight

    def gap(self, theta: Float, beta: Float) -> Float:
        """The linear predictor of each cell."""
        return theta[self.i] - theta[self.j] + self.x @ beta

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
        copied = cluster == "ballot" and c.count is not None
        if c.covariates is None and c.count is None:
            c = c.counted(by=() if cluster is None else (cluster,))
        games = c.games()
        a, b, y, row = games.a, games.b, games.outcome, games.row
        flip = np.zeros(len(a), dtype=bool)
        if not order_effect:
            flip = a > b
            a, b, y = np.minimum(a, b), np.maximum(a, b), np.where(flip, 1 - y, y)
        x = np.zeros((len(a), 0))
        if c.covariates is not None:
            x = np.where(flip[:, None], -c.covariates[row], c.covariates[row])
        if order_effect:
            x = np.column_stack([np.ones(len(a)), x])
        weight = np.ones(len(a)) if c.weight is None else c.weight[row]
        labels: Labels | None = getattr(c, cluster) if cluster else None
        group = None if labels is None else labels.codes.astype(np.int64)[row]
        cells = cls(len(c.policies), a, b, y, games.times, weight, x, group, copied)
        keep = cells.mass > 0
        cells = cells if keep.all() else cells.take(keep)
        return cells if x.shape[1] - order_effect else cells.merged()

    def take(self, rows: NDArray[Any]) -> Cells:
        part = {f: getattr(self, f)[rows] for f in ("i", "j", "y", "count", "weight", "x")}
        return replace(self, **part, cluster=None if self.cluster is None else self.cluster[rows])

    def merged(self) -> Cells:
        """Cells that became equal by folding, as one."""
        keys = [self.j * self.size + self.i, self.y, self.weight]
        if self.cluster is not None:
            keys.append(self.cluster)
        order = np.lexsort(keys)
        new = np.zeros(len(order), dtype=bool)
        new[:1] = True
        for key in keys:
            new[1:] |= np.diff(key[order]) != 0
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


def is_strong(cells: Cells, link: Link) -> bool:
    """Whether a finite maximum exists: Ford's condition, that every policy reaches every other
    along wins or ties.

    A tie parameter can also run off together with the ratings, unless some strict wins form a
    cycle.
    """
    i, j, y = cells.i, cells.j, cells.y

    def strong_components(won: NDArray[np.bool_], lost: NDArray[np.bool_]) -> int:
        winner, loser = np.r_[i[won], j[lost]], np.r_[j[won], i[lost]]
        return int(components((winner, loser), cells.size, strong=True).max()) + 1

    if strong_components(y > 0, y < 1) > 1:
        return False
    return (
        link.start is None
        or not (y == 0.5).any()
        or strong_components(y > 0.5, y < 0.5) < cells.size
    )


def mirror(square: Float) -> None:
    """Copy what is below the diagonal of a matrix to above it."""
    for row in range(1, len(square)):
        square[:row, row] = square[row, :row]


def assemble(cells: Cells, dd: Float, dphi: Float, phiphi: Float) -> Float:
    """Sum of w * v v' over cells, v = (e_i - e_j, x, phi): (n + k + 1, n + k + 1) for weights per
    block.
    """
    n, k, i, j, x = cells.size, cells.x.shape[1], cells.i, cells.j, cells.x
    size = n + k + 1
    # Memory that zeros() has not touched yet is dear to touch out of order.
    out = np.full((size, size), 0.0)
    laplacian = out[:n, :n]
    np.subtract.at(out.reshape(-1), np.maximum(i, j) * size + np.minimum(i, j), dd)
    mirror(laplacian)
    laplacian[np.diag_indices(n)] = -laplacian.sum(axis=1)
    side = np.column_stack([x * dd[:, None], dphi]) if k else dphi[:, None]
    for c in range(k + 1):
        out[:n, n + c] = np.bincount(i, side[:, c], n) - np.bincount(j, side[:, c], n)
    out[n : n + k, n : n + k] = x.T @ (x * dd[:, None])
    out[n : n + k, n + k] = x.T @ dphi
    out[n + k, n + k] = phiphi.sum()
    out[n:, :n] = out[:n, n:].T
    out[n + k, n : n + k] = out[n : n + k, n + k]
    return out
