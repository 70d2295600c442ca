"""Search for the best committee: policy by policy, or all at once by a mixed-integer program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from policyrank.solvers import Solution, mixed_integer

Float = NDArray[np.float64]


def best_first(scores: Float) -> Float:
    """Each voter's scores in falling order.

    Examples
    --------
    >>> best_first(np.array([[1, 3, 2], [0, 1, 5]])).tolist()
    [[3, 2, 1], [5, 1, 0]]
    """
    return -np.sort(-scores, axis=1)


@dataclass(frozen=True, eq=False)
class GroupBounds:
    """How many members each group may have.

    Attributes
    ----------
    names
        of the groups
    member
        (groups, policies), 1 where a policy is of the group
    low, high
        (groups,)
    """

    names: tuple[str, ...]
    member: Float
    low: NDArray[np.int64]
    high: NDArray[np.int64]

    @classmethod
    def none(cls, policies: int) -> GroupBounds:
        """Of no group at all."""
        nothing = np.zeros(0, np.int64)
        return cls((), np.zeros((0, policies)), nothing, nothing)


@dataclass(frozen=True, eq=False)
class Election:
    """What is to be found: ``size`` policies whose score is largest, within the bounds.

    Attributes
    ----------
    scores
        (voters, policies)
    voters
        (voters,), how much each voter counts
    weights
        (size,), of a voter's scores of the members, best first
    size
        of the committee
    bounds
        on groups
    """

    scores: Float
    voters: Float
    weights: Float
    size: int
    bounds: GroupBounds

    @property
    def additive(self) -> bool:
        """Whether all weights are alike, so that a committee scores the sum of its members."""
        return bool((self.weights == self.weights[0]).all())

    def score(self, picked: list[int]) -> float:
        return float(self.voters @ (best_first(self.scores[:, picked]) @ self.weights))


def greedy(election: Election) -> list[int]:
    """Add the policy that gains most and still lets the bounds be kept; ties go to the first in the
    alphabet.

    Examples
    --------
    >>> approvals = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> voters, weights = np.array([3.0, 2.0]), np.array([1, 0.5])
    >>> votes = Election(approvals, voters, weights, size=2, bounds=GroupBounds.none(3))
    >>> greedy(votes), votes.score([0, 2]), votes.score([0, 1])
    ([0, 2], 5.0, 4.5)
    """
    held = np.zeros((len(election.scores), 0))
    picked: list[int] = []
    for left in range(election.size, 0, -1):
        gain = np.round(_gains(election, held), 9)
        allowed = _allowed(election.bounds, picked, left)
        best = int(np.argmax(np.where(allowed, gain, -np.inf)))
        picked.append(best)
        held = best_first(election.scores[:, picked])
    return picked


def _allowed(bounds: GroupBounds, picked: list[int], left: int) -> NDArray[np.bool_]:
    """(policies,), who may be picked next so that the bounds are kept with ``left`` picks left."""
    allowed = np.ones(bounds.member.shape[1], bool)
    allowed[picked] = False
    have = bounds.member[:, picked].sum(axis=1)
    of_full_group = bounds.member[have >= bounds.high].sum(axis=0) > 0
    allowed &= ~of_full_group
    missing = np.clip(bounds.low - have, 0, None)
    if missing.sum() >= left:
        allowed &= bounds.member[missing > 0].sum(axis=0) > 0
    return allowed


def _gains(election: Election, held: Float) -> Float:
    """(policies,), what each would add, where ``held`` has each voter's scores of the members so
    far, best first.
    """
    scores, weights = election.scores, election.weights
    if election.additive:
        return election.voters @ scores
    # A newcomer leaves the better members their weights, and moves the worse ones down by one.
    members = held.shape[1]
    place = (held[:, :, None] >= scores[:, None, :]).sum(axis=1)
    staying = _sums_before(held * weights[:members])
    moving = _sums_before(held * weights[1 : members + 1])
    above = np.take_along_axis(staying, place, axis=1)
    not_moved = np.take_along_axis(moving, place, axis=1)
    new = above + scores * weights[place] + moving[:, -1:] - not_moved
    old = held @ weights[:members]
    return election.voters @ (new - old[:, None])


def _sums_before(values: Float) -> Float:
    """Sums of the first 0, 1, 2, ... values of each row."""
    return np.pad(np.cumsum(values, axis=1), ((0, 0), (1, 0)))


class _Program(NamedTuple):
    """Costs of the policies and of what else varies, and the rows between the two."""

    cost: Float
    rows: list[sparse.csr_matrix]
    lower: list[Float]
    upper: list[Float]


def exact(election: Election, seconds: float) -> tuple[list[int], float]:
    """The best committee, and a score that none exceeds.

    Mixed-integer program over x_i: i is a member; and for weights that fall over y_vij: i is voter
    v's j-th best member. What is found in time may be no committee: then the greedy one.

    Examples
    --------
    >>> approvals = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> voters, weights = np.array([3.0, 2.0]), np.array([1, 0.5])
    >>> votes = Election(approvals, voters, weights, size=2, bounds=GroupBounds.none(3))
    >>> members, bound = exact(votes, seconds=10)
    >>> members, round(bound, 6)
    ([0, 2], 5.0)
    """
    found = _solved(election, seconds)
    if found.x is None:
        of_best = best_first(election.scores)[:, : election.size]
        return greedy(election), float(election.voters @ (of_best @ election.weights))
    by_membership = np.argsort(-found.x[: election.scores.shape[1]], kind="stable")
    return by_membership[: election.size].tolist(), -found.bound + 1e-9


def another_as_good(election: Election, picked: list[int], seconds: float) -> bool | None:
    """Whether another committee scores as much as the best one; None: not known in time.

    Examples
    --------
    >>> approvals, voters = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), np.array([3.0, 2.0])
    >>> votes = Election(approvals, voters, np.array([1, 0.5]), 2, GroupBounds.none(3))
    >>> another_as_good(votes, [0, 2], seconds=10)
    True
    """
    score = election.score(picked)
    enough = score - 1e-6 * max(1.0, abs(score))
    found = _solved(election, seconds, other_than=picked)
    if found.x is not None:
        by_membership = np.argsort(-found.x[: election.scores.shape[1]], kind="stable")
        if election.score(by_membership[: election.size].tolist()) >= enough:
            return True
    return False if -found.bound < enough else None


def _solved(election: Election, seconds: float, other_than: list[int] | None = None) -> Solution:
    """The program's solution, perhaps among other committees than one."""
    policies = election.scores.shape[1]
    if election.additive:
        program = _Program(-(election.voters @ election.scores) * election.weights[0], [], [], [])
    else:
        program = _slots_program(election)
    cost = program.cost
    others = len(cost) - policies
    counted = np.r_[np.ones(policies), np.zeros(others)]
    bounds = election.bounds
    of_groups = np.pad(bounds.member, ((0, 0), (0, others)))
    rows = [sparse.csr_matrix(counted[None]), *program.rows, sparse.csr_matrix(of_groups)]
    # Equal committees are told apart by the alphabet, far below any difference in score.
    largest = max(float(np.abs(cost).max()), 1.0)
    cost[:policies] += 1e-9 * largest * np.arange(policies) / policies
    size = np.array([float(election.size)])
    lower = [size, *program.lower, bounds.low]
    upper = [size, *program.upper, bounds.high]
    if other_than is not None:
        of_committee = np.zeros(len(cost))
        of_committee[other_than] = 1
        rows.append(sparse.csr_matrix(of_committee[None]))
        lower.append(np.array([-np.inf]))
        upper.append(size - 1)
    return mixed_integer(
        cost,
        sparse.vstack(rows),
        np.concatenate(lower),
        np.concatenate(upper),
        1.0,
        counted,
        seconds=seconds,
        gap=0.0,
    )


