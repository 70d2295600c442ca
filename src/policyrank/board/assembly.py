"""From ratings to a leaderboard: the order, and every interval from a covariance or from draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from policyrank.board.intervals import (
    MANY,
    Seed,
    error_draws,
    generator,
    quantile,
    rank_confidence_sets,
    rank_probabilities,
)
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.errors import EvidenceError

Float = NDArray[np.float64]


class CoverageOptions(TypedDict, total=False):
    """What intervals are to cover.

    Attributes
    ----------
    level
        coverage of intervals and rank sets, in (0, 1)
    simultaneous
        whether all rank sets hold together, or each on its own
    """

    level: float
    simultaneous: bool


class BoardOptions(CoverageOptions, total=False):
    """Options of every board with intervals.

    Attributes
    ----------
    seed
        of everything that is drawn
    """

    seed: Seed


def competition_rank(rating: Float) -> NDArray[np.int64]:
    """Rank of each entry, 1 is highest, ties share the better rank (ties: equal up to rounding).

    Examples
    --------
    >>> competition_rank(np.array([2.0, 7.0, 2.0, 1.0])).tolist()
    [2, 1, 2, 4]
    """
    scale = max(float(np.max(np.abs(rating), initial=0.0)), 1e-300)
    rounded = np.round(rating / scale, 11)
    return 1 + np.searchsorted(np.sort(-rounded), -rounded, side="left")


def make_leaderboard(
    policies: Sequence[str],
    rating: Float,
    *,
    method: str,
    n: NDArray[np.int64],
    covariance: Float | None = None,
    draws: Float | None = None,
    df: float | None = None,
    units: float | None = None,
    level: float = 0.95,
    simultaneous: bool = True,
    seed: Seed = 0,
    notes: Sequence[Note] = (),
    unit: str = "rating",
    source: str = "",
    settings: Mapping[str, Any] | None = None,
    extras: Mapping[str, Any] | None = None,
) -> Leaderboard:
    """Order the policies and derive every interval from what is known of the ratings' errors.

    Parameters
    ----------
    policies, rating, n
        in any one order
    covariance
        (policies, policies) of the ratings; ``df``: its degrees of freedom
    draws
        (size, policies), bootstrap replicates minus the rating; without a covariance the marginal
        intervals are their percentiles, with one they are normal and the draws serve the rank sets
    units
        how many independent units the estimates rest on, see ``rank_confidence_sets``
    level, simultaneous, seed
        of the intervals and rank sets
    method, notes, unit, source, settings, extras
        as the board shows them, see ``Leaderboard``; notes on what can be told apart are added

    Raises
    ------
    EvidenceError
        For a level outside (0, 1), or fewer than 20 draws.

    Examples
    --------
    >>> board = make_leaderboard(
    ...     policies=["old", "new"],
    ...     rating=np.array([1.0, 3.0]),
    ...     method="mean",
    ...     n=np.array([9, 9]),
    ...     covariance=np.diag([0.1, 0.1]),
    ...     source="18 scores",
    ... )
    >>> board.policies, board.lower.round(2).tolist(), board.rank_upper.tolist()
    (('new', 'old'), [2.38, 0.38], [1, 2])
    """
    if not 0 < level < 1:
        raise EvidenceError(f"level is {level}; it lies between 0 and 1, for example 0.95")
    if draws is not None and len(draws) < 20:
        raise EvidenceError(
            f"{len(draws)} resamples say nothing about intervals: take at least 20, better several"
            " hundred."
        )
    rating = np.asarray(rating, dtype=float)
    rank = competition_rank(rating)
    order = np.lexsort((np.asarray(policies), rank))
    ordered = rating[order]
    if draws is not None:
        draws = np.asarray(draws, dtype=float)[:, order]
    if covariance is not None:
        covariance = covariance[np.ix_(order, order)]
    lower, upper = _intervals(ordered, covariance, draws, df, level)
    if draws is not None and covariance is None:
        covariance = np.asarray(np.cov(draws, rowvar=False)).reshape(len(ordered), -1)
    board = Leaderboard(
        policies=tuple(policies[i] for i in order),
        rating=ordered,
        lower=lower,
        upper=upper,
        rank=rank[order],
        n=np.asarray(n, dtype=np.int64)[order],
        method=method,
        settings=settings or {},
        level=level,
        unit=unit,
        source=source,
        covariance=covariance,
        notes=tuple(notes),
        extras=extras or {},
    )
    if covariance is None:
        return board
    if df is not None:
        units = df + 1
    if draws is None:
        draws = _draws(covariance, df, seed)
    return _with_rank_sets(board, covariance, draws, simultaneous, units)


def _intervals(
    rating: Float, covariance: Float | None, draws: Float | None, df: float | None, level: float
) -> tuple[Float, Float]:
    """Marginal intervals: normal ones from a covariance, percentiles of draws, or NaN."""
    if covariance is not None:
        sd = np.sqrt(np.clip(covariance.diagonal(), 0, None))
        half = quantile((1 + level) / 2, df) * sd
        return rating - half, rating + half
    if draws is not None:
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return rating + low, rating + high
    unknown = np.full(len(rating), np.nan)
    return unknown, unknown


def _draws(covariance: Float, df: float | None, seed: Seed) -> Float:
    """Draws of the ratings' errors, fewer where there are many policies."""
    size = 1000
    if len(covariance) > MANY:
        size = 500
    return error_draws(covariance, size, df=df, seed=generator(seed))


def _with_rank_sets(
    board: Leaderboard, covariance: Float, draws: Float, simultaneous: bool, units: float | None
) -> Leaderboard:
    """The board with confidence sets of its ranks, and with notes on what they tell apart."""
    # Beyond a thousand policies step-down would cost minutes and sharpen next to nothing.
    sets = rank_confidence_sets(
        board.rating,
        covariance,
        draws=draws,
        level=board.level,
        simultaneous=simultaneous,
        stepdown=len(board) <= MANY,
        units=units,
    )
    notes = separability(board.policies, sets.lower, sets.better, board.level)
    return replace(
        board,
        rank_lower=sets.lower,
        rank_upper=sets.upper,
        better=sets.better,
        rank_probability=rank_probabilities(board.rating, draws),
        notes=(*board.notes, *notes),
    )


def separability(
    policies: tuple[str, ...],
    rank_lower: NDArray[np.int64],
    better: NDArray[np.bool_],
    level: float,
) -> list[Note]:
    """What the data say about the top and about neighbours."""
    top = tuple(policies[i] for i in np.flatnonzero(rank_lower == 1))
    separate = int(better.diagonal(1).sum())
    share = f"{separate} of {len(policies) - 1} neighbours on the board can be told apart"
    if len(top) == 1:
        text = f"{top[0]} is the best at the {level:.0%} level; {share}."
        return [Note("separable", text, policies=top)]
    shown = ", ".join(top[:6])
    if len(top) > 6:
        shown += f" and {len(top) - 6} more"
    text = f"{len(top)} policies may be the best ({shown}); {share}."
    return [Note("not separable", text, "warning", top)]
