"""What a group goes through before it is learned from: sampled, rewarded, compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from policyrank.errors import EvidenceError, OptionError
from policyrank.learn import (
    GroupAdvantage,
    GroupObjective,
    ListObjective,
    Rewards,
    Rollouts,
    as_reward,
    rewarded,
    token_gains,
    without_ties,
)
from policyrank.learn.rewards import weighted
from policyrank.models.group_sampling import GroupSampler
from policyrank.train.group_config import GroupConfig, labels_of
from policyrank.train.group_data import PromptRow
from policyrank.train.guarding import GuardedReward
from policyrank.train.rounds import as_rollouts
from policyrank.train.turn_sampling import TurnSampler

Segments = Callable[[Rollouts], Tensor]
"""Rollouts -> segment of each token, from 1; 0: of none. (outputs, tokens)"""


@dataclass(frozen=True, eq=False)
class ComparedGroups:
    """Groups and what is learned from each output.

    Attributes
    ----------
    gains
        (outputs, tokens), their advantages; NaN: says nothing
    telling
        of each group, whether any of its tokens counts
    """

    rollouts: Rollouts
    said: Rewards
    gains: Tensor
    telling: tuple[bool, ...]


@dataclass(frozen=True, eq=False)
class GroupMaker:
    """Samples groups for prompts, and compares what each output of a group earned.

    Attributes
    ----------
    sampler, reward, advantage, objective, segments
        see ``GroupTrainer``
    pad
        id of padding
    """

    args: GroupConfig
    sampler: GroupSampler
    reward: GuardedReward
    advantage: GroupAdvantage
    objective: GroupObjective
    segments: Segments | None
    pad: int

    def sampled(self, rows: Sequence[PromptRow], *, seed: int, progress: float) -> Rollouts:
        """A group of outputs for each prompt.

        Raises
        ------
        EvidenceError
            When the sampler gives another number of them.
        """
        samples = self.args.samples
        if isinstance(self.sampler, TurnSampler):
            made: Any = self.sampler.of_rows(rows, samples, seed=seed)
        else:
            made = self.sampler([row.ids for row in rows], samples, seed=seed)
        if [len(group) for group in made] != [samples] * len(rows):
            sizes = sorted({len(group) for group in made})
            raise EvidenceError(
                f"the sampler gave {len(made)} groups of {sizes} outputs for {len(rows)} prompts:"
                f" {samples} of each are asked for."
            )
        found = as_rollouts(rows, made, pad=self.pad, progress=progress)
        return found if self.segments is None else replace(found, segments=self.segments(found))

    def compared(self, rollouts: Rollouts, distance: Tensor | None = None) -> ComparedGroups:
        """Rewards and advantages of sampled groups.

        ``distance``: (outputs,), log-ratio to the reference, of which ``reward_kl`` is taken from
        the rewards that are compared; what is told are the rewards as they were given.

        Raises
        ------
        EvidenceError
            When no output can be rewarded.
        OptionError
            For rewards or advantages of another shape.
        """
        said = rewarded(rollouts, self.reward)
        if said.values.isnan().all():
            failed = f" ({self.reward.error})" if self.reward.error else ""
            raise EvidenceError(f"no output could be rewarded{failed}. Look at the reward.")
        values = said.values
        if distance is not None:
            said = Rewards(values, {**said.parts, "log_ratio": distance})
            values = values - self._held(distance, values)
        if isinstance(self.objective, ListObjective) and values.ndim == 1:
            values = labels_of(values, self.args, self.objective)
        gains = self._gains(values, rollouts)
        gains = token_gains(gains, rollouts.where, rollouts.segments)
        counting = self.objective.counting(gains, rollouts.where, rollouts.segments)
        groups = counting.reshape(-1, self.args.samples * counting.shape[1])
        return ComparedGroups(rollouts, said, gains, tuple(groups.any(dim=-1).tolist()))

    def _held(self, distance: Tensor, values: Tensor) -> Tensor:
        """What an output loses by how far it is from the reference."""
        if values.ndim > 1:
            raise OptionError("reward_kl is of whole outputs, and rewards are of segments.")
        return self.args.reward_kl * distance.to(values)

    def _gains(self, values: Tensor, rollouts: Rollouts) -> Tensor:
        """Advantages of the shape of the rewards; NaN where they say nothing."""
        whom: Any = rollouts.groups
        if getattr(self.advantage, "of_rollouts", False):
            whom = rollouts
        gains = self.advantage(values, whom).float().clone()
        if gains.shape != values.shape:
            raise OptionError(
                f"the advantage gave {tuple(gains.shape)} for rewards {tuple(values.shape)}:"
                " give one of each."
            )
        if not self.args.keep_agreeing and self.args.of_lists is None:
            gains = without_ties(gains, rollouts.groups)
        if self.args.mask_cut and rollouts.ended is not None:
            gains[~rollouts.ended] = torch.nan
        return gains


def one_reward(rewards: Any, args: GroupConfig) -> GuardedReward:
    """One reward of what was given: a function, several, or several by name.

    Raises
    ------
    OptionError
        For none, or weights that do not fit.
    """
    if rewards is None:
        raise OptionError("no reward: give one or several.")
    if callable(rewards):
        if args.reward_weights is not None:
            raise OptionError("reward_weights are of several rewards, and one was given.")
        found = as_reward(rewards)
    else:
        found = weighted(rewards, args.reward_weights)
    return GuardedReward(found, args.reward_seconds, args.failures)
