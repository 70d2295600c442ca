"""Checks of the top of the board: how sure it is, and what it rests on."""

from __future__ import annotations

import numpy as np

from policyrank.auditing.case import Case, graded, names, no_column, unless_fine
from policyrank.auditing.findings import Finding, Verdict
from policyrank.auditing.illusion import variants_to_explain
from policyrank.auditing.sensitivity import fewest_battles, leave_out
from policyrank.board import Leaderboard

PLURAL = {"task": "tasks", "rater": "raters", "policy": "policies"}


def check_best_of_n(case: Case) -> Finding:
    """How many private variants would explain the leader's lead by choosing the luckiest?"""
    board = case.board
    if board.covariance is None or len(board) < 2:
        return Finding("best of n", "unchecked", "The board has no intervals.")
    sd = float(np.sqrt(board.covariance[0, 0]))
    gap = float(board.rating[0] - board.rating[1])
    variants = variants_to_explain(gap, sd)
    verdict = graded(concern=False, note=variants <= 30)
    shown, explained = "no number of variants", "it"
    if np.isfinite(variants):
        shown, explained = f"{variants:,.0f} equally good variants", "a lead like this"
    return Finding(
        "best of n",
        verdict,
        f"{board.policies[0]} leads by {gap:.0f} Elo points with a standard error of {sd:.0f}:"
        f" choosing the best of {shown} tested as often would explain {explained}.",
        "expected maximum of normals",
        unless_fine(
            verdict,
            "Ask how many variants were tested before this one was published; let a published"
            " policy receive fresh battles and drop those before publication.",
        ),
        {"lead, Elo points": gap, "sd of the leader": sd, "variants": variants},
        (board.policies[0],),
    )


def check_near_ties(case: Case) -> Finding:
    """Is the order more than the data can tell?"""
    board = case.board
    if board.separable is None:
        return Finding("near ties", "unchecked", "The board has no intervals.")
    told, neighbours, top = int(board.separable.sum()), len(board) - 1, board.may_be_best
    verdict = graded_ties(board)
    return Finding(
        "near ties",
        verdict,
        f"{told} of {neighbours} neighbours can be told apart; {len(top)}"
        f" {'policies' if len(top) > 1 else 'policy'} may be the best ({names(top)}).",
        f"simultaneous rank sets at {case.level:.0%}",
        unless_fine(
            verdict,
            "Publish rank sets or tiers instead of places; compare the candidates for the top"
            " more.",
        ),
        {
            "separable neighbours": told,
            "neighbours": neighbours,
            "may be best": len(top),
            "tiers": int(board.tiers[-1]) if board.tiers is not None else 1,
        },
        top,
    )


def graded_ties(board: Leaderboard) -> Verdict:
    """A concern where several may be the best, a note where few neighbours can be told apart."""
    assert board.separable is not None
    told, neighbours = int(board.separable.sum()), len(board) - 1
    return graded(concern=len(board.may_be_best) > 1, note=told < neighbours / 2)


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
    which = []
    for winner, other, outcome, many in found.described[:3]:
        which.append(f"{many} x {winner} against {other}, outcome {outcome:g}")
    verdict = graded(concern=found.share < 0.005, note=found.share < 0.02)
    return Finding(
        "few battles",
        verdict,
        f"Removing {found.battles:,} of {case.evidence.total:,} comparisons"
        f" ({100 * found.share:.2g}%) puts {found.challenger} above {leader}: {'; '.join(which)}.",
        "influence, checked by refitting; an upper bound on the fewest",
        unless_fine(
            verdict,
            "Do not present the leader as settled; collect comparisons between the two.",
        ),
        {
            "battles": found.battles,
            "share": found.share,
            "described": list(map(list, found.described)),
        },
        (leader, found.challenger),
    )


def check_leave_out(case: Case, what: str) -> Finding:
    """Does the leader depend on one task, rater or policy?"""
    check, many = f"without one {what}", PLURAL[what]
    if what != "policy" and getattr(case.evidence, what) is None:
        return no_column(check, what)
    if reason := _too_few(case, what):
        return Finding(check, "unchecked", reason)
    found = leave_out(case.evidence, what)
    numbers = {"tried": found.tried, "changes": found.changes}
    if not found.changes:
        return Finding(
            check,
            "fine",
            f"The leader stays the same without any one of {found.tried} {many}.",
            "refitted without each",
            "",
            numbers,
        )
    remedy = f"Say that the top rests on single {what}s, or rank by {what}."
    if what == "policy":
        remedy = "Say so beside the board; compare the candidates for the top directly."
    return Finding(
        check,
        "concern",
        f"The leader changes without one of {len(found.changes)} of {found.tried} {many}"
        f" ({some_changes(found.changes)}).",
        "refitted without each",
        remedy,
        numbers,
        tuple(dict.fromkeys(found.changes.values())),
    )


def _too_few(case: Case, what: str) -> str:
    """Why leaving one out says nothing; empty where it does."""
    if what == "policy":
        if len(case.evidence.policies) < 4:
            return "There are fewer than four policies."
    elif len(getattr(case.evidence, what).names) < 3:
        return f"There are fewer than three {what}s."
    return ""


def some_changes(changes: dict[str, str]) -> str:
    """The first three of what was left out, and who leads without it."""
    first = list(changes.items())[:3]
    return "; ".join(f"without {name}: {leader}" for name, leader in first)
