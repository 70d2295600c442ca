"""Errors of a likelihood's maximum where observations are dependent inside clusters: CR2, and
Satterthwaite's degrees of freedom of every rating and every difference.

A cluster has a score s (the gradient of its likelihood) and an information B (minus its expected
second derivative) over the few parameters that it touches. With M the sum of the B, and every
matrix between two roots of M, its leverage is K = M^-1/2 B M^-1/2; CR2 multiplies its score by
(I - K)^-1/2. All of it needs only matrices as large as the cluster's own parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

ALONE = 1 - 1e-8
"""Leverage beyond which a direction is known from one cluster alone."""

LIGHT = 0.02
"""Leverage up to which the correction is taken to first order (its error is below 2e-4)."""

MOST_WORK = 3e7
"""Multiplications that exact degrees of freedom may take; beyond, a bound from below serves."""

MOST_EXACT = 300
"""Clusters whose leverage is taken exactly; those of the least are taken to first order."""

UNTOLD = 0.05
"""Share of a contrast's variance that may rest on one cluster alone."""


def heaviest(leverage: Float) -> NDArray[np.intp]:
    """The clusters whose correction is exact, by falling leverage."""
    order = np.argsort(-leverage, kind="stable")[:MOST_EXACT]
    if len(leverage) <= 100:
        return order
    return order[leverage[order] > LIGHT]


class Corrected(NamedTuple):
    """A cluster's correction, over its own parameters.

    Attributes
    ----------
    place
        (q,), which parameters they are
    score
        (q,), CR2's
    root, inverse
        (q, q), R' (I - H)^-1/2 R and R' (I - H)^-1 R with B = R'R and H = R M^-1 R'
    alone
        (q, a), R' w for the directions w that only this cluster knows
    copies
        how many equal clusters it stands for
    """

    place: NDArray[np.int64]
    score: Float
    root: Float
    inverse: Float
    alone: Float
    copies: float


def corrected(
    place: NDArray[np.int64], information: Float, score: Float, bread: Float, copies: float = 1.0
) -> Corrected:
    """CR2's score of one cluster.

    Parameters
    ----------
    place
        (q,), its parameters among those of ``bread``
    information, score
        (q, q) and (q,), its own
    bread
        (p, p), the inverse of the information of all clusters
    copies
        how many equal clusters it stands for

    References
    ----------
    Bell and McCaffrey (2002); Pustejovsky and Tipton (2018), whose adjustment of residuals this
    equals: X'(I - X X')^-1/2 = (I - X'X)^-1/2 X'.
    """
    inner = bread[np.ix_(place, place)]
    product = inner @ information
    if _modest(product):
        nothing = np.zeros((len(place), 0))
        return Corrected(place, *_by_series(information, score, product), nothing, copies)
    strength, axis = np.linalg.eigh(information)
    kept = strength > 1e-12 * max(float(strength.max(initial=0.0)), 1e-300)
    root = np.sqrt(strength[kept])[:, None] * axis[:, kept].T
    leverage, turn = np.linalg.eigh(root @ inner @ root.T)
    h, turned = np.clip(leverage, 0, 1), turn.T @ root
    shared = h < ALONE
    left = np.where(shared, 1 - h, 1.0)
    power = np.where(shared, left**-0.5, 0.0)
    safe = np.maximum(h, 1e-300)
    change = np.where(h > 1e-12, (power - 1) / safe, 0.5)
    moved = turned.T @ (change * (turned @ (inner @ score)))
    return Corrected(
        place,
        score + moved,
        (turned.T * power) @ turned,
        (turned.T * np.where(shared, 1 / left, 0.0)) @ turned,
        turned[~shared].T,
        copies,
    )


def corrected_alike(
    place: NDArray[np.int64], information: Float, score: Float, bread: Float, copies: Float
) -> list[Corrected]:
    """``corrected`` of many clusters that have as many parameters each, at once.

    ``place``, ``score``: (clusters, q); ``information``: (clusters, q, q); ``copies``: (clusters,).
    """
    inner = bread[place[:, :, None], place[:, None, :]]
    product = inner @ information
    modest = _modest(product)
    moved, root, inverse = _by_series(information, score, product)
    nothing = np.zeros((place.shape[1], 0))
    found = []
    for g, times in enumerate(copies.tolist()):
        if modest[g]:
            found.append(Corrected(place[g], moved[g], root[g], inverse[g], nothing, times))
        else:
            found.append(corrected(place[g], information[g], score[g], bread, times))
    return found


SERIES = (1 / 2, 3 / 8, 5 / 16, 35 / 128, 63 / 256)
"""Of (1 - h)^-1/2, after the 1."""

MODEST = 0.15
"""Leverage up to which the series stands for the roots (its error is below 3e-6)."""


def _modest(product: Float) -> NDArray[np.bool_]:
    """Whether the series serves: of one cluster, or of each."""
    square = (product * np.swapaxes(product, -1, -2)).sum(axis=(-1, -2))
    return np.sqrt(np.maximum(square, 0.0)) <= MODEST


