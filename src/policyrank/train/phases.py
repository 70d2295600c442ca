"""Segments of what was sampled: lines of a list, phases that markers end; and length as advantage.

Each gives, called with a tokenizer, a function of rollouts: (rows, tokens) from 1, 0 to none.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from policyrank.learn.advantages import group_advantage, token_gains
from policyrank.learn.rollouts import Rollouts
from policyrank.learn.segments import separated_segments

Phases = Callable[[Any], Callable[[Rollouts], Tensor]]


def by_lines(*, most: int | None = None) -> Phases:
    """A segment a line: the items of a list. All beyond ``most`` are one more.

    A line's end belongs to it; a token with several skips lines, as the text does.
    """

    def made(tokenizer: Any) -> Callable[[Rollouts], Tensor]:
        held: dict[int, int] = {}

        def segments(rollouts: Rollouts) -> Tensor:
            strange = [k for k in rollouts.ids.unique().tolist() if k not in held]
            texts = tokenizer.batch_decode([[k] for k in strange])
            held.update(zip(strange, (text.count("\n") for text in texts), strict=True))
            ends = [[held[k] for k in row] for row in rollouts.ids.tolist()]
            return separated_segments(torch.tensor(ends), rollouts.where, most)

        return segments

    return made


def by_markers(*, markers: Sequence[str]) -> Phases:
    """A phase up to each marker, such as ``</SLATE>``, with the token that completes it; the rest.

    A marker that is not there ends nothing: what follows stays of the phase before.
    """

    def made(tokenizer: Any) -> Callable[[Rollouts], Tensor]:
        def segments(rollouts: Rollouts) -> Tensor:
            index = torch.zeros_like(rollouts.ids)
            for row, ids in enumerate(rollouts.ids.tolist()):
                start = 0
                for phase, marker in enumerate((*markers, None), start=1):
                    end = len(ids) if marker is None else _end(tokenizer, ids, start, marker)
                    index[row, start:end] = phase
                    start = end
                    if end == len(ids):
                        break
            return index.masked_fill(~rollouts.where.bool(), 0)

        return segments

    return made


def _end(tokenizer: Any, ids: Sequence[int], start: int, marker: str) -> int:
    """The place after the token that completes a marker; the end where it is not there."""

    def there(place: int) -> bool:
        return marker in tokenizer.decode(ids[start:place])

    return start + bisect_left(range(start, len(ids)), True, key=there)


def with_length(*, places: int, step: float = 0.1) -> Callable[[Tensor, Rollouts], Tensor]:
    """Advantages of lines, and of a list's length at its end: (rows, tokens).

    Tokens of lines beyond ``places`` have ``-step``. The end token has no line's: ``step`` where
    all places are filled and none is beyond, ``-step`` where some are not, none where it was cut.

    References
    ----------
    Rank-GRPO, arXiv 2510.20150 (its released code).
    """

    def gain(values: Tensor, rollouts: Rollouts) -> Tensor:
        assert rollouts.segments is not None
        index = rollouts.segments
        gains = group_advantage(values, rollouts.groups, scale="sample")
        tokens = token_gains(gains, rollouts.where, index)
        beyond = index > places
        last = rollouts.where.long().cumsum(dim=-1).argmax(dim=-1)
        rows = torch.arange(len(tokens))
        ended = torch.ones(len(tokens)) if rollouts.ended is None else rollouts.ended
        reached = index.amax(dim=-1)
        end = torch.where(reached < places, -step, torch.where(reached > places, -step, step))
        tokens[rows, last] = torch.where(ended.bool(), end, tokens[rows, last])
        return torch.where(beyond, -step, tokens)

    return gain
