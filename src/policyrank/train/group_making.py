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
    PolicyObjective,
    Rewards,
    Rollouts,
    as_reward,
    rewarded,
    token_gains,
    without_ties,
)
from policyrank.learn.rewards import weighted
from policyrank.models.group_sampling import GroupSampler
from policyrank.train.group_config import GroupConfig
from policyrank.train.group_data import PromptRow
from policyrank.train.guarding import GuardedReward
from policyrank.train.rounds import as_rollouts

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
    objective: PolicyObjective
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
        made = self.sampler([row.ids for row in rows], samples, seed=seed)
        if [len(group) for group in made] != [samples] * len(rows):
            sizes = sorted({len(group) for group in made})
            raise EvidenceError(
                f"the sampler gave {len(made)} groups of {sizes} outputs for {len(rows)} prompts:"
                f" {samples} of each are asked for."
            )
        found = as_rollouts(rows, made, pad=self.pad, progress=progress)
        return found if self.segments is None else replace(found, segments=self.segments(found))

    def compared(self, rollouts: Rollouts) -> ComparedGroups:
        """Rewards and advantages of sampled groups.

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
        gains = token_gains(self._gains(said, rollouts), rollouts.where, rollouts.segments)
        counting = self.objective.counting(gains, rollouts.where, rollouts.segments)
        groups = counting.reshape(-1, self.args.samples * counting.shape[1])
        return ComparedGroups(rollouts, said, gains, tuple(groups.any(dim=-1).tolist()))

    def _gains(self, said: Rewards, rollouts: Rollouts) -> Tensor:
        """Advantages of the shape of the rewards; NaN where they say nothing."""
        gains = self.advantage(said.values, rollouts.groups).float().clone()
        if gains.shape != said.values.shape:
            raise OptionError(
                f"the advantage gave {tuple(gains.shape)} for rewards {tuple(said.values.shape)}:"
                " give one of each."
            )
        if not self.args.keep_agreeing:
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
