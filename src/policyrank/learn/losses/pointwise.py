"""Losses of single items."""

from __future__ import annotations

from collections.abc import Sequence

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
    """Squared error of score and label, mean over the list. Labels: ``scores``."""
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
    """Binary cross-entropy of sigmoid(score) and a label, mean over the list.

    Labels: ``shares``; beyond [0, 1] the loss would have no bound.
    """
    scores, labels, mask = prepare(scores, labels, where)
    loss = binary_cross_entropy_with_logits(scores, labels, reduction="none")
    return _items(loss, mask, weights, reduce)


def ordinal(
    scores: Tensor,
    labels: Tensor,
    *,
    cutoffs: Tensor | Sequence[float] | None = None,
    where: Tensor | None = None,
    weights: Tensor | None = None,
    reduce: Reduce = "mean",
) -> Tensor:
    """Cumulative logit: the sum over k of the cross-entropy of "label > k".

    It is believed with probability sigmoid(score - cutoff_k). Labels: ``grades`` 0..K.

    Parameters
    ----------
    scores, labels
        (..., list); labels are grades 0, 1, ..., K
    cutoffs
        (K,), rising; a tensor that is learned may have them cross on its way

    Raises
    ------
    OptionError
        Without cutoffs, or where they do not rise.

    Examples
    --------
    >>> ordinal(torch.tensor([3.0, -3.0]), torch.tensor([2.0, 0.0]), cutoffs=[-1.0, 1.0])
    tensor(0.1451)
    """
    scores, labels, mask = prepare(scores, labels, where)
    cut = _cutoffs(cutoffs, scores)
    above = labels[..., None] > torch.arange(len(cut), device=scores.device)
    each = binary_cross_entropy_with_logits(
        scores[..., None] - cut, above.to(scores.dtype), reduction="none"
    )
    return _items(each.sum(dim=-1), mask, weights, reduce)


def _cutoffs(given: Tensor | Sequence[float] | None, scores: Tensor) -> Tensor:
    if given is None:
        raise OptionError("ordinal compares scores with cutoffs: give them, (K,) and rising.")
    cut = torch.as_tensor(given, device=scores.device)
    if not cut.is_floating_point():
        cut = cut.to(scores.dtype)
    learned = cut.requires_grad
    if cut.ndim != 1 or not (learned or (cut.diff() > 0).all()):
        raise OptionError(f"cutoffs={cut.tolist()}: they are (K,) numbers, each above the last.")
    return widen(cut)


def _items(loss: Tensor, mask: Tensor, weights: Tensor | None, reduce: Reduce) -> Tensor:
    if weights is not None:
        loss = loss * widen(weights)
    return reduce_lists(masked_mean(loss, mask), mask.any(dim=-1), reduce)
