"""Demand and scenarios: a network, its customers, what becomes of unmet demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from policyrank.errors import EvidenceError
from policyrank.evidence.base import named_once
from policyrank.worlds.inventory.networks import NETWORKS, Float, Network, number_at_least


@dataclass(frozen=True)
class Demand:
    """Mean and noise of what customers want.

    D_t = max(0, mu_t + noise (N - mu_t)), N ~ Poisson(mu_t); mu_t = base x (1 + slope t) x (1 +
    amplitude sin(2 pi t / cycle)) x (shock from ``shock_at`` on) x goodwill.

    Attributes
    ----------
    base
        mean a period
    slope, amplitude, shock
        0, 0, 1: none of it
    series
        takes the place of ``base``, period by period; its last value stays on
    goodwill
        the mean falls by ``decay`` after each period with unmet demand, rises by ``growth`` after
        each other one, between ``floor`` and ``cap``
    """

    base: float = 20.0
    slope: float = 0.0
    amplitude: float = 0.0
    cycle: float = 30.0
    shock: float = 1.0
    shock_at: int = 15
    noise: float = 1.0
    series: tuple[float, ...] | None = None
    goodwill: bool = False
    growth: float = 1.01
    decay: float = 0.9
    floor: float = 0.2
    cap: float = 2.0

    def __post_init__(self) -> None:
        number_at_least(self.base, "base demand")
        number_at_least(self.noise, "noise")
        number_at_least(self.shock, "shock")
        if not 0 <= self.amplitude <= 1:
            raise EvidenceError(
                f"amplitude={self.amplitude}: it lies in [0, 1], or demand would be negative."
            )
        if self.slope * 29 <= -1:
            raise EvidenceError(f"slope={self.slope}: demand would be negative within 30 periods.")
        if not 0 < self.floor <= self.cap or not 0 < self.decay <= 1 <= self.growth:
            raise EvidenceError("goodwill needs 0 < floor <= cap and decay <= 1 <= growth.")
        if self.series is not None:
            if not len(self.series):
                raise EvidenceError("the demand series is empty.")
            for period, value in enumerate(self.series):
                number_at_least(value, f"demand series at period {period}")

    def mean(self, t: ArrayLike) -> Float:
        """Mean of periods t, before goodwill."""
        when = np.asarray(t, dtype=float)
        mu = self._level(when)
        if self.slope:
            mu = mu * (1 + self.slope * when)
        if self.amplitude:
            mu = mu * (1 + self.amplitude * np.sin(2 * np.pi / self.cycle * when))
        if self.shock != 1:
            mu = np.where(when >= self.shock_at, mu * self.shock, mu)
        return mu

    def _level(self, when: Float) -> Float:
        """Base or series, before trend, season and shock."""
        if self.series is None:
            return np.full(when.shape, float(self.base))
        return np.array(self.series)[np.minimum(when.astype(int), len(self.series) - 1)]

    @property
    def least(self) -> float:
        """What the mean never falls below."""
        if self.series is None:
            return 0.1
        return 0.0


REGIMES: dict[str, dict[str, float]] = {
    "stationary": {},
    "trend": {"slope": 0.05},
    "seasonal": {"amplitude": 0.5},
    "shock": {"shock": 2.0},
    "trend+seasonal": {"slope": 0.05, "amplitude": 0.5},
    "trend+seasonal+shock": {"slope": 0.05, "amplitude": 0.5, "shock": 2.0},
}


@dataclass(frozen=True, eq=False)
class Scenario:
    """A network, its demand, what becomes of unmet demand, for how long."""

    network: Network
    demand: Demand = field(default_factory=Demand)
    backlog: bool = True
    periods: int = 30
    discount: float = 1.0
    name: str = ""

    def __post_init__(self) -> None:
        if self.periods < 1:
            raise EvidenceError(f"periods={self.periods}: at least one.")
        if not 0 < self.discount <= 1:
            raise EvidenceError(f"discount={self.discount}: it lies in (0, 1].")

    @cached_property
    def largest_order(self) -> float:
        """The bound of an order in the spaces of the environments.

        The published environment's on its networks; elsewhere what all customers want in thirty
        periods of the largest mean demand, yields counted. Nothing else is bounded by it.
        """
        net = self.network
        if net.published:
            return net.published_bound
        peak = self.demand.mean(np.arange(self.periods)).max() * net.share.sum()
        wanted = 30 * peak * max(self.demand.cap, 1.0) / net.output.min()
        return float(max(net.published_bound, wanted))


def scenario(
    network: str | Network = "serial",
    regime: str = "stationary",
    *,
    backlog: bool = True,
    goodwill: bool = False,
    periods: int = 30,
    **demand: Any,
) -> Scenario:
    """A scenario by name.

    Parameters
    ----------
    network
        of ``NETWORKS``, a TOML file (see ``Network.read``), or one of your own
    regime
        of ``REGIMES``: the published trend of 5% a period, the season of 50%, the shock that
        doubles demand from period 15 on
    demand
        further settings of ``Demand``
    """
    if regime not in REGIMES:
        raise EvidenceError(f"regime={regime!r}: use one of {', '.join(REGIMES)}.")
    label, found = _named(network)
    parts = [label, regime]
    if goodwill:
        parts.append("goodwill")
    parts.append("backlog" if backlog else "lost sales")
    drawn = Demand(**{**REGIMES[regime], **demand}, goodwill=goodwill)
    return Scenario(found, drawn, backlog, periods, name=", ".join(parts))


def _named(network: str | Network) -> tuple[str, Network]:
    """A network and what it is called."""
    if isinstance(network, Network):
        return "network", network
    if network in NETWORKS:
        return network, NETWORKS[network]()
    if not network.endswith(".toml"):
        raise EvidenceError(
            f"network={network!r}: use one of {', '.join(NETWORKS)}, a TOML file, or a Network."
        )
    return Path(network).stem, Network.read(network)


def core_grid(
    series: Sequence[float] | None = None, networks: Sequence[str] = ("base", "serial")
) -> dict[str, Scenario]:
    """The published grid of 20 or 22 scenarios.

    2 networks x 2 regimes x goodwill x backlog or lost sales, the stationary ones, and with a
    demand series (a Walmart M5 window) one more a network.
    """
    both = (False, True)
    regimes = ("trend+seasonal", "trend+seasonal+shock")
    found = []
    for network, regime, goodwill, backlog in product(networks, regimes, both, both):
        found.append(scenario(network, regime, goodwill=goodwill, backlog=backlog))
    for network, backlog in product(networks, both):
        found.append(scenario(network, backlog=backlog))
    if series is not None:
        for network in networks:
            replayed = scenario(network, series=tuple(series), noise=0.0)
            found.append(replace(replayed, name=f"{network}, series, backlog"))
    return named_once(((one.name, one) for one in found), "scenario")
