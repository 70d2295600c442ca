"""Values of policies that did not make a log: weights, doubly robust means, errors and bands.

Notation: e are the logging policy's chances, pi a policy's; w = pi / e at the action taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyrank.board.clusters import ClusteredMean, clustered_mean
from policyrank.board.intervals import as_normal, quantile
from policyrank.evaluation.logged import Log

Float = NDArray[np.float64]

UNSUPPORTED = 1e-3
"""Chances below it are none: what follows such actions was not seen."""

TINY = 1e-300

DEVIATIONS = 3.0
"""How many residual deviations a model is taken to err by where it stands alone."""


@dataclass(frozen=True, eq=False)
class Weights:
    """How rows stand for what policies would do; cells are (rows x actions) flattened.

    Attributes
    ----------
    pi
        (policies, cells), their chances
    kept
        (policies, cells), the weight that a row has if that action was taken there
    left
        (policies, some cells), chances that are left to the outcome model, over those cells where
        there are any, ``lean``
    unknown
        (policies, some cells), chances of what was never seen, over ``unseen``; not in ``left``
    taken
        (policies, rows), ``kept`` at the action taken
    """

    pi: Float
    kept: Float
    left: Float
    unknown: Float
    taken: Float
    lean: NDArray[np.intp]
    unseen: NDArray[np.intp]


def weights_of(
    log: Log, pi: Float, *, clip: float, switch: float | None = None, bounded: bool = False
) -> Weights:
    """Weights pi / max(e, clip); above ``switch`` none.

    Parameters
    ----------
    log
        what was logged
    pi
        (policies, rows, actions)
    clip
        chances are raised to it
    switch
        where pi / e is larger the model stands alone; None: nowhere
    bounded
        whether cells with a chance below ``UNSUPPORTED`` are set apart as unknown

    Examples
    --------
    >>> from policyrank.evaluation.logged import read_log
    >>> log = read_log([1, 0], [2, 0], [[0], [1]], [[0.98, 0.02], [0.5, 0.5]])
    >>> found = weights_of(log, np.array([[[0.0, 1.0], [0.0, 1.0]]]), clip=0.05)
    >>> found.kept.tolist(), found.left.round(3).tolist(), found.lean.tolist()
    ([[0.0, 20.0, 0.0, 2.0]], [[0.6]], [1])
    """
    e = log.chances.ravel()
    flat = pi.reshape(len(pi), -1)
    seen = e >= UNSUPPORTED if bounded else np.ones(len(e), dtype=bool)
    floor = np.maximum(np.maximum(e, clip), TINY)
    kept = np.where(seen & (e > 0), flat / floor, 0.0)
    lean = np.flatnonzero(seen & (e < clip))
    if switch is not None:
        kept[flat > switch * e] = 0.0
        lean = np.flatnonzero(seen)
    unseen = np.flatnonzero(~seen)
    left = flat[:, lean] - e[lean] * kept[:, lean]
    taken = kept.reshape(pi.shape)[:, np.arange(len(log)), log.actions]
    return Weights(flat, kept, left, flat[:, unseen], taken, lean, unseen)


@dataclass(frozen=True, eq=False)
class Contrasts:
    """Values of policies and of their differences: (policies, policies), the values themselves on
    the diagonal.

    Attributes
    ----------
    value
        (policies,)
    variance
        of the sampling error: the larger of what was seen and of what the known chances foretell
    band
        how far the error may reach beyond, from what is left to the model or never seen
    df
        degrees of freedom
    effective
        the size of a sample of the policy's own that tells as much
    correlation
        of the values
    errors
        of the values, from what was seen alone
    """

    value: Float
    variance: Float
    band: Float
    df: Float
    effective: Float
    correlation: Float
    errors: ClusteredMean

    def half_width(self, level: float) -> Float:
        """Half of each interval: (policies, policies)."""
        return np.asarray(quantile((1 + level) / 2, self.df) * np.sqrt(self.variance) + self.band)

    def covariance(self, level: float) -> Float:
        """(policies, policies), of errors that reach as far as the intervals, bands and all."""
        factor = quantile((1 + level) / 2, self.df.diagonal())
        sd = self.half_width(level).diagonal() / factor
        return np.asarray(self.correlation * np.outer(sd, sd))

    def ends(self, level: float) -> Float:
        """(policies, 2), of intervals; NaN where what was seen does not vary."""
        half = self.half_width(level).diagonal()
        known = self.variance.diagonal() > self._floor
        half = np.where(known, half, np.nan)
        return np.column_stack([self.value - half, self.value + half])

    @property
    def z(self) -> Float:
        """By how many standard errors the row is above the column, the band taken off, as normal
        deviates: (policies, policies).
        """
        gap = self.value[:, None] - self.value
        beyond = np.sign(gap) * np.maximum(np.abs(gap) - self.band, 0)
        varies = self.variance > self._floor
        t = np.where(varies, beyond / np.sqrt(np.where(varies, self.variance, 1.0)), 0.0)
        z = as_normal(t, self.df)
        np.fill_diagonal(z, 0.0)
        return z

    @property
    def _floor(self) -> float:
        return 1e-18 * max(float(np.abs(self.value).max()), TINY) ** 2


def contrasts(
    log: Log,
    weights: Weights,
    mu: Float,
    cluster: ArrayLike | None = None,
    outcome_range: tuple[float, float] | None = None,
) -> Contrasts:
    """Doubly robust values of policies, and how well they and their differences are known.

    With q the model's value of a row, r residuals, W the weights kept, and k what is left to the
    model, the foretold variance is (var(q) + mean sum_a W^2 e s^2) / rows, and the band 3 s mean
    sum_a k, s^2 being the larger of the residuals' variances weighted by |W| and by W^2. Of a
    difference each is a difference first.

    Parameters
    ----------
    log
        what was logged
    weights
        ``weights_of`` it
    mu
        (rows, actions), predicted outcomes
    cluster
        (rows,) names of clusters
    outcome_range
        the least and the largest outcome, between which what was never seen lies

    Examples
    --------
    >>> from policyrank.evaluation.logged import read_log
    >>> log = read_log([0, 1, 0, 1], [1, 2, 3, 4], np.zeros((4, 1)))
    >>> pi = np.array([[[0.0, 1.0]] * 4, [[1.0, 0.0]] * 4])
    >>> found = contrasts(log, weights_of(log, pi, clip=0.05), np.zeros((4, 2)))
    >>> found.value.tolist(), found.effective.tolist()
    ([3.0, 2.0], [[2.0, 4.0], [4.0, 2.0]])
    """
    rows, measure = len(log), log.count.ravel()
    residual = log.outcome - log.taken(mu)
    q = np.einsum("pra,ra->pr", weights.pi.reshape(-1, *mu.shape), mu)
    found = clustered_mean((q + weights.taken * residual).T, cluster)

    size = distances(weights.taken, np.ones(rows))
    squares = np.maximum(_pairwise(weights.taken @ weights.taken.T), TINY)
    weighted = weights.taken * residual
    spread = np.maximum(
        distances(weights.taken, residual**2) / np.maximum(size, TINY),
        _pairwise(weighted @ weighted.T) / squares,
    )
    planned = _pairwise((weights.kept * (measure * log.chances.ravel())) @ weights.kept.T) / rows
    of_model = _pairwise(np.atleast_2d(np.cov(q)))
    variance = np.maximum((of_model + planned * spread) / rows, _pairwise(found.covariance))

    left = distances(weights.left, measure[weights.lean]) / rows
    band = DEVIATIONS * np.sqrt(spread) * left
    if outcome_range is not None:
        unknown = distances(weights.unknown, measure[weights.unseen]) / rows
        band += unknown * (outcome_range[1] - outcome_range[0]) / 2
    effective = size**2 / squares
    df = np.maximum(np.minimum(effective - 1, found.df), 1.0)
    return Contrasts(
        found.mean, variance, band, df, effective, _correlation(found.covariance), found
    )


def _correlation(covariance: Float) -> Float:
    sd = np.sqrt(np.maximum(covariance.diagonal(), TINY))
    correlation = covariance / np.outer(sd, sd)
    np.fill_diagonal(correlation, 1.0)
    return np.asarray(correlation)


def _pairwise(products: Float) -> Float:
    """From sums of products those of squared differences; the diagonal keeps its squares."""
    own = products.diagonal()
    squares = np.maximum(own[:, None] + own - 2 * products, 0)
    np.fill_diagonal(squares, own)
    return np.asarray(squares)


def distances(table: Float, weight: Float) -> Float:
    """Weighted sums of absolute differences of rows, (rows, rows); on the diagonal of the rows.

    Examples
    --------
    >>> distances(np.array([[1.0, 0.0], [3.0, 2.0]]), np.array([1.0, 10.0])).tolist()
    [[1.0, 22.0], [22.0, 23.0]]
    """
    top = table.max(axis=0, initial=0.0)
    if ((table == 0) | (table == top)).all():
        # Policies that name one action: what they do differs by all or nothing.
        on = (table > 0).astype(float)
        return _pairwise((on * (weight * top)) @ on.T)
    out = np.diag(np.abs(table) @ weight)
    for j in range(len(table) - 1):
        out[j, j + 1 :] = np.abs(table[j + 1 :] - table[j]) @ weight
    return out + np.triu(out, 1).T
