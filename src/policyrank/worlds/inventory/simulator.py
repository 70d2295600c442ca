"""Thousands of episodes at once, period by period."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numba
import numpy as np
from scipy.special import pdtr, pdtrik

from policyrank.errors import EvidenceError
from policyrank.worlds.inventory.networks import Float, Scenario

Draws = Literal["stream", "quantile"]
Information = Literal["blind", "informed", "clairvoyant"]


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
        net, periods, b = scenario.network, scenario.periods, len(seeds)
        self.scenario, self.seeds = scenario, tuple(int(s) for s in seeds)
        self._draws = draws
        self.t = 0
        self.stock = np.tile(net.stock, (b, 1))
        self.transit = np.zeros((b, len(net.edges)))
        self.unmet = np.zeros((b, len(net.markets)))
        self.goodwill = np.ones(b)
        self.demand, self.sold = np.zeros((2, periods, b, len(net.markets)))
        self.backlog = np.zeros((periods, b, len(net.markets)))
        self.requested, self.filled = np.zeros((2, periods, b, len(net.edges)))
        self.left = np.zeros((periods, b, len(net.names)))
        self.parts: dict[str, Float] = {k: np.zeros((periods, b)) for k in COSTS}
        self._mean = np.maximum(
            scenario.demand.least, scenario.demand.mean(np.arange(periods))[:, None] * net.share
        )
        shape = (periods, len(net.markets))
        if draws == "quantile":
            self._uniform = np.stack(
                [np.random.default_rng(s).random(shape) for s in self.seeds], axis=1
            )
        elif scenario.demand.goodwill:
            self._stream = Stream(self.seeds)
        else:
            self._raw = np.stack(
                [np.random.default_rng(s).poisson(self._mean) for s in self.seeds], axis=1
            )

    def mean(self, t: int) -> Float:
        """(B, M): mean demand of period t at today's goodwill."""
        demand = self.scenario.demand
        plain = demand.mean(t) * self.scenario.network.share
        return np.maximum(demand.least, plain[None] * self.goodwill[:, None])

    def _draw(self, t: int) -> Float:
        d = self.scenario.demand
        mu = self.mean(t)
        if self._draws == "quantile":
            raw = quantile(self._uniform[t], mu)
        elif d.goodwill:
            raw = self._stream.poisson(mu)
        else:
            raw = self._raw[t].astype(float)
        return np.maximum(0.0, mu + d.noise * (raw - mu)) if d.noise != 1 else raw

    def step(self, orders: Float) -> Float:
        """Order, receive, sell: (B, E) -> reward (B,). Orders below 0 count as 0.

        Raises
        ------
        EvidenceError
            After the last period, for orders of the wrong shape or that are not finite.
        """
        scenario, net, t = self.scenario, self.scenario.network, self.t
        if t >= scenario.periods:
            raise EvidenceError(
                f"the episodes ended after {scenario.periods} periods: start a new simulation."
            )
        orders = np.asarray(orders, dtype=float)
        if orders.shape != self.transit.shape:
            raise EvidenceError(
                f"orders have shape {orders.shape}: one row an episode, one column an edge,"
                f" {self.transit.shape}."
            )
        if not np.isfinite(orders).all():
            raise EvidenceError(f"orders of period {t} are not finite.")
        request = np.maximum(orders, 0.0)
        filled = self.filled[t]
        gone, used, arrived = (
            np.zeros_like(self.stock),
            np.zeros_like(self.stock),
            np.zeros_like(filled),
        )
        for e, (s, lead) in enumerate(zip(net.supplier, net.lead, strict=True)):
            filled[:, e] = request[:, e]
            if s >= 0:
                left = np.minimum(
                    net.capacity[s] - used[:, s], net.output[s] * (self.stock[:, s] - gone[:, s])
                )
                filled[:, e] = np.minimum(request[:, e], np.maximum(left, 0.0))
                used[:, s] += filled[:, e]
                gone[:, s] += filled[:, e] / net.output[s]
            if t >= lead:
                arrived[:, e] = self.filled[t - lead, :, e]
        self.transit = self.transit - arrived + filled
        stock = (
            self.stock + np.stack([arrived[:, e].sum(axis=1) for e in net.incoming], axis=1) - gone
        )
        if scenario.demand.goodwill and t > 0:
            short = self.unmet.sum(axis=1) > 0
            d = scenario.demand
            self.goodwill = np.where(
                short,
                np.maximum(d.floor, self.goodwill * d.decay),
                np.minimum(d.cap, self.goodwill * d.growth),
            )
        demand = self._draw(t)
        wanted = demand + self.unmet if scenario.backlog else demand
        sold = np.zeros_like(wanted)
        for m, j in enumerate(net.retailer):
            sold[:, m] = np.minimum(wanted[:, m], stock[:, j] * net.output[j])
            stock[:, j] -= sold[:, m] / net.output[j]
        self.stock, self.unmet = stock, wanted - sold
        self.demand[t], self.sold[t], self.backlog[t], self.requested[t], self.left[t] = (
            demand,
            sold,
            self.unmet,
            orders,
            stock,
        )
        inner = net.supplier >= 0
        made = (
            filled[:, inner] @ (net.operating / net.output)[net.supplier[inner]]
            + sold @ (net.operating / net.output)[net.retailer]
        )
        found = {
            "revenue": sold @ net.sale + filled[:, inner] @ net.price[inner],
            "procurement": filled @ net.price,
            "holding": stock @ net.holding + self.transit @ net.transit,
            "operating": made,
            "penalty": self.unmet @ net.penalty,
            "fixed": (filled > 0) @ net.fixed,
        }
        weight = scenario.discount**t
        for key, value in found.items():
            self.parts[key][t] = weight * value
        self.t += 1
        return np.asarray(
            weight * (found["revenue"] - sum(v for k, v in found.items() if k != "revenue"))
        )

    def observation(self) -> Float:
        """(B, d): last demand, unmet, stock, arrivals an edge (this period first), period,
        goodwill: the published layout.
        """
        net, t = self.scenario.network, self.t
        last = self.demand[t - 1] if t else np.zeros_like(self.unmet)
        slots = [
            (
                self.filled[t - lead + k, :, [e]].T
                if t - lead + k >= 0 and k < lead
                else np.zeros((len(last), 1))
            )
            for e, lead in enumerate(net.lead)
            for k in range(lead)
        ]
        return np.hstack(
            [
                last,
                self.unmet,
                self.stock,
                *slots,
                np.full((len(last), 1), float(t)),
                self.goodwill[:, None],
            ]
        )


