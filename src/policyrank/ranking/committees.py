"""Committees: choose k policies that together serve the ballots, with bounds on groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence import Rankings
from policyrank.evidence.base import positions
from policyrank.ranking.committee_procedures import PROCEDURES
from policyrank.ranking.committee_rules import COMMITTEE_RULES, CommitteeRule, Places, rule_named
from policyrank.ranking.committee_search import (
    Election,
    GroupBounds,
    another_as_good,
    best_first,
    exact,
    greedy,
)
from policyrank.ranking.conventions import need


@dataclass(frozen=True, eq=False)
class Committee:
    """A chosen committee.

    Attributes
    ----------
    members
        in alphabetical order
    score
        by the rule; NaN of rules that go step by step
    bound
        no committee that keeps the bounds scores more
    rule, method
        how it was chosen
    guarantee
        what the method promises: a share of the best score, 1 when exact
    groups
        how many members each group has
    tied
        whether another committee is as good, so that the alphabet decided (of rules that go step by
        step: whether a tie was broken on the way); None: not known (greedy search, or out of time)

    Examples
    --------
    >>> votes = Rankings.of([list("abcd"), list("abcd"), list("dcba")])
    >>> found = select(votes, 2, rule="chamberlin-courant", method="greedy")
    >>> found.members, found.score, round(found.bound, 2), found.optimal
    (('a', 'd'), 9.0, 14.24, False)
    """

    members: tuple[str, ...]
    score: float
    bound: float
    rule: str
    method: str
    guarantee: float
    groups: Mapping[str, int]
    tied: bool | None = None

    @property
    def optimal(self) -> bool:
        return self.score >= self.bound - 1e-6 * max(1.0, abs(self.bound))


def committee_score(
    rankings: Rankings,
    members: list[str] | tuple[str, ...],
    rule: str = "pav",
    k: int | None = None,
) -> float:
    """Score of a committee by a rule.

    Parameters
    ----------
    members
        names
    k
        what "first k" means for approval rules; None: the committee's size

    Examples
    --------
    >>> votes = Rankings.of([list("abcd"), list("abcd"), list("dcba")])
    >>> committee_score(votes, ["a", "d"], "chamberlin-courant")
    9.0
    """
    chosen = positions(rankings.policies, members, "policy")
    chosen_rule = rule_named(rule)
    first = k or len(chosen)
    scores = chosen_rule.score(Places.of(rankings), first)
    weights = chosen_rule.weights(len(chosen))
    return float(rankings.weight @ (best_first(scores[:, chosen]) @ weights))


def select(
    rankings: Rankings,
    k: int,
    *,
    rule: str = "pav",
    groups: Mapping[str, str] | None = None,
    at_least: Mapping[str, int] | Literal["proportional"] | None = None,
    at_most: Mapping[str, int] | None = None,
    method: Literal["auto", "exact", "greedy"] = "auto",
    time_limit: float = 60.0,
) -> Committee:
    """Choose k policies by a multiwinner rule, exactly or greedily, within bounds on groups.

    Parameters
    ----------
    rankings
        ballots; a policy that a ballot does not rank scores 0 on it
    k
        size of the committee, 1 <= k <= number of policies
    rule
        a name in ``COMMITTEE_RULES``, or of ``PROCEDURES``, which go step by step and know no
        bounds on groups
    groups
        the group of each policy (disjoint); policies that are not named are in no group
    at_least, at_most
        how many members of each group; ``at_least="proportional"``: the group's share of k, rounded
        down
    method
        ``"exact"``: modular rules by sorting or a small program, the others by mixed-integer
        programming (stopped at ``time_limit`` with a bound); ``"greedy"``: at least 1 - 1/e of the
        best without bounds on groups, 1/2 with; ``"auto"``: exact
    time_limit
        seconds

    Raises
    ------
    EvidenceError
        For an unknown rule or policy, or bounds that no committee of size k keeps.

    References
    ----------
    Faliszewski, Skowron, Slinko and Talmon (2017), "Multiwinner Voting"; Nemhauser, Wolsey and
    Fisher (1978); Boehmer et al. (2023), arXiv 2306.09835, on group quotas.

    Examples
    --------
    >>> votes = Rankings.of([list("abcd"), list("abcd"), list("dcba")])
    >>> select(votes, 2, rule="borda").members
    ('a', 'b')
    >>> late = {"c": "late", "d": "late"}
    >>> select(votes, 2, rule="borda", groups=late, at_least={"late": 1}).members
    ('a', 'c')
    """
    need(rankings, Rankings, "select")
    policies = rankings.policies
    if not 1 <= k <= len(policies):
        raise EvidenceError(f"k={k}: a committee has between 1 and {len(policies)} members.")
    if method not in ("auto", "exact", "greedy"):
        raise EvidenceError(f"method={method!r}: use 'auto', 'exact' or 'greedy'.")
    if rule in PROCEDURES:
        return _by_procedure(rankings, k, rule, method, groups or at_least or at_most)
    chosen_rule = _rule(rule)
    bounds = _group_bounds(policies, k, groups, at_least, at_most)
    election = _election(rankings, chosen_rule, k, bounds)
    if method == "greedy":
        picked = greedy(election)
        score = election.score(picked)
        guarantee = _greedy_guarantee(chosen_rule, bounds)
        bound, tied = score / guarantee, None
    else:
        method = "exact"
        picked, bound = exact(election, time_limit)
        tied = another_as_good(election, picked, time_limit)
        score = election.score(picked)
        guarantee = 1.0
        if bound > score + 1e-6 * max(1.0, abs(score)):
            guarantee = score / bound
    of_group = bounds.member[:, picked].sum(axis=1).astype(int)
    return Committee(
        members=tuple(sorted(policies[place] for place in picked)),
        score=score,
        bound=float(max(bound, score)),
        rule=rule,
        method=method,
        guarantee=float(guarantee),
        groups=dict(zip(bounds.names, of_group.tolist(), strict=True)),
        tied=tied,
    )


def _rule(name: str) -> CommitteeRule:
    """The rule of this name, or an error that lists all there are."""
    if name not in COMMITTEE_RULES:
        names = ", ".join([*COMMITTEE_RULES, *PROCEDURES])
        raise EvidenceError(f"rule={name!r}: use one of {names}.")
    return COMMITTEE_RULES[name]


def _by_procedure(rankings: Rankings, k: int, rule: str, method: str, bounds: object) -> Committee:
    """A committee chosen step by step."""
    if bounds:
        raise EvidenceError(f"rule={rule!r} goes step by step and knows no bounds on groups.")
    if method == "greedy":
        raise EvidenceError(f"rule={rule!r} goes its own way: leave method='auto'.")
    found = PROCEDURES[rule][0](rankings, k)
    return Committee(
        members=tuple(sorted(rankings.policies[place] for place in found.members)),
        score=float("nan"),
        bound=float("nan"),
        rule=rule,
        method="procedure",
        guarantee=float("nan"),
        groups={},
        tied=found.tied,
    )


def _election(rankings: Rankings, rule: CommitteeRule, k: int, bounds: GroupBounds) -> Election:
    """Equal voters count once: the programs grow with different ballots only."""
    scores = rule.score(Places.of(rankings), k)
    different, which = np.unique(scores, axis=0, return_inverse=True)
    voters = np.bincount(which.ravel(), rankings.weight, len(different))
    return Election(different, np.asarray(voters, dtype=float), rule.weights(k), k, bounds)


def _greedy_guarantee(rule: CommitteeRule, bounds: GroupBounds) -> float:
    """Share of the best score that greedy choice reaches at least."""
    if bounds.names:
        return 0.5
    if rule.modular:
        return 1.0
    return 1 - 1 / np.e


def _group_bounds(
    policies: tuple[str, ...],
    k: int,
    groups: Mapping[str, str] | None,
    at_least: Mapping[str, int] | Literal["proportional"] | None,
    at_most: Mapping[str, int] | None,
) -> GroupBounds:
    """Who is in which group, and how many members each group may have."""
    if groups is None:
        if at_least or at_most:
            raise EvidenceError("bounds on groups need groups={policy: group}.")
        return GroupBounds.none(len(policies))
    places = positions(policies, list(groups), "policy")
    names = sorted(set(groups.values()))
    member = np.zeros((len(names), len(policies)))
    for place, group in zip(places, groups.values(), strict=True):
        member[names.index(group), place] = 1
    size = member.sum(axis=1).astype(np.int64)
    if at_least == "proportional":
        low = np.floor(k * size / len(policies)).astype(np.int64)
    else:
        low = _of_groups(names, at_least or {}, 0)
    high = np.minimum(_of_groups(names, at_most or {}, k), np.minimum(size, k))
    free = len(policies) - int(size.sum())
    if (low > high).any() or low.sum() > k or high.sum() + free < k:
        raise EvidenceError(
            f"no committee of {k} keeps the bounds: groups have {_by_name(names, size)} policies,"
            f" at least {_by_name(names, low)}, at most {_by_name(names, high)}. Loosen them."
        )
    return GroupBounds(tuple(names), member, low, high)


def _of_groups(names: list[str], given: Mapping[str, int], default: int) -> NDArray[np.int64]:
    """The number given for each group, refusing groups that there are not."""
    positions(names, list(given), "group")
    return np.array([given.get(name, default) for name in names], dtype=np.int64)


def _by_name(names: list[str], numbers: NDArray[np.int64]) -> dict[str, int]:
    return dict(zip(names, numbers.tolist(), strict=True))


def required_rankings(
    rankings: Rankings,
    k: int,
    *,
    rule: str = "borda",
    groups: Mapping[str, str],
    quota: Mapping[str, int],
    delta: float = 0.05,
) -> dict[str, float]:
    """How many rankings a modular rule needs to order the policies around each group's cut, by
    Hoeffding's inequality.

    For the last policy inside a group's quota and the first outside, with mean gap g of scores in
    [0, B]: n >= 2 B^2 / g^2 log(2 m / delta). Infinite where the sample shows no gap.

    Parameters
    ----------
    quota
        members of each group
    delta
        chance of a wrong order, in (0, 1)

    Returns
    -------
    dict
        group -> rankings

    Examples
    --------
    >>> votes = Rankings.of([list("abcd")] * 3 + [list("badc")])
    >>> required_rankings(votes, 1, groups={"a": "early", "b": "early"}, quota={"early": 1})
    {'early': 366.0}
    """
    chosen_rule = rule_named(rule)
    if not chosen_rule.modular:
        raise EvidenceError(
            f"rule={rule!r}: the estimate is for modular rules (sntv, bloc, borda)."
        )
    policies = rankings.policies
    scores = chosen_rule.score(Places.of(rankings), k)
    mean = rankings.weight @ scores / rankings.weight.sum()
    largest = float(len(policies) - 1)
    if rule in ("sntv", "bloc"):
        largest = 1.0
    needed = {}
    for group, members in quota.items():
        named = [policy for policy in groups if groups[policy] == group]
        inside = np.sort(mean[positions(policies, named, "policy")])[::-1]
        needed[group] = 0.0
        if 0 < members < len(inside):
            gap = float(inside[members - 1] - inside[members])
            needed[group] = _rankings_for_gap(gap, largest, 2 * len(policies) / delta)
    return needed


def _rankings_for_gap(gap: float, largest: float, odds: float) -> float:
    """Hoeffding's number of rankings for two means this far apart, of scores in [0, largest]."""
    if gap <= 0:
        return float("inf")
    return float(np.ceil(2 * largest**2 / gap**2 * np.log(odds)))
