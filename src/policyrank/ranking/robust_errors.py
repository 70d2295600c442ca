"""The covariance of a fit that does not trust its model: by comparison, or by cluster (CR2)."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from policyrank.board.intervals import MANY
from policyrank.errors import EvidenceError
from policyrank.ranking.cells import Cells, assemble, mirror
from policyrank.ranking.cluster_errors import (
    ALONE,
    Corrected,
    corrected,
    corrected_alike,
    degrees_of_freedom,
    heaviest,
)
from policyrank.ranking.likelihood import Fit, Float, blas, expected_inverse
from policyrank.ranking.links import Link, Terms

STRIP = 256
"""Rows of a symmetric product that are multiplied at once."""

MOST_CELLS = 2e8
"""Squares of clusters' matrices that degrees of freedom may take."""

MANY_UNITS = 20_000
"""Units beyond which the floor is left out: it would widen intervals by less than 3e-5."""

NORMAL = 1000
"""Degrees of freedom beyond which Student's t is taken as normal (it is .1% wider)."""

CHUNK = 20_000_000
"""Numbers that a block of clusters' scores may hold."""


@dataclass(frozen=True, eq=False)
class Sandwich:
    """Errors of the parameters.

    Attributes
    ----------
    covariance
        (parameters, parameters)
    df
        (policies, policies), degrees of freedom of each rating (diagonal) and of each difference
        beside it; NaN: it rests on one cluster alone. None: normal
    df_of_covariates
        (covariates,)
    clusters, effective
        how many there are, and 1 / sum of their squared shares of the comparisons
    largest
        the largest cluster's share of the comparisons
    """

    covariance: Float
    df: Float | None
    df_of_covariates: Float
    clusters: float
    effective: float
    largest: float


