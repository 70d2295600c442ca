"""Credit over time: advantages with a critic, discounted returns, whitening; all masked, ragged."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import widen
from policyrank.learn.advantages import group_keys
from policyrank.learn.moments import RunningMoments

Keys = Tensor | Sequence[Hashable]


class Estimates(NamedTuple):
    """What is learned from: advantages by the policy, returns by the critic; of one shape."""

    advantages: Tensor
    returns: Tensor


@torch.no_grad()
def gae(
    rewards: Tensor,
    values: Tensor,
    where: Tensor | None = None,
    *,
    discount: float = 1.0,
    decay: float = 0.95,
    ends: Tensor | None = None,
    last: Tensor | None = None,
) -> Estimates:
    """Generalised advantage estimation over tokens or steps, and returns, its sum with the values.

    A_t = d_t + discount decay A_u with d_t = r_t + discount V_u - V_t, where u is the next one that
    is not masked: what stands between (what a tool said) takes no time. Masked ones are 0 in both,
    whatever they hold. A NaN reward, which says nothing, makes those before it in its row NaN.

    Parameters
    ----------
    rewards, values
        (..., steps), of each token or step, and the critic before it
    where
        (..., steps), what the policy wrote itself; None: all
    discount, decay
        of what comes later, and of the estimate itself (gamma and lambda), in [0, 1]
    ends
        (..., steps), where an episode ends and nothing follows; None: with the row
    last
        (...), the critic after the last one, for rows that were cut; None: 0

    Raises
    ------
    OptionError
        For shapes that do not fit, or a number outside [0, 1].

    References
    ----------
    Schulman et al. (2016), arXiv 1506.02438, equations 11 and 16.

    Examples
    --------
    >>> gae(torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.5, 0.6, 0.7])).advantages
    tensor([0.4658, 0.3850, 0.3000])
    """
    _in_unit(discount=discount, decay=decay)
    _of_shape(rewards.shape, values=values, where=where, ends=ends)
    _of_shape(rewards.shape[:-1], last=last)
    mask = torch.ones_like(rewards, dtype=torch.bool) if where is None else where.bool()
    own = widen(values).double().masked_fill(~mask, 0.0)
    following = _following(own, mask, last)
    if ends is not None:
        following = following.masked_fill(ends.bool(), 0.0)
    surprise = widen(rewards).double() + discount * following - own
    factor = torch.full_like(own, discount * decay)
    if ends is not None:
        factor = factor.masked_fill(ends.bool(), 0.0)
    gain = _carried(surprise.masked_fill(~mask, 0.0), factor.masked_fill(~mask, 1.0))
    gain = gain.masked_fill(~mask, 0.0)
    kind = widen(values).dtype
    return Estimates(gain.to(kind), (gain + own).to(kind))


def step_gae(
    rewards: Tensor,
    values: Tensor,
    trajectories: Keys,
    steps: Tensor | None = None,
    *,
    discount: float = 0.95,
    decay: float = 0.95,
) -> Estimates:
    """``gae`` of rows that are steps of trajectories of any lengths: (rows,) each.

    Parameters
    ----------
    rewards, values
        (rows,), of each step, and the critic before it
    trajectories
        (rows,), whose step each row is: integers, or any keys
    steps
        (rows,), when, in any order; None: rows of a trajectory stand in the order of time

    Raises
    ------
    OptionError
        As ``gae``; or when a trajectory has two rows of one step.

    Examples
    --------
    >>> step_gae(torch.tensor([0.0, 3.0, 1.0]), torch.zeros(3), ["a", "b", "a"], decay=1.0).returns
    tensor([0.9500, 3.0000, 1.0000])
    """
    order, ends = in_time(trajectories, steps, rewards)
    _of_shape(rewards.shape, values=values)
    found = gae(rewards[order], values[order], ends=ends, discount=discount, decay=decay)
    return Estimates(_back(found.advantages, order), _back(found.returns, order))


@torch.no_grad()
def discounted_step_returns(
    rewards: Tensor,
    trajectories: Keys,
    steps: Tensor | None = None,
    *,
    discount: float = 0.95,
) -> Tensor:
    """What is gained from each step on, R_t = r_t + discount R_{t+1}: (rows,).

    What concerns one step alone, such as a penalty for an action that is not allowed, is added to
    what this gives, so that no earlier step pays for it.

    Parameters
    ----------
    rewards
        (rows,), of each step
    trajectories, steps
        as ``step_gae``

    Raises
    ------
    OptionError
        As ``step_gae``.

    Examples
    --------
    >>> discounted_step_returns(torch.tensor([0.0, 5.0, 0.0, 1.0]), ["a", "b", "a", "a"])
    tensor([0.9025, 5.0000, 0.9500, 1.0000])
    """
    _in_unit(discount=discount)
    order, ends = in_time(trajectories, steps, rewards)
    own = widen(rewards)[order].double()
    factor = torch.full_like(own, discount).masked_fill(ends, 0.0)
    return _back(_carried(own, factor).to(widen(rewards).dtype), order)


def whitened(
    values: Tensor,
    where: Tensor | None = None,
    *,
    centre: bool = True,
    sample: bool = False,
    epsilon: float = 1e-8,
    floor: float = 0.0,
    moments: RunningMoments | None = None,
) -> Tensor:
    """Values less their mean, over their deviation, of all that is not masked; 0 where masked.

    (x - mean) / sqrt(max(variance, floor) + epsilon). One alone, or equal ones, are 0. A NaN counts
    for nobody and stays.

    Parameters
    ----------
    values, where
        of one shape; None: all
    centre
        take the mean off; else it is put back after the scaling
    sample
        variance of a sample (verl, TRL's former PPO), else of the population (MOSS-RLHF, OpenRLHF)
    epsilon
        added to the variance: 1e-8 as verl, 1e-6 as MOSS-RLHF
    floor
        the least variance: 1e-8 as OpenRLHF (with epsilon 0)
    moments
        of the values of all processes, to whiten by these instead

    Raises
    ------
    OptionError
        For shapes that do not fit.

    Examples
    --------
    >>> mask = torch.tensor([True, True, True, False])
    >>> whitened(torch.tensor([1.0, 2.0, 3.0, 9.0]), mask, sample=True)
    tensor([-1.,  0.,  1.,  0.])
    """
    _of_shape(values.shape, where=where)
    own = widen(values)
    shown = torch.ones_like(own, dtype=torch.bool) if where is None else where.bool()
    seen = RunningMoments.of(own, shown) if moments is None else moments
    centred = own.double() - seen.mean
    divisor = seen.count - 1 if sample else seen.count
    variance = seen.squares / divisor if divisor > 0 else 0.0
    spread = math.sqrt(max(variance, floor) + epsilon)
    scaled = centred / spread if spread else centred
    out = scaled if centre else scaled + seen.mean
    return out.to(own.dtype).masked_fill(~shown, 0.0)


def _carried(terms: Tensor, factors: Tensor) -> Tensor:
    """x_t = terms_t + factors_t x_{t+1} along the last axis, 0 beyond its end.

    By doubling: after k rounds each x reaches 2^k ahead, so that a million steps take 20 rounds. A
    factor of 0 lets nothing pass, not even NaN.
    """
    out, factor = terms.clone(), factors
    length, reach = terms.shape[-1], 1
    while reach < length:
        passing = factor[..., : length - reach]
        if not bool(passing.any()):
            break
        carried = torch.where(passing == 0, 0.0, passing * out[..., reach:])
        out[..., : length - reach] += carried
        nearer = passing[..., : max(length - 2 * reach, 0)]
        factor = nearer * factor[..., reach : reach + nearer.shape[-1]]
        reach *= 2
    return out


def _following(values: Tensor, mask: Tensor, last: Tensor | None) -> Tensor:
    """The value at the next place that is not masked, beyond the row ``last``: (..., steps)."""
    length = values.shape[-1]
    beyond = values.new_zeros((*values.shape[:-1], 1))
    if last is not None:
        beyond = beyond + widen(last).double()[..., None]
    place = torch.arange(length, device=values.device).expand(mask.shape)
    place = place.masked_fill(~mask, length)
    place = torch.cat([place[..., 1:], torch.full_like(place[..., :1], length)], dim=-1)
    soonest = place.flip(-1).cummin(dim=-1).values.flip(-1)
    return torch.cat([values, beyond], dim=-1).gather(-1, soonest)


def in_time(trajectories: Keys, steps: Tensor | None, rewards: Tensor) -> tuple[Tensor, Tensor]:
    """Rows by trajectory and time, and which of these end theirs: (rows,) each."""
    keys = trajectories if isinstance(trajectories, Tensor) else group_keys(trajectories)
    keys = keys.to(rewards.device)
    if rewards.ndim != 1:
        raise OptionError(f"rewards {tuple(rewards.shape)} must be (rows,), one a step.")
    _of_shape(rewards.shape, trajectories=keys, steps=steps)
    if steps is None:
        order = keys.argsort(stable=True)
    else:
        order = steps.to(keys.device).argsort(stable=True)
        order = order[keys[order].argsort(stable=True)]
    ends = torch.ones_like(order, dtype=torch.bool)
    ends[:-1] = keys[order][1:] != keys[order][:-1]
    if steps is not None:
        when = steps.to(keys.device)[order]
        twice = (when[1:] == when[:-1]) & ~ends[:-1]
        if bool(twice.any()):
            row = int(order[1:][twice][0])
            said = f"its trajectory has step {steps[row].item()} twice"
            raise OptionError(f"row {row}: {said}; give each step once.")
    return order, ends


def _back(values: Tensor, order: Tensor) -> Tensor:
    out = torch.empty_like(values)
    out[order] = values
    return out


def _in_unit(**numbers: float) -> None:
    for name, value in numbers.items():
        if not 0 <= value <= 1:
            raise OptionError(f"{name}={value}: it is between 0 and 1.")


def _of_shape(shape: torch.Size, **others: Tensor | None) -> None:
    for name, own in others.items():
        if own is not None and own.shape != shape:
            raise OptionError(f"{name} {tuple(own.shape)} must be {tuple(shape)}, as the rewards.")
