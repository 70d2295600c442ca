"""Checks of what was compared: who met whom, how often, until when, and whether rows repeat."""

from __future__ import annotations

from itertools import compress

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.auditing.case import Case, Float, graded, names, no_column, ratings_of, unless_fine
from policyrank.auditing.findings import Finding
from policyrank.auditing.illusion import gini, hhi
from policyrank.evidence import Comparisons
from policyrank.metrics import kendall_tau
from policyrank.ranking import bradley_terry, connectivity
from policyrank.ranking.conventions import ELO
from policyrank.ranking.diagnostics import Connectivity


def effective_resistance(wins: Float) -> Float:
    """Effective resistance between policies: (n, n).

    In the graph whose edges conduct one comparison each. The variance of a difference of ratings is
    at least four times this (log-odds, at even strength). Infinite between policies that no path of
    comparisons joins.

    Examples
    --------
    >>> effective_resistance(np.array([[0.0, 1, 0], [0, 0, 2], [0, 0, 0]])).round(6).tolist()
    [[0.0, 1.0, 1.5], [1.0, 0.0, 0.5], [1.5, 0.5, 0.0]]
    """
    weight = wins + wins.T
    laplacian = np.diag(weight.sum(axis=1)) - weight
    inverse = np.linalg.pinv(laplacian, hermitian=True)
    resistance = inverse.diagonal()[:, None] + inverse.diagonal() - 2 * inverse
    component = connectivity(tuple(map(str, range(len(wins)))), wins).component
    return np.where(component[:, None] == component, np.clip(resistance, 0, None), np.inf)


def check_connection(case: Case) -> Finding:
    """Do all policies hang together, and how well?"""
    policies = case.evidence.policies
    found = connectivity(policies, case.wins)
    met = (case.wins + case.wins.T)[np.triu_indices(len(policies), 1)] > 0
    numbers: dict[str, object] = {
        "components": int(found.component.max()) + 1,
        "tiers": int(found.strong.max()) + 1,
        "pair density": float(met.mean()),
    }
    if not found.connected:
        return _never_meeting(policies, found, numbers)
    resistance = effective_resistance(case.wins)
    first, second = np.unravel_index(int(np.argmax(resistance)), resistance.shape)
    sd = float(2 * np.sqrt(resistance[first, second]) * ELO)
    numbers["largest sd of a difference, Elo points"] = sd
    if not found.strongly_connected:
        return _in_tiers(found, numbers)
    pair = f"{policies[first]} and {policies[second]}"
    verdict = graded(concern=False, note=sd > 100 or met.mean() < 0.2)
    return Finding(
        "connection",
        verdict,
        f"One group, strongly connected; {met.mean():.0%} of the pairs met. The least certain"
        f" difference ({pair}) has a standard deviation of at least {sd:.0f} Elo points.",
        "effective resistance of the comparison graph",
        unless_fine(verdict, f"Compare {pair}, or policies between them."),
        numbers,
    )


def _never_meeting(
    policies: tuple[str, ...], found: Connectivity, numbers: dict[str, object]
) -> Finding:
    largest = int(np.argmax(np.bincount(found.component)))
    apart = tuple(compress(policies, found.component != largest))
    return Finding(
        "connection",
        "concern",
        f"{numbers['components']} groups of policies never meet: their ratings cannot be"
        f" compared ({names(apart)} apart from the rest).",
        "counted",
        "Compare at least a few pairs across the groups, the strongest of each first.",
        numbers,
        apart,
    )


def _in_tiers(found: Connectivity, numbers: dict[str, object]) -> Finding:
    return Finding(
        "connection",
        "concern",
        f"Wins do not connect all policies ({numbers['tiers']} tiers; never lost:"
        f" {names(found.undefeated) or 'none'}; never won: {names(found.winless) or 'none'}):"
        " how far the tiers are apart is not in the data.",
        "Ford's condition",
        "Compare neighbours of different tiers more often.",
        numbers,
        found.undefeated + found.winless,
    )


def check_sampling(case: Case) -> Finding:
    """Did everyone get the same share of comparisons?"""
    policies, seen = case.evidence.policies, case.evidence.seen()
    what, labels, amounts = _amounts(case, seen)
    share = amounts / amounts.sum()
    descending = np.argsort(-share)
    ratio = float(seen.max() / max(seen.min(), 1))
    verdict = graded(concern=ratio > 5)
    numbers = {
        "gini": gini(amounts),
        "hhi": hhi(amounts),
        "largest / smallest policy": ratio,
        "shares": {labels[place]: float(share[place]) for place in descending[:20]},
    }
    most = ", ".join(f"{labels[place]} {share[place]:.0%}" for place in descending[:3])
    few: tuple[str, ...] = ()
    if verdict == "concern":
        few = tuple(policies[place] for place in np.argsort(seen)[:5])
    return Finding(
        "sampling",
        verdict,
        f"The most compared policy was seen {ratio:.1f} times as often as the least"
        f" ({seen.max():,} and {seen.min():,}); Gini over {what} {numbers['gini']:.2f}."
        f" Most: {most}.",
        "counted",
        unless_fine(
            verdict,
            "Sample where the uncertainty is, and say so; give each policy a minimum. Policies seen"
            " more can be tuned to the judges.",
        ),
        numbers,
        few,
    )


