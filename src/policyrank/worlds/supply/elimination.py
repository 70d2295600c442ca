"""Sums, minima and counts over 2^n states by variable elimination along a tree decomposition
(binary variables).

A factor is a scope (variables) and a table (2, ..., 2[, extra]); what "times" and "sum over a
variable" mean is the algebra's: logarithms of sums, lowest levels, polynomials.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from policyrank.errors import EvidenceError

Float = NDArray[np.float64]
WIDEST = 24


@dataclass(frozen=True, eq=False)
class Factor:
    """A table over the states (0, 1) of some variables; axis i is scope[i]."""

    scope: tuple[int, ...]
    table: Float


class Algebra(Protocol):
    """How tables are combined, and how a variable (an axis) is eliminated."""

    def times(self, a: Float, b: Float) -> Float: ...
    def sum(self, table: Float, axis: int) -> Float: ...


class LogSum:
    """Tables hold log weights."""

    def times(self, a: Float, b: Float) -> Float:
        return a + b

    def sum(self, table: Float, axis: int) -> Float:
        return np.logaddexp(np.take(table, 0, axis), np.take(table, 1, axis))


class Lowest:
    """Tables hold the k lowest energies, ascending, in a last axis (inf: there are fewer)."""

    def __init__(self, k: int) -> None:
        self.k = k

    def times(self, a: Float, b: Float) -> Float:
        every = a[..., :, None] + b[..., None, :]
        return np.sort(every.reshape(*every.shape[:-2], -1), axis=-1)[..., : self.k]

    def sum(self, table: Float, axis: int) -> Float:
        both = np.concatenate([np.take(table, 0, axis), np.take(table, 1, axis)], axis=-1)
        return np.sort(both, axis=-1)[..., : self.k]


class Polynomial:
    """Tables hold weights of 0, 1, 2, ... in a last axis. ``log_scale`` gathers the logarithm of
    what is divided out to stay within floating point.
    """

    def __init__(self) -> None:
        self.log_scale = 0.0

    def times(self, a: Float, b: Float) -> Float:
        # Term by term: all weights are positive, so small ones keep their relative precision.
        if a.shape[-1] < b.shape[-1]:
            a, b = b, a
        shape = np.broadcast_shapes(a.shape[:-1], b.shape[:-1])
        found = np.zeros((*shape, a.shape[-1] + b.shape[-1] - 1))
        for k in range(b.shape[-1]):
            found[..., k : k + a.shape[-1]] += a * b[..., k : k + 1]
        return self._scaled(found)

    def sum(self, table: Float, axis: int) -> Float:
        return self._scaled(np.take(table, 0, axis) + np.take(table, 1, axis))

    def _scaled(self, table: Float) -> Float:
        most = float(table.max())
        self.log_scale += np.log(most)
        return table / most


def elimination_order(n: int, scopes: Iterable[Sequence[int]]) -> tuple[list[int], int]:
    """Min-fill order of n variables, and the width of its tree decomposition (the largest table has
    width + 1 variables).

    Raises
    ------
    EvidenceError
        When the width is above 24: no exact answer is within reach.
    """
    near: list[set[int]] = [set() for _ in range(n)]
    for scope in scopes:
        for i in scope:
            near[i].update(j for j in scope if j != i)
    left, order, width = set(range(n)), [], 0

    def fill(i: int) -> int:
        around = list(near[i])
        return sum(b not in near[a] for k, a in enumerate(around) for b in around[k + 1 :])

    cost = {i: (fill(i), len(near[i]), i) for i in left}
    while left:
        v = min(left, key=cost.__getitem__)
        around = near[v]
        width = max(width, len(around))
        if width > WIDEST:
            raise EvidenceError(
                f"the network's width is above {WIDEST}: tables of 2^{width + 1} entries. It is too"
                " dense to be solved exactly; drop weak edges or simulate()."
            )
        changed = set(around)
        for a in around:
            near[a].discard(v)
            new = around - near[a] - {a}
            if new:
                changed |= near[a]
            near[a] |= new
        left.discard(v)
        order.append(v)
        for a in changed & left:
            cost[a] = (fill(a), len(near[a]), a)
    return order, width


def _aligned(factor: Factor, scope: tuple[int, ...]) -> Float:
    """The factor's table with the axes of a larger scope."""
    own = [i for i in scope if i in factor.scope]
    axes = [factor.scope.index(i) for i in own] + list(range(len(factor.scope), factor.table.ndim))
    shape = (
        tuple(2 if i in factor.scope else 1 for i in scope)
        + factor.table.shape[len(factor.scope) :]
    )
    return factor.table.transpose(axes).reshape(shape)


