"""The checks of an audit of comparisons, one function each: a finding about one thing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit, gammaincc, ndtr, rel_entr

from policyrank.auditing.findings import Finding, Verdict
from policyrank.auditing.illusion import gini, hhi, variants_to_explain
from policyrank.auditing.sensitivity import fewest_battles, leave_out
from policyrank.board import Leaderboard
from policyrank.evidence import Comparisons
from policyrank.metrics import kendall_tau
from policyrank.ranking import bradley_terry, connectivity
from policyrank.ranking.cells import Cells
from policyrank.ranking.conventions import ELO

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Case:
    """What the checks look at: the comparisons, their board, and who owns which policy."""

    evidence: Comparisons
    board: Leaderboard
    wins: Float
    owners: Mapping[str, str] | None
    level: float

    @classmethod
    def of(cls, evidence: Comparisons, owners: Mapping[str, str] | None, level: float) -> Case:
        plain = replace(evidence, covariates=None, covariate_names=())
        return cls(
            plain,
            bradley_terry(plain, cluster=_cluster(evidence), level=level),
            plain.preferences(),
            owners,
            level,
        )

    @property
    def alpha(self) -> float:
        return 1 - self.level

    @property
    def theta(self) -> Float:
        """Log-odds ratings in the order of the evidence's policies."""
        return (
            np.array([self.board.rating[self.board.position(p)] for p in self.evidence.policies])
            / ELO
        )


def _cluster(evidence: Comparisons) -> Literal["rater"] | None:
    """Raters, where there are enough of them for a covariance by cluster."""
    return "rater" if evidence.rater is not None and len(evidence.rater.names) > 10 else None


def names(policies: tuple[str, ...] | list[str], most: int = 5) -> str:
    return ", ".join(policies[:most]) + (
        f" and {len(policies) - most} more" if len(policies) > most else ""
    )


def effective_resistance(wins: Float) -> Float:
    """Effective resistance between policies in the graph whose edges conduct one comparison each:
    (n, n).

    The variance of a difference of ratings is at least four times this (log-odds, at even
    strength). Infinite between policies that no path of comparisons joins.
    """
    weight = wins + wins.T
    laplacian = np.diag(weight.sum(axis=1)) - weight
    inverse = np.linalg.pinv(laplacian, hermitian=True)
    resistance = inverse.diagonal()[:, None] + inverse.diagonal() - 2 * inverse
    component = connectivity(tuple(map(str, range(len(wins)))), wins).component
    return np.where(component[:, None] == component, np.clip(resistance, 0, None), np.inf)


def check_connection(case: Case) -> Finding:
    """Do all policies hang together, and how well?"""
    found, n = connectivity(case.evidence.policies, case.wins), len(case.evidence.policies)
    met = (case.wins + case.wins.T)[np.triu_indices(n, 1)] > 0
    numbers: dict[str, object] = {
        "components": int(found.component.max()) + 1,
        "tiers": int(found.strong.max()) + 1,
        "pair density": float(met.mean()),
    }
    if not found.connected:
        largest = int(np.argmax(np.bincount(found.component)))
        apart = tuple(
            p for p, c in zip(case.evidence.policies, found.component, strict=True) if c != largest
        )
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
    resistance = effective_resistance(case.wins)
    worst = np.unravel_index(int(np.argmax(resistance)), resistance.shape)
    numbers["largest sd of a difference, Elo points"] = sd = float(
        2 * np.sqrt(resistance[worst]) * ELO
    )
    pair = f"{case.evidence.policies[worst[0]]} and {case.evidence.policies[worst[1]]}"
    if not found.strongly_connected:
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
    verdict: Verdict = "note" if sd > 100 or met.mean() < 0.2 else "fine"
    return Finding(
        "connection",
        verdict,
        f"One group, strongly connected; {met.mean():.0%} of the pairs met. The least certain"
        f" difference ({pair}) has a standard deviation of at least {sd:.0f} Elo points.",
        "effective resistance of the comparison graph",
        "" if verdict == "fine" else f"Compare {pair}, or policies between them.",
        numbers,
    )


