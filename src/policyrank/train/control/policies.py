"""Policies of three classes that act within [-1, 1]: Gaussian, diffusion, tokens; and cloning.

Each has ``act``, ``sample`` and ``loss``; nothing that improves a policy asks for more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy, one_hot, softplus

from policyrank.errors import EvidenceError, OptionError
from policyrank.learn import Imitator
from policyrank.train.control.networks import Standardised, mlp
from policyrank.train.control.transitions import Transitions

Hidden = tuple[int, ...]


class GaussianPolicy(Standardised):
    """A normal around a mean within [-1, 1], with a spread for each state.

    Parameters
    ----------
    observed, acted
        numbers of an observation, and of an action
    hidden
        widths
    """

    def __init__(self, observed: int, acted: int, hidden: Hidden = (256, 256)) -> None:
        super().__init__(observed, acted)
        self.network = mlp(observed, 2 * acted, hidden)

    def _normal(self, observations: Tensor) -> torch.distributions.Normal:
        mean, spread = self.network(self.seen(observations)).chunk(2, dim=-1)
        return torch.distributions.Normal(mean.tanh(), 0.02 + softplus(spread))

    @torch.no_grad()
    def act(self, observations: Tensor, *, generator: Generator | None = None) -> Tensor:
        """The mean."""
        return self._normal(observations).mean

    @torch.no_grad()
    def sample(
        self, observations: Tensor, count: int, *, generator: Generator | None = None
    ) -> Tensor:
        """Draws (batch, count, d), cut to [-1, 1]."""
        normal = self._normal(observations)
        noise = torch.randn(len(observations), count, self.acted, generator=generator)
        return (normal.mean[:, None] + normal.stddev[:, None] * noise).clamp(-1, 1)

    def log_prob(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Of actions (batch, ..., d), before they are cut: (batch, ...)."""
        normal = self._normal(observations)
        extra = (1,) * (actions.ndim - 2)
        mean = normal.mean.reshape(len(actions), *extra, -1)
        spread = normal.stddev.reshape(len(actions), *extra, -1)
        return torch.distributions.Normal(mean, spread).log_prob(actions).sum(dim=-1)

    def loss(
        self, observations: Tensor, actions: Tensor, *, generator: Generator | None = None
    ) -> Tensor:
        """Negative log-likelihood."""
        return -self.log_prob(observations, actions).mean()