def _joined(factors: Sequence[Factor], algebra: Algebra, scope: tuple[int, ...]) -> Float:
    table = _aligned(factors[0], scope)
    for f in factors[1:]:
        table = algebra.times(table, _aligned(f, scope))
    return np.broadcast_to(
        table,
        np.broadcast_shapes(table.shape, (2,) * len(scope) + (1,) * (table.ndim - len(scope))),
    )


def eliminate(factors: Sequence[Factor], order: Sequence[int], algebra: Algebra) -> Float:
    """What remains when all variables are eliminated: () or (extra,)."""
    place = {v: k for k, v in enumerate(order)}
    buckets: list[list[Factor]] = [[] for _ in order]
    rest: list[Factor] = []
    for f in factors:
        (buckets[min(place[i] for i in f.scope)] if f.scope else rest).append(f)
    for k, v in enumerate(order):
        if not buckets[k]:
            raise EvidenceError(f"variable {v} has no factor.")
        scope = (v, *sorted({i for f in buckets[k] for i in f.scope} - {v}))
        found = Factor(scope[1:], algebra.sum(_joined(buckets[k], algebra, scope), 0))
        buckets[k] = []
        (buckets[min(place[i] for i in found.scope)] if found.scope else rest).append(found)
    return _joined(rest, algebra, ())


@dataclass(frozen=True, eq=False)
class Beliefs:
    """Joint probabilities of the variables that meet in a bucket, and the log of the sum over all
    states.
    """

    log_total: float
    joint: dict[int, Factor]
    """variable -> (its bucket's scope, probabilities)"""

    def marginal(self, variables: Sequence[int]) -> Float:
        """Joint probabilities (2, ..., 2) of variables that share a bucket.

        Raises
        ------
        EvidenceError
            When none holds them all.
        """
        for f in self.joint.values():
            if set(variables) <= set(f.scope):
                drop = tuple(k for k, i in enumerate(f.scope) if i not in variables)
                kept = [i for i in f.scope if i in variables]
                return f.table.sum(axis=drop).transpose([kept.index(i) for i in variables])
        raise EvidenceError(f"variables {list(variables)} do not meet in one table.")


def beliefs(factors: Sequence[Factor], order: Sequence[int]) -> Beliefs:
    """Two passes over the bucket tree, in logarithms."""
    algebra, place = LogSum(), {v: k for k, v in enumerate(order)}
    own: list[list[Factor]] = [[] for _ in order]
    for f in factors:
        own[min(place[i] for i in f.scope)].append(f)
    children: list[list[int]] = [[] for _ in order]
    up: list[Factor] = []
    scopes: list[tuple[int, ...]] = []
    total = 0.0
    for k, v in enumerate(order):
        parts = own[k] + [up[c] for c in children[k]]
        scope = (v, *sorted({i for f in parts for i in f.scope} - {v}))
        message = Factor(scope[1:], algebra.sum(_joined(parts, algebra, scope), 0))
        scopes.append(scope)
        up.append(message)
        if message.scope:
            children[min(place[i] for i in message.scope)].append(k)
        else:
            total += float(message.table)
    down: list[list[Factor]] = [[] for _ in order]
    joint: dict[int, Factor] = {}
    for k in range(len(order) - 1, -1, -1):
        base = own[k] + down[k]
        table = _joined(base + [up[c] for c in children[k]], algebra, scopes[k])
        joint[order[k]] = Factor(scopes[k], np.exp(table - logsumexp(table)))
        for c in children[k]:
            others = base + [up[d] for d in children[k] if d != c]
            full = (
                _joined(others, algebra, scopes[k]) if others else np.zeros((2,) * len(scopes[k]))
            )
            drop = tuple(a for a, i in enumerate(scopes[k]) if i not in up[c].scope)
            kept = tuple(i for i in scopes[k] if i in up[c].scope)
            down[c].append(Factor(kept, logsumexp(full, axis=drop) if drop else full))
    return Beliefs(total, joint)
