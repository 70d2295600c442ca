"""Errors of means over ballots: of Borda shares, and of shares of ballots that do something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyrank.board.bounded import bounded_errors, wilson
from policyrank.board.clusters import ALONE, clustered_mean, satterthwaite
from policyrank.evidence import Comparisons, Rankings
from policyrank.evidence.comparisons import Games
from policyrank.evidence.rankings import placed_above
from policyrank.ranking.majorities import Projection, binomial_tests, certain

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ShareErrors:
    """Of means in [0, 1]: the means, estimated and null covariance, and degrees of freedom."""

    mean: Float
    covariance: Float
    null: Float
    df: Float
    level: float

    def scaled(self, most: float) -> dict[str, Any]:
        """What ``make_leaderboard`` takes, for ratings that are ``most`` times the means."""
        found = bounded_errors(self.mean, self.covariance, self.null, self.df, self.level)
        return {
            "covariance": found.covariance * most**2,
            "ends": found.ends * most,
            "df": self.df,
            "z": found.z,
        }


def borda_errors(
    evidence: Rankings | Comparisons, rate: Float, total: Float, level: float
) -> ShareErrors | None:
    """Of Borda ratings as shares of the other policies; None for a single ballot.

    ``rate``: (n, n) win rates, ``total``: (n, n) how often each pair was ranked.
    """
    if isinstance(evidence, Comparisons):
        return _of_games(evidence, rate, total, level)
    if evidence.voters < 2:
        return None
    n = len(rate)
    number, length = _ballots_of_each(evidence)
    # Of a ballot in random order: variance (L^2 - 1) / 12, covariance -(L + 1) / 12 of points.
    null = np.full((n, n), -1.0) / 12 * (length + 1)
    null[np.diag_indices(n)] = (length**2 - 1) / 12
    null /= (length - 1) ** 2 * np.sqrt(number[:, None] * number)
    mean, most = rate.sum(axis=1) / (n - 1), (n - 1) ** 2
    if evidence.unit == "group":
        pairs = Comparisons.of_rankings(evidence)
        games = pairs.games()
        weight = np.ones(len(games.a)) if pairs.weight is None else pairs.weight
        found = _by_cluster(pairs, weight * _influence(games, rate, total), weight, n)
        if found is None:
            return None
        covariance, freedom, effective = found
        null *= _clumped(evidence.voters / effective)
        return ShareErrors(mean, covariance / most, null, np.full((n, n), freedom), level)
    covariance = _of_ballots(evidence, rate, total)
    inflated = np.sqrt(number / np.maximum(number - 1, 1e-300))
    df = np.maximum(np.minimum(number[:, None], number) - 1, 1.0)
    df[(number < 2)[:, None] | (number < 2)] = np.nan
    covariance *= inflated[:, None] * inflated / most
    return ShareErrors(mean, covariance, null, df, level)


def _clumped(size: float) -> float:
    """By how much null variance grows in clusters: they are worth a quarter as one value each."""
    return 0.25 * size + 0.75


def _influence(games: Games, rate: Float, total: Float) -> Float:
    """What one game adds to the first policy's sum of win rates: (games,)."""
    return (games.outcome - rate[games.a, games.b]) / total[games.a, games.b]


def _ballots_of_each(evidence: Rankings) -> tuple[Float, float]:
    """How many ballots hold each policy (weights by Kish), and the mean length of a ballot."""
    weight, size = evidence.weight[evidence.ballot], len(evidence.policies)
    total = np.bincount(evidence.policy, weight, size)
    number = total
    if not evidence.counts_voters:
        square = np.bincount(evidence.policy, weight**2, size)
        number = total**2 / np.maximum(square, 1e-300)
    length = float(evidence.weight @ evidence.lengths / evidence.weight.sum())
    return np.maximum(number, 1e-9), max(length, 2.0)


def _of_ballots(evidence: Rankings, rate: Float, total: Float) -> Float:
    """Covariance of pairwise rates summed over opponents, from each ballot's influence on them."""
    n = len(rate)
    inverse = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    covariance = np.zeros((n, n))
    for part, policy, position in evidence.blocks():
        above = placed_above(position)
        pair = policy[:, :, None], policy[:, None, :]
        influence = np.zeros((len(part), n))
        np.put_along_axis(
            influence,
            policy.astype(np.int64),
            ((above - rate[pair]) * inverse[pair] * (pair[0] != pair[1])).sum(axis=2),
            axis=1,
        )
        w = evidence.weight[part]
        scale = w if evidence.counts_voters else w**2
        covariance += influence.T @ (influence * scale[:, None])
    return covariance


