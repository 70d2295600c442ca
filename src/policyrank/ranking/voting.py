"""Voting on ballots: Borda (complete, partial, two-level), plurality, approval."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from policyrank.board.assembly import BoardOptions, make_leaderboard
from policyrank.board.bounded import clopper_pearson
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.errors import EvidenceError
from policyrank.evidence import Comparisons, Rankings
from policyrank.evidence.rankings import top_shares
from policyrank.ranking.ballot_errors import borda_errors, over_groups, share_errors
from policyrank.ranking.conventions import check_interval, checks_options, need
from policyrank.ranking.diagnostics import SINGLE_BALLOT, evidence_notes

Float = NDArray[np.float64]

CLOSED = ("closed", "none")
WITH_EXACT = ("closed", "exact", "none")


@checks_options
def borda(
    evidence: Rankings | Comparisons,
    *,
    levels: int = 1,
    interval: str = "closed",
    **options: Unpack[BoardOptions],
) -> Leaderboard:
    """Borda: how many of the others a ballot places below a policy (ties half), on average.

    On complete ballots the rating times the number of ballots is the Borda count. On partial
    ballots each pair is averaged over the ballots that hold both; a pair that none holds counts
    half. Intervals take ballots (raters, where comparisons have several) as independent; they lie
    within the range of the rating and are never of width zero (``board.bounded.q_wilson``).

    Parameters
    ----------
    evidence
        Rankings or Comparisons (a comparison is a ballot over two)
    levels
        1: all ballots alike; 2: first inside each group (task), then over the groups' rankings, so
        that a task with many ballots does not outvote the others
    interval
        ``"closed"`` or ``"none"``
    options
        level, simultaneous, seed

    References
    ----------
    Borda (1781); two levels: Colombo et al. (2022), "What are the best systems?", arXiv 2202.03799.

    Examples
    --------
    >>> board = borda(Rankings.of_scores([[3, 2, 1], [3, 1, 2], [1, 3, 2]], ["x", "y", "z"]))
    >>> (board.rating * 3).tolist()
    [4.0, 3.0, 2.0]
    """
    need(evidence, (Rankings, Comparisons), "borda")
    check_interval(interval, CLOSED, "borda")
    notes = evidence_notes(evidence)
    used = evidence
    if levels == 2:
        used = _one_ballot_a_group(evidence)
        text = f"Each of the {len(used)} groups has one vote: the order of its own Borda count."
        notes.append(Note("two levels", text))
    elif levels != 1:
        raise EvidenceError(f"levels={levels}: use 1 or 2.")
    wins = used.preferences()
    total, rate = wins + wins.T, win_shares(wins)
    unmet = int(((total == 0).sum() - len(total)) / 2)
    if unmet:
        text = f"{unmet:,} pairs were never ranked together; they count half to each side."
        notes.append(Note("unmet pairs", text, "warning"))
    known: dict[str, Any] = {}
    if interval != "none":
        errors = borda_errors(used, rate, total, options.get("level", 0.95))
        if errors is None:
            notes.append(SINGLE_BALLOT)
        else:
            known = errors.scaled(len(rate) - 1)
    return make_leaderboard(
        evidence.policies,
        rate.sum(axis=1),
        method="borda",
        n=evidence.seen(),
        notes=notes,
        unit="others beaten, mean over ballots",
        source=evidence.summary,
        settings={"levels": levels, "interval": interval},
        **known,
        **options,
    )


def _one_ballot_a_group(evidence: Rankings | Comparisons) -> Rankings:
    """Each group's Borda order as its ballot."""
    if not isinstance(evidence, Rankings) or evidence.group is None:
        raise EvidenceError(
            "two levels need Rankings with groups, for example scores.to_rankings(by='replicate')."
        )
    return Rankings.of_scores(group_points(evidence), evidence.policies)


def win_shares(wins: Float) -> Float:
    """Win rate of row over column, 1/2 where they never met, 0 of a policy over itself."""
    total = wins + wins.T
    rate = np.divide(wins, total, out=np.full_like(wins, 0.5), where=total > 0)
    np.fill_diagonal(rate, 0)
    return rate


