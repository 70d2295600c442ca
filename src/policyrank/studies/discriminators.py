"""Reward models that read a reference: those of policies over short sequences, and of answers.

A part of the study of POLAR, not one itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from policyrank.evidence import datasets
from policyrank.learn.rewards import bradley_terry_reward
from policyrank.worlds.sequences import SequenceWorld

Triples = tuple[Tensor, Tensor, Tensor]
"""Prompts (n, P), references (n, T), candidates (n, list, T), the first to be ranked first."""


class Policies:
    """Policies over a world's sequences.

    The logits of token t are z . A[:, x_(t mod P)] + z . B[:, previous token].
    """

    def __init__(self, world: SequenceWorld, seed: int, latent: int = 6) -> None:
        self.world, self.latent = world, latent
        self.rng = torch.Generator().manual_seed(seed)
        self.place = torch.randn(latent, world.tokens, world.tokens, generator=self.rng)
        self.follow = torch.randn(latent, world.tokens + 1, world.tokens, generator=self.rng)

    def points(self, n: int) -> Tensor:
        """(n, latent), standard deviation 1 / sqrt(latent)"""
        return torch.randn(n, self.latent, generator=self.rng) / self.latent**0.5

    def log_probs(self, z: Tensor, x: Tensor, before: Tensor, t: int) -> Tensor:
        """Of the next token, (n, tokens)."""
        features = self.place[:, x[:, t % self.world.prompt]] + self.follow[:, before]
        return torch.log_softmax(torch.einsum("nd,dnk->nk", z, features), dim=-1)

    def write(self, z: Tensor, x: Tensor) -> Tensor:
        """One answer of each policy to its prompt, (n, answer)."""
        before = torch.full((len(x),), self.world.tokens)
        tokens = []
        for t in range(self.world.answer):
            chance = self.log_probs(z, x, before, t).exp()
            before = torch.multinomial(chance, 1, generator=self.rng)[:, 0]
            tokens.append(before)
        return torch.stack(tokens, dim=1)

    def prompts(self, n: int) -> Tensor:
        """(n, prompt)"""
        return torch.randint(self.world.tokens, (n, self.world.prompt), generator=self.rng)

    def triples(self, n: int, pool: Tensor | None = None) -> Triples:
        """Prompts, references, and two candidates, the first of the reference's policy.

        The policies are of the pool, or new ones.
        """
        x = self.prompts(n)
        if pool is None:
            a, b = self.points(n), self.points(n)
        else:
            i = torch.randint(len(pool), (n,), generator=self.rng)
            j = (i + torch.randint(1, len(pool), (n,), generator=self.rng)) % len(pool)
            a, b = pool[i], pool[j]
        return self._written(x, a, a, b)

    def _written(self, x: Tensor, *points: Tensor) -> Triples:
        """Answers of a reference's policy and of those of two candidates, all at once."""
        reference, first, second = self.write(torch.cat(points), x.repeat(3, 1)).chunk(3)
        return x, reference, torch.stack([first, second], dim=1)

    def graded(self, n: int) -> Triples:
        """As triples, the first candidate of a policy near the reference's, the second far off."""
        x, z = self.prompts(n), self.points(n)
        near, far = z + 0.3 * self.points(n), z + self.points(n)
        return self._written(x, z, near, far)


class Discriminator(nn.Module):
    """Rewards of candidates (n, list, answer) beside references (n, answer): (n, list)."""

    def __init__(self, world: SequenceWorld, width: int = 64) -> None:
        super().__init__()
        self.world = world
        self.own = nn.Embedding(world.tokens**2 * world.prompt, width)
        self.pair = nn.Embedding(world.tokens**2, width)
        self.head = nn.Sequential(nn.Linear(3 * width, width), nn.ReLU(), nn.Linear(width, 1))

    def read(self, x: Tensor, y: Tensor) -> Tensor:
        """Features of answers (n, list, answer): (n, list, width)."""
        t, k = torch.arange(y.shape[-1]) % self.world.prompt, self.world.tokens
        own = self.own((t * k + x[:, None, t]) * k + y).mean(dim=-2)
        return own + self.pair(y[..., :-1] * k + y[..., 1:]).mean(dim=-2)

    def forward(self, x: Tensor, reference: Tensor, candidates: Tensor) -> Tensor:
        ref = self.read(x, reference[:, None]).expand(-1, candidates.shape[1], -1)
        own = self.read(x, candidates)
        return self.head(torch.cat([ref, own, ref * own], dim=-1)).squeeze(-1)


