"""Losses of ranked lists on groups that a policy sampled itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import span, widen
from policyrank.learn.losses.averages import token_mean
from policyrank.learn.losses.implicit import PreferenceLoss
from policyrank.learn.losses.policy import PolicyLoss, ratio_of


class GroupObjective(Protocol):
    """What groups are learned by: a ``PolicyObjective``, or a ``ListObjective``."""

    @property
    def beta(self) -> float:
        """Weight of KL to the reference."""

    @property
    def entropy_weight(self) -> float:
        """Weight of the entropy."""

    def __call__(
        self,
        log_probs: Tensor,
        advantages: Tensor,
        where: Tensor,
        *,
        old: Tensor | None = None,
        segments: Tensor | None = None,
        reference: Tensor | None = None,
        entropy: Tensor | None = None,
        total: float | Tensor | None = None,
        tokens: float | Tensor | None = None,
    ) -> PolicyLoss:
        """The loss of a batch."""

    def counting(self, advantages: Tensor, where: Tensor, segments: Tensor | None = None) -> Tensor:
        """Which tokens count: (batch, tokens)."""

    def counted(self, advantages: Tensor, where: Tensor, segments: Tensor | None = None) -> Tensor:
        """What the loss is a mean over."""


@dataclass(frozen=True)
class ListObjective:
    """A loss of preferences on groups of outputs, each a list that its rewards rank.

    Called as a ``PolicyObjective`` is, with rewards in place of advantages. What preferences are
    held to is the policy that sampled, or the reference where one is given.

    Parameters
    ----------
    loss
        one of ``PREFERENCE_LOSSES`` or of the same signature
    samples
        outputs of each group, which follow one another
    options
        of the loss
    referred
        whether the loss has a reference

    Examples
    --------
    >>> from policyrank.learn.losses import preference_loss
    >>> log_probs = torch.zeros(2, 3, requires_grad=True)
    >>> objective = ListObjective(preference_loss("dpo"), samples=2, options={"beta": 1.0})
    >>> objective(log_probs, torch.tensor([1.0, 0.0]), torch.ones(2, 3)).loss.backward()
    >>> log_probs.grad
    tensor([[-0.5000, -0.5000, -0.5000],
            [ 0.5000,  0.5000,  0.5000]])
    """

    loss: PreferenceLoss
    samples: int
    options: Mapping[str, Any] = field(default_factory=dict)
    referred: bool = True
    beta: float = field(default=0.0, init=False)
    entropy_weight: float = field(default=0.0, init=False)

    def __call__(
        self,
        log_probs: Tensor,
        advantages: Tensor,
        where: Tensor,
        *,
        old: Tensor | None = None,
        segments: Tensor | None = None,
        reference: Tensor | None = None,
        entropy: Tensor | None = None,
        total: float | Tensor | None = None,
        tokens: float | Tensor | None = None,
    ) -> PolicyLoss:
        """The loss of a batch: the mean over lists of two different rewards, or over ``total``."""
        mask = self.counting(advantages, where)
        rewards, there = self._lists(advantages, mask)
        log_probs = widen(log_probs)
        before = log_probs.detach() if old is None else widen(old)
        anchor = before if reference is None else widen(reference)
        summed = self._of_lists(log_probs.masked_fill(~mask, 0.0).sum(dim=-1))
        held = self._of_lists(anchor.masked_fill(~mask, 0.0).sum(dim=-1))
        value = self.loss(
            summed,
            rewards,
            reference=held if self.referred else None,
            where=there,
            lengths=self._of_lists(mask.sum(dim=-1)),
            reduce="sum",
            **self.options,
        )
        count = self.counted(advantages, where).clamp(min=1) if total is None else total
        step = (log_probs.detach() - before).masked_fill(~mask, 0.0)
        far = (log_probs.detach() - anchor).masked_fill(~mask, 0.0)
        nothing = far.new_zeros(())
        return PolicyLoss(
            value / count, nothing, token_mean(far, mask), token_mean(ratio_of(step), mask)
        )

    def counting(self, advantages: Tensor, where: Tensor, segments: Tensor | None = None) -> Tensor:
        """Which tokens count: (batch, tokens); none of a list without two different rewards."""
        gain = advantages if advantages.ndim > 1 else advantages[:, None]
        mask = where.bool() & ~gain.isnan()
        told = span(*self._lists(advantages, mask)) > 0
        return mask & told.repeat_interleave(self.samples)[:, None]

    def counted(self, advantages: Tensor, where: Tensor, segments: Tensor | None = None) -> Tensor:
        """Lists with two different rewards."""
        return self._of_lists(self.counting(advantages, where).any(dim=-1)).any(dim=-1).sum()

    def _lists(self, advantages: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Rewards of each list, and where they are: (lists, samples)."""
        gain = advantages if advantages.ndim > 1 else advantages[:, None]
        gain, there = widen(gain).expand_as(mask), mask.any(dim=-1)
        rewards = gain.masked_fill(~mask, -torch.inf).amax(dim=-1).masked_fill(~there, 0.0)
        lowest = gain.masked_fill(~mask, torch.inf).amin(dim=-1).masked_fill(~there, 0.0)
        if not torch.equal(rewards, lowest):
            raise OptionError("a loss of lists takes one reward an output, not one a segment.")
        return self._of_lists(rewards), self._of_lists(there)

    def _of_lists(self, values: Tensor) -> Tensor:
        if len(values) % self.samples:
            raise OptionError(f"{len(values)} outputs are no groups of {self.samples}.")
        return values.reshape(-1, self.samples)
