"""Controllers that solve a programme: the clairvoyant oracle, and rolling deterministic or
multi-stage stochastic plans, by HiGHS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog

from policyrank.errors import EvidenceError
from policyrank.solvers import mixed_integer
from policyrank.worlds.inventory.controllers import WINDOW
from policyrank.worlds.inventory.networks import Float, Int, Network
from policyrank.worlds.inventory.scenarios import Scenario
from policyrank.worlds.inventory.simulator import (
    Controller,
    Draws,
    Episodes,
    Information,
    Simulation,
    View,
    simulate,
)


@dataclass(frozen=True, eq=False)
class _Programme:
    """Constraints of S paths of H periods; equal histories share their orders, so a plan
    anticipates nothing.

    Columns: orders (shared), then for each path sales, unmet demand and stock. Rows: stock balance,
    demand balance (equal); shipments within stock, capacity (at most).
    """

    cost: Float
    equal: sparse.csr_matrix
    most: sparse.csr_matrix
    orders: Int
    n_orders: int
    setup: Float


def _programme(
    net: Network, horizon: int, groups: Int, backlog: bool, discount: float, weight: Float
) -> _Programme:
    """``groups`` (S, H): paths with the same number at a period share what they order in it."""
    paths, edges, markets, n = len(groups), len(net.edges), len(net.markets), len(net.names)
    number = np.unique(
        groups + groups.max(initial=0) * np.arange(horizon) * 2 + np.arange(horizon) * 2,
        return_inverse=True,
    )[1].reshape(groups.shape)
    n_orders = (int(number.max()) + 1) * edges
    orders = number[:, :, None] * edges + np.arange(edges)
    size = horizon * (2 * markets + n)
    sales = (
        n_orders
        + np.arange(paths)[:, None, None] * size
        + np.arange(horizon)[:, None] * markets
        + np.arange(markets)
    )
    unmet, stock = (
        sales + horizon * markets,
        n_orders
        + np.arange(paths)[:, None, None] * size
        + 2 * horizon * markets
        + np.arange(horizon)[:, None] * n
        + np.arange(n),
    )
    factor = discount ** np.arange(horizon)
    inner = net.supplier >= 0
    gain = np.where(inner, net.price - (net.operating / net.output)[net.supplier], 0.0) - net.price
    held = np.array([[(factor[t : t + lead]).sum() for lead in net.lead] for t in range(horizon)])
    cost, setup = np.zeros(n_orders + paths * size), np.zeros(n_orders)
    for s in range(paths):
        np.add.at(cost, orders[s], -weight[s] * (factor[:, None] * gain - held * net.transit))
        np.add.at(setup, orders[s], weight[s] * factor[:, None] * net.fixed)
        cost[sales[s]] = (
            -weight[s] * factor[:, None] * (net.sale - (net.operating / net.output)[net.retailer])
        )
        cost[unmet[s]] = weight[s] * factor[:, None] * net.penalty
        cost[stock[s]] = weight[s] * factor[:, None] * net.holding
    rows: list[tuple[Int, Int, Float]] = []

    def put(row: Int, column: Int, value: Float | float) -> None:
        r, c, v = np.broadcast_arrays(row, column, value)
        rows.append((r.ravel(), c.ravel(), v.ravel().astype(float)))

    def taken(count: int) -> sparse.csr_matrix:
        r, c, v = (
            (np.concatenate(x) for x in zip(*rows, strict=True))
            if rows
            else (np.zeros(0, int),) * 3
        )
        rows.clear()
        return sparse.csr_matrix((v, (r, c)), shape=(count, len(cost)))

    balance = np.arange(paths * horizon * n).reshape(paths, horizon, n)
    demand = balance.size + np.arange(paths * horizon * markets).reshape(paths, horizon, markets)
    put(balance, stock, 1.0)
    put(balance[:, 1:], stock[:, :-1], -1.0)
    for e, (s, j, lead) in enumerate(zip(net.supplier, net.buyer, net.lead, strict=True)):
        put(
            balance[:, lead:, j],
            orders[:, : horizon - lead, e] if lead < horizon else orders[:, :0, e],
            -1.0,
        )
        if s >= 0:
            put(balance[:, :, s], orders[:, :, e], 1 / net.output[s])
    for m, j in enumerate(net.retailer):
        put(balance[:, :, j], sales[:, :, m], 1 / net.output[j])
    put(demand, sales, 1.0)
    put(demand, unmet, 1.0)
    if backlog:
        put(demand[:, 1:], unmet[:, :-1], -1.0)
    equal = taken(balance.size + demand.size)
    makers = np.flatnonzero(np.isfinite(net.capacity))
    within = np.arange(paths * horizon * n).reshape(paths, horizon, n)
    limit = within.size + np.arange(paths * horizon * len(makers)).reshape(
        paths, horizon, len(makers)
    )
    put(within[:, 1:], stock[:, :-1], -1.0)
    for e, s in enumerate(net.supplier):
        if s >= 0:
            put(within[:, :, s], orders[:, :, e], 1 / net.output[s])
            if s in makers:
                put(limit[:, :, int(np.searchsorted(makers, s))], orders[:, :, e], 1.0)
    return _Programme(cost, equal, taken(within.size + limit.size), orders, n_orders, setup)


def _rest(sim: Simulation, b: int, horizon: int) -> tuple[Float, Float, Float]:
    """What an episode brings into a plan: stock (n,), arrivals (H, n) of orders under way, demand
    that waits (M,).
    """
    net, t = sim.scenario.network, sim.t
    arrivals = np.zeros((horizon, len(net.names)))
    for e, (j, lead) in enumerate(zip(net.buyer, net.lead, strict=True)):
        for k in range(min(lead, horizon)):
            if t + k - lead >= 0:
                arrivals[k, j] += sim.filled[t + k - lead, b, e]
    return (
        sim.stock[b],
        arrivals,
        sim.unmet[b] if sim.scenario.backlog else np.zeros(len(net.markets)),
    )


def _solve(
    net: Network,
    p: _Programme,
    demand: Float,
    stock: Float,
    arrivals: Float,
    waiting: Float,
    seconds: float,
    gap: float = 1e-6,
) -> Float:
    """Orders (S, H, E)."""
    paths, horizon, _ = demand.shape
    wanted = demand.copy()
    wanted[:, 0] += waiting
    start = np.tile(arrivals, (paths, 1, 1))
    start[:, 0] += stock
    equal = np.concatenate([start.ravel(), wanted.ravel()])
    free = np.zeros((paths, horizon, len(net.names)))
    free[:, 0] = stock
    capacity = np.tile(net.capacity[np.isfinite(net.capacity)], (paths, horizon, 1))
    most = np.concatenate([free.ravel(), capacity.ravel()])
    if not net.fixed.any():
        found = linprog(
            p.cost,
            A_ub=p.most,
            b_ub=most,
            A_eq=p.equal,
            b_eq=equal,
            method="highs",
            options={"time_limit": seconds},
        )
        if found.x is None:
            raise EvidenceError(f"HiGHS found no plan within {seconds:g} s: {found.message}")
        return np.asarray(found.x[p.orders])
    # No order is worth more than all that a path still wants, and none is filled beyond its
    # supplier's capacity.
    room = np.where(net.supplier >= 0, net.capacity[net.supplier], np.inf)
    big = np.minimum(wanted.sum(axis=(1, 2)).max() / net.output.min(), room)
    return _with_setups(p, equal, most, np.tile(big, p.n_orders // len(big)), seconds, gap)[
        p.orders
    ]


def _with_setups(
    p: _Programme, equal: Float, most: Float, big: Float, seconds: float, gap: float
) -> Float:
    """The programme with a yes or no for each order, which costs its fixed cost."""
    m = p.n_orders
    link = sparse.hstack([sparse.eye(m, len(p.cost)), -sparse.diags(big)])
    pad = [sparse.hstack([x, sparse.csr_matrix((x.shape[0], m))]) for x in (p.equal, p.most)]
    matrix = sparse.vstack([*pad, link])
    least = np.r_[equal, np.full(len(most) + m, -np.inf)]
    upper = np.r_[np.full(len(p.cost), np.inf), np.ones(m)]
    whole = np.arange(len(upper)) >= len(p.cost)
    found = mixed_integer(
        np.r_[p.cost, p.setup],
        matrix,
        least,
        np.r_[equal, most, np.zeros(m)],
        upper,
        whole,
        seconds=seconds,
        gap=gap,
    ).x
    if found is None:
        raise EvidenceError(f"HiGHS found no plan within {seconds:g} s.")
    return found


class _Rolling:
    """Plans anew at every period on sampled paths, and orders the first period of the plan."""

    def __init__(self, horizon: int | None, paths: int, depth: int, seconds: float) -> None:
        self.horizon, self.paths, self.depth, self.seconds = horizon, paths, depth, seconds

    def __call__(self, view: View) -> Float:
        sim, net = view.simulation, view.network
        least = int(net.lead.max(initial=0)) + 2
        through = int((net.longest_lead + net.lead_below).max(initial=0)) + 5
        wished = self.horizon or (10 if self.paths == 1 else max(10, through))
        horizon = min(max(wished, least), view.scenario.periods - view.t)
        means = self._means(view, horizon)
        found = np.zeros((len(sim.seeds), len(net.edges)))
        for b, seed in enumerate(sim.seeds):
            demand, groups = self._sampled(means[:, b], np.random.default_rng([seed, view.t]))
            programme = _programme_of(view.scenario, horizon, groups.tobytes(), len(demand))
            found[b] = _solve(net, programme, demand, *_rest(sim, b, horizon), self.seconds, 2e-3)[
                0, 0
            ]
        return np.maximum(found, 0.0)

    def _means(self, view: View, horizon: int) -> Float:
        """(H, B, M)"""
        if view.information != "blind":
            return np.stack([view.mean(k) for k in range(horizon)])
        known = (
            view.past[-WINDOW:].mean(axis=0)
            if view.t
            else np.tile(
                view.scenario.demand.base * view.network.share, (len(view.simulation.seeds), 1)
            )
        )
        return np.tile(known, (horizon, 1, 1))

    def _sampled(self, mean: Float, rng: np.random.Generator) -> tuple[Float, Int]:
        """Demand (S, H, M), and which paths share their history before each period (S, H)."""
        if self.paths == 1:
            return mean[None], np.zeros((1, len(mean)), dtype=int)
        demand = np.tile(np.round(mean), (self.paths, 1, 1))
        depth = min(self.depth, len(mean))
        demand[:, :depth] = rng.poisson(mean[:depth], size=(self.paths, *mean[:depth].shape))
        groups = np.zeros(demand.shape[:2], dtype=int)
        for t in range(1, len(mean)):
            seen = demand[:, :t].reshape(self.paths, -1)
            groups[:, t] = np.unique(seen, axis=0, return_inverse=True)[1].ravel()
        return demand, groups


@lru_cache(maxsize=64)
def _programme_of(scenario: Scenario, horizon: int, groups: bytes, paths: int) -> _Programme:
    shared: NDArray[np.int64] = np.frombuffer(groups, dtype=int).reshape(paths, horizon)
    return _programme(
        scenario.network,
        horizon,
        shared,
        scenario.backlog,
        scenario.discount,
        np.full(paths, 1 / paths),
    )


def deterministic_plan(horizon: int | None = None, seconds: float = 30.0) -> Controller:
    """DLP: plans on mean demand as if it were certain, anew each period.

    Parameters
    ----------
    horizon
        periods; None: 10, or the longest lead time and two more
    """
    return _Rolling(horizon, 1, 0, seconds)


def stochastic_plan(
    horizon: int | None = None, paths: int = 10, depth: int = 3, seconds: float = 30.0
) -> Controller:
    """MSSP: plans on sampled paths, Poisson for ``depth`` periods and the rounded mean after; paths
    with equal histories order alike.

    Parameters
    ----------
    horizon
        periods; None: 10, or the longest way through the network and five more
    """
    if paths < 2:
        raise EvidenceError(f"paths={paths}: at least two, or it is deterministic_plan().")
    return _Rolling(horizon, paths, depth, seconds)


def oracle(
    scenario: Scenario, seeds: Sequence[int], *, draws: Draws = "stream", seconds: float = 60.0
) -> Episodes:
    """The best plan for customers known in advance: the optimum where demand does not depend on
    service.

    Under goodwill demand and plan depend on each other: plan and replay take turns from a
    pessimistic (no orders) and an optimistic (all served) start, at most ten times, and the best
    replay is kept: a strong reference, not a bound.
    """
    net, periods, b = scenario.network, scenario.periods, len(seeds)
    programme = _programme(
        net,
        periods,
        np.zeros((1, periods), dtype=int),
        scenario.backlog,
        scenario.discount,
        np.ones(1),
    )
    empty, none = np.zeros((periods, len(net.names))), np.zeros(len(net.markets))

    def plans(demand: Float) -> Float:
        return np.stack(
            [
                _solve(net, programme, demand[None, :, k], net.stock, empty, none, seconds)[0]
                for k in range(demand.shape[1])
            ],
            axis=1,
        )

    def replay(orders: Float) -> Episodes:
        return simulate(
            scenario, lambda view: orders[view.t], seeds, information="clairvoyant", draws=draws
        )

    nothing = replay(np.zeros((periods, b, len(net.edges))))
    if not scenario.demand.goodwill:
        return replay(plans(nothing.simulation.demand))
    rich = replace(scenario, network=replace(net, stock=net.stock + 1e9))
    served = simulate(
        rich,
        lambda view: np.zeros((b, len(net.edges))),
        seeds,
        information="clairvoyant",
        draws=draws,
    )
    best: Float = np.zeros((periods, b, len(net.edges)))
    value = nothing.profit.copy()
    for demand in (nothing.simulation.demand, served.simulation.demand):
        for _ in range(10):
            orders = plans(demand)
            found = replay(orders)
            better = found.profit > value
            best[:, better], value = orders[:, better], np.maximum(value, found.profit)
            if np.allclose(found.simulation.demand, demand):
                break
            demand = found.simulation.demand
    return replay(best)


PLANS: dict[str, tuple[Controller, Information]] = {
    "DLP": (deterministic_plan(), "blind"),
    "DLP-I": (deterministic_plan(), "informed"),
    "MSSP": (stochastic_plan(), "blind"),
    "MSSP-I": (stochastic_plan(), "informed"),
}
