"""Confidence sets for ranks, the policies that may be best, and how often each takes each rank."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyrank.board.intervals import MANY, Float, Seed, error_draws, quantile
from policyrank.board.pair_gaps import (
    Blocks,
    Extremes,
    Gaps,
    extremes,
    largest_difference,
    largest_of_all,
)
from policyrank.errors import EvidenceError


@dataclass(frozen=True, eq=False)
class RankSets:
    """Confidence sets for ranks.

    Attributes
    ----------
    lower, upper
        int (n,), the best and the worst rank in the set of each policy
    better
        bool (n, n): row is better than column, at this level
    best
        bool (n,): policies that may be the best; together they hold it with probability ``level``
    """

    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    better: NDArray[np.bool_]
    best: NDArray[np.bool_]

    def taken(self, order: NDArray[np.intp]) -> RankSets:
        """The same of the policies in another order."""
        square = np.ix_(order, order)
        return RankSets(self.lower[order], self.upper[order], self.better[square], self.best[order])

    def among_first(self, k: int) -> NDArray[np.bool_]:
        """Policies that may be among the ``k`` best: bool (n,), for every k at once.

        Examples
        --------
        >>> sets = rank_confidence_sets([3.0, 1.0, 0.9], np.eye(3) * 0.01)
        >>> sets.among_first(1), sets.among_first(2)
        (array([ True, False, False]), array([ True,  True,  True]))
        """
        return self.lower <= k


def rank_confidence_sets(
    rating: ArrayLike,
    covariance: ArrayLike | None = None,
    *,
    draws: ArrayLike | None = None,
    z: ArrayLike | None = None,
    df: ArrayLike | None = None,
    level: float = 0.95,
    simultaneous: bool = True,
    stepdown: bool = True,
    size: int | None = None,
    exact: bool = True,
    seed: Seed = 0,
) -> RankSets:
    """Confidence sets for the ranks of policies whose ratings were estimated with error.

    The hypotheses are ordered pairs: "j is no better than k". The largest studentised difference
    over those of interest gives one critical value; step-down takes out what was rejected and tests
    the rest again. A policy's rank set leaves out the places of those that are significantly
    better, and of those that are significantly worse. Which policies may be the best is sharper
    than the sets say: each is compared with all others by a critical value of its own.

    Parameters
    ----------
    rating
        float (n,), estimates, higher is better
    covariance
        float (n, n), of the estimates; or
    draws
        float (size, n), of the estimates' errors (bootstrap replicates minus the estimate)
    z
        float (n, n), by how many standard errors the row is above the column, in normal deviates;
        None: the difference over its standard deviation
    df
        degrees of freedom, one or (n, n) by pair: each difference is turned from Student's t into
        the normal deviate that is as rare; None: normal
    level
        coverage in (0, 1)
    simultaneous
        whether all sets cover together (with probability ``level``), or each on its own
    stepdown
        test again without the hypotheses already rejected
    size
        how many draws from ``covariance``; None: 10,000 for up to 50 policies, fewer for more
    exact
        whether a difference without variance is known exactly (as of true values), or says nothing
        (as of a sample that happened not to vary)
    seed
        int or Generator

    Returns
    -------
    RankSets

    Raises
    ------
    EvidenceError
        For a level outside (0, 1), or where neither covariance nor draws are given.

    References
    ----------
    Mogstad, Romano, Shaikh and Wilhelm (2024), "Inference for Ranks with Applications to Mobility
    across Neighborhoods and Academic Achievement across Countries", Review of Economic Studies
    91(1); step-down after Romano and Wolf (2005); the best alone after Gupta (1965).

    Examples
    --------
    >>> sets = rank_confidence_sets([3.0, 1.0, 0.9], np.eye(3) * 0.01)
    >>> sets.lower, sets.upper, sets.best
    (array([1, 2, 2]), array([1, 3, 3]), array([ True, False, False]))
    """
    x = np.asarray(rating, dtype=float)
    n = len(x)
    if not 0 < level < 1:
        raise EvidenceError(f"level is {level}; it lies between 0 and 1, for example 0.95")
    if draws is None and covariance is None:
        raise EvidenceError("give a covariance or draws")
    if draws is None:
        cov = np.asarray(covariance, dtype=float)
        errors = error_draws(cov, size or draws_for(n), seed=seed)
    else:
        errors = np.asarray(draws, dtype=float)
        cov = np.cov(errors, rowvar=False).reshape(n, n)
        if covariance is not None:
            cov = np.asarray(covariance, dtype=float)
    freedom = None if df is None else np.broadcast_to(np.asarray(df, dtype=float), (n, n))
    gaps = Gaps(x, cov, None if z is None else np.asarray(z, dtype=float), freedom, exact=exact)
    columns = np.ascontiguousarray(errors.T, dtype=np.float32)
    if n == 1:
        alone = np.ones(1, dtype=np.int64)
        return RankSets(alone, alone, np.zeros((1, 1), dtype=bool), np.ones(1, dtype=bool))
    first = extremes(columns, gaps)
    blocks = Blocks(columns, gaps)
    largest = largest_of_all(blocks, first.value)
    critical = float(np.quantile(largest, level))
    best = None
    if n <= MANY:
        best = _may_be_best(blocks, first.upper, level, critical)
    if not simultaneous:
        return _marginal(columns, gaps, level, stepdown=stepdown, best=best)
    better = gaps.beyond(critical)
    while stepdown:
        critical = _stepped_down(blocks, largest, first, better, level)
        sharper = better | gaps.beyond(critical)
        if (sharper == better).all():
            break
        better = sharper
    return _sets(better, better.T, best)


def _sets(
    wins: NDArray[np.bool_], losses: NDArray[np.bool_], best: NDArray[np.bool_] | None
) -> RankSets:
    """``wins[j, k]``: j's set says that j beats k; ``losses[j, k]``: that k beats j."""
    lower = 1 + losses.sum(axis=1)
    if best is None:
        best = lower == 1
    return RankSets(lower, len(wins) - wins.sum(axis=1), wins, best)


