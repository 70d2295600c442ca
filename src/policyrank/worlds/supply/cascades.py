"""The independent cascade on a supply network, and random networks of any size."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.worlds.supply.network import SupplyNetwork


def cascade(
    network: SupplyNetwork,
    start: Mapping[Hashable, float] | float = 0.05,
    *,
    transmit: float = 0.6,
    sweeps: bool = False,
    runs: int = 50_000,
    seed: int = 0,
) -> NDArray[np.bool_]:
    """Independent cascade: (runs, n), which nodes end up failed. Failure spreads along edges from
    source to target.

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
    n = len(network)
    initial = np.full(n, 0.05 if isinstance(start, Mapping) else float(start))
    for name, p in (start if isinstance(start, Mapping) else {}).items():
        initial[network.number(name)] = p
    chance = transmit * np.abs(network.coupling)
    for what, values in (("start", initial), ("transmit x J", chance)):
        if ((values < 0) | (values > 1)).any():
            raise EvidenceError(
                f"{what} is {values[((values < 0) | (values > 1)).argmax()]:g}: a probability lies"
                " in [0, 1]."
            )
    rng = np.random.default_rng(seed)
    failed = rng.random((runs, n)) < initial
    opens = rng.random((runs, len(chance))) < chance
    active = np.ones(runs, dtype=bool)
    for _ in range(10_000):
        if sweeps:
            opens = rng.random((runs, len(chance))) < chance
        before = failed.sum(axis=1)
        for e, (a, b) in enumerate(network.edges.tolist()):
            failed[:, b] |= failed[:, a] & opens[:, e] & active
        active &= failed.sum(axis=1) > before
        if not active.any():
            break
    return failed


def tiered(
    n: int,
    *,
    seed: int = 0,
    shocks: float = 0.02,
    convention: Literal["stable", "paper"] = "stable",
) -> SupplyNetwork:
    """A random four-tier network of any size: each node buys from one or two near ones of the tier
    above; fields .1 to .25 by tier, couplings in [.2, .9], a share of nodes shocked.
    """
    if n < 8:
        raise EvidenceError(f"n={n}: at least 8 nodes in four tiers.")
    rng = np.random.default_rng(seed)
    sizes = np.maximum(1, (n * np.array([0.05, 0.175, 0.275])).astype(int))
    tiers = np.split(np.arange(n), np.cumsum(sizes))
    edges, field = [], np.zeros(n)
    for k, tier in enumerate(tiers):
        field[tier] = 0.1 + 0.05 * k
        for place, x in enumerate(tier.tolist()):
            if k == 0:
                if place:
                    edges.append((x - 1, x, float(rng.uniform(0.2, 0.9))))
                continue
            above = tiers[k - 1]
            centre = place * len(above) // len(tier)
            for c in {centre, min(len(above) - 1, max(0, centre + int(rng.integers(-1, 2))))}:
                edges.append((int(above[c]), x, float(rng.uniform(0.2, 0.9))))
    shocked = rng.choice(n, size=max(1, int(shocks * n)), replace=False)
    return SupplyNetwork.of(
        field, edges, {int(x): float(rng.uniform(0.4, 1.5)) for x in shocked}, convention=convention
    )