def check_sampling(case: Case) -> Finding:
    """Did everyone get the same share of comparisons?"""
    seen = case.evidence.seen()
    if case.owners is None:
        what, labels = "policies", list(case.evidence.policies)
        amounts = seen.astype(float)
    else:
        owner = [case.owners.get(p, "(no owner named)") for p in case.evidence.policies]
        labels, what = sorted(set(owner)), "owners"
        inverse = np.array([labels.index(o) for o in owner])
        amounts = np.bincount(inverse, seen).astype(float)
    share = amounts / amounts.sum()
    ratio = float(seen.max() / max(seen.min(), 1))
    top = np.argsort(-share)[:3]
    numbers = {
        "gini": gini(amounts),
        "hhi": hhi(amounts),
        "largest / smallest policy": ratio,
        "shares": {labels[i]: float(share[i]) for i in np.argsort(-share)[:20]},
    }
    unequal = ratio > 5
    text = (
        f"The most compared policy was seen {ratio:.1f} times as often as the least ({seen.max():,}"
        f" and {seen.min():,}); Gini over {what} {numbers['gini']:.2f}. Most: "
        + ", ".join(f"{labels[i]} {share[i]:.0%}" for i in top)
        + "."
    )
    return Finding(
        "sampling",
        "concern" if unequal else "fine",
        text,
        "counted",
        (
            "Sample where the uncertainty is, and say so; give each policy a minimum. Policies seen"
            " more can be tuned to the judges."
            if unequal
            else ""
        ),
        numbers,
        tuple(case.evidence.policies[i] for i in np.argsort(seen)[:5]) if unequal else (),
    )


def _unchecked(check: str, column: str) -> Finding:
    return Finding(
        check,
        "unchecked",
        f"The comparisons have no column {column!r}.",
        remedy=f"Read them with {column}=...",
    )


def check_retirement(case: Case, window: float = 0.2) -> Finding:
    """Were policies taken off silently, and what does their presence do to the others?"""
    if case.evidence.time is None:
        return _unchecked("retirement", "time")
    time = (
        case.evidence.time.astype("datetime64[us]").astype(float)
        if case.evidence.time.dtype.kind == "M"
        else case.evidence.time.astype(float)
    )
    cut = time.min() + (1 - window) * (time.max() - time.min())
    late = time >= cut
    k = len(case.evidence.policies)
    mass = case.evidence.mass
    recent = np.bincount(case.evidence.a[late], mass[late], k) + np.bincount(
        case.evidence.b[late], mass[late], k
    )
    gone = tuple(p for p, n in zip(case.evidence.policies, recent, strict=True) if n == 0)
    if not gone:
        return Finding(
            "retirement",
            "fine",
            f"Every policy was still compared in the last {window:.0%} of the time.",
            "counted",
        )
    left = [p for p in case.evidence.policies if p not in gone]
    numbers: dict[str, object] = {"retired": len(gone), "share": len(gone) / k}
    effect = ""
    if len(left) > 2:
        again = bradley_terry(case.evidence.filter(policies=left), interval="none")
        old = np.array([case.board.rating[case.board.position(p)] for p in again.policies])
        tau = kendall_tau(again.rating, old)
        moved = again.rating - old - (again.rating - old).mean()
        most = int(np.argmax(np.abs(moved)))
        numbers |= {"tau without them": tau, "largest move, Elo points": float(moved[most])}
        effect = (
            f" Without their comparisons the rest keep their order to a Kendall's tau of {tau:.2f};"
            f" {again.policies[most]} moves most, by {moved[most]:+.0f} points."
        )
    return Finding(
        "retirement",
        "concern" if len(gone) > 0.1 * k else "note",
        f"{len(gone)} of {k} policies were not compared in the last {window:.0%} of the time"
        f" ({names(gone)}).{effect}",
        "refitted",
        "Publish removals and their reason; rate retired policies on a board of their own, since"
        " they keep ratings from an older mix of prompts.",
        numbers,
        gone,
    )


def check_best_of_n(case: Case) -> Finding:
    """How many private variants would explain the leader's lead by choosing the luckiest?"""
    b = case.board
    if b.covariance is None or len(b) < 2:
        return Finding("best of n", "unchecked", "The board has no intervals.")
    sd = float(np.sqrt(b.covariance[0, 0]))
    gap = float(b.rating[0] - b.rating[1])
    n = variants_to_explain(gap, sd)
    numbers = {"lead, Elo points": gap, "sd of the leader": sd, "variants": n}
    verdict: Verdict = "note" if n <= 30 else "fine"
    shown = f"{n:,.0f} equally good variants" if np.isfinite(n) else "no number of variants"
    return Finding(
        "best of n",
        verdict,
        f"{b.policies[0]} leads by {gap:.0f} Elo points with a standard error of {sd:.0f}: choosing"
        f" the best of {shown} tested as often would explain"
        f" {'a lead like this' if np.isfinite(n) else 'it'}.",
        "expected maximum of normals",
        (
            "Ask how many variants were tested before this one was published; let a published"
            " policy receive fresh battles and drop those before publication."
            if verdict == "note"
            else ""
        ),
        numbers,
        (b.policies[0],),
    )


