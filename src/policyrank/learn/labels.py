"""What labels of a list become: distributions, and means of win rates."""

from __future__ import annotations

import torch
from torch import Tensor

from policyrank.learn._lists import low, masked_mean, prepare, span, widen


def label_distribution(
    labels: Tensor,
    *,
    where: Tensor | None = None,
    temperature: float = 1.0,
    standardise: bool = True,
    least_gap: float = 0.0,
) -> Tensor:
    """softmax(z / temperature), z the labels standardised in each list (population deviation).

    Shape (..., list), 0 where masked. Lists whose labels span at most ``least_gap`` get the uniform
    distribution: standardising would blow noise up to full size.

    Examples
    --------
    >>> label_distribution(torch.tensor([1.0, 0.0, -1.0]), standardise=False)
    tensor([0.6652, 0.2447, 0.0900])
    """
    values, _, mask = prepare(labels, labels, where)
    if standardise:
        values = (values - masked_mean(values, mask)[..., None]).masked_fill(~mask, 0.0)
        values = values / masked_mean(values**2, mask)[..., None].sqrt().clamp(min=1e-8)
    apart = (span(labels, mask) > least_gap)[..., None]
    logits = torch.where(apart, values / temperature, 0.0).masked_fill(~mask, low(values))
    return torch.softmax(logits, dim=-1).masked_fill(~mask, 0.0)


def winrate_labels(wins: Tensor, where: Tensor | None = None) -> Tensor:
    """LiPO's labels: the mean over the list of P(row beats column); the diagonal counts as 1/2.

    (..., list, list) -> (..., list)

    Examples
    --------
    >>> winrate_labels(torch.tensor([[0.0, 0.9], [0.1, 0.0]]))
    tensor([0.7000, 0.3000])
    """
    itself = torch.eye(wins.shape[-1], dtype=torch.bool, device=wins.device)
    shares = torch.where(itself, 0.5, widen(wins))
    if where is None:
        return shares.sum(dim=-1) / shares.shape[-1]
    mask = where[..., None, :].to(shares.dtype).expand_as(shares)
    mean = (shares * mask).sum(dim=-1) / mask.sum(dim=-1).clamp(min=1)
    return mean.masked_fill(~where, 0.0)
