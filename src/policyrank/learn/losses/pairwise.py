"""Losses of pairs in which the first item has the higher label; pairs of equal labels say nothing.

A list's loss is the mean over its pairs (``pairs="mean"``) or their sum. ``lambda_weight`` weighs
pairs by what swapping them would do to a metric; one of ``LAMBDA_WEIGHTS`` or a function. Labels
count by their order, with a ``lambda_weight`` as ``gains``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.nn.functional import softplus

from policyrank.learn._lists import Reduce, pairs_of, prepare, reduce_lists, widen
from policyrank.learn.losses.lambda_weights import (
    LAMBDA_WEIGHTS,
    LambdaWeight,
    named_lambda_weight,
)

Pairs = Literal["mean", "sum"]
LabelGap = Callable[[], Tensor]
BLOCK = 2**17


class Phi(Protocol):
    """s_j - s_i, and what gives y_i - y_j -> loss of a pair and its slope in s_j - s_i."""

    def __call__(self, behind: Tensor, wanted: LabelGap, /) -> tuple[Tensor, Tensor]: ...


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

    Labels: ``order``; ``gains`` with a ``lambda_weight``.

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
        if sigma == 1:
            return softplus(behind), torch.sigmoid(behind)
        scaled = sigma * behind
        return softplus(scaled), sigma * torch.sigmoid(scaled)

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
    """max(0, margin - (s_i - s_j)) over pairs with y_i > y_j.

    Parameters and labels as in ``ranknet``.
    """
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
    """1 - exp s_i / (exp s_i + exp s_j) over pairs with y_i > y_j.

    The expected error of a two-item Plackett-Luce choice. Labels: ``order``.
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
    """((s_i - s_j) - (y_i - y_j))^2 over pairs with y_i > y_j.

    Distils a teacher's margins, the labels being its scores. Labels: ``scores``; a constant added
    to those of a list changes nothing.

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
    """Sum over pairs with y_i > y_j of weight_ij phi(s_j - s_i), and their number.

    Value and gradient are taken block by block in one pass, so that memory stays linear in the list
    and the blocks in the cache.
    """

    @staticmethod
    def forward(
        ctx: Any, s: Tensor, y: Tensor, mask: Tensor, weight: Tensor | None, phi: Phi
    ) -> tuple[Tensor, Tensor]:
        n = s.shape[-1]
        scores, real = s.reshape(-1, n), mask.reshape(-1, n)
        # No comparison with NaN holds: one test does for labels and padding.
        labels = y.reshape(-1, n).masked_fill(~real, torch.nan)
        if weight is not None:
            weight = weight.expand(*s.shape, n).reshape(-1, n, n)
        total, count = scores.new_zeros(len(scores)), scores.new_zeros(len(scores))
        grad = torch.zeros_like(scores)
        lists, rows = max(1, BLOCK // (n * n)), max(1, BLOCK // n)
        for first in range(0, len(scores), lists):
            of_lists = slice(first, first + lists)
            score, label = scores[of_lists], labels[of_lists]
            for row in range(0, n, rows):
                of_rows = slice(row, row + rows)
                better, others = label[:, of_rows, None], label[:, None, :]
                valid = (better > others).to(score.dtype)
                behind = score[:, None, :] - score[:, of_rows, None]
                value, slope = phi(behind, partial(torch.sub, better, others))
                count[of_lists] += valid.sum(dim=(-1, -2))
                if weight is not None:
                    valid = valid * weight[of_lists, of_rows]
                total[of_lists] += torch.linalg.vecdot(value.flatten(1), valid.flatten(1))
                slope *= valid
                grad[of_lists, of_rows] -= slope.sum(dim=-1)
                grad[of_lists] += slope.sum(dim=-2)
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
        weight = named_lambda_weight(lambda_weight)(s.detach(), y, mask, k)
    if weights is not None:
        given = _of_pairs(weights, s)
        weight = given if weight is None else weight * given
    if weight is not None:
        weight = _shown(weight.detach(), mask)
    most = 1.0
    if weight is not None and pairs == "mean":
        # Unnormalised gains are large: their sum over pairs may leave float32, their mean does not.
        most = float(4 ** s.shape[-1].bit_length())  # at least the pairs; a power of two is exact
        weight = weight / most
    loss, count = _PairSum.apply(s, y, mask, weight, phi)
    if pairs == "mean":
        loss = loss / (count.clamp(min=1) / most)
    return reduce_lists(loss, count > 0, reduce)


def _of_pairs(weights: Tensor, s: Tensor) -> Tensor:
    """Weights (..., list, list) of pairs; those of items (..., list, 1) are of the better one."""
    if weights.ndim == s.ndim + 1:
        return widen(weights)
    return widen(weights)[..., :, None]


def _shown(weight: Tensor, mask: Tensor) -> Tensor:
    """Weights, 0 where an item is masked."""
    if weight.shape[-1] > 1:
        return weight.masked_fill(~pairs_of(mask), 0.0)
    return weight.masked_fill(~mask[..., :, None], 0.0)


__all__ = [
    "LAMBDA_WEIGHTS",
    "LabelGap",
    "LambdaWeight",
    "Pairs",
    "hinge",
    "margin_mse",
    "pair_loss",
    "pair_softmax",
    "ranknet",
]
