"""Checks of how comparisons were judged: by whom, in which order, and whether that changed."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass

import numpy as np
from scipy.special import expit, gammaincc, ndtr, rel_entr

from policyrank.auditing.case import (
    Case,
    Float,
    graded,
    no_column,
    ratings_of,
    unless_fine,
)
from policyrank.auditing.findings import Finding
from policyrank.board.intervals import as_normal
from policyrank.evidence import Comparisons
from policyrank.metrics import kendall_tau
from policyrank.ranking import bradley_terry
from policyrank.ranking.cells import Cells
from policyrank.ranking.conventions import ELO


def check_drift(case: Case) -> Finding:
    """Did ratings change between the first and the second half of the time?"""
    if case.evidence.time is None:
        return no_column("drift", "time")
    first, second = _halves(case.evidence)
    before = bradley_terry(first, level=case.level)
    after = bradley_terry(second, level=case.level)
    shared = sorted(set(before.policies) & set(after.policies))
    if len(shared) < 3:
        return Finding(
            "drift",
            "concern",
            "Fewer than three policies were compared in both halves of the time.",
            "counted",
            "Keep some policies on the board throughout.",
        )
    centre = np.eye(len(shared)) - 1 / len(shared)
    ratings, covariances = [], []
    for board in (before, after):
        where = [board.position(policy) for policy in shared]
        assert board.covariance is not None
        ratings.append(centre @ board.rating[where])
        covariances.append(centre @ board.covariance[np.ix_(where, where)] @ centre)
    gap, spread = ratings[1] - ratings[0], covariances[0] + covariances[1]
    wald = float(gap @ np.linalg.pinv(spread, hermitian=True) @ gap)
    p = float(gammaincc((len(shared) - 1) / 2, wald / 2))
    z = gap / np.sqrt(spread.diagonal())
    furthest = np.argsort(-np.abs(z))[:10]
    numbers = {
        "wald": wald,
        "df": len(shared) - 1,
        "p": p,
        "moves": {shared[place]: float(gap[place]) for place in furthest},
    }
    verdict = graded(concern=p < 0.01)
    most = int(np.argmax(np.abs(z)))
    differ = "do not differ detectably"
    concerned: tuple[str, ...] = ()
    if verdict == "concern":
        differ, concerned = "differ", (shared[most],)
    return Finding(
        "drift",
        verdict,
        f"Ratings {differ} between the first and the second half of the time; {shared[most]} moved"
        f" most ({gap[most]:+.0f} Elo points, z = {z[most]:.1f}).",
        f"Wald test, p = {p:.2g}",
        unless_fine(
            verdict,
            "Rate by period, or weigh recent comparisons more; look for a change of prompts, judges"
            " or the policies themselves.",
        ),
        numbers,
        concerned,
    )


def _halves(evidence: Comparisons) -> tuple[Comparisons, Comparisons]:
    assert evidence.time is not None
    order = np.argsort(evidence.time, kind="stable")
    half = len(order) // 2
    return evidence.take(np.sort(order[:half])), evidence.take(np.sort(order[half:]))


def check_order(case: Case) -> Finding:
    """Does being listed first help?"""
    evidence = case.evidence
    ascending = evidence.a < evidence.b
    if ascending.all() or not ascending.any():
        return Finding(
            "order",
            "unchecked",
            "Every pair is listed in one order only, so position cannot be told from strength.",
            remedy="Shuffle which policy is shown first, and record it.",
        )
    board = bradley_terry(evidence, order_effect=True)
    effect = board.extras["coefficients"][0]
    gain, error = float(effect["log_odds"]), float(effect["standard_error"])
    t = as_normal(gain / error, effect.get("df", np.inf)) if error > 0 else 0.0
    p = float(2 * ndtr(-np.abs(t)))
    tau = kendall_tau(board.rating, ratings_of(case.board, board.policies))
    verdict = graded(concern=p < 0.01 and abs(gain) * ELO > 5)
    return Finding(
        "order",
        verdict,
        f"Being listed first is worth {gain * ELO:+.0f} Elo points (standard error"
        f" {error * ELO:.0f}); corrected for it, the order agrees to a Kendall's tau of {tau:.2f}.",
        f"Bradley-Terry with an order effect, p = {p:.2g}",
        unless_fine(verdict, "Fit it along (--order-effect), and show each pair in both orders."),
        {
            "Elo points": gain * ELO,
            "standard error": error * ELO,
            "p": p,
            "tau of the corrected order": tau,
        },
    )


@dataclass(frozen=True)
class Flag:
    """A rater who judges a policy unlike the others."""

    rater: str
    policy: str
    z: float
    comparisons: int


def check_raters(case: Case) -> Finding:
    """Are raters independent, and does any of them push a policy?"""
    if case.evidence.rater is None:
        return no_column("raters", "rater")
    raters = case.evidence.rater.names
    if len(raters) < 2:
        return Finding(
            "raters",
            "concern",
            "All comparisons come from one rater.",
            "counted",
            "Ask several raters.",
            {"raters": 1},
        )
    cells = Cells.of(case.evidence, cluster="rater")
    assert cells.cluster is not None
    votes = np.bincount(cells.cluster, cells.count, len(raters))
    largest, all_votes = votes[int(np.argmax(votes))], votes.sum()
    flagged, design = _flagged(case, cells, raters), _design_effect(case.evidence)
    numbers = {
        "raters": len(raters),
        "largest share": float(largest / all_votes),
        "design effect": design,
        "flagged": [asdict(flag) for flag in flagged[:20]],
    }
    too_narrow = design > 1.5
    text = (
        f"{len(raters)} raters; the busiest gave {largest / all_votes:.0%} of the comparisons."
        " Intervals that take them as independent are"
        f" {'too narrow' if too_narrow else 'about right'} (variance x {design:.1f} when summed"
        " by rater)."
    )
    remedies = []
    if too_narrow:
        remedies.append("Cluster the intervals by rater (--cluster rater).")
    if flagged:
        remedies.append("Look at the flagged raters; rank again without them.")
        text += _standing_out(flagged) + _pushing_together(flagged, numbers)
    return Finding(
        "raters",
        graded(concern=bool(flagged) or design > 2 or largest > 0.5 * all_votes, note=too_narrow),
        text,
        "sandwich with and without clusters; Hoeffding's bound on each rater's residuals,"
        " Bonferroni",
        " ".join(remedies),
        numbers,
        tuple(dict.fromkeys(flag.policy for flag in flagged[:5])),
    )


def _flagged(case: Case, cells: Cells, raters: tuple[str, ...]) -> list[Flag]:
    """Raters and policies whose results are too far from what the board expects, furthest first."""
    assert cells.cluster is not None
    size = cells.size
    p = expit(case.theta[cells.i] - case.theta[cells.j])
    code = np.r_[cells.cluster * size + cells.i, cells.cluster * size + cells.j]

    def by_pair(first: Float, second: Float) -> Float:
        mass = np.r_[cells.count * first, cells.count * second]
        return np.asarray(np.bincount(code, mass, len(raters) * size), dtype=float)

    ones = np.ones(len(p))
    number = by_pair(ones, ones)
    tested = np.flatnonzero(number >= 5)
    number = number[tested]
    won = by_pair(cells.y, 1 - cells.y)[tested]
    expected = by_pair(p, 1 - p)[tested]
    variance = by_pair(p * (1 - p), p * (1 - p))[tested]
    z = (won - expected) / np.sqrt(np.maximum(variance, 1e-12))
    # Hoeffding's bound by relative entropy: valid for few comparisons, lopsided odds and ties,
    # where z-scores are not.
    rate, hope = won / number, expected / number
    entropy = rel_entr(rate, hope) + rel_entr(1 - rate, 1 - hope)
    p_values = np.minimum(2 * np.exp(-number * entropy) * max(len(tested), 1), 1.0)
    found = []
    for place in np.flatnonzero(p_values < case.alpha):
        rater, policy = divmod(int(tested[place]), size)
        found.append(
            Flag(
                raters[rater],
                case.evidence.policies[policy],
                float(z[place]),
                int(number[place]),
            )
        )
    return sorted(found, key=lambda flag: -abs(flag.z))


def _design_effect(evidence: Comparisons) -> float:
    """How much larger variances are when summed by rater."""
    naive = bradley_terry(evidence, interval="sandwich", cluster="none")
    clustered = bradley_terry(evidence, interval="sandwich", cluster="rater")
    assert naive.covariance is not None
    assert clustered.covariance is not None
    return float(np.median(clustered.covariance.diagonal() / naive.covariance.diagonal()))


def _standing_out(flagged: list[Flag]) -> str:
    first = flagged[0]
    return (
        f" {len(flagged)} rater-policy pairs stand out, first {first.rater}, who"
        f" {'favours' if first.z > 0 else 'disfavours'} {first.policy} in {first.comparisons}"
        f" comparisons (z = {first.z:.1f})."
    )


def _pushing_together(flagged: list[Flag], numbers: dict[str, object]) -> str:
    """Several raters who push one policy the same way, in words and in ``numbers``."""
    together = Counter((flag.policy, flag.z > 0) for flag in flagged)
    (policy, up), many = together.most_common(1)[0]
    if many < 2:
        return ""
    numbers["pushing together"] = {"policy": policy, "up": up, "raters": many}
    return f" {many} of them push {policy} {'up' if up else 'down'}: they may be coordinated."
