"""Advantages: how much better a sample did than it should have."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import widen
from policyrank.learn._options import check_options
from policyrank.learn.labels import label_distribution
from policyrank.learn.segments import of_segments

Baseline = Literal["none", "mean", "loo", "rank"]
Scale = Literal["none", "std", "sample", "batch"]


class Advantage(Protocol):
    """Rewards of a group (..., list) and its mask -> how much better each did: (..., list)."""

    def __call__(self, rewards: Tensor, where: Tensor, /) -> Tensor: ...


def group_advantage(
    rewards: Tensor,
    groups: Tensor | Sequence[Hashable] | None = None,
    *,
    baseline: Baseline = "mean",
    scale: Scale = "none",
    epsilon: float = 1e-4,
    least: int = 2,
) -> Tensor:
    """How much better each sample did than its group: the shape of the rewards.

    Groups may have any sizes. A NaN does not apply: it counts for nobody and stays NaN, and so does
    each of a group with fewer than ``least`` rewards, of which nothing can be said (not its raw
    reward, which others give it). Where all rewards of a group are equal, up to rounding, it is 0.

    Parameters
    ----------
    rewards
        (samples,), or (samples, ...) with each column for itself: ranks, phases, parts
    groups
        (samples,) whom each is compared with: integers, or any keys (prompts, histories, clusters
        of queries); None: all
    baseline
        what is taken off: ``"mean"`` of the group (GRPO), ``"loo"`` of its others (RLOO),
        ``"none"``; ``"rank"``: the rewards' centred ranks in [-1, 1] instead, ties shared
    scale
        what it is divided by: ``"none"`` (Dr. GRPO), the group's standard deviation of the
        population (``"std"``) or of a sample (``"sample"``: TRL, verl), or that of the
        column's rewards of a sample (``"batch"``)
    epsilon
        added to what it is divided by: 1e-4 as TRL, 1e-6 as verl
    least
        rewards that a group needs

    Raises
    ------
    OptionError
        When there are not as many keys as samples, or for an unknown option.

    References
    ----------
    Shao et al. (2024), arXiv 2402.03300 (GRPO); Ahmadian et al. (2024), arXiv 2402.14740 (RLOO);
    Liu et al. (2025), arXiv 2503.20783 (Dr. GRPO).

    Examples
    --------
    >>> group_advantage(torch.tensor([1.0, 0.0, 0.0, 5.0]), ["a", "a", "a", "b"], baseline="loo")
    tensor([ 1.0000, -0.5000, -0.5000,     nan])
    >>> group_advantage(torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 0]), scale="sample")[:2]
    tensor([ 2.4742, -0.3535])
    """
    if baseline not in ("none", "mean", "loo", "rank"):
        raise OptionError(f"baseline={baseline!r}: use none, mean, loo or rank.")
    if scale not in ("none", "std", "sample", "batch"):
        raise OptionError(f"scale={scale!r}: use none, std, sample or batch.")
    values = widen(rewards)
    columns = values.flatten(1) if values.ndim > 1 else values[:, None]
    key, count = _cells(groups, columns)
    flat = columns.reshape(-1)
    absent = flat.isnan()
    there = ~absent if bool(absent.any()) else slice(None)
    cells = _Cells(key[there], count, flat[there])
    gain = cells.ranks() if baseline == "rank" else cells.gains(baseline)
    if scale == "batch":
        column = _Cells(cells.key % columns.shape[1], columns.shape[1], flat[there])
        gain = gain / (column.spread(sample=True) + epsilon)
    elif scale != "none":
        spread = cells.spread(sample=scale == "sample").masked_fill(cells.tied, 1.0)
        gain = gain / (spread + epsilon)
    gain = gain.masked_fill(cells.size < least, torch.nan)
    out = torch.full_like(flat, torch.nan)
    out[there] = gain.to(out.dtype)
    return out.reshape(values.shape)


class GroupAdvantage(Protocol):
    """Rewards (samples, ...) and whom each is compared with (samples,) -> advantages.

    Of the shape of the rewards; NaN: says nothing.
    """

    def __call__(self, rewards: Tensor, groups: Tensor, /) -> Tensor: ...


GROUP_ADVANTAGES: dict[str, Callable[..., Tensor]] = {
    "grpo": partial(group_advantage, scale="sample"),
    "dr-grpo": group_advantage,
    "rloo": partial(group_advantage, baseline="loo"),
    "ranks": partial(group_advantage, baseline="rank"),
    "batch": partial(group_advantage, scale="batch"),
    "none": partial(group_advantage, baseline="none", least=1),
}
"""Settings of ``group_advantage`` that have names; its options can be given on top."""


def named_group_advantage(advantage: str | GroupAdvantage, **options: Any) -> GroupAdvantage:
    """One of ``GROUP_ADVANTAGES`` by name, with options; a function is what it is.

    Raises
    ------
    OptionError
        For an unknown name or option.
    """
    if isinstance(advantage, str):
        if advantage not in GROUP_ADVANTAGES:
            names = ", ".join(GROUP_ADVANTAGES)
            raise OptionError(f"advantage={advantage!r}: use one of {names}, or a function.")
        name, found = f"advantage {advantage!r}", GROUP_ADVANTAGES[advantage]
    else:
        name, found = "the advantage", advantage
    check_options(found, options, name=name, given=("rewards", "groups"))
    return partial(found, **options) if options else found


def group_mean(values: Tensor, groups: Tensor | Sequence[Hashable] | None = None) -> Tensor:
    """The mean of each sample's group, NaN left out: the shape of the values.

    NaN where a group has none.

    Examples
    --------
    >>> group_mean(torch.tensor([1.0, 3.0, torch.nan, 5.0]), ["a", "a", "a", "b"])
    tensor([2., 2., 2., 5.])
    """
    values = widen(values)
    columns = values.flatten(1) if values.ndim > 1 else values[:, None]
    key, count = _cells(groups, columns)
    flat = columns.reshape(-1)
    there = ~flat.isnan()
    total = flat.new_zeros(count, dtype=torch.float64)
    total = total.index_add(0, key[there], flat[there].double())
    mean = total / torch.bincount(key[there], minlength=count)
    return mean[key].to(values.dtype).reshape(values.shape)


def group_keys(keys: Sequence[Hashable]) -> Tensor:
    """Keys of any kind as integers, in the order of their first occurrence: (samples,).

    Examples
    --------
    >>> group_keys([("q", 1), ("q", 2), ("q", 1)])
    tensor([0, 1, 0])
    """
    first = dict.fromkeys(keys)
    number = dict(zip(first, range(len(first)), strict=True))
    return torch.tensor(list(map(number.__getitem__, keys)), dtype=torch.long)


def _cells(groups: Tensor | Sequence[Hashable] | None, columns: Tensor) -> tuple[Tensor, int]:
    """A number for each group and column, of each entry: (samples * columns,); and how many."""
    samples, width = columns.shape
    if groups is None:
        own = torch.zeros(samples, dtype=torch.long, device=columns.device)
    elif isinstance(groups, Tensor):
        own = groups.to(columns.device)
    else:
        own = group_keys(groups).to(columns.device)
    if own.shape != (samples,):
        raise OptionError(
            f"{tuple(own.shape)} keys of groups for {samples} samples: give each one."
        )
    if own.is_floating_point():
        raise OptionError(
            "keys of groups are integers, or a list of any keys, not numbers with a point."
        )
    if not samples:
        return own.long(), 0
    lowest, highest = int(own.min()), int(own.max())
    if lowest < 0 or highest > 4 * samples:
        own = own.unique(return_inverse=True)[1]
        highest = int(own.max())
    every = own.long()[:, None] * width + torch.arange(width, device=own.device)
    return every.reshape(-1), (highest + 1) * width


def without_ties(gains: Tensor, groups: Tensor | Sequence[Hashable] | None = None) -> Tensor:
    """NaN, which says nothing, where all gains of a group are 0: the shape of the gains.

    A group of equal rewards has no policy gradient, but would have a share of the denominator, and
    a KL gradient. Of several columns (segments, tokens), all must be 0.

    Examples
    --------
    >>> without_ties(torch.tensor([0.0, 0.0, 1.0, 0.0, -1.0]), ["a", "a", "b", "b", "b"])
    tensor([nan, nan,  1.,  0., -1.])
    """
    size = gains.abs().nan_to_num(nan=0.0)
    size = size.flatten(1).amax(dim=1) if gains.ndim > 1 and gains.shape[1] else size.reshape(-1)
    key, count = _cells(groups, size[:, None])
    largest = size.new_zeros(count).scatter_reduce(0, key, size, "amax")
    silent = largest[key] == 0
    return gains.masked_fill(silent.reshape(-1, *[1] * (gains.ndim - 1)), torch.nan)


def token_gains(gains: Tensor, where: Tensor, segments: Tensor | None = None) -> Tensor:
    """What was said of a row, or of its segments, at each of its tokens: (rows, tokens).

    NaN, which says nothing, where masked, at tokens that belong to no segment, and to one of which
    nothing is said.

    Parameters
    ----------
    gains
        (rows,), or (rows, segments), of segments 1, 2, ...
    where
        (rows, tokens), what the policy wrote itself
    segments
        (rows, tokens), from 1; 0: of none. Where given, tokens of none say nothing

    Raises
    ------
    OptionError
        When gains of segments come without segments.

    Examples
    --------
    >>> gains = torch.tensor([[2.0, 5.0]])
    >>> token_gains(gains, torch.ones(1, 5), torch.tensor([[0, 1, 1, 2, 3]]))
    tensor([[nan, 2., 2., 5., nan]])
    """
    if segments is None:
        if gains.ndim > 1:
            raise OptionError(f"gains {tuple(gains.shape)} are of segments: give the segments.")
        out = widen(gains)[:, None].expand(where.shape)
        return out.masked_fill(~where.bool(), torch.nan)
    none = segments == 0
    if gains.ndim > 1:
        none = none | (segments > gains.shape[1])
        out = of_segments(widen(gains), segments)
    else:
        out = widen(gains)[:, None].expand(where.shape)
    return out.masked_fill(none | ~where.bool(), torch.nan)


class _Cells:
    """Values in groups: key (values,), number of groups, values, summed in float64."""

    def __init__(self, key: Tensor, count: int, values: Tensor) -> None:
        slack = 8 * torch.finfo(values.dtype).eps
        values = values.double()
        self.key, self.count, self.values = key, count, values
        self.sizes = torch.bincount(key, minlength=count)
        self.size = self.sizes[key]
        self.centred = values - self.mean_of(values)
        # Of equal values the mean is off by rounding only, which must not be divided by itself.
        self.tied = self.mean_of(self.centred.abs()) <= slack * self.mean_of(values.abs())

    def mean_of(self, values: Tensor) -> Tensor:
        """The mean over each value's group."""
        total = values.new_zeros(self.count).index_add(0, self.key, values)
        return (total / self.sizes.clamp(min=1))[self.key]

    def gains(self, baseline: Baseline) -> Tensor:
        if baseline == "none":
            return self.values
        gain = self.centred
        if baseline == "loo":
            gain = gain * (self.size / (self.size - 1).clamp(min=1))
        return gain.masked_fill(self.tied, 0.0)

    def spread(self, *, sample: bool) -> Tensor:
        """The standard deviation of each value's group."""
        variance = self.mean_of(self.centred**2)
        if sample:
            variance = variance * (self.size / (self.size - 1).clamp(min=1))
        return variance.sqrt()

    def ranks(self) -> Tensor:
        """How many of the others are below, less how many are above, over all others."""
        order = self.values.argsort()
        order = order[self.key[order].argsort(stable=True)]
        key, values = self.key[order], self.values[order]
        new = torch.ones_like(key, dtype=torch.bool)
        new[1:] = (key[1:] != key[:-1]) | (values[1:] != values[:-1])
        equals = new.cumsum(0) - 1
        many = torch.bincount(equals)[equals]
        first = new.nonzero().squeeze(-1)[equals]
        below = first - (self.sizes.cumsum(0) - self.sizes)[key]
        above = self.size[order] - below - many
        out = torch.empty_like(self.values)
        out[order] = (below - above).double() / (self.size[order] - 1).clamp(min=1)
        return out