def _by_series(information: Float, score: Float, product: Float) -> tuple[Float, Float, Float]:
    """Score, root and inverse by powers of ``product``, the bread times the information.

    Of one cluster, or of many: (..., q, q).
    """
    moved, root, inverse = score.copy(), information.copy(), information.copy()
    power, part, turned = information, score[..., None], np.swapaxes(product, -1, -2)
    for weight in SERIES:
        part = turned @ part
        power = power @ product
        moved += weight * part[..., 0]
        root += weight * power
        inverse += power
    return moved, root, inverse


class Freedom(NamedTuple):
    """Of each rating (diagonal) and each difference (beside it): (n, n) each.

    ``df``: Satterthwaite's degrees of freedom, NaN where the contrast rests on one cluster.
    ``alone``: (n, n) covariance of the ratings under the model that rests on single clusters.
    """

    df: Float
    alone: Float


def degrees_of_freedom(
    clusters: Sequence[Corrected], bread: Float, contrasts: Float, lightest: float
) -> Freedom:
    """Satterthwaite's degrees of freedom of ratings and of their differences.

    Parameters
    ----------
    clusters
        those of some leverage
    bread
        (p, p), the inverse of the information of all clusters
    contrasts
        (p, n), the ratings as combinations of parameters
    lightest
        the largest leverage of the clusters that are not among them, 0 if there are none; with any,
        or beyond ``MOST_WORK``, what is returned bounds the degrees of freedom from below:
        m'm / max d, which is exact for equal clusters
    """
    spread = bread @ contrasts
    model = contrasts.T @ spread
    n, alone = len(model), np.zeros_like(model)
    variance = _of_pairs(model)
    most = np.maximum(variance * lightest / (1 - lightest), _largest_of_pairs(clusters, spread))
    for cluster in clusters:
        if cluster.alone.size:
            part = cluster.alone.T @ spread[cluster.place]
            alone += part.T @ part
    variance_told = np.maximum(variance, 1e-300)
    df = variance_told / np.maximum(most, 1e-300)
    work = n * (n + 1) / 2 * len(clusters) * len(bread) * min(len(clusters), len(bread))
    if not lightest and len(clusters) > 1 and work <= MOST_WORK:
        df = _exact(clusters, bread, spread, variance)
    untold = _of_pairs(alone) > UNTOLD * variance_told
    return Freedom(np.where(untold, np.nan, np.maximum(df, 1.0)), alone)


def _of_pairs(form: Float) -> Float:
    """A quadratic form of each rating (diagonal) and of each difference, from that of ratings."""
    own = form.diagonal()
    pairs = own[:, None] + own - 2 * form
    np.fill_diagonal(pairs, own)
    return np.maximum(pairs, 0)


def _largest_of_pairs(clusters: Sequence[Corrected], spread: Float) -> Float:
    """The largest of all clusters' forms, of ratings and differences: (n, n).

    Each cluster's is a single product: own_j + own_k - 2 form_jk as (own_j, 1, seen_j)'(1, own_k,
    -2 M seen_k).
    """
    n = spread.shape[1]
    largest, room, ones, of_ratings = np.zeros((n, n)), np.empty((n, n)), np.ones(n), np.zeros(n)
    for cluster in clusters:
        seen = spread[cluster.place]
        turned = cluster.inverse @ seen
        own = (seen * turned).sum(axis=0)
        np.matmul(np.vstack([own, ones, seen]).T, np.vstack([ones, own, -2 * turned]), out=room)
        np.maximum(largest, room, out=largest)
        np.maximum(of_ratings, own, out=of_ratings)
    np.fill_diagonal(largest, of_ratings)
    return largest


def _exact(clusters: Sequence[Corrected], bread: Float, spread: Float, variance: Float) -> Float:
    """(m'm)^2 over the squared norm of Gamma = diag(d) - v v'."""
    size, n = len(bread), spread.shape[1]
    copies = np.array([cluster.copies for cluster in clusters])
    value, axis = np.linalg.eigh(bread)
    half = np.sqrt(np.clip(value, 0, None))[:, None] * axis.T
    parts = np.zeros((len(clusters), size, n))
    square = np.empty((len(clusters), n, n))
    for g, cluster in enumerate(clusters):
        seen = spread[cluster.place]
        parts[g] = half[:, cluster.place] @ (cluster.root @ seen)
        square[g] = _of_pairs(seen.T @ cluster.inverse @ seen)
    norm = np.empty((n, n))
    for j in range(n):
        gaps = parts[:, :, j, None] - parts[:, :, j:]
        gaps[:, :, 0] = parts[:, :, j]
        rows = np.moveaxis(gaps, 2, 0)
        length = np.einsum("cgp,cgp->cg", rows, rows)
        own = square[:, j, j:].T
        weighted = rows * np.sqrt(copies)[:, None]
        if len(clusters) < size:
            between = weighted @ np.swapaxes(weighted, 1, 2)
        else:
            between = np.swapaxes(weighted, 1, 2) @ weighted
        crossed = (between**2).sum(axis=(1, 2))
        norm[j, j:] = (own**2 - 2 * own * length) @ copies + crossed
        norm[j:, j] = norm[j, j:]
    return variance**2 / np.maximum(norm, 1e-300)
