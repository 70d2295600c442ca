"""What every function over lists shares: masks, precision, and how lists are reduced."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from policyrank.errors import OptionError

Reduce = Literal["mean", "sum", "none"]
_TRUE = torch.ones((), dtype=torch.bool)


def prepare(scores: Tensor, labels: Tensor, where: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Scores and labels in at least float32, zero where masked, and the mask.

    Raises
    ------
    OptionError
        When the shapes do not fit, or the lists are empty.
    """
    check(scores, labels, where)
    if where is None:
        return widen(scores), widen(labels), _TRUE.to(scores.device).expand(scores.shape)
    mask = where.bool()
    return widen(scores).masked_fill(~mask, 0.0), widen(labels).masked_fill(~mask, 0.0), mask


def check(scores: Tensor, labels: Tensor, where: Tensor | None) -> None:
    """Refuse empty lists and shapes that do not fit."""
    check_lists(scores)
    shape = tuple(scores.shape)
    if labels.shape != scores.shape:
        raise OptionError(f"labels {tuple(labels.shape)} and scores {shape} must have one shape.")
    if where is not None and where.shape != scores.shape:
        raise OptionError(f"where {tuple(where.shape)} and scores {shape} must have one shape.")


def check_lists(scores: Tensor) -> None:
    """Refuse tensors that hold no list."""
    if scores.ndim == 0 or scores.shape[-1] == 0:
        raise OptionError(
            f"scores of shape {tuple(scores.shape)} hold no list: the last axis is the list."
        )


def widen(values: Tensor) -> Tensor:
    """At least float32: half precision cannot hold sums of exponentials."""
    if values.dtype in (torch.float32, torch.float64):
        return values
    return values.float()


def reduce_lists(loss: Tensor, says: Tensor, reduce: Reduce) -> Tensor:
    """Reduce one loss a list.

    Lists that say nothing (``says`` is false) have loss 0 and do not count in the mean.
    """
    loss = loss.masked_fill(~says, 0.0)
    if reduce == "none":
        return loss
    if reduce == "sum":
        return loss.sum()
    if reduce == "mean":  # divided before it is summed: large losses stay finite
        return (loss / says.sum().clamp(min=1)).sum()
    raise OptionError(f"reduce={reduce!r}: use 'mean', 'sum' or 'none'.")


def masked_mean(value: Tensor, mask: Tensor, axes: int = 1) -> Tensor:
    """Mean over the last ``axes`` axes where the mask holds; 0 where it never does."""
    value, mask = value.flatten(-axes), mask.flatten(-axes)
    return torch.where(mask, value, 0.0).sum(dim=-1) / mask.sum(dim=-1).clamp(min=1)


def pairs_of(mask: Tensor) -> Tensor:
    """Where both items of a pair are there: (..., list) -> (..., list, list)."""
    return mask[..., :, None] & mask[..., None, :]


def low(values: Tensor) -> float:
    """A finite stand-in for -inf: gradients of what is fully masked stay free of NaN."""
    return torch.finfo(values.dtype).min / 4


def discounts(gain: Tensor) -> Tensor:
    """1 / log2(place + 1) of the places of a list: (list,)."""
    place = torch.arange(2, gain.shape[-1] + 2, device=gain.device, dtype=gain.dtype)
    return 1 / torch.log2(place)


def ideal_dcg(gain: Tensor, k: int | None = None) -> Tensor:
    """DCG@k of the best order: the sum of the k largest gains (..., list) over log2(place + 1)."""
    best = gain.sort(dim=-1, descending=True).values[..., :k]
    return (best * discounts(best)).sum(dim=-1)


def relative_gains(y: Tensor, mask: Tensor) -> Tensor:
    """2^y - 1 over the power of two below the list's largest: (..., list), 0 where masked.

    For what divides gains by an ideal anyway: 2^y itself leaves float32 at y = 128.
    """
    largest = y.masked_fill(~mask, 0.0).amax(dim=-1, keepdim=True).floor()
    return (torch.exp2(y - largest) - torch.exp2(-largest)).masked_fill(~mask, 0.0)


def places_by_value(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """How many items of the list are lower, and how many not higher (itself too): (..., list)."""
    keys = values.masked_fill(~mask, torch.inf).contiguous()
    in_order = keys.sort(dim=-1).values
    return torch.searchsorted(in_order, keys), torch.searchsorted(in_order, keys, right=True)


def descending(keys: Tensor, mask: Tensor) -> Tensor:
    """Indices that sort by key, highest first, ties by position, masked items last."""
    return keys.masked_fill(~mask, -torch.inf).argsort(dim=-1, descending=True, stable=True)


def ranks(scores: Tensor, mask: Tensor) -> Tensor:
    """Places by score, 1 the highest, ties by position; masked items last."""
    return descending(scores, mask).argsort(dim=-1) + 1


def by_label(labels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Labels from the highest to the lowest, -inf for masked items, and where they stood."""
    keys = labels.masked_fill(~mask, -torch.inf)
    found = keys.sort(dim=-1, descending=True, stable=True)
    return found.values, found.indices


def group_of(keys: Tensor) -> Tensor:
    """Which group of equal keys, from 0, each sorted key belongs to: (..., list)."""
    starts = torch.zeros_like(keys, dtype=torch.long)
    starts[..., 1:] = keys[..., 1:] != keys[..., :-1]
    return starts.cumsum(dim=-1)


def first_of_group(keys: Tensor) -> Tensor:
    """Where the group of each sorted key starts: (..., list)."""
    starts = torch.zeros_like(keys, dtype=torch.long)
    place = torch.arange(1, keys.shape[-1], device=keys.device)
    starts[..., 1:] = place * (keys[..., 1:] != keys[..., :-1])
    return starts.cummax(dim=-1).values


def span(labels: Tensor, mask: Tensor) -> Tensor:
    """Largest less smallest label: (...); not above 0 where nothing is unmasked."""
    highest = labels.masked_fill(~mask, -torch.inf).amax(dim=-1)
    return highest - labels.masked_fill(~mask, torch.inf).amin(dim=-1)


def several(mask: Tensor) -> Tensor:
    """Whether a list has an order to tell: two items or more."""
    return mask.sum(dim=-1) > 1


def suffix_logsumexp(values: Tensor, mask: Tensor) -> Tensor:
    """log sum over j >= i of exp x_j over unmasked j.

    Masked ones contribute nothing. Gradients are finite.
    """
    shown = values.masked_fill(~mask, low(values))
    return torch.flip(torch.logcumsumexp(torch.flip(shown, [-1]), dim=-1), [-1])
