"""The ranking methods by name: the one list that the command line, the docs and the tests read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from policyrank.board.leaderboard import Leaderboard
from policyrank.evidence import Comparisons, Rankings, Scores
from policyrank.ranking.conventions import option_names


@dataclass(frozen=True)
class Method:
    """A ranking method: where it lives, which evidence it takes, and what it is in a sentence.

    Examples
    --------
    >>> method = METHODS["elo"]
    >>> [form.__name__ for form in method.takes], method.options[:3]
    (['Comparisons'], ('k', 'start', 'orders'))
    """

    path: str
    takes: tuple[type, ...]
    about: str
    defaults: tuple[tuple[str, Any], ...] = ()
    has_interval: bool = True
    compare: bool = True

    @property
    def function(self) -> Callable[..., Leaderboard]:
        """The function itself (its module is imported when first needed)."""
        module, name = self.path.split(":")
        return getattr(import_module(f"policyrank.ranking.{module}"), name)

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options that the function takes."""
        return option_names(self.function)

    def __call__(self, evidence: Any, **options: Any) -> Leaderboard:
        return self.function(evidence, **{**dict(self.defaults), **options})


_PAIRS: tuple[type, ...] = (Comparisons,)
_BALLOTS: tuple[type, ...] = (Rankings,)
_EITHER: tuple[type, ...] = (Rankings, Comparisons)
_SCORES: tuple[type, ...] = (Scores,)

METHODS: dict[str, Method] = {
    "bradley-terry": Method(
        "bradley_terry_fit:bradley_terry",
        _PAIRS,
        "win probability by rating difference, ties as half",
    ),
    "davidson": Method(
        "bradley_terry_fit:bradley_terry",
        _PAIRS,
        "Bradley-Terry with Davidson's ties",
        (("ties", "davidson"),),
    ),
    "rao-kupper": Method(
        "bradley_terry_fit:bradley_terry",
        _PAIRS,
        "Bradley-Terry with Rao and Kupper's ties",
        (("ties", "rao-kupper"),),
    ),
    "newman": Method(
        "bradley_terry_fit:bradley_terry",
        _PAIRS,
        "Newman's model with ties, which is Davidson's: the same maximum",
        (("ties", "davidson"),),
        compare=False,
    ),
    "thurstone": Method("bradley_terry_fit:thurstone", _PAIRS, "normal instead of logistic"),
    "bradley-terry-by-task": Method(
        "tasks:bradley_terry_by_task", _PAIRS, "a rating in each task, pooled", has_interval=False
    ),
    "task-mixture": Method(
        "hidden_tasks:task_mixture",
        _PAIRS,
        "hidden task buckets (RoboArena)",
        has_interval=False,
        compare=False,
    ),
    "elo": Method("online:elo", _PAIRS, "updated after each comparison, averaged over orders"),
    "plackett-luce": Method(
        "plackett_luce_fit:plackett_luce", _BALLOTS, "rankings of any length as repeated choice"
    ),
    "luce-choice": Method(
        "choice_fit:luce_choice", _BALLOTS, "who comes first among those on a ballot"
    ),
    "soft-condorcet": Method("condorcet:soft_condorcet", _EITHER, "smooth count of disagreements"),
    "borda": Method("voting:borda", _EITHER, "mean number of others beaten"),
    "copeland": Method("tournament:copeland", _EITHER, "majorities won"),
    "kemeny": Method("consensus:kemeny", _EITHER, "the order with the fewest disagreements"),
    "schulze": Method("tournament:schulze", _EITHER, "strongest paths of majorities"),
    "ranked-pairs": Method("tournament:ranked_pairs", _EITHER, "largest majorities locked first"),
    "minimax": Method("tournament:minimax", _EITHER, "smallest worst defeat"),
    "maximal-lotteries": Method(
        "equilibria:maximal_lotteries", _EITHER, "optimal lottery over majority margins"
    ),
    "instant-runoff": Method("run_off:instant_runoff", _BALLOTS, "fewest first places eliminated"),
    "plurality": Method("voting:plurality", _BALLOTS, "first places"),
    "approval": Method("voting:approval", _BALLOTS, "places among the first k"),
    "eigenvector": Method(
        "win_graphs:eigenvector", _EITHER, "wins weighed by the ratings of those beaten"
    ),
    "pagerank": Method("win_graphs:pagerank", _EITHER, "a walk from losers to winners"),
    "alpha-rank": Method("games:alpha_rank", _EITHER, "time that evolution spends at a policy"),
    "nash-averaging": Method(
        "equilibria:nash_averaging",
        (Rankings, Comparisons, Scores),
        "result against the equilibrium",
    ),
    "mean": Method("aggregates:mean", _SCORES, "mean score over tasks"),
    "median": Method("aggregates:median", _SCORES, "median score over tasks"),
    "interquartile-mean": Method(
        "aggregates:interquartile_mean", _SCORES, "mean of the middle half of runs"
    ),
    "cvar": Method(
        "aggregates:cvar", _SCORES, "mean of the lowest 5% of runs: what a bad day brings"
    ),
    "mean-rank": Method("aggregates:mean_rank", _SCORES, "mean place over tasks"),
    "optimality-gap": Method(
        "score_profiles:optimality_gap",
        _SCORES,
        "how far scores fall short of a target",
        compare=False,
    ),
    "win-rate": Method("aggregates:win_rate", _SCORES, "probability to beat another policy"),
    "z-score": Method("aggregates:z_score", _SCORES, "mean standardised score"),
}
