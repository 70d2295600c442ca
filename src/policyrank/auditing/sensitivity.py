"""What the top rests on: a task, a rater, a policy, or few battles that change the leader."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from policyrank.evidence import Comparisons
from policyrank.ranking.cells import Cells, is_strong
from policyrank.ranking.conventions import WEAK_PRIOR
from policyrank.ranking.likelihood import Fit, newton
from policyrank.ranking.links import LINKS

Float = NDArray[np.float64]
LINK = LINKS["half"]


def fit(cells: Cells, start: Float | None = None) -> Fit:
    """Bradley-Terry with ties as half; with the weak prior where no finite maximum exists."""
    precision = None
    if not is_strong(cells, LINK):
        precision = np.full(cells.size, WEAK_PRIOR**-2)
    return newton(cells, LINK, precision=precision, start=start)


@dataclass(frozen=True)
class FewestBattles:
    """The smallest set of battles found whose removal puts ``challenger`` above ``leader``.

    Attributes
    ----------
    battles
        how many
    share
        of all battles
    described
        which: (policy a, policy b, outcome of a, how many), most influential first
    """

    leader: str
    challenger: str
    battles: int
    share: float
    described: tuple[tuple[str, str, float, int], ...]


def fewest_battles(evidence: Comparisons, *, challengers: int = 5) -> FewestBattles | None:
    """The fewest battles whose removal changes the leader, by influence and checked by refitting.

    Battles are ordered by their influence on the leader's lead (one Newton step), removed in that
    order, and the number is found by bisection over exact refits. It is an upper bound on the true
    minimum, and tight where influences add up. None when no removal of up to half of the battles
    does it.

    References
    ----------
    Broderick, Giordano and Meager (2020), "An Automatic Finite-Sample Robustness Metric", arXiv
    2011.14999.

    Examples
    --------
    >>> battles = Comparisons.of(["x"] * 5, ["y"] * 5, [1, 1, 1, 0, 0])
    >>> fewest_battles(battles).battles    # without one win of x it leads no more
    1
    """
    cells = Cells.of(replace(evidence, covariates=None, covariate_names=()))
    base = fit(cells)
    order = np.argsort(-base.theta, kind="stable")
    all_battles = float(cells.count.sum())
    best: FewestBattles | None = None
    for rival in order[1 : 1 + challengers]:
        duel = _Duel.of(cells, base, int(order[0]), int(rival))
        most = min(duel.available.max(initial=0.0), cells.count.sum() // 2)
        if best is not None:
            most = min(most, best.battles - 1)
        fewest = duel.fewest(int(most))
        if fewest is None:
            continue
        names = evidence.policies
        described = duel.described(fewest, names)
        leader, challenger = names[duel.top], names[duel.rival]
        best = FewestBattles(leader, challenger, fewest, fewest / all_battles, described[:10])
    return best


@dataclass(frozen=True, eq=False)
class _Duel:
    """The leader against one challenger.

    Attributes
    ----------
    gap
        lead of the leader, log-odds
    useful
        cells whose removal shrinks it, most influential first
    influence
        by how much, one battle of each of those
    """

    cells: Cells
    top: int
    rival: int
    gap: float
    useful: NDArray[np.int64]
    influence: Float

    @classmethod
    def of(cls, cells: Cells, base: Fit, top: int, rival: int) -> _Duel:
        inverse, i, j = base.inverse, cells.i, cells.j
        assert inverse is not None
        p = expit(base.theta[i] - base.theta[j])
        residual = cells.weight * (cells.y - p)
        direction = inverse[top, : cells.size] - inverse[rival, : cells.size]
        variance = inverse[i, i] + inverse[j, j] - 2 * inverse[i, j]
        leverage = cells.weight * p * (1 - p) * variance
        pull = residual * (direction[i] - direction[j])
        influence = pull / np.clip(1 - leverage, 0.1, None)
        useful = np.flatnonzero(influence > 0)
        useful = useful[np.argsort(-influence[useful], kind="stable")]
        gap = float(base.theta[top] - base.theta[rival])
        return cls(cells, top, rival, gap, useful, influence[useful])

    @cached_property
    def available(self) -> Float:
        """Battles up to each useful cell, that one included."""
        return np.cumsum(self.cells.count[self.useful])

    def lead(self, removed: int) -> float:
        """Lead when so many of the most influential battles are removed."""
        count = self.cells.count.copy()
        before = np.r_[0.0, self.available[:-1]]
        count[self.useful] -= np.clip(removed - before, 0, count[self.useful])
        theta = fit(replace(self.cells, count=count).take(count > 0)).theta
        return float(theta[self.top] - theta[self.rival])

    def fewest(self, most: int) -> int | None:
        """How many must be removed, by bisection; None where ``most`` are not enough."""
        if most < 1 or self.lead(most) > 0:
            return None
        # Where the influences, added up, close the gap: a first guess that halves most of the
        # refits.
        closed = np.cumsum(self.influence * self.cells.count[self.useful])
        near = min(int(np.searchsorted(closed, self.gap)), len(closed) - 1)
        middle = int(np.clip(self.available[near], 1, most))
        low, high = 0, most
        while high - low > 1:
            if self.lead(middle) <= 0:
                high = middle
            else:
                low = middle
            middle = (low + high) // 2
        return high

    def described(
        self, removed: int, names: tuple[str, ...]
    ) -> tuple[tuple[str, str, float, int], ...]:
        """Which battles are removed: policies, outcome, how many."""
        found, left = [], removed
        for cell in self.useful:
            amount = int(min(left, self.cells.count[cell]))
            if not amount:
                break
            first, second = names[self.cells.i[cell]], names[self.cells.j[cell]]
            found.append((first, second, float(self.cells.y[cell]), amount))
            left -= amount
        return tuple(found)


@dataclass(frozen=True)
class LeaveOut:
    """What happens to the leader when each of some things is left out.

    Attributes
    ----------
    tried
        how many were left out, one at a time
    changes
        name -> the leader without it, where that is another
    """

    tried: int
    changes: dict[str, str]


def leave_out(evidence: Comparisons, what: str, *, most: int = 300) -> LeaveOut:
    """Refit without each task, rater or policy; of more than ``most`` only the largest ones.

    Parameters
    ----------
    what
        ``"task"``, ``"rater"`` or ``"policy"``

    Examples
    --------
    >>> battles = Comparisons.of(
    ...     ["x"] * 5, ["y"] * 5, [1, 1, 1, 0, 0], task=["a", "a", "a", "b", "b"]
    ... )
    >>> leave_out(battles, "task").changes
    {'a': 'y'}
    """
    bare = replace(evidence, covariates=None, covariate_names=())
    whole = fit(Cells.of(bare))
    leader, second = np.argsort(-whole.theta, kind="stable")[:2]
    names, sizes, cells = _parts(bare, what)
    tried = np.argsort(-sizes, kind="stable")[:most]
    changes = {}
    for part in tried:
        expected = leader
        if what == "policy":
            keep = (cells.i != part) & (cells.j != part)
            if part == leader:
                expected = second
        else:
            keep = cells.cluster != part
        if not keep.any():
            continue
        first = _leader(cells, keep, whole)
        if first != expected:
            changes[names[part]] = evidence.policies[first]
    return LeaveOut(len(tried), changes)


def _parts(evidence: Comparisons, what: str) -> tuple[tuple[str, ...], NDArray[Any], Cells]:
    """What is left out one by one: names, battles of each, cells that tell them apart."""
    if what == "policy":
        return evidence.policies, evidence.seen(), Cells.of(evidence)
    cells = Cells.of(evidence, cluster=what)
    assert cells.cluster is not None
    names: tuple[str, ...] = getattr(evidence, what).names
    return names, np.bincount(cells.cluster, cells.count, len(names)), cells


def _leader(cells: Cells, keep: NDArray[np.bool_], whole: Fit) -> int:
    """First among the policies of the cells that are kept, by a refit."""
    theta = fit(cells.take(keep), whole.parameters).theta.copy()
    seen = np.zeros(cells.size, bool)
    seen[cells.i[keep]] = seen[cells.j[keep]] = True
    theta[~seen] = -np.inf
    return int(np.argmax(theta))
