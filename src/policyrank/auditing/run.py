"""Run every check that the evidence allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypedDict, Unpack

from policyrank.auditing import coverage, judging, tables, top
from policyrank.auditing.case import Case
from policyrank.auditing.findings import Audit, Finding
from policyrank.errors import EvidenceError, OptionError, refuse_unknown_options
from policyrank.evidence import Comparisons, Rankings, Scores, read
from policyrank.ranking import rank


class CheckOptions(TypedDict, total=False):
    """What checks of comparisons can be told.

    Attributes
    ----------
    window
        share of the time, the last one, in which a policy must have been compared (.2), or it
        counts as retired
    """

    window: float


OPTIONS = ("owners", "level", "report", *CheckOptions.__annotations__)

CHECKS: dict[str, Callable[[Case], Finding]] = {
    "connection": coverage.check_connection,
    "sampling": coverage.check_sampling,
    "near ties": top.check_near_ties,
    "few battles": top.check_fewest,
    "best of n": top.check_best_of_n,
    "order": judging.check_order,
    "raters": judging.check_raters,
    "drift": judging.check_drift,
    "retirement": coverage.check_retirement,
    "duplicates": coverage.check_duplicates,
    "without one task": partial(top.check_leave_out, what="task"),
    "without one rater": partial(top.check_leave_out, what="rater"),
    "without one policy": partial(top.check_leave_out, what="policy"),
}


def audit(
    evidence: Any,
    *,
    owners: Mapping[str, str] | None = None,
    level: float = 0.95,
    report: Callable[[str], None] | None = None,
    **options: Unpack[CheckOptions],
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
    options
        of checks of comparisons: ``window``, the last share of the time in which a policy must
        have been compared (.2), or it counts as retired

    Returns
    -------
    Audit

    Raises
    ------
    EvidenceError
        For a level outside (0, 1), or evidence that cannot be read.
    OptionError
        For an option that does not exist, with the nearest ones, or a window outside (0, 1).

    Examples
    --------
    >>> battles = Comparisons.of(["x"] * 8 + ["y"] * 8, ["y"] * 8 + ["z"] * 8, [1, 1, 1, 0] * 4)
    >>> audit(battles).finding("connection").verdict
    'note'
    """
    _check_options(options)
    if not 0 < level < 1:
        raise EvidenceError(f"level is {level}; it lies between 0 and 1, for example 0.95")
    if not isinstance(evidence, (Comparisons, Scores, Rankings)):
        evidence = read(evidence)
    say = report or _silent
    say("rating")
    if isinstance(evidence, Comparisons):
        findings = _of_case(Case.of(evidence, owners, level, **options), say)
    else:
        findings = _of_tasks(evidence, level, say)
    return Audit(tuple(findings), evidence.summary)


def _check_options(options: Mapping[str, Any]) -> None:
    refuse_unknown_options(options, OPTIONS, of="audit")
    window = options.get("window", 0.2)
    if not 0 < window < 1:
        raise OptionError(f"window={window}: it is a share of the time, between 0 and 1.")


def _silent(name: str) -> None:
    pass


def _of_case(case: Case, say: Callable[[str], None]) -> list[Finding]:
    findings = []
    for name, check in CHECKS.items():
        say(name)
        findings.append(check(case))
    return findings + _cycles(case)


def _cycles(case: Case) -> list[Finding]:
    """What the board's fit noted about cycles."""
    test = "goodness of fit of Bradley-Terry"
    remedy = "Show the win matrix beside the ratings."
    found = []
    for note in case.board.notes:
        if note.kind == "cyclic":
            found.append(Finding("cycles", "concern", note.text, test, remedy))
    if not found:
        text = "A single rating explains who beats whom as well as the data can tell."
        found.append(Finding("cycles", "fine", text, test))
    return found


def _of_tasks(
    evidence: Scores | Rankings, level: float, say: Callable[[str], None]
) -> list[Finding]:
    board = rank(evidence, level=level)
    findings = []
    if board.separable is not None:
        findings.append(tables.check_near_ties(board, level))
    say("without one task")
    if isinstance(evidence, Rankings):
        ballots = tuple(f"ballot {place}" for place in range(1, len(evidence) + 1))
        return [*findings, tables.check_without_one(evidence, ballots, "ballot")]
    return [
        *findings,
        tables.check_without_one(evidence.to_rankings(), evidence.columns, "task"),
        tables.check_scale(evidence),
        tables.check_complete(evidence),
    ]
