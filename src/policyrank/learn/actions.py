"""Actions as a critic sees them: on its scale, lifted by its gradient, masked where not allowed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Categorical

from policyrank.errors import OptionError
from policyrank.learn._lists import low, widen

Values = Callable[[Tensor], Tensor]
"""Actions (..., d) -> their values (...)."""


@dataclass(frozen=True)
class ActionScale:
    """Between a policy's actions and a critic's, which lie within [-1, 1].

    Parameters
    ----------
    low, high
        (d,), what -1 and 1 stand for
    margin
        how far from -1 and 1 a critic's actions stay, for critics that were trained on actions of
        squashed policies

    Raises
    ------
    OptionError
        Where low is not below high, or they are not finite; naming the dimension.

    Examples
    --------
    >>> scale = ActionScale(torch.tensor([-0.05, 0.0]), torch.tensor([0.05, 1.0]), margin=1e-5)
    >>> scale.to_critic(torch.tensor([0.025, 1.0]))
    tensor([0.5000, 1.0000])
    """

    low: Tensor
    high: Tensor
    margin: float = 0.0

    def __post_init__(self) -> None:
        bad = ~(torch.isfinite(self.low) & torch.isfinite(self.high) & (self.low < self.high))
        if bad.any():
            place = int(bad.nonzero()[0])
            raise OptionError(
                f"dimension {place} of actions has low {float(self.low[place])} and high"
                f" {float(self.high[place])}: low lies below high, and both are finite."
            )

    def to_critic(self, actions: Tensor) -> Tensor:
        """Actions as a critic reads them; those beyond low and high are cut."""
        share = (widen(actions) - self.low) / (self.high - self.low)
        return (2 * share - 1).clamp(-1 + self.margin, 1 - self.margin)

    def to_policy(self, actions: Tensor) -> Tensor:
        """Actions of [-1, 1] as they are carried out."""
        return self.low + (widen(actions) + 1) / 2 * (self.high - self.low)

    def outside(self, actions: Tensor) -> Tensor:
        """Share of actions (..., d) that lie beyond low or high in some dimension: ()."""
        beyond = (actions < self.low) | (actions > self.high)
        return beyond.any(dim=-1).float().mean()


class Ascended(NamedTuple):
    """Actions lifted by a critic's gradient.

    Attributes
    ----------
    actions
        (..., d)
    values
        (...), of them
    steps
        (...), after how many steps each was best; 0: where it started
    gradient
        (), mean norm of the first gradient: ``rate`` times it is how far a step goes
    """

    actions: Tensor
    values: Tensor
    steps: Tensor
    gradient: Tensor


def ascend(
    critic: Values,
    actions: Tensor,
    *,
    steps: int = 10,
    rate: float = 3e-4,
    low: Tensor | float = -1.0,
    high: Tensor | float = 1.0,
    judge: Values | None = None,
) -> Ascended:
    """Each action's best iterate along the critic's gradient, where it started included.

    No value falls: of iterates of equal value the later one is taken.

    Parameters
    ----------
    critic
        whose gradient is followed
    actions
        (..., d), where it starts
    steps
        of ascent, after each of which actions are cut to the box
    rate
        of a step: it moves an action by ``rate`` times the gradient's norm, so choose it by that
    low, high
        of the box
    judge
        whose values say which iterate is best; None: the critic's

    Raises
    ------
    OptionError
        For a negative number of steps, or values that are not finite.

    References
    ----------
    Mark et al. (2024), "Policy Agnostic RL", arXiv 2412.06685, section 4.1.

    Examples
    --------
    >>> found = ascend(lambda a: -(a[..., 0] - 0.5) ** 2, torch.zeros(1), steps=3, rate=0.1)
    >>> found.actions, int(found.steps)
    (tensor([0.2440]), 3)
    """
    if steps < 0:
        raise OptionError(f"steps={steps}: it is 0 or more.")
    rated = judge or critic
    at = widen(actions).detach()
    best, number = at, torch.zeros(at.shape[:-1], dtype=torch.long, device=at.device)
    with torch.no_grad():
        highest = rated(at)
    _refuse_nan(highest)
    first = at.new_zeros(())
    for step in range(1, steps + 1):
        with torch.enable_grad():
            moved = at.clone().requires_grad_()
            slope = torch.autograd.grad(critic(moved).sum(), moved)[0]
        if step == 1:
            first = slope.norm(dim=-1).mean()
        at = _within(at + rate * slope, low, high)
        with torch.no_grad():
            value = rated(at)
        better = value >= highest
        best = torch.where(better[..., None], at, best)
        highest = torch.where(better, value, highest)
        number = number.masked_fill(better, step)
    return Ascended(best, highest, number, first)


def _within(actions: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    least, most = torch.as_tensor(low).to(actions), torch.as_tensor(high).to(actions)
    return torch.minimum(torch.maximum(actions, least), most)


def _refuse_nan(values: Tensor) -> None:
    if not torch.isfinite(values).all():
        raise OptionError("the critic gives actions values that are not finite.")


def masked_categorical(logits: Tensor, allowed: Tensor) -> Categorical:
    """Choices among those that are allowed, with the entropy of those.

    Parameters
    ----------
    logits, allowed
        (..., choices); what is not allowed may hold anything

    Raises
    ------
    OptionError
        Where nothing is allowed, naming the first such row.

    References
    ----------
    Huang and Ontanon (2020), "A Closer Look at Invalid Action Masking in Policy Gradient
    Algorithms", arXiv 2006.14171.

    Examples
    --------
    >>> allowed = torch.tensor([True, False, True])
    >>> masked_categorical(torch.tensor([0.0, torch.nan, 0.0]), allowed).probs
    tensor([0.5000, 0.0000, 0.5000])
    """
    mask = allowed.bool().expand(logits.shape)
    empty = ~mask.any(dim=-1)
    if empty.any():
        place = tuple(empty.nonzero()[0].tolist()) if empty.ndim else ()
        raise OptionError(f"no choice is allowed in row {place}: allow one at least.")
    wide = widen(logits)
    return Categorical(logits=wide.masked_fill(~mask, low(wide)), validate_args=False)
