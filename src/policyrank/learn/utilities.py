"""Utilities of rankings, place by place: what a policy that ranks is rewarded for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from policyrank.learn._lists import ideal_dcg

Utility = Callable[[Tensor, Tensor, Tensor], Tensor]


def _taken(values: Tensor, rankings: Tensor) -> Tensor:
    """Values (..., list) of the items at the places of rankings (samples, ..., k)."""
    return values.expand(rankings.shape[0], *values.shape).gather(-1, rankings)


def ndcg_gains(
    labels: Tensor, rankings: Tensor, where: Tensor, *, exponential: bool = True
) -> Tensor:
    """Gain at each place / log2(place + 1) / IDCG@k; sums to NDCG@k. Gains 2^label - 1, or the
    label. 0 without a positive label.

    Parameters
    ----------
    labels, where
        (..., list)
    rankings
        (samples, ..., k), indices of items
    """
    k = rankings.shape[-1]
    gain = (torch.exp2(labels) - 1 if exponential else labels).masked_fill(~where, 0.0)
    discount = torch.log2(torch.arange(2, k + 2, device=labels.device, dtype=labels.dtype))
    ideal = ideal_dcg(gain, k)
    return (
        _taken(gain, rankings)
        / discount
        / ideal.clamp(min=1e-10)[..., None]
        * (ideal > 0)[..., None]
    )


def reciprocal_rank_gains(labels: Tensor, rankings: Tensor, where: Tensor) -> Tensor:
    """1 / place of the first item with a positive label, at that place; sums to the reciprocal rank
    @k.
    """
    hit = _taken(((labels > 0) & where).to(labels.dtype), rankings)
    first = (hit.cumsum(-1) == 1) & (hit > 0)
    return first.to(labels.dtype) / torch.arange(1, rankings.shape[-1] + 1, device=labels.device)


def recall_gains(labels: Tensor, rankings: Tensor, where: Tensor) -> Tensor:
    """1 / number of positives at the place of each; sums to recall @k."""
    positive = ((labels > 0) & where).to(labels.dtype)
    return _taken(positive, rankings) / positive.sum(dim=-1, keepdim=True).clamp(min=1)


def precision_gains(labels: Tensor, rankings: Tensor, where: Tensor) -> Tensor:
    """1 / k at the place of each positive; sums to precision @k."""
    return _taken(((labels > 0) & where).to(labels.dtype), rankings) / rankings.shape[-1]


UTILITIES: dict[str, Utility] = {
    "ndcg": ndcg_gains,
    "ndcg-linear": partial(ndcg_gains, exponential=False),
    "reciprocal-rank": reciprocal_rank_gains,
    "recall": recall_gains,
    "precision": precision_gains,
}
