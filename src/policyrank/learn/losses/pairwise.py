"""Losses of pairs in which the first item has the higher label; pairs of equal labels say nothing.

A list's loss is the mean over its pairs (``pairs="mean"``) or their sum. ``lambda_weight`` weighs pairs by what swapping them
would do to a metric; one of ``LAMBDA_WEIGHTS`` or a function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from policyrank.learn._lists import Reduce, prepare, ranks, reduce_lists, widen

LambdaWeight = Callable[[Tensor, Tensor, Tensor, int | None], Tensor]
Pairs = Literal["mean", "sum"]


def ranknet(
    scores: Tensor,
    labels: Tensor,
    *,
    where: Tensor | None = None,
    weights: Tensor | None = None,
    lambda_weight: str | LambdaWeight | None = None,
    k: int | None = None,
    sigma: float = 1.0,
    pairs: Pairs = "mean",
    reduce: Reduce = "mean",
) -> Tensor:
    """Logistic loss: log(1 + exp(-sigma (s_i - s_j))) over pairs with y_i > y_j.

    Parameters
    ----------
    scores, labels
        (..., list)
    where
        (..., list), False for padding
    weights
        (..., list), weight of each item; a pair weighs as its better item (as in rax); or (..., list, list), of each pair
    lambda_weight
        ``"lambdarank"``, ``"ndcg-1"``, ``"ndcg-2"``, ``"ndcg-2pp"``, or a function
    k
        cutoff of the metric behind ``lambda_weight``
    sigma
        scale of the scores

    References
    ----------
    Burges et al. (2005). With lambda weights: LambdaRank (2006), and LambdaLoss, Wang et al. (2018).

    Examples
    --------
    >>> ranknet(torch.tensor([2.0, 1.0, 0.0]), torch.tensor([2.0, 1.0, 0.0]), pairs="sum")
    tensor(0.7535)
    """
    s, y, mask = prepare(scores, labels, where)
    loss = softplus(-sigma * (s[..., :, None] - s[..., None, :]))
    return _pairs(loss, s, y, mask, weights, lambda_weight, k, pairs, reduce)


def hinge(
    scores: Tensor,
    labels: Tensor,
    *,
    where: Tensor | None = None,
    weights: Tensor | None = None,
    lambda_weight: str | LambdaWeight | None = None,
    k: int | None = None,
    margin: float = 1.0,
    pairs: Pairs = "mean",
    reduce: Reduce = "mean",
) -> Tensor:
    """max(0, margin - (s_i - s_j)) over pairs with y_i > y_j. Parameters as in ``ranknet``."""
    s, y, mask = prepare(scores, labels, where)
    loss = (margin - (s[..., :, None] - s[..., None, :])).clamp(min=0)
    return _pairs(loss, s, y, mask, weights, lambda_weight, k, pairs, reduce)


def pair_softmax(
    scores: Tensor,
    labels: Tensor,
    *,
    where: Tensor | None = None,
    weights: Tensor | None = None,
    pairs: Pairs = "mean",
    reduce: Reduce = "mean",
) -> Tensor:
    """1 - exp s_i / (exp s_i + exp s_j) over pairs with y_i > y_j: the expected error of a two-item Plackett-Luce choice."""
    s, y, mask = prepare(scores, labels, where)
    loss = torch.sigmoid(s[..., None, :] - s[..., :, None])
    return _pairs(loss, s, y, mask, weights, None, None, pairs, reduce)


def margin_mse(
    scores: Tensor,
    labels: Tensor,
    *,
    where: Tensor | None = None,
    weights: Tensor | None = None,
    pairs: Pairs = "mean",
    reduce: Reduce = "mean",
) -> Tensor:
    """((s_i - s_j) - (y_i - y_j))^2 over pairs with y_i > y_j: distils a teacher's margins, the labels being its scores.

    References
    ----------
    Hofstaetter et al. (2020), arXiv 2010.02666.
    """
    s, y, mask = prepare(scores, labels, where)
    loss = ((s[..., :, None] - s[..., None, :]) - (y[..., :, None] - y[..., None, :])) ** 2
    return _pairs(loss, s, y, mask, weights, None, None, pairs, reduce)


def _pairs(
    loss: Tensor, s: Tensor, y: Tensor, mask: Tensor, weights: Tensor | None, lambda_weight: str | LambdaWeight | None,
    k: int | None, pairs: Pairs, reduce: Reduce,
) -> Tensor:  # fmt: skip
    valid = mask[..., :, None] & mask[..., None, :] & (y[..., :, None] > y[..., None, :])
    if lambda_weight is not None:
        rule = LAMBDA_WEIGHTS[lambda_weight] if isinstance(lambda_weight, str) else lambda_weight
        loss = loss * rule(s.detach(), y, mask, k)
    if weights is not None:
        w = widen(weights)
        loss = loss * (w if w.ndim == loss.ndim else w[..., :, None])
    total, count = torch.where(valid, loss, 0.0).sum(dim=(-1, -2)), valid.sum(dim=(-1, -2))
    return reduce_lists(total / count.clamp(min=1) if pairs == "mean" else total, count > 0, reduce)


def _gains(y: Tensor, mask: Tensor, k: int | None) -> Tensor:
    """(2^y - 1) / IDCG@k, 0 where masked."""
    gain = torch.where(mask, torch.exp2(y) - 1, 0.0)
    best = gain.sort(dim=-1, descending=True).values[..., :k]
    discount = torch.log2(torch.arange(2, best.shape[-1] + 2, device=y.device, dtype=y.dtype))
    return gain / (best / discount).sum(dim=-1, keepdim=True).clamp(min=1e-10)


def _within(place: Tensor, k: int | None) -> Tensor:
    """Pairs of which at least one item stands in the first k places (a swap of two items below changes nothing)."""
    if k is None:
        return torch.ones_like(place[..., :, None] + place[..., None, :], dtype=torch.bool)
    top = place <= k
    return top[..., :, None] | top[..., None, :]


def lambdarank_weight(s: Tensor, y: Tensor, mask: Tensor, k: int | None = None) -> Tensor:
    """|G_i - G_j| |1/D(i) - 1/D(j)|, D(i) = log2(1 + place of i): what swapping i and j does to NDCG; 0 below k."""
    place = ranks(s, mask)
    inverse = 1 / torch.log2(place.to(s.dtype) + 1)
    if k is not None:
        inverse = torch.where(place <= k, inverse, 0.0)
    return _difference(_gains(y, mask, k)) * _difference(inverse)


def ndcg1_weight(s: Tensor, y: Tensor, mask: Tensor, k: int | None = None) -> Tensor:
    """G_i / D(i) of the better item (NDCG-Loss1 of LambdaLoss)."""
    place = ranks(s, mask)
    weight = (_gains(y, mask, k) / torch.log2(place.to(s.dtype) + 1))[..., :, None].expand(*s.shape, s.shape[-1])
    return weight * _within(place, k)


def ndcg2_weight(s: Tensor, y: Tensor, mask: Tensor, k: int | None = None) -> Tensor:
    """|G_i - G_j| (1/D(|i-j|) - 1/D(|i-j|+1)), by the distance of the places (NDCG-Loss2 of LambdaLoss)."""
    place = ranks(s, mask)
    apart = (place[..., :, None] - place[..., None, :]).abs().to(s.dtype)
    delta = torch.where(apart > 0, 1 / torch.log2(apart + 1) - 1 / torch.log2(apart + 2), 0.0)
    return _difference(_gains(y, mask, k)) * delta * _within(place, k)


def ndcg2pp_weight(s: Tensor, y: Tensor, mask: Tensor, k: int | None = None, mu: float = 10.0) -> Tensor:
    """mu times NDCG-Loss2's weight plus LambdaRank's (NDCG-Loss2++ of LambdaLoss, mu = 10)."""
    return mu * ndcg2_weight(s, y, mask, k) + lambdarank_weight(s, y, mask, k)


def _difference(x: Tensor) -> Tensor:
    return (x[..., :, None] - x[..., None, :]).abs()


LAMBDA_WEIGHTS: dict[str, LambdaWeight] = {
    "lambdarank": lambdarank_weight,
    "ndcg-1": ndcg1_weight,
    "ndcg-2": ndcg2_weight,
    "ndcg-2pp": ndcg2pp_weight,
}
