from .bounds import Benchmark as Benchmark, bound as bound, optimum as optimum
from .columns import configuration_lp as configuration_lp
from .instances import (
    Matching as Matching,
    random_bipartite as random_bipartite,
    upper_triangular as upper_triangular,
)
from .rules import (
    RULES as RULES,
    Offer as Offer,
    Rule as Rule,
    balance as balance,
    evidence as evidence,
    exact_value as exact_value,
    greedy as greedy,
    last as last,
    least_load as least_load,
    random as random,
    ranking as ranking,
    simulate as simulate,
)
from .search import competitive_ratio as competitive_ratio, worst_instance as worst_instance

__all__ = [
    "RULES",
    "Benchmark",
    "Matching",
    "Offer",
    "Rule",
    "balance",
    "bound",
    "competitive_ratio",
    "configuration_lp",
    "evidence",
    "exact_value",
    "greedy",
    "last",
    "least_load",
    "optimum",
    "random",
    "random_bipartite",
    "ranking",
    "simulate",
    "upper_triangular",
    "worst_instance",
]
