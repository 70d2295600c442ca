"""Supply chain: risk of a correlated network, interventions ranked by what they change.

A node is stable or stressed; neighbours are alike; shocked nodes waver (a transverse field). Exact
ground state, partition function, marginals, failure counts and tails by variable elimination.
Chongder (2026), arXiv 2604.00035 (QR-SPPS), whose Hamiltonian this is."""

from policyrank._rooms import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
