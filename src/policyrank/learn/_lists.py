"""What every function over lists shares: masks, precision, and how lists are reduced."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Reduce = Literal["mean", "sum", "none"]
_TRUE = torch.ones((), dtype=torch.bool)


def prepare(scores: Tensor, labels: Tensor, where: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Scores and labels in at least float32, zero where masked (whatever stood there), and the
    mask.

    Raises
    ------
    ValueError
        When the shapes do not fit, or the lists are empty.
    """
    check(scores, labels, where)
    if where is None:
        return widen(scores), widen(labels), _TRUE.to(scores.device).expand(scores.shape)
    mask = where.bool()
    return widen(scores).masked_fill(~mask, 0.0), widen(labels).masked_fill(~mask, 0.0), mask


def check(scores: Tensor, labels: Tensor, where: Tensor | None) -> None:
    """Refuse empty lists and shapes that do not fit."""
    if scores.ndim == 0 or scores.shape[-1] == 0:
        raise ValueError(
            f"scores of shape {tuple(scores.shape)} hold no list: the last axis is the list."
        )
    if labels.shape != scores.shape:
        raise ValueError(
            f"labels {tuple(labels.shape)} and scores {tuple(scores.shape)} must have one shape."
        )
    if where is not None and where.shape != scores.shape:
        raise ValueError(
            f"where {tuple(where.shape)} and scores {tuple(scores.shape)} must have one shape."
        )


def widen(x: Tensor) -> Tensor:
    """At least float32: half precision cannot hold sums of exponentials."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def reduce_lists(loss: Tensor, says: Tensor, reduce: Reduce) -> Tensor:
    """Reduce one loss a list; lists that say nothing (``says`` is false) have loss 0 and do not
    count in the mean.
    """
    loss = loss.masked_fill(~says, 0.0)
    if reduce == "none":
        return loss
    if reduce == "sum":
        return loss.sum()
    if reduce == "mean":
        return loss.sum() / says.sum().clamp(min=1)
    raise ValueError(f"reduce={reduce!r}: use 'mean', 'sum' or 'none'.")


def masked_mean(value: Tensor, mask: Tensor, axes: int = 1) -> Tensor:
    """Mean over the last ``axes`` axes where the mask holds; 0 where it never does."""
    value, mask = value.flatten(-axes), mask.flatten(-axes)
    return torch.where(mask, value, 0.0).sum(dim=-1) / mask.sum(dim=-1).clamp(min=1)


def ideal_dcg(gain: Tensor, k: int | None = None) -> Tensor:
    """DCG@k of the best order: the sum of the k largest gains (..., list) over log2(place + 1)."""
    best = gain.sort(dim=-1, descending=True).values[..., :k]
    return (
        best / torch.log2(torch.arange(2, best.shape[-1] + 2, device=gain.device, dtype=gain.dtype))
    ).sum(dim=-1)


def ranks(scores: Tensor, mask: Tensor) -> Tensor:
    """Places by score, 1 the highest, ties by position; masked items last."""
    order = scores.masked_fill(~mask, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    return order.argsort(dim=-1) + 1


def ordered(values: Tensor, by: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Values sorted by ``by``, highest first (ties by position), masked ones at the end, and the
    mask in that order.
    """
    order = by.masked_fill(~mask, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    return values.gather(-1, order), mask.gather(-1, order)


def suffix_logsumexp(x: Tensor, mask: Tensor) -> Tensor:
    """log sum over j >= i of exp x_j over unmasked j; masked ones contribute nothing. Gradients are
    finite.
    """
    # A finite stand-in for -inf keeps the gradient of fully masked tails free of NaN.
    low = torch.finfo(x.dtype).min / 4
    return torch.flip(torch.logcumsumexp(torch.flip(x.masked_fill(~mask, low), [-1]), dim=-1), [-1])
