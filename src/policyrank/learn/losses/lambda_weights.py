"""Weights of pairs by what swapping the two would do to a metric.

Labels: ``gains``. Items of equal scores take their places in the order of the list: were they to
share one, a swap would change nothing and scores that start equal would never part.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import ideal_dcg, ranks, relative_gains

LARGEST_DCG_LABEL = 100
"""2 to its power, times differences of scores up to a hundred million, is a float32."""


class LambdaWeight(Protocol):
    """Scores, labels and mask (..., list), cutoff -> weights of pairs (..., list, list)."""

    def __call__(self, s: Tensor, y: Tensor, mask: Tensor, k: int | None, /) -> Tensor: ...


def _gains(y: Tensor, mask: Tensor, k: int | None) -> Tensor:
    """(2^y - 1) / IDCG@k, 0 where masked."""
    gain = relative_gains(y, mask)
    return gain / ideal_dcg(gain, k)[..., None].clamp(min=1e-10)


def _within(weight: Tensor, place: Tensor, k: int | None) -> Tensor:
    """Weights of pairs of which at least one item stands in the first k places; 0 of others.

    A swap of two items below changes nothing.
    """
    if k is None:
        return weight
    top = place <= k
    return weight * (top[..., :, None] | top[..., None, :])


def lambdarank_weight(s: Tensor, y: Tensor, mask: Tensor, k: int | None = None) -> Tensor:
    """|G_i - G_j| |1/D(i) - 1/D(j)|: what swapping i and j does to NDCG; 0 below k.

    D(i) = log2(1 + place of i).
    """
    return _difference(_gains(y, mask, k)) * _difference(_inverse_discount(s, mask, k))


def dcg_weight(s: Tensor, y: Tensor, mask: Tensor, k: int | None = None) -> Tensor:
    """LambdaRank's weight as LiPO has it.

    Gains are not divided by the ideal DCG, so that they keep the labels' scale, and labels are at
    most ``LARGEST_DCG_LABEL``; logarithms are natural.
    """
    gain = torch.where(mask, torch.exp2(y) - 1, 0.0)
    return _difference(gain) * _difference(_inverse_discount(s, mask, k) / math.log(2))


def _inverse_discount(s: Tensor, mask: Tensor, k: int | None) -> Tensor:
    """1 / log2(1 + place), 0 below k."""
    place = ranks(s, mask)
    inverse = 1 / torch.log2(place.to(s.dtype) + 1)
    if k is None:
        return inverse
    return torch.where(place <= k, inverse, 0.0)


def ndcg1_weight(s: Tensor, y: Tensor, mask: Tensor, k: int | None = None) -> Tensor:
    """G_i / D(i) of the better item (NDCG-Loss1 of LambdaLoss)."""
    place = ranks(s, mask)
    of_better = _gains(y, mask, k) / torch.log2(place.to(s.dtype) + 1)
    return _within(of_better[..., :, None].expand(*s.shape, s.shape[-1]), place, k)


def ndcg2_weight(s: Tensor, y: Tensor, mask: Tensor, k: int | None = None) -> Tensor:
    """|G_i - G_j| (1/D(|i-j|) - 1/D(|i-j|+1)), by the distance of the places.

    NDCG-Loss2 of LambdaLoss.
    """
    place = ranks(s, mask)
    inverse = 1 / torch.log2(torch.arange(1, s.shape[-1] + 2, device=s.device, dtype=s.dtype))
    delta = (inverse[:-1] - inverse[1:]).index_fill(0, place.new_zeros(1), 0.0)
    return _within(_difference(_gains(y, mask, k)) * delta[_difference(place)], place, k)


def ndcg2pp_weight(
    s: Tensor, y: Tensor, mask: Tensor, k: int | None = None, mu: float = 10.0
) -> Tensor:
    """mu times NDCG-Loss2's weight plus LambdaRank's (NDCG-Loss2++ of LambdaLoss, mu = 10)."""
    return mu * ndcg2_weight(s, y, mask, k) + lambdarank_weight(s, y, mask, k)


def _difference(x: Tensor) -> Tensor:
    return (x[..., :, None] - x[..., None, :]).abs()


LAMBDA_WEIGHTS: dict[str, LambdaWeight] = {
    "lambdarank": lambdarank_weight,
    "dcg": dcg_weight,
    "ndcg-1": ndcg1_weight,
    "ndcg-2": ndcg2_weight,
    "ndcg-2pp": ndcg2pp_weight,
}


def named_lambda_weight(weight: str | LambdaWeight) -> LambdaWeight:
    """One of ``LAMBDA_WEIGHTS`` by name; a function is what it is.

    Raises
    ------
    OptionError
        For an unknown name.
    """
    if not isinstance(weight, str):
        return weight
    if weight not in LAMBDA_WEIGHTS:
        names = ", ".join(LAMBDA_WEIGHTS)
        raise OptionError(f"lambda_weight={weight!r}: use one of {names}, or a function.")
    return LAMBDA_WEIGHTS[weight]
