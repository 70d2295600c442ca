"""Multiwinner rules: what voters give to policies, and how a committee's score is made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence import Rankings

Float = NDArray[np.float64]
# A rule turns positions (ballots, policies; 0-based, policies-1 or more where unranked) into each
# voter's score of each policy, and weighs a voter's scores of the chosen policies, best first.
Score = Callable[[NDArray[np.int64], int, int], Float]


def _first(position: NDArray[np.int64], m: int, k: int) -> Float:
    return (position == 0).astype(float)


def _top_k(position: NDArray[np.int64], m: int, k: int) -> Float:
    return (position < k).astype(float)


def _borda(position: NDArray[np.int64], m: int, k: int) -> Float:
    return np.clip(m - 1 - position, 0, None).astype(float)


def _all(k: int) -> Float:
    return np.ones(k)


def _best_only(k: int) -> Float:
    return np.r_[1.0, np.zeros(k - 1)]


def _harmonic(k: int) -> Float:
    return 1 / np.arange(1, k + 1)


@dataclass(frozen=True)
class CommitteeRule:
    """A multiwinner rule: sum over voters of an ordered weighted average of their scores of the
    members.

    Attributes
    ----------
    score
        what a voter gives to each policy
    weights
        of a voter's scores of the members, best first: all ones is modular, decreasing is
        submodular
    about
        in a sentence
    """

    score: Score
    weights: Callable[[int], Float]
    about: str

    @property
    def modular(self) -> bool:
        """Whether a committee's score is the sum of its members' own."""
        return self.weights is _all


COMMITTEE_RULES: dict[str, CommitteeRule] = {
    "sntv": CommitteeRule(_first, _all, "voters whose first choice is a member"),
    "bloc": CommitteeRule(_top_k, _all, "members among each voter's first k"),
    "borda": CommitteeRule(_borda, _all, "members' Borda counts (k-Borda)"),
    "chamberlin-courant": CommitteeRule(
        _borda, _best_only, "Borda score of each voter's best member"
    ),
    "pav": CommitteeRule(
        _top_k, _harmonic, "proportional approval of the first k: 1 + 1/2 + 1/3 + ..."
    ),
    "approval-chamberlin-courant": CommitteeRule(
        _top_k, _best_only, "voters with a member among their first k"
    ),
    "harmonic-borda": CommitteeRule(
        _borda, _harmonic, "Borda scores with weights 1, 1/2, 1/3, ... best first"
    ),
}


def rule_named(name: str) -> CommitteeRule:
    """The rule of this name, or an error that lists them.

    Examples
    --------
    >>> rule_named("pav").weights(3).round(2).tolist()
    [1.0, 0.5, 0.33]
    """
    if name not in COMMITTEE_RULES:
        raise EvidenceError(f"rule={name!r}: use one of {', '.join(COMMITTEE_RULES)}.")
    return COMMITTEE_RULES[name]


def position_matrix(rankings: Rankings) -> NDArray[np.int64]:
    """0-based positions (ballots, policies); a missing policy stands after everyone.

    Examples
    --------
    >>> position_matrix(Rankings.of([["b", "a"], ["c"]])).tolist()
    [[1, 0, 3], [3, 3, 0]]
    """
    matrix = rankings.matrix().astype(np.int64)
    return np.where(matrix > 0, matrix - 1, len(rankings.policies))
