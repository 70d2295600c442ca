"""Utilities of rankings, place by place: what a policy that ranks is rewarded for."""

from __future__ import annotations

from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import ideal_dcg, relative_gains


class Utility(Protocol):
    """What a ranking gains at each place.

    Labels and mask (..., list), rankings (samples, ..., k) of item indices -> (samples, ..., k).
    """

    def __call__(self, labels: Tensor, rankings: Tensor, where: Tensor, /) -> Tensor: ...


def _taken(values: Tensor, rankings: Tensor) -> Tensor:
    """Values (..., list) of the items at the places of rankings (samples, ..., k)."""
    return values.expand(rankings.shape[0], *values.shape).gather(-1, rankings)


def ndcg_gains(
    labels: Tensor, rankings: Tensor, where: Tensor, *, exponential: bool = True
) -> Tensor:
    """Gain at each place / log2(place + 1) / IDCG@k; sums to NDCG@k.

    Gains 2^label - 1, or the label, which is at least 0. 0 without a positive label.

    Parameters
    ----------
    labels, where
        (..., list)
    rankings
        (samples, ..., k), indices of items
    """
    k = rankings.shape[-1]
    gain = labels.masked_fill(~where, 0.0)
    if exponential:
        gain = relative_gains(labels, where)
    discount = torch.log2(torch.arange(2, k + 2, device=labels.device, dtype=labels.dtype))
    ideal = ideal_dcg(gain, k)[..., None]
    return _taken(gain, rankings) / discount / ideal.clamp(min=1e-10) * (ideal > 0)


def reciprocal_rank_gains(labels: Tensor, rankings: Tensor, where: Tensor) -> Tensor:
    """1 / place of the first item with a positive label, there; sums to the reciprocal rank @k."""
    hit = _taken(((labels > 0) & where).to(labels.dtype), rankings)
    first = (hit.cumsum(-1) == 1) & (hit > 0)
    place = torch.arange(1, rankings.shape[-1] + 1, device=labels.device)
    return first.to(labels.dtype) / place


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


def named_utility(utility: str | Utility) -> Utility:
    """One of ``UTILITIES`` by name; a function is what it is.

    Raises
    ------
    OptionError
        For an unknown name.
    """
    if not isinstance(utility, str):
        return utility
    if utility not in UTILITIES:
        names = ", ".join(UTILITIES)
        raise OptionError(f"utility={utility!r}: use one of {names}, or a function.")
    return UTILITIES[utility]
