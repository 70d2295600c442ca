"""Instances: chances and weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyrank.errors import EvidenceError

Float = NDArray[np.float64]
Int = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Matching:
    """An instance.

    Attributes
    ----------
    p
        (offline, arrivals), chance that a match succeeds, 0 where there is no edge
    weights
        (offline,), positive
    """

    p: Float
    weights: Float

    @classmethod
    def of(cls, p: ArrayLike, weights: ArrayLike | None = None) -> Matching:
        """Checked.

        Raises
        ------
        EvidenceError
            For chances outside [0, 1], an edgeless graph, or weights that are not positive.
        """
        table = np.asarray(p, dtype=float)
        if table.ndim != 2:
            raise EvidenceError(f"p has {table.ndim} dimensions: it is (offline, arrivals).")
        bad = ~((table >= 0) & (table <= 1))
        if bad.any():
            u, v = np.argwhere(bad)[0]
            raise EvidenceError(f"p[{u}, {v}] is {table[u, v]}: chances lie in [0, 1].")
        if not table.any():
            raise EvidenceError("no edge: every chance is 0.")
        if weights is None:
            return cls(table, np.ones(len(table)))
        each = np.asarray(weights, dtype=float)
        if each.shape != (len(table),) or not (np.isfinite(each) & (each > 0)).all():
            raise EvidenceError(
                f"weights are {len(table)} positive numbers, one for each offline vertex."
            )
        return cls(table, each)


def upper_triangular(n: int, mass: float = 1.0, slices: int = 20) -> Matching:
    """The hard instance: arrivals of type t = 1..n are neighbours of the vertices t, ..., n.

    Each type is ``mass * slices`` arrivals of chance 1 / slices.

    Examples
    --------
    >>> upper_triangular(2, slices=2).p.tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.5, 0.5, 0.5, 0.5]]
    """
    thick = round(mass * slices)
    kind = np.repeat(np.arange(n), thick)
    return Matching.of(np.where(np.arange(n)[:, None] >= kind[None], 1 / slices, 0.0))


def random_bipartite(
    offline: int,
    arrivals: int,
    degree: float = 3.0,
    low: float = 0.05,
    high: float = 0.6,
    seed: int = 0,
) -> Matching:
    """Each arrival has ``degree`` neighbours on average, chances uniform in [low, high]."""
    rng = np.random.default_rng(seed)
    edge = rng.random((offline, arrivals)) < degree / offline
    edge[rng.integers(offline), 0] = True
    return Matching.of(np.where(edge, rng.uniform(low, high, size=edge.shape), 0.0))
