from .aggregates import aggregate as aggregate
from .bradley_terry_fit import bradley_terry as bradley_terry, thurstone as thurstone
from .choice_fit import luce_choice as luce_choice
from .choose import (
    applicable as applicable,
    compare as compare,
    default_method as default_method,
    rank as rank,
)
from .committee_rules import COMMITTEE_RULES as COMMITTEE_RULES
from .committees import (
    Committee as Committee,
    committee_score as committee_score,
    required_rankings as required_rankings,
    select as select,
)
from .condorcet import soft_condorcet as soft_condorcet
from .consensus import kemeny as kemeny, kemeny_order as kemeny_order
from .diagnostics import connectivity as connectivity, cyclicity as cyclicity
from .equilibria import (
    max_entropy_equilibrium as max_entropy_equilibrium,
    maximal_lotteries as maximal_lotteries,
    nash_averaging as nash_averaging,
)
from .game_bounds import (
    AlphaRankBounds as AlphaRankBounds,
    alpha_rank_bounds as alpha_rank_bounds,
)
from .games import AlphaRank as AlphaRank, alpha_rank as alpha_rank, alpharank as alpharank
from .hidden_tasks import task_mixture as task_mixture
from .methods import METHODS as METHODS, Method as Method
from .online import elo as elo
from .plackett_luce_fit import plackett_luce as plackett_luce
from .run_off import instant_runoff as instant_runoff
from .score_profiles import (
    PerformanceProfiles as PerformanceProfiles,
    optimality_gap as optimality_gap,
    performance_profiles as performance_profiles,
)
from .tasks import bradley_terry_by_task as bradley_terry_by_task
from .tournament import (
    copeland as copeland,
    minimax as minimax,
    ranked_pairs as ranked_pairs,
    schulze as schulze,
)
from .voting import approval as approval, borda as borda, plurality as plurality
from .win_graphs import eigenvector as eigenvector, pagerank as pagerank

__all__ = [
    "COMMITTEE_RULES",
    "METHODS",
    "AlphaRank",
    "AlphaRankBounds",
    "Committee",
    "Method",
    "PerformanceProfiles",
    "aggregate",
    "alpha_rank",
    "alpha_rank_bounds",
    "alpharank",
    "applicable",
    "approval",
    "borda",
    "bradley_terry",
    "bradley_terry_by_task",
    "committee_score",
    "compare",
    "connectivity",
    "copeland",
    "cyclicity",
    "default_method",
    "eigenvector",
    "elo",
    "instant_runoff",
    "kemeny",
    "kemeny_order",
    "luce_choice",
    "max_entropy_equilibrium",
    "maximal_lotteries",
    "minimax",
    "nash_averaging",
    "optimality_gap",
    "pagerank",
    "performance_profiles",
    "plackett_luce",
    "plurality",
    "rank",
    "ranked_pairs",
    "required_rankings",
    "schulze",
    "select",
    "soft_condorcet",
    "task_mixture",
    "thurstone",
]
