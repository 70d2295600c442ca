"""What the studies of alignment share: policies of short sequences, ranked lists, training on them,
win rates. A part of other studies, not one itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from policyrank.learn import PreferenceLoss, preference_loss
from policyrank.worlds.sequences import SequencePolicy, SequenceWorld

Weights = Callable[[SequencePolicy, Tensor, Tensor, Tensor], Tensor]
"""(policy, prompts, answers, labels) -> weights of tokens, (prompts, list, answer)."""


@dataclass(frozen=True)
class RankedSequences:
    """Prompts (n, P), answers (n, list, T), labels (n, list)."""

    prompts: Tensor
    answers: Tensor
    labels: Tensor


def imitate(
    world: SequenceWorld,
    policy: SequencePolicy,
    best_of: int,
    seed: int,
    steps: int = 600,
    batch: int = 128,
) -> SequencePolicy:
    """Supervised training on the best of so many random answers (1: any), fresh ones at each step."""
    optimiser = torch.optim.Adam(policy.parameters(), lr=3e-3)
    for step in range(steps):
        x = world.prompts(batch, seed=seed * 100_003 + step)
        y = world.random_answers(x, best_of, seed=seed * 100_003 + step + 50_000)
        best = world.reward(x, y).argmax(dim=1)
        loss = -policy(x, y[torch.arange(batch), best][:, None]).sum(dim=-1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return policy


def align(
    policy: SequencePolicy,
    data: RankedSequences,
    loss: str | PreferenceLoss,
    *,
    epochs: int,
    lr: float = 1e-3,
    batch: int = 32,
    seed: int = 0,
    imitation: float = 0.0,
    reference: SequencePolicy | None = None,
    weights: Weights | None = None,
    watch: Callable[[int, SequencePolicy], None] | None = None,
    **options: Any,
) -> SequencePolicy:
    """A copy of the policy, trained on ranked lists; the reference is the policy as it was.
    ``imitation`` adds the best answer's negative log-likelihood per token.
    """
    objective = preference_loss(loss) if isinstance(loss, str) else loss
    before = policy if reference is None else reference
    trained = copy.deepcopy(policy)
    with torch.no_grad():
        known = before(data.prompts, data.answers)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(trained.parameters(), lr=lr)
    lengths = torch.full(data.labels.shape, data.answers.shape[-1])
    for epoch in range(epochs):
        for group in torch.randperm(len(data.prompts), generator=generator).split(batch):
            x, y, labels = data.prompts[group], data.answers[group], data.labels[group]
            own, ref = trained(x, y), known[group]
            if weights is not None:
                w = weights(trained, x, y, labels)
                value = objective(
                    (own * w).sum(-1),
                    labels,
                    reference=(ref * w).sum(-1),
                    lengths=lengths[group],
                    **options,
                )
            else:
                value = objective(
                    own.sum(-1), labels, reference=ref.sum(-1), lengths=lengths[group], **options
                )
            if imitation:
                best = labels.argmax(dim=1)
                value = value - imitation * own[torch.arange(len(group)), best].mean(dim=-1).mean()
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
        if watch is not None:
            watch(epoch, trained)
    return trained


@dataclass(frozen=True)
class Arena:
    """Held-out prompts on which policies are compared with the one before alignment."""

    world: SequenceWorld
    base: SequencePolicy
    prompts: Tensor
    rewards: Tensor

    @classmethod
    def of(
        cls,
        world: SequenceWorld,
        base: SequencePolicy,
        seed: int,
        prompts: int = 400,
        samples: int = 8,
    ) -> Arena:
        """Samples of the base policy on fresh prompts."""
        x = world.prompts(prompts, seed=seed * 7919 + 11)
        return cls(world, base, x, world.reward(x, base.sample(x, samples, seed=seed * 7919 + 12)))

    def __call__(self, policy: SequencePolicy, seed: int = 0) -> dict[str, float]:
        """P(true reward of a sample > that of one of the base policy), and the KL from it."""
        y = policy.sample(self.prompts, self.rewards.shape[1], seed=seed * 7919 + 13)
        mine = self.world.reward(self.prompts, y)
        gap = mine[:, :, None] - self.rewards[:, None, :]
        return {
            "win rate": float((gap > 0).double().mean() + 0.5 * (gap == 0).double().mean()),
            "KL": policy.kl(self.base, self.prompts, y),
        }
