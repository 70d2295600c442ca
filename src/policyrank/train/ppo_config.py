"""Options of learning with a critic."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from policyrank.errors import OptionError
from policyrank.learn import ListObjective, ValueObjective
from policyrank.learn.filters import RankFilter, named_filter
from policyrank.train.group_config import GroupConfig

NOT_HERE = ("advantage", "advantage_options", "keep_agreeing", "labels", "reward_kl")
"""Options of groups that a critic takes the place of."""
FASTER = 3.3
"""How much faster a critic learns than the policy, where it is not told."""


@dataclass
class PPOConfig(GroupConfig):
    """Options of ``PPOTrainer``, beside those of ``GroupConfig``; a batch is so many prompts.

    Defaults are the recipe that arXiv 2307.04964 found to keep training alive: KL token by token,
    rewards normalised by running moments and clipped, clipped values, a critic that learns first,
    GAE, the clipped surrogate over all tokens, clipped gradients. All else is an option.

    Attributes
    ----------
    samples
        outputs of each prompt
    objective
        of the policy: see ``GroupConfig``; no loss of preferences
    kl
        weight of log pi - log pi_reference of each token, taken from its reward
    discount, decay
        of generalised advantage estimation (gamma, lambda)
    reward_centre, reward_scale, reward_clip
        rewards less the running mean, over the running deviation, clipped; before KL is taken off
    cut_reward
        what an output earns that was cut, before it is normalised; None: what the reward says
    whiten
        advantages of a round less their mean, over their deviation, of all processes
    advantage_clip
        how far from 0 an advantage may be; None: any
    value_clip, value_weight
        how far a value counts from what it was when sampled (None: any); weight of the critic's
        loss
    critic_learning_rate
        None: 3.3 times the policy's
    critic_rounds
        rounds at first in which only the critic learns
    pretraining_weight, pretraining_rows
        of the negative log-likelihood of pretraining text, and texts of each batch
    filter, filter_options, kept
        which outputs of a prompt are learned from: a name in ``learn.RANK_FILTERS`` or a function;
        ``kept`` of them are drawn by its weights, with replacement (None: as many as were sampled);
        after advantages are known, by rewards that are normalised and not clipped
    """

    samples: int = 1
    objective: Any = "ppo"
    kl: float = 0.05
    discount: float = 1.0
    decay: float = 0.95
    reward_centre: bool = True
    reward_scale: bool = True
    reward_clip: float | None = 0.8
    cut_reward: float | None = None
    whiten: bool = False
    advantage_clip: float | None = None
    value_clip: float | None = 0.2
    value_weight: float = 1.0
    critic_learning_rate: float | None = None
    critic_rounds: int = 5
    pretraining_weight: float = 0.0
    pretraining_rows: int = 4
    filter: str | RankFilter = "all"
    filter_options: dict[str, Any] = field(default_factory=dict)
    kept: int | None = None

    def check(self) -> None:
        """Refuse numbers that mean nothing.

        Raises
        ------
        OptionError
            Naming the option.
        """
        least = self.samples
        self.samples = max(least, 2)  # one output is compared with the critic, not with its group
        try:
            super().check()
        finally:
            self.samples = least
        for name in NOT_HERE:
            own = type(self).__dataclass_fields__[name]
            usual = own.default_factory() if callable(own.default_factory) else own.default
            if getattr(self, name) != usual:
                raise OptionError(f"{name} is of groups: a critic takes its place. Leave it out.")
        self._check_numbers()
        named_filter(self.filter, **self.filter_options)
        if self.filter != "all" and self.samples < 2:
            raise OptionError(
                f"filter={self.filter!r} ranks the outputs of a prompt: sample several."
            )
        if self.fp16:
            raise OptionError("fp16: a critic's gradients are not scaled; take bf16.")
        if isinstance(self.group_objective(), ListObjective):
            raise OptionError(
                f"objective={self.objective!r} is of ranked groups: use GroupTrainer."
            )

    def _check_numbers(self) -> None:
        for name in ("samples", "pretraining_rows"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name}={getattr(self, name)}: at least 1.")
        for name in ("kl", "value_weight", "critic_rounds", "pretraining_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise OptionError(f"{name}={getattr(self, name)}: a finite number from 0.")
        for name in ("discount", "decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(f"{name}={getattr(self, name)}: in [0, 1].")
        for name in ("reward_clip", "value_clip", "advantage_clip", "critic_learning_rate", "kept"):
            own = getattr(self, name)
            if own is not None and not own > 0:
                raise OptionError(f"{name}={own}: above 0, or None.")

    def value_objective(self) -> ValueObjective:
        """The critic's loss, averaged as the policy's."""
        policy: Any = self.group_objective()
        return ValueObjective(self.value_clip, policy.average, policy.length)

    @property
    def critic_rate(self) -> float:
        """The critic's learning rate."""
        return self.critic_learning_rate or FASTER * self.learning_rate
