"""Groups of shocked nodes, solved as small quantum systems.

H commutes with Z of every node without shock: given those, each connected group of shocked nodes
("core") is a quantum system of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import EvidenceError

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Near = Sequence[Mapping[int, float]]
"""Of each node, its neighbours and their couplings."""

LARGEST_CORE = 10


@dataclass(frozen=True, eq=False)
class Core:
    """A connected group of k shocked nodes in each of u fields that its neighbours can cause.

    Attributes
    ----------
    nodes, edge
        numbers of the k nodes, and of their classical neighbours
    energies
        (u, 2^k)
    weights
        (u, 2^k states, 2^k levels): |<z|level>|^2
    which
        (2, ..., 2): the field that each state of the neighbours causes
    """

    nodes: tuple[int, ...]
    edge: tuple[int, ...]
    energies: Float
    weights: Float
    which: Int

    @property
    def scope(self) -> tuple[int, ...]:
        """All whose states a table of it is about."""
        return (*self.edge, *self.nodes)


def reachable(start: int, near: Near, among: Collection[int]) -> set[int]:
    """Nodes that a way through some nodes leads to, the start included."""
    found: set[int] = set()
    front = {start}
    while front:
        found |= front
        beside = {other for node in front for other in near[node]}
        front = {node for node in beside if node in among} - found
    return found


def groups_of(shocked: set[int], near: Near) -> tuple[tuple[int, ...], ...]:
    """Connected groups of shocked nodes.

    Raises
    ------
    EvidenceError
        For a group of more than ten.
    """
    found = []
    left = set(shocked)
    while left:
        group = reachable(min(left), near, left)
        left -= group
        if len(group) > LARGEST_CORE:
            raise EvidenceError(
                f"{len(group)} shocked nodes hang together: 2^{len(group)} quantum states. At"
                f" most {LARGEST_CORE} can be solved exactly."
            )
        found.append(tuple(sorted(group)))
    return tuple(found)


def solve_core(nodes: tuple[int, ...], near: Near, field: Float, shock: Float) -> Core:
    """All levels of a group of shocked nodes, for all states of what is beside it."""
    around = {other for node in nodes for other in near[node]}
    edge = tuple(sorted(around - set(nodes)))
    pull = _couplings(near, nodes, edge)
    fields = field[list(nodes)] - (1.0 - 2.0 * _states(len(edge))) @ pull.T
    rows, which = np.unique(fields.round(12), axis=0, return_inverse=True)
    inner = _couplings(near, nodes, nodes)
    energies, weights = _spectra(rows, inner, shock[list(nodes)])
    return Core(nodes, edge, energies, weights, which.reshape((2,) * len(edge)))


def _spectra(fields: Float, inner: Float, shock: Float) -> tuple[Float, Float]:
    """Energies (u, 2^k) and weights (u, 2^k, 2^k) of a core in each field."""
    size, states = len(shock), np.arange(1 << len(shock))
    z = 1.0 - 2.0 * _states(size).T
    diagonal = fields @ z - np.einsum("as,bs,ab->s", z, z, inner) / 2
    flip = np.zeros((len(states), len(states)))
    for node in range(size):
        flipped = states ^ (1 << (size - 1 - node))
        flip[states, flipped] -= shock[node]
    energies, weights = [], []
    for row in diagonal:
        levels, vectors = np.linalg.eigh(np.diag(row) + flip)
        energies.append(levels)
        weights.append(vectors**2)
    return np.array(energies), np.array(weights)


def _states(count: int) -> Int:
    """(2^count, count): all states, the last node changes fastest."""
    if not count:
        return np.zeros((1, 0), dtype=np.int64)
    return np.indices((2,) * count).reshape(count, -1).T


def _couplings(near: Near, rows: Sequence[int], columns: Sequence[int]) -> Float:
    found = np.zeros((len(rows), len(columns)))
    for place, row in enumerate(rows):
        for other, column in enumerate(columns):
            found[place, other] = near[row].get(column, 0.0)
    return found