def standardised(rewards: Tensor, where: Tensor, *, scale: bool = True) -> Tensor:
    """Rewards less their group's mean, over its deviation: (..., list); 0 where all are equal.

    ``scale=False`` only centres (Dr. GRPO). The group is the list.

    Examples
    --------
    >>> standardised(torch.tensor([1.0, 0.0, 5.0]), torch.tensor([True, True, False]))
    tensor([ 1., -1.,  0.])
    """
    lists = widen(rewards).masked_fill(~where, torch.nan).movedim(-1, 0)
    gain = group_advantage(lists, scale="std" if scale else "none", epsilon=0.0)
    return gain.movedim(0, -1).nan_to_num(nan=0.0)


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


def reward_to_go(rewards: Tensor, weights: Tensor | None = None) -> Tensor:
    """What is gained in each segment and after it: (..., segments).

    What was gained before cannot depend on it. A NaN (a segment that says nothing) adds nothing to
    those before, and stays.

    Parameters
    ----------
    weights
        (segments,) of their rewards; None: 1 each

    Examples
    --------
    >>> reward_to_go(torch.tensor([[0.5, 0.25, torch.nan]]))
    tensor([[0.7500, 0.2500,    nan]])
    """
    weighted = rewards if weights is None else rewards * weights
    after = weighted.nan_to_num(nan=0.0).flip(-1).cumsum(-1).flip(-1)
    return after.masked_fill(rewards.isnan(), torch.nan)
