"""From ratings to a leaderboard: the order, and every interval from a covariance or from draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from policyrank.board.intervals import (
    MANY,
    Seed,
    error_draws,
    generator,
    percentile_interval,
    quantile,
)
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.board.rank_sets import (
    RankSets,
    draws_for,
    rank_confidence_sets,
    rank_probabilities,
)
from policyrank.errors import EvidenceError

Float = NDArray[np.float64]


MOST_SHARES = 2000
"""Draws that shares of ranks are counted over: to a percent."""


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
    df: float | Float | None = None,
    z: Float | None = None,
    ends: Float | None = None,
    sets: RankSets | None = None,
    notes: Sequence[Note] = (),
    unit: str = "rating",
    source: str = "",
    settings: Mapping[str, Any] | None = None,
    extras: Mapping[str, Any] | None = None,
    **options: Unpack[BoardOptions],
) -> Leaderboard:
    """Order the policies and derive every interval from what is known of the ratings' errors.

    Parameters
    ----------
    policies, rating, n
        in any one order
    covariance
        (policies, policies) of the ratings
    draws
        (size, policies), bootstrap replicates minus the rating; without a covariance the marginal
        intervals are their percentiles, with one they are normal and the draws serve the rank sets
    df
        degrees of freedom: one, or (policies, policies), of each rating on the diagonal and of each
        difference beside it; NaN: nothing can be told. Intervals are widened, and differences
        judged, by Student's t.
    z
        (policies, policies), by how many standard errors the row is above the column, in normal
        deviates, where that is not what ``covariance`` and ``df`` say
    ends
        (policies, 2), lower and upper ends of intervals, where those are not of a t
    sets
        rank sets, where they come from elsewhere: intervals are then ``ends``, or none
    method, notes, unit, source, settings, extras
        as the board shows them, see ``Leaderboard``; notes on what can be told apart are added
    options
        level, simultaneous and seed of the intervals and rank sets

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
    level = options.get("level", 0.95)
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
    errors = _Errors(covariance, draws, df, z, ends, sets).taken(order)
    lower, upper = _interval(rating[order], errors, level)
    board = Leaderboard(
        policies=tuple(policies[i] for i in order),
        rating=rating[order],
        lower=lower,
        upper=upper,
        rank=rank[order],
        n=np.asarray(n, dtype=np.int64)[order],
        method=method,
        settings=settings or {},
        level=level,
        unit=unit,
        source=source,
        covariance=errors.covariance,
        notes=tuple(notes),
        extras=extras or {},
    )
    if errors.sets is None and errors.covariance is None:
        return board
    seed, simultaneous = options.get("seed", 0), options.get("simultaneous", True)
    return _with_rank_sets(board, errors, seed=seed, simultaneous=simultaneous)


@dataclass(frozen=True, eq=False)
class _Errors:
    """What is known of the errors of ratings; ``make_leaderboard`` says what each is."""

    covariance: Float | None
    draws: Float | None
    df: float | Float | None
    z: Float | None
    ends: Float | None
    sets: RankSets | None
    percentiles: bool = False

    def taken(self, order: NDArray[np.intp]) -> _Errors:
        """For the policies in another order; draws alone give a covariance."""
        square = np.ix_(order, order)
        covariance, draws, df = self.covariance, self.draws, self.df
        if draws is not None:
            draws = np.asarray(draws, dtype=float)[:, order]
        if covariance is not None:
            covariance = covariance[square]
        elif draws is not None:
            covariance = np.asarray(np.cov(draws, rowvar=False)).reshape(len(order), -1)
        if isinstance(df, np.ndarray) and df.ndim:
            df = df[square]
        z = None if self.z is None else self.z[square]
        ends = None if self.ends is None else self.ends[order]
        sets = None if self.sets is None else self.sets.taken(order)
        return _Errors(covariance, draws, df, z, ends, sets, self.covariance is None)

    @property
    def own_df(self) -> Float | float:
        """Degrees of freedom of each rating; infinite: normal."""
        if self.df is None:
            return np.inf
        df = np.asarray(self.df, dtype=float)
        return df.diagonal() if df.ndim else df


