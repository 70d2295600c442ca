"""Policies of any class made better by a critic: their own samples ranked, lifted, imitated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Generator, Tensor

from policyrank.errors import OptionError
from policyrank.learn import Critic, Imitator, Policy, Pooling, ascend, choose, pooled
from policyrank.train.control.policies import CloneConfig, imitate
from policyrank.train.control.transitions import Transitions

Take = Literal["best", "draw"]


@dataclass(frozen=True)
class Improvement:
    """How actions are improved.

    Parameters
    ----------
    samples
        of the policy, of each state
    kept
        of those, by the critic, that are lifted
    steps, rate
        of ascent along the critic's gradient: an action moves by at most steps x rate x the
        gradient's norm, so choose the rate by ``Improved.gradient``; 0 steps: not lifted
    pooling, caution
        what members say together (``learn.pooled``)
    temperature
        of what is drawn among those that are kept
    chunk
        states whose samples are looked at together

    Raises
    ------
    OptionError
        Naming what is out of its range.

    References
    ----------
    Mark et al. (2024), "Policy Agnostic RL", arXiv 2412.06685.
    """

    samples: int = 32
    kept: int = 10
    steps: int = 10
    rate: float = 3e-4
    pooling: Pooling = "mean"
    caution: float = 0.0
    temperature: float = 1.0
    chunk: int = 256

    def __post_init__(self) -> None:
        if not 1 <= self.kept <= self.samples:
            raise OptionError(f"kept={self.kept}: from 1 to the {self.samples} samples of a state.")
        if self.steps < 0 or self.chunk < 1 or not self.temperature > 0:
            raise OptionError(f"{self}: steps from 0, chunk from 1, temperature above 0.")


class Improved(NamedTuple):
    """Improved actions of each state.

    Attributes
    ----------
    actions
        (batch, kept, d), from the best to the worst
    values
        (batch, kept), of the members together
    before
        (batch,), of the mean sample
    gradient
        (), mean norm of the critic's gradient where they started
    """

    actions: Tensor
    values: Tensor
    before: Tensor
    gradient: Tensor


def improved(
    critic: Critic,
    observations: Tensor,
    candidates: Tensor,
    how: Improvement = Improvement(),
    *,
    logged: Tensor | None = None,
) -> Improved:
    """The best candidates of each state, lifted along the critic's gradient.

    Parameters
    ----------
    critic
        whose values count
    observations, candidates
        (batch, o) and (batch, samples, d), a policy's own
    how
        options
    logged
        (batch, d), actions of the log, each in place of the worst that is kept: for policies that
        never sample what is good
    """
    parts = []
    for start in range(0, len(candidates), how.chunk):
        here = slice(start, start + how.chunk)
        own = None if logged is None else logged[here]
        parts.append(_improved(critic, observations[here], candidates[here], how, own))
    actions, values, before, slopes = zip(*parts, strict=True)
    size = torch.tensor([len(own) for own in before], dtype=torch.float32)
    gradient = (torch.stack(slopes) * size).sum() / size.sum()
    return Improved(torch.cat(actions), torch.cat(values), torch.cat(before), gradient)


def _improved(
    critic: Critic, observations: Tensor, candidates: Tensor, how: Improvement, own: Tensor | None
) -> Improved:
    def valued(actions: Tensor) -> Tensor:
        return pooled(critic.q(observations, actions), how.pooling, how.caution)

    with torch.no_grad():
        values = valued(candidates)
    top = values.topk(min(how.kept, values.shape[-1]), dim=-1).indices
    best = candidates.gather(1, top[..., None].expand(-1, -1, candidates.shape[-1]))
    if own is not None:
        best = torch.cat([best[:, :-1], own[:, None]], dim=1)
    lifted = ascend(valued, best, steps=how.steps, rate=how.rate)
    order = lifted.values.argsort(dim=-1, descending=True, stable=True)
    actions = lifted.actions.gather(1, order[..., None].expand(-1, -1, best.shape[-1]))
    return Improved(actions, lifted.values.gather(1, order), values.mean(dim=-1), lifted.gradient)


def taken(found: Improved, how: Improvement, take: Take, generator: Generator | None) -> Tensor:
    """One improved action of each state: the best, or a draw by its value: (batch, d)."""
    if take == "best":
        return found.actions[:, 0]
    choice = choose(found.values[None], pooling="mean", temperature=how.temperature, seed=generator)
    index = choice.index[:, None, None].expand(-1, 1, found.actions.shape[-1])
    return found.actions.gather(1, index)[:, 0]


class ImprovedPolicy:
    """A policy that acts by the best of its own samples, lifted.

    Parameters
    ----------
    policy, critic, how
        who samples, who values, and how
    """

    def __init__(self, policy: Policy, critic: Critic, how: Improvement = Improvement()) -> None:
        self.policy, self.critic, self.how = policy, critic, how

    def act(self, observations: Tensor, *, generator: Generator | None = None) -> Tensor:
        """The best."""
        return taken(self._improved(observations, generator), self.how, "best", generator)

    def sample(
        self, observations: Tensor, count: int, *, generator: Generator | None = None
    ) -> Tensor:
        """Draws by value among those that are kept: (batch, count, d)."""
        found = self._improved(observations, generator)
        drawn = [taken(found, self.how, "draw", generator) for _ in range(count)]
        return torch.stack(drawn, dim=1)

    def _improved(self, observations: Tensor, generator: Generator | None) -> Improved:
        candidates = self.policy.sample(observations, self.how.samples, generator=generator)
        return improved(self.critic, observations, candidates, self.how)


def distil(
    policy: Imitator,
    critic: Critic,
    observations: Tensor,
    how: Improvement = Improvement(),
    config: CloneConfig = CloneConfig(steps=1500),
    *,
    take: Take = "best",
    logged: Tensor | None = None,
    report: Callable[[int, float], Any] | None = None,
) -> Improved:
    """A policy learns its own improved actions by its usual loss, in place.

    Each state's samples are drawn once, of the policy as it is before. Against one critic that
    stays as it is this narrows a policy until it exploits the critic's errors: improve the critic
    in between, from what the policy then does (``fine_tune``).

    Parameters
    ----------
    observations
        (states, o), that it learns in
    take
        ``"best"``: the best action; ``"draw"``: one drawn by its value
    logged
        (states, d), actions of the log, which take the place of the worst that is kept

    Returns
    -------
    Improved
        what it learned from

    References
    ----------
    arXiv 2412.06685, section 4.2.
    """
    generator = torch.Generator().manual_seed(config.seed)
    candidates = cached_candidates(policy, observations, how, generator)
    found = improved(critic, observations, candidates, how, logged=logged)
    actions = taken(found, how, take, generator)
    imitate(policy, observations, actions, replace(config, seed=config.seed + 1), report=report)
    return found


def cached_candidates(
    policy: Policy, observations: Tensor, how: Improvement, generator: Generator | None = None
) -> Tensor:
    """A policy's samples of many states, drawn a chunk at a time: (states, samples, d)."""
    parts = [
        policy.sample(observations[start : start + how.chunk], how.samples, generator=generator)
        for start in range(0, len(observations), how.chunk)
    ]
    return torch.cat(parts)


def of_log(data: Transitions, states: int, seed: int = 0) -> Tensor:
    """Rows of a log to learn in, without repetition where there are enough: (states,)."""
    generator = torch.Generator().manual_seed(seed)
    if states <= len(data):
        return torch.randperm(len(data), generator=generator)[:states]
    return torch.randint(len(data), (states,), generator=generator)
