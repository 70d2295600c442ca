"""Advantages: how much better a sample did than it should have."""

from __future__ import annotations

from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import masked_mean
from policyrank.learn.labels import label_distribution

Baseline = Literal["none", "loo", "mean", "std", "rank"]


class Advantage(Protocol):
    """Rewards of a group (..., list) and its mask -> how much better each did: (..., list)."""

    def __call__(self, rewards: Tensor, where: Tensor, /) -> Tensor: ...


def standardised(rewards: Tensor, where: Tensor, *, scale: bool = True) -> Tensor:
    """Rewards less their group's mean, over its deviation: (..., list); 0 where all are equal.

    ``scale=False`` only centres (Dr. GRPO).

    Examples
    --------
    >>> standardised(torch.tensor([1.0, 0.0, 5.0]), torch.tensor([True, True, False]))
    tensor([ 1., -1.,  0.])
    """
    centred = (rewards - masked_mean(rewards, where)[..., None]).masked_fill(~where, 0.0)
    deviation = masked_mean(centred**2, where).sqrt()[..., None]
    gain = centred
    if scale:
        gain = centred / deviation.clamp(min=1e-8)
    return gain.masked_fill(deviation <= 1e-8, 0.0)


def of_shares(
    rewards: Tensor, where: Tensor, *, temperature: float = 1.0, standardise: bool = True
) -> Tensor:
    """Standardised shares of ``label_distribution(rewards)``: (..., list).

    Parameters
    ----------
    temperature, standardise
        of the distribution

    References
    ----------
    arXiv 2601.20687 (reconstructed).
    """
    shares = label_distribution(
        rewards, where=where, temperature=temperature, standardise=standardise
    )
    return standardised(shares, where)


ADVANTAGES: dict[str, Advantage] = {
    "standardised": standardised,
    "centred": partial(standardised, scale=False),
    "of-shares": of_shares,
}


def named_advantage(advantage: str | Advantage) -> Advantage:
    """One of ``ADVANTAGES`` by name; a function is what it is.

    Raises
    ------
    OptionError
        For an unknown name.
    """
    if not isinstance(advantage, str):
        return advantage
    if advantage not in ADVANTAGES:
        names = ", ".join(ADVANTAGES)
        raise OptionError(f"advantage={advantage!r}: use one of {names}, or a function.")
    return ADVANTAGES[advantage]


def advantage(rewards: Tensor, baseline: Baseline = "loo") -> Tensor:
    """Rewards (samples, ...) minus a baseline, over the first axis.

    ``"none"``: the rewards; ``"loo"``: minus the mean of the others (unbiased, RLOO); ``"mean"``:
    minus the mean of all ((N-1)/N of loo); ``"std"``: that over the standard deviation (GRPO; 0
    where all are equal); ``"rank"``: their centred ranks in [-1, 1], ties shared.

    Raises
    ------
    OptionError
        For fewer than two samples with a baseline, or an unknown one.

    Examples
    --------
    >>> advantage(torch.tensor([1.0, 0.5, 0.0, 0.5]))
    tensor([ 0.6667,  0.0000, -0.6667,  0.0000])
    """
    n = rewards.shape[0]
    if baseline == "none":
        return rewards
    if n < 2:
        raise OptionError(f"baseline={baseline!r} needs at least two samples, not {n}.")
    centred = rewards - rewards.mean(dim=0)
    if baseline == "loo":
        return centred * (n / (n - 1))
    if baseline == "mean":
        return centred
    if baseline == "std":
        spread = rewards.std(dim=0)
        return torch.where(spread > 1e-8, centred / spread.clamp(min=1e-8), 0.0)
    if baseline == "rank":
        above = (rewards[:, None] > rewards[None]).sum(dim=1)
        below = (rewards[:, None] < rewards[None]).sum(dim=1)
        return (above - below).to(rewards.dtype) / (n - 1)
    raise OptionError(f"baseline={baseline!r}: use none, loo, mean, std or rank.")
