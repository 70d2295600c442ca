"""Steering: a policy acts by the best of its own samples, as a critic values them.

For policies whose weights may not be touched. Needs the extra ``learn``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from policyrank.errors import EvidenceError, MissingExtraError, OptionError

try:
    import torch
    from torch import Generator, Tensor

    from policyrank.learn import ActionScale, Critic, Policy, Pooling, choose, pooled
except ImportError as error:  # pragma: no cover
    raise MissingExtraError("steering needs torch: pip install 'policyrank[learn]'") from error

__all__ = ["Steered", "SteeredPolicy", "steer"]


@dataclass(frozen=True, eq=False)
class Steered:
    """What steering chose.

    Attributes
    ----------
    actions
        (batch, d), as the policy gave them
    index
        (batch,), which candidate
    values
        (batch, candidates), of the members together
    outside
        (), share of candidates beyond the critic's bounds, which it reads as at their edge
    """

    actions: Tensor
    index: Tensor
    values: Tensor
    outside: Tensor


@torch.no_grad()
def steer(
    critic: Critic,
    observations: Tensor,
    candidates: Tensor,
    *,
    pooling: Pooling = "min",
    caution: float = 0.0,
    temperature: float = 0.0,
    scale: ActionScale | None = None,
    chunk: int = 16_384,
    generator: Generator | None = None,
) -> Steered:
    """Choose one of each state's candidate actions by a critic.

    Parameters
    ----------
    critic
        an ensemble: ``q(observations, actions)``
    observations, candidates
        (batch, o) and (batch, candidates, d)
    pooling, caution, temperature
        as ``learn.choose``: 0 takes the best; more candidates are not better where a critic errs
    scale
        from the policy's actions to the critic's; None: they are the same
    chunk
        actions that the critic looks at together
    generator
        of the draw

    Raises
    ------
    EvidenceError
        For observations, candidates or values that are not finite, or candidates beyond [-1, 1]
        without a scale.
    OptionError
        For shapes that do not fit.

    References
    ----------
    Nakamoto et al. (2024), "Steering Your Generalists: Improving Robotic Foundation Models via
    Value Guidance", arXiv 2410.13816.
    """
    _check(observations, candidates)
    read, outside = candidates, torch.zeros(())
    if scale is not None:
        outside = scale.outside(candidates)
        read = scale.to_critic(candidates)
    elif float(candidates.abs().max()) > 1 + 1e-4:
        raise EvidenceError(
            f"actions reach {float(candidates.abs().max()):.4g}, and critics read them within"
            " [-1, 1]: give scale=ActionScale(low, high), the bounds that the critic was trained"
            " with."
        )
    rows = max(1, chunk // candidates.shape[1])
    parts = []
    for start in range(0, len(read), rows):
        here = slice(start, start + rows)
        parts.append(pooled(critic.q(observations[here], read[here]), pooling, caution))
    values = torch.cat(parts)
    if not torch.isfinite(values).all():
        raise EvidenceError("the critic gives candidates values that are not finite.")
    choice = choose(values[None], temperature=temperature, seed=generator)
    index = choice.index[:, None, None].expand(-1, 1, candidates.shape[-1])
    return Steered(candidates.gather(1, index)[:, 0], choice.index, values, outside)


class SteeredPolicy:
    """A policy that any policy's user can put on: it acts by the best of several samples.

    Parameters
    ----------
    policy
        who samples
    critic
        who values
    samples
        of each state; one is the policy itself
    options
        of ``steer``

    Attributes
    ----------
    states, outside
        how often it acted, and the mean share of candidates beyond the critic's bounds

    Raises
    ------
    OptionError
        For fewer than one sample.

    Examples
    --------
    >>> class Coin:
    ...     def sample(self, observations, count, *, generator=None):
    ...         return torch.tensor([-0.5, 0.5]).repeat(count)[:count].expand(1, -1)[..., None]
    >>> class Right:
    ...     def q(self, observations, actions):
    ...         return actions.sum(-1)[None]
    >>> SteeredPolicy(Coin(), Right(), samples=2).act(torch.zeros(1, 3))
    tensor([[0.5000]])
    """

    def __init__(self, policy: Policy, critic: Critic, samples: int = 10, **options: Any) -> None:
        if samples < 1:
            raise OptionError(f"samples={samples}: 1 or more.")
        self.policy, self.critic, self.samples, self.options = policy, critic, samples, options
        self.states, self.outside = 0, 0.0

    def act(self, observations: Tensor, *, generator: Generator | None = None) -> Tensor:
        """The chosen sample: (batch, d)."""
        drawn = self.policy.sample(observations, self.samples, generator=generator)
        found = steer(self.critic, observations, drawn, generator=generator, **self.options)
        before, self.states = self.states, self.states + len(observations)
        share = float(found.outside) * len(observations)
        self.outside = (self.outside * before + share) / max(self.states, 1)
        return found.actions

    def sample(
        self, observations: Tensor, count: int, *, generator: Generator | None = None
    ) -> Tensor:
        """Chosen samples, each of a choice of its own: (batch, count, d)."""
        repeated = observations.repeat_interleave(count, dim=0)
        found = self.act(repeated, generator=generator)
        return found.reshape(len(observations), count, -1)


def _check(observations: Tensor, candidates: Tensor) -> None:
    if candidates.ndim != 3 or len(candidates) != len(observations) or candidates.shape[1] < 1:
        raise OptionError(
            f"candidates {tuple(candidates.shape)} must be (batch, candidates, d) for"
            f" {len(observations):,} observations."
        )
    for name, own in (("observations", observations), ("candidates", candidates)):
        bad = ~torch.isfinite(own.reshape(len(own), -1)).all(dim=-1)
        if bad.any():
            raise EvidenceError(f"{name}: row {int(bad.nonzero()[0])} is not finite.")
