"""Ranks of matrices by their singular values, and what is lost where they are cut."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import widen


class FeatureRanks(NamedTuple):
    """How many directions features use, by several measures: (...) each.

    Attributes
    ----------
    numerical
        singular values of features / sqrt(rows) above ``least``
    srank
        the fewest singular values that sum to a share of 1 - ``left`` of all
    effective
        exponential of the entropy of their shares (Roy and Vetterli)
    stable
        sum of their squares over the largest square
    condition
        the largest over the smallest; infinite where one is 0
    """

    numerical: Tensor
    srank: Tensor
    effective: Tensor
    stable: Tensor
    condition: Tensor


@torch.no_grad()
def feature_ranks(features: Tensor, *, least: float = 0.01, left: float = 0.01) -> FeatureRanks:
    """Ranks of features (..., rows, d).

    Parameters
    ----------
    features
        not centred
    least
        a singular value of features / sqrt(rows) that counts is larger
    left
        share of their sum that ``srank`` may leave out, in [0, 1)

    Raises
    ------
    OptionError
        For no rows, or numbers that are not finite.

    References
    ----------
    Lyle et al. (2022), arXiv 2204.09560 (numerical); Kumar et al. (2021), arXiv 2010.14498 (srank);
    Roy and Vetterli (2007), "The effective rank".

    Examples
    --------
    >>> ranks = feature_ranks(torch.diag(torch.tensor([3.0, 4.0, 0.0])))
    >>> int(ranks.numerical), float(ranks.stable)
    (2, 1.5625)
    """
    if features.ndim < 2 or features.numel() == 0:
        raise OptionError(f"features {tuple(features.shape)} must be (..., rows, d), not empty.")
    if not torch.isfinite(features).all():
        raise OptionError("features are not all finite.")
    return ranks_of(torch.linalg.svdvals(widen(features)), features.shape[-2], least, left)


def ranks_of(singular: Tensor, rows: int, least: float = 0.01, left: float = 0.01) -> FeatureRanks:
    """The same of singular values (..., k), from the largest, of a matrix of so many rows."""
    total = singular.sum(dim=-1, keepdim=True)
    share = singular / total.clamp(min=torch.finfo(singular.dtype).tiny)
    # A sum of shares that is 1 - left but for rounding is enough.
    enough = share.cumsum(dim=-1) >= 1 - left - 1e-6
    srank = torch.where(total[..., 0] > 0, enough.int().argmax(dim=-1) + 1, 0)
    square = singular**2
    entropy = -torch.xlogy(share, share).sum(dim=-1)
    nothing = total[..., 0] == 0
    return FeatureRanks(
        (singular / rows**0.5 > least).sum(dim=-1),
        srank,
        entropy.exp().masked_fill(nothing, 0.0),
        (square.sum(dim=-1) / square[..., 0]).masked_fill(nothing, 0.0),
        (singular[..., 0] / singular[..., -1]).masked_fill(nothing, torch.inf),
    )


def energy_share(singular: Tensor, rank: int) -> Tensor:
    """Share of the squares of singular values (..., k) that the largest ``rank`` have: (...).

    Examples
    --------
    >>> energy_share(torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0]), 2)
    tensor(0.7455)
    """
    square = singular**2
    return square[..., :rank].sum(dim=-1) / square.sum(dim=-1).clamp(min=1e-8)


def tail_norm(singular: Tensor, rank: int) -> Tensor:
    """Frobenius norm of what is lost by keeping the largest ``rank``: (...), Eckart and Young.

    Examples
    --------
    >>> tail_norm(torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0]), 2)
    tensor(3.7417)
    """
    return singular[..., rank:].norm(dim=-1)


def transition_norm(singular: Tensor, before: int, after: int) -> Tensor:
    """Frobenius norm of the difference of two truncations of a matrix: (...).

    Examples
    --------
    >>> transition_norm(torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0]), 4, 2)
    tensor(3.6056)
    """
    return singular[..., min(before, after) : max(before, after)].norm(dim=-1)


@torch.no_grad()
def power_iteration(matrix: Tensor, start: Tensor, iterations: int = 3) -> Tensor:
    """A lower estimate of the spectral norm of (..., n, d), from a start (..., d): (...).

    By powers of M'M. Never part of an upper bound.

    Examples
    --------
    >>> power_iteration(torch.diag(torch.tensor([3.0, 1.0])), torch.ones(2))
    tensor(3.0000)
    """
    vector = start[..., None]
    for _ in range(iterations):
        vector = matrix.mT @ (matrix @ vector)
        vector = vector / vector.norm(dim=-2, keepdim=True).clamp(min=1e-30)
    return (matrix @ vector).norm(dim=(-2, -1))
