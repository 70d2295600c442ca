"""What the studies of alignment share, which is none itself.

Policies of short sequences, ranked lists, training on them, win rates.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from policyrank.learn import PreferenceLoss, check_labels, label_domain, preference_loss
from policyrank.learn.label_domains import largest_label
from policyrank.learn.losses.preference import best_nll
from policyrank.studies.fairness import Curve, Health, Tuned, tune
from policyrank.worlds.sequences import SequencePolicy, SequenceWorld

Weights = Callable[[SequencePolicy, Tensor, Tensor, Tensor], Tensor]
"""(policy, prompts, answers, labels) -> weights of tokens, (prompts, list, answer)."""
TUNING = 900
"""The first of a master seed's worlds that are for tuning."""
RATES: tuple[dict[str, Any], ...] = tuple({"lr": rate} for rate in (3e-4, 1e-3, 3e-3, 1e-2))
"""Learning rates that every objective may choose from."""
Somewhere = TypeVar("Somewhere", bound="Place")
FARTHEST = 10.0
"""Nats: all random answers of six of twelve tokens have 15, and a policy that went so far from
nearly random ones writes hardly more than one answer."""


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
    """Supervised training on the best of so many random answers (1: any), fresh at each step."""
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


def best_only(log_probs: Tensor, labels: Tensor, **_: Any) -> Tensor:
    """Imitation of the best answer of each list."""
    return best_nll(log_probs, labels, torch.ones_like(labels, dtype=torch.bool)).mean()


def ends(data: RankedSequences) -> RankedSequences:
    """Best and worst of each list."""
    which = torch.stack([data.labels.argmax(dim=1), data.labels.argmin(dim=1)], dim=1)
    at = torch.arange(len(which))[:, None]
    return RankedSequences(data.prompts, data.answers[at, which], data.labels[at, which])


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
    watch: Callable[[int, SequencePolicy], object] | None = None,
    losses: list[float] | None = None,
    **options: Any,
) -> SequencePolicy:
    """A copy of the policy, trained on ranked lists; the reference is the policy as it was.

    ``imitation`` adds the best answer's negative log-likelihood per token. Training ends where
    ``watch``, asked after each epoch, says True. ``losses`` is given the loss before and after.
    """
    if isinstance(loss, str):
        check_labels(data.labels, label_domain(loss), most=largest_label(loss), name=loss)
    objective = preference_loss(loss) if isinstance(loss, str) else loss
    if reference is None:
        reference = policy
    with torch.no_grad():
        known = reference(data.prompts, data.answers)
    trained = copy.deepcopy(policy)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(trained.parameters(), lr=lr)
    lengths = torch.full(data.labels.shape, data.answers.shape[-1])

    def value(group: Tensor) -> Tensor:
        x, y, labels = data.prompts[group], data.answers[group], data.labels[group]
        by_token = trained(x, y)
        own, ref = by_token, known[group]
        if weights is not None:
            weight = weights(trained, x, y, labels)
            own, ref = own * weight, ref * weight
        found = objective(
            own.sum(-1), labels, reference=ref.sum(-1), lengths=lengths[group], **options
        )
        if imitation:
            best = by_token[torch.arange(len(group)), labels.argmax(dim=1)]
            found = found - imitation * best.mean(dim=-1).mean()
        return found

    def note() -> None:
        if losses is not None:
            with torch.no_grad():
                losses.append(float(value(torch.arange(len(data.prompts)))))

    note()
    for epoch in range(epochs):
        for group in torch.randperm(len(data.prompts), generator=generator).split(batch):
            loss_now = value(group)
            optimiser.zero_grad()
            loss_now.backward()
            optimiser.step()
        if watch is not None and watch(epoch, trained):
            break
    note()
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
        won, tied = (gap > 0).double().mean(), (gap == 0).double().mean()
        return {
            "win rate": float(won + 0.5 * tied),
            "KL": policy.kl(self.base, self.prompts, y),
        }

    def won(self, policy: SequencePolicy, seed: int) -> float | None:
        """The win rate; None of a policy that went too far to be well."""
        found = self(policy, seed)
        return found["win rate"] if found["KL"] <= FARTHEST else None


@dataclass(eq=False)
class Watch:
    """Win rates and KL along training, which ends where the KL passes ``most``."""

    arena: Arena
    most: float
    seed: int
    kl: list[float] = field(default_factory=lambda: [0.0])
    win: list[float] = field(default_factory=lambda: [0.5])

    def __call__(self, _: int, policy: SequencePolicy) -> bool:
        found = self.arena(policy, self.seed)
        self.kl.append(found["KL"])
        self.win.append(found["win rate"])
        return self.kl[-1] > self.most

    @property
    def curve(self) -> Curve:
        """Win rates by KL."""
        return Curve(np.array(self.kl), np.array(self.win))


@dataclass(frozen=True)
class Place:
    """A world of a study, and the policy of which all start there.

    ``number`` tells it from the worlds of other master seeds, and every draw in it is made from
    that. Worlds from ``TUNING`` on are for tuning, and none is judged there.
    """

    number: int
    world: SequenceWorld
    base: SequencePolicy
    arena: Arena

    @classmethod
    def of(cls, seed: int, replicate: int, steps: int, prompts: int = 400) -> Place:
        """The base imitates the better of two random answers; so many prompts to judge on."""
        number = 1000 * seed + replicate
        world = SequenceWorld(number)
        base = imitate(world, SequencePolicy(world, seed=number), 2, seed=number, steps=steps)
        return cls(number, world, base, Arena.of(world, base, number, prompts))


def tuned_by_wins(
    methods: Iterable[str],
    places: Sequence[Somewhere],
    reached: Callable[[Somewhere, str, Mapping[str, Any]], float | None],
    *,
    rates: Sequence[Mapping[str, Any]] = RATES,
    metric: str = "win rate",
) -> dict[str, Tuned]:
    """The settings of each method that reach most in the places for tuning.

    ``reached``: (place, method, settings) -> its win rate there, None where there is none.
    """

    def measure(method: str, settings: Mapping[str, Any], number: int) -> float:
        found = reached(places[number], method, settings)
        return float("nan") if found is None else found

    return tune(dict.fromkeys(methods, rates), measure, range(len(places)), metric=metric)


def signs(method: str, kl: float, losses: Sequence[float] = ()) -> Iterator[Health]:
    """Whether a trained policy is well: how far it went, and whether what it minimises fell."""
    yield Health(method, "KL from the start", kl, 0.0, FARTHEST)
    if losses:
        yield Health(method, "fall of the loss in training", losses[0] - losses[-1], 0.0)


def win_by_kl(
    arena: Arena,
    data: RankedSequences,
    loss: str | PreferenceLoss,
    *,
    most: float,
    seed: int,
    **options: Any,
) -> Curve:
    """Win rates by KL: train the arena's base until that passes ``most``, or epochs are over."""
    watch = Watch(arena, most, seed)
    align(arena.base, data, loss, seed=seed, watch=watch, **options)
    return watch.curve
