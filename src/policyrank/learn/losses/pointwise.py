"""Losses of single items."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from policyrank.errors import OptionError
from policyrank.learn._lists import Reduce, check, masked_mean, prepare, reduce_lists, widen


def mse(
    scores: Tensor,
    labels: Tensor,
    *,
    where: Tensor | None = None,
    weights: Tensor | None = None,
    reduce: Reduce = "mean",
) -> Tensor:
    """Squared error of score and label, mean over the list."""
    if where is None and weights is None and reduce == "mean":  # one fused call in each direction
        check(scores, labels, where)
        return mse_loss(widen(scores), widen(labels))
    scores, labels, mask = prepare(scores, labels, where)
    return _items((scores - labels) ** 2, mask, weights, reduce)


def sigmoid_cross_entropy(
    scores: Tensor,
    labels: Tensor,
    *,
    where: Tensor | None = None,
    weights: Tensor | None = None,
    reduce: Reduce = "mean",
) -> Tensor:
    """Binary cross-entropy of sigmoid(score) and a label in [0, 1], mean over the list."""
    scores, labels, mask = prepare(scores, labels, where)
    loss = binary_cross_entropy_with_logits(scores, labels, reduction="none")
    return _items(loss, mask, weights, reduce)


def ordinal(
    scores: Tensor,
    labels: Tensor,
    *,
    cutoffs: Tensor | None = None,
    where: Tensor | None = None,
    weights: Tensor | None = None,
    reduce: Reduce = "mean",
) -> Tensor:
    """Cumulative logit: the sum over k of the cross-entropy of "label > k".

    It is believed with probability sigmoid(score - cutoff_k), for grades 0..K.

    Parameters
    ----------
    scores, labels
        (..., list); labels are grades 0, 1, ..., K
    cutoffs
        (K,), rising; may be learned

    Raises
    ------
    OptionError
        Without cutoffs.
    """
    if cutoffs is None:
        raise OptionError("ordinal compares scores with cutoffs: give them, (K,) and rising.")
    scores, labels, mask = prepare(scores, labels, where)
    cut = widen(cutoffs)
    above = labels[..., None] > torch.arange(len(cut), device=scores.device)
    each = binary_cross_entropy_with_logits(
        scores[..., None] - cut, above.to(scores.dtype), reduction="none"
    )
    return _items(each.sum(dim=-1), mask, weights, reduce)


def _items(loss: Tensor, mask: Tensor, weights: Tensor | None, reduce: Reduce) -> Tensor:
    if weights is not None:
        loss = loss * widen(weights)
    return reduce_lists(masked_mean(loss, mask), mask.any(dim=-1), reduce)