def group_points(evidence: Rankings) -> Float:
    """Borda points of each policy inside each group: (groups, n), NaN for policies that a group
    does not rank.
    """
    assert evidence.group is not None
    rows = []
    for g in range(len(evidence.group.names)):
        wins = evidence.preferences(np.where(evidence.group.codes == g, evidence.weight, 0.0))
        points = win_shares(wins).sum(axis=1)
        rows.append(np.where((wins + wins.T).sum(axis=1) > 0, points, np.nan))
    return np.array(rows)


def _shares(
    evidence: Rankings,
    points: Float,
    method: str,
    unit: str,
    interval: str,
    settings: dict[str, Any],
    options: BoardOptions,
) -> Leaderboard:
    """The board of mean points a ballot, each in [0, 1]: (ballots, n)."""
    check_interval(interval, WITH_EXACT, method)
    notes = evidence_notes(evidence)
    level = options.get("level", 0.95)
    known: dict[str, Any] = {}
    if interval != "none" and evidence.voters < 2:
        notes.append(SINGLE_BALLOT)
    elif interval != "none":
        known = over_groups(evidence, points, level) or share_errors(
            points,
            evidence.weight,
            units=evidence.voters,
            counted=evidence.counts_voters,
            level=level,
        )
        if interval == "exact":
            known["ends"] = _exact_ends(evidence, points, level)
    return make_leaderboard(
        evidence.policies,
        evidence.weight @ points / float(evidence.weight.sum()),
        method=method,
        n=evidence.seen(),
        notes=notes,
        unit=unit,
        source=evidence.summary,
        settings={"interval": interval, **settings},
        **known,
        **options,
    )


def _exact_ends(evidence: Rankings, points: Float, level: float) -> Float:
    """Clopper and Pearson's ends for the shares of ballots: (n, 2)."""
    whole = np.isin(points, (0.0, 1.0)).all()
    if not whole or not evidence.counts_voters or evidence.unit == "group":
        raise EvidenceError(
            "interval='exact' is of whole votes of independent ballots. Use interval='closed'."
        )
    share = evidence.weight @ points / evidence.voters
    return np.stack(clopper_pearson(share, evidence.voters, level), axis=1)


@checks_options
def plurality(
    evidence: Rankings, *, interval: str = "closed", **options: Unpack[BoardOptions]
) -> Leaderboard:
    """Plurality: the share of ballots that a policy tops (ties at the top share the vote).

    Intervals are Wilson's (``interval="exact"``: Clopper and Pearson's); who is better is told by
    exact sign tests on ballots, Holm over pairs.

    Examples
    --------
    >>> plurality(Rankings.of([["x", "y"], ["x", "y"], ["y", "x"]])).policies
    ('x', 'y')
    """
    need(evidence, Rankings, "plurality")
    points = top_shares(evidence.matrix())
    return _shares(evidence, points, "plurality", "share of first places", interval, {}, options)


@checks_options
def approval(
    evidence: Rankings,
    *,
    k: int | None = None,
    interval: str = "closed",
    **options: Unpack[BoardOptions],
) -> Leaderboard:
    """Approval: the share of ballots that place a policy among their first ``k`` places.

    A policy is among the first k of a ballot that places fewer than k strictly above it. Intervals
    and tests are as for ``plurality``.

    Parameters
    ----------
    k
        places that count as approved, >= 1; None: all that are approved where ballots have at most
        two positions (approved and not), else 3

    Examples
    --------
    >>> votes = Rankings.of([["x", "y", "z"], ["x", "z", "y"], ["y", "z", "x"]])
    >>> approval(votes, k=1, interval="none").rating.round(3)
    array([0.667, 0.333, 0.   ])
    """
    need(evidence, Rankings, "approval")
    if k is None:
        k = 1 if evidence.is_approval else 3
    if k < 1:
        raise EvidenceError(f"k={k}: approve at least one position.")
    points = evidence.among_first(k).astype(float)
    unit = f"share of ballots in the top {k}"
    return _shares(evidence, points, "approval", unit, interval, {"k": k}, options)
