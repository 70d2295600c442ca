"""Instant run-off: the policy with the fewest first places goes, again and again."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from policyrank.board.assembly import BoardOptions, make_leaderboard
from policyrank.board.bounded import clopper_pearson
from policyrank.board.intervals import generator
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.evidence import Rankings
from policyrank.evidence.rankings import top_shares
from policyrank.ranking.conventions import check_interval, checks_options, need
from policyrank.ranking.diagnostics import SINGLE_BALLOT, evidence_notes
from policyrank.ranking.majorities import of_winner
from policyrank.ranking.rules import SHARES, resampled_weights

Float = NDArray[np.float64]


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
    return np.round(weight @ top_shares(position, alive), 9)


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
