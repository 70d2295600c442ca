"""Elo: ratings that are updated after each comparison."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from policyrank.board.assembly import make_leaderboard
from policyrank.board.intervals import Seed, generator
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.errors import EvidenceError
from policyrank.evidence import Comparisons
from policyrank.ranking.conventions import (
    ELO_CENTRE,
    RESAMPLED,
    check_interval,
    checks_options,
    need,
)
from policyrank.ranking.diagnostics import comparison_notes, evidence_notes
from policyrank.ranking.rules import voters

Float = NDArray[np.float64]


@njit(cache=True, fastmath=True)
def _update(rating: Any, a: int, b: int, y: float, k: float) -> None:
    gain = k * (y - 1.0 / (1.0 + 10.0 ** ((rating[b] - rating[a]) / 400.0)))
    rating[a] += gain
    rating[b] -= gain


@njit(cache=True, nogil=True)
def _in_order(a: Any, b: Any, y: Any, n: int, k: float, start: float) -> Any:
    rating = np.full(n, start)
    for row in range(len(a)):
        _update(rating, a[row], b[row], y[row], k)
    return rating


@njit(cache=True, nogil=True)
def _in_random_order(
    a: Any, b: Any, y: Any, index: Any, seed: int, replace: bool, n: int, k: float, start: float
) -> Any:
    """One pass over the comparisons that ``index`` lists, shuffled, or drawn from it with
    replacement.
    """
    np.random.seed(seed)
    rating = np.full(n, start)
    total = len(index)
    if not replace:
        index = index.copy()
        for last in range(total - 1, 0, -1):
            other = np.random.randint(last + 1)
            index[last], index[other] = index[other], index[last]
    for place in range(total):
        row = index[place]
        if replace:
            row = index[np.random.randint(total)]
        _update(rating, a[row], b[row], y[row], k)
    return rating


@checks_options
def elo(
    evidence: Comparisons,
    *,
    k: float = 32.0,
    start: float = ELO_CENTRE,
    orders: int | None = None,
    interval: str = "bootstrap",
    resamples: int | None = None,
    level: float = 0.95,
    simultaneous: bool = True,
    seed: Seed = 0,
) -> Leaderboard:
    """Elo ratings: r_a += k (y - E), r_b -= k (y - E), E = 1 / (1 + 10^((r_b - r_a) / 400)).

    Parameters
    ----------
    evidence
        Comparisons; with times, they are played in the order of time, otherwise in the order of the
        rows
    k
        step, in points
    start
        first rating of everyone
    orders
        0: one pass in the given order, the rating after the last comparison; m > 0: the mean over m
        random orders (policies do not change, so the order is noise); None: 0 when the comparisons
        have times, else 50, or fewer (at least 4) beyond a million comparisons
    interval
        ``"bootstrap"`` (resampled comparisons, or whole ballots and raters, in random orders) or
        ``"none"``
    resamples
        100, or fewer (at least 20) beyond a million comparisons
    level, simultaneous, seed
        of the intervals and rank sets

    Notes
    -----
    The rating of one pass never settles: its noise stays about sqrt(k). For policies that do not
    change prefer ``bradley_terry``, whose maximum is what averaged Elo approaches for small k.

    References
    ----------
    Elo (1978), "The Rating of Chessplayers, Past and Present".

    Examples
    --------
    >>> board = elo(Comparisons.of(["x"], ["y"], [1.0]), orders=0, interval="none")
    >>> board.rating.tolist()
    [1516.0, 1484.0]
    """
    need(evidence, Comparisons, "elo")
    check_interval(interval, RESAMPLED, "elo")
    if not k > 0:
        raise EvidenceError(f"k={k}: the step must be > 0, for example 32.")
    _refuse_weights(evidence)
    total = evidence.total
    if orders is None:
        orders = _orders(evidence)
    if resamples is None:
        resamples = int(np.clip(100_000_000 // total, 20, 100))
    rng = generator(seed)
    notes = evidence_notes(evidence)
    if orders == 0:
        rating = _one_pass(evidence, k, start)
        text = "Ratings after one pass in the given order; another order gives others."
        notes.append(Note("order", text))
    else:
        rating = _passes(evidence, orders, rng, k, start, replace=False).mean(axis=0)
    draws = covariance = None
    if interval == "bootstrap":
        replicates = _passes(evidence, resamples, rng, k, start, replace=True)
        draws = replicates - replicates.mean(axis=0)
        covariance = np.asarray(np.cov(draws, rowvar=False)).reshape(len(rating), -1)
    notes += comparison_notes(evidence, evidence.preferences(), None)
    return make_leaderboard(
        evidence.policies,
        rating,
        method="elo",
        n=evidence.seen(),
        draws=draws,
        covariance=covariance,
        df=max(voters(evidence) - 1, 1.0),
        level=level,
        simultaneous=simultaneous,
        notes=notes,
        unit="Elo points",
        source=evidence.summary,
        settings={
            "k": k,
            "start": start,
            "orders": orders,
            "interval": interval,
            "resamples": resamples,
            "seed": seed,
        },
    )


def _refuse_weights(evidence: Comparisons) -> None:
    if evidence.weight is not None and not (evidence.weight == 1).all():
        raise EvidenceError(
            "elo takes no weights: a comparison is played or not. Drop them, or use bradley_terry."
        )


def _orders(evidence: Comparisons) -> int:
    """The order of time where there is one, otherwise as many random ones as are worth their
    time.
    """
    if evidence.time is not None:
        return 0
    return int(np.clip(50_000_000 // evidence.total, 4, 50))


def _one_pass(evidence: Comparisons, k: float, start: float) -> Float:
    """Ratings after all comparisons, in the order of time or of the rows."""
    rows = np.arange(len(evidence))
    if evidence.time is not None:
        rows = np.argsort(evidence.time, kind="stable")
    if evidence.count is not None:
        rows = np.repeat(rows, evidence.count[rows])
    outcome = np.asarray(evidence.outcome, dtype=float)[rows]
    first, second = evidence.a[rows], evidence.b[rows]
    rating = _in_order(first, second, outcome, len(evidence.policies), float(k), float(start))
    return np.asarray(rating)


def _passes(
    evidence: Comparisons,
    size: int,
    rng: np.random.Generator,
    k: float,
    start: float,
    *,
    replace: bool,
) -> Float:
    """Ratings (size, policies) after passes in random orders, or over resamples of whole units."""
    unit = evidence.unit if replace else None
    cells = evidence.counted(by=() if unit is None else (unit,))
    assert cells.count is not None
    index = np.repeat(np.arange(len(cells.a), dtype=np.int32), cells.count)
    outcome = np.asarray(cells.outcome, dtype=float)
    policies = len(evidence.policies)
    draw = None if unit is None else _unit_draw(getattr(cells, unit).codes[index], index)

    def one(seed: int) -> Float:
        rows, again = index, replace
        if draw is not None:
            rows, again = draw(seed), False
        return _in_random_order(
            cells.a, cells.b, outcome, rows, seed, again, policies, float(k), float(start)
        )

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.array(list(pool.map(one, rng.integers(2**31 - 1, size=size))))


def _unit_draw(
    unit: NDArray[np.int32], index: NDArray[np.int32]
) -> Callable[[int], NDArray[np.int32]]:
    """The games of as many units as there are, drawn with replacement by a seed."""
    order = np.argsort(unit, kind="stable")
    starts = np.flatnonzero(np.diff(unit[order], prepend=-1))
    members = np.split(index[order], starts[1:])

    def draw(seed: int) -> NDArray[np.int32]:
        chosen = np.random.default_rng(seed).integers(len(members), size=len(members))
        return np.concatenate([members[i] for i in chosen])

    return draw
