"""Orders that disagree with few votes: local search, and cutting planes that prove a bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import highspy
import numpy as np
from numpy.typing import NDArray

from policyrank.board.intervals import Seed, generator

Float = NDArray[np.float64]
Order = NDArray[np.int64]


def kemeny_cost(wins: Float, order: Order) -> float:
    """Votes against ``order``: the wins of later over earlier policies.

    Examples
    --------
    >>> wins = np.array([[0, 2, 3], [1, 0, 3], [0, 0, 0]])
    >>> kemeny_cost(wins, [0, 1, 2]), kemeny_cost(wins, [2, 1, 0])
    (1.0, 8.0)
    """
    return float(np.tril(wins[np.ix_(order, order)], -1).sum())


def local_search(wins: Float, *, starts: int = 8, seed: Seed = 0) -> Order:
    """A locally best order under moves of one policy to any place, from Borda's order and shuffles
    of it.

    Examples
    --------
    >>> wins = np.array([[0, 1, 0], [2, 0, 0], [3, 3, 0]])
    >>> local_search(wins)
    array([2, 1, 0])
    """
    rng, policies = generator(seed), len(wins)
    if policies <= 3:
        starts = 2
    borda = (wins - wins.T).sum(axis=1)
    best, best_cost = np.argsort(-borda, kind="stable"), np.inf
    for start in range(starts):
        order = best
        if start > 0:
            order = _shuffled(best, rng)
        order = improve(wins, order)
        cost = kemeny_cost(wins, order)
        if cost < best_cost - 1e-9:
            best, best_cost = order, cost
    return best


def _shuffled(order: Order, rng: np.random.Generator) -> Order:
    """The order with an eighth of its policies moved somewhere."""
    policies = len(order)
    for _ in range(max(2, policies // 8)):
        place, to = rng.integers(policies, size=2)
        order = _moved(order, place, to)
    return order


def _moved(order: Order, place: int, to: int) -> Order:
    return np.insert(np.delete(order, place), to, order[place])


def improve(wins: Float, order: Order) -> Order:
    """One descent from ``order``, by the best move of one policy as long as that helps.

    Examples
    --------
    >>> wins = np.array([[0, 2, 3], [1, 0, 3], [0, 0, 0]])
    >>> improve(wins, np.array([2, 1, 0]))
    array([0, 1, 2])
    """
    margin = wins - wins.T
    later = np.tri(len(wins), k=-1, dtype=bool)
    while True:
        ordered = margin[np.ix_(order, order)]
        # What a policy at a place (row) wins by a move to another (column).
        down = np.cumsum(np.triu(ordered, 1), axis=1)
        up = np.cumsum(np.tril(ordered, -1)[:, ::-1], axis=1)[:, ::-1]
        gain = np.where(later, up, -down)
        place, to = np.unravel_index(int(np.argmax(gain)), gain.shape)
        if gain[place, to] <= 1e-9:
            return order
        order = _moved(order, int(place), int(to))


def cutting_planes(
    wins: Float, start: Order, until: float, report: Callable[[str], None] | None
) -> tuple[Order, float]:
    """The best order found before ``until`` (of ``time.monotonic``), and what none costs less than.

    ``PairProgram`` is solved again and again with the triangles that its solution violates; when
    none is left, x becomes whole.

    Examples
    --------
    >>> wins = np.array([[0.0, 3, 1], [2, 0, 3], [4, 2, 0]])
    >>> order, bound = cutting_planes(wins, np.arange(3), time.monotonic() + 10, None)
    >>> order, kemeny_cost(wins, order), bound
    (array([1, 2, 0]), 6.0, 6.0)
    """
    program = PairProgram(wins)
    best, best_cost = start, kemeny_cost(wins, start)
    bound = -np.inf
    while (left := until - time.monotonic()) > 0:
        finished = program.solve(left, best)
        bound = max(bound, program.bound(finished))
        before = program.solution()
        if before is not None:
            by_wins = np.argsort(-before.sum(axis=1), kind="stable")
            rounded = improve(wins, by_wins)
            cost = kemeny_cost(wins, rounded)
            if cost < best_cost - 1e-9:
                best, best_cost = rounded, cost
        if report is not None:
            report(
                f"Kemeny: {len(wins)} policies, {len(program.seen):,} triangles, best"
                f" {best_cost:g}, bound {bound:g}"
            )
        if before is None or not finished or best_cost <= bound + 1e-6:
            break
        if program.add_violated(before):
            continue
        if program.whole:
            break
        program.make_whole()
    return best, float(bound)


class PairProgram:
    """Minimise the votes against x, where x_ij is 1 if i stands before j, and x_ji = 1 - x_ij.

    Attributes
    ----------
    whole
        whether x must be whole; if not, this is the linear relaxation
    seen
        codes of the triangles that are constraints so far
    """

    def __init__(self, wins: Float) -> None:
        self.policies = len(wins)
        self.first, self.second = np.triu_indices(self.policies, 1)
        self.pairs = len(self.first)
        self.pair = np.zeros((self.policies, self.policies), dtype=np.int64)
        self.pair[self.first, self.second] = np.arange(self.pairs)
        self.constant = float(wins[self.first, self.second].sum())
        self.grain = _grain(wins)
        self.whole = False
        self.seen: set[int] = set()
        gap = 1e-6
        if self.grain is not None:
            gap = 0.99 * self.grain
        self.solver = highspy.Highs()
        self.solver.silent()
        self.solver.setOptionValue("threads", 1)
        self.solver.setOptionValue("mip_rel_gap", 0.0)
        self.solver.setOptionValue("mip_abs_gap", gap)
        cost = wins[self.second, self.first] - wins[self.first, self.second]
        self.solver.addVars(self.pairs, np.zeros(self.pairs), np.ones(self.pairs))
        self.solver.changeColsCost(self.pairs, np.arange(self.pairs, dtype=np.int32), cost)

    def solve(self, seconds: float, best: Order) -> bool:
        """Whether the optimum was found in time; the search over whole x starts from ``best``."""
        self.solver.setOptionValue("time_limit", self.solver.getRunTime() + seconds)
        if self.whole:
            place = np.argsort(best)
            start = highspy.HighsSolution()
            start.col_value = (place[self.first] < place[self.second]).astype(float).tolist()
            self.solver.setSolution(start)
        self.solver.run()
        return self.solver.getModelStatus() == highspy.HighsModelStatus.kOptimal

    def bound(self, finished: bool) -> float:
        """What the last solution proves: no order costs less."""
        info = self.solver.getInfo()
        if self.whole:
            value = float(info.mip_dual_bound + self.constant)
        elif finished:
            value = float(info.objective_function_value + self.constant)
        else:
            return -np.inf
        if self.grain is None or not np.isfinite(value):
            return value
        return float(np.ceil(value / self.grain - 1e-6) * self.grain)

    def solution(self) -> Float | None:
        """x as (policies, policies), if there is one."""
        values = np.array(self.solver.getSolution().col_value)
        if len(values) != self.pairs:
            return None
        before = np.zeros((self.policies, self.policies))
        before[self.first, self.second] = values
        before[self.second, self.first] = 1 - values
        return before

    def add_violated(self, before: Float, most: int = 4000) -> int:
        """Require 0 <= x_ij + x_jk - x_ik <= 1 of the new triangles that violate it most; how many
        there are.
        """
        triangles, excess = _violated(before)
        i, j, k = triangles.T
        code = (i * self.policies + j) * self.policies + k
        worst = np.argsort(-excess, kind="stable")[:most]
        new = [row for row in worst.tolist() if int(code[row]) not in self.seen]
        self.seen.update(code[new].tolist())
        i, j, k = triangles[new].T
        variables = np.column_stack([self.pair[i, j], self.pair[j, k], self.pair[i, k]])
        count = len(variables)
        if count:
            self.solver.addRows(
                count,
                np.zeros(count),
                np.ones(count),
                3 * count,
                np.arange(0, 3 * count, 3, dtype=np.int32),
                variables.astype(np.int32).ravel(),
                np.tile([1.0, 1.0, -1.0], count),
            )
        return count

    def make_whole(self) -> None:
        self.whole = True
        kinds = np.ones(self.pairs, dtype=np.uint8)
        self.solver.changeColsIntegrality(self.pairs, np.arange(self.pairs, dtype=np.int32), kinds)


def _grain(wins: Float) -> float | None:
    """What all costs are multiples of: 1, 1/2, or nothing known."""
    for grain in (1.0, 0.5):
        if (wins / grain == np.round(wins / grain)).all():
            return grain
    return None


def _violated(before: Float) -> tuple[Order, Float]:
    """Triangles i < j < k (rows) that x violates, and by how much."""
    policies = len(before)
    triangles, amounts = [], []
    for i in range(policies - 2):
        of_later = before[i, i + 1 :]
        around = of_later[:, None] + before[i + 1 :, i + 1 :] - of_later
        excess = np.maximum(around - 1, -around)
        excess[np.tril_indices(len(excess))] = 0
        j, k = np.nonzero(excess > 1e-6)
        triangles.append(np.column_stack([np.full(len(j), i), j + i + 1, k + i + 1]))
        amounts.append(excess[j, k])
    return np.concatenate(triangles), np.concatenate(amounts)


MOST_COUNTED = 10
"""Policies whose orders of least cost are counted."""


class OptimalOrders(NamedTuple):
    """``number`` of orders of least cost, and policies ``below`` each, the mean over them: (n,)."""

    number: int
    below: Float


def optimal_orders(wins: Float) -> OptimalOrders:
    """All orders of least cost, by dynamic programming over the sets of policies that lead.

    Examples
    --------
    >>> circle = np.array([[0.0, 2, 1], [1, 0, 2], [2, 1, 0]])
    >>> optimal_orders(circle)
    OptimalOrders(number=3, below=array([1., 1., 1.]))
    """
    size = len(wins)
    against = [wins[i].tolist() for i in range(size)]
    cost, ways = {0: 0.0}, {0: 1}
    layers: list[dict[int, list[tuple[int, int]]]] = []
    for _ in range(size):
        reached: dict[int, float] = {}
        arrivals: dict[int, list[tuple[int, int]]] = {}
        for led in cost:
            for i in range(size):
                if led >> i & 1:
                    continue
                ahead = sum(against[i][j] for j in range(size) if led >> j & 1)
                total, now = cost[led] + ahead, led | 1 << i
                least = reached.get(now, np.inf)
                if total < least - 1e-9:
                    reached[now], arrivals[now] = total, [(led, i)]
                elif total <= least + 1e-9:
                    arrivals[now].append((led, i))
        for now, from_where in arrivals.items():
            ways[now] = sum(ways[led] for led, _ in from_where)
        layers.append(arrivals)
        cost = reached
    everyone = (1 << size) - 1
    onward, below = {everyone: 1}, np.zeros(size)
    for place in range(size - 1, -1, -1):
        earlier: dict[int, int] = {}
        for now, after in onward.items():
            for led, i in layers[place][now]:
                below[i] += (size - 1 - place) * (ways[led] * after / ways[everyone])
                earlier[led] = earlier.get(led, 0) + after
        onward = earlier
    return OptimalOrders(ways[everyone], np.round(below, 9))
