"""Voting on ballots: Borda (complete, partial, two-level), plurality, approval, instant run-off."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from policyrank.board.assembly import BoardOptions, CoverageOptions, make_leaderboard
from policyrank.board.intervals import Seed, few_units, generator
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.errors import EvidenceError
from policyrank.evidence import Comparisons, Rankings
from policyrank.evidence.rankings import placed_above
from policyrank.ranking.conventions import RESAMPLED, check_interval, checks_options, need
from policyrank.ranking.diagnostics import input_notes
from policyrank.ranking.rules import resampled_weights, voters

Float = NDArray[np.float64]

CLOSED = ("closed", "none")
NO_VARIATION = Note(
    "no intervals", "A single ballot shows no variation: there are no intervals.", "warning"
)


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
    half. Intervals treat ballots as independent, by the closed form for means (Student's t with
    ballots - 1 degrees of freedom).

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
    notes = input_notes(evidence.notes)
    used = evidence
    if levels == 2:
        if not isinstance(evidence, Rankings) or evidence.group is None:
            raise EvidenceError(
                "two levels need Rankings with groups, for example"
                " scores.to_rankings(by='replicate')."
            )
        used = Rankings.of_scores(group_points(evidence), evidence.policies)
        notes.append(
            Note(
                "two levels",
                f"Each of the {len(evidence.group.names)} groups has one vote: the order of its own"
                " Borda count.",
            )
        )
    elif levels != 1:
        raise EvidenceError(f"levels={levels}: use 1 or 2.")
    wins = used.preferences()
    total = wins + wins.T
    rate = np.divide(wins, total, out=np.full_like(wins, 0.5), where=total > 0)
    np.fill_diagonal(rate, 0)
    unmet = int(((total == 0).sum() - len(total)) / 2)
    if unmet:
        notes.append(
            Note(
                "unmet pairs",
                f"{unmet:,} pairs were never ranked together; they count half to each side.",
                "warning",
            )
        )
    covariance = df = None
    if interval != "none":
        covariance, df = _borda_covariance(used, rate, total)
        if covariance is None:
            notes.append(NO_VARIATION)
    return make_leaderboard(
        evidence.policies,
        rate.sum(axis=1),
        method="borda",
        n=evidence.seen(),
        covariance=covariance,
        df=df,
        notes=notes,
        unit="others beaten, mean over ballots",
        source=evidence.summary,
        settings={"levels": levels, "interval": interval},
        **options,
    )


def group_points(evidence: Rankings) -> Float:
    """Borda points of each policy inside each group: (groups, n), NaN for policies that a group
    does not rank.
    """
    assert evidence.group is not None
    rows = []
    for g in range(len(evidence.group.names)):
        wins = evidence.preferences(np.where(evidence.group.codes == g, evidence.weight, 0.0))
        total = wins + wins.T
        rate = np.divide(wins, total, out=np.full_like(wins, 0.5), where=total > 0)
        np.fill_diagonal(rate, 0)
        rows.append(np.where(total.sum(axis=1) > 0, rate.sum(axis=1), np.nan))
    return np.array(rows)


def _borda_covariance(
    evidence: Rankings | Comparisons, rate: Float, total: Float
) -> tuple[Float | None, float | None]:
    """Covariance of pairwise rates summed over opponents, from each ballot's influence on them."""
    k = len(rate)
    inverse = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    if isinstance(evidence, Comparisons):
        c = evidence.counted()
        count = np.ones(len(c.a)) if c.count is None else c.count
        weight = np.ones(len(c.a)) if c.weight is None else c.weight
        smooth = (rate * total + 0.5) / (total + 1)
        residual = np.asarray(c.outcome, dtype=float) - rate[c.a, c.b]
        flat = np.isin(rate[c.a, c.b], (0.0, 1.0))
        square = np.where(flat, (smooth * (1 - smooth))[c.a, c.b], residual**2)
        spread = np.bincount(
            c.a.astype(np.int64) * k + c.b,
            count * (weight * inverse[c.a, c.b]) ** 2 * square,
            k * k,
        ).reshape(k, k)
        spread = spread + spread.T
        return np.diag(spread.sum(axis=1)) - spread, None
    voters = evidence.voters
    if voters < 2:
        return None, None
    out = np.zeros((k, k))
    for part, policy, position in evidence.blocks():
        above = placed_above(position)
        pair = policy[:, :, None], policy[:, None, :]
        influence = np.zeros((len(part), k))
        np.put_along_axis(
            influence,
            policy.astype(np.int64),
            ((above - rate[pair]) * inverse[pair] * (pair[0] != pair[1])).sum(axis=2),
            axis=1,
        )
        w = evidence.weight[part]
        scale = w if evidence.counts_voters else w**2
        out += influence.T @ (influence * scale[:, None])
    return out * voters / (voters - 1), voters - 1