def _amounts(case: Case, seen: NDArray[np.int64]) -> tuple[str, list[str], Float]:
    """What is counted (policies, or their owners), its names, and how often each was compared."""
    policies = case.evidence.policies
    if case.owners is None:
        return "policies", list(policies), seen.astype(float)
    owner = [case.owners.get(policy, "(no owner named)") for policy in policies]
    labels, inverse = np.unique(owner, return_inverse=True)
    return "owners", labels.tolist(), np.bincount(inverse, seen).astype(float)


def check_retirement(case: Case) -> Finding:
    """Were policies taken off silently, and what does their presence do to the others?"""
    if case.evidence.time is None:
        return no_column("retirement", "time")
    policies, window = case.evidence.policies, case.window
    recent = _seen_lately(case.evidence, window)
    gone = tuple(compress(policies, recent == 0))
    if not gone:
        return Finding(
            "retirement",
            "fine",
            f"Every policy was still compared in the last {window:.0%} of the time.",
            "counted",
        )
    numbers: dict[str, object] = {"retired": len(gone), "share": len(gone) / len(policies)}
    effect = _without_the_retired(case, list(compress(policies, recent != 0)), numbers)
    return Finding(
        "retirement",
        graded(concern=len(gone) > 0.1 * len(policies), note=True),
        f"{len(gone)} of {len(policies)} policies were not compared in the last {window:.0%} of the"
        f" time ({names(gone)}).{effect}",
        "refitted",
        "Publish removals and their reason; rate retired policies on a board of their own, since"
        " they keep ratings from an older mix of prompts.",
        numbers,
        gone,
    )


def _seen_lately(evidence: Comparisons, window: float) -> Float:
    """(n,): comparisons of each policy in the last share of the time."""
    assert evidence.time is not None
    time = evidence.time
    if time.dtype.kind == "M":
        time = time.astype("datetime64[us]")
    time = time.astype(float)
    late = time >= time.min() + (1 - window) * (time.max() - time.min())
    mass, size = evidence.mass[late], len(evidence.policies)
    seen = np.bincount(evidence.a[late], mass, size) + np.bincount(evidence.b[late], mass, size)
    return np.asarray(seen, dtype=float)


def _without_the_retired(case: Case, left: list[str], numbers: dict[str, object]) -> str:
    """What refitting without them changes, in words; its numbers are added to ``numbers``."""
    if len(left) <= 2:
        return ""
    again = bradley_terry(case.evidence.filter(policies=left), interval="none")
    old = ratings_of(case.board, again.policies)
    tau = kendall_tau(again.rating, old)
    moved = again.rating - old - (again.rating - old).mean()
    most = int(np.argmax(np.abs(moved)))
    numbers |= {"tau without them": tau, "largest move, Elo points": float(moved[most])}
    return (
        f" Without their comparisons the rest keep their order to a Kendall's tau of {tau:.2f};"
        f" {again.policies[most]} moves most, by {moved[most]:+.0f} points."
    )


def check_duplicates(case: Case) -> Finding:
    """Are there rows that repeat in every column?"""
    evidence = case.evidence
    if evidence.count is not None or (evidence.rater is None and evidence.time is None):
        return Finding(
            "duplicates",
            "unchecked",
            "Repeated rows cannot be told from repeated comparisons without raters or times.",
            remedy="Read the rater and time columns.",
        )
    frame = evidence.to_frame()
    rows = frame.height
    repeated, again = rows - frame.unique().height, _judged_again(frame)
    bad = repeated / rows > 0.01
    text = f"{repeated:,} of {rows:,} rows repeat another in every column"
    if again:
        text += f"; {again:,} times a rater judged the same pair on the same task again."
    else:
        text += "."
    remedy = ""
    if bad or again > 0.01 * rows:
        remedy = "Remove rows that were logged twice; count votes of one rater on one pair once."
    return Finding(
        "duplicates",
        graded(concern=bad, note=repeated > 0),
        text,
        "counted",
        remedy,
        {"repeated rows": repeated, "same pair, task and rater again": again},
    )


def _judged_again(frame: pl.DataFrame) -> int:
    """Rows of the same pair, in either order, with the same task, rater and time."""
    if "task" not in frame.columns:
        return 0
    known = [column for column in ("task", "rater", "time") if column in frame.columns]
    first, second = pl.min_horizontal("a", "b"), pl.max_horizontal("a", "b")
    pairs = frame.select(first.alias("x"), second.alias("y"), *known)
    return pairs.height - pairs.unique().height
