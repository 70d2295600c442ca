"""Losses of pairs in which the first item has the higher label; pairs of equal labels say nothing.

A list's loss is the mean over its pairs (``pairs="mean"``) or their sum. ``lambda_weight`` weighs
pairs by what swapping them would do to a metric; one of ``LAMBDA_WEIGHTS`` or a function.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from policyrank.learn._lists import Reduce, ideal_dcg, prepare, ranks, reduce_lists, widen

LambdaWeight = Callable[[Tensor, Tensor, Tensor, int | None], Tensor]
Pairs = Literal["mean", "sum"]
LabelGap = Callable[[], Tensor]
Phi = Callable[[Tensor, LabelGap], tuple[Tensor, Tensor]]
"""(s_j - s_i, a function that gives y_i - y_j) -> loss of the pair and its slope in s_j - s_i."""
BLOCK = 2**17


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
        (..., list), weight of each item; a pair weighs as its better item (as in rax); or (...,
        list, list), of each pair
    lambda_weight
        ``"lambdarank"``, ``"ndcg-1"``, ``"ndcg-2"``, ``"ndcg-2pp"``, or a function
    k
        cutoff of the metric behind ``lambda_weight``
    sigma
        scale of the scores

    References
    ----------
    Burges et al. (2005). With lambda weights: LambdaRank (2006), and LambdaLoss, Wang et al.
    (2018).

    Examples
    --------
    >>> ranknet(torch.tensor([2.0, 1.0, 0.0]), torch.tensor([2.0, 1.0, 0.0]), pairs="sum")
    tensor(0.7535)
    """
    s, y, mask = prepare(scores, labels, where)

    def logistic(behind: Tensor, _: LabelGap) -> tuple[Tensor, Tensor]:
        scaled = behind if sigma == 1 else sigma * behind
        return softplus(scaled), torch.sigmoid(scaled) if sigma == 1 else sigma * torch.sigmoid(
            scaled
        )

    return pair_loss(
        logistic,
        s,
        y,
        mask,
        weights=weights,
        lambda_weight=lambda_weight,
        k=k,
        pairs=pairs,
        reduce=reduce,
    )


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

    def hinged(behind: Tensor, _: LabelGap) -> tuple[Tensor, Tensor]:
        short = (behind + margin).clamp_(min=0)
        return short, short.sign()

    return pair_loss(
        hinged,
        s,
        y,
        mask,
        weights=weights,
        lambda_weight=lambda_weight,
        k=k,
        pairs=pairs,
        reduce=reduce,
    )


def pair_softmax(
    scores: Tensor,
    labels: Tensor,
    *,
    where: Tensor | None = None,
    weights: Tensor | None = None,
    pairs: Pairs = "mean",
    reduce: Reduce = "mean",
) -> Tensor:
    """1 - exp s_i / (exp s_i + exp s_j) over pairs with y_i > y_j: the expected error of a two-item
    Plackett-Luce choice.
    """
    s, y, mask = prepare(scores, labels, where)

    def choice(behind: Tensor, _: LabelGap) -> tuple[Tensor, Tensor]:
        wrong = torch.sigmoid(behind)
        return wrong, wrong * (1 - wrong)

    return pair_loss(choice, s, y, mask, weights=weights, pairs=pairs, reduce=reduce)


def margin_mse(
    scores: Tensor,
    labels: Tensor,
    *,
    where: Tensor | None = None,
    weights: Tensor | None = None,
    pairs: Pairs = "mean",
    reduce: Reduce = "mean",
) -> Tensor:
    """((s_i - s_j) - (y_i - y_j))^2 over pairs with y_i > y_j: distils a teacher's margins, the
    labels being its scores.

    References
    ----------
    Hofstaetter et al. (2020), arXiv 2010.02666.
    """
    s, y, mask = prepare(scores, labels, where)

    def squared(behind: Tensor, wanted: LabelGap) -> tuple[Tensor, Tensor]:
        off = (behind + wanted()).nan_to_num()  # padding
        return off * off, 2 * off

    return pair_loss(squared, s, y, mask, weights=weights, pairs=pairs, reduce=reduce)


