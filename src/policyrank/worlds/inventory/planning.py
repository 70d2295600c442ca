"""Controllers that solve a programme, by HiGHS.

The clairvoyant oracle, and rolling deterministic or multi-stage stochastic plans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Literal, get_args

import numpy as np

from policyrank.errors import EvidenceError, OptionError
from policyrank.worlds.inventory.controllers import WINDOW, prior_mean
from policyrank.worlds.inventory.networks import Float, Int
from policyrank.worlds.inventory.programmes import Programme, Start, programme_of, solve
from policyrank.worlds.inventory.scenarios import Scenario
from policyrank.worlds.inventory.simulator import (
    Controller,
    Draws,
    Episodes,
    Information,
    View,
    simulate,
)

FirstGuess = Literal["stock", "base demand"]


class _Rolling:
    """Plans anew at every period on sampled paths, and orders the first period of the plan."""

    def __init__(
        self,
        horizon: int | None,
        paths: int,
        depth: int,
        seconds: float,
        first_guess: FirstGuess,
    ) -> None:
        if first_guess not in get_args(FirstGuess):
            raise OptionError(f"first_guess={first_guess!r}: use 'stock' or 'base demand'.")
        self.horizon, self.paths, self.depth, self.seconds = horizon, paths, depth, seconds
        self.first_guess = first_guess

    def __call__(self, view: View) -> Float:
        sim, net = view.simulation, view.network
        least = int(net.lead.max(initial=0)) + 2
        through = int((net.longest_lead + net.lead_below).max(initial=0)) + 5
        usual = 10 if self.paths == 1 else max(10, through)
        horizon = min(max(self.horizon or usual, least), view.scenario.periods - view.t)
        means = self._means(view, horizon)
        found = np.zeros((len(sim.seeds), len(net.edges)))
        for episode, seed in enumerate(sim.seeds):
            rng = np.random.default_rng([seed, view.t])
            demand, groups = self._sampled(means[:, episode], rng)
            programme = _cached(view.scenario, horizon, groups.tobytes(), len(demand))
            start = Start.of(sim, episode, horizon)
            found[episode] = solve(programme, demand, start, self.seconds, 2e-3)[0, 0]
        return np.maximum(found, 0.0)

    def _means(self, view: View, horizon: int) -> Float:
        """(H, B, M)"""
        if view.information != "blind":
            return np.stack([view.mean(ahead) for ahead in range(horizon)])
        known = prior_mean(view)
        if view.t:
            known = view.past[-WINDOW:].mean(axis=0)
        elif self.first_guess == "base demand":
            known = np.full_like(known, view.scenario.demand.base) * view.network.share
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
def _cached(scenario: Scenario, horizon: int, groups: bytes, paths: int) -> Programme:
    shared: Int = np.frombuffer(groups, dtype=int).reshape(paths, horizon)
    return programme_of(scenario, shared, np.full(paths, 1 / paths))


def deterministic_plan(
    horizon: int | None = None, seconds: float = 30.0, *, first_guess: FirstGuess = "stock"
) -> Controller:
    """DLP: plans on mean demand as if it were certain, anew each period.

    Parameters
    ----------
    horizon
        periods; None: 10, or the longest lead time and two more
    seconds
        that a plan may take
    first_guess
        what a blind plan expects before it has seen a customer: ``"stock"``, the retailers' initial
        stock spread over the longest lead time, or, as published, ``"base demand"``, which is more
        than a blind controller can know
    """
    return _Rolling(horizon, 1, 0, seconds, first_guess)


def stochastic_plan(
    horizon: int | None = None,
    paths: int = 10,
    depth: int = 3,
    seconds: float = 30.0,
    *,
    first_guess: FirstGuess = "stock",
) -> Controller:
    """MSSP: plans on sampled paths, Poisson for ``depth`` periods and the rounded mean after.

    Paths with equal histories order alike.

    Parameters
    ----------
    horizon
        periods; None: 10, or the longest way through the network and five more
    paths, depth
        paths, at least two, and the periods in which they differ
    seconds, first_guess
        as for ``deterministic_plan``

    Raises
    ------
    EvidenceError
        For fewer than two paths.
    """
    if paths < 2:
        raise EvidenceError(f"paths={paths}: at least two, or it is deterministic_plan().")
    return _Rolling(horizon, paths, depth, seconds, first_guess)


def oracle(
    scenario: Scenario, seeds: Sequence[int], *, draws: Draws = "stream", seconds: float = 60.0
) -> Episodes:
    """The best plan for customers known in advance.

    It is the optimum where demand does not depend on service; customers are served in their order
    from all that there is, as the world does it, also where a plan would rather keep it for others.

    Under goodwill demand and plan depend on each other: plan and replay take turns from a
    pessimistic (no orders) and an optimistic (all served) start, at most ten times, and the best
    replay is kept: a strong reference, not a bound.
    """
    net, periods = scenario.network, scenario.periods
    alone: Int = np.zeros((1, periods), dtype=int)
    programme = programme_of(scenario, alone, np.ones(1), serves_all=True)
    start = Start.first(scenario)
    no_orders: Float = np.zeros((periods, len(seeds), len(net.edges)))

    def plans(demand: Float) -> Float:
        found = []
        for episode in range(demand.shape[1]):
            found.append(solve(programme, demand[None, :, episode], start, seconds)[0])
        return np.stack(found, axis=1)

    def replay(orders: Float, world: Scenario = scenario) -> Episodes:
        def ordered(view: View) -> Float:
            return orders[view.t]

        return simulate(world, ordered, seeds, information="clairvoyant", draws=draws)

    nothing = replay(no_orders)
    if not scenario.demand.goodwill:
        return replay(plans(nothing.simulation.demand))
    rich = replace(scenario, network=replace(net, stock=net.stock + 1e9))
    served = replay(no_orders, rich)
    best, value = no_orders.copy(), nothing.profit.copy()
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
