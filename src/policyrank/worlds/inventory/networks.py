"""Supply networks and demand: what an inventory scenario is made of."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyrank.errors import EvidenceError

Float = NDArray[np.float64]
Int = NDArray[np.int64]

Nodes = dict[Hashable, dict[str, float]]
Edges = dict[tuple[Hashable, Hashable], dict[str, float]]

NODE = ("stock", "holding", "capacity", "yield", "operating")
REORDER = ("lead", "price", "transit", "fixed")
MARKET = ("price", "backlog", "share")


def _number(value: Any, place: str, low: float = 0.0) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number) or number < low:
        raise EvidenceError(f"{place} is {value!r}: it is a number of at least {low:g}.")
    return number


@dataclass(frozen=True, eq=False)
class Network:
    """Who supplies whom, compiled: E reorder edges in the order of the actions, n stocking nodes, M
    markets.

    Attributes
    ----------
    names
        of the stocking nodes, in the order of the stock columns
    edges, markets
        (supplier, buyer) names; (retailer, market) names
    stock, holding, capacity, output, operating
        (n,): initial stock, holding cost a unit and period, capacity a period (inf: not a factory),
        yield, operating cost a unit of input
    supplier, buyer, lead, price, transit, fixed
        (E,): stocking node's number (-1: raw material without end), lead time in periods, price a
        unit, holding cost in transit, cost of any order
    retailer, sale, penalty, share
        (M,): stocking node's number, price, backlog penalty a unit and period, mean demand as a
        multiple of the scenario's
    """

    names: tuple[Hashable, ...]
    edges: tuple[tuple[Hashable, Hashable], ...]
    markets: tuple[tuple[Hashable, Hashable], ...]
    stock: Float
    holding: Float
    capacity: Float
    output: Float
    operating: Float
    supplier: Int
    buyer: Int
    lead: Int
    price: Float
    transit: Float
    fixed: Float
    retailer: Int
    sale: Float
    penalty: Float
    share: Float

    @classmethod
    def of(
        cls,
        nodes: Mapping[Hashable, Mapping[str, float]],
        edges: Mapping[tuple[Hashable, Hashable], Mapping[str, float]],
    ) -> Network:
        """Checked and compiled.

        Parameters
        ----------
        nodes
            stocking nodes: name -> ``stock``, ``holding`` and for a factory ``capacity``, ``yield``
            (1), ``operating`` (0). Any other name in ``edges`` is a raw material without end (it
            only supplies) or a market (it only buys)
        edges
            (from, to) -> ``lead`` (periods), ``price``, ``transit`` (0), ``fixed`` (0); to a market
            ``price``, ``backlog`` (0), ``share`` (1)

        Raises
        ------
        EvidenceError
            For unknown attributes, negative numbers, lead times that are not whole, cycles, a
            network that is not connected, nodes without supply or outlet.
        """
        for name, given in nodes.items():
            if strange := set(given) - set(NODE):
                raise EvidenceError(
                    f"node {name!r} has {sorted(strange)}: a node has {', '.join(NODE)}."
                )
        names = tuple(sorted(nodes, key=lambda x: (str(type(x)), x)))
        number = {name: k for k, name in enumerate(names)}
        buys, sells = {b for _, b in edges}, {a for a, _ in edges}
        reorder: list[tuple[Hashable, Hashable]] = []
        market: list[tuple[Hashable, Hashable]] = []
        for (a, b), given in edges.items():
            if a not in number and a in buys:
                raise EvidenceError(
                    f"{a!r} buys and supplies, so it keeps stock: name it among the nodes."
                )
            if b not in number and b in sells:
                raise EvidenceError(
                    f"{b!r} buys and supplies, so it keeps stock: name it among the nodes."
                )
            to_market = b not in number
            if a not in number and to_market:
                raise EvidenceError(f"edge {a!r} -> {b!r} touches no stocking node.")
            allowed = MARKET if to_market else REORDER
            if strange := set(given) - set(allowed):
                raise EvidenceError(
                    f"edge {a!r} -> {b!r} has {sorted(strange)}: it has {', '.join(allowed)}."
                )
            (market if to_market else reorder).append((a, b))
        if not market:
            raise EvidenceError("no market: at least one edge must lead to a node that only buys.")
        for name in names:
            if name not in buys or name not in sells:
                raise EvidenceError(
                    f"node {name!r} has no {'supplier' if name not in buys else 'outlet'}."
                )
        _check_graph([*edges])

        def of_node(key: str, default: float, low: float = 0.0) -> Float:
            return np.array(
                [_number(nodes[x].get(key, default), f"{key} of node {x!r}", low) for x in names]
            )

        def of_edges(part: Sequence[tuple[Hashable, Hashable]], key: str, default: float) -> Float:
            return np.array(
                [
                    _number(edges[e].get(key, default), f"{key} of edge {e[0]!r} -> {e[1]!r}")
                    for e in part
                ]
            )

        lead = of_edges(reorder, "lead", 0)
        if (lead != np.round(lead)).any():
            raise EvidenceError(
                f"lead of edge {reorder[int((lead != np.round(lead)).argmax())]} is not whole: lead"
                " times are counted in periods."
            )
        return cls(
            names,
            tuple(reorder),
            tuple(market),
            of_node("stock", 0),
            of_node("holding", 0),
            of_node("capacity", math.inf),
            of_node("yield", 1, 1e-9),
            of_node("operating", 0),
            np.array([number.get(a, -1) for a, _ in reorder], dtype=np.int64),
            np.array([number[b] for _, b in reorder], dtype=np.int64),
            lead.astype(int),
            of_edges(reorder, "price", 0),
            of_edges(reorder, "transit", 0),
            of_edges(reorder, "fixed", 0),
            np.array([number[a] for a, _ in market], dtype=np.int64),
            of_edges(market, "price", 0),
            of_edges(market, "backlog", 0),
            of_edges(market, "share", 1),
        )

    @classmethod
    def read(cls, path: str | Path) -> Network:
        """From a TOML file: a table ``[nodes.NAME]`` a stocking node, and ``[[edges]]`` with
        ``from``, ``to`` and the attributes of ``of``.

        Raises
        ------
        EvidenceError
            As ``of``, naming the file.
        """
        try:
            given = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise EvidenceError(f"{path}: {error.strerror}.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise EvidenceError(f"{path} is no TOML: {error}.") from error
        if strange := set(given) - {"nodes", "edges"}:
            raise EvidenceError(f"{path} has {sorted(strange)}: a network has nodes and edges.")
        edges: Edges = {}
        for k, row in enumerate(given.get("edges", [])):
            if not {"from", "to"} <= set(row):
                raise EvidenceError(f"{path}: edge {k + 1} has no from or no to.")
            edge = (row.pop("from"), row.pop("to"))
            if edge in edges:
                raise EvidenceError(f"{path}: edge {edge[0]!r} -> {edge[1]!r} is there twice.")
            edges[edge] = row
        try:
            return cls.of(given.get("nodes", {}), edges)
        except EvidenceError as error:
            raise EvidenceError(f"{path}: {error}") from None

    @cached_property
    def incoming(self) -> tuple[Int, ...]:
        """Of each node, its reorder edges."""
        return tuple(np.flatnonzero(self.buyer == j) for j in range(len(self.names)))

    @cached_property
    def below(self) -> NDArray[np.bool_]:
        """(n, n): j is i or is supplied by it, directly or not."""
        n = len(self.names)
        reach = np.eye(n, dtype=bool)
        inner = self.supplier >= 0
        reach[self.supplier[inner], self.buyer[inner]] = True
        for _ in range(n.bit_length()):
            reach = (reach.astype(int) @ reach) > 0
        return reach

    @cached_property
    def serves(self) -> NDArray[np.bool_]:
        """(n, M): the node's goods reach the market."""
        return self.below[:, self.retailer]

    @cached_property
    def longest_lead(self) -> Int:
        """(n,): the longest lead time of a node's suppliers."""
        return np.array([self.lead[e].max(initial=0) for e in self.incoming])

    @cached_property
    def lead_below(self) -> Int:
        """(n,): the longest way from the node to a market, in periods."""
        far = np.zeros(len(self.names), dtype=int)
        inner = np.flatnonzero(self.supplier >= 0)
        for _ in self.names:
            for e in inner:
                far[self.supplier[e]] = max(
                    far[self.supplier[e]], self.lead[e] + far[self.buyer[e]]
                )
        return far

    @property
    def largest_order(self) -> float:
        """The bound of an order that the published environment has: the largest initial stock plus
        thirty periods of the largest capacity.
        """
        finite = self.capacity[np.isfinite(self.capacity)]
        return float(self.stock.max() + finite.max(initial=0.0) * 30)