def draws_for(policies: int) -> int:
    """How many draws make critical values steady: their level within .005 for 50 policies.

    Examples
    --------
    >>> draws_for(10), draws_for(100), draws_for(1000)
    (10000, 2000, 1000)
    """
    if policies <= 50:
        return 10_000
    if policies <= 300:
        return 2000
    return 1000


def _stepped_down(
    blocks: Blocks,
    largest: NDArray[np.float32],
    first: Extremes,
    better: NDArray[np.bool_],
    level: float,
) -> float:
    """The critical value over the ordered pairs that are not rejected yet.

    ``largest``: of each draw, over all pairs, which bounds it. It is that where ``first`` is its
    pair and not rejected. Draws far below the quantile are not looked at.
    """
    active = ~better
    np.fill_diagonal(active, False)
    if not active.any():
        return np.inf
    size = len(largest)
    order = np.argsort(largest)
    left = min(size, int(np.ceil(4 * (1 - level) * size)) + 10)
    told = (first.value == largest) & active[first.upper, first.lower]
    top = np.where(told, largest, np.float32(-np.inf))
    while True:
        chosen = order[size - left :]
        chosen = chosen[~told[chosen]]
        part, found = blocks.of(chosen), top[chosen]
        # Those that are most often the highest leave little to look at of the others.
        often = np.bincount(first.upper[chosen], minlength=len(active))
        for j in np.argsort(-often, kind="stable"):
            part.lift(found, j, sign=1, others=active[j])
        top[chosen], told[chosen] = found, True
        rest = np.full(size - left, -np.inf)
        critical = np.quantile(
            np.concatenate([rest, top[order[size - left :]]]), level, method="higher"
        )
        if left == size or critical >= largest[order[size - left - 1]]:
            return float(critical)
        left = min(size, 3 * left)


