"""Linear programmes of what to order on sampled paths of demand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from policyrank.errors import EvidenceError
from policyrank.solvers import mixed_integer
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
    orders
        (S, H, E): columns of the orders
    n_orders
        how many columns are orders
    setup
        (n_orders,): fixed cost of any order
    """

    net: Network
    cost: Float
    equal: sparse.csr_matrix
    most: sparse.csr_matrix
    orders: Int
    n_orders: int
    setup: Float


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


class _Rows:
    """Entries of a matrix, gathered block by block."""

    def __init__(self) -> None:
        self._parts: list[tuple[Int, Int, Float]] = []

    def put(self, row: Int, column: Int, value: float) -> None:
        rows, columns, values = np.broadcast_arrays(row, column, value)
        self._parts.append((rows.ravel(), columns.ravel(), values.ravel().astype(float)))

    def matrix(self, rows: int, columns: int) -> sparse.csr_matrix:
        row, column, value = map(np.concatenate, zip(*self._parts, strict=True))
        return sparse.csr_matrix((value, (row, column)), shape=(rows, columns))


@dataclass(frozen=True, eq=False)
class _Columns:
    """Numbers of the columns: orders (S, H, E), sales and unmet (S, H, M), stock (S, H, n)."""

    orders: Int
    sales: Int
    unmet: Int
    stock: Int
    n_orders: int
    count: int

    @classmethod
    def of(cls, net: Network, groups: Int) -> _Columns:
        (paths, horizon), edges = groups.shape, len(net.edges)
        markets, nodes = len(net.markets), len(net.names)
        period = np.arange(horizon)
        shared = groups + groups.max(initial=0) * period * 2 + period * 2
        number = np.unique(shared, return_inverse=True)[1].reshape(groups.shape)
        n_orders = (int(number.max()) + 1) * edges
        size = horizon * (2 * markets + nodes)
        start = n_orders + np.arange(paths)[:, None, None] * size
        sales = start + period[:, None] * markets + np.arange(markets)
        after = start + 2 * horizon * markets
        return cls(
            orders=number[:, :, None] * edges + np.arange(edges),
            sales=sales,
            unmet=sales + horizon * markets,
            stock=after + period[:, None] * nodes + np.arange(nodes),
            n_orders=n_orders,
            count=n_orders + paths * size,
        )


def programme_of(scenario: Scenario, groups: Int, weight: Float) -> Programme:
    """The programme of a scenario on S paths of weight (S,).

    ``groups`` (S, H): paths with the same number at a period share what they order in it.
    """
    net = scenario.network
    columns = _Columns.of(net, groups)
    cost, setup = _costs(net, columns, scenario.discount, weight)
    equal = _balances(net, columns, scenario.backlog)
    most = _limits(net, columns)
    return Programme(net, cost, equal, most, columns.orders, columns.n_orders, setup)


def _costs(net: Network, columns: _Columns, discount: float, weight: Float) -> tuple[Float, Float]:
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


def _balances(net: Network, columns: _Columns, backlog: bool) -> sparse.csr_matrix:
    """Stock and demand of each period."""
    orders, sales, unmet, stock = columns.orders, columns.sales, columns.unmet, columns.stock
    horizon = orders.shape[1]
    balance = _numbered(stock.shape)
    demand = _numbered(sales.shape, balance.size)
    rows = _Rows()
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


def _limits(net: Network, columns: _Columns) -> sparse.csr_matrix:
    """Shipments within stock, and within capacity."""
    orders, stock = columns.orders, columns.stock
    makers = np.flatnonzero(np.isfinite(net.capacity))
    within = _numbered(stock.shape)
    limit = _numbered((*stock.shape[:2], len(makers)), within.size)
    rows = _Rows()
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
    if net.fixed.any():
        # No order is worth more than all that a path still wants, and none is filled beyond its
        # supplier's capacity.
        room = np.where(net.supplier >= 0, net.capacity[net.supplier], np.inf)
        big = np.minimum(wanted.sum(axis=(1, 2)).max() / net.output.min(), room)
        return _with_setups(programme, equal, most, big, seconds, gap)[programme.orders]
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
    return np.asarray(found.x[programme.orders])


def _with_setups(
    programme: Programme, equal: Float, most: Float, big: Float, seconds: float, gap: float
) -> Float:
    """The programme with a yes or no for each order, which costs its fixed cost.

    An order that was decided against is exactly 0: a rest of the solver's tolerance would cost it.
    """
    orders, columns = programme.n_orders, len(programme.cost)
    largest = np.tile(big, orders // len(big))
    link = sparse.hstack([sparse.eye(orders, columns), -sparse.diags(largest)])
    rows = []
    for part in (programme.equal, programme.most):
        rows.append(sparse.hstack([part, sparse.csr_matrix((part.shape[0], orders))]))
    upper = np.r_[np.full(columns, np.inf), np.ones(orders)]
    found = mixed_integer(
        np.r_[programme.cost, programme.setup],
        sparse.vstack([*rows, link]),
        np.r_[equal, np.full(len(most) + orders, -np.inf)],
        np.r_[equal, most, np.zeros(orders)],
        upper,
        np.arange(len(upper)) >= columns,
        seconds=seconds,
        gap=gap,
    ).x
    if found is None:
        raise EvidenceError(f"HiGHS found no plan within {seconds:g} s.")
    decided = found[columns:] > 0.5
    found[:orders] *= decided
    return found[:columns]