def _check_graph(edges: list[tuple[Hashable, Hashable]]) -> None:
    nodes = {x for e in edges for x in e}
    left, waiting = list(edges), set(nodes)
    while waiting:
        free = waiting - {b for _, b in left}
        if not free:
            raise EvidenceError(f"the network has a cycle among {sorted(map(str, waiting))}.")
        waiting -= free
        left = [(a, b) for a, b in left if a not in free]
    seen: set[Hashable] = set()
    front = [next(iter(edges))[0]]
    while front:
        x = front.pop()
        seen.add(x)
        front += [y for a, b in edges for y in (a, b) if x in (a, b) and y not in seen]
    if seen != nodes:
        raise EvidenceError(
            f"the network is not connected: {sorted(map(str, nodes - seen))} cannot be reached from"
            " the rest."
        )


def serial() -> Network:
    """Factory, distributor and retailer in line: the paper's serial chain."""
    nodes: Nodes = {
        1: {"stock": 100, "holding": 0.03},
        2: {"stock": 100, "holding": 0.02},
        3: {"stock": 200, "holding": 0.01, "capacity": 100, "operating": 0.01},
    }
    edges: Edges = {
        (1, 0): {"price": 2, "backlog": 0.1},
        (2, 1): {"lead": 4, "price": 1.5, "transit": 0.01},
        (3, 2): {"lead": 4, "price": 1, "transit": 0.005},
        (4, 3): {"lead": 0, "price": 0.5},
    }
    return Network.of(nodes, edges)


