"""The configuration LP by column generation: a column is a set of arrivals for one vertex."""

from __future__ import annotations

import math
from dataclasses import dataclass

import highspy
import numpy as np
from scipy import sparse

from policyrank.errors import EvidenceError
from policyrank.solvers import mixed_integer
from policyrank.worlds.matching.instances import Float, Int, Matching

SMOOTH = 0.6
MOST_ROUNDS = 10_000


@dataclass(frozen=True, eq=False)
class _Classes:
    """The instance with arrivals of the same chances in a row taken together.

    They are interchangeable here: one row of the LP, with as much room as there are of them, says
    the same.
    """

    p: Float
    weights: Float
    room: Int

    @classmethod
    def of(cls, instance: Matching) -> _Classes:
        p = instance.p
        first = np.r_[True, (p[:, 1:] != p[:, :-1]).any(axis=0)]
        room = np.diff(np.r_[np.flatnonzero(first), p.shape[1]])
        return cls(p[:, first], instance.weights, room)


@dataclass(frozen=True, eq=False)
class _Column:
    """A set for a vertex: classes of arrivals and how many of each; its value."""

    value: float
    vertex: int
    classes: Int
    counts: Float

    @classmethod
    def of(cls, problem: _Classes, vertex: int, take: Int) -> _Column:
        classes = np.flatnonzero(take)
        value = problem.weights[vertex] * min(1.0, float(problem.p[vertex] @ take))
        return cls(value, vertex, classes, take[classes].astype(float))

    def reduced(self, alpha: Float, beta: Float) -> float:
        """Its value less the prices of its vertex and arrivals."""
        return float(self.value - alpha[self.vertex] - float(beta[self.classes] @ self.counts))


class _Master:
    """The LP over the columns so far; solved anew from the last basis, in few steps."""

    def __init__(self, problem: _Classes) -> None:
        self.offline = len(problem.p)
        self.highs = highspy.Highs()
        self.highs.setOptionValue("output_flag", False)
        room = np.r_[np.ones(self.offline), problem.room]
        none = np.zeros(0, dtype=np.int32)
        unbounded = np.full(len(room), -highspy.kHighsInf)
        self.highs.addRows(len(room), unbounded, room, 0, none, none, np.zeros(0))
        self.highs.changeObjectiveSense(highspy.ObjSense.kMaximize)

    def add(self, made: list[_Column]) -> None:
        count = len(made)
        lengths = [1 + len(column.classes) for column in made]
        rows = [np.r_[column.vertex, self.offline + column.classes] for column in made]
        self.highs.addCols(
            count,
            np.array([column.value for column in made]),
            np.zeros(count),
            np.full(count, highspy.kHighsInf),
            sum(lengths),
            np.r_[0, np.cumsum(lengths)[:-1]].astype(np.int32),
            np.concatenate(rows).astype(np.int32),
            np.concatenate([np.r_[1.0, column.counts] for column in made]),
        )

    def solved(self) -> tuple[float, Float, Float]:
        """Value, prices of vertices, prices of classes of arrivals."""
        self.highs.run()
        value = float(self.highs.getInfo().objective_function_value)
        dual = np.array(self.highs.getSolution().row_dual)
        return value, dual[: self.offline], dual[self.offline :]


def configuration_lp(instance: Matching, tolerance: float = 1e-7) -> float:
    """The value of the configuration LP, by columns that are made when prices ask for them.

    It bounds adaptive policies only as chances vanish: a policy may ask an arrival of one vertex or
    of another as its coins fall, and the sets of the LP do not.

    Raises
    ------
    EvidenceError
        When column generation does not end.

    References
    ----------
    Huang and Zhang (2020), arXiv 2002.01802.

    Examples
    --------
    >>> chances = Matching.of([[0.5, 1.0], [0.0, 0.5]])
    >>> configuration_lp(chances)     # a policy reaches 1.25
    1.0
    """
    problem = _Classes.of(instance)
    master = _Master(problem)
    vertices, classes = np.nonzero(problem.p)
    alone = np.eye(problem.p.shape[1], dtype=np.int64)
    master.add(
        [_Column.of(problem, int(u), alone[v]) for u, v in zip(vertices, classes, strict=True)]
    )
    lower, upper = 0.0, math.inf
    centre: Float | None = None
    for _ in range(MOST_ROUNDS):
        lower, alpha, now = master.solved()
        new: list[_Column] = []
        for beta in _prices(now, centre):
            bound, made = _sought(problem, beta, tolerance)
            if bound < upper:
                upper, centre = bound, beta
            new = [column for column in made if column.reduced(alpha, now) > tolerance]
            if new:
                break
        if not new or upper - lower <= tolerance * max(1.0, upper):
            return upper
        master.add(new)
    raise EvidenceError(f"column generation did not end: the bound lies in [{lower:g}, {upper:g}].")


def _prices(now: Float, centre: Float | None) -> list[Float]:
    """At which columns are sought: a mix with the best prices so far, then today's.

    Prices swing from one master to the next (Wentges 1997); where the mix brings no column, today's
    may.
    """
    if centre is None:
        return [now]
    return [SMOOTH * centre + (1 - SMOOTH) * now, now]


def _sought(problem: _Classes, beta: Float, tolerance: float) -> tuple[float, list[_Column]]:
    """A bound on the LP, and the columns that prices ask for.

    Prices with the best columns at them are feasible for the dual: a bound at any time.
    """
    offline = len(problem.p)
    excess, made = 0.0, []
    for vertex in range(offline):
        value, take = _best_column(problem, vertex, beta)
        excess += max(0.0, value)
        if value > tolerance / offline:
            made.append(_Column.of(problem, vertex, take))
    return float(problem.room @ beta + excess), made


def _best_column(problem: _Classes, vertex: int, beta: Float) -> tuple[float, Int]:
    """max over S of w min(1, p(S)) - beta(S), and S as counts of classes.

    The cheapest arrivals where chances are equal, else by a small integer programme.
    """
    w = float(problem.weights[vertex])
    near = np.flatnonzero(problem.p[vertex])
    p, cost, room = problem.p[vertex, near], beta[near], problem.room[near]
    take = np.zeros(problem.p.shape[1], dtype=np.int64)
    if not len(near):
        return 0.0, take
    if np.ptp(p) < 1e-12:
        ascending = np.argsort(cost, kind="stable")
        order = np.repeat(near[ascending], room[ascending])
        size = np.arange(len(order) + 1)
        worth = w * np.minimum(1, size * p[0]) - np.r_[0, np.cumsum(beta[order])]
        best = int(worth.argmax())
        np.add.at(take, order[:best], 1)
        return float(worth[best]), take
    whole = np.r_[np.ones(len(near)), 0]
    limit = sparse.csr_matrix(np.r_[-p, 1.0])
    found = mixed_integer(np.r_[cost, -w], limit, [-np.inf], [0.0], np.r_[room, 1], whole)
    if found.x is not None:
        take[near] = np.round(found.x[:-1]).astype(np.int64)
    return -found.value, take