def _halves(case: Case) -> tuple[Comparisons, Comparisons]:
    assert case.evidence.time is not None
    order = np.argsort(case.evidence.time, kind="stable")
    half = len(order) // 2
    return case.evidence.take(np.sort(order[:half])), case.evidence.take(np.sort(order[half:]))


def check_drift(case: Case) -> Finding:
    """Did ratings change between the first and the second half of the time?"""
    if case.evidence.time is None:
        return _unchecked("drift", "time")
    boards = [bradley_terry(half, level=case.level) for half in _halves(case)]
    shared = sorted(set(boards[0].policies) & set(boards[1].policies))
    if len(shared) < 3:
        return Finding(
            "drift",
            "concern",
            "Fewer than three policies were compared in both halves of the time.",
            "counted",
            "Keep some policies on the board throughout.",
        )
    x, cov = [], []
    for board in boards:
        where = [board.position(p) for p in shared]
        centre = np.eye(len(shared)) - 1 / len(shared)
        assert board.covariance is not None
        x.append(centre @ board.rating[where])
        cov.append(centre @ board.covariance[np.ix_(where, where)] @ centre)
    gap, spread = x[1] - x[0], cov[0] + cov[1]
    wald = float(gap @ np.linalg.pinv(spread, hermitian=True) @ gap)
    p = float(gammaincc((len(shared) - 1) / 2, wald / 2))
    z = gap / np.sqrt(spread.diagonal())
    most = int(np.argmax(np.abs(z)))
    moved = f"{shared[most]} moved most ({gap[most]:+.0f} Elo points, z = {z[most]:.1f})"
    numbers = {
        "wald": wald,
        "df": len(shared) - 1,
        "p": p,
        "moves": {shared[i]: float(gap[i]) for i in np.argsort(-np.abs(z))[:10]},
    }
    bad = p < 0.01
    return Finding(
        "drift",
        "concern" if bad else "fine",
        f"Ratings {'differ' if bad else 'do not differ detectably'} between the first and the"
        f" second half of the time; {moved}.",
        f"Wald test, p = {p:.2g}",
        (
            "Rate by period, or weigh recent comparisons more; look for a change of prompts, judges"
            " or the policies themselves."
            if bad
            else ""
        ),
        numbers,
        (shared[most],) if bad else (),
    )


