"""One number of what each token loses: how policy, value and text losses are averaged."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn.segments import segment_mean, segment_sum

Average = Literal["token", "sequence", "segment", "sum", "length"]
"""Over all tokens; within each sequence, then over sequences; within segments, sequences, all; the
sum of each sequence, then over sequences; that over the length a completion may have."""


def averaged(
    each: Tensor,
    mask: Tensor,
    average: Average = "token",
    *,
    segments: Tensor | None = None,
    length: int | None = None,
    total: float | Tensor | None = None,
) -> Tensor:
    """One number of what each token loses: ().

    Parameters
    ----------
    each
        (batch, tokens), 0 where masked
    mask
        (batch, tokens), tokens that count
    segments
        (batch, tokens), for ``"segment"``
    length
        for ``"length"``
    total
        what the sum is divided by instead of what counts here: ``counted`` of the whole batch,
        where this is a part of it
    """
    count = mask.sum(dim=-1)
    if average == "token":
        return each.sum() / (count.sum().clamp(min=1) if total is None else total)
    own = each.sum(dim=-1)
    if average == "sequence":
        own = own / count.clamp(min=1)
    elif average == "length":
        assert length is not None
        own = own / length
    elif average == "segment":
        if segments is None:
            raise OptionError("average='segment' needs segments (batch, tokens).")
        own = _mean_of_segments(each, segments.masked_fill(~mask, 0))
    return own.sum() / ((count > 0).sum().clamp(min=1) if total is None else total)


def counted(mask: Tensor, average: Average) -> Tensor:
    """What ``averaged`` is a mean over: tokens (``"token"``), or sequences that have one."""
    return mask.sum() if average == "token" else mask.any(dim=-1).sum()


def check_average(average: str, length: int | None) -> None:
    """Refuse an average that is not there, or lacks its length."""
    if average not in get_args(Average):
        raise OptionError(f"average={average!r}: use one of {', '.join(get_args(Average))}.")
    if average == "length" and length is None:
        raise OptionError("average='length' needs the length that completions may have.")


def token_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over the tokens that count; 0 of none: ()."""
    return values.masked_fill(~mask, 0.0).sum() / mask.sum().clamp(min=1)


def _mean_of_segments(each: Tensor, parts: Tensor) -> Tensor:
    """The mean over each sequence's segments of the mean over a segment's tokens: (batch,)."""
    count = int(parts.max()) if parts.numel() else 0
    there = segment_sum(torch.ones_like(each), parts, count) > 0
    return segment_mean(each, parts, count).sum(dim=-1) / there.sum(dim=-1).clamp(min=1)
