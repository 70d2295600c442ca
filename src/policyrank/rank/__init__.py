"""Ranking: evidence in, a leaderboard out. The room itself can be called:
``policyrank.rank(evidence)``.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from policyrank.rank.aggregates import aggregate
from policyrank.rank.bradley_terry import bradley_terry, thurstone
from policyrank.rank.choose import MethodComparison, applicable, compare, default_method, rank
from policyrank.rank.committees import (
    COMMITTEE_RULES,
    Committee,
    committee_score,
    required_rankings,
    select,
)
from policyrank.rank.condorcet import soft_condorcet
from policyrank.rank.diagnostics import connectivity, cyclicity
from policyrank.rank.equilibria import max_entropy_equilibrium, maximal_lotteries, nash_averaging
from policyrank.rank.games import (
    AlphaRank,
    AlphaRankBounds,
    alpha_rank,
    alpha_rank_bounds,
    alpharank,
)
from policyrank.rank.intervals import RankSets, rank_confidence_sets, rank_probabilities
from policyrank.rank.leaderboard import Leaderboard, Note
from policyrank.rank.methods import METHODS, Method, Ranker
from policyrank.rank.plackett_luce import plackett_luce
from policyrank.rank.tasks import bradley_terry_by_task, task_mixture
from policyrank.rank.tournament import copeland, minimax, ranked_pairs, schulze
from policyrank.rank.voting import approval, borda, instant_runoff, plurality

if TYPE_CHECKING:
    from policyrank.rank.consensus import kemeny, kemeny_order
    from policyrank.rank.online import elo

__all__ = [
    "COMMITTEE_RULES",
    "METHODS",
    "AlphaRank",
    "AlphaRankBounds",
    "Committee",
    "Leaderboard",
    "Method",
    "MethodComparison",
    "Note",
    "RankSets",
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
    "rank_confidence_sets",
    "rank_probabilities",
    "ranked_pairs",
    "required_rankings",
    "schulze",
    "select",
    "soft_condorcet",
    "task_mixture",
    "thurstone",
]


class _Room(ModuleType):
    """Makes the room callable, and brings the methods that need numba or HiGHS only when asked for."""

    def __call__(self, evidence: Any, **options: Any) -> Leaderboard:
        return rank(evidence, **options)

    def __getattr__(self, name: str) -> Any:
        if name == "elo":
            from policyrank.rank.online import elo

            return elo
        if name in ("kemeny", "kemeny_order"):
            from policyrank.rank import consensus as module

            return getattr(module, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


sys.modules[__name__].__class__ = _Room
