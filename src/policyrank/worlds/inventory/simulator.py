"""Thousands of episodes at once, period by period."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from policyrank.errors import EvidenceError
from policyrank.worlds.inventory.draws import Stream, quantile
from policyrank.worlds.inventory.networks import Float
from policyrank.worlds.inventory.scenarios import Scenario

Draws = Literal["stream", "quantile"]
Information = Literal["blind", "informed", "clairvoyant"]

COSTS = ("revenue", "procurement", "holding", "operating", "penalty", "fixed")
KPIS = ("profit", "fill rate", "service level", "bullwhip", "inventory", "unmet", *COSTS)


class Simulation:
    """The state of B episodes of one scenario.

    Parameters
    ----------
    seeds
        one an episode; the same seed gives every controller the same customers
    draws
        ``"stream"``: each episode draws its Poisson numbers one by one from its own generator, as
        the published environment does, number for number. ``"quantile"``: the demand of a period is
        the Poisson quantile of one uniform number, drawn before: all episodes at once, and under
        goodwill, where the mean depends on the controller, still the same fortune

    Attributes
    ----------
    t
        period that comes next
    stock, unmet, goodwill
        (B, n), (B, M), (B,): on hand, not served at the end of the last period, factor of the mean
    demand, sold, requested, filled, left
        (T, B, M), (T, B, M), (T, B, E), (T, B, E), (T, B, n): what customers wanted and got, what
        was ordered and sent, stock at the end of each period
    """

    def __init__(self, scenario: Scenario, seeds: Sequence[int], draws: Draws = "stream") -> None:
        if draws not in ("stream", "quantile"):
            raise EvidenceError(f"draws={draws!r}: use stream or quantile.")
        if not len(seeds):
            raise EvidenceError("no seeds: one an episode.")
        net, periods, episodes = scenario.network, scenario.periods, len(seeds)
        edges, markets, nodes = len(net.edges), len(net.markets), len(net.names)
        self.scenario, self.seeds = scenario, tuple(int(seed) for seed in seeds)
        self._draws = draws
        self.t = 0
        self.stock = np.tile(net.stock, (episodes, 1))
        self.transit = np.zeros((episodes, edges))
        self.unmet = np.zeros((episodes, markets))
        self.goodwill = np.ones(episodes)
        self.demand, self.sold = np.zeros((2, periods, episodes, markets))
        self.backlog = np.zeros((periods, episodes, markets))
        self.requested, self.filled = np.zeros((2, periods, episodes, edges))
        self.left = np.zeros((periods, episodes, nodes))
        self.parts: dict[str, Float] = {part: np.zeros((periods, episodes)) for part in COSTS}
        self._prepare_draws()

    def _prepare_draws(self) -> None:
        """What of the customers' fortune is drawn before the first period."""
        demand, periods = self.scenario.demand, self.scenario.periods
        share = self.scenario.network.share
        mean = np.maximum(demand.least, demand.mean(np.arange(periods))[:, None] * share)
        if self._draws == "stream" and demand.goodwill:
            self._stream = Stream(self.seeds)
            return
        drawn = []
        for seed in self.seeds:
            rng = np.random.default_rng(seed)
            if self._draws == "quantile":
                drawn.append(rng.random(mean.shape))
            else:
                drawn.append(rng.poisson(mean).astype(float))
        self._drawn = np.stack(drawn, axis=1)

    def mean(self, t: int) -> Float:
        """(B, M): mean demand of period t at today's goodwill."""
        demand = self.scenario.demand
        plain = demand.mean(t) * self.scenario.network.share
        return np.maximum(demand.least, plain[None] * self.goodwill[:, None])

    def _draw(self, t: int) -> Float:
        """(B, M): what customers of period t want."""
        demand, mean = self.scenario.demand, self.mean(t)
        if self._draws == "quantile":
            raw = quantile(self._drawn[t], mean)
        elif demand.goodwill:
            raw = self._stream.poisson(mean)
        else:
            raw = self._drawn[t]
        if demand.noise == 1:
            return raw
        return np.maximum(0.0, mean + demand.noise * (raw - mean))

    def step(self, orders: Float) -> Float:
        """Order, receive, sell: (B, E) -> reward (B,). Orders below 0 count as 0.

        Raises
        ------
        EvidenceError
            After the last period, for orders of the wrong shape or that are not finite.
        """
        scenario, t = self.scenario, self.t
        orders = self._checked(orders)
        gone = self._ship(np.maximum(orders, 0.0))
        arrived = self._arrived()
        self.transit = self.transit - arrived + self.filled[t]
        stock = self.stock + self._by_buyer(arrived) - gone
        if scenario.demand.goodwill and t > 0:
            self._move_goodwill()
        demand = self._draw(t)
        wanted = demand + self.unmet if scenario.backlog else demand
        sold = self._sell(wanted, stock)
        self.stock, self.unmet = stock, wanted - sold
        self.demand[t], self.sold[t], self.backlog[t] = demand, sold, self.unmet
        self.requested[t], self.left[t] = orders, stock
        parts = self._money(sold)
        weight = scenario.discount**t
        for key, value in parts.items():
            self.parts[key][t] = weight * value
        self.t += 1
        revenue = parts.pop("revenue")
        return np.asarray(weight * (revenue - sum(parts.values())))

    def _checked(self, orders: Float) -> Float:
        periods = self.scenario.periods
        if self.t >= periods:
            raise EvidenceError(
                f"the episodes ended after {periods} periods: start a new simulation."
            )
        orders = np.asarray(orders, dtype=float)
        if orders.shape != self.transit.shape:
            raise EvidenceError(
                f"orders have shape {orders.shape}: one row an episode, one column an edge,"
                f" {self.transit.shape}."
            )
        if not np.isfinite(orders).all():
            raise EvidenceError(f"orders of period {self.t} are not finite.")
        return orders

    def _ship(self, request: Float) -> Float:
        """Fill the orders, edge by edge; (B, n) what leaves each node's stock."""
        net, filled = self.scenario.network, self.filled[self.t]
        gone, used = np.zeros((2, *self.stock.shape))
        for edge, supplier in enumerate(net.supplier):
            filled[:, edge] = request[:, edge]
            if supplier < 0:
                continue
            output = net.output[supplier]
            free = net.capacity[supplier] - used[:, supplier]
            left = np.minimum(free, output * (self.stock[:, supplier] - gone[:, supplier]))
            filled[:, edge] = np.minimum(request[:, edge], np.maximum(left, 0.0))
            used[:, supplier] += filled[:, edge]
            gone[:, supplier] += filled[:, edge] / output
        return gone

    def _arrived(self) -> Float:
        """(B, E): what was sent a lead time ago."""
        arrived = np.zeros_like(self.transit)
        for edge, lead in enumerate(self.scenario.network.lead):
            if self.t >= lead:
                arrived[:, edge] = self.filled[self.t - lead, :, edge]
        return arrived

    def _by_buyer(self, amounts: Float) -> Float:
        """(B, E) -> (B, n): summed over each node's reorder edges."""
        incoming = self.scenario.network.incoming
        return np.stack([amounts[:, edges].sum(axis=1) for edges in incoming], axis=1)

    @property
    def under_way(self) -> Float:
        """(B, n): ordered by each node and not arrived."""
        return self._by_buyer(self.transit)

    def _move_goodwill(self) -> None:
        demand, short = self.scenario.demand, self.unmet.sum(axis=1) > 0
        fallen = np.maximum(demand.floor, self.goodwill * demand.decay)
        risen = np.minimum(demand.cap, self.goodwill * demand.growth)
        self.goodwill = np.where(short, fallen, risen)

    def _sell(self, wanted: Float, stock: Float) -> Float:
        """(B, M) what markets get; it is taken from the stock."""
        net, sold = self.scenario.network, np.zeros_like(wanted)
        for market, node in enumerate(net.retailer):
            sold[:, market] = np.minimum(wanted[:, market], stock[:, node] * net.output[node])
            stock[:, node] -= sold[:, market] / net.output[node]
        return sold

    def _money(self, sold: Float) -> dict[str, Float]:
        """Revenue and costs of the period (B,)."""
        net, filled = self.scenario.network, self.filled[self.t]
        inner = net.supplier >= 0
        between = filled[:, inner]
        upkeep = net.operating / net.output
        return {
            "revenue": sold @ net.sale + between @ net.price[inner],
            "procurement": filled @ net.price,
            "holding": self.stock @ net.holding + self.transit @ net.transit,
            "operating": between @ upkeep[net.supplier[inner]] + sold @ upkeep[net.retailer],
            "penalty": self.unmet @ net.penalty,
            "fixed": (filled > 0) @ net.fixed,
        }

    def observation(self) -> Float:
        """(B, d): the published layout.

        Last demand, unmet, stock, arrivals an edge (this period first), period, goodwill.
        """
        episodes = len(self.seeds)
        last = self.demand[self.t - 1] if self.t else np.zeros_like(self.unmet)
        columns = [last, self.unmet, self.stock]
        for edge, lead in enumerate(self.scenario.network.lead):
            for sent in range(self.t - lead, self.t):
                if sent < 0:
                    columns.append(np.zeros((episodes, 1)))
                else:
                    columns.append(self.filled[sent, :, [edge]].T)
        columns += [np.full((episodes, 1), float(self.t)), self.goodwill[:, None]]
        return np.hstack(columns)