def check_raters(case: Case) -> Finding:
    """Are raters independent, and does any of them push a policy?"""
    if case.evidence.rater is None:
        return _unchecked("raters", "rater")
    cells = Cells.of(case.evidence, cluster="rater")
    assert cells.cluster is not None
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
    theta, k = case.theta, cells.size
    p = expit(theta[cells.i] - theta[cells.j])
    code = np.r_[cells.cluster * k + cells.i, cells.cluster * k + cells.j]

    def by_pair(first: Float, second: Float) -> Float:
        return np.asarray(
            np.bincount(code, np.r_[cells.count * first, cells.count * second], len(raters) * k)
        )

    ones = np.ones(len(p))
    number, won, expected, variance = (
        by_pair(ones, ones),
        by_pair(cells.y, 1 - cells.y),
        by_pair(p, 1 - p),
        by_pair(p * (1 - p), p * (1 - p)),
    )
    tested = np.flatnonzero(number >= 5)
    rate, hope = won[tested] / number[tested], expected[tested] / number[tested]
    z = (won[tested] - expected[tested]) / np.sqrt(np.maximum(variance[tested], 1e-12))
    # Hoeffding's bound by relative entropy: valid for few comparisons, lopsided odds and ties,
    # where z-scores are not.
    entropy = rel_entr(rate, hope) + rel_entr(1 - rate, 1 - hope)
    p_values = np.minimum(2 * np.exp(-number[tested] * entropy) * max(len(tested), 1), 1.0)
    flagged = [
        (raters[c // k], case.evidence.policies[c % k], float(zz), int(number[c]))
        for c, zz, pv in zip(tested, z, p_values, strict=True)
        if pv < case.alpha
    ]
    flagged.sort(key=lambda f: -abs(f[2]))
    naive = bradley_terry(case.evidence, interval="sandwich")
    clustered = bradley_terry(case.evidence, interval="sandwich", cluster="rater")
    assert naive.covariance is not None
    assert clustered.covariance is not None
    design = float(np.median(clustered.covariance.diagonal() / naive.covariance.diagonal()))
    votes = np.bincount(cells.cluster, cells.count, len(raters))
    largest = int(np.argmax(votes))
    numbers = {
        "raters": len(raters),
        "largest share": float(votes[largest] / votes.sum()),
        "design effect": design,
        "flagged": [
            {"rater": r, "policy": q, "z": z, "comparisons": n} for r, q, z, n in flagged[:20]
        ],
    }
    text = (
        f"{len(raters)} raters; the busiest gave {votes[largest] / votes.sum():.0%} of the"
        " comparisons. Intervals that take them as independent are"
        f" {'too narrow' if design > 1.5 else 'about right'} (variance x {design:.1f} when summed"
        " by rater)."
    )
    if flagged:
        r, q, zz, n = flagged[0]
        text += (
            f" {len(flagged)} rater-policy pairs stand out, first {r}, who"
            f" {'favours' if zz > 0 else 'disfavours'} {q} in {n} comparisons (z = {zz:.1f})."
        )
        together = Counter((q, z > 0) for _, q, z, _ in flagged)
        (policy, favoured), many = together.most_common(1)[0]
        if many > 1:
            text += (
                f" {many} of them push {policy} {'up' if favoured else 'down'}: they may be"
                " coordinated."
            )
            numbers["pushing together"] = {"policy": policy, "up": bool(favoured), "raters": many}
    verdict: Verdict = (
        "concern"
        if flagged or design > 2 or votes[largest] > 0.5 * votes.sum()
        else "note"
        if design > 1.5
        else "fine"
    )
    remedy = "Cluster the intervals by rater (--cluster rater)." if design > 1.5 else ""
    if flagged:
        remedy = (remedy + " Look at the flagged raters; rank again without them.").strip()
    return Finding(
        "raters",
        verdict,
        text,
        "sandwich with and without clusters; Hoeffding's bound on each rater's residuals,"
        " Bonferroni",
        remedy,
        numbers,
        tuple(dict.fromkeys(f[1] for f in flagged[:5])),
    )


def check_order(case: Case) -> Finding:
    """Does being listed first help?"""
    c = case.evidence
    first = c.a < c.b
    if first.all() or not first.any():
        return Finding(
            "order",
            "unchecked",
            "Every pair is listed in one order only, so position cannot be told from strength.",
            remedy="Shuffle which policy is shown first, and record it.",
        )
    board = bradley_terry(c, order_effect=True, cluster=_cluster(c))
    effect = board.extras["coefficients"][0]
    b, se = float(effect["log_odds"]), float(effect["standard_error"])
    p = float(2 * ndtr(-abs(b) / se)) if se > 0 else 1.0
    old = np.array([case.board.rating[case.board.position(q)] for q in board.policies])
    tau = kendall_tau(board.rating, old)
    bad = p < 0.01 and abs(b) * ELO > 5
    numbers = {
        "Elo points": b * ELO,
        "standard error": se * ELO,
        "p": p,
        "tau of the corrected order": tau,
    }
    return Finding(
        "order",
        "concern" if bad else "fine",
        f"Being listed first is worth {b * ELO:+.0f} Elo points (standard error {se * ELO:.0f});"
        f" corrected for it, the order agrees to a Kendall's tau of {tau:.2f}.",
        f"Bradley-Terry with an order effect, p = {p:.2g}",
        "Fit it along (--order-effect), and show each pair in both orders." if bad else "",
        numbers,
    )


def check_duplicates(case: Case) -> Finding:
    """Are there rows that repeat in every column?"""
    c = case.evidence
    if c.count is not None or (c.rater is None and c.time is None):
        return Finding(
            "duplicates",
            "unchecked",
            "Repeated rows cannot be told from repeated comparisons without raters or times.",
            remedy="Read the rater and time columns.",
        )
    frame = c.to_frame()
    repeated = frame.height - frame.unique().height
    swapped = frame.select(
        pl.min_horizontal("a", "b").alias("x"),
        pl.max_horizontal("a", "b").alias("y"),
        *(pl.col(k) for k in ("task", "rater", "time") if k in frame.columns),
    )
    again = swapped.height - swapped.unique().height if "task" in frame.columns else 0
    share = repeated / frame.height
    numbers = {"repeated rows": repeated, "same pair, task and rater again": again}
    text = f"{repeated:,} of {frame.height:,} rows repeat another in every column" + (
        f"; {again:,} times a rater judged the same pair on the same task again." if again else "."
    )
    bad = share > 0.01
    return Finding(
        "duplicates",
        "concern" if bad else "note" if repeated else "fine",
        text,
        "counted",
        (
            "Remove rows that were logged twice; count votes of one rater on one pair once."
            if bad or again > 0.01 * frame.height
            else ""
        ),
        numbers,
    )


def check_near_ties(case: Case) -> Finding:
    """Is the order more than the data can tell?"""
    board = case.board
    if board.separable is None:
        return Finding("near ties", "unchecked", "The board has no intervals.")
    n, told = len(board), int(board.separable.sum())
    top = board.may_be_best
    numbers = {
        "separable neighbours": told,
        "neighbours": n - 1,
        "may be best": len(top),
        "tiers": int(board.tiers[-1]) if board.tiers is not None else 1,
    }
    verdict: Verdict = "concern" if len(top) > 1 else "note" if told < (n - 1) / 2 else "fine"
    return Finding(
        "near ties",
        verdict,
        f"{told} of {n - 1} neighbours can be told apart; {len(top)}"
        f" {'policies' if len(top) > 1 else 'policy'} may be the best ({names(top)}).",
        f"simultaneous rank sets at {case.level:.0%}",
        (
            "Publish rank sets or tiers instead of places; compare the candidates for the top more."
            if verdict != "fine"
            else ""
        ),
        numbers,
        top,
    )


def check_fewest(case: Case) -> Finding:
    """How few battles, if removed, would change the leader?"""
    found = fewest_battles(case.evidence)
    leader = case.board.policies[0]
    if found is None:
        return Finding(
            "few battles",
            "fine",
            f"No removal of up to half of the comparisons was found that takes {leader} from the"
            " top.",
            "influence, then refits",
            "",
            {"battles": None},
            (leader,),
        )
    which = "; ".join(f"{n} x {a} against {b}, outcome {y:g}" for a, b, y, n in found.described[:3])
    verdict: Verdict = (
        "concern" if found.share < 0.005 else "note" if found.share < 0.02 else "fine"
    )
    return Finding(
        "few battles",
        verdict,
        f"Removing {found.battles:,} of {case.evidence.total:,} comparisons"
        f" ({100 * found.share:.2g}%) puts {found.challenger} above {leader}: {which}.",
        "influence, checked by refitting; an upper bound on the fewest",
        (
            "Do not present the leader as settled; collect comparisons between the two."
            if verdict != "fine"
            else ""
        ),
        {
            "battles": found.battles,
            "share": found.share,
            "described": [list(d) for d in found.described],
        },
        (leader, found.challenger),
    )


def check_leave_out(case: Case, what: str) -> Finding:
    """Does the leader depend on one task, rater or policy?"""
    check = f"without one {what}"
    if what != "policy" and getattr(case.evidence, what) is None:
        return _unchecked(check, what)
    if what != "policy" and len(getattr(case.evidence, what).names) < 3:
        return Finding(check, "unchecked", f"There are fewer than three {what}s.")
    if what == "policy" and len(case.evidence.policies) < 4:
        return Finding(check, "unchecked", "There are fewer than four policies.")
    found = leave_out(case.evidence, what)
    numbers = {"tried": found.tried, "changes": found.changes}
    if not found.changes:
        return Finding(
            check,
            "fine",
            f"The leader stays the same without any one of {found.tried}"
            f" {'policies' if what == 'policy' else what + 's'}.",
            "refitted without each",
            "",
            numbers,
        )
    some = "; ".join(f"without {g}: {leader}" for g, leader in list(found.changes.items())[:3])
    return Finding(
        check,
        "concern",
        f"The leader changes without one of {len(found.changes)} of {found.tried}"
        f" {'policies' if what == 'policy' else what + 's'} ({some}).",
        "refitted without each",
        (
            "Say so beside the board; compare the candidates for the top directly."
            if what == "policy"
            else f"Say that the top rests on single {what}s, or rank by {what}."
        ),
        numbers,
        tuple(dict.fromkeys(found.changes.values())),
    )
