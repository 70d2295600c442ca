"""Supply networks: who supplies whom, at what price and in how many periods."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence.settings_files import read_settings, refuse_others, table_in

Float = NDArray[np.float64]
Int = NDArray[np.int64]

Edge = tuple[Hashable, Hashable]
Attributes = Mapping[str, float]
Nodes = dict[Hashable, dict[str, float]]
Edges = dict[Edge, dict[str, float]]

NODE = {"stock": 0.0, "holding": 0.0, "capacity": math.inf, "yield": 1.0, "operating": 0.0}
REORDER = {"lead": 0.0, "price": 0.0, "transit": 0.0, "fixed": 0.0}
MARKET = {"price": 0.0, "backlog": 0.0, "share": 1.0}
LEAST = {"yield": 1e-9}
"""Allowed attributes with their defaults; a yield of 0 would need endless input."""
MOST = 1e15
LARGEST = {"capacity": math.inf, "lead": 10_000.0}
"""The largest number of anything, of which single units are still told apart, and exceptions: what
is on its way is kept period by period.
"""


def number_at_least(value: Any, place: str, low: float = 0.0, most: float = MOST) -> float:
    """The value as a number; otherwise an error that names its place. Texts and truths are none."""
    number = math.nan
    if not isinstance(value, (bool, str)):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
    if number > most:
        raise EvidenceError(f"{place} is {value!r}: it is at most {most:g}.")
    if not number >= low:
        raise EvidenceError(f"{place} is {value!r}: it is a number of at least {low:g}.")
    return number


@dataclass(frozen=True, eq=False)
class Network:
    """Who supplies whom, compiled.

    There are E reorder edges in the order of the actions, n stocking nodes and M markets.

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
    published
        whether it is one of ``NETWORKS``, whose orders the published environment bounds
    """

    names: tuple[Hashable, ...]
    edges: tuple[Edge, ...]
    markets: tuple[Edge, ...]
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
    published: bool = False

    @classmethod
    def of(
        cls,
        nodes: Mapping[Hashable, Attributes],
        edges: Mapping[Edge, Attributes],
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
        names = tuple(sorted(nodes, key=_by_type_and_name))
        node = _columns({name: nodes[name] for name in names}, NODE, _node_text)
        orders, sales = _split_edges(edges, nodes)
        order = _columns(orders, REORDER, _edge_text)
        sale = _columns(sales, MARKET, _edge_text)
        _check_outlets(names, edges)
        _check_acyclic(edges)
        _check_connected(edges)
        _check_whole(order["lead"], tuple(orders))
        number = {name: k for k, name in enumerate(names)}
        return cls(
            names=names,
            edges=tuple(orders),
            markets=tuple(sales),
            stock=node["stock"],
            holding=node["holding"],
            capacity=node["capacity"],
            output=node["yield"],
            operating=node["operating"],
            supplier=np.array([number.get(giver, -1) for giver, _ in orders], dtype=np.int64),
            buyer=np.array([number[taker] for _, taker in orders], dtype=np.int64),
            lead=order["lead"].astype(int),
            price=order["price"],
            transit=order["transit"],
            fixed=order["fixed"],
            retailer=np.array([number[giver] for giver, _ in sales], dtype=np.int64),
            sale=sale["price"],
            penalty=sale["backlog"],
            share=sale["share"],
        )

    @classmethod
    def read(cls, path: str | Path) -> Network:
        """From a TOML file.

        It has a table ``[nodes.NAME]`` a stocking node, and ``[[edges]]`` with ``from``, ``to`` and
        the attributes of ``of``.

        Raises
        ------
        EvidenceError
            As ``of``, naming the file.
        """
        given = read_settings(path)
        refuse_others(given, ("nodes", "edges"), f"{path}: a network")
        nodes: Any = table_in(given.get("nodes", {}), f"{path}: nodes")
        for name, row in nodes.items():
            table_in(row, f"{path}: {_node_text(name)}")
        rows = given.get("edges", [])
        if not isinstance(rows, list):
            raise EvidenceError(f"{path}: edges are no list. Write [[edges]] before each.")
        edges: Edges = {}
        for place, found in enumerate(rows, start=1):
            row = dict(table_in(found, f"{path}: edge {place}"))
            edge = (row.pop("from", None), row.pop("to", None))
            if not all(isinstance(end, str) and end for end in edge):
                raise EvidenceError(f"{path}: edge {place}: from and to are names of nodes.")
            if edge in edges:
                raise EvidenceError(f"{path}: edge {edge[0]!r} -> {edge[1]!r} is there twice.")
            edges[edge] = row
        try:
            return cls.of(nodes, edges)
        except EvidenceError as error:
            raise EvidenceError(f"{path}: {error}") from None

    @cached_property
    def incoming(self) -> tuple[Int, ...]:
        """Of each node, its reorder edges."""
        return tuple(np.flatnonzero(self.buyer == node) for node in range(len(self.names)))

    @cached_property
    def below(self) -> NDArray[np.bool_]:
        """(n, n): j is i or is supplied by it, directly or not."""
        count = len(self.names)
        reach = np.eye(count, dtype=bool)
        inner = self.supplier >= 0
        reach[self.supplier[inner], self.buyer[inner]] = True
        for _ in range(count.bit_length()):
            reach = (reach.astype(int) @ reach) > 0
        return reach

    @cached_property
    def serves(self) -> NDArray[np.bool_]:
        """(n, M): the node's goods reach the market."""
        return self.below[:, self.retailer]

    @cached_property
    def longest_lead(self) -> Int:
        """(n,): the longest lead time of a node's suppliers."""
        return np.array([self.lead[edges].max(initial=0) for edges in self.incoming])

    @cached_property
    def lead_below(self) -> Int:
        """(n,): the longest way from the node to a market, in periods."""
        far = np.zeros(len(self.names), dtype=int)
        inner = np.flatnonzero(self.supplier >= 0)
        for _ in self.names:
            for edge in inner:
                supplier = self.supplier[edge]
                way = self.lead[edge] + far[self.buyer[edge]]
                far[supplier] = max(far[supplier], way)
        return far

    @property
    def published_bound(self) -> float:
        """The bound of an order that the published environment has.

        It is the largest initial stock plus thirty periods of the largest capacity.
        """
        finite = self.capacity[np.isfinite(self.capacity)]
        return float(self.stock.max() + finite.max(initial=0.0) * 30)


