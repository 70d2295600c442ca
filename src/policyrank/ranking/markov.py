"""Stationary distributions of Markov chains: small ones by elimination, large ones by iteration."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from policyrank.errors import EvidenceError
from policyrank.ranking.connected import components

Float = NDArray[np.float64]
GTH_LIMIT = 600
"""States beyond which elimination takes too long."""

TINY = 1e-300
"""In place of 0 in a denominator."""


def stationary(chain: sparse.csr_matrix, *, tolerance: float = 1e-10, most: int = 20_000) -> Float:
    """Stationary distribution of a chain from its transition probabilities between different
    states.

    Small chains by Grassmann, Taksar and Heyman's elimination, which never subtracts. Large ones by
    iterating the jump chain, with the masses of its closed classes (and of the rest) solved exactly
    every few steps (Koury, McAllister and Stewart 1984), so that rarely left classes cost nothing.

    Raises
    ------
    EvidenceError
        When several states are never left, or it does not settle.

    Examples
    --------
    >>> there_and_back = sparse.csr_matrix([[0, 0.1], [0.3, 0]])
    >>> stationary(there_and_back)
    array([0.75, 0.25])
    """
    states = chain.shape[0]
    if states == 1:
        return np.ones(1)
    leave = np.asarray(chain.sum(axis=1)).ravel()
    if (leave <= 0).sum() > 1:
        raise EvidenceError(
            "several profiles are never left at this alpha: take alpha=inf with an epsilon, or a"
            " smaller alpha"
        )
    if states <= GTH_LIMIT:
        return gth(chain.toarray())
    leave = np.maximum(leave, TINY)
    jump = sparse.diags(1 / leave) @ chain
    back = jump.T.tocsr()
    block, closed = _closed_classes(jump)
    visits = np.full(states, 1 / states)
    for step in range(1, most + 1):
        new = 0.5 * (visits + back @ visits)
        change = float(np.abs(new - visits).sum())
        visits = new / new.sum()
        if change < tolerance:
            mass = visits / leave
            return mass / mass.sum()
        if step % 10 == 0 and closed > 1:
            visits = _rebalanced(visits, jump, block, closed)
    raise EvidenceError(
        f"the stationary distribution has not settled after {most} steps (last change"
        f" {change:.1e}): take a larger epsilon"
    )


def _closed_classes(jump: sparse.csr_matrix) -> tuple[NDArray[np.int64], int]:
    """The closed class of each state (the rest has the number after the last), and how many there
    are.
    """
    # Moves much rarer than a state's likeliest one do not make a class.
    likeliest = np.asarray(jump.max(axis=1).todense()).ravel()
    likely = jump.data > 0.05 * np.repeat(likeliest, np.diff(jump.indptr))
    strong = sparse.csr_matrix(
        (jump.data * likely, jump.indices, jump.indptr), shape=jump.shape, copy=True
    )
    strong.eliminate_zeros()
    links = strong.tocoo()
    part = components((links.row, links.col), len(likeliest), strong=True)
    count = int(part.max()) + 1
    crosses = part[links.row] != part[links.col]
    is_open = np.zeros(count, bool)
    is_open[part[links.row[crosses]]] = True
    closed = np.flatnonzero(~is_open)
    largest_first = np.argsort(-np.bincount(part)[closed], kind="stable")
    closed = closed[largest_first][:GTH_LIMIT]
    block = np.full(count, len(closed))
    block[closed] = np.arange(len(closed))
    return block[part], len(closed)


def _rebalanced(
    visits: Float, jump: sparse.csr_matrix, block: NDArray[np.int64], closed: int
) -> Float:
    """Visits with those of each block scaled to what the flow between blocks makes of them."""
    states = len(visits)
    shape = (closed + 1, states)
    sums = sparse.csr_matrix((np.ones(states), (block, np.arange(states))), shape=shape)
    weight = np.asarray(sums @ visits).ravel()
    divisor = np.maximum(weight, TINY)
    flow = (sums @ sparse.diags(visits) @ jump @ sums.T).toarray() / divisor[:, None]
    np.fill_diagonal(flow, 0)
    live = (weight > 1e-250) & (flow.sum(axis=1) > 0)
    target = weight.copy()
    target[live] = gth(flow[np.ix_(live, live)]) * weight[live].sum()
    scaled = visits * (target / divisor)[block]
    return scaled / scaled.sum()


def gth(chain: Float) -> Float:
    """Stationary distribution by Grassmann-Taksar-Heyman elimination; the diagonal is not read.

    Examples
    --------
    >>> gth(np.array([[0, 0.1], [0.3, 0]]))
    array([0.75, 0.25])
    """
    flow = np.array(chain, dtype=float)
    states = len(flow)
    leave = np.zeros(states)
    for last in range(states - 1, 0, -1):
        leave[last] = flow[last, :last].sum()
        if leave[last] > 0:
            flow[:last, last] /= leave[last]
            flow[:last, :last] += np.outer(flow[:last, last], flow[last, :last])
    mass = np.zeros(states)
    mass[0] = 1.0
    for state in range(1, states):
        arriving = flow[:state, state]
        if leave[state] > 0:
            mass[state] = mass[:state] @ arriving
        elif arriving.any():
            mass[:state], mass[state] = 0.0, 1.0
    return mass / mass.sum()


def gth_batch(chains: Float) -> Float:
    """``gth`` of many chains at once: (batch, n, n) -> (batch, n); every state must reach every
    other.

    Examples
    --------
    >>> chains = np.array([[[0, 0.1], [0.3, 0]], [[0, 0.5], [0.5, 0]]])
    >>> gth_batch(chains).round(2).tolist()
    [[0.75, 0.25], [0.5, 0.5]]
    """
    flow = np.array(chains)
    states = flow.shape[1]
    for last in range(states - 1, 0, -1):
        leave = flow[:, last, :last].sum(axis=1)
        flow[:, :last, last] /= leave[:, None]
        flow[:, :last, :last] += flow[:, :last, last, None] * flow[:, last, None, :last]
    mass = np.zeros((len(flow), states))
    mass[:, 0] = 1.0
    for state in range(1, states):
        mass[:, state] = np.einsum("bi,bi->b", mass[:, :state], flow[:, :state, state])
    return mass / mass.sum(axis=1, keepdims=True)