def base() -> Network:
    """Three factories, two distributors, one retailer, each with a choice of suppliers: the paper's
    network of Perez et al. (2021).
    """
    factory = ("stock", "holding", "capacity", "operating")
    nodes: Nodes = {
        1: {"stock": 100, "holding": 0.03},
        2: {"stock": 110, "holding": 0.02},
        3: {"stock": 80, "holding": 0.015},
    }
    nodes |= {
        4: dict(zip(factory, (400, 0.012, 90, 0.01), strict=True)),
        5: dict(zip(factory, (350, 0.013, 90, 0.015), strict=True)),
        6: dict(zip(factory, (380, 0.011, 80, 0.012), strict=True)),
    }
    table = {
        (2, 1): (5, 1.5, 0.01),
        (3, 1): (3, 1.6, 0.015),
        (4, 2): (8, 1, 0.008),
        (4, 3): (10, 0.8, 0.006),
        (5, 2): (9, 0.7, 0.005),
        (6, 2): (11, 0.75, 0.007),
        (6, 3): (12, 0.8, 0.004),
        (7, 4): (0, 0.15, 0),
        (7, 5): (1, 0.05, 0.005),
        (8, 5): (2, 0.07, 0.002),
        (8, 6): (0, 0.2, 0),
    }
    edges: Edges = {(1, 0): {"price": 2, "backlog": 0.1}}
    edges |= {e: dict(zip(("lead", "price", "transit"), x, strict=True)) for e, x in table.items()}
    return Network.of(nodes, edges)


def divergent() -> Network:
    """One factory, one warehouse, three retailers of different size: prices and costs of the serial
    chain, demand split .5, .3, .2.
    """
    nodes: Nodes = {
        "factory": {"stock": 200, "holding": 0.01, "capacity": 100, "operating": 0.01},
        "warehouse": {"stock": 100, "holding": 0.02},
    }
    edges: Edges = {
        ("raw", "factory"): {"lead": 0, "price": 0.5},
        ("factory", "warehouse"): {"lead": 4, "price": 1, "transit": 0.005},
    }
    for name, share, lead in (("large", 0.5, 2), ("middle", 0.3, 4), ("small", 0.2, 6)):
        nodes[name] = {"stock": round(200 * share), "holding": 0.03}
        edges["warehouse", name] = {"lead": lead, "price": 1.5, "transit": 0.01}
        edges[name, f"customers of {name}"] = {"price": 2, "backlog": 0.1, "share": share}
    return Network.of(nodes, edges)


NETWORKS = {"base": base, "serial": serial, "divergent": divergent}


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
        _number(self.base, "base demand")
        _number(self.noise, "noise")
        _number(self.shock, "shock")
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
            for t, x in enumerate(self.series):
                _number(x, f"demand series at period {t}")

    def mean(self, t: ArrayLike) -> Float:
        """Mean of periods t, before goodwill."""
        when = np.asarray(t, dtype=float)
        mu = (
            np.full(when.shape, float(self.base))
            if self.series is None
            else np.array(self.series)[np.minimum(when.astype(int), len(self.series) - 1)]
        )
        if self.slope:
            mu = mu * (1 + self.slope * when)
        if self.amplitude:
            mu = mu * (1 + self.amplitude * np.sin(2 * np.pi / self.cycle * when))
        if self.shock != 1:
            mu = np.where(when >= self.shock_at, mu * self.shock, mu)
        return mu

    @property
    def least(self) -> float:
        """What the mean never falls below."""
        return 0.0 if self.series is not None else 0.1


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
    label = "network"
    if isinstance(network, str):
        label = network if network in NETWORKS else Path(network).stem
        if network not in NETWORKS and not network.endswith(".toml"):
            raise EvidenceError(
                f"network={network!r}: use one of {', '.join(NETWORKS)}, a TOML file, or a Network."
            )
        network = NETWORKS[network]() if network in NETWORKS else Network.read(network)
    parts = [label, regime, "goodwill" if goodwill else "", "backlog" if backlog else "lost sales"]
    drawn = Demand(**{**REGIMES[regime], **demand}, goodwill=goodwill)
    return Scenario(network, drawn, backlog, periods, name=", ".join(filter(None, parts)))


def core_grid(
    series: Sequence[float] | None = None, networks: Sequence[str] = ("base", "serial")
) -> dict[str, Scenario]:
    """The published grid: 2 networks x 2 regimes x goodwill x backlog or lost sales, the stationary
    ones, and with a demand series (a Walmart M5 window) one more a network: 20 or 22.
    """
    found = [
        scenario(n, r, goodwill=g, backlog=b)
        for n in networks
        for r in ("trend+seasonal", "trend+seasonal+shock")
        for g in (False, True)
        for b in (False, True)
    ]
    found += [scenario(n, backlog=b) for n in networks for b in (False, True)]
    if series is not None:
        found += [
            replace(scenario(n, series=tuple(series), noise=0.0), name=f"{n}, series, backlog")
            for n in networks
        ]
    return {s.name: s for s in found}