def sandwich(cells: Cells, link: Link, fit: Fit, *, centred: bool = True) -> Sandwich:
    """The covariance over independent comparisons, or over clusters of them where there are any.

    CR2 in either case: scores of clusters are inflated by their leverage. A floor, the model's
    covariance over the number of clusters, keeps what never varied from looking certain; a prior
    adds the variance of what it decides.

    Parameters
    ----------
    centred
        whether degrees of freedom are of ratings less their mean

    Raises
    ------
    EvidenceError
        For a single cluster.

    References
    ----------
    Bell and McCaffrey (2002); Pustejovsky and Tipton (2018). The floor is this library's own.
    """
    assert fit.inverse is not None
    units = Units.of(cells)
    if units.number < 2:
        raise EvidenceError(
            "there is only one cluster: give evidence from several, or drop cluster=..."
        )
    bread = expected_inverse(cells, link, fit)
    gap = cells.gap(fit.theta, fit.beta)
    terms, expected = link.terms(gap, cells.y, fit.phi), link.expected(gap, fit.phi)
    leverage = _leverage(cells, expected, bread)
    of_unit = leverage
    if cells.cluster is not None:
        held = leverage * units.times(cells)
        of_unit = np.bincount(units.member, held, len(units.copies)).astype(np.float64)
    heavy = heaviest(of_unit)
    exact = _corrected(cells, units, heavy, terms, expected, bread)
    if cells.cluster is None:
        meat = _comparisons_meat(cells, terms, leverage)
    else:
        meat = _clusters_meat(cells, units, heavy, exact, terms, expected, bread)
    covariance = _between(fit.inverse, meat)
    if units.number < MANY_UNITS:
        covariance += fit.inverse * (_mean_weight(cells, expected) / units.number)
    if fit.precision.any():
        of_ratings = fit.inverse[:, : cells.size]
        covariance += (of_ratings * fit.precision) @ of_ratings.T
    df, df_of_covariates, n = None, np.full(cells.x.shape[1], np.inf), cells.size
    if cells.cluster is not None or n <= MANY:
        parameters = np.eye(len(bread))
        ratings = parameters[:, :n].copy()
        if centred:
            ratings[:n] -= 1 / n
        most = int(max(1, MOST_CELLS // n**2))
        rest = np.delete(of_unit, heavy[:most])
        lightest = min(float(rest.max(initial=0.0)), 0.99)
        found = degrees_of_freedom(exact[:most], bread, ratings, lightest)
        covariance[:n, :n] += found.alone
        df = found.df
        if df.min() > NORMAL:
            df = None
        if cells.x.shape[1]:
            covariates = parameters[:, n:-1]
            df_of_covariates = degrees_of_freedom(exact, bread, covariates, lightest).df.diagonal()
    return Sandwich(covariance, df, df_of_covariates, units.number, *units.balance)


@dataclass(frozen=True, eq=False)
class Units:
    """What is independent: clusters of cells, or each comparison.

    Attributes
    ----------
    member
        (cells,), the unit of each cell
    copies
        (units,), how many equal ones
    size
        (units,), comparisons of one of them
    """

    member: NDArray[np.int64]
    copies: Float
    size: Float

    @classmethod
    def of(cls, cells: Cells) -> Units:
        if cells.cluster is None:
            alone = np.arange(len(cells.i), dtype=np.int64)
            return cls(alone, cells.count, np.ones(len(cells.i)))
        member = np.unique(cells.cluster, return_inverse=True)[1].astype(np.int64)
        number = int(member.max()) + 1
        if not cells.copied:
            size = np.bincount(member, cells.count, number).astype(np.float64)
            return cls(member, np.ones(number), size)
        copies = np.zeros(number)
        copies[member] = cells.count
        return cls(member, copies, np.bincount(member, minlength=number).astype(float))

    def times(self, cells: Cells) -> Float:
        """How often one unit holds each of its cells: (cells,)."""
        if cells.cluster is None or cells.copied:
            return np.ones(len(cells.i))
        return cells.count

    @property
    def number(self) -> float:
        return float(self.copies.sum())

    @property
    def balance(self) -> tuple[float, float]:
        """The effective number, and the largest unit's share."""
        share = self.size / float(self.copies @ self.size)
        return 1 / float(self.copies @ share**2), float(share.max())


def _leverage(cells: Cells, expected: Terms, bread: Float) -> Float:
    """Of one comparison of each cell: the trace of its information between the bread."""
    n, i, j, x = cells.size, cells.i, cells.j, cells.x
    square = bread[i, i] + bread[j, j] - 2 * bread[i, j]
    crossed = bread[i, -1] - bread[j, -1]
    if x.shape[1]:
        side = bread[:n, n:-1]
        square = square + 2 * (x * (side[i] - side[j])).sum(axis=1)
        square = square + np.einsum("rk,kl,rl->r", x, bread[n:-1, n:-1], x)
        crossed = crossed + x @ bread[n:-1, -1]
    trace = expected.dd * square + 2 * expected.dphi * crossed + expected.phiphi * bread[-1, -1]
    return np.maximum(cells.weight * trace, 0)


def _corrected(
    cells: Cells,
    units: Units,
    heavy: NDArray[np.intp],
    terms: Terms,
    expected: Terms,
    bread: Float,
) -> list[Corrected]:
    """CR2's corrections of some units."""
    if cells.cluster is None:
        return _corrected_singly(cells, heavy, terms, expected, bread)
    order = np.argsort(units.member, kind="stable")
    sorted_member = units.member[order]
    starts = np.searchsorted(sorted_member, heavy, side="left")
    ends = np.searchsorted(sorted_member, heavy, side="right")
    mass = cells.weight * units.times(cells)
    free = bread.diagonal() > 0
    found = []
    for unit, start, end in zip(heavy, starts, ends, strict=True):
        rows = order[start:end]
        of_gap, of_tie, place = _design(cells, rows, free)
        w, now, mean = mass[rows], _at(terms, rows), _at(expected, rows)
        crossed = np.outer(of_gap.T @ (w * mean.dphi), of_tie)
        information = of_gap.T @ (of_gap * (w * mean.dd)[:, None]) + crossed + crossed.T
        information += np.outer(of_tie, of_tie) * (w @ mean.phiphi)
        score = of_gap.T @ (w * now.d) + of_tie * (w @ now.phi)
        copies = float(units.copies[unit])
        found.append(corrected(place, information, score, bread, copies))
    return found


def _corrected_singly(
    cells: Cells, heavy: NDArray[np.intp], terms: Terms, expected: Terms, bread: Float
) -> list[Corrected]:
    """CR2's corrections of some cells, of which each comparison is independent.

    All have a place for two policies, the covariates and the tie parameter; what is not free moves
    nothing.
    """
    n, k = cells.size, cells.x.shape[1]
    place = np.empty((len(heavy), 2 + k + 1), dtype=np.int64)
    place[:, 0], place[:, 1] = cells.i[heavy], cells.j[heavy]
    place[:, 2:] = np.arange(n, n + k + 1)
    free = bread.diagonal()[place] > 0
    of_gap = np.zeros(place.shape)
    of_gap[:, 0], of_gap[:, 1], of_gap[:, 2:-1] = 1, -1, cells.x[heavy]
    of_tie = np.zeros(place.shape)
    of_tie[:, -1] = 1
    of_gap, of_tie = of_gap * free, of_tie * free
    w, now, mean = cells.weight[heavy], _at(terms, heavy), _at(expected, heavy)
    crossed = of_gap[:, :, None] * of_tie[:, None, :] * (w * mean.dphi)[:, None, None]
    information = crossed + np.swapaxes(crossed, 1, 2)
    information += of_gap[:, :, None] * of_gap[:, None, :] * (w * mean.dd)[:, None, None]
    information += of_tie[:, :, None] * of_tie[:, None, :] * (w * mean.phiphi)[:, None, None]
    score = of_gap * (w * now.d)[:, None] + of_tie * (w * now.phi)[:, None]
    return corrected_alike(place, information, score, bread, cells.count[heavy])


def _at(terms: Terms, rows: NDArray[np.intp]) -> Terms:
    return Terms(*(field[rows] for field in terms))


def _design(
    cells: Cells, rows: NDArray[np.intp], free: NDArray[np.bool_]
) -> tuple[Float, Float, NDArray[np.int64]]:
    """How some cells depend on the free parameters that they touch.

    The linear predictor's (rows, q), the tie parameter's (q,), and which parameters they are.
    """
    n, k = cells.size, cells.x.shape[1]
    i, j, at = cells.i[rows], cells.j[rows], np.arange(len(rows))
    policies = np.unique(np.r_[i, j])
    place = np.r_[policies, np.arange(n, n + k + 1)]
    of_gap = np.zeros((len(rows), len(place)))
    of_gap[at, np.searchsorted(policies, i)] = 1
    of_gap[at, np.searchsorted(policies, j)] -= 1
    of_gap[:, len(policies) : -1] = cells.x[rows]
    of_tie = (place == n + k).astype(float)
    kept = free[place]
    return of_gap[:, kept], of_tie[kept], place[kept]


def _comparisons_meat(cells: Cells, terms: Terms, leverage: Float) -> Float:
    """The covariance of the scores of independent comparisons, inflated by leverage."""
    alone = leverage >= ALONE
    inflated = np.where(alone, 0.0, 1 / (1 - np.where(alone, 0.0, leverage)))
    scale = cells.count * cells.weight**2 * inflated
    return assemble(cells, scale * terms.d**2, scale * terms.d * terms.phi, scale * terms.phi**2)


def _clusters_meat(
    cells: Cells,
    units: Units,
    heavy: NDArray[np.intp],
    exact: list[Corrected],
    terms: Terms,
    expected: Terms,
    bread: Float,
) -> Float:
    """The covariance of the scores of clusters: exact for some, to first order for the rest."""
    size = len(bread)
    meat = np.zeros((size, size))
    for cluster in exact:
        square = cluster.copies * np.outer(cluster.score, cluster.score)
        meat[np.ix_(cluster.place, cluster.place)] += square
    light = np.ones(len(units.copies), dtype=bool)
    light[heavy] = False
    left = np.flatnonzero(light)
    step = max(1, CHUNK // size)
    for start in range(0, len(left), step):
        chosen = left[start : start + step]
        place = np.full(len(light), -1)
        place[chosen] = np.arange(len(chosen))
        rows = np.flatnonzero(place[units.member] >= 0)
        part, member = cells.take(rows), place[units.member[rows]]
        mass = part.weight * units.times(cells)[rows]
        now, mean = _at(terms, rows), _at(expected, rows)
        score = _scores(part, member, mass * now.d, mass * now.phi)
        moved = score @ bread
        along = moved[member, part.i] - moved[member, part.j]
        along += (moved[member, part.size : -1] * part.x).sum(axis=1)
        of_tie = moved[member, -1]
        change_d = mass * (mean.dd * along + mean.dphi * of_tie) / 2
        change_tie = mass * (mean.dphi * along + mean.phiphi * of_tie) / 2
        score = score + _scores(part, member, change_d, change_tie)
        meat += (score.T @ sparse.diags(units.copies[chosen]) @ score).toarray()
    return meat


def _scores(
    cells: Cells, member: NDArray[np.int64], of_gap: Float, of_tie: Float
) -> sparse.csr_matrix:
    """The gradient of each unit's likelihood: (units, parameters)."""
    n, k, i, j = cells.size, cells.x.shape[1], cells.i, cells.j
    rows = np.r_[member, member, np.repeat(member, k), member]
    columns = np.r_[i, j, np.tile(np.arange(n, n + k), len(i)), np.full(len(i), n + k)]
    values = np.r_[of_gap, -of_gap, (cells.x * of_gap[:, None]).ravel(), of_tie]
    shape = (int(member.max(initial=-1)) + 1, n + k + 1)
    return sparse.csr_matrix((values, (rows, columns)), shape=shape)


def _mean_weight(cells: Cells, expected: Terms) -> float:
    """How many times its information a score's variance is, by the weights: 1 for weights of 1."""
    information = cells.mass * expected.dd
    return float((information * cells.weight).sum() / max(information.sum(), 1e-300))


def _between(inverse: Float, meat: Float) -> Float:
    """inverse @ meat @ inverse; of thousands of rows only the lower half is multiplied.

    ``meat`` is overwritten then.
    """
    if len(meat) <= MANY:
        return inverse @ meat @ inverse
    right = np.empty_like(meat)

    def multiply(start: int) -> None:
        rows = slice(start, start + STRIP)
        np.matmul(meat[rows], inverse, out=right[rows])

    def multiply_left(start: int) -> None:
        rows, left = slice(start, start + STRIP), slice(start + STRIP)
        np.matmul(inverse[rows], right[:, left], out=meat[rows, left])

    # Threads that take strips as they come wait less for each other than those of BLAS.
    starts = range(0, len(meat), STRIP)
    with blas().limit(limits=1, user_api="blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(multiply, starts))
        list(pool.map(multiply_left, reversed(starts)))
    mirror(meat)
    return meat
