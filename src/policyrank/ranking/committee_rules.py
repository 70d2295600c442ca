"""Multiwinner rules: what voters give to policies, and how a committee's score is made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence import Rankings

Float = NDArray[np.float64]


class Places(NamedTuple):
    """Where ballots place policies, ties as ties: (ballots, policies) each.

    ``above``: how many stand strictly above, -1 where a policy is missing; ``equal``: how many
    share its place, itself among them (0: missing).
    """

    above: NDArray[np.int32]
    equal: NDArray[np.int64]

    @classmethod
    def of(cls, rankings: Rankings) -> Places:
        """Of ballots.

        Examples
        --------
        >>> places = Places.of(Rankings.of([[["b", "a"], "c"], ["c"]]))
        >>> places.above.tolist(), places.equal.tolist()
        ([[0, 0, 2], [-1, -1, 0]], [[2, 2, 1], [0, 0, 1]])
        """
        position, size = rankings.matrix(), len(rankings.policies)
        group = np.arange(len(position))[:, None] * (size + 1) + position
        shared = np.bincount(group.ravel(), minlength=len(position) * (size + 1))[group]
        return cls(rankings.strictly_above(), np.where(position > 0, shared, 0))


# A rule turns places into each voter's score of each policy, and weighs a voter's scores of the
# chosen policies, best first.
Score = Callable[[Places, int], Float]


def _first(places: Places, k: int) -> Float:
    return np.where(places.above == 0, 1 / np.maximum(places.equal, 1), 0.0)


def _top_k(places: Places, k: int) -> Float:
    return ((places.above >= 0) & (places.above < k)).astype(float)


def _satisfaction(places: Places, k: int) -> Float:
    approved = _top_k(places, k)
    return approved / np.maximum(approved.sum(axis=1, keepdims=True), 1)


def _borda(places: Places, k: int) -> Float:
    mean = places.above + (places.equal - 1) / 2
    return np.where(places.above >= 0, places.above.shape[1] - 1 - mean, 0.0)


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
    "sav": CommitteeRule(
        _satisfaction, _all, "satisfaction approval: a vote shared between the first k"
    ),
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
