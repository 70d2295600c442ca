"""Likelihood of answers, example by example."""

from __future__ import annotations

import torch
from torch import Tensor


def attenuated_nll(log_probs: Tensor, weight: Tensor, where: Tensor | None = None) -> Tensor:
    """Example-weighted negative log-likelihood, a scalar.

    The sum of w nll over tokens / (the sum of w over tokens + 1e-8).

    With w = alpha < 1 for false statements in one framing, and 1 elsewhere, a model learns less
    from the denials of that framing: a persona that it sways. Reward-weighted regression has the
    same form, with w = exp(advantage / beta).

    Parameters
    ----------
    log_probs
        (examples, tokens) or (examples,): of the right tokens
    weight
        (examples,), at least 0
    where
        (examples, tokens): which tokens count; None: all

    References
    ----------
    De Lima et al. (2026), arXiv 2602.15273.

    Examples
    --------
    >>> attenuated_nll(-torch.tensor([1.0, 1.0, 3.0]), torch.tensor([1.0, 1.0, 0.5]))
    tensor(1.4000)
    """
    table = log_probs
    if table.dim() == 1:
        table = table[:, None]
    weights = weight.to(table.dtype)[:, None].expand_as(table)
    if where is not None:
        weights = torch.where(where, weights, 0.0)
        table = torch.where(where, table, 0.0)
    return -(weights * table).sum() / (weights.sum() + 1e-8)
