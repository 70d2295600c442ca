"""Means of values that are dependent inside clusters (raters, ballots, documents, sites)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyrank.errors import EvidenceError

Float = NDArray[np.float64]

ALONE = 1 - 1e-8
"""Share of the weight beyond which one cluster is taken to hold all of it."""


@dataclass(frozen=True, eq=False)
class ClusteredMean:
    """Means, and what is known of their errors.

    Attributes
    ----------
    mean
        (k,)
    covariance
        (k, k), of the means (CR2); NaN where one cluster holds all the weight
    df
        Satterthwaite's degrees of freedom, from 1 to clusters - 1, of every mean and difference;
        NaN where there is no covariance
    clusters, effective
        how many clusters have weight, and 1 / sum of their squared shares of it
    largest
        the largest cluster's share of the weight
    """

    mean: Float
    covariance: Float
    df: float
    clusters: int
    effective: float
    largest: float


def clustered_mean(
    values: ArrayLike, cluster: ArrayLike | None = None, weight: ArrayLike | None = None
) -> ClusteredMean:
    """Weighted means of columns, with errors that take clusters of rows whole.

    The covariance is CR2's: with shares q of the weight and S the weighted sum of a cluster's
    residuals, sum of S S' / (1 - q) over the squared total weight. It is unbiased where rows are
    alike and independent, whatever the sizes of the clusters.

    Parameters
    ----------
    values
        (rows, k)
    cluster
        (rows,) codes or names of clusters; None: each row is its own
    weight
        (rows,) >= 0; None: one each

    References
    ----------
    Bell and McCaffrey (2002), "Bias reduction in standard errors for linear regression with
    multi-stage samples"; Pustejovsky and Tipton (2018).

    Examples
    --------
    >>> found = clustered_mean([[1], [2], [3], [4], [10], [12]], [0, 0, 0, 0, 1, 2])
    >>> found.mean.round(3), np.sqrt(found.covariance).round(3), round(found.df, 3)
    (array([5.333]), array([[3.593]]), 1.471)
    """
    table = np.asarray(values, dtype=float)
    weights = np.ones(len(table)) if weight is None else np.asarray(weight, dtype=float)
    total = float(weights.sum())
    if not total > 0:
        raise EvidenceError("a mean needs at least one row with weight.")
    group = np.arange(len(table))
    if cluster is not None:
        group = np.unique(np.asarray(cluster), return_inverse=True)[1].ravel()
    mean = weights @ table / total
    share = np.bincount(group, weights) / total
    sums = np.empty((len(share), table.shape[1]))
    for k, column in enumerate((table - mean).T):
        sums[:, k] = np.bincount(group, weights * column)
    largest = float(share.max())
    spread = np.full((table.shape[1],) * 2, np.nan)
    df = np.nan
    if largest < ALONE:
        spread = (sums.T / (1 - share)) @ sums / total**2
        df = satterthwaite(share)
    effective = 1 / float((share**2).sum())
    return ClusteredMean(mean, spread, df, int((share > 0).sum()), effective, largest)


def satterthwaite(share: ArrayLike) -> float:
    """Degrees of freedom of CR2's variance of a mean over clusters with these shares.

    1 / (sum q^2 + (sum a)^2 - sum a^2) with a = q^2 / (1 - q), at least 1.

    Examples
    --------
    >>> [round(satterthwaite(sizes), 3) for sizes in ([60, 20, 10, 5, 5], [1, 1, 1, 1, 1])]
    [1.865, 4.0]
    """
    q = np.asarray(share, dtype=float)
    q = q / q.sum()
    a = q**2 / (1 - q)
    # Of one cluster that weighs nearly all, the two large terms cancel to less than nothing.
    crossed = max(float(a.sum() ** 2 - (a**2).sum()), 0.0)
    return max(1.0, 1 / (float((q**2).sum()) + crossed))
