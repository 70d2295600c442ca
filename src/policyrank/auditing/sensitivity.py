"""What the top rests on: leaving out a task, a rater, a policy, or the fewest battles that change
the leader.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    precision = None if is_strong(cells, LINK) else np.full(cells.size, WEAK_PRIOR**-2)
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
    """
    cells = Cells.of(replace(evidence, covariates=None, covariate_names=()))
    base = fit(cells)
    assert base.inverse is not None
    order = np.argsort(-base.theta, kind="stable")
    top, best = int(order[0]), None
    p = expit(base.theta[cells.i] - base.theta[cells.j])
    residual = cells.weight * (cells.y - p)
    for rival in order[1 : 1 + challengers]:
        direction = base.inverse[top, : cells.size] - base.inverse[int(rival), : cells.size]
        leverage = (
            cells.weight
            * p
            * (1 - p)
            * (
                base.inverse[cells.i, cells.i]
                + base.inverse[cells.j, cells.j]
                - 2 * base.inverse[cells.i, cells.j]
            )
        )
        influence = (
            residual * (direction[cells.i] - direction[cells.j]) / np.clip(1 - leverage, 0.1, None)
        )
        useful = np.flatnonzero(influence > 0)
        useful = useful[np.argsort(-influence[useful], kind="stable")]
        available = np.cumsum(cells.count[useful])
        limit = int(
            min(
                available[-1] if len(available) else 0,
                cells.count.sum() // 2,
                best.battles - 1 if best else np.inf,
            )
        )

        def lead(
            removed: int,
            useful: NDArray[np.int64] = useful,
            available: Float = available,
            rival: int = int(rival),
        ) -> float:
            count = cells.count.copy()
            before = np.r_[0.0, available[:-1]]
            count[useful] -= np.clip(removed - before, 0, cells.count[useful])
            left = replace(cells, count=count).take(count > 0)
            refit = fit(left)
            return float(refit.theta[top] - refit.theta[rival])

        if limit < 1 or lead(limit) > 0:
            continue
        # Where the influences, added up, close the gap: a first guess that halves most of the
        # refits.
        gap = float(base.theta[top] - base.theta[rival])
        near = int(np.searchsorted(np.cumsum(influence[useful] * cells.count[useful]), gap))
        middle = int(np.clip(available[min(near, len(available) - 1)], 1, limit))
        low, high = 0, limit
        while high - low > 1:
            low, high = (low, middle) if lead(middle) <= 0 else (middle, high)
            middle = (low + high) // 2
        left = high
        taken = []
        for c in useful:
            amount = int(min(left, cells.count[c]))
            if not amount:
                break
            taken.append(
                (
                    evidence.policies[cells.i[c]],
                    evidence.policies[cells.j[c]],
                    float(cells.y[c]),
                    amount,
                )
            )
            left -= amount
        names = evidence.policies
        best = FewestBattles(
            names[top], names[int(rival)], high, high / float(cells.count.sum()), tuple(taken[:10])
        )
    return best


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
    """
    bare = replace(evidence, covariates=None, covariate_names=())
    cells = Cells.of(bare, cluster=None if what == "policy" else what)
    whole = fit(Cells.of(bare))
    leader = int(np.argmax(whole.theta))
    changes = {}
    if what == "policy":
        names: tuple[str, ...] = evidence.policies
        sizes = evidence.seen()
    else:
        assert cells.cluster is not None
        names = getattr(evidence, what).names
        sizes = np.bincount(cells.cluster, cells.count, len(names))
    tried = np.argsort(-sizes, kind="stable")[:most]
    start = whole.parameters
    for g in tried:
        keep = (cells.i != g) & (cells.j != g) if what == "policy" else cells.cluster != g
        if not keep.any():
            continue
        theta = fit(cells.take(keep), start).theta.copy()
        seen = np.zeros(cells.size, bool)
        seen[cells.i[keep]] = seen[cells.j[keep]] = True
        theta[~seen] = -np.inf
        first = int(np.argmax(theta))
        expected = (
            leader
            if what != "policy" or g != leader
            else int(np.argsort(-whole.theta, kind="stable")[1])
        )
        if first != expected:
            changes[names[g]] = evidence.policies[first]
    return LeaveOut(len(tried), changes)
