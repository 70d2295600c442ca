"""Trajectories of unordered steps: each step draws some masked positions, and their tokens.

So masked diffusion language models write. What was unmasked when is three integers a position,
however many steps there were: the input of any step can be made again from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import descending, widen
from policyrank.learn.distributions import PlackettLuce

UnmaskingChoice = Literal["set", "order"]
"""Whose probability a step's choice of positions has: of the set, or of the order drawn."""


@dataclass(frozen=True, eq=False)
class Unmasking:
    """When each position was unmasked.

    Parameters
    ----------
    steps
        (rows, positions), the step in which it was unmasked, from 1; 0: it was never masked
    places
        (rows, positions), its place among those of its step as they were drawn, from 1; 0: none
    blocks
        (rows, positions), numbers of blocks, which are unmasked one after the other: only
        positions of a step's own block could have been chosen in it; None: all are one

    Raises
    ------
    OptionError
        For shapes that do not fit one another, or a step that goes over two blocks.

    Examples
    --------
    >>> path = Unmasking(torch.tensor([[0, 2, 1, 1]]), torch.tensor([[0, 1, 2, 1]]))
    >>> path.masked(2)
    tensor([[False,  True, False, False]])
    >>> path.now(1)
    tensor([[0, 0, 2, 1]])
    """

    steps: Tensor
    places: Tensor
    blocks: Tensor | None = None

    def __post_init__(self) -> None:
        if self.steps.ndim != 2:
            raise OptionError(f"steps {tuple(self.steps.shape)} must be (rows, positions).")
        for name in ("places", "blocks"):
            own = getattr(self, name)
            if own is not None and own.shape != self.steps.shape:
                shapes = f"{tuple(own.shape)} and steps {tuple(self.steps.shape)}"
                raise OptionError(f"{name} {shapes} must have one shape.")
        if bool(((self.steps > 0) != (self.places > 0)).any()):
            raise OptionError("places: each position with a step has one, from 1, and no other.")

    @property
    def count(self) -> int:
        """Steps of the longest row."""
        return int(self.steps.max()) if self.steps.numel() else 0

    def take(self, rows: Tensor) -> Unmasking:
        """Some of the rows."""
        blocks = None if self.blocks is None else self.blocks[rows]
        return Unmasking(self.steps[rows], self.places[rows], blocks)

    def masked(self, step: int) -> Tensor:
        """What is masked as a step begins: (rows, positions)."""
        return self.steps >= step

    def now(self, step: int) -> Tensor:
        """Places of what a step unmasks, from 1; 0 elsewhere: (rows, positions)."""
        return self.places.masked_fill(self.steps != step, 0)

    def block(self, step: int) -> Tensor:
        """Positions of the block that a step works in; none where it does nothing."""
        chosen = self.steps == step
        if self.blocks is None:
            return chosen.any(dim=-1, keepdim=True) & (self.steps > 0)
        number = self.blocks.masked_fill(~chosen, -1).amax(dim=-1, keepdim=True)
        if bool((chosen & (self.blocks != number)).any()):
            raise OptionError(f"step {step} unmasks positions of two blocks: a step has one.")
        return (self.blocks == number) & (self.steps > 0) & chosen.any(dim=-1, keepdim=True)

    def eligible(self, step: int) -> Tensor:
        """What a step could choose among: (rows, positions)."""
        return self.masked(step) & self.block(step)


def choice_log_prob(
    scores: Tensor, eligible: Tensor, places: Tensor, choice: UnmaskingChoice = "set"
) -> Tensor:
    """Log-probability of the positions that a step chose, by Plackett-Luce: (rows,).

    Tokens are kept wherever they were drawn in a step, so that its outcome is a set: ``"set"`` is
    the probability of that. The order drawn is one of many that lead there; its log-probability
    (``"order"``, as published) has the same expected gradient under the policy, with more
    variance, and needs no sum. A row in which all that is eligible is chosen had no choice: 0.

    Parameters
    ----------
    scores
        (rows, positions), log-strengths; those of positions that are not eligible never enter
    eligible
        (rows, positions), what could be chosen
    places
        (rows, positions), of what was chosen, from 1; 0 elsewhere

    Raises
    ------
    OptionError
        For an unknown choice, sets of more than 10, or what was not eligible and yet chosen.

    References
    ----------
    Huang et al. (2025), "Reinforcing the Diffusion Chain of Lateral Thought with Diffusion Language
    Models", arXiv 2505.10446.

    Examples
    --------
    >>> scores = torch.tensor([[1.0, 2.0, 3.0]]).log()
    >>> here, drawn = torch.ones(1, 3, dtype=torch.bool), torch.tensor([[0, 2, 1]])
    >>> choice_log_prob(scores, here, drawn, "order").exp()  # 3/6 * 2/3
    tensor([0.3333])
    >>> choice_log_prob(scores, here, drawn).exp()  # and 2/6 * 3/4
    tensor([0.5833])
    """
    if choice not in get_args(UnmaskingChoice):
        raise OptionError(f"choice={choice!r}: use 'set' or 'order'.")
    chosen, eligible = places > 0, eligible.bool()
    if bool((chosen & ~eligible).any()):
        raise OptionError("places: a position was chosen that is not eligible.")
    policy = PlackettLuce(scores, eligible)
    if choice == "set":
        return policy.set_log_prob(chosen)
    order = descending(-widen(places), chosen)
    of_place = policy.step_log_prob(order)
    found = of_place.masked_fill(~chosen.gather(-1, order), 0.0).sum(dim=-1)
    return found.masked_fill((chosen == eligible).all(dim=-1), 0.0)


def token_log_prob(logits: Tensor, ids: Tensor, chosen: Tensor, temperature: float) -> Tensor:
    """Log-probability of the tokens that a step kept, at the temperature of sampling: (rows,).

    Parameters
    ----------
    logits
        (rows, positions, vocabulary); -inf: a token that cannot be drawn
    ids
        (rows, positions), tokens; those elsewhere than at ``chosen`` never enter
    chosen
        (rows, positions), where the step unmasked
    temperature
        > 0, what logits are divided by

    Raises
    ------
    OptionError
        For a temperature that is not above 0: nothing is drawn there.
    """
    if not temperature > 0:
        raise OptionError(f"temperature={temperature}: it is above 0.")
    row, position = chosen.nonzero(as_tuple=True)
    tempered = widen(logits[row, position]) / temperature
    own = torch.log_softmax(tempered, dim=-1).gather(-1, ids[row, position, None]).squeeze(-1)
    return own.new_zeros(len(ids)).index_add(0, row, own)