def _of_games(evidence: Comparisons, rate: Float, total: Float, level: float) -> ShareErrors | None:
    """Of win rates over games, in clusters where the comparisons know some."""
    n, games = len(rate), evidence.games()
    one = np.ones(len(games.a)) if evidence.weight is None else evidence.weight[games.row]
    off, code = _influence(games, rate, total), games.a * n + games.b
    share = games.times * (one / total[games.a, games.b]) ** 2
    spread = np.bincount(code, share / 4, n * n).reshape(n, n)
    null = _laplacian(spread + spread.T)
    mean, most = rate.sum(axis=1) / (n - 1), (n - 1) ** 2
    if evidence.unit is not None:
        weight = one * games.times
        found = _by_cluster(evidence, weight * off, weight, n)
        if found is None:
            return None
        covariance, freedom, effective = found
        if evidence.unit == "rater":
            null *= _clumped(float(games.times.sum()) / effective)
        df = np.full((n, n), freedom)
        return ShareErrors(mean, covariance / most, null / most, df, level)
    seen = np.bincount(code, games.times * (one * off) ** 2, n * n).reshape(n, n)
    number = np.maximum(total.sum(axis=1), 1e-9)
    factor = np.sqrt(number / np.maximum(number - 1, 1e-300))
    covariance = _laplacian(seen + seen.T) * factor[:, None] * factor
    df = np.maximum(np.minimum(number[:, None], number) - 1, 1.0)
    return ShareErrors(mean, covariance / most, null / most, df, level)


def _laplacian(spread: NDArray[Any]) -> Float:
    """Covariance of sums over pairs whose two sides are opposite."""
    return np.diag(spread.sum(axis=1)) - spread


def _by_cluster(
    evidence: Comparisons, influence: Float, weight: Float, n: int
) -> tuple[Float, float, float] | None:
    """Covariance over clusters (CR2), its degrees of freedom, and their effective number."""
    games, unit = evidence.games(), evidence.unit
    assert unit is not None
    cluster = getattr(evidence, unit).codes[games.row].astype(np.int64)
    copies = np.ones(int(cluster.max()) + 1)
    if unit == "ballot":
        copies[cluster] = games.times
        influence, weight = influence / games.times, weight / games.times
    sums = np.zeros((len(copies), n))
    np.add.at(sums, (cluster, games.a), influence)
    np.add.at(sums, (cluster, games.b), -influence)
    size = np.bincount(cluster, weight, len(copies))
    share = size / float(copies @ size)
    used = share > 0
    if copies[used].sum() < 2 or share.max() > ALONE:
        return None
    covariance = (sums.T * (copies / (1 - share))) @ sums
    shares = np.repeat(share[used], np.minimum(copies[used], 1000).astype(int))
    return covariance, satterthwaite(shares), 1 / float(copies @ share**2)


def share_errors(
    points: Float,
    weight: Float,
    *,
    units: float,
    counted: bool,
    level: float,
) -> dict[str, Any]:
    """What ``make_leaderboard`` takes, for means over rows of points in [0, 1]: (rows, n).

    Intervals are Wilson's where points are 0 or 1; who is better is told by exact sign tests on the
    rows that tell two policies apart, Holm over pairs.

    Parameters
    ----------
    points, weight
        (rows, n) and (rows,)
    units
        how many independent rows there are
    counted
        whether weights count equal rows; otherwise they are importance
    level
        coverage
    """
    n, total = points.shape[1], float(weight.sum())
    mean = weight @ points / total
    off, scale = points - mean, weight if counted else weight**2
    covariance = (off.T @ (off * scale[:, None])) / total**2 * units / (units - 1)
    null = np.eye(n) / (4 * units)
    found = bounded_errors(mean, covariance, null, units - 1, level)
    known: dict[str, Any] = {"covariance": found.covariance, "ends": found.ends}
    if np.isin(points, (0.0, 1.0)).all():
        known["ends"] = np.stack(wilson(mean, units, level), axis=1)
    if not counted:
        return {**known, "z": found.z}
    more = np.empty((n, n))
    for j in range(n):
        more[j] = weight @ (points[:, [j]] > points + 1e-12)
    better = certain(binomial_tests(more), level)
    return {**known, "sets": Projection(None, better).sets}


def over_groups(evidence: Rankings, points: Float, level: float) -> dict[str, Any]:
    """As ``share_errors``, over independent groups of ballots; empty where ballots are."""
    if evidence.unit != "group":
        return {}
    assert evidence.group is not None
    found = clustered_mean(points, evidence.group.codes, evidence.weight)
    n = len(found.mean)
    null = np.eye(n) * _clumped(evidence.voters / found.effective) / (4 * evidence.voters)
    df = np.full((n, n), found.df)
    return ShareErrors(found.mean, found.covariance, null, df, level).scaled(1.0)