def _by_type_and_name(name: Any) -> tuple[str, Any]:
    return str(type(name)), name


def _node_text(name: Hashable) -> str:
    return f"node {name!r}"


def _edge_text(edge: Edge) -> str:
    return f"edge {edge[0]!r} -> {edge[1]!r}"


def _columns(
    rows: Mapping[Any, Attributes], defaults: Attributes, text: Callable[[Any], str]
) -> dict[str, Float]:
    """A column for each attribute; what a row does not give has its default."""
    found = {key: np.full(len(rows), default) for key, default in defaults.items()}
    for place, (row, given) in enumerate(rows.items()):
        if strange := set(given) - set(defaults):
            allowed = ", ".join(defaults)
            raise EvidenceError(f"{text(row)} has {sorted(strange)}: it has {allowed}.")
        for key, value in given.items():
            where = f"{key} of {text(row)}"
            most = LARGEST.get(key, MOST)
            found[key][place] = number_at_least(value, where, LEAST.get(key, 0.0), most)
    return found


def _split_edges(
    edges: Mapping[Edge, Attributes], nodes: Collection[Hashable]
) -> tuple[dict[Edge, Attributes], dict[Edge, Attributes]]:
    """Reorder edges, and those that lead to a market."""
    buyers, suppliers = {taker for _, taker in edges}, {giver for giver, _ in edges}
    orders: dict[Edge, Attributes] = {}
    sales: dict[Edge, Attributes] = {}
    for (giver, taker), given in edges.items():
        for end in (giver, taker):
            if end not in nodes and end in buyers and end in suppliers:
                raise EvidenceError(
                    f"{end!r} buys and supplies, so it keeps stock: name it among the nodes."
                )
        if giver not in nodes and taker not in nodes:
            raise EvidenceError(f"edge {giver!r} -> {taker!r} touches no stocking node.")
        part = orders if taker in nodes else sales
        part[giver, taker] = given
    if not sales:
        raise EvidenceError("no market: at least one edge must lead to a node that only buys.")
    return orders, sales


def _check_outlets(names: Collection[Hashable], edges: Collection[Edge]) -> None:
    buyers, suppliers = {taker for _, taker in edges}, {giver for giver, _ in edges}
    for name in names:
        if name not in buyers:
            raise EvidenceError(f"node {name!r} has no supplier.")
        if name not in suppliers:
            raise EvidenceError(f"node {name!r} has no outlet.")


def _check_acyclic(edges: Collection[Edge]) -> None:
    waiting = _ends(edges)
    left = list(edges)
    while waiting:
        free = waiting - {taker for _, taker in left}
        if not free:
            raise EvidenceError(f"the network has a cycle among {sorted(map(str, waiting))}.")
        waiting -= free
        left = [edge for edge in left if edge[0] not in free]


def _check_connected(edges: Collection[Edge]) -> None:
    near: dict[Hashable, set[Hashable]] = {end: set() for end in _ends(edges)}
    for giver, taker in edges:
        near[giver].add(taker)
        near[taker].add(giver)
    seen: set[Hashable] = set()
    front = {next(iter(edges))[0]}
    while front:
        seen |= front
        front = set().union(*(near[end] for end in front)) - seen
    if apart := set(near) - seen:
        raise EvidenceError(
            f"the network is not connected: {sorted(map(str, apart))} cannot be reached from"
            " the rest."
        )


def _check_whole(lead: Float, edges: tuple[Edge, ...]) -> None:
    broken = np.flatnonzero(lead != np.round(lead))
    if len(broken):
        raise EvidenceError(
            f"lead of edge {edges[broken[0]]} is not whole: lead times are counted in periods."
        )


def _ends(edges: Collection[Edge]) -> set[Hashable]:
    return {end for edge in edges for end in edge}


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
    return replace(Network.of(nodes, edges), published=True)


def base() -> Network:
    """The paper's network of Perez et al. (2021).

    Three factories, two distributors, one retailer, each with a choice of suppliers.
    """
    nodes: Nodes = {
        1: {"stock": 100, "holding": 0.03},
        2: {"stock": 110, "holding": 0.02},
        3: {"stock": 80, "holding": 0.015},
        4: {"stock": 400, "holding": 0.012, "capacity": 90, "operating": 0.01},
        5: {"stock": 350, "holding": 0.013, "capacity": 90, "operating": 0.015},
        6: {"stock": 380, "holding": 0.011, "capacity": 80, "operating": 0.012},
    }
    lead_price_transit = {
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
    for edge, (lead, price, transit) in lead_price_transit.items():
        edges[edge] = {"lead": lead, "price": price, "transit": transit}
    return replace(Network.of(nodes, edges), published=True)


def divergent() -> Network:
    """One factory, one warehouse, three retailers of different size.

    Prices and costs are those of the serial chain, demand is split .5, .3, .2.
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
    return replace(Network.of(nodes, edges), published=True)


NETWORKS = {"base": base, "serial": serial, "divergent": divergent}