def _interval(rating: Float, errors: _Errors, level: float) -> tuple[Float, Float]:
    """Marginal intervals; NaN: none, as where a sample did not vary at all."""
    unknown = np.full(len(rating), np.nan)
    if errors.ends is not None:
        return errors.ends[:, 0], errors.ends[:, 1]
    if errors.covariance is None or errors.sets is not None:
        return unknown, unknown
    if errors.draws is not None and errors.percentiles:
        lower, upper = percentile_interval(rating, errors.draws, errors.own_df, level)
    else:
        half = quantile((1 + level) / 2, errors.own_df) * np.sqrt(errors.covariance.diagonal())
        lower, upper = rating - half, rating + half
    varies = upper - lower > 1e-9 * max(float(np.max(np.abs(rating), initial=0.0)), 1e-300)
    return np.where(varies, lower, np.nan), np.where(varies, upper, np.nan)


def _with_rank_sets(
    board: Leaderboard, errors: _Errors, *, seed: Seed, simultaneous: bool
) -> Leaderboard:
    """The board with confidence sets of its ranks, shares of draws, and notes on both."""
    sets, draws = errors.sets, errors.draws
    if errors.covariance is not None:
        if draws is None:
            draws, shared = _normal_draws(errors.covariance, errors.own_df, seed)
        else:
            shared = draws
        board = _with_shares(board, shared)
    if sets is None:
        sets = rank_confidence_sets(
            board.rating,
            errors.covariance,
            draws=draws,
            z=errors.z,
            df=errors.df,
            level=board.level,
            simultaneous=simultaneous,
            # Beyond a thousand policies step-down would cost minutes and sharpen next to nothing.
            stepdown=len(board) <= MANY,
            exact=False,
        )
    board = replace(
        board,
        rank_lower=sets.lower,
        rank_upper=sets.upper,
        better=sets.better,
        best=sets.best,
    )
    notes = [*board.notes, *separability(board)]
    if errors.sets is None:
        notes = [*board.notes, *_no_interval(board), *separability(board)]
    return replace(board, notes=tuple(notes))


def _normal_draws(covariance: Float, df: Float | float, seed: Seed) -> tuple[Float, Float]:
    """Draws of the errors for critical values; and, as wide as the typical t, for shares."""
    rng, policies = generator(seed), len(covariance)
    size = 500 if policies > MANY else draws_for(policies)
    draws = error_draws(covariance, size, seed=rng)
    told = np.atleast_1d(df)[~np.isnan(np.atleast_1d(df))]
    typical = float(np.median(told)) if len(told) else np.inf
    if not np.isfinite(typical):
        return draws, draws
    return draws, draws * np.sqrt(typical / rng.chisquare(typical, size))[:, None]


def _with_shares(board: Leaderboard, draws: Float) -> Leaderboard:
    """The board with how often each policy takes each rank when the draws are added."""
    draws = draws[:MOST_SHARES]
    shares, taken, n = rank_probabilities(board.rating, draws), len(draws), len(board)
    # One draw more that says nothing: a share of a sample is never quite 0 or 1.
    return replace(board, rank_probability=(shares * taken + 1 / n) / (taken + 1), draws=taken)


def _no_interval(board: Leaderboard) -> list[Note]:
    """Whose error cannot be told."""
    unknown = np.isnan(board.lower)
    if not unknown.any():
        return []
    names = tuple(board.policies[i] for i in np.flatnonzero(unknown))
    if unknown.all():
        text = "What was seen does not vary enough to tell any rating's error: no intervals."
    else:
        shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        text = f"What was seen does not tell the error of every rating; not of: {shown}."
    return [Note("no intervals", text, "warning", names)]


def separability(board: Leaderboard) -> list[Note]:
    """What the data say about the top and about neighbours."""
    if board.separable is None:
        return []
    top, level = board.may_be_best, f"{100 * board.level:g}%"
    separate = int(board.separable.sum())
    share = f"{separate} of {len(board) - 1} neighbours on the board can be told apart"
    if len(top) == 1:
        text = f"{top[0]} is the best at the {level} level; {share}."
        return [Note("separable", text, policies=top)]
    shown = ", ".join(top[:6])
    if len(top) > 6:
        shown += f" and {len(top) - 6} more"
    text = f"{len(top)} policies may be the best ({shown}); {share}."
    chances = board.probability_best
    if chances is not None and chances.max() > board.level:
        sure = board.policies[int(np.argmax(chances))]
        text += (
            f" {sure} comes first in most draws of the errors, yet the others are not ruled out:"
            " a share of draws takes the estimate as the truth, the set allows for all being"
            " equal."
        )
    return [Note("not separable", text, "warning", top)]
