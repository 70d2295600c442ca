from .bounds import Benchmark as Benchmark
from .bounds import bound as bound
from .bounds import optimum as optimum
from .instances import Matching as Matching
from .instances import random_bipartite as random_bipartite
from .instances import upper_triangular as upper_triangular
from .rules import RULES as RULES
from .rules import Offer as Offer
from .rules import Rule as Rule
from .rules import balance as balance
from .rules import evidence as evidence
from .rules import exact_value as exact_value
from .rules import greedy as greedy
from .rules import last as last
from .rules import least_load as least_load
from .rules import random as random
from .rules import ranking as ranking
from .rules import simulate as simulate
from .search import competitive_ratio as competitive_ratio
from .search import worst_instance as worst_instance

__all__ = [
    "RULES",
    "Benchmark",
    "Matching",
    "Offer",
    "Rule",
    "balance",
    "bound",
    "competitive_ratio",
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
