"""Checks of scores and rankings: what the order rests on, scales, holes."""

from __future__ import annotations

import numpy as np

from policyrank.auditing.case import Float, graded, names, unless_fine
from policyrank.auditing.findings import Finding
from policyrank.auditing.top import graded_ties, some_changes
from policyrank.board import Leaderboard
from policyrank.evidence import Rankings, Scores
from policyrank.metrics import kendall_tau

MOST_LEFT_OUT = 300


def check_near_ties(board: Leaderboard, level: float) -> Finding:
    """Is the order more than the data can tell?"""
    assert board.separable is not None
    told, neighbours, first = int(board.separable.sum()), len(board) - 1, board.may_be_best
    remedy = ""
    if told < neighbours:
        remedy = "Publish rank sets or tiers instead of places."
    return Finding(
        "near ties",
        graded_ties(board),
        f"{told} of {neighbours} neighbours can be told apart; {len(first)} may be the best"
        f" ({names(first)}).",
        f"simultaneous rank sets at {level:.0%}",
        remedy,
        {"separable neighbours": told, "may be best": len(first)},
        first,
    )


def check_without_one(votes: Rankings, labels: tuple[str, ...], what: str) -> Finding:
    """Does the leader by Borda depend on one task or ballot?"""
    check = f"without one {what}"
    if len(votes) < 3:
        return Finding(check, "unchecked", f"There are fewer than three {what}s.")
    leader = _leader(votes, votes.weight)
    tried = min(len(votes), MOST_LEFT_OUT)
    changes: dict[str, str] = {}
    for place in range(tried):
        weight = votes.weight.copy()
        weight[place] = 0
        first = _leader(votes, weight)
        if first != leader:
            changes[labels[place]] = first
    if not changes:
        return Finding(
            check,
            "fine",
            f"{leader} stays first by Borda without any one {what}.",
            f"refitted without each of {tried}",
            "",
            {"changes": {}},
        )
    return Finding(
        check,
        "concern",
        f"The leader by Borda ({leader}) changes without one of {len(changes)} {what}s"
        f" ({some_changes(changes)}).",
        "refitted without each",
        f"Say that the top rests on single {what}s.",
        {"changes": changes},
        tuple(dict.fromkeys(changes.values())),
    )


def _leader(votes: Rankings, weight: Float) -> str:
    """First by Borda: the sum of shares of ballots won against each other policy."""
    wins = votes.preferences(weight)
    total = wins + wins.T
    share = np.divide(wins, total, out=np.full_like(wins, 0.5), where=total > 0)
    return votes.policies[int(np.argmax(share.sum(axis=1)))]


def check_scale(evidence: Scores) -> Finding:
    """Does the order by the mean score rest on the scales of the tasks?"""
    whole = evidence.table()
    table = whole[~np.isnan(whole).any(axis=1)]
    if len(table) < 2:
        return Finding("scale", "unchecked", "Fewer than two tasks have a score of every policy.")
    spread = table.std(axis=1)
    scaled = table / np.where(spread > 0, spread, 1)[:, None]
    tau = kendall_tau(table.mean(axis=0), scaled.mean(axis=0))
    share = float((spread.max() ** 2) / max((spread**2).sum(), 1e-300))
    widest = "one task"
    if len(table) == len(evidence.columns):
        widest = evidence.columns[int(np.argmax(whole.std(axis=1)))]
    verdict = graded(concern=tau < 0.9)
    return Finding(
        "scale",
        verdict,
        "The order by the mean score agrees with that of standardised scores to a Kendall's tau of"
        f" {tau:.2f}; {widest} alone makes {share:.0%} of the variance of the sum.",
        "means with and without scaling by each task's spread",
        unless_fine(verdict, "Do not rank by the mean: normalise, or rank by Borda."),
        {"tau of means with and without scaling": tau, "largest share of variance": share},
    )


def check_complete(evidence: Scores) -> Finding:
    """Does every policy have a score on every task?"""
    holes = np.isnan(evidence.table())
    if not holes.any():
        return Finding("completeness", "fine", "Every policy has a score on every task.", "counted")
    missing = holes.sum(axis=0)
    emptiest = np.argsort(-missing)[: np.count_nonzero(missing)]
    few = tuple(evidence.policies[place] for place in emptiest)
    return Finding(
        "completeness",
        "concern",
        f"{holes.mean():.0%} of the table is empty; most for {names(few)}.",
        "counted",
        "Compare policies on shared tasks only, or rank by plackett-luce, which corrects for who"
        " was measured where.",
        {"empty": float(holes.mean())},
        few,
    )
