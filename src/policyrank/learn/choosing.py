"""Choosing among candidates by the values of several critics: the best, or softly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import low, widen

Pooling = Literal["min", "mean"]


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen.

    Attributes
    ----------
    index
        (...), of each list
    values
        (..., candidates), of the members together
    chances
        (..., candidates), with which each is chosen
    """

    index: Tensor
    values: Tensor
    chances: Tensor


def pooled(values: Tensor, pooling: Pooling = "min", caution: float = 0.0) -> Tensor:
    """What members of an ensemble (members, ...) say together: (...).

    Parameters
    ----------
    pooling
        ``"min"``: the least; ``"mean"``: the mean less ``caution`` standard deviations (of the
        members, divided by their number)

    Raises
    ------
    OptionError
        For another pooling, or caution with the least.

    Examples
    --------
    >>> members = torch.tensor([[1.0, 3.0], [2.0, 0.0]])
    >>> pooled(members), pooled(members, "mean"), pooled(members, "mean", 1.0)
    (tensor([1., 0.]), tensor([1.5000, 1.5000]), tensor([1., 0.]))
    """
    values = widen(values)
    if pooling == "mean":
        return values.mean(dim=0) - caution * values.std(dim=0, unbiased=False)
    if pooling != "min":
        raise OptionError(f"pooling={pooling!r}: use 'min' or 'mean'.")
    if caution:
        raise OptionError("caution is of the mean: the least value is cautious by itself.")
    return values.amin(dim=0)


def choose(
    values: Tensor,
    *,
    pooling: Pooling = "min",
    caution: float = 0.0,
    temperature: float = 0.0,
    where: Tensor | None = None,
    seed: int | torch.Generator | None = None,
) -> Choice:
    """Choose one of each list of candidates by their values.

    One candidate, or an endless temperature over candidates of one policy, is the policy itself;
    the best of n is a policy at most log n - (n - 1) / n away from it (``best_of_kl``).

    Parameters
    ----------
    values
        (members, ..., candidates), by each critic or scorer
    pooling, caution
        as ``pooled``
    temperature
        0: the best, of equals the first; above it a draw with chances proportional to
        exp(value / temperature)
    where
        bool (..., candidates), which there are; None: all
    seed
        of the draw; None: torch's own generator

    Raises
    ------
    OptionError
        For a temperature below 0, no candidate, or a value that is NaN; naming the list.

    References
    ----------
    Nakamoto et al. (2024), arXiv 2410.13816, algorithm 1; Chen et al. (2023), arXiv 2209.14548
    (implicit diffusion Q-learning).

    Examples
    --------
    >>> found = choose(torch.tensor([[-3.0, -1.0, -2.0]]), temperature=1.0, seed=0)
    >>> found.chances
    tensor([0.0900, 0.6652, 0.2447])
    >>> int(choose(torch.tensor([[-3.0, -1.0, -2.0]])).index)
    1
    """
    if not temperature >= 0 or math.isinf(temperature):
        raise OptionError(f"temperature={temperature}: it is 0 or more.")
    if values.ndim < 2:
        raise OptionError(f"values {tuple(values.shape)} must be (members, ..., candidates).")
    together = pooled(values, pooling, caution)
    mask = torch.ones_like(together, dtype=torch.bool) if where is None else where.bool()
    mask = mask.expand(together.shape)
    _refuse(together, mask)
    ranked = together.masked_fill(~mask, -torch.inf)
    if temperature == 0:
        index = ranked.argmax(dim=-1)
        chances = torch.zeros_like(together).scatter(-1, index[..., None], 1.0)
        return Choice(index, together, chances)
    logits = (ranked - ranked.amax(dim=-1, keepdim=True)) / temperature
    chances = logits.clamp(min=low(logits)).masked_fill(~mask, low(logits)).softmax(dim=-1)
    generator = torch.Generator(values.device).manual_seed(seed) if isinstance(seed, int) else seed
    flat = chances.reshape(-1, chances.shape[-1])
    index = torch.multinomial(flat, 1, generator=generator).reshape(chances.shape[:-1])
    return Choice(index, together, chances)


def best_of_kl(candidates: int) -> float:
    """At most how far the best of so many is from the policy they are of, in nats of KL.

    References
    ----------
    Beirami et al. (2024), arXiv 2401.01879: log n - (n - 1) / n is an upper bound.

    Examples
    --------
    >>> round(best_of_kl(10), 4)
    1.4026
    """
    if candidates < 1:
        raise OptionError(f"candidates={candidates}: 1 or more.")
    return math.log(candidates) - (candidates - 1) / candidates


def _refuse(values: Tensor, mask: Tensor) -> None:
    """Lists without a candidate, and values that are no numbers."""
    for bad, why in (
        (~mask.any(dim=-1), "has no candidate"),
        ((values.isnan() & mask).any(dim=-1), "has a value that is NaN"),
    ):
        if bad.any():
            place = bad.nonzero()[0].tolist() if bad.ndim else []
            raise OptionError(f"list {place} {why}: the critic must value every candidate.")