class _PairSum(torch.autograd.Function):
    """Sum over pairs with y_i > y_j of weight_ij phi(s_j - s_i), and their number. Value and
    gradient are taken block by block in one
    pass, so that memory stays linear in the list and the blocks in the cache."""

    @staticmethod
    def forward(
        ctx: Any, s: Tensor, y: Tensor, mask: Tensor, weight: Tensor | None, phi: Phi
    ) -> tuple[Tensor, Tensor]:
        n = s.shape[-1]
        flat, labels, real = s.reshape(-1, n), y.reshape(-1, n), mask.reshape(-1, n)
        # No comparison with NaN holds: one test does for labels and padding.
        labels = labels.masked_fill(~real, torch.nan)
        weights = None if weight is None else weight.expand(*s.shape, n).reshape(-1, n, n)
        total, count, grad = (
            flat.new_zeros(len(flat)),
            flat.new_zeros(len(flat)),
            torch.zeros_like(flat),
        )
        lists, rows = max(1, BLOCK // (n * n)), max(1, BLOCK // n)
        for a in range(0, len(flat), lists):
            x, z = flat[a : a + lists], labels[a : a + lists]
            for r in range(0, n, rows):
                better, others = z[:, r : r + rows, None], z[:, None, :]
                valid = (better > others).to(x.dtype)
                value, slope = phi(
                    x[:, None, :] - x[:, r : r + rows, None],
                    lambda b=better, o=others: b - o,  # type: ignore[misc]
                )
                count[a : a + lists] += valid.sum(dim=(-1, -2))
                if weights is not None:
                    valid = valid * weights[a : a + lists, r : r + rows]
                total[a : a + lists] += torch.linalg.vecdot(value.flatten(1), valid.flatten(1))
                slope *= valid
                grad[a : a + lists, r : r + rows] -= slope.sum(dim=-1)
                grad[a : a + lists] += slope.sum(dim=-2)
        ctx.save_for_backward(grad.reshape(s.shape))
        counts = count.reshape(s.shape[:-1])
        ctx.mark_non_differentiable(counts)
        return total.reshape(s.shape[:-1]), counts

    @staticmethod
    def backward(ctx: Any, outer: Tensor, _: Tensor) -> tuple[Tensor, None, None, None, None]:
        (grad,) = ctx.saved_tensors
        return outer[..., None] * grad, None, None, None, None


def pair_loss(
    phi: Phi,
    s: Tensor,
    y: Tensor,
    mask: Tensor,
    *,
    weights: Tensor | None = None,
    lambda_weight: str | LambdaWeight | None = None,
    k: int | None = None,
    pairs: Pairs = "mean",
    reduce: Reduce = "mean",
) -> Tensor:
    """Sum or mean of ``phi`` over each list's pairs with y_i > y_j, of prepared scores."""
    weight = None
    if lambda_weight is not None:
        rule = LAMBDA_WEIGHTS[lambda_weight] if isinstance(lambda_weight, str) else lambda_weight
        weight = rule(s.detach(), y, mask, k)
    if weights is not None:
        w = widen(weights)
        w = w if w.ndim == s.ndim + 1 else w[..., :, None]
        weight = w if weight is None else weight * w
    if weight is not None:
        both = mask[..., :, None] & mask[..., None, :]
        weight = (
            weight.detach().masked_fill(~both, 0.0)
            if weight.shape[-1] > 1
            else weight.detach().masked_fill(~mask[..., :, None], 0.0)
        )
    total, count = _PairSum.apply(s, y, mask, weight, phi)
    return reduce_lists(total / count.clamp(min=1) if pairs == "mean" else total, count > 0, reduce)


def _gains(y: Tensor, mask: Tensor, k: int | None) -> Tensor:
    """(2^y - 1) / IDCG@k, 0 where masked."""
    gain = torch.where(mask, torch.exp2(y) - 1, 0.0)
    return gain / ideal_dcg(gain, k)[..., None].clamp(min=1e-10)


def _within(weight: Tensor, place: Tensor, k: int | None) -> Tensor:
    """The weights of pairs of which at least one item stands in the first k places (a swap of two
    items below changes nothing); 0 of others.
    """
    if k is None:
        return weight
    top = place <= k
    return weight * (top[..., :, None] | top[..., None, :])


def lambdarank_weight(s: Tensor, y: Tensor, mask: Tensor, k: int | None = None) -> Tensor:
    """|G_i - G_j| |1/D(i) - 1/D(j)|, D(i) = log2(1 + place of i): what swapping i and j does to
    NDCG; 0 below k.
    """
    return _difference(_gains(y, mask, k)) * _difference(_inverse_discount(s, mask, k))


def dcg_weight(s: Tensor, y: Tensor, mask: Tensor, k: int | None = None) -> Tensor:
    """LambdaRank's weight as LiPO has it: gains not divided by the ideal DCG, so that they keep the
    labels' scale, and natural logarithms.
    """
    gain = torch.where(mask, torch.exp2(y) - 1, 0.0)
    return _difference(gain) * _difference(_inverse_discount(s, mask, k) / math.log(2))


def _inverse_discount(s: Tensor, mask: Tensor, k: int | None) -> Tensor:
    """1 / log2(1 + place), 0 below k."""
    place = ranks(s, mask)
    inverse = 1 / torch.log2(place.to(s.dtype) + 1)
    return inverse if k is None else torch.where(place <= k, inverse, 0.0)


def ndcg1_weight(s: Tensor, y: Tensor, mask: Tensor, k: int | None = None) -> Tensor:
    """G_i / D(i) of the better item (NDCG-Loss1 of LambdaLoss)."""
    place = ranks(s, mask)
    weight = (_gains(y, mask, k) / torch.log2(place.to(s.dtype) + 1))[..., :, None].expand(
        *s.shape, s.shape[-1]
    )
    return _within(weight, place, k)


def ndcg2_weight(s: Tensor, y: Tensor, mask: Tensor, k: int | None = None) -> Tensor:
    """|G_i - G_j| (1/D(|i-j|) - 1/D(|i-j|+1)), by the distance of the places (NDCG-Loss2 of
    LambdaLoss).
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