COSTS = ("revenue", "procurement", "holding", "operating", "penalty", "fixed")
KPIS = ("profit", "fill rate", "service level", "bullwhip", "inventory", "unmet", *COSTS)


class Stream:
    """Poisson numbers of many generators at once, each the very ones that
    ``numpy.random.default_rng(seed).poisson`` would give one by one: their uniform numbers are
    drawn ahead.

    Methods: multiplication below a mean of 10, else transformed rejection (PTRS; Hoermann 1993), as
    numpy's.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._rngs = [np.random.default_rng(s) for s in seeds]
        self._uniform = np.stack([r.random(256) for r in self._rngs])
        self._at = np.zeros(len(seeds), dtype=np.int64)

    def poisson(self, mean: Float) -> Float:
        """(B, M) means -> (B, M) numbers."""
        found = np.empty_like(mean)
        done = np.zeros(len(mean), dtype=np.int64)
        while not _streamed(mean, self._uniform, self._at, found, done):
            left = [u[k:] for u, k in zip(self._uniform, self._at, strict=True)]
            # What is left of each stream, and more of it for all, to the same length.
            size = max(map(len, left)) + 256
            self._uniform = np.stack(
                [np.r_[u, r.random(size - len(u))] for u, r in zip(left, self._rngs, strict=True)]
            )
            self._at[:] = 0
        return found


@numba.njit(cache=True)
def _streamed(
    mean: Float, uniform: Float, at: Any, found: Float, done: Any
) -> bool:  # pragma: no cover
    """Fill in numbers; False when some stream has run out, with its place kept."""
    whole = True
    for b in range(mean.shape[0]):
        u, k = uniform[b], at[b]
        for m in range(done[b], mean.shape[1]):
            lam, start = mean[b, m], k
            value = -1.0
            if lam == 0.0:
                value = 0.0
            elif lam < 10.0:
                least, product, count = math.exp(-lam), 1.0, 0
                while k < len(u):
                    product *= u[k]
                    k += 1
                    if product <= least:
                        value = count
                        break
                    count += 1
            else:
                root = math.sqrt(lam)
                spread = 0.931 + 2.53 * root
                slope = -0.059 + 0.02483 * spread
                scale = 1.1239 + 1.1328 / (spread - 3.4)
                sure = 0.9277 - 3.6224 / (spread - 2)
                while k + 1 < len(u):
                    x, v = u[k] - 0.5, u[k + 1]
                    k += 2
                    edge = 0.5 - abs(x)
                    n = math.floor((2 * slope / edge + spread) * x + lam + 0.43)
                    if edge >= 0.07 and v <= sure:
                        value = n
                        break
                    if n < 0 or (edge < 0.013 and v > edge):
                        continue
                    if math.log(v) + math.log(scale) - math.log(
                        slope / (edge * edge) + spread
                    ) <= -lam + n * math.log(lam) - math.lgamma(n + 1):
                        value = n
                        break
            if value < 0:
                k, whole = start, False
                break
            found[b, m] = value
            done[b] = m + 1
        at[b] = k
    return whole


@numba.njit(cache=True)
def _small_quantile(u: Float, mean: Float) -> Float:  # pragma: no cover
    found = np.empty(u.size)
    for i in range(u.size):
        k, p = 0, math.exp(-mean[i])
        total = p
        while total < u[i] and p > 1e-300:
            k += 1
            p *= mean[i] / k
            total += p
        found[i] = k
    return found


def quantile(u: Float, mean: Float) -> Float:
    """Poisson quantile: the smallest k with P(N <= k) >= u.

    Examples
    --------
    >>> quantile(np.array([0.1, 0.5, 0.99]), np.array([2.0, 2.0, 1000.0])).tolist()
    [0.0, 2.0, 1074.0]
    """
    small = mean < 300
    found = np.empty_like(mean)
    found[small] = _small_quantile(u[small], mean[small])
    if not small.all():
        v, m = u[~small], mean[~small]
        k = np.ceil(pdtrik(np.clip(v, 1e-300, 1 - 1e-16), m))
        found[~small] = np.where(pdtr(k - 1, m) >= v, k - 1, np.where(pdtr(k, m) < v, k + 1, k))
    return found


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
        s, net = self.simulation, self.network
        total = s.stock + np.stack([s.transit[:, e].sum(axis=1) for e in net.incoming], axis=1)
        if self.scenario.backlog:
            for m, j in enumerate(net.retailer):
                total[:, j] -= s.unmet[:, m]
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
        return {
            "profit": profit,
            "fill rate": np.where(wanted > 0, np.minimum(1.0, sold / wanted), 1.0),
            "service level": (sim.backlog <= 1e-9).all(axis=2).mean(axis=0),
            "bullwhip": np.where(asked > 1e-8, ordered / asked, 1.0),
            "inventory": sim.left.mean(axis=(0, 2)),
            "unmet": sim.backlog.sum(axis=(0, 2)),
            **{key: sim.parts[key].sum(axis=0) for key in COSTS},
        }