def _shares(
    evidence: Rankings,
    points: Float,
    method: str,
    unit: str,
    interval: str,
    settings: dict[str, Any],
    options: BoardOptions,
) -> Leaderboard:
    """The board of mean points a ballot (ballots, n), with intervals of a mean."""
    check_interval(interval, CLOSED, method)
    w, total = evidence.weight, float(evidence.weight.sum())
    mean = w @ points / total
    units = evidence.voters
    notes = input_notes(evidence.notes)
    covariance = df = None
    if interval != "none" and units < 2:
        notes.append(NO_VARIATION)
    elif interval != "none":
        off, df = points - mean, units - 1
        weight = w if evidence.counts_voters else w**2
        covariance = (off.T @ (off * weight[:, None])) / total**2 * units / (units - 1)
    return make_leaderboard(
        evidence.policies,
        mean,
        method=method,
        n=evidence.seen(),
        covariance=covariance,
        df=df,
        notes=notes,
        unit=unit,
        source=evidence.summary,
        settings={"interval": interval, **settings},
        **options,
    )


@checks_options
def plurality(
    evidence: Rankings, *, interval: str = "closed", **options: Unpack[BoardOptions]
) -> Leaderboard:
    """Plurality: the share of ballots that a policy tops (ties at the top share the vote).

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
    """Approval: the share of ballots that place a policy among their first ``k`` positions.

    Parameters
    ----------
    k
        positions that count as approved, >= 1; None: 1 where ballots have at most two (approved
        and not), else 3

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
    position = evidence.matrix()
    points = ((position > 0) & (position <= k)).astype(float)
    unit = f"share of ballots in the top {k}"
    return _shares(evidence, points, "approval", unit, interval, {"k": k}, options)


@checks_options
def instant_runoff(
    evidence: Rankings,
    *,
    interval: str = "bootstrap",
    resamples: int = 200,
    seed: Seed = 0,
    **options: Unpack[CoverageOptions],
) -> Leaderboard:
    """Instant run-off: eliminate the policy with the fewest first places, again and again.

    Its ballots go to their next choice. Ties at a ballot's top share its vote; of policies with
    equally few first places the one with the fewest in the first count goes, then the one later in
    the alphabet. The rating is how many
    were eliminated before.

    Examples
    --------
    >>> votes = Rankings.of([["x", "y", "z"], ["x", "z", "y"], ["y", "z", "x"]])
    >>> instant_runoff(votes, interval="none").policies
    ('x', 'y', 'z')
    """
    need(evidence, Rankings, "instant-runoff")
    check_interval(interval, RESAMPLED, "instant-runoff")
    position = evidence.matrix()
    rating = _eliminate(position, evidence.weight)
    draws, units = None, voters(evidence)
    notes = input_notes(evidence.notes)
    if interval == "bootstrap" and units < 2:
        notes.append(NO_VARIATION)
    elif interval == "bootstrap":
        weights = resampled_weights(evidence.weight, resamples, generator(seed))
        draws = (np.array([_eliminate(position, w) for w in weights]) - rating) * few_units(units)
    return make_leaderboard(
        evidence.policies,
        rating,
        method="instant-runoff",
        n=evidence.seen(),
        draws=draws,
        units=units,
        notes=notes,
        unit="eliminated before",
        source=evidence.summary,
        settings={"interval": interval, "resamples": resamples, "seed": seed},
        **options,
    )


def _eliminate(position: NDArray[np.int32], weight: Float) -> Float:
    n = position.shape[1]
    place = np.where(position > 0, position, n + 1).astype(float)
    rating, alive, first = np.zeros(n), np.ones(n, bool), None
    for gone in range(n):
        best = place.min(axis=1, keepdims=True)
        top = (place == best) & (best <= n)
        share = weight @ (top / np.maximum(top.sum(axis=1, keepdims=True), 1))
        first = share if first is None else first
        candidates = np.flatnonzero(alive)
        out = candidates[
            np.lexsort((-candidates, first[candidates], np.round(share[candidates], 9)))[0]
        ]
        rating[out], alive[out], place[:, out] = gone, False, np.inf
    return rating
