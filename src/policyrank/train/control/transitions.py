"""Logged steps as tensors, checked: what offline training reads."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from policyrank.errors import EvidenceError


class Rows(NamedTuple):
    """Some steps: what was seen, done, seen next and rewarded, and whether nothing follows.

    Attributes
    ----------
    then, known
        the action that was done next, and whether the log holds it
    """

    seen: Tensor
    acted: Tensor
    following: Tensor
    rewards: Tensor
    ended: Tensor
    then: Tensor
    known: Tensor


@dataclass(frozen=True, eq=False)
class Transitions:
    """Steps of episodes, a row a step, rows of an episode one after the other.

    Parameters
    ----------
    observations, actions, following
        float32 (rows, o), (rows, d) and (rows, o)
    rewards
        float32 (rows,)
    terminated
        bool (rows,), where nothing follows; a time limit is no end
    episode
        int64 (rows,), which episode a row is of

    Raises
    ------
    EvidenceError
        For shapes that do not fit, no rows, numbers that are not finite, episodes that are torn
        apart, or steps after an end; naming the row.
    """

    observations: Tensor
    actions: Tensor
    following: Tensor
    rewards: Tensor
    terminated: Tensor
    episode: Tensor

    def __post_init__(self) -> None:
        rows = len(self.rewards)
        if rows == 0:
            raise EvidenceError("the log has no steps.")
        for own in fields(self):
            value = getattr(self, own.name)
            if len(value) != rows:
                raise EvidenceError(f"{own.name}: {len(value):,} rows; rewards have {rows:,}.")
            if value.is_floating_point() and not torch.isfinite(value).all():
                row = int((~torch.isfinite(value.reshape(rows, -1)).all(dim=-1)).nonzero()[0])
                raise EvidenceError(f"{own.name}: row {row:,} is not finite.")
        if self.observations.shape != self.following.shape:
            raise EvidenceError(
                f"observations {tuple(self.observations.shape)} and following"
                f" {tuple(self.following.shape)} must agree."
            )
        self._check_episodes()

    def _check_episodes(self) -> None:
        starts = self.starts
        of_start = self.episode[starts]
        names, times = of_start.unique(return_counts=True)
        if (times > 1).any():
            raise EvidenceError(
                f"rows of an episode must follow one another: episode {int(names[times > 1][0])}"
                " starts twice."
            )
        ends = torch.ones_like(self.terminated)
        ends[:-1] = self.episode[:-1] != self.episode[1:]
        after = (self.terminated & ~ends).nonzero()
        if len(after):
            raise EvidenceError(f"row {int(after[0]):,} ends its episode, and another follows.")

    @classmethod
    def of(
        cls,
        observations: np.ndarray,
        actions: np.ndarray,
        following: np.ndarray,
        rewards: np.ndarray,
        terminated: np.ndarray,
        episode: np.ndarray,
    ) -> Transitions:
        """From arrays."""
        floats = (observations, actions, following, rewards)
        seen, acted, after, reward = (torch.tensor(own, dtype=torch.float32) for own in floats)
        ends = torch.tensor(terminated, dtype=torch.bool)
        return cls(seen, acted, after, reward, ends, torch.tensor(episode, dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def starts(self) -> Tensor:
        """Rows where an episode starts: (episodes,)."""
        new = torch.ones(len(self), dtype=torch.bool)
        new[1:] = self.episode[1:] != self.episode[:-1]
        return new.nonzero()[:, 0]

    def returns(self, discount: float, *, endless: float | None = None) -> Tensor:
        """Discounted rewards of each row's episode from there on: (rows,).

        ``endless``: what follows after the last row of an episode that did not end; such as -1 /
        (1 - discount) where each step costs 1 and a failure goes on for ever. None: nothing.
        """
        reward = self.rewards.double().numpy()
        total, out = 0.0, np.empty(len(reward))
        last = np.ones(len(reward), dtype=bool)
        last[:-1] = (self.episode[1:] != self.episode[:-1]).numpy()
        ended = self.terminated.numpy()
        for row in range(len(reward) - 1, -1, -1):
            if last[row]:
                total = 0.0 if ended[row] or endless is None else endless
            total = reward[row] + discount * total
            out[row] = total
        return torch.from_numpy(out).float()

    def taken(self, rows: Tensor) -> Rows:
        """Some rows."""
        after = (rows + 1).clamp(max=len(self) - 1)
        return Rows(
            self.observations[rows],
            self.actions[rows],
            self.following[rows],
            self.rewards[rows],
            self.terminated[rows],
            self.actions[after],
            (self.episode[after] == self.episode[rows]) & (after > rows),
        )

    def joined(self, more: Transitions) -> Transitions:
        """These and more, whose episodes are numbered on."""
        shift = int(self.episode.max()) + 1 - int(more.episode.min())
        later = {"episode": more.episode + shift}
        columns = {own.name: getattr(self, own.name) for own in fields(self)}
        return Transitions(
            **{
                name: torch.cat([value, later.get(name, getattr(more, name))])
                for name, value in columns.items()
            }
        )
