"""The independent cascade on a supply network, and random networks of any size."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.worlds.supply.cores import Int
from policyrank.worlds.supply.network import Convention, Float, SupplyNetwork


def cascade(
    network: SupplyNetwork,
    start: Mapping[Hashable, float] | float = 0.05,
    *,
    transmit: float = 0.6,
    sweeps: bool = False,
    runs: int = 50_000,
    seed: int = 0,
) -> NDArray[np.bool_]:
    """Independent cascade: (runs, n), which nodes end up failed.

    Failure spreads along edges from source to target.

    Parameters
    ----------
    start
        probability of failing at the beginning: of some nodes (.05 for the others), or of all
    transmit
        a failed source takes its target with it with probability transmit x J
    sweeps
        False: each edge has one chance. True: as published, again in each sweep, until a sweep
        changes nothing (which favours long sweeps)
    """
    initial = _initial(network, start)
    chance = transmit * np.abs(network.coupling)
    for what, values in (("start", initial), ("transmit x J", chance)):
        bad = (values < 0) | (values > 1)
        if bad.any():
            raise EvidenceError(
                f"{what} is {values[bad.argmax()]:g}: a probability lies in [0, 1]."
            )
    rng = np.random.default_rng(seed)
    failed = rng.random((runs, len(initial))) < initial
    opens = rng.random((runs, len(chance))) < chance
    active = np.ones(runs, dtype=bool)
    for _ in range(10_000):
        if sweeps:
            opens = rng.random((runs, len(chance))) < chance
        before = failed.sum(axis=1)
        for edge, (source, target) in enumerate(network.edges.tolist()):
            failed[:, target] |= failed[:, source] & opens[:, edge] & active
        active &= failed.sum(axis=1) > before
        if not active.any():
            break
    return failed


def _initial(network: SupplyNetwork, start: Mapping[Hashable, float] | float) -> Float:
    """(n,): the chance that a node fails at the beginning."""
    if not isinstance(start, Mapping):
        return np.full(len(network), float(start))
    found = np.full(len(network), 0.05)
    for name, chance in start.items():
        found[network.number(name)] = chance
    return found


def tiered(
    n: int,
    *,
    seed: int = 0,
    shocks: float = 0.02,
    convention: Convention = "stable",
) -> SupplyNetwork:
    """A random four-tier network of any size.

    Each node buys from one or two near ones of the tier above; fields are .1 to .25 by tier,
    couplings in [.2, .9], a share of nodes is shocked.
    """
    if n < 8:
        raise EvidenceError(f"n={n}: at least 8 nodes in four tiers.")
    rng = np.random.default_rng(seed)
    sizes = np.maximum(1, (n * np.array([0.05, 0.175, 0.275])).astype(int))
    tiers = np.split(np.arange(n), np.cumsum(sizes))
    edges, field = [], np.zeros(n)
    for level, tier in enumerate(tiers):
        field[tier] = 0.1 + 0.05 * level
        for place, node in enumerate(tier.tolist()):
            if level == 0:
                suppliers = [node - 1] if place else []
            else:
                suppliers = _suppliers(tiers[level - 1], place, len(tier), rng)
            for supplier in suppliers:
                edges.append((supplier, node, float(rng.uniform(0.2, 0.9))))
    shocked = rng.choice(n, size=max(1, int(shocks * n)), replace=False)
    shock: dict[Hashable, float] = {int(node): float(rng.uniform(0.4, 1.5)) for node in shocked}
    return SupplyNetwork.of(field, edges, shock, convention=convention)


def _suppliers(above: Int, place: int, count: int, rng: np.random.Generator) -> list[int]:
    """One or two nodes of the tier above, near the buyer's place among so many."""
    centre = place * len(above) // count
    beside = centre + int(rng.integers(-1, 2))
    places = {centre, min(len(above) - 1, max(0, beside))}
    return [int(above[one]) for one in places]