def _marginal(
    draws: NDArray[np.float32],
    gaps: Gaps,
    level: float,
    *,
    stepdown: bool,
    best: NDArray[np.bool_] | None,
) -> RankSets:
    """Each policy's set on its own: over the pairs that it is in, both ways."""
    n = len(gaps.rating)
    wins, losses = np.zeros((n, n), dtype=bool), np.zeros((n, n), dtype=bool)
    others = ~np.eye(n, dtype=bool)
    for j in range(n):
        statistic, scale = gaps.statistic(j), gaps.scale(j)
        critical = float(np.quantile(largest_difference(draws, j, slice(None), scale), level))
        while True:
            won, lost = statistic > critical, -statistic > critical
            settled = (won == wins[j]).all() and (lost == losses[j]).all()
            wins[j], losses[j] = won, lost
            if settled or not stepdown:
                break
            up, down = others[j] & ~won, others[j] & ~lost
            top = np.maximum(
                largest_difference(draws, j, up, scale[up], sign=1),
                largest_difference(draws, j, down, scale[down], sign=-1),
            )
            critical = min(critical, float(np.quantile(top, level)))
    return _sets(wins, losses, best)


def _may_be_best(
    blocks: Blocks, highest: NDArray[np.intp], level: float, ceiling: float
) -> NDArray[np.bool_]:
    """Policies that no other beats by more than chance would let one of equals.

    ``highest``: in each draw, whose difference from others is often the largest. ``ceiling``: no
    critical value of one policy exceeds it.
    """
    gaps = blocks.gaps
    n = len(gaps.rating)
    found = np.ones(n, dtype=bool)
    for j in range(n):
        others = np.arange(n) != j
        worst = float(-gaps.statistic(j)[others].min())
        if worst > ceiling:
            found[j] = False
        # The rival alone would have the normal's one-sided quantile.
        elif worst > 0.9 * quantile(level, None):
            found[j] = _reached(blocks, highest, j, worst, level)
    return found


def _reached(blocks: Blocks, highest: NDArray[np.intp], j: int, worst: float, level: float) -> bool:
    """Whether the quantile of the largest difference by which others are above j is ``worst``."""
    draws, scale = blocks.draws, blocks.gaps.scale(j)
    size = draws.shape[1]
    enough = size - np.floor(level * (size - 1))
    one = (draws[highest, np.arange(size)] - draws[j]) * scale[highest]
    if np.count_nonzero(one >= worst) >= enough:
        return True
    top = np.full(size, np.nextafter(np.float32(worst), np.float32(-np.inf)))
    blocks.lift(top, j, sign=-1)
    times = np.count_nonzero(top >= worst)
    if times >= enough:
        return True
    if times < enough - 1:
        return False
    others = np.delete(np.arange(len(draws)), j)
    every = largest_difference(draws, j, others, scale[others], sign=-1)
    return bool(worst <= np.quantile(every, level))


def rank_probabilities(rating: ArrayLike, draws: ArrayLike) -> NDArray[np.float64]:
    """How often each policy takes each rank when ``draws`` are added to the ratings: (n, ranks).

    Policies that tie in a draw (up to 1e-9 of the range of the ratings) share their ranks equally.

    Examples
    --------
    >>> rank_probabilities([1.0, 0.0], [[0.0, 0.0], [-2.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    x = np.asarray(rating, dtype=float) + np.asarray(draws, dtype=float)
    size, n = x.shape
    order = np.argsort(-x, axis=1, kind="stable")
    ordered = np.take_along_axis(x, order, axis=1)
    tolerance = 1e-9 * (ordered[:, :1] - ordered[:, -1:])
    new = np.ones((size, n), dtype=bool)
    new[:, 1:] = ordered[:, :-1] - ordered[:, 1:] > tolerance
    whole = new.all(axis=1)
    place = order[whole] * n + np.arange(n)
    times = np.bincount(place.ravel(), minlength=n * n).reshape(n, n).astype(float)
    if not whole.all():
        times += _shared_places(order[~whole], new[~whole])
    return times / size


def _shared_places(order: NDArray[np.intp], new: NDArray[np.bool_]) -> Float:
    """How often each policy takes each rank in draws with ties: (n, ranks).

    ``order``: (draws, n), best first; ``new``: where a group of equals begins.
    """
    n = order.shape[1]
    group = np.cumsum(new) - 1
    tied = np.bincount(group)
    start = np.flatnonzero(new) % n
    # A policy's shares start at the first rank of its group and end after the last.
    share = 1 / tied[group]
    begins = order.ravel() * (n + 1) + start[group]
    starts = np.bincount(begins, share, n * (n + 1))
    ends = np.bincount(begins + tied[group], share, n * (n + 1))
    return (starts - ends).reshape(n, n + 1).cumsum(axis=1)[:, :n]