def learn_together(
    models: Mapping[str, tuple[nn.Module, float]],
    batches: Callable[[], tuple[Tensor, ...]],
    steps: int,
) -> dict[str, float]:
    """Train models, each at its rate, on the same batches so that the first candidate wins.

    Returned is the loss of each over the last tenth of the steps.
    """
    optimisers = {
        name: torch.optim.Adam(model.parameters(), lr=lr) for name, (model, lr) in models.items()
    }
    last = dict.fromkeys(models, 0.0)
    late = max(steps // 10, 1)
    for step in range(steps):
        batch = batches()
        for name, (model, _) in models.items():
            loss = wins(model(*batch))
            optimisers[name].zero_grad()
            loss.backward()
            optimisers[name].step()
            if step >= steps - late:
                last[name] += float(loss.detach()) / late
    return last


def learn(
    model: Any, batches: Callable[[], tuple[Tensor, ...]], steps: int, lr: float = 1e-3
) -> Any:
    """Train so that the first candidate outranks the others."""
    learn_together({"": (model, lr)}, batches, steps)
    return model


def wins(rewards: Tensor) -> Tensor:
    """Bradley-Terry's loss where the first of each list is to win."""
    labels = torch.zeros_like(rewards)
    labels[:, 0] = 1
    return bradley_terry_reward(rewards, labels)


def likeness(x: Tensor, reference: Tensor, candidates: Tensor) -> Tensor:
    """Share of tokens that a candidate has in the same place as the reference."""
    return (candidates == reference[:, None]).float().mean(dim=-1)


@torch.no_grad()
def right(score: Callable[..., Tensor], triples: Triples) -> float:
    """Share of lists whose first candidate beats the second, ties half."""
    scores = score(*triples)
    return float((0.5 + 0.5 * torch.sign(scores[:, 0] - scores[:, 1])).mean())


class Head(nn.Module):
    """Rewards of embedded candidates (n, list, d) beside embedded references (n, d)."""

    def __init__(self, width: int, reference: bool = True) -> None:
        super().__init__()
        self.reference = reference
        read = 3 * width if reference else width
        self.net = nn.Sequential(nn.Linear(read, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, reference: Tensor, candidates: Tensor) -> Tensor:
        read = candidates
        if self.reference:
            ref = reference[:, None].expand_as(candidates)
            read = torch.cat([ref, candidates, ref * candidates], dim=-1)
        return self.net(read).squeeze(-1)


@dataclass(frozen=True)
class Answers:
    """Embedded answers of the same models to each prompt, their labels and lengths."""

    vectors: Tensor
    labels: Tensor
    length: Tensor

    @classmethod
    def read(cls) -> Answers:
        """AlpacaEval's lists of ten models in the same order."""
        from policyrank.models.encoders import encode_texts, load_encoder

        lists = [x for x, models in datasets.load("alpacaeval") if len(models) == 10]
        texts = [text for x in lists for text in x.completions]
        found = torch.from_numpy(encode_texts(load_encoder("minilm"), texts, cache="minilm"))
        length = torch.tensor([float(len(text)) for text in texts])
        shape = (len(lists), 10)
        labels = torch.tensor([x.labels for x in lists])
        return cls(found.unflatten(0, shape), labels, length.unflatten(0, shape))

    def draw(
        self, prompts: Tensor, generator: torch.Generator, n: int = 256
    ) -> tuple[Tensor, Tensor]:
        """References, and candidates to other prompts, the first of the same model."""
        i = prompts[torch.randint(len(prompts), (n,), generator=generator)]
        j = prompts[torch.randint(len(prompts), (n,), generator=generator)]
        a = torch.randint(10, (n,), generator=generator)
        b = (a + torch.randint(1, 10, (n,), generator=generator)) % 10
        candidates = torch.stack([self.vectors[j, a], self.vectors[j, b]], dim=1)
        return self.vectors[i, a], candidates


def ranked(
    model: Head,
    ref: Tensor,
    cand: Tensor,
    y: Tensor,
    train: Tensor,
    epochs: int = 20,
    lr: float = 1e-3,
) -> Head:
    """Bradley-Terry over all pairs of each list."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    for _ in range(epochs):
        for group in train[torch.randperm(len(train))].split(32):
            loss = bradley_terry_reward(model(ref[group], cand[group]), y[group])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model


def in_order(y: Tensor, s: Tensor) -> Tensor:
    """Of each list, the share of pairs with different labels in order, equal scores half."""
    better = (y[:, :, None] > y[:, None, :]).float()
    right = 0.5 + 0.5 * torch.sign(s[:, :, None] - s[:, None, :])
    return (right * better).sum(dim=(1, 2)) / better.sum(dim=(1, 2))
