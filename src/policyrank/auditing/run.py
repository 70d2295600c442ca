"""Run every check that the evidence allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from policyrank.auditing import checks
from policyrank.auditing.findings import Audit, Finding
from policyrank.errors import EvidenceError
from policyrank.evidence import Comparisons, Rankings, Scores, read
from policyrank.metrics import kendall_tau
from policyrank.ranking import rank


def audit(
    evidence: Any,
    *,
    owners: Mapping[str, str] | None = None,
    level: float = 0.95,
    report: Callable[[str], None] | None = None,
) -> Audit:
    """What a careful reader would object to, and what was looked at and found fine.

    Parameters
    ----------
    evidence
        Comparisons, Scores or Rankings, or anything that ``policyrank.read`` reads
    owners
        who made each policy, for shares of comparisons
    level
        of tests and rank sets
    report
        called with the name of each check before it runs

    Returns
    -------
    Audit

    Examples
    --------
    >>> battles = Comparisons.of(["x"] * 8 + ["y"] * 8, ["y"] * 8 + ["z"] * 8, [1, 1, 1, 0] * 4)
    >>> audit(battles).finding("connection").verdict
    'note'
    """
    if not 0 < level < 1:
        raise EvidenceError(f"level is {level}; it lies between 0 and 1, for example 0.95")
    if not isinstance(evidence, (Comparisons, Scores, Rankings)):
        evidence = read(evidence)
    say = report or (lambda name: None)
    if isinstance(evidence, Comparisons):
        findings = _comparisons(evidence, owners, level, say)
    else:
        findings = _tasks(evidence, level, say)
    return Audit(tuple(findings), evidence.summary)


def _comparisons(
    evidence: Comparisons,
    owners: Mapping[str, str] | None,
    level: float,
    say: Callable[[str], None],
) -> list[Finding]:
    say("rating")
    case = checks.Case.of(evidence, owners, level)
    todo: dict[str, Callable[[], Finding]] = {
        "connection": lambda: checks.check_connection(case),
        "sampling": lambda: checks.check_sampling(case),
        "near ties": lambda: checks.check_near_ties(case),
        "few battles": lambda: checks.check_fewest(case),
        "best of n": lambda: checks.check_best_of_n(case),
        "order": lambda: checks.check_order(case),
        "raters": lambda: checks.check_raters(case),
        "drift": lambda: checks.check_drift(case),
        "retirement": lambda: checks.check_retirement(case),
        "duplicates": lambda: checks.check_duplicates(case),
        "without one task": lambda: checks.check_leave_out(case, "task"),
        "without one rater": lambda: checks.check_leave_out(case, "rater"),
        "without one policy": lambda: checks.check_leave_out(case, "policy"),
    }
    findings = []
    for name, check in todo.items():
        say(name)
        findings.append(check())
    findings += [
        Finding(
            "cycles",
            "concern",
            n.text,
            "goodness of fit of Bradley-Terry",
            "Show the win matrix beside the ratings.",
        )
        for n in case.board.notes
        if n.kind == "cyclic"
    ] or [
        Finding(
            "cycles",
            "fine",
            "A single rating explains who beats whom as well as the data can tell.",
            "goodness of fit of Bradley-Terry",
        )
    ]
    return findings


def _tasks(evidence: Scores | Rankings, level: float, say: Callable[[str], None]) -> list[Finding]:
    say("rating")
    board = rank(evidence, level=level)
    findings = []
    if board.separable is not None:
        top, told, n = board.may_be_best, int(board.separable.sum()), len(board)
        findings.append(
            Finding(
                "near ties",
                "concern" if len(top) > 1 else "note" if told < (n - 1) / 2 else "fine",
                f"{told} of {n - 1} neighbours can be told apart; {len(top)} may be the best"
                f" ({checks.names(top)}).",
                f"simultaneous rank sets at {level:.0%}",
                "Publish rank sets or tiers instead of places." if told < n - 1 else "",
                {"separable neighbours": told, "may be best": len(top)},
                top,
            )
        )
    say("without one task")
    votes = evidence.to_rankings() if isinstance(evidence, Scores) else evidence
    labels = (
        evidence.columns
        if isinstance(evidence, Scores)
        else tuple(f"ballot {i + 1}" for i in range(len(votes)))
    )
    what = "task" if isinstance(evidence, Scores) else "ballot"
    findings.append(_without_one(votes, labels, what))
    if isinstance(evidence, Scores):
        findings += [_scale(evidence), _complete(evidence)]
    return findings


def _borda(votes: Rankings, weight: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    wins = votes.preferences(weight)
    total = wins + wins.T
    return np.asarray(
        np.divide(wins, total, out=np.full_like(wins, 0.5), where=total > 0).sum(axis=1)
    )


def _without_one(votes: Rankings, labels: tuple[str, ...], what: str) -> Finding:
    check = f"without one {what}"
    if len(votes) < 3:
        return Finding(check, "unchecked", f"There are fewer than three {what}s.")
    leader = votes.policies[int(np.argmax(_borda(votes, votes.weight)))]
    changes = {}
    for g in range(min(len(votes), 300)):
        weight = votes.weight.copy()
        weight[g] = 0
        first = votes.policies[int(np.argmax(_borda(votes, weight)))]
        if first != leader:
            changes[labels[g]] = first
    if not changes:
        return Finding(
            check,
            "fine",
            f"{leader} stays first by Borda without any one {what}.",
            f"refitted without each of {min(len(votes), 300)}",
            "",
            {"changes": {}},
        )
    some = "; ".join(f"without {g}: {p}" for g, p in list(changes.items())[:3])
    return Finding(
        check,
        "concern",
        f"The leader by Borda ({leader}) changes without one of {len(changes)} {what}s ({some}).",
        "refitted without each",
        f"Say that the top rests on single {what}s.",
        {"changes": changes},
        tuple(dict.fromkeys(changes.values())),
    )


def _scale(evidence: Scores) -> Finding:
    table = evidence.table()
    table = table[~np.isnan(table).any(axis=1)]
    if len(table) < 2:
        return Finding("scale", "unchecked", "Fewer than two tasks have a score of every policy.")
    spread = table.std(axis=1)
    mean, scaled = (
        table.mean(axis=0),
        (table / np.where(spread > 0, spread, 1)[:, None]).mean(axis=0),
    )
    tau, share = (
        kendall_tau(mean, scaled),
        float((spread.max() ** 2) / max((spread**2).sum(), 1e-300)),
    )
    widest = (
        evidence.columns[int(np.argmax(evidence.table().std(axis=1)))]
        if len(table) == len(evidence.columns)
        else "one task"
    )
    numbers = {"tau of means with and without scaling": tau, "largest share of variance": share}
    bad = tau < 0.9
    return Finding(
        "scale",
        "concern" if bad else "fine",
        "The order by the mean score agrees with that of standardised scores to a Kendall's tau of"
        f" {tau:.2f}; {widest} alone makes {share:.0%} of the variance of the sum.",
        "means with and without scaling by each task's spread",
        "Do not rank by the mean: normalise, or rank by Borda." if bad else "",
        numbers,
    )


def _complete(evidence: Scores) -> Finding:
    holes = np.isnan(evidence.table())
    if not holes.any():
        return Finding("completeness", "fine", "Every policy has a score on every task.", "counted")
    few = tuple(evidence.policies[i] for i in np.argsort(-holes.sum(axis=0)) if holes[:, i].any())
    return Finding(
        "completeness",
        "concern",
        f"{holes.mean():.0%} of the table is empty; most for {checks.names(few)}.",
        "counted",
        "Compare policies on shared tasks only, or rank by plackett-luce, which corrects for who"
        " was measured where.",
        {"empty": float(holes.mean())},
        few,
    )