class SquashedGaussian(Standardised):
    """A normal squashed by tanh, whose draws have a density and a gradient: a soft actor."""

    def __init__(self, observed: int, acted: int, hidden: Hidden = (256, 256)) -> None:
        super().__init__(observed, acted)
        self.network = mlp(observed, 2 * acted, hidden)

    def drawn(self, observations: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Actions (batch, count, d), and their log-densities (batch, count)."""
        mean, spread = self.network(self.seen(observations))[:, None].chunk(2, dim=-1)
        normal = torch.distributions.Normal(mean, spread.clamp(-5, 2).exp())
        raw = normal.rsample(torch.Size([count])).squeeze(2).transpose(0, 1)
        # log(1 - tanh(x)^2), stable.
        squash = 2 * (math.log(2) - raw - softplus(-2 * raw))
        return raw.tanh(), (normal.log_prob(raw) - squash).sum(dim=-1)

    @torch.no_grad()
    def act(self, observations: Tensor, *, generator: Generator | None = None) -> Tensor:
        """The squashed mean."""
        return self.network(self.seen(observations)).chunk(2, dim=-1)[0].tanh()

    @torch.no_grad()
    def sample(
        self, observations: Tensor, count: int, *, generator: Generator | None = None
    ) -> Tensor:
        """Draws (batch, count, d)."""
        return self.drawn(observations, count)[0]


class DiffusionPolicy(Standardised):
    """A few denoising steps from noise to an action (DDPM, cosine schedule).

    Parameters
    ----------
    observed, acted
        numbers of an observation, and of an action
    hidden
        widths
    steps
        of denoising

    References
    ----------
    Ho et al. (2020), arXiv 2006.11239; Nichol and Dhariwal (2021), arXiv 2102.09672 (schedule).

    Examples
    --------
    >>> DiffusionPolicy(2, 1).betas
    tensor([0.1013, 0.2795, 0.4736, 0.7241, 0.9990])
    """

    def __init__(
        self, observed: int, acted: int, hidden: Hidden = (256, 256, 256), steps: int = 5
    ) -> None:
        super().__init__(observed, acted)
        self.steps = steps
        self.network = mlp(observed + acted + 16, acted, hidden)
        at = torch.arange(steps + 1, dtype=torch.float64) / steps
        level = torch.cos((at + 0.008) / 1.008 * math.pi / 2) ** 2
        betas = (1 - level[1:] / level[:-1]).clamp(max=0.999)
        self.register_buffer("betas", betas.float())
        self.register_buffer("kept", torch.cumprod(1 - betas, 0).float())
        self.betas: Tensor
        self.kept: Tensor

    def _noise(self, observations: Tensor, actions: Tensor, step: Tensor) -> Tensor:
        """The noise that it sees in actions: (rows, d)."""
        turns = (step[:, None] + 1) * 2.0 ** torch.arange(8, device=step.device) / self.steps
        clock = torch.cat([turns.sin(), turns.cos()], dim=-1)
        return self.network(torch.cat([self.seen(observations), actions, clock], dim=-1))

    @torch.no_grad()
    def act(self, observations: Tensor, *, generator: Generator | None = None) -> Tensor:
        """A draw."""
        return self.sample(observations, 1, generator=generator)[:, 0]

    @torch.no_grad()
    def sample(
        self, observations: Tensor, count: int, *, generator: Generator | None = None
    ) -> Tensor:
        """Draws (batch, count, d); each iterate is cut to [-1, 1]."""
        seen = observations.repeat_interleave(count, dim=0)
        x = torch.randn(len(seen), self.acted, generator=generator)
        for step in range(self.steps - 1, -1, -1):
            beta, kept = self.betas[step], self.kept[step]
            noise = self._noise(seen, x, torch.full((len(seen),), step))
            x = (x - beta / (1 - kept).sqrt() * noise) / (1 - beta).sqrt()
            if step > 0:
                x = x + beta.sqrt() * torch.randn(x.shape, generator=generator)
            x = x.clamp(-1, 1)
        return x.reshape(len(observations), count, self.acted)

    def loss(
        self, observations: Tensor, actions: Tensor, *, generator: Generator | None = None
    ) -> Tensor:
        """Square error of the noise, a sum over dimensions."""
        step = torch.randint(self.steps, (len(actions),), generator=generator)
        noise = torch.randn(actions.shape, generator=generator)
        kept = self.kept[step][:, None]
        mixed = kept.sqrt() * actions + (1 - kept).sqrt() * noise
        return ((self._noise(observations, mixed, step) - noise) ** 2).sum(dim=-1).mean()


class TokenPolicy(Standardised):
    """One token a dimension, each given those before it.

    Parameters
    ----------
    observed, acted
        numbers of an observation, and of an action
    hidden
        widths
    bins
        points of a dimension, evenly from -1 to 1
    """

    def __init__(
        self, observed: int, acted: int, hidden: Hidden = (256, 256), bins: int = 21
    ) -> None:
        super().__init__(observed, acted)
        self.bins = bins
        self.heads = nn.ModuleList(mlp(observed + k * bins, bins, hidden) for k in range(acted))
        self.register_buffer("points", torch.linspace(-1, 1, bins))
        self.points: Tensor

    def tokens(self, actions: Tensor) -> Tensor:
        """The nearest point of each dimension."""
        return ((actions.clamp(-1, 1) + 1) / 2 * (self.bins - 1)).round().long()

    def _logits(self, observations: Tensor, before: Tensor, dimension: int) -> Tensor:
        told = one_hot(before[:, :dimension], self.bins).flatten(1).to(observations.dtype)
        return self.heads[dimension](torch.cat([self.seen(observations), told], dim=-1))

    def _written(
        self, observations: Tensor, generator: Generator | None, *, greedy: bool
    ) -> Tensor:
        rows = len(observations)
        chosen = torch.zeros(rows, 0, dtype=torch.long)
        for dimension in range(self.acted):
            logits = self._logits(observations, chosen, dimension)
            if greedy:
                token = logits.argmax(dim=-1, keepdim=True)
            else:
                token = torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)
            chosen = torch.cat([chosen, token], dim=1)
        return self.points[chosen]

    @torch.no_grad()
    def act(self, observations: Tensor, *, generator: Generator | None = None) -> Tensor:
        """The likeliest token, a dimension at a time."""
        return self._written(observations, generator, greedy=True)

    @torch.no_grad()
    def sample(
        self, observations: Tensor, count: int, *, generator: Generator | None = None
    ) -> Tensor:
        """Draws (batch, count, d)."""
        seen = observations.repeat_interleave(count, dim=0)
        written = self._written(seen, generator, greedy=False)
        return written.reshape(len(observations), count, self.acted)

    def log_prob(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Of the nearest points: (batch,)."""
        chosen = self.tokens(actions)
        total = torch.zeros(len(actions))
        for dimension in range(self.acted):
            logits = self._logits(observations, chosen, dimension)
            total = total - cross_entropy(logits, chosen[:, dimension], reduction="none")
        return total

    def loss(
        self, observations: Tensor, actions: Tensor, *, generator: Generator | None = None
    ) -> Tensor:
        """Cross-entropy, a sum over dimensions."""
        return -self.log_prob(observations, actions).mean()


POLICY_KINDS: dict[str, Callable[..., Any]] = {
    "gaussian": GaussianPolicy,
    "diffusion": DiffusionPolicy,
    "tokens": TokenPolicy,
}
"""Name -> (observed, acted) -> a policy that learns by ``loss``."""


@dataclass(frozen=True)
class CloneConfig:
    """How a policy learns from examples.

    Parameters
    ----------
    steps, batch, learning_rate
        of Adam
    seed
        of batches, and of what its loss draws
    """

    steps: int = 4000
    batch: int = 256
    learning_rate: float = 3e-4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or not self.learning_rate > 0:
            raise OptionError(f"{self}: steps, batch and learning_rate are above 0.")


def clone(
    policy: Imitator,
    data: Transitions,
    config: CloneConfig = CloneConfig(),
    *,
    report: Callable[[int, float], Any] | None = None,
) -> float:
    """Behaviour cloning: a policy learns to act as the log does, in place; its last loss.

    Raises
    ------
    EvidenceError
        When its loss is not finite.
    """
    if hasattr(policy, "fit_scale"):
        policy.fit_scale(data.observations)
    return imitate(policy, data.observations, data.actions, config, report=report)


def imitate(
    policy: Imitator,
    observations: Tensor,
    actions: Tensor,
    config: CloneConfig,
    *,
    report: Callable[[int, float], Any] | None = None,
) -> float:
    """A policy learns actions (rows, d) of observations (rows, o), in place; its last loss."""
    module: Any = policy
    module.train()
    optimizer = torch.optim.Adam(module.parameters(), lr=config.learning_rate)
    generator = torch.Generator().manual_seed(config.seed)
    said = math.nan
    for step in range(1, config.steps + 1):
        rows = torch.randint(len(actions), (config.batch,), generator=generator)
        loss = policy.loss(observations[rows], actions[rows], generator=generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 500 == 0 or step == config.steps:
            said = float(loss.detach())
            if not math.isfinite(said):
                raise EvidenceError(f"step {step:,}: the policy's loss is not finite.")
            if report is not None:
                report(step, said)
    module.eval()
    return said
