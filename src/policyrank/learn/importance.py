"""Weights of what another sampled, or the same policy in other arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from policyrank.learn._lists import widen


@dataclass(frozen=True)
class ImportanceWeights:
    """Weights of tokens, and how far the two who speak of them are apart.

    Attributes
    ----------
    weights
        (batch, tokens), 1 where nothing is known or learned
    gap
        (), mean distance of the log-probabilities
    mean
        (), mean weight
    cut
        (), share of weights that were larger
    """

    weights: Tensor
    gap: Tensor
    mean: Tensor
    cut: Tensor


def truncated_weights(
    log_probs: Tensor, sampled: Tensor, where: Tensor, *, most: float | None = 2.0
) -> ImportanceWeights:
    """How likely tokens are to who learns, over how likely they were to who sampled.

    Parameters
    ----------
    log_probs
        (batch, tokens), by the policy that learns, as it was when the tokens were sampled
    sampled
        (batch, tokens), by who sampled them, such as a server in another precision
    where
        (batch, tokens), tokens that count
    most
        the largest weight; None: all are 1

    References
    ----------
    Ionides (2008), "Truncated importance sampling"; Yao et al. (2025), "Your efficient RL framework
    secretly brings you off-policy RL training".

    Examples
    --------
    >>> old, sampled = torch.tensor([[-1.0, -1.0]]), torch.tensor([[-1.0, -3.0]])
    >>> truncated_weights(old, sampled, torch.tensor([[True, True]])).weights
    tensor([[1., 2.]])
    """
    mask = where.bool()
    apart = (widen(log_probs) - widen(sampled)).masked_fill(~mask, 0.0).detach()
    ratio, count = apart.exp(), mask.sum().clamp(min=1)
    weights, beyond = torch.ones_like(ratio), torch.zeros_like(mask)
    if most is not None:
        weights, beyond = ratio.clamp(max=most), mask & (ratio > most)
    return ImportanceWeights(
        weights,
        apart.abs().sum() / count,
        weights.masked_fill(~mask, 0.0).sum() / count,
        beyond.sum() / count,
    )
