from .aggregates import aggregate as aggregate
from .bradley_terry_fit import bradley_terry as bradley_terry
from .bradley_terry_fit import thurstone as thurstone
from .choose import (
    applicable as applicable,
)
from .choose import (
    compare as compare,
)
from .choose import (
    default_method as default_method,
)
from .choose import (
    rank as rank,
)
from .committees import (
    COMMITTEE_RULES as COMMITTEE_RULES,
)
from .committees import (
    Committee as Committee,
)
from .committees import (
    committee_score as committee_score,
)
from .committees import (
    required_rankings as required_rankings,
)
from .committees import (
    select as select,
)
from .condorcet import soft_condorcet as soft_condorcet
from .consensus import kemeny as kemeny
from .consensus import kemeny_order as kemeny_order
from .diagnostics import connectivity as connectivity
from .diagnostics import cyclicity as cyclicity
from .equilibria import (
    max_entropy_equilibrium as max_entropy_equilibrium,
)
from .equilibria import (
    maximal_lotteries as maximal_lotteries,
)
from .equilibria import (
    nash_averaging as nash_averaging,
)
from .games import (
    AlphaRank as AlphaRank,
)
from .games import (
    AlphaRankBounds as AlphaRankBounds,
)
from .games import (
    alpha_rank as alpha_rank,
)
from .games import (
    alpha_rank_bounds as alpha_rank_bounds,
)
from .games import (
    alpharank as alpharank,
)
from .methods import METHODS as METHODS
from .methods import Method as Method
from .methods import Ranker as Ranker
from .online import elo as elo
from .plackett_luce_fit import plackett_luce as plackett_luce
from .tasks import bradley_terry_by_task as bradley_terry_by_task
from .tasks import task_mixture as task_mixture
from .tournament import (
    copeland as copeland,
)
from .tournament import (
    minimax as minimax,
)
from .tournament import (
    ranked_pairs as ranked_pairs,
)
from .tournament import (
    schulze as schulze,
)
from .voting import (
    approval as approval,
)
from .voting import (
    borda as borda,
)
from .voting import (
    instant_runoff as instant_runoff,
)
from .voting import (
    plurality as plurality,
)

__all__ = [
    "COMMITTEE_RULES",
    "METHODS",
    "AlphaRank",
    "AlphaRankBounds",
    "Committee",
    "Method",
    "Ranker",
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
    "elo",
    "instant_runoff",
    "kemeny",
    "kemeny_order",
    "max_entropy_equilibrium",
    "maximal_lotteries",
    "minimax",
    "nash_averaging",
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
