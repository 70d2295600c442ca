"""Voting on ballots: Borda (complete, partial, two-level), plurality, approval, instant run-off."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from policyrank.board.assembly import BoardOptions, make_leaderboard
from policyrank.board.bounded import clopper_pearson
from policyrank.board.intervals import generator
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.errors import EvidenceError
from policyrank.evidence import Comparisons, Rankings
from policyrank.ranking.ballot_errors import borda_errors, over_groups, share_errors
from policyrank.ranking.conventions import check_interval, checks_options, need
from policyrank.ranking.diagnostics import SINGLE_BALLOT, evidence_notes
from policyrank.ranking.majorities import of_winner
from policyrank.ranking.rules import SHARES, resampled_weights

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
    top = (evidence.matrix() == 1).astype(float)
    points = top / np.maximum(top.sum(axis=1, keepdims=True), 1)
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


@checks_options
def instant_runoff(
    evidence: Rankings,
    *,
    interval: str = "auto",
    resamples: int = 200,
    **options: Unpack[BoardOptions],
) -> Leaderboard:
    """Instant run-off: eliminate the policy with the fewest first places, again and again.

    Its ballots go to their next choice. Ties at a ballot's top share its vote. Of policies with
    equally few first places one with the fewest in the first count goes; among those still equal
    lots would decide, and the rating, how many were eliminated before, is the mean over all lots.
    Near ties of any count the outcome jumps: there are no intervals, and only a policy that
    certainly has most first places is sure to be the best.

    Examples
    --------
    >>> votes = Rankings.of([["x", "y", "z"], ["x", "z", "y"], ["y", "z", "x"]])
    >>> instant_runoff(votes, interval="none").policies
    ('x', 'y', 'z')
    """
    need(evidence, Rankings, "instant-runoff")
    check_interval(interval, ("auto", "none"), "instant-runoff")
    position, seed = evidence.matrix(), options.get("seed", 0)
    rating, lots = _eliminated_before(position, evidence.weight)
    notes = evidence_notes(evidence)
    known: dict[str, Any] = {}
    if lots:
        text = "Policies had equally few votes: ratings are the mean over lots between them."
        notes.append(Note("tied optimum", text, "warning"))
    if interval != "none" and evidence.voters < 2:
        notes.append(SINGLE_BALLOT)
    elif interval != "none":
        winner = _certain_majority(position, evidence, options.get("level", 0.95))
        rng = generator(seed)
        weights = resampled_weights(evidence.weight, resamples, rng)
        runs = [_by_lot(position, w, rng) for w in weights]
        known = {"sets": of_winner(winner).sets, "draws": np.array(runs) - rating}
        notes.append(SHARES)
    return make_leaderboard(
        evidence.policies,
        rating,
        method="instant-runoff",
        n=evidence.seen(),
        notes=notes,
        unit="eliminated before",
        source=evidence.summary,
        settings={"interval": interval, "resamples": resamples, "seed": seed},
        **known,
        **options,
    )


MOST_LOTS = 3000
"""Sets of policies left that are followed where lots decide; beyond, lots are drawn."""


def _eliminated_before(position: NDArray[np.int32], weight: Float) -> tuple[Float, bool]:
    """How many are eliminated before each, the mean over lots; and whether any lot decides."""
    n = position.shape[1]
    chances, before, lots = {(True,) * n: 1.0}, np.zeros(n), False
    first = _first_places(position, np.ones(n, dtype=bool), weight)
    for gone in range(n):
        following: dict[tuple[bool, ...], float] = {}
        for alive, chance in chances.items():
            out = _fewest(position, np.array(alive), weight, first)
            lots |= len(out) > 1
            before[out] += gone * chance / len(out)
            for policy in out:
                left = (*alive[:policy], False, *alive[policy + 1 :])
                following[left] = following.get(left, 0.0) + chance / len(out)
        if len(following) > MOST_LOTS:
            rng = np.random.default_rng(0)
            runs = [_by_lot(position, weight, rng) for _ in range(1000)]
            return np.array(runs).mean(axis=0), True
        chances = following
    return np.round(before, 9), lots


def _by_lot(position: NDArray[np.int32], weight: Float, rng: np.random.Generator) -> Float:
    """How many are eliminated before each when lots decide between equals."""
    n = position.shape[1]
    before, alive = np.zeros(n), np.ones(n, dtype=bool)
    first = _first_places(position, alive, weight)
    for gone in range(n):
        out = _fewest(position, alive, weight, first)
        policy = out[rng.integers(len(out))]
        before[policy], alive[policy] = gone, False
    return before


def _fewest(
    position: NDArray[np.int32], alive: NDArray[np.bool_], weight: Float, first: Float
) -> NDArray[np.intp]:
    """Those left with the fewest first places, of them those with the fewest at first."""
    share = _first_places(position, alive, weight)
    fewest = alive & (share == share[alive].min())
    return np.flatnonzero(fewest & (first == first[fewest].min()))


def _first_places(position: NDArray[np.int32], alive: NDArray[np.bool_], weight: Float) -> Float:
    """First places of each among those left, ties at the top shared."""
    n = position.shape[1]
    place = np.where((position > 0) & alive, position, n + 1)
    best = place.min(axis=1, keepdims=True)
    top = (place == best) & (best <= n)
    return np.round(weight @ (top / np.maximum(top.sum(axis=1, keepdims=True), 1)), 9)


def _certain_majority(
    position: NDArray[np.int32], evidence: Rankings, level: float
) -> NDArray[np.bool_]:
    """bool (n, n): rows of a policy that certainly has more than half of the first places."""
    top = position == 1
    alone = top & (top.sum(axis=1, keepdims=True) == 1)
    share = evidence.weight @ alone / evidence.weight.sum()
    n = len(evidence.policies)
    low, _ = clopper_pearson(share, evidence.voters, 1 - (1 - level) / n)
    return (low > 0.5)[:, None] & ~np.eye(n, dtype=bool)