def _slots_program(election: Election) -> _Program:
    """Each voter has a slot a weight; a member that the voter scores may fill one of them."""
    voters, policies = election.scores.shape
    slots = int((election.weights > 0).sum())
    voter, policy = np.nonzero(election.scores > 0)
    pairs = len(voter)
    value = election.voters[voter] * election.scores[voter, policy]
    cost = np.zeros(policies + pairs * slots)
    for slot in range(slots):
        first = policies + slot * pairs
        cost[first : first + pairs] = -value * election.weights[slot]
    columns = np.arange(pairs)
    unless_member = sparse.csr_matrix((-np.ones(pairs), (columns, policy)), shape=(pairs, policies))
    one_slot_a_policy = sparse.hstack([unless_member, *[sparse.eye(pairs)] * slots])
    by_voter = sparse.csr_matrix((np.ones(pairs), (voter, columns)), shape=(voters, pairs))
    of_policies = sparse.csr_matrix((voters * slots, policies))
    one_policy_a_slot = sparse.hstack([of_policies, sparse.block_diag([by_voter] * slots)])
    return _Program(
        cost,
        [one_slot_a_policy.tocsr(), one_policy_a_slot.tocsr()],
        [np.full(pairs, -np.inf), np.full(voters * slots, -np.inf)],
        [np.zeros(pairs), np.ones(voters * slots)],
    )