class View:
    """What a controller may see of B episodes, by its information contract.

    ``blind`` sees the past and the present, ``informed`` also the mean that the simulator will use
    (at today's goodwill), ``clairvoyant`` the customers of the whole episode.
    """

    def __init__(self, simulation: Simulation, information: Information) -> None:
        self.simulation, self.information = simulation, information
        self.scenario, self.network = simulation.scenario, simulation.scenario.network

    @property
    def t(self) -> int:
        """The period that is ordered for."""
        return self.simulation.t

    @property
    def position(self) -> Float:
        """(B, n): on hand, in transit, less what customers wait for."""
        state = self.simulation
        total = state.stock + state.under_way
        if self.scenario.backlog:
            for market, node in enumerate(self.network.retailer):
                total[:, node] -= state.unmet[:, market]
        return total

    @property
    def past(self) -> Float:
        """(t, B, M): demand so far."""
        return self.simulation.demand[: self.t]

    def mean(self, ahead: int = 0) -> Float:
        """(B, M): the true mean, some periods from now.

        Raises
        ------
        EvidenceError
            For a blind controller.
        """
        if self.information == "blind":
            raise EvidenceError(
                "a blind controller may not read the simulator's mean: run it informed, which is"
                " another contract."
            )
        return self.simulation.mean(self.t + ahead)


