"""Supply chain: risk of a correlated network, interventions ranked by what they change.

A node is stable or stressed; neighbours are alike; shocked nodes waver (a transverse field). Exact
ground state, partition function, marginals, failure counts and tails by variable elimination.
Chongder (2026), arXiv 2604.00035 (QR-SPPS), whose Hamiltonian this is.
"""

from policyrank.worlds.supply.cascades import cascade, tiered
from policyrank.worlds.supply.interventions import (
    Intervention,
    Score,
    evidence,
    first_order,
    perturbed,
    rank_interventions,
    score,
    second_order,
)
from policyrank.worlds.supply.network import SupplyNetwork, independent, tail_probability

__all__ = [
    "Intervention",
    "Score",
    "SupplyNetwork",
    "cascade",
    "evidence",
    "first_order",
    "independent",
    "perturbed",
    "rank_interventions",
    "score",
    "second_order",
    "tail_probability",
    "tiered",
]
