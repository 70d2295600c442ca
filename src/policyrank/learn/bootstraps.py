"""What critics are told of the future: targets, returns of demonstrations, histograms of values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import Reduce, reduce_lists, widen


@torch.no_grad()
def td_target(rewards: Tensor, values: Tensor, terminated: Tensor, discount: float) -> Tensor:
    """r + discount V(next), and r alone where an episode ended: (...).

    Parameters
    ----------
    rewards, values
        (...), of a step, and of the state after it
    terminated
        bool (...), where nothing follows. A time limit ends no task: its value is continued, so
        what was truncated is not terminated.
    discount
        in [0, 1]

    Raises
    ------
    OptionError
        For shapes that do not fit, or a discount outside [0, 1].

    Examples
    --------
    >>> ends = torch.tensor([False, True])
    >>> td_target(torch.tensor([-1.0, 0.0]), torch.tensor([-10.0, torch.nan]), ends, 0.5)
    tensor([-6.,  0.])
    """
    if not 0 <= discount <= 1:
        raise OptionError(f"discount={discount}: it lies in [0, 1].")
    if not rewards.shape == values.shape == terminated.shape:
        shapes = [tuple(own.shape) for own in (rewards, values, terminated)]
        raise OptionError(f"rewards, values and terminated have shapes {shapes}: they must agree.")
    return widen(rewards) + discount * widen(values).masked_fill(terminated.bool(), 0.0)


def subset_minimum(
    values: Tensor,
    members: int = 2,
    *,
    replace: bool = False,
    seed: int | torch.Generator | None = None,
) -> Tensor:
    """The least value of a few members of an ensemble, drawn anew each time (REDQ): (...).

    Parameters
    ----------
    values
        (ensemble, ...)
    members
        that are drawn; all: the minimum of the ensemble
    replace
        whether one may be drawn twice
    seed
        None: torch's own generator

    Raises
    ------
    OptionError
        For more members than there are, or none.

    References
    ----------
    Chen et al. (2021), "Randomized Ensembled Double Q-Learning", arXiv 2101.05982.

    Examples
    --------
    >>> subset_minimum(torch.tensor([[1.0, 3.0], [2.0, 0.0]]))
    tensor([1., 0.])
    """
    size = len(values)
    if members < 1 or (members > size and not replace):
        raise OptionError(f"members={members}: the ensemble has {size}.")
    generator = torch.Generator().manual_seed(seed) if isinstance(seed, int) else seed
    if replace:
        chosen = torch.randint(size, (members,), generator=generator)
    else:
        chosen = torch.randperm(size, generator=generator)[:members]
    return values[chosen.to(values.device)].amin(dim=0)


class Demonstrated(NamedTuple):
    """A demonstration as a task of -1 a step: (length,) each.

    Attributes
    ----------
    rewards
        -1, and 0 where it has succeeded
    terminated
        bool, where nothing follows
    returns
        discounted sums of the rewards from there on
    """

    rewards: Tensor
    terminated: Tensor
    returns: Tensor


def demonstrated(
    length: int, *, last: int = 3, discount: float = 0.98, success: bool = True
) -> Demonstrated:
    """Rewards of a demonstration that says only that it succeeds, or fails, at its end.

    Parameters
    ----------
    length
        steps
    last
        steps at its end that count as success, after each of which nothing follows
    discount
        in [0, 1)
    success
        a failure has no reward but -1 and never ends: its returns are -1 / (1 - discount)

    Raises
    ------
    OptionError
        For no steps, no last one, or a discount outside [0, 1).

    References
    ----------
    Nakamoto et al. (2024), "Steering Your Generalists", arXiv 2410.13816.

    Examples
    --------
    >>> demonstrated(5).returns
    tensor([-1.9800, -1.0000,  0.0000,  0.0000,  0.0000])
    """
    if length < 1 or last < 1 or not 0 <= discount < 1:
        raise OptionError(
            f"length={length}, last={last}, discount={discount}: at least a step of each, and a"
            " discount in [0, 1)."
        )
    rewards, terminated = torch.full((length,), -1.0), torch.zeros(length, dtype=torch.bool)
    if not success:
        return Demonstrated(rewards, terminated, torch.full((length,), -1 / (1 - discount)))
    rewards[-last:], terminated[-last:] = 0.0, True
    left = torch.arange(length - 1, -1, -1) - (last - 1)
    steps = left.clamp(min=0).double()
    returns = -steps if discount == 1 else -(1 - discount**steps) / (1 - discount)
    return Demonstrated(rewards, terminated, returns.float() + 0.0)


@dataclass(frozen=True)
class ValueBins:
    """Values as shares of bins, smoothed by a normal: a critic that classifies (HL-Gauss).

    Parameters
    ----------
    low, high
        the range of values
    bins
        of equal width
    width
        standard deviation of the normal, in widths of a bin

    Raises
    ------
    OptionError
        For an empty range, fewer than two bins, or a width that is not above 0.

    References
    ----------
    Imani and White (2018); Farebrother et al. (2024), "Stop Regressing", arXiv 2403.03950.

    Examples
    --------
    >>> ValueBins(0, 1, 4).shares(torch.tensor([0.5]))
    tensor([[0.0881, 0.4119, 0.4119, 0.0881]])
    """

    low: float
    high: float
    bins: int = 128
    width: float = 0.75

    def __post_init__(self) -> None:
        if not self.low < self.high or self.bins < 2 or not self.width > 0:
            raise OptionError(
                f"{self}: low lies below high, there are two bins at least, and width is above 0."
            )

    @property
    def edges(self) -> Tensor:
        """Of the bins: (bins + 1,)."""
        return torch.linspace(self.low, self.high, self.bins + 1)

    @property
    def centres(self) -> Tensor:
        """Of the bins: (bins,)."""
        edges = self.edges
        return (edges[1:] + edges[:-1]) / 2

    def shares(self, values: Tensor) -> Tensor:
        """The normal's share of each bin, of what it has within the range: (..., bins).

        Values beyond the range count as its end. Near an end the mean of the shares is drawn
        inwards.
        """
        value = widen(values).clamp(self.low, self.high)[..., None]
        spread = self.width * (self.high - self.low) / self.bins * math.sqrt(2)
        below = torch.erf((self.edges.to(value) - value) / spread)
        return below.diff(dim=-1) / (below[..., -1:] - below[..., :1])

    def mean(self, shares: Tensor) -> Tensor:
        """The value that shares stand for: (..., bins) -> (...)."""
        return (shares * self.centres.to(shares)).sum(dim=-1)

    def loss(self, logits: Tensor, values: Tensor, *, reduce: Reduce = "mean") -> Tensor:
        """Cross-entropy of logits (..., bins) to the shares of values (...).

        Raises
        ------
        OptionError
            For shapes that do not fit.
        """
        if logits.shape != (*values.shape, self.bins):
            raise OptionError(f"logits {tuple(logits.shape)} must be {(*values.shape, self.bins)}.")
        each = -(self.shares(values) * widen(logits).log_softmax(dim=-1)).sum(dim=-1)
        return reduce_lists(each, torch.ones_like(each, dtype=torch.bool), reduce)