class Controller(Protocol):
    """View -> orders (B, E)."""

    def __call__(self, view: View) -> Float: ...


@dataclass(frozen=True, eq=False)
class Episodes:
    """What happened, and what it came to: (B,) each.

    Attributes
    ----------
    kpis
        ``profit``; ``fill rate``: sold over demanded, at most 1; ``service level``: share of
        periods in which all were served; ``bullwhip``: variance of orders over variance of demand;
        ``inventory``: mean stock a node; ``unmet``: summed over periods; and the parts of profit:
        revenue - procurement - holding - operating - penalty - fixed
    """

    scenario: Scenario
    seeds: tuple[int, ...]
    kpis: dict[str, Float]
    simulation: Simulation

    @property
    def profit(self) -> Float:
        """(B,)"""
        return self.kpis["profit"]


def simulate(
    scenario: Scenario,
    controller: Controller,
    seeds: Sequence[int],
    *,
    information: Information = "blind",
    draws: Draws = "stream",
) -> Episodes:
    """Run a controller through an episode a seed, all at once.

    Examples
    --------
    >>> from policyrank.worlds import inventory as inv
    >>> inv.simulate(inv.scenario("serial"), inv.newsvendor, [42, 123]).profit.round(4)
    array([798.874 , 864.9571])
    """
    sim = Simulation(scenario, seeds, draws)
    view = View(sim, information)
    profit = np.zeros(len(sim.seeds))
    for _ in range(scenario.periods):
        profit += sim.step(controller(view))
    return Episodes(scenario, sim.seeds, kpis(sim, profit), sim)


def kpis(sim: Simulation, profit: Float) -> dict[str, Float]:
    """Key figures of ended episodes, see ``Episodes``."""
    wanted, sold = sim.demand.sum(axis=(0, 2)), sim.sold.sum(axis=(0, 2))
    ordered, asked = sim.requested.sum(axis=2).var(axis=0), sim.demand.sum(axis=2).var(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {
            "profit": profit,
            "fill rate": np.where(wanted > 0, np.minimum(1.0, sold / wanted), 1.0),
            "service level": (sim.backlog <= 1e-9).all(axis=2).mean(axis=0),
            "bullwhip": np.where(asked > 1e-8, ordered / asked, 1.0),
            "inventory": sim.left.mean(axis=(0, 2)),
            "unmet": sim.backlog.sum(axis=(0, 2)),
        }
    for part in COSTS:
        found[part] = sim.parts[part].sum(axis=0)
    return found
