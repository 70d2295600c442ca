"""Groups of fresh and replayed outputs, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from policyrank.learn import Rollouts
from policyrank.train.replay_buffer import KeptOutput


@dataclass(frozen=True, eq=False)
class MixedRollouts:
    """Fresh and replayed rows, those of a group one behind the other.

    Attributes
    ----------
    order
        (rows,), which of fresh and then replayed rows each is
    kept
        replayed outputs, in the order in which they were added
    fresh
        how many rows were there before
    """

    rollouts: Rollouts
    order: Tensor
    kept: tuple[KeptOutput, ...]
    fresh: int

    def joined(self, values: Tensor, replayed: Tensor) -> Tensor:
        """A value of each row, of those that were there and of replayed ones: (rows, ...)."""
        if values.ndim > 1:
            values = _wide(values, self.rollouts.ids.shape[1], torch.nan)
        return torch.cat([values, replayed.to(values)])[self.order]

    def of_tokens(self, name: str) -> Tensor:
        """What is known of replayed outputs' tokens, NaN of others: (rows, tokens)."""
        width = self.rollouts.ids.shape[1]
        found = torch.full((len(self.order), width), torch.nan)
        for row, own in enumerate(self.kept, self.fresh):
            values = getattr(own, name)
            if values is not None:
                found[row, : len(values)] = torch.tensor(values, dtype=found.dtype)
        return found[self.order]


def _wide(values: Tensor, width: int, filled: float) -> Tensor:
    return torch.nn.functional.pad(values, (0, width - values.shape[1]), value=filled)


def mixed_rollouts(
    rollouts: Rollouts, added: Sequence[tuple[int, KeptOutput]], *, pad: int
) -> MixedRollouts:
    """Rollouts with replayed outputs at the end of their groups, without texts and columns.

    Parameters
    ----------
    added
        group of each replayed output, a key of ``rollouts.groups``, which are in ascending order
    """
    fresh, kept = len(rollouts), tuple(own for _, own in added)
    width = max([rollouts.ids.shape[1], *(len(own.ids) for own in kept)])
    shape = (len(kept), width)
    ids, where = torch.full(shape, pad), torch.zeros(shape, dtype=torch.bool)
    segments, known = torch.zeros(shape, dtype=torch.long), torch.full(shape, torch.nan)
    for row, own in enumerate(kept):
        n = len(own.ids)
        ids[row, :n] = torch.tensor(own.ids, dtype=torch.long)
        where[row, :n] = torch.tensor(own.where, dtype=torch.bool)
        if own.segments is not None:
            segments[row, :n] = torch.tensor(own.segments, dtype=torch.long)
    groups = torch.tensor([group for group, _ in added], dtype=torch.long)
    groups = torch.cat([rollouts.groups, groups])
    order = groups.argsort(stable=True)

    def by_token(own: Tensor | None, more: Tensor, filled: float) -> Any:
        return own if own is None else torch.cat([_wide(own, width, filled), more])[order]

    ended = rollouts.ended
    if ended is not None:
        ended = torch.cat([ended, torch.tensor([own.ended for own in kept], dtype=torch.bool)])
    found = Rollouts(
        by_token(rollouts.ids, ids, pad),
        by_token(rollouts.where, where, False),
        groups[order],
        log_probs=by_token(rollouts.log_probs, known, 0.0),  # who samples now said nothing of them
        segments=by_token(rollouts.segments, segments, 0),
        ended=ended if ended is None else ended[order],
        progress=rollouts.progress,
    )
    return MixedRollouts(found, order, kept, fresh)
