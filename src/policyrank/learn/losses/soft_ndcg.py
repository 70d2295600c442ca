"""Losses that are NDCG with its sort or its places made smooth.

Labels: ``gains``. Lists without two different labels say nothing: all their orders have one NDCG.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from policyrank.learn._lists import (
    Reduce,
    ideal_dcg,
    low,
    pairs_of,
    prepare,
    reduce_lists,
    relative_gains,
    span,
)


def approx_ndcg(
    scores: Tensor,
    labels: Tensor,
    *,
    where: Tensor | None = None,
    k: int | None = None,
    temperature: float = 0.1,
    reduce: Reduce = "mean",
) -> Tensor:
    """1 - NDCG with places 1 + sum_j sigmoid((s_j - s_i) / temperature), gains 2^y - 1.

    With ``k``, places beyond k + 1/2 fade out. Labels: ``gains``.

    References
    ----------
    Qin, Liu and Li (2010), "A general approximation framework for direct optimization of
    information retrieval measures".
    """
    s, y, mask = prepare(scores, labels, where)
    behind = (s[..., None, :] - s[..., :, None]) / temperature
    above = torch.where(pairs_of(mask), torch.sigmoid(behind), 0.0)
    place = 0.5 + above.sum(dim=-1)  # the item itself contributes one half
    gain, best, says = _gain_ideal_says(y, mask, k)
    value = gain / torch.log2(place + 1)
    if k is not None:
        value = value * torch.sigmoid((k + 0.5 - place) / temperature)
    return reduce_lists(1 - value.sum(dim=-1) / best.clamp(min=1e-10), says, reduce)


def neural_ndcg(
    scores: Tensor,
    labels: Tensor,
    *,
    where: Tensor | None = None,
    k: int | None = None,
    temperature: float = 1.0,
    sinkhorn: int = 20,
    reduce: Reduce = "mean",
) -> Tensor:
    """1 - NDCG with the sort replaced by NeuralSort's soft permutation matrix.

    Sinkhorn scaling makes the matrix doubly stochastic; what its rounds leave undone lets the loss
    fall a little below 0. Labels: ``gains``.

    References
    ----------
    Pobrotyn and Bialobrzeski (2021), "NeuralNDCG", arXiv 2102.07831; Grover et al. (2019),
    NeuralSort.
    """
    s, y, mask = prepare(scores, labels, where)
    gap = (s[..., :, None] - s[..., None, :]).abs()
    apart = torch.where(pairs_of(mask), gap, 0.0).sum(dim=-1)
    n = mask.sum(dim=-1, keepdim=True)
    place = torch.arange(1, s.shape[-1] + 1, device=s.device)
    scale = (n + 1 - 2 * place).to(s.dtype)
    logits = (scale[..., :, None] * s[..., None, :] - apart[..., None, :]) / temperature
    shown = logits.masked_fill(~mask[..., None, :], low(s))
    real = (place <= n)[..., :, None] & mask[..., None, :]
    p = torch.softmax(shown, dim=-1).masked_fill(~real, 0.0)
    # The scaled matrix is diag(rows) p diag(columns): only the two scalings are iterated, so that p
    # is kept once.
    gain, best, says = _gain_ideal_says(y, mask, k)
    rows, columns = _Sinkhorn.apply(p, sinkhorn)
    sorted_gain = (rows * (p @ (columns * gain[..., None]))).squeeze(-1)[..., :k]
    dcg = (sorted_gain / torch.log2(place[:k].to(s.dtype) + 1)).sum(dim=-1)
    return reduce_lists(1 - dcg / best.clamp(min=1e-10), says, reduce)


class _Sinkhorn(torch.autograd.Function):
    """Scalings u, v (..., n, 1) that make diag(u) p diag(v) doubly stochastic.

    By so many rounds; empty rows and columns keep 1. The gradient of p is one product of the
    vectors of all rounds, instead of one outer product a round.
    """

    @staticmethod
    def forward(ctx: Any, p: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
        u, us, vs = p.new_ones((*p.shape[:-1], 1)), [], []
        v = u
        for _ in range(rounds):
            us.append(u)
            v = _inverse(p.mT @ u)
            u = _inverse(p @ v)
            vs.append(v)
        ctx.save_for_backward(p, *us, u, *vs)
        return u, v

    @staticmethod
    def backward(ctx: Any, gu: Tensor, gv: Tensor) -> tuple[Tensor, None]:
        p, *kept = ctx.saved_tensors
        rounds = len(kept) // 2
        us, vs = kept[: rounds + 1], kept[rounds + 1 :]
        left, right = [], []
        for t in range(rounds - 1, -1, -1):
            ga = -gu * us[t + 1] ** 2
            gb = -(gv + p.mT @ ga) * vs[t] ** 2
            left += [ga, us[t]]
            right += [vs[t], gb]
            gu, gv = p @ gb, torch.zeros_like(gv)
        if not rounds:
            return torch.zeros_like(p), None
        return torch.cat(left, dim=-1) @ torch.cat(right, dim=-1).mT, None


def _inverse(total: Tensor) -> Tensor:
    """1 / total, 1 where there is nothing (padding)."""
    return 1 / torch.where(total > 1e-10, total, 1.0)


def _gain_ideal_says(y: Tensor, mask: Tensor, k: int | None) -> tuple[Tensor, Tensor, Tensor]:
    gain = relative_gains(y, mask)
    best = ideal_dcg(gain, k)
    return gain, best, (best > 0) & (span(y, mask) > 0)
