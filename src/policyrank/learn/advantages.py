"""Advantages: how much better a sample did than it should have."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Baseline = Literal["none", "loo", "mean", "std", "rank"]


def advantage(rewards: Tensor, baseline: Baseline = "loo") -> Tensor:
    """Rewards (samples, ...) minus a baseline, over the first axis.

    ``"none"``: the rewards; ``"loo"``: minus the mean of the others (unbiased, RLOO); ``"mean"``:
    minus the mean of all ((N-1)/N of loo); ``"std"``: that over the standard deviation (GRPO; 0
    where all are equal); ``"rank"``: their centred ranks in [-1, 1], ties shared.

    Raises
    ------
    ValueError
        For fewer than two samples with a baseline, or an unknown one.

    Examples
    --------
    >>> advantage(torch.tensor([1.0, 0.5, 0.0, 0.5]))
    tensor([ 0.6667,  0.0000, -0.6667,  0.0000])
    """
    n = rewards.shape[0]
    if baseline == "none":
        return rewards
    if n < 2:
        raise ValueError(f"baseline={baseline!r} needs at least two samples, not {n}.")
    centred = rewards - rewards.mean(dim=0)
    if baseline == "loo":
        return centred * (n / (n - 1))
    if baseline == "mean":
        return centred
    if baseline == "std":
        spread = rewards.std(dim=0)
        return torch.where(spread > 1e-8, centred / spread.clamp(min=1e-8), 0.0)
    if baseline == "rank":
        below = (rewards[:, None] > rewards[None]).sum(dim=1) - (
            rewards[:, None] < rewards[None]
        ).sum(dim=1)
        return below.to(rewards.dtype) / (n - 1)
    raise ValueError(f"baseline={baseline!r}: use none, loo, mean, std or rank.")
