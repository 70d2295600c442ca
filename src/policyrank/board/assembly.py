"""From ratings to a leaderboard: the order, and every interval from a covariance or from draws."""

from __future__ import annotations

from collections.abc import Sequence
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


class BoardOptions(TypedDict, total=False):
    """Options of every board with intervals.

    Attributes
    ----------
    level
        coverage of intervals and rank sets, in (0, 1)
    simultaneous
        whether all rank sets hold together, or each on its own
    seed
        of everything that is drawn
    """

    level: float
    simultaneous: bool
    seed: Seed


def competition_rank(rating: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rank of each entry, 1 is highest, ties share the better rank (ties: equal up to rounding)."""
    scale = max(float(np.max(np.abs(rating), initial=0.0)), 1e-300)
    rounded = np.round(rating / scale, 11)
    return 1 + np.searchsorted(np.sort(-rounded), -rounded, side="left")


def make_leaderboard(
    policies: Sequence[str],
    rating: NDArray[np.float64],
    *,
    method: str,
    n: NDArray[np.int64],
    covariance: NDArray[np.float64] | None = None,
    draws: NDArray[np.float64] | None = None,
    df: float | None = None,
    units: float | None = None,
    level: float = 0.95,
    simultaneous: bool = True,
    seed: Seed = 0,
    notes: Sequence[Note] = (),
    **rest: Any,
) -> Leaderboard:
    """Order the policies and derive every interval from a covariance or from draws of the ratings'
    errors.

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
    x = rating[order]
    lower = upper = np.full(len(x), np.nan)
    sets = probability = None
    notes = list(notes)
    z = None if draws is None else np.asarray(draws, dtype=float)[:, order]
    cov = None if covariance is None else covariance[np.ix_(order, order)]
    if z is not None and cov is None:
        cov = np.cov(z, rowvar=False).reshape(len(x), len(x))
        lower, upper = x + np.quantile(z, [(1 - level) / 2, (1 + level) / 2], axis=0)
    elif cov is not None:
        half = quantile((1 + level) / 2, df) * np.sqrt(np.clip(cov.diagonal(), 0, None))
        lower, upper = x - half, x + half
    if cov is not None:
        few = len(x) <= MANY
        if z is None:
            z = error_draws(cov, 1000 if few else 500, df=df, seed=generator(seed))
        # Beyond a thousand policies step-down would cost minutes and sharpen next to nothing.
        sets = rank_confidence_sets(
            x,
            cov,
            draws=z,
            level=level,
            simultaneous=simultaneous,
            stepdown=few,
            units=units if df is None else df + 1,
        )
        probability = rank_probabilities(x, z)
        notes += separability(
            tuple(np.asarray(policies, dtype=object)[order]), sets.lower, sets.better, level
        )
    return Leaderboard(
        policies=tuple(policies[i] for i in order),
        rating=x,
        lower=lower,
        upper=upper,
        rank=rank[order],
        rank_lower=None if sets is None else sets.lower,
        rank_upper=None if sets is None else sets.upper,
        n=np.asarray(n, dtype=np.int64)[order],
        method=method,
        level=level,
        covariance=cov,
        better=None if sets is None else sets.better,
        rank_probability=probability,
        notes=tuple(notes),
        **rest,
    )


def separability(
    policies: tuple[str, ...],
    rank_lower: NDArray[np.int64],
    better: NDArray[np.bool_],
    level: float,
) -> list[Note]:
    """What the data say about the top and about neighbours."""
    n = len(policies)
    top = tuple(p for p, r in zip(policies, rank_lower, strict=True) if r == 1)
    separate = int(better.diagonal(1).sum())
    share = f"{separate} of {n - 1} neighbours on the board can be told apart"
    if len(top) == 1:
        return [
            Note(
                "separable",
                f"{top[0]} is the best at the {level:.0%} level; {share}.",
                policies=top,
            )
        ]
    shown = ", ".join(top[:6]) + (f" and {len(top) - 6} more" if len(top) > 6 else "")
    return [
        Note(
            "not separable",
            f"{len(top)} policies may be the best ({shown}); {share}.",
            "warning",
            top,
        )
    ]
