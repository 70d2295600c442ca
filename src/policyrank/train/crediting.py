"""What each token of an output is credited with, where a critic says what was expected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from policyrank.learn import (
    Rewards,
    Rollouts,
    RunningMoments,
    gae,
    kl_shaped_rewards,
    normalised_rewards,
    whitened,
)
from policyrank.learn.filters import RankFilter, named_filter, rank_weights
from policyrank.train.group_report import of_outputs
from policyrank.train.ppo_config import PPOConfig


@dataclass
class Crediting:
    """Rewards of outputs, made into advantages and returns of their tokens.

    Attributes
    ----------
    args
        of ``PPOTrainer``
    gathered
        moments of one process -> those of all
    rule
        the filter of outputs
    moments
        of all rewards that were seen
    """

    args: PPOConfig
    gathered: Callable[[RunningMoments], RunningMoments]
    rule: RankFilter = field(init=False)
    moments: RunningMoments = field(default_factory=RunningMoments)

    def __post_init__(self) -> None:
        self.rule = named_filter(self.args.filter, **self.args.filter_options)

    def scores(self, said: Rewards, rollouts: Rollouts) -> Tensor:
        """Rewards normalised by all that were seen, these among them; not clipped."""
        args, values = self.args, said.values
        if args.cut_reward is not None and rollouts.ended is not None:
            values = values.clone()
            values[~rollouts.ended] = args.cut_reward
        self.moments.merge(self.gathered(RunningMoments.of(values)))
        how = {"centre": args.reward_centre, "scale": args.reward_scale}
        return normalised_rewards(values, self.moments, **how)

    def of_tokens(
        self, scores: Tensor, known: Mapping[str, Tensor], rollouts: Rollouts
    ) -> tuple[Tensor, Tensor]:
        """Advantages and returns: (outputs, tokens), NaN where nothing is said.

        ``known``: log-probabilities ``old`` and ``kept_to``, and ``values``.
        """
        args, where, clip = self.args, rollouts.where.bool(), self.args.reward_clip
        rewards = kl_shaped_rewards(
            scores if clip is None else scores.clamp(-clip, clip),
            known["old"],
            known.get("kept_to", known["old"]),
            where,
            beta=args.kl if "kept_to" in known else 0.0,
            segments=rollouts.segments if scores.ndim == 2 else None,
        )
        found = gae(rewards, known["values"], where, discount=args.discount, decay=args.decay)
        unsaid = scores.reshape(len(scores), -1).isnan().all(dim=-1)
        if args.mask_cut and rollouts.ended is not None:
            unsaid = unsaid | ~rollouts.ended
        unsaid = unsaid[:, None] | ~where
        gains, returns = (own.masked_fill(unsaid, torch.nan) for own in found)
        if args.whiten:
            there = ~gains.isnan()
            moments = self.gathered(RunningMoments.of(gains, there))
            gains = whitened(gains, there, moments=moments).masked_fill(~there, torch.nan)
        if args.advantage_clip is not None:
            gains = gains.clamp(-args.advantage_clip, args.advantage_clip)
        return gains, returns

    def drawn(
        self, scores: Tensor, rollouts: Rollouts, prompts: int, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Outputs that are learned from, by what their rank weighs; and which say nothing.

        ``args.kept`` of each prompt, with replacement: (outputs that are kept,), each. Of a prompt
        of whose outputs none weighs anything, any stand there, and say nothing.
        """
        values = torch.from_numpy(of_outputs(scores))
        weights = rank_weights(values, rollouts.groups, self.rule, over="group")
        weights = weights.reshape(prompts, -1).double()
        dead = weights.sum(dim=-1) == 0
        rng = torch.Generator().manual_seed(seed)
        kept = self.args.kept or self.args.samples
        weights = weights.masked_fill(dead[:, None], 1.0)
        drawn = torch.multinomial(weights, kept, replacement=True, generator=rng)
        first = torch.arange(prompts)[:, None] * weights.shape[1]
        return (drawn + first).reshape(-1), dead.repeat_interleave(kept)
