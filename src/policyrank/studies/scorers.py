"""A scorer that says a number: trained by group-relative policy gradient on rewards of numbers.

What stands in for a model that reads a picture or video and writes its quality.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from policyrank.evidence.quality_datasets import ScoredItems
from policyrank.learn import PolicyObjective, group_advantage
from policyrank.metrics import pearson, spearman

Float = NDArray[np.float64]
ScoreReward = Callable[[Tensor, Tensor], Tensor]
"""Scores (items, answers) and true scores (items,) -> rewards (items, answers)."""


@dataclass(frozen=True)
class Training:
    """How a scorer is trained.

    Attributes
    ----------
    lowest, highest
        ends of the scale
    sigma
        at the start, of the scores that are sampled, in units of the scale
    updates, items, answers
        updates; items of each, and answers to each
    """

    lowest: float = 0.0
    highest: float = 1.0
    sigma: float = 0.1
    updates: int = 800
    items: int = 32
    answers: int = 8


class Scorer(nn.Module):
    """The mean of a normal distribution of scores, and its deviation, which all items share."""

    def __init__(self, features: int, training: Training, start: float) -> None:
        super().__init__()
        self.mean = nn.Sequential(nn.Linear(features, 64), nn.Tanh(), nn.Linear(64, 1))
        last = self.mean[2]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.weight *= 0.1
            last.bias.fill_(start)
        span = training.highest - training.lowest
        self.log_sigma = nn.Parameter(torch.tensor(np.log(training.sigma * span)).float())
        self.least, self.most = 0.01 * span, 0.25 * span
        self.lowest, self.highest = training.lowest, training.highest

    def forward(self, features: Tensor) -> torch.distributions.Normal:
        """Of each item's score: (items, 1)."""
        sigma = self.log_sigma.exp().clamp(self.least, self.most)
        return torch.distributions.Normal(self.mean(features), sigma)


class Watch(Protocol):
    """A reward that must know who answers, and which items."""

    scorer: Scorer | None
    chosen: Tensor


def train_scorer(
    items: ScoredItems,
    reward: ScoreReward,
    training: Training,
    *,
    rate: float,
    seed: int,
    watch: Watch | None = None,
) -> Scorer:
    """GRPO on the score that was sampled, two decimals of it, cut to the scale."""
    torch.manual_seed(seed)
    features = torch.from_numpy(items.features).float()
    true = torch.from_numpy(items.score).float()
    scorer = Scorer(features.shape[1], training, float(true.mean()))
    optimizer = torch.optim.Adam(scorer.parameters(), lr=rate)
    objective = PolicyObjective()
    groups = torch.arange(training.items).repeat_interleave(training.answers)
    for _ in range(training.updates):
        chosen = torch.randint(len(true), (training.items,))
        if watch is not None:
            watch.scorer, watch.chosen = scorer, chosen
        said = scorer(features[chosen])
        with torch.no_grad():
            drawn = said.sample((training.answers,)).squeeze(-1).T
            heard = (drawn * 100).round() / 100
            heard = heard.clamp(training.lowest, training.highest)
        gain = group_advantage(reward(heard, true[chosen]).reshape(-1), groups, scale="sample")
        log_probs = said.log_prob(drawn)
        loss = objective(log_probs.reshape(-1, 1), gain, torch.ones(len(groups), 1)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return scorer


def predicted(scorer: Scorer, features: Float) -> Float:
    """The mean score of each item, cut to the scale: (items,)."""
    with torch.no_grad():
        said = scorer(torch.from_numpy(features).float()).mean
    return said.squeeze(-1).double().clamp(scorer.lowest, scorer.highest).numpy()


def judged(said: Float, true: Float) -> Mapping[str, float]:
    """Rank correlation, correlation, and error."""
    return {
        "SRCC": spearman(said, true),
        "PLCC": pearson(said, true),
        "RMSE": float(np.sqrt(np.mean((said - true) ** 2))),
    }


def part(items: ScoredItems, which: NDArray[np.int64] | NDArray[np.bool_]) -> ScoredItems:
    """These items alone."""
    return ScoredItems(items.features[which], items.score[which], items.group[which])


def split_by_group(
    items: ScoredItems, rng: np.random.Generator, test: float
) -> tuple[ScoredItems, ScoredItems]:
    """To learn from, and a share of the groups to judge by; none is torn apart."""
    names = rng.permutation(np.unique(items.group))
    held = np.isin(items.group, names[: round(test * len(names))])
    return part(items, ~held), part(items, held)


def standardised(train: ScoredItems, *others: ScoredItems, most: float = 5.0) -> list[ScoredItems]:
    """Features by the first's mean and deviation, cut at ``most`` of these."""
    mean, deviation = train.features.mean(axis=0), train.features.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    found = []
    for own in (train, *others):
        features = np.clip((own.features - mean) / scale, -most, most)
        found.append(ScoredItems(features, own.score, own.group))
    return found
