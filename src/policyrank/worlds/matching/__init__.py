"""Online matching with stochastic rewards: which waiting vertex gets each arrival.

A match succeeds only with a probability. Offline vertices u wait, online ones arrive in order and
are matched to one waiting neighbour or to none; the match succeeds with probability p_uv, and then
u leaves with its weight; if it fails, the arrival is lost and u stays. Policies see the arrivals
one by one; benchmarks know the sequence, not the coins. Huang et al. (2023), arXiv 2309.10289;
Mehta and Panigrahi (2012)."""

from policyrank._rooms import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
