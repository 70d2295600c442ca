"""policyrank ranks policies, trains policies that rank, and trains policies from rankings.

>>> import policyrank as pr
>>> battles = pr.Comparisons.of(["x", "x", "y", "z"], ["y", "z", "z", "x"], [1, 1, 0.5, 1])
>>> board = pr.rank(battles)
>>> board.policies[0]
'x'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from policyrank import audit, evaluate, evidence, metrics, rank, report
    from policyrank.evaluate import plan
    from policyrank.evidence import (
        Comparisons,
        EvidenceError,
        Rankings,
        Scores,
        read,
        read_comparisons,
        read_lm_eval,
        read_rankings,
        read_scores,
    )
    from policyrank.rank import (
        METHODS,
        Leaderboard,
        aggregate,
        alpha_rank,
        alpharank,
        approval,
        borda,
        bradley_terry,
        bradley_terry_by_task,
        compare,
        copeland,
        elo,
        instant_runoff,
        kemeny,
        maximal_lotteries,
        minimax,
        nash_averaging,
        plackett_luce,
        plurality,
        rank_confidence_sets,
        ranked_pairs,
        schulze,
        select,
        soft_condorcet,
        task_mixture,
        thurstone,
    )

__version__ = "0.1.0"

_ROOMS = ("audit", "evaluate", "evidence", "metrics", "rank", "report", "studies", "cli")
_EVIDENCE = (
    "Comparisons",
    "EvidenceError",
    "Rankings",
    "Scores",
    "read",
    "read_comparisons",
    "read_lm_eval",
    "read_rankings",
    "read_scores",
)
_EVALUATE = ("plan",)
_RANK = (
    "METHODS",
    "Leaderboard",
    "aggregate",
    "alpha_rank",
    "alpharank",
    "approval",
    "borda",
    "bradley_terry",
    "bradley_terry_by_task",
    "compare",
    "copeland",
    "elo",
    "instant_runoff",
    "kemeny",
    "maximal_lotteries",
    "minimax",
    "nash_averaging",
    "plackett_luce",
    "plurality",
    "rank_confidence_sets",
    "ranked_pairs",
    "schulze",
    "select",
    "soft_condorcet",
    "task_mixture",
    "thurstone",
)

__all__ = [*_ROOMS, *_EVIDENCE, *_RANK, *_EVALUATE, "__version__"]


def __getattr__(name: str) -> Any:
    """Rooms and their main names are imported when first asked for, so that ``import policyrank``
    stays quick.
    """
    if name in _ROOMS:
        return import_module(f"policyrank.{name}")
    for room, names in (("evidence", _EVIDENCE), ("rank", _RANK), ("evaluate", _EVALUATE)):
        if name in names:
            return getattr(import_module(f"policyrank.{room}"), name)
    raise AttributeError(f"module 'policyrank' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
