"""Which policies lead to one another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

DENSE = 300
"""Up to so many nodes whole matrices are quicker than importing what walks along edges."""


def components(edges: Sequence[ArrayLike], size: int, *, strong: bool = False) -> NDArray[np.int64]:
    """The component of each node of a graph: (size,), from 0.

    Parameters
    ----------
    edges
        where each begins, and where it ends: two of (edges,)
    size
        nodes
    strong
        along the edges' directions there and back; else whichever way

    Examples
    --------
    >>> components(([0, 1], [1, 0]), 3)
    array([0, 0, 1])
    >>> components(([0, 1], [1, 2]), 3, strong=True)
    array([0, 1, 2])
    """
    tail, head = map(np.asarray, edges)
    if size > DENSE:
        from scipy import sparse

        graph = sparse.coo_matrix((np.ones(len(tail)), (tail, head)), shape=(size, size))
        kind = "strong" if strong else "weak"
        found = sparse.csgraph.connected_components(graph, directed=True, connection=kind)
        return np.asarray(found[1], dtype=np.int64)
    reaches = np.eye(size, dtype=np.float32)
    reaches[tail, head] = 1
    if not strong:
        reaches = np.maximum(reaches, reaches.T)
    for _ in range(size.bit_length()):
        reaches = np.minimum(reaches @ reaches, 1)
    first = (reaches * reaches.T).argmax(axis=1) if size else np.zeros(0)
    return np.unique(first, return_inverse=True)[1].astype(np.int64)
