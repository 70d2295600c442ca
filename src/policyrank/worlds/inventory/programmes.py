"""Linear programmes of what to order on sampled paths of demand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from policyrank.errors import EvidenceError
from policyrank.solvers import mixed_integer
from policyrank.worlds.inventory.columns import Columns, Rows
from policyrank.worlds.inventory.decisions import (
    Amounts,
    Decisions,
    contested,
    whether_to_order,
    whom_to_serve,
)
from policyrank.worlds.inventory.networks import Float, Int, Network
from policyrank.worlds.inventory.scenarios import Scenario
from policyrank.worlds.inventory.simulator import Simulation


@dataclass(frozen=True, eq=False)
class Programme:
    """Constraints of S paths of H periods.

    Equal histories share their orders, so a plan anticipates nothing. Columns: orders (shared),
    then for each path sales, unmet demand and stock. Rows: stock balance, demand balance (equal);
    shipments within stock, capacity (at most).

    Attributes
    ----------
    columns
        which column is what
    setup
        (n_orders,): fixed cost of any order
    serves_all
        whether customers are served in their order from all that there is, as in the world; else
        the plan may hold back from some what it sells to others
    """

    net: Network
    cost: Float
    equal: sparse.csr_matrix
    most: sparse.csr_matrix
    columns: Columns
    setup: Float
    serves_all: bool


@dataclass(frozen=True, eq=False)
class Start:
    """What an episode brings into a plan.

    Attributes
    ----------
    stock
        (n,)
    arrivals
        (H, n): of orders under way
    waiting
        (M,): demand that waits
    """

    stock: Float
    arrivals: Float
    waiting: Float

    @classmethod
    def first(cls, scenario: Scenario) -> Start:
        """Before the first period."""
        net = scenario.network
        arrivals = np.zeros((scenario.periods, len(net.names)))
        return cls(net.stock, arrivals, np.zeros(len(net.markets)))

    @classmethod
    def of(cls, sim: Simulation, episode: int, horizon: int) -> Start:
        """In the midst of an episode."""
        net = sim.scenario.network
        arrivals = np.zeros((horizon, len(net.names)))
        for edge, (buyer, lead) in enumerate(zip(net.buyer, net.lead, strict=True)):
            for ahead in range(min(lead, horizon)):
                sent = sim.t + ahead - lead
                if sent >= 0:
                    arrivals[ahead, buyer] += sim.filled[sent, episode, edge]
        waiting = np.zeros(len(net.markets))
        if sim.scenario.backlog:
            waiting = sim.unmet[episode]
        return cls(sim.stock[episode], arrivals, waiting)


def programme_of(
    scenario: Scenario, groups: Int, weight: Float, *, serves_all: bool = False
) -> Programme:
    """The programme of a scenario on S paths of weight (S,).

    ``groups`` (S, H): paths with the same number at a period share what they order in it.
    ``serves_all``: see ``Programme``; it costs nothing where a best plan serves all anyway.
    """
    net = scenario.network
    columns = Columns.of(net, groups)
    cost, setup = _costs(net, columns, scenario.discount, weight)
    equal = _balances(net, columns, scenario.backlog)
    most = _limits(net, columns)
    serves_all = serves_all and bool(contested(net).any())
    return Programme(net, cost, equal, most, columns, setup, serves_all)


def _costs(net: Network, columns: Columns, discount: float, weight: Float) -> tuple[Float, Float]:
    horizon = columns.orders.shape[1]
    factor = discount ** np.arange(horizon)
    upkeep = net.operating / net.output
    inner = net.supplier >= 0
    gain = np.where(inner, net.price - upkeep[net.supplier], 0.0) - net.price
    held = np.zeros((horizon, len(net.edges)))
    for period in range(horizon):
        held[period] = [factor[period : period + lead].sum() for lead in net.lead]
    cost, setup = np.zeros(columns.count), np.zeros(columns.n_orders)
    each = factor[:, None]
    for path, share in enumerate(weight):
        orders = columns.orders[path]
        np.add.at(cost, orders, -share * (each * gain - held * net.transit))
        np.add.at(setup, orders, share * each * net.fixed)
        cost[columns.sales[path]] = -share * each * (net.sale - upkeep[net.retailer])
        cost[columns.unmet[path]] = share * each * net.penalty
        cost[columns.stock[path]] = share * each * net.holding
    return cost, setup


def _numbered(shape: tuple[int, ...], start: int = 0) -> Int:
    return start + np.arange(int(np.prod(shape))).reshape(shape)


def _balances(net: Network, columns: Columns, backlog: bool) -> sparse.csr_matrix:
    """Stock and demand of each period."""
    orders, sales, unmet, stock = columns.orders, columns.sales, columns.unmet, columns.stock
    horizon = orders.shape[1]
    balance = _numbered(stock.shape)
    demand = _numbered(sales.shape, balance.size)
    rows = Rows()
    rows.put(balance, stock, 1.0)
    rows.put(balance[:, 1:], stock[:, :-1], -1.0)
    for edge, (supplier, buyer, lead) in enumerate(
        zip(net.supplier, net.buyer, net.lead, strict=True)
    ):
        arriving = orders[:, : max(horizon - lead, 0), edge]
        rows.put(balance[:, lead:, buyer], arriving, -1.0)
        if supplier >= 0:
            rows.put(balance[:, :, supplier], orders[:, :, edge], 1 / net.output[supplier])
    for market, node in enumerate(net.retailer):
        rows.put(balance[:, :, node], sales[:, :, market], 1 / net.output[node])
    rows.put(demand, sales, 1.0)
    rows.put(demand, unmet, 1.0)
    if backlog:
        rows.put(demand[:, 1:], unmet[:, :-1], -1.0)
    return rows.matrix(balance.size + demand.size, columns.count)


def _limits(net: Network, columns: Columns) -> sparse.csr_matrix:
    """Shipments within stock, and within capacity."""
    orders, stock = columns.orders, columns.stock
    makers = np.flatnonzero(np.isfinite(net.capacity))
    within = _numbered(stock.shape)
    limit = _numbered((*stock.shape[:2], len(makers)), within.size)
    rows = Rows()
    rows.put(within[:, 1:], stock[:, :-1], -1.0)
    for edge, supplier in enumerate(net.supplier):
        if supplier < 0:
            continue
        rows.put(within[:, :, supplier], orders[:, :, edge], 1 / net.output[supplier])
        if supplier in makers:
            maker = int(np.searchsorted(makers, supplier))
            rows.put(limit[:, :, maker], orders[:, :, edge], 1.0)
    return rows.matrix(within.size + limit.size, columns.count)


def solve(
    programme: Programme, demand: Float, start: Start, seconds: float, gap: float = 1e-6
) -> Float:
    """Orders (S, H, E) for demand (S, H, M)."""
    net, (paths, horizon, _) = programme.net, demand.shape
    wanted = demand.copy()
    wanted[:, 0] += start.waiting
    coming = np.tile(start.arrivals, (paths, 1, 1))
    coming[:, 0] += start.stock
    equal = np.concatenate([coming.ravel(), wanted.ravel()])
    free = np.zeros((paths, horizon, len(net.names)))
    free[:, 0] = start.stock
    capacity = np.tile(net.capacity[np.isfinite(net.capacity)], (paths, horizon, 1))
    most = np.concatenate([free.ravel(), capacity.ravel()])
    amounts = Amounts(wanted.sum(axis=(1, 2)).max(), coming.sum(axis=(1, 2)).max())
    decisions = []
    if net.fixed.any():
        decisions.append(whether_to_order(net, programme.columns, programme.setup, amounts))
    if programme.serves_all:
        decisions.append(whom_to_serve(net, programme.columns, amounts))
    if decisions:
        found = _decided(programme, equal, most, decisions, seconds, gap)
    else:
        found = _continuous(programme, equal, most, seconds)
    return found[programme.columns.orders]


def _continuous(programme: Programme, equal: Float, most: Float, seconds: float) -> Float:
    """The columns of the programme as it is."""
    found = linprog(
        programme.cost,
        A_ub=programme.most,
        b_ub=most,
        A_eq=programme.equal,
        b_eq=equal,
        method="highs",
        options={"time_limit": seconds},
    )
    if found.x is None:
        raise EvidenceError(f"HiGHS found no plan within {seconds:g} s: {found.message}")
    return np.asarray(found.x)


def _decided(
    programme: Programme,
    equal: Float,
    most: Float,
    decisions: list[Decisions],
    seconds: float,
    gap: float,
) -> Float:
    """The columns of the programme with what is decided by yes or no.

    An order that was decided against is exactly 0: a rest of the solver's tolerance would cost it.
    """
    columns, own = programme.columns, sparse.block_diag([one.own for one in decisions])
    blocks = [
        [programme.equal, None],
        [programme.most, None],
        [sparse.vstack([one.on_columns for one in decisions]), own],
    ]
    cost = np.concatenate([programme.cost, *[one.cost for one in decisions]])
    most = np.concatenate([most, *[one.most for one in decisions]])
    whole = np.arange(len(cost)) >= columns.count
    found = mixed_integer(
        cost,
        sparse.bmat(blocks),
        np.r_[equal, np.full(len(most), -np.inf)],
        np.r_[equal, most],
        np.where(whole, 1.0, np.inf),
        whole,
        seconds=seconds,
        gap=gap,
    ).x
    if found is None:
        raise EvidenceError(f"HiGHS found no plan within {seconds:g} s.")
    if programme.net.fixed.any():
        ordered = found[columns.count : columns.count + columns.n_orders] > 0.5
        found[: columns.n_orders] *= ordered
    return found[: columns.count]
