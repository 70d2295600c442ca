"""What no policy can exceed: the optimum, and linear programmes above it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from policyrank.errors import EvidenceError
from policyrank.worlds.matching.instances import Matching

Benchmark = Literal["optimum", "stochastic configuration", "matching"]


def optimum(instance: Matching) -> float:
    """S-OPT: the best adaptive policy that knows the arrivals but not the coins.

    By dynamic programming over who waits; up to about 20 offline vertices.

    Examples
    --------
    >>> optimum(Matching.of([[0.5, 0.5]]))
    0.75
    """
    offline, arrivals = instance.p.shape
    if offline > 22:
        raise EvidenceError(
            f"{offline} offline vertices have 2^{offline} states: bound() the optimum by the"
            " stochastic configuration LP instead."
        )
    waiting = np.arange(1 << offline)
    value = np.zeros(1 << offline)
    for arrival in range(arrivals - 1, -1, -1):
        best = value.copy()
        for vertex in np.flatnonzero(instance.p[:, arrival]):
            here = waiting[(waiting >> vertex) & 1 == 1]
            p, gain = instance.p[vertex, arrival], instance.weights[vertex]
            won, lost = gain + value[here ^ (1 << vertex)], value[here]
            best[here] = np.maximum(best[here], p * won + (1 - p) * lost)
        value = best
    return float(value[-1])


def bound(instance: Matching, benchmark: Benchmark | str = "stochastic configuration") -> float:
    """Upper bound on what any policy can reach: S-OPT itself, or the value of an LP.

    From tight to loose: stochastic configuration (in a form without sets), matching. The
    configuration LP is none of them, see ``configuration_lp``.

    References
    ----------
    arXiv 2309.10289 (stochastic configuration, reconstructed from its abstract).
    """
    if benchmark == "optimum":
        return optimum(instance)
    if benchmark == "matching":
        return _matching_lp(instance)
    if benchmark == "stochastic configuration":
        return _stochastic_lp(instance)
    if benchmark == "configuration":
        raise EvidenceError(
            "the configuration LP bounds no policy unless chances vanish: on chances .5, 1 and .5 a"
            " rule reaches 1.25 where it says 1. Use stochastic configuration; configuration_lp"
            " gives its value."
        )
    raise EvidenceError(
        f"benchmark={benchmark!r}: use optimum, stochastic configuration or matching."
    )


def _matching_lp(instance: Matching) -> float:
    vertex, arrival = np.nonzero(instance.p)
    p, edges = instance.p[vertex, arrival], len(vertex)
    offline, arrivals = instance.p.shape
    edge = np.arange(edges)
    rows = np.r_[vertex, offline + arrival]
    once = sparse.csr_matrix(
        (np.r_[p, np.ones(edges)], (rows, np.r_[edge, edge])), shape=(offline + arrivals, edges)
    )
    cost, limit = -p * instance.weights[vertex], np.ones(offline + arrivals)
    return float(-linprog(cost, A_ub=once, b_ub=limit, method="highs").fun)


def _stochastic_lp(instance: Matching) -> float:
    """The stochastic configuration LP without its sets.

    Of y(u, v), the chance that v is asked of u, and s(u, v), that u still waits then; s falls by
    p y, y <= s, and the y of an arrival add up to at most 1. A mix of sets gives such y and s, and
    such y and s are the mix that takes each v with chance y / s.
    """
    vertex, arrival = np.nonzero(instance.p)
    p, edges = instance.p[vertex, arrival], len(vertex)
    asked = np.arange(edges)
    waits = edges + asked
    later = np.flatnonzero(vertex[1:] == vertex[:-1]) + 1  # the previous edge is the same vertex's
    first = np.setdiff1d(asked, later)
    # s(first) = 1; s(later) - s(before) + p y(before) = 0
    falls = sparse.csr_matrix(
        (
            np.r_[np.ones(edges), -np.ones(len(later)), p[later - 1]],
            (np.r_[asked, later, later], np.r_[waits, waits[later - 1], later - 1]),
        ),
        shape=(edges, 2 * edges),
    )
    start = np.zeros(edges)
    start[first] = 1.0
    within = sparse.csr_matrix(
        (np.r_[np.ones(edges), -np.ones(edges)], (np.r_[asked, asked], np.r_[asked, waits])),
        shape=(edges, 2 * edges),
    )
    once = sparse.csr_matrix(
        (np.ones(edges), (arrival, asked)), shape=(instance.p.shape[1], 2 * edges)
    )
    found = linprog(
        np.r_[-p * instance.weights[vertex], np.zeros(edges)],
        A_ub=sparse.vstack([within, once]),
        b_ub=np.r_[np.zeros(edges), np.ones(once.shape[0])],
        A_eq=falls,
        b_eq=start,
        method="highs-ipm",
    )
    return float(-found.fun)
