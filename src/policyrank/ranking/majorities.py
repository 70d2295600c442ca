"""Which majorities are certain, and what a rule that follows majorities can say for sure.

Copeland's, Kemeny's and their like are step functions of the majorities: where two policies are
tied, neither a normal law nor the bootstrap holds. What holds whatever the ties is a test of every
majority, all together, and what follows from those that are certain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, ndtr

from policyrank.board.clusters import clustered_mean
from policyrank.board.intervals import as_normal
from policyrank.board.rank_sets import RankSets
from policyrank.evidence import Comparisons, Rankings
from policyrank.evidence.base import first_repeated, ones_if_none
from policyrank.ranking.connected import components

Float = NDArray[np.float64]
Certain = NDArray[np.bool_]


def sign_tests(evidence: Comparisons | Rankings) -> Float:
    """p values of "no majority of the row over the column", two-sided: (n, n).

    On the votes that are not tied: the exact binomial; where votes come in clusters or bear
    weights, Student's t of their mean by CR2. 1 where the column has as many votes.
    """
    if isinstance(evidence, Rankings):
        if evidence.counts_voters and evidence.unit == "ballot":
            return binomial_tests(evidence.preferences(ties=0.0))
        evidence = Comparisons.of_rankings(evidence)
    if evidence.weight is None and not _meets_twice(evidence):
        return binomial_tests(_strict_wins(evidence))
    return _tests_by_cluster(evidence)


def _meets_twice(evidence: Comparisons) -> bool:
    """Whether a unit holds several votes on one pair, which are not independent."""
    if evidence.unit is None:
        return False
    size = len(evidence.policies)
    a, b = evidence.a.astype(np.int64), evidence.b.astype(np.int64)
    pair = np.minimum(a, b) * size + np.maximum(a, b)
    unit = getattr(evidence, evidence.unit).codes.astype(np.int64)
    counted = evidence.unit == "rater" and evidence.count is not None
    return first_repeated(unit * size**2 + pair) is not None or (
        counted and bool((ones_if_none(evidence.count, len(a)) > 1).any())
    )


def binomial_tests(wins: Float) -> Float:
    """Two-sided exact p values of the row's majority, from counts of votes without ties.

    Examples
    --------
    >>> binomial_tests(np.array([[0, 5], [0, 0]])).tolist()
    [[1.0, 0.0625], [1.0, 1.0]]
    """
    whole = np.round(wins)
    votes = np.maximum(whole + whole.T, 1)
    at_least = betainc(np.maximum(whole, 1), votes - np.maximum(whole, 1) + 1, 0.5)
    return np.where(whole > whole.T, np.minimum(2 * at_least, 1.0), 1.0)


def _strict_wins(evidence: Comparisons) -> Float:
    """Games that the row won, without ties."""
    games, size = evidence.games(), len(evidence.policies)
    wins = np.zeros(size * size)
    for first, second, won in (
        (games.a, games.b, games.outcome > 0.5),
        (games.b, games.a, games.outcome < 0.5),
    ):
        wins += np.bincount(first * size + second, games.times * won, size * size)
    return wins.reshape(size, size)


def _tests_by_cluster(evidence: Comparisons) -> Float:
    """Student's t of each pair's mean vote, clusters whole."""
    size, games = len(evidence.policies), evidence.games()
    low, high = np.minimum(games.a, games.b), np.maximum(games.a, games.b)
    vote = np.where(games.a < games.b, 1.0, -1.0) * np.sign(games.outcome - 0.5)
    weight = games.times
    if evidence.weight is not None:
        weight = weight * evidence.weight[games.row]
    unit = evidence.unit
    cluster = np.arange(len(vote))
    if unit is not None:
        cluster = getattr(evidence, unit).codes[games.row].astype(np.int64)
    pair = low * size + high
    order = np.argsort(pair, kind="stable")
    pairs, starts = np.unique(pair[order], return_index=True)
    p = np.ones((size, size))
    for code, rows in zip(pairs, np.split(order, starts[1:]), strict=True):
        rows = rows[(vote[rows] != 0) & (weight[rows] > 0)]
        if not len(rows):
            continue
        found = clustered_mean(vote[rows, None], cluster[rows], weight[rows])
        i, j = divmod(int(code), size)
        mean, spread = float(found.mean[0]), float(found.covariance[0, 0])
        # A pseudo-vote for either side: votes that agree are not certain.
        spread = (spread * found.df + 1 / found.effective) / (found.df + 1)
        if np.isnan(spread) or mean == 0:
            continue
        z = float(as_normal(mean / np.sqrt(spread), found.df))
        winner, loser = (i, j) if z > 0 else (j, i)
        p[winner, loser] = 2 * ndtr(-abs(z))
    return p


def holm(p: Float) -> Float:
    """Holm's adjusted p values.

    References
    ----------
    Holm (1979), "A simple sequentially rejective multiple test procedure".

    Examples
    --------
    >>> holm(np.array([0.01, 0.02, 0.03, 0.04]))
    array([0.04, 0.06, 0.06, 0.06])
    """
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def certain(p: Float, level: float) -> Certain:
    """Which of the tests of all pairs hold together with probability ``level``: (n, n).

    ``p``: (n, n), two-sided, 1 on the side without a majority.
    """
    upper = np.triu_indices(len(p), 1)
    adjusted = holm(np.minimum(p, p.T)[upper])
    passed = np.zeros(p.shape, dtype=bool)
    passed[upper] = adjusted <= 1 - level + 1e-12
    return (passed | passed.T) & (p < p.T)


@dataclass(frozen=True, eq=False)
class Projection:
    """What certain majorities say of a rule's ratings.

    ``ends``: (n, 2) or None: what the rating may be. ``better``: bool (n, n).
    """

    ends: Float | None
    better: Certain

    @property
    def sets(self) -> RankSets:
        """Rank sets by what is certainly better."""
        lower = 1 + self.better.sum(axis=0)
        return RankSets(lower, len(lower) - self.better.sum(axis=1), self.better, lower == 1)


Project = Callable[[Certain], Projection]


def of_majorities(sure: Certain) -> Projection:
    """For Copeland: a policy beats at least those it certainly beats, and loses alike.

    Examples
    --------
    >>> sure = np.array([[0, 1, 1], [0, 0, 0], [0, 0, 0]], dtype=bool)
    >>> of_majorities(sure).ends.tolist()
    [[2.0, 2.0], [0.0, 1.0], [0.0, 1.0]]
    """
    least, most = sure.sum(axis=1), len(sure) - 1 - sure.sum(axis=0)
    ends = np.column_stack([least, most]).astype(float)
    return Projection(ends, least[:, None] > most)


def of_dominance(sure: Certain) -> Projection:
    """For rules that rank a set above the rest where each of it beats each of the rest.

    Ratings count policies below, as of Kemeny's order, ranked pairs and Schulze's.

    Examples
    --------
    >>> sure = np.array([[0, 1, 1], [0, 0, 0], [0, 0, 0]], dtype=bool)
    >>> of_dominance(sure).ends.tolist()
    [[2.0, 2.0], [0.0, 1.0], [0.0, 1.0]]
    """
    better = dominated(sure)
    ends = np.column_stack([better.sum(axis=1), len(sure) - 1 - better.sum(axis=0)])
    return Projection(ends.astype(float), better)


def without_ends(sure: Certain) -> Projection:
    """As ``of_dominance``, for ratings that count something else: no intervals."""
    return Projection(None, dominated(sure))


def of_winner(sure: Certain) -> Projection:
    """For rules that are sure only of a policy that certainly beats every other: no intervals."""
    wins_all = sure.sum(axis=1) == len(sure) - 1
    return Projection(None, wins_all[:, None] & ~np.eye(len(sure), dtype=bool))


def dominated(sure: Certain) -> Certain:
    """bool (n, n): the row is in a set whose members all certainly beat the column and the rest."""
    part = components(np.nonzero(~sure.T), len(sure), strong=True)
    member = np.zeros((part.max(initial=-1) + 1, len(sure)))
    member[part, np.arange(len(sure))] = 1
    beaten = member @ sure @ member.T > 0
    np.fill_diagonal(beaten, False)
    ahead = beaten.sum(axis=1)[part]
    return ahead[:, None] > ahead
