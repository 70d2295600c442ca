"""Which comparisons to make next, and what each is expected to settle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import ndtr

from policyrank.errors import EvidenceError
from policyrank.evaluation.rules import pair_worth, shrink
from policyrank.evaluation.state import State
from policyrank.evidence import Comparisons, read
from policyrank.ranking.conventions import ELO, need

Goal = Literal["rank-uncertainty", "a-optimal", "d-optimal", "best"]


@dataclass(frozen=True, eq=False)
class Plan:
    """The next comparisons, most valuable pair first.

    Attributes
    ----------
    frame
        a, b, comparisons, win_chance (of a over b now), misordered_now and misordered_after (chance
        that the two are ordered wrongly, before and after the whole plan), sd_now and sd_after (Elo
        points, of their difference)
    misordered_now, misordered_after
        expected number of neighbours on the board that are misordered
    budget, goal
        how it was made
    """

    frame: pl.DataFrame
    misordered_now: float
    misordered_after: float
    budget: int
    goal: str

    def __str__(self) -> str:
        head = (
            f"{self.budget} comparisons ({self.goal}): misordered neighbours expected to fall from"
            f" {self.misordered_now:.2f} to {self.misordered_after:.2f}"
        )
        lines = [head, ""]
        for r in self.frame.iter_rows(named=True):
            lines.append(
                f"{r['comparisons']:5d} x  {r['a']} against {r['b']}: order wrong with chance"
                f" {r['misordered_now']:.0%} now, {r['misordered_after']:.0%} after (sd of the"
                f" difference {r['sd_now']:.0f} -> {r['sd_after']:.0f} Elo points)"
            )
        return "\n".join(lines)


def plan(evidence: Any, budget: int = 100, *, goal: Goal = "rank-uncertainty") -> Plan:
    """Plan the next comparisons under the Bradley-Terry posterior, greedily, each taking those
    before into account.

    Parameters
    ----------
    evidence
        Comparisons, or anything that ``policyrank.read`` reads as such
    budget
        comparisons to plan, >= 1
    goal
        ``"rank-uncertainty"``: fewer misordered neighbours; ``"best"``: settle who is first (the
        leader against those that may be better); ``"a-optimal"``: small variances; ``"d-optimal"``:
        large information

    Returns
    -------
    Plan

    Examples
    --------
    >>> battles = Comparisons.of(["x"] * 20 + ["y"] * 4, ["y"] * 20 + ["z"] * 4, [1, 1, 1, 0] * 6)
    >>> plan(battles, 10).frame["comparisons"].sum()
    10
    """
    if not isinstance(evidence, Comparisons):
        evidence = (
            read(evidence, kind="comparisons") if not hasattr(evidence, "policies") else evidence
        )
    need(evidence, Comparisons, "plan")
    if budget < 1:
        raise EvidenceError(f"budget={budget}: plan at least one comparison.")
    state = State(evidence.policies, ("all",))
    state.wins = evidence.preferences()
    theta, before = state.posterior()
    n, covariance = len(theta), before.copy()
    counts = np.zeros((n, n), dtype=np.int64)
    order = np.argsort(-theta)
    upper = np.triu(np.ones((n, n), bool), 1)
    for _ in range(budget):
        worth, information = pair_worth(
            theta, covariance, "rank-uncertainty" if goal == "best" else goal
        )
        if goal == "best":
            lead = _misordered(theta, covariance, np.full(n - 1, order[0]), order[1:])
            k = int(order[1 + int(np.argmax(lead * np.where(lead > 1e-6, 1, 0)))])
            i, j = sorted((int(order[0]), k))
        else:
            i, j = (
                int(x)
                for x in np.unravel_index(
                    int(np.argmax(np.where(upper, worth, -np.inf))), worth.shape
                )
            )
        counts[i, j] += 1
        covariance = shrink(covariance, i, j, float(information[i, j]))
    row, column = np.nonzero(counts)
    ahead = theta[row] >= theta[column]
    first, second = np.where(ahead, row, column), np.where(ahead, column, row)
    names = pl.Series(evidence.policies, dtype=pl.String)

    def sd(cov: NDArray[np.float64]) -> NDArray[np.float64]:
        return (
            np.sqrt(np.maximum(cov[row, row] + cov[column, column] - 2 * cov[row, column], 0)) * ELO
        )

    frame = pl.DataFrame(
        {
            "a": names.gather(first),
            "b": names.gather(second),
            "comparisons": counts[row, column],
            "win_chance": 1 / (1 + np.exp(theta[second] - theta[first])),
            "misordered_now": _misordered(theta, before, first, second),
            "misordered_after": _misordered(theta, covariance, first, second),
            "sd_now": sd(before),
            "sd_after": sd(covariance),
        }
    ).sort("comparisons", "a", "b", descending=[True, False, False])
    return Plan(
        frame,
        float(_misordered(theta, before, order[:-1], order[1:]).sum()),
        float(_misordered(theta, covariance, order[:-1], order[1:]).sum()),
        budget,
        goal,
    )


def _misordered(
    theta: NDArray[np.float64],
    covariance: NDArray[np.float64],
    ahead: NDArray[np.int64],
    behind: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Chance that the one rated higher is truly the lower, under the normal posterior."""
    variance = covariance[ahead, ahead] + covariance[behind, behind] - 2 * covariance[ahead, behind]
    return ndtr(-np.abs(theta[ahead] - theta[behind]) / np.sqrt(np.maximum(variance, 1e-12)))
