"""What a group goes through before it is learned from: sampled, rewarded, compared."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

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
from policyrank.models.group_sampling import GroupSampler, ModelSampler
from policyrank.train.group_config import GroupConfig, labels_of
from policyrank.train.group_data import PromptRow
from policyrank.train.guarding import GuardedReward
from policyrank.train.rounds import as_rollouts
from policyrank.train.turn_sampling import TurnSampler

logger = logging.getLogger(__name__)

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

    def of_groups(self, which: Tensor) -> ComparedGroups:
        """Some of the groups; ``which``: (groups,) booleans."""
        rollouts = self.rollouts
        key = rollouts.groups.unique(return_inverse=True)[1]
        at = which[key].nonzero().squeeze(-1)
        parts = {name: own[at] for name, own in self.said.parts.items()}
        return ComparedGroups(
            rollouts.take(at),
            Rewards(self.said.values[at], parts),
            self.gains[at],
            tuple(told for told, own in zip(self.telling, which.tolist(), strict=True) if own),
        )


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
        said = self.rewarded(rollouts)
        values = said.values
        if distance is not None:
            said = Rewards(values, {**said.parts, "log_ratio": distance})
            values = values - self._held(distance, values)
        if isinstance(self.objective, ListObjective) and values.ndim == 1:
            values = labels_of(values, self.args, self.objective)
        gains = self.gains(values, rollouts)
        gains = token_gains(gains, rollouts.where, rollouts.segments)
        return ComparedGroups(rollouts, said, gains, self.telling(gains, rollouts))

    def rewarded(self, rollouts: Rollouts) -> Rewards:
        """What the reward says of all groups.

        Raises
        ------
        EvidenceError
            When no output can be rewarded.
        """
        said = rewarded(rollouts, self.reward)
        if said.values.isnan().all():
            failed = f" ({self.reward.error})" if self.reward.error else ""
            raise EvidenceError(f"no output could be rewarded{failed}. Look at the reward.")
        return said

    def telling(self, gains: Tensor, rollouts: Rollouts) -> tuple[bool, ...]:
        """Of each group, whether any token of its outputs counts."""
        counting = self.objective.counting(gains, rollouts.where, rollouts.segments).any(dim=-1)
        groups, key = rollouts.groups.unique(return_inverse=True)
        told = torch.zeros(len(groups)).index_add(0, key, counting.float())
        return tuple((told > 0).tolist())

    def _held(self, distance: Tensor, values: Tensor) -> Tensor:
        """What an output loses by how far it is from the reference."""
        if values.ndim > 1:
            raise OptionError("reward_kl is of whole outputs, and rewards are of segments.")
        return self.args.reward_kl * distance.to(values)

    def gains(
        self, values: Tensor, rollouts: Rollouts, advantage: GroupAdvantage | None = None
    ) -> Tensor:
        """Advantages of the shape of the rewards; NaN where they say nothing.

        ``advantage``: in place of the usual one.

        Raises
        ------
        OptionError
            For advantages of another shape.
        """
        advantage = advantage or self.advantage
        whom: Any = rollouts.groups
        if getattr(advantage, "of_rollouts", False):
            whom = rollouts
        gains = advantage(values, whom).float().clone()
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


class Companion(Protocol):
    """What learns beside a trainer, from the same rollouts."""

    def facts(self) -> dict[str, Any]:
        """What a run with it depends on."""

    def compared(self, found: ComparedGroups, step: int, /) -> dict[str, float]:
        """Learn from a round; numbers for the log."""

    def save(self, folder: Path, /) -> None:
        """Write into a checkpoint what it goes on from."""

    def load(self, folder: Path, /) -> None:
        """Go on from a checkpoint."""


def sampler_of(
    given: GroupSampler | None, model: Any, tokenizer: Any, args: GroupConfig
) -> GroupSampler:
    """Who samples: the model itself where nobody else was named, for turns of its own too.

    Raises
    ------
    OptionError
        For trajectories that may be longer than outputs.
    """
    how = args.decoding()
    if isinstance(given, TurnSampler):
        if given.limits.tokens > args.tokens:
            raise OptionError(
                f"tokens={args.tokens}: trajectories have up to {given.limits.tokens}."
            )
        how = given.decoding(how)
        if given.sampler is not None:
            return given
    elif given is not None:
        return given
    own = ModelSampler(model, tokenizer, how, args.chat, args.sampled_rows, report=logger.warning)
    return own if given is None else replace(given, sampler=own)


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
