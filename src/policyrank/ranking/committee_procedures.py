"""Committees that are chosen step by step, or by assigning voters: no score to be maximised."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from policyrank.evidence import Rankings
from policyrank.evidence.rankings import top_shares
from policyrank.solvers import mixed_integer

Float = NDArray[np.float64]

CLOSE = 1e-10
"""Relative difference below which two policies tie."""


class Chosen(NamedTuple):
    """Who was chosen (indices), and whether a tie was broken by the alphabet on the way."""

    members: list[int]
    tied: bool


Procedure = Callable[[Rankings, int], Chosen]


def _first_of_least(values: Float) -> tuple[int, bool]:
    """The first of the smallest values, and whether there are several."""
    least = values.min()
    ties = np.flatnonzero(values <= least + CLOSE * max(1.0, abs(least)))
    return int(ties[0]), len(ties) > 1


def phragmen(rankings: Rankings, k: int) -> Chosen:
    """Sequential Phragmen: members cost their voters one unit of load; the least load grows first.

    A voter approves of the first k of a ballot (fewer than k strictly above).

    References
    ----------
    Phragmen (1894); Brill, Freeman, Janson and Lackner (2017), "Phragmen's Voting Methods and
    Justified Representation".

    Examples
    --------
    >>> votes = Rankings.of([["a", "b"]] * 3 + [["c", "d"]] * 2)
    >>> phragmen(votes, 2)
    Chosen(members=[0, 2], tied=True)
    """
    approved = rankings.among_first(k).astype(float)
    return _phragmen(approved, rankings.weight, k, np.zeros(len(approved)), [])


def _phragmen(approved: Float, weight: Float, k: int, load: Float, members: list[int]) -> Chosen:
    """Go on from these loads (a unit of weight) and members."""
    members, load, tied = list(members), load.copy(), False
    support = weight @ approved
    while len(members) < k:
        reached = np.divide(
            1 + (weight * load) @ approved,
            support,
            out=np.full(len(support), np.inf),
            where=support > 0,
        )
        reached[members] = np.inf
        if not np.isfinite(reached).any():
            left = [c for c in range(len(support)) if c not in members]
            seats = k - len(members)
            return Chosen([*members, *left[:seats]], tied or len(left) > seats)
        chosen, several = _first_of_least(reached)
        tied |= several
        load = np.where(approved[:, chosen] > 0, reached[chosen], load)
        members.append(chosen)
    return Chosen(members, tied)


def equal_shares(rankings: Rankings, k: int) -> Chosen:
    """Method of equal shares: each voter has a budget of k / voters, a member costs 1.

    The member bought next is the one whose supporters pay least each; what is left open is filled
    by sequential Phragmen, voters' unspent budgets being loads that they are ahead. A voter
    approves of the first k of a ballot (fewer than k strictly above).

    References
    ----------
    Peters and Skowron (2020), "Proportionality and the Limits of Welfarism".

    Examples
    --------
    >>> votes = Rankings.of([["a", "b"]] * 3 + [["c", "d"]] * 3)
    >>> equal_shares(votes, 2)
    Chosen(members=[0, 2], tied=True)
    """
    approved, weight = rankings.among_first(k), rankings.weight
    budget = weight * k / weight.sum()
    members: list[int] = []
    tied = False
    while len(members) < k:
        price = np.full(approved.shape[1], np.inf)
        for policy in range(len(price)):
            if policy not in members:
                price[policy] = _price(approved[:, policy], weight, budget)
        if not np.isfinite(price).any():
            break
        chosen, several = _first_of_least(price)
        tied |= several
        pays = approved[:, chosen]
        budget[pays] -= np.minimum(budget[pays], price[chosen] * weight[pays])
        members.append(chosen)
    ahead = -np.divide(budget, weight, out=np.zeros_like(budget), where=weight > 0)
    rest = _phragmen(approved.astype(float), weight, k, ahead, members)
    return Chosen(rest.members, tied or rest.tied)


def _price(supporters: NDArray[np.bool_], weight: Float, budget: Float) -> float:
    """What each supporter pays a unit of weight so that together they pay 1; inf: they cannot."""
    own, has = weight[supporters], budget[supporters]
    used = own > 0
    own, has = own[used], has[used]
    if has.sum() < 1 - CLOSE:
        return np.inf
    order = np.argsort(has / own)
    own, has = own[order], has[order]
    spent = np.r_[0.0, np.cumsum(has)[:-1]]
    left = np.cumsum(own[::-1])[::-1]
    price = (1 - spent) / left
    enough = has / own >= price - CLOSE
    return float(price[np.argmax(enough)])


def monroe(rankings: Rankings, k: int) -> Chosen:
    """Monroe: voters are divided evenly between the members; most are with one they approve of.

    A voter approves of the first k of a ballot. Exact, by mixed-integer programming; one of those
    that are equally good.

    References
    ----------
    Monroe (1995), "Fully Proportional Representation".

    Examples
    --------
    >>> votes = Rankings.of([["a", "b"]] * 2 + [["c", "d"]] * 2)
    >>> found = monroe(votes, 2)
    >>> [place // 2 for place in found.members], found.tied    # one of a and b, one of c and d
    ([0, 1], True)
    """
    approved = rankings.among_first(k).astype(float)
    different, which = np.unique(approved, axis=0, return_inverse=True)
    counts = np.bincount(which.ravel(), rankings.weight, len(different))
    voters = counts.astype(np.float64)
    first, value = _monroe(different, voters, k, None)
    _, second = _monroe(different, voters, k, first)
    return Chosen(first, second >= value - 1e-6 * max(1.0, value))


def _monroe(
    approved: Float, voters: Float, k: int, other_than: list[int] | None
) -> tuple[list[int], float]:
    """The best committee, perhaps other than one, and how many voters it serves (-inf: none)."""
    groups, policies = approved.shape
    total = float(voters.sum())
    low, high = np.floor(total / k), np.ceil(total / k)
    if not (voters == np.round(voters)).all():
        low = high = total / k
    member, flow = np.arange(policies), policies + np.arange(groups * policies)
    size = policies + groups * policies
    cost = np.zeros(size)
    cost[flow] = -approved.ravel()
    cost[:policies] = 1e-7 * np.arange(policies) / policies
    at_group, at_policy = np.divmod(np.arange(groups * policies), policies)
    ones = np.ones(len(flow))
    one_each = sparse.csr_matrix((ones, (at_group, flow)), shape=(groups, size))
    served = sparse.csr_matrix((ones, (at_policy, flow)), shape=(policies, size))
    least = served - sparse.csr_matrix((np.full(policies, low), (member, member)), (policies, size))
    most = served - sparse.csr_matrix((np.full(policies, high), (member, member)), (policies, size))
    count = sparse.csr_matrix((np.ones(policies), (np.zeros(policies, int), member)), (1, size))
    rows = [count, one_each, least, most]
    size_of_committee = np.array([float(k)])
    lower = [size_of_committee, voters, np.zeros(policies), np.full(policies, -np.inf)]
    upper = [size_of_committee, voters, np.full(policies, np.inf), np.zeros(policies)]
    if other_than is not None:
        again = sparse.csr_matrix((np.ones(k), (np.zeros(k, int), other_than)), (1, size))
        rows, lower, upper = (
            [*rows, again],
            [*lower, np.array([-np.inf])],
            [*upper, size_of_committee - 1],
        )
    whole = np.arange(size) < policies
    found = mixed_integer(
        cost,
        sparse.vstack(rows),
        np.concatenate(lower),
        np.concatenate(upper),
        np.where(whole, 1.0, max(total, 1.0)),
        whole,
    )
    if found.x is None:
        return [], -np.inf
    members = np.flatnonzero(found.x[:policies] > 0.5).tolist()
    return members, float(approved.ravel() @ found.x[flow])


def single_transferable_vote(rankings: Rankings, k: int) -> Chosen:
    """STV with the Droop quota: surpluses pass on at a fraction of each ballot (weighted Gregory).

    Who reaches floor(votes / (k + 1)) + 1 is elected, the largest count first, and all ballots of
    the count go on at surplus / count of their value; if nobody does, the policy with the fewest
    votes is out (of equals the one with fewest first places; then the last in the alphabet). Ties
    at a ballot's top share its vote.

    Examples
    --------
    >>> votes = Rankings.of([["a", "b"]] * 4 + [["c"]] * 2 + [["d", "c"]])
    >>> single_transferable_vote(votes, 2)
    Chosen(members=[0, 2], tied=False)
    """
    position, n = rankings.matrix(), len(rankings.policies)
    value = rankings.weight.astype(float)
    whole = rankings.counts_voters
    quota = np.floor(value.sum() / (k + 1)) + 1 if whole else value.sum() / (k + 1)
    members: list[int] = []
    alive, tied = np.ones(n, dtype=bool), False
    first: Float | None = None
    while len(members) < k:
        left = np.flatnonzero(alive)
        if len(left) <= k - len(members):
            return Chosen([*members, *left.tolist()], tied)
        share = top_shares(position, alive)
        count = value @ share
        first = count if first is None else first
        elected = alive & (count >= quota - 1e-9)
        if elected.any():
            chosen, several = _first_of_least(np.where(elected, -count, np.inf))
            tied |= several
            members.append(chosen)
            kept = max(count[chosen] - quota, 0) / count[chosen]
            value = value * (1 - share[:, chosen] * (1 - kept))
            alive[chosen] = False
            continue
        fewest = np.where(alive, count, np.inf)
        least = np.flatnonzero(fewest <= fewest.min() + 1e-9)
        least = least[first[least] <= first[least].min() + 1e-9]
        tied |= len(least) > 1
        alive[least[-1]] = False
    return Chosen(members, tied)


PROCEDURES: dict[str, tuple[Procedure, str]] = {
    "phragmen": (phragmen, "sequential Phragmen: the load of members spread over their voters"),
    "equal-shares": (equal_shares, "method of equal shares, completed by Phragmen"),
    "monroe": (monroe, "voters divided evenly between members they approve of"),
    "stv": (single_transferable_vote, "single transferable vote, Droop quota, fractions"),
}
