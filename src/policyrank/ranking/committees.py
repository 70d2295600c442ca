"""Committees: choose k policies that together serve the ballots, with bounds on groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from policyrank.errors import EvidenceError
from policyrank.evidence import Rankings
from policyrank.evidence.base import positions
from policyrank.ranking.conventions import need
from policyrank.solvers import mixed_integer

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


@dataclass(frozen=True, eq=False)
class Committee:
    """A chosen committee.

    Attributes
    ----------
    members
        in alphabetical order
    score
        by the rule
    bound
        no committee that keeps the bounds scores more
    rule, method
        how it was chosen
    guarantee
        what the method promises: a share of the best score, 1 when exact
    groups
        how many members each group has
    """

    members: tuple[str, ...]
    score: float
    bound: float
    rule: str
    method: str
    guarantee: float
    groups: Mapping[str, int]

    @property
    def optimal(self) -> bool:
        return self.score >= self.bound - 1e-6 * max(1.0, abs(self.bound))


def position_matrix(rankings: Rankings) -> NDArray[np.int64]:
    """0-based positions (ballots, policies); a missing policy stands after everyone."""
    matrix = rankings.matrix().astype(np.int64)
    return np.where(matrix > 0, matrix - 1, len(rankings.policies))


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
    r = _rule(rule)
    values = r.score(position_matrix(rankings), len(rankings.policies), k or len(chosen))[:, chosen]
    return float(rankings.weight @ (-np.sort(-values, axis=1) @ r.weights(len(chosen))))


def _rule(name: str) -> CommitteeRule:
    if name not in COMMITTEE_RULES:
        raise EvidenceError(f"rule={name!r}: use one of {', '.join(COMMITTEE_RULES)}.")
    return COMMITTEE_RULES[name]


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
        a name in ``COMMITTEE_RULES``
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
    m = len(rankings.policies)
    if not 1 <= k <= m:
        raise EvidenceError(f"k={k}: a committee has between 1 and {m} members.")
    if method not in ("auto", "exact", "greedy"):
        raise EvidenceError(f"method={method!r}: use 'auto', 'exact' or 'greedy'.")
    chosen_rule = _rule(rule)
    member, low, high, names = _bounds(rankings.policies, k, groups, at_least, at_most)
    scores = chosen_rule.score(position_matrix(rankings), m, k)
    weights = chosen_rule.weights(k)
    # Equal voters count once: the programs grow with different ballots only.
    scores, inverse = np.unique(scores, axis=0, return_inverse=True)
    voters = np.asarray(np.bincount(inverse.ravel(), rankings.weight, len(scores)), dtype=float)
    if method == "greedy":
        picked = _greedy(scores, voters, weights, k, member, low, high)
        guarantee = (
            1.0 if chosen_rule.modular and not len(low) else 0.5 if len(low) else 1 - 1 / np.e
        )
        bound = np.inf
    else:
        picked, bound = _exact(scores, voters, weights, k, member, low, high, time_limit)
        guarantee = 1.0
    score = float(voters @ (-np.sort(-scores[:, picked], axis=1) @ weights))
    if method == "greedy":
        bound = score / guarantee
    elif bound > score + 1e-6 * max(1.0, abs(score)):
        guarantee = score / bound
    return Committee(
        tuple(sorted(rankings.policies[i] for i in picked)),
        score,
        float(max(bound, score)),
        rule,
        "greedy" if method == "greedy" else "exact",
        float(guarantee),
        {g: int(member[r, picked].sum()) for r, g in enumerate(names)},
    )


def _bounds(
    policies: tuple[str, ...],
    k: int,
    groups: Mapping[str, str] | None,
    at_least: Any,
    at_most: Mapping[str, int] | None,
) -> tuple[Float, NDArray[np.int64], NDArray[np.int64], list[str]]:
    """Group membership (groups, policies) and how many members each group may have."""
    if groups is None:
        if at_least or at_most:
            raise EvidenceError("bounds on groups need groups={policy: group}.")
        return np.zeros((0, len(policies))), np.zeros(0, np.int64), np.zeros(0, np.int64), []
    where = dict(zip(groups, positions(policies, list(groups), "policy"), strict=True))
    names = sorted(set(groups.values()))
    member = np.zeros((len(names), len(policies)))
    for policy, group in groups.items():
        member[names.index(group), where[policy]] = 1
    size = member.sum(axis=1).astype(np.int64)
    for bound in (at_least if isinstance(at_least, Mapping) else {}, at_most or {}):
        positions(names, list(bound), "group")
    if at_least == "proportional":
        low = np.floor(k * size / len(policies)).astype(np.int64)
    else:
        low = np.array([(at_least or {}).get(g, 0) for g in names], dtype=np.int64)
    high = np.minimum([(at_most or {}).get(g, k) for g in names], np.minimum(size, k))
    free = len(policies) - int(size.sum())
    if (low > high).any() or low.sum() > k or high.sum() + free < k:
        raise EvidenceError(
            f"no committee of {k} keeps the bounds: groups have"
            f" {dict(zip(names, size.tolist(), strict=True))} policies, at least"
            f" {dict(zip(names, low.tolist(), strict=True))}, at most"
            f" {dict(zip(names, high.tolist(), strict=True))}. Loosen them."
        )
    return member, low, high, names


def _greedy(
    scores: Float,
    voters: Float,
    weights: Float,
    k: int,
    member: Float,
    low: NDArray[np.int64],
    high: NDArray[np.int64],
) -> list[int]:
    """Add the policy that gains most and still lets the bounds be kept; ties go to the first in the
    alphabet.
    """
    m = scores.shape[1]
    held = np.zeros((len(scores), 0))
    picked: list[int] = []
    grouped = member.sum(axis=0) > 0
    for step in range(k):
        have = member[:, picked].sum(axis=1)
        gap = np.clip(low - have, 0, None)
        allowed = np.ones(m, bool)
        allowed[picked] = False
        allowed &= ~(member[have >= high].sum(axis=0) > 0) if len(member) else True
        if len(member) and gap.sum() >= k - step:
            allowed &= (member[gap > 0].sum(axis=0) > 0) if gap.any() else ~grouped
        if len(weights) and (weights == weights[0]).all():
            gain = voters @ scores
        else:
            # Insert each candidate into a voter's sorted members: better ones keep their weight,
            # worse ones move down.
            base = held @ weights[: held.shape[1]]
            place = (held[:, :, None] >= scores[:, None, :]).sum(axis=1)
            above = np.concatenate(
                [np.zeros((len(scores), 1)), np.cumsum(held * weights[: held.shape[1]], axis=1)],
                axis=1,
            )
            moved = np.concatenate(
                [
                    np.zeros((len(scores), 1)),
                    np.cumsum(held * weights[1 : held.shape[1] + 1], axis=1),
                ],
                axis=1,
            )
            new = (
                np.take_along_axis(above, place, axis=1)
                + scores * weights[place]
                + moved[:, -1:]
                - np.take_along_axis(moved, place, axis=1)
            )
            gain = voters @ (new - base[:, None])
        best = int(np.argmax(np.where(allowed, np.round(gain, 9), -np.inf)))
        picked.append(best)
        held = -np.sort(-scores[:, picked], axis=1)
    return picked


def _exact(
    scores: Float,
    voters: Float,
    weights: Float,
    k: int,
    member: Float,
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    time_limit: float,
) -> tuple[list[int], float]:
    """Mixed-integer program: x_i: i is a member; for weights that fall, y_vij: i is voter v's j-th
    best member.
    """
    n, m = scores.shape
    falling = not (weights == weights[0]).all()
    slots = int((weights > 0).sum()) if falling else 0
    v, i = np.nonzero(scores > 0) if falling else (np.zeros(0, int), np.zeros(0, int))
    pairs = len(v)
    cost = np.zeros(m + pairs * slots)
    rows: list[sparse.csr_matrix] = [
        sparse.csr_matrix(np.r_[np.ones(m), np.zeros(pairs * slots)][None])
    ]
    lower, upper = [np.array([k])], [np.array([k])]
    if falling:
        for j in range(slots):
            cost[m + j * pairs : m + (j + 1) * pairs] = -voters[v] * scores[v, i] * weights[j]
        columns = np.arange(pairs)
        # A policy fills at most one slot of a voter, and only as a member; a slot is filled once.
        once = sparse.hstack(
            [
                sparse.csr_matrix((-np.ones(pairs), (columns, i)), shape=(pairs, m)),
                *[sparse.eye(pairs)] * slots,
            ]
        )
        by_voter = sparse.csr_matrix((np.ones(pairs), (v, columns)), shape=(n, pairs))
        single = sparse.hstack(
            [sparse.csr_matrix((n * slots, m)), sparse.block_diag([by_voter] * slots)]
        )
        rows += [once.tocsr(), single.tocsr()]
        lower += [np.full(pairs, -np.inf), np.full(n * slots, -np.inf)]
        upper += [np.zeros(pairs), np.ones(n * slots)]
    else:
        cost[:m] = -(voters @ scores) * weights[0]
    if len(member):
        rows.append(sparse.csr_matrix(np.hstack([member, np.zeros((len(member), pairs * slots))])))
        lower.append(low)
        upper.append(high)
    integer = np.r_[np.ones(m), np.zeros(pairs * slots)]
    # Equal committees are told apart by the alphabet, far below any difference in score.
    cost[:m] += 1e-9 * max(float(np.abs(cost).max()), 1.0) * np.arange(m) / m
    found = mixed_integer(
        cost,
        sparse.vstack(rows),
        np.concatenate(lower),
        np.concatenate(upper),
        1.0,
        integer,
        seconds=time_limit,
        gap=0.0,
    )
    if found.x is None:
        picked = _greedy(scores, voters, weights, k, member, low, high)
        return picked, float(voters @ (-np.sort(-scores, axis=1)[:, :k] @ weights))
    return np.argsort(-found.x[:m], kind="stable")[:k].tolist(), -found.bound + 1e-9


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
    """
    r = _rule(rule)
    if not r.modular:
        raise EvidenceError(
            f"rule={rule!r}: the estimate is for modular rules (sntv, bloc, borda)."
        )
    m = len(rankings.policies)
    scores = r.score(position_matrix(rankings), m, k)
    mean = rankings.weight @ scores / rankings.weight.sum()
    top = {"sntv": 1.0, "bloc": 1.0}.get(rule, float(m - 1))
    out = {}
    for group, q in quota.items():
        inside = np.sort(
            mean[
                positions(rankings.policies, [p for p, g in groups.items() if g == group], "policy")
            ]
        )[::-1]
        if not 0 < q < len(inside):
            out[group] = 0.0
            continue
        gap = inside[q - 1] - inside[q]
        out[group] = (
            float(np.ceil(2 * top**2 / gap**2 * np.log(2 * m / delta))) if gap > 0 else float("inf")
        )
    return out
