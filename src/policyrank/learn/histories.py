"""Steps compared with those that share their history: groups within groups, and one advantage."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import widen
from policyrank.learn.advantages import Scale, group_advantage, group_keys
from policyrank.learn.temporal import Keys, in_time

NONE = -1
"""The key of a step that nobody shares its history with, or whose history is too short."""


def history_keys(
    observations: Tensor | Sequence[Any],
    trajectories: Keys,
    *,
    depth: int,
    tasks: Keys | None = None,
    actions: Keys | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    """Which steps share their observation, and how much of what led to it: (rows, depth + 1).

    Column k has one number for all steps of a task with the same last k + 1 observations; -1 where
    a step is alone with them, or its trajectory has not as many yet. Observations are equal only to
    the letter: a clock, a counter or the order of a list in them leaves every step alone
    (``shares_compared`` tells).

    Parameters
    ----------
    observations
        (rows,), what was seen before each action: integers, or anything; lists, arrays and
        dictionaries are compared by their contents
    trajectories
        (rows,), whose step each row is
    depth
        earlier observations that are looked at, 0 or more; 0: the present one alone (GiGPO)
    tasks
        (rows,), steps of different ones are never compared; None: one task
    actions
        (rows,), what was done at each step; given, histories share their actions too
    steps
        (rows,), when; None: rows of a trajectory stand in the order of time

    Raises
    ------
    OptionError
        For a negative depth, or other numbers of rows.

    References
    ----------
    He et al. (2026), "Hierarchy-of-Groups Policy Optimization for Long-Horizon Agentic Tasks",
    arXiv 2602.22817; Feng et al. (2025), "GiGPO", arXiv 2505.10978.

    Examples
    --------
    >>> history_keys(["a", "hub", "b", "hub"], [0, 0, 1, 1], depth=1).tolist()
    [[-1, -1], [1, -1], [-1, -1], [1, -1]]
    >>> history_keys(["a", "hub", "a", "hub"], [0, 0, 1, 1], depth=1).tolist()
    [[0, -1], [1, 0], [0, -1], [1, 0]]
    """
    if depth < 0:
        raise OptionError(f"depth={depth}: it is 0 or more.")
    seen = _coded(observations)
    order, ends = in_time(trajectories, steps, seen)
    given = {"tasks": tasks, "actions": actions}
    coded = {name: _coded(own).to(seen.device) for name, own in given.items() if own is not None}
    for name, own in coded.items():
        if len(own) != len(seen):
            raise OptionError(f"{name}: {len(own)} for {len(seen)} observations; give each one.")
    present = seen[order]
    task = coded["tasks"][order] if tasks is not None else torch.zeros_like(present)
    levels = [_joined(task, present)]
    for _ in range(depth):
        sofar = levels[-1]
        if actions is not None:
            sofar = _joined(sofar, coded["actions"][order])
        earlier = torch.full_like(sofar, NONE)
        earlier[1:] = sofar[:-1].masked_fill(ends[:-1], NONE)
        # Who is alone with a short history is so with a longer one.
        levels.append(_joined(earlier.masked_fill(levels[-1] < 0, NONE), present))
    out = torch.empty(len(seen), depth + 1, dtype=torch.long, device=seen.device)
    out[order] = torch.stack(levels, dim=-1)
    return out


def hierarchical_advantage(
    values: Tensor,
    levels: Tensor,
    *,
    scale: Scale = "std",
    alpha: float = 1.0,
    offset: float = 1.0,
    drop_zero: bool = True,
    base: Tensor | None = None,
    epsilon: float = 1e-6,
    otherwise: float = 0.0,
) -> Tensor:
    """One advantage of those within each level's group, deeper ones weighing more: (rows,).

    A = sum_k w_k a_k / sum_k w_k with w_k = (k + offset)^alpha, over the levels k = 1, 2, ... where
    a step has company.

    Parameters
    ----------
    values
        (rows,), what is compared: discounted returns of steps; NaN: of nobody
    levels
        (rows, levels), groups from the widest to the narrowest (``history_keys``); -1: in none
    scale
        within a group: ``"std"`` over the population's deviation, ``"sample"``, or ``"none"``
    alpha
        0: levels count alike; large: the deepest alone
    offset
        of k: 1 is the released code's weights (2, 3, 4, ...), 0 gives (1, 2, 3, ...)
    drop_zero
        leave out a level that says 0: whose values are all equal, or whose mean the step has. It
        then falls back on the wider ones, which the deep level's "no better than others" would
        have held down; False: 0 counts
    base
        (rows,), an advantage of level k = 0, such as the episode's; None: none
    epsilon
        added to a deviation
    otherwise
        of a step of which no level says anything; NaN, so that it does not count

    Raises
    ------
    OptionError
        For shapes that do not fit, or options that leave a level no weight.

    References
    ----------
    arXiv 2602.22817. Equal values are 0 by comparing them, where the released code subtracts a mean
    that is off by rounding, and divides it by a deviation as small.

    Examples
    --------
    >>> returns = torch.tensor([1.0, 1, 0, 0, 0, 1])
    >>> levels = torch.tensor([[0, 0], [0, 0], [0, 0], [0, 1], [0, 1], [0, 1]])
    >>> hierarchical_advantage(returns, levels, scale="none")
    tensor([ 0.4000,  0.4000, -0.6000, -0.4000, -0.4000,  0.6000])
    """
    own = widen(values)
    levels = levels.to(own.device)
    if levels.ndim != 2 or len(levels) != len(own) or own.ndim != 1:
        raise OptionError(
            f"levels {tuple(levels.shape)} of values {tuple(own.shape)}: give (rows, levels)."
        )
    if base is not None and base.shape != own.shape:
        raise OptionError(f"base {tuple(base.shape)} must be {tuple(own.shape)}.")
    if alpha < 0 or offset < 0 or (base is not None and offset == 0 and alpha > 0):
        raise OptionError(
            f"alpha={alpha}, offset={offset}: both are 0 or more, and a base needs an offset, or it"
            " has no weight."
        )
    columns = [] if base is None else [widen(base).double()]
    for groups in levels.T:
        rows = _with_company(groups)
        each = torch.full_like(own, torch.nan, dtype=torch.float64)
        each[rows] = group_advantage(own[rows].double(), groups[rows], scale=scale, epsilon=epsilon)
        columns.append(each)
    said = torch.stack(columns, dim=-1)
    first = 1 if base is None else 0
    place = torch.arange(first, first + said.shape[1], device=own.device)
    weight = (place.double() + offset) ** alpha
    told = ~said.isnan()
    if drop_zero:
        told &= said != 0
    weight = told * weight
    total = weight.sum(dim=-1)
    out = (weight * said.nan_to_num(nan=0.0)).sum(dim=-1) / total
    out = torch.where(total > 0, out, otherwise)
    return out.masked_fill(own.isnan(), torch.nan).to(own.dtype)


def shares_compared(levels: Tensor) -> Tensor:
    """Of the rows, how many have company at each level: (levels,).

    Falls with depth; near 0 at the first level, no two observations are equal to the letter.

    Examples
    --------
    >>> shares_compared(torch.tensor([[0, -1], [0, 0], [1, -1], [0, 0]]))
    tensor([0.7500, 0.5000])
    """
    shares = [_with_company(groups).float().mean() for groups in levels.T]
    return torch.stack(shares)


def _with_company(groups: Tensor) -> Tensor:
    """Which rows are not alone in their group: (rows,), boolean."""
    inside = groups >= 0
    own = groups.clamp(min=0)
    sizes = torch.bincount(own[inside])
    if not len(sizes):
        return inside
    return inside & (sizes[own] > 1)


def _coded(keys: Tensor | Sequence[Any]) -> Tensor:
    """Keys of any kind as integers from 0: (rows,)."""
    if not isinstance(keys, Tensor):
        try:
            return group_keys(keys)
        except TypeError:  # what has no hash
            return group_keys([_hashable(key) for key in keys])
    if keys.is_floating_point():
        raise OptionError("observations as a tensor are integers, one a row; else give a list.")
    wide = keys.numel() and (int(keys.min()) < 0 or int(keys.max()) > 4 * len(keys))
    return keys.unique(return_inverse=True)[1] if wide else keys.long()


def _hashable(key: Any) -> Hashable:
    if isinstance(key, Mapping):
        return tuple(sorted((str(name), _hashable(own)) for name, own in key.items()))
    if hasattr(key, "tolist"):
        return _hashable(key.tolist())
    if isinstance(key, (list, tuple)):
        return tuple(_hashable(own) for own in key)
    return repr(sorted(map(repr, key))) if isinstance(key, set) else key


def _joined(first: Tensor, second: Tensor) -> Tensor:
    """One number for each pair of keys that occurs twice; -1 for others, and where the first is."""
    rows = first >= 0
    width = int(second.max()) + 1 if len(second) else 1
    pairs = first[rows] * width + second[rows]
    number, count = pairs.unique(return_inverse=True, return_counts=True)[1:]
    out = torch.full_like(first, NONE)
    out[rows] = number.masked_fill(count[number] < 2, NONE)
    return out
