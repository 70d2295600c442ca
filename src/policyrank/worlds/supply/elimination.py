"""Sums, minima and counts over 2^n states by variable elimination along a tree decomposition.

Variables are binary. A factor is a scope (variables) and a table (2, ..., 2[, extra]); what "times"
and "sum over a variable" mean is the algebra's: logarithms of sums, lowest levels, polynomials.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
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
    """Tables hold weights of 0, 1, 2, ... in a last axis.

    ``log_scale`` gathers the logarithm of what is divided out to stay within floating point.
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
        for variable in scope:
            near[variable].update(set(scope) - {variable})

    def cost_of(variable: int) -> tuple[int, int, int]:
        around = near[variable]
        fill = sum(b not in near[a] for a, b in combinations(around, 2))
        return fill, len(around), variable

    left, width = set(range(n)), 0
    order: list[int] = []
    cost = {variable: cost_of(variable) for variable in left}
    while left:
        chosen = min(left, key=cost.__getitem__)
        around = near[chosen]
        width = max(width, len(around))
        if width > WIDEST:
            raise EvidenceError(
                f"the network's width is above {WIDEST}: tables of 2^{width + 1} entries. It is too"
                " dense to be solved exactly; drop weak edges or simulate()."
            )
        changed = set(around)
        for a in around:
            near[a].discard(chosen)
            new = around - near[a] - {a}
            if new:
                changed |= near[a]
            near[a] |= new
        left.discard(chosen)
        order.append(chosen)
        for variable in changed & left:
            cost[variable] = cost_of(variable)
    return order, width


def _aligned(factor: Factor, scope: tuple[int, ...]) -> Float:
    """The factor's table with the axes of a larger scope."""
    size = len(factor.scope)
    axes, shape = [], []
    for variable in scope:
        if variable in factor.scope:
            axes.append(factor.scope.index(variable))
            shape.append(2)
        else:
            shape.append(1)
    extra = range(size, factor.table.ndim)
    return factor.table.transpose([*axes, *extra]).reshape([*shape, *factor.table.shape[size:]])


def _joined(factors: Sequence[Factor], algebra: Algebra, scope: tuple[int, ...]) -> Float:
    table = _aligned(factors[0], scope)
    for factor in factors[1:]:
        table = algebra.times(table, _aligned(factor, scope))
    full = (2,) * len(scope) + (1,) * (table.ndim - len(scope))
    return np.broadcast_to(table, np.broadcast_shapes(table.shape, full))


def _scope(variable: int, factors: Sequence[Factor]) -> tuple[int, ...]:
    """The variable, then all others that these factors are about."""
    met = {other for factor in factors for other in factor.scope}
    return (variable, *sorted(met - {variable}))


def _first(scope: Sequence[int], place: dict[int, int]) -> int:
    """The bucket of a factor: of its variable that is eliminated first."""
    return min(place[variable] for variable in scope)


def eliminate(factors: Sequence[Factor], order: Sequence[int], algebra: Algebra) -> Float:
    """What remains when all variables are eliminated: () or (extra,)."""
    place = {variable: k for k, variable in enumerate(order)}
    buckets: list[list[Factor]] = [[] for _ in order]
    rest: list[Factor] = []

    def put(factor: Factor) -> None:
        if factor.scope:
            buckets[_first(factor.scope, place)].append(factor)
        else:
            rest.append(factor)

    for factor in factors:
        put(factor)
    for k, variable in enumerate(order):
        bucket, buckets[k] = buckets[k], []
        if not bucket:
            raise EvidenceError(f"variable {variable} has no factor.")
        scope = _scope(variable, bucket)
        put(Factor(scope[1:], algebra.sum(_joined(bucket, algebra, scope), 0)))
    return _joined(rest, algebra, ())


@dataclass(frozen=True, eq=False)
class Beliefs:
    """Joint probabilities of variables that meet in a bucket, log of the sum over all states."""

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
        for factor in self.joint.values():
            if set(variables) <= set(factor.scope):
                drop, kept = _split(factor.scope, variables)
                table = factor.table.sum(axis=drop)
                return table.transpose([kept.index(variable) for variable in variables])
        raise EvidenceError(f"variables {list(variables)} do not meet in one table.")


def _split(scope: Sequence[int], keep: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Axes of a scope that are summed over, and the variables that stay."""
    drop, kept = [], []
    for axis, variable in enumerate(scope):
        if variable in keep:
            kept.append(variable)
        else:
            drop.append(axis)
    return tuple(drop), tuple(kept)


@dataclass(eq=False)
class _Bucket:
    """What is known about a variable: its factors, and messages from below and above."""

    variable: int
    own: list[Factor] = field(default_factory=list)
    children: list[_Bucket] = field(default_factory=list)
    down: list[Factor] = field(default_factory=list)
    scope: tuple[int, ...] = ()
    up: Factor = Factor((), np.zeros(()))


def beliefs(factors: Sequence[Factor], order: Sequence[int]) -> Beliefs:
    """Two passes over the bucket tree, in logarithms."""
    place = {variable: k for k, variable in enumerate(order)}
    buckets = [_Bucket(variable) for variable in order]
    for factor in factors:
        buckets[_first(factor.scope, place)].own.append(factor)
    total = _pass_up(buckets, place)
    joint: dict[int, Factor] = {}
    for bucket in reversed(buckets):
        table = _joined(_known(bucket), LogSum(), bucket.scope)
        joint[bucket.variable] = Factor(bucket.scope, np.exp(table - logsumexp(table)))
        for child in bucket.children:
            child.down.append(_message_down(bucket, child))
    return Beliefs(total, joint)


def _pass_up(buckets: list[_Bucket], place: dict[int, int]) -> float:
    """Messages towards the root; the log of the sum over all states."""
    algebra, total = LogSum(), 0.0
    for bucket in buckets:
        parts = _known(bucket)
        bucket.scope = _scope(bucket.variable, parts)
        table = algebra.sum(_joined(parts, algebra, bucket.scope), 0)
        bucket.up = Factor(bucket.scope[1:], table)
        if bucket.up.scope:
            buckets[_first(bucket.up.scope, place)].children.append(bucket)
        else:
            total += float(table)
    return total


def _known(bucket: _Bucket, without: _Bucket | None = None) -> list[Factor]:
    """All that a bucket holds, but for what one of its children told it."""
    told = [child.up for child in bucket.children if child is not without]
    return bucket.own + bucket.down + told


def _message_down(bucket: _Bucket, child: _Bucket) -> Factor:
    """What all others say about the variables that the child shares."""
    full = np.zeros((2,) * len(bucket.scope))
    if others := _known(bucket, without=child):
        full = _joined(others, LogSum(), bucket.scope)
    drop, kept = _split(bucket.scope, child.up.scope)
    if drop:
        full = logsumexp(full, axis=drop)
    return Factor(kept, full)
