"""Rewards in two layers: what must not fail gates what is better or worse.

How far a gate holds is a number (``violation_bound``): what an answer that fails one constraint
wholly can still earn, everything else being perfect. In a group that may be more than an answer
earns that keeps them all; what never may is ``feasible_first``.

| gate | of constraints s in [0, 1] | bound, of m constraints |
| :-- | :-- | :-- |
| ``geometric`` | exp(mean log((s + delta) / (1 + delta))) | (delta / (1 + delta))^(1 / m) |
| ``product`` | prod (s + delta) / (1 + delta) | delta / (1 + delta) |
| ``least`` | min s | 0 |
| ``sigmoid`` | prod of sigmoids about the thresholds, 1 where all s are 1 | sigmoid(-t / width) |
| ``hard`` | 1 where every s reaches its threshold, else 0 | 0 |
| ``linear`` | none: share mean(s) + (1 - share) U | 1 - share / m |

The more constraints, the less a geometric mean holds each: delta 0.01 lets 0.6 of 9 pass. Only
``hard`` with thresholds tells a small violation from none; ``least`` and ``product`` pay for
what a small one gains as soon as the objective rises faster than they fall.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import widen
from policyrank.learn._options import check_options
from policyrank.learn.advantages import Scale, group_advantage, group_keys

TwoLayerGate = Literal["geometric", "product", "least", "sigmoid", "hard", "linear"]


def smoothed_geometric_mean(
    parts: Tensor, weights: Tensor | None = None, *, delta: float = 0.01
) -> Tensor:
    """exp of the mean of log((s + delta) / (1 + delta)), of what applies: (...).

    1 where all are 1 and where none applies (NaN); delta / (1 + delta) where all are 0.

    Parameters
    ----------
    parts
        (..., parts), in [0, 1]
    weights
        (parts,), of their logarithms; None: alike
    delta
        smoothing: the slope in a part is at most 1 / (m delta); 0: none, a part of 0 closes it

    References
    ----------
    "SearchLLM" (2026), arXiv 2603.10473, equation 1 (as two reading notes have it).

    Examples
    --------
    >>> smoothed_geometric_mean(torch.tensor([[0.5, 0.8], [0.0, 0.0]]))
    tensor([0.6364, 0.0099])
    """
    own = widen(parts)
    if not delta >= 0:
        raise OptionError(f"delta={delta}: it is 0 or more.")
    there = (~own.isnan()).to(own.dtype)
    weight = there if weights is None else there * weights
    logs = ((own.nan_to_num(nan=1.0) + delta) / (1 + delta)).log()
    return ((weight * logs).sum(dim=-1) / weight.sum(dim=-1).clamp(min=1e-12)).exp()


def _product(parts: Tensor, thresholds: Tensor, *, delta: float = 0.01) -> Tensor:
    return ((parts + delta) / (1 + delta)).nan_to_num(nan=1.0).prod(dim=-1)


def _least(parts: Tensor, thresholds: Tensor) -> Tensor:
    return parts.nan_to_num(nan=1.0).amin(dim=-1)


def _sigmoid(parts: Tensor, thresholds: Tensor, *, width: float = 0.05) -> Tensor:
    opened = torch.sigmoid((parts - thresholds) / width)
    whole = torch.sigmoid((1 - thresholds) / width)
    return (opened / whole).nan_to_num(nan=1.0).prod(dim=-1)


def _hard(parts: Tensor, thresholds: Tensor) -> Tensor:
    return ((parts >= thresholds) | parts.isnan()).all(dim=-1).to(parts.dtype)


def _geometric(parts: Tensor, thresholds: Tensor, *, delta: float = 0.01) -> Tensor:
    return smoothed_geometric_mean(parts, delta=delta)


TWO_LAYER_GATES: dict[str, Callable[..., Tensor]] = {
    "geometric": _geometric,
    "product": _product,
    "least": _least,
    "sigmoid": _sigmoid,
    "hard": _hard,
}
"""Gates by name; ``linear`` is none of them, but what they are compared with."""


def two_layer_reward(
    constraints: Tensor,
    objectives: Tensor,
    weights: Tensor | None = None,
    *,
    gate: TwoLayerGate = "geometric",
    thresholds: Tensor | float = 1.0,
    penalty: float = 0.0,
    share: float = 0.5,
    **options: Any,
) -> Tensor:
    """How well objectives are met, times how far the constraints open the gate: (answers,).

    Parameters
    ----------
    constraints
        (answers, constraints), in [0, 1], 1: kept; NaN: does not apply. A judge that gave no answer
        is NaN, not 0, or it closes the gate
    objectives
        (answers, objectives), in [0, 1]; NaN: left out of the mean. Where none applies NaN
    weights
        (objectives,), 0 or more; None: alike
    gate
        see the table of this module
    thresholds
        (constraints,) or one, for ``"hard"`` and ``"sigmoid"``
    penalty
        what a closed hard gate pays instead of 0
    share
        of the constraints in ``"linear"``
    **options
        ``delta`` of ``"geometric"`` and ``"product"``, ``width`` of ``"sigmoid"``

    Raises
    ------
    OptionError
        For an unknown gate or option, or values outside [0, 1].

    References
    ----------
    arXiv 2603.10473, equations 1 to 3: ``"geometric"``, delta 0.01.

    Examples
    --------
    >>> s, u = torch.tensor([[0.5, 0.8]]), torch.tensor([[0.2, 0.6]])
    >>> two_layer_reward(s, u, torch.tensor([1.0, 3.0]))
    tensor([0.3182])
    """
    held, own = widen(constraints), widen(objectives)
    for name, values in (("constraints", held), ("objectives", own)):
        if bool(((values < 0) | (values > 1)).any()):
            raise OptionError(f"{name} must be in [0, 1] (or NaN).")
    gain = _weighted_mean(own, weights)
    if gate == "linear":
        kept = _weighted_mean(held, None).nan_to_num(nan=1.0)
        return share * kept + (1 - share) * gain
    opened = _opened(gate, held, thresholds, options)
    if gate == "hard" and penalty:
        closed = torch.full_like(gain, penalty).masked_fill(gain.isnan(), torch.nan)
        return torch.where(opened > 0, gain, closed)
    return opened * gain


def _opened(gate: str, held: Tensor, thresholds: Tensor | float, options: dict[str, Any]) -> Tensor:
    if gate not in TWO_LAYER_GATES:
        names = ", ".join(get_args(TwoLayerGate))
        raise OptionError(f"gate={gate!r}: use one of {names}.")
    rule = TWO_LAYER_GATES[gate]
    check_options(rule, options, name=f"gate {gate!r}", given=("parts", "thresholds"))
    if not held.shape[-1]:
        return held.new_ones(held.shape[:-1])
    return partial(rule, **options)(held, torch.as_tensor(thresholds).to(held))


def _weighted_mean(parts: Tensor, weights: Tensor | None) -> Tensor:
    weight = (~parts.isnan()).to(parts.dtype)
    if weights is not None:
        weight = weight * weights
    total = weight.sum(dim=-1)
    mean = (weight * parts.nan_to_num(nan=0.0)).sum(dim=-1) / total
    return torch.where(total > 0, mean, torch.nan)


def violation_bound(
    gate: TwoLayerGate,
    constraints: int,
    *,
    threshold: float = 1.0,
    penalty: float = 0.0,
    share: float = 0.5,
    **options: Any,
) -> float:
    """What an answer earns that fails one constraint wholly and is perfect else.

    An answer that keeps all constraints is below it in reward, and may be taught away from, as soon
    as its objectives are.

    Parameters
    ----------
    constraints
        how many there are: a geometric mean lets more pass the more there are
    threshold, penalty, share, **options
        as ``two_layer_reward``

    Examples
    --------
    >>> round(violation_bound("geometric", 9), 4), round(violation_bound("product", 9), 4)
    (0.5988, 0.0099)
    """
    parts = torch.ones(1, constraints, dtype=torch.float64)
    parts[0, 0] = 0.0
    perfect = torch.ones(1, 1, dtype=torch.float64)
    return two_layer_reward(
        parts,
        perfect,
        gate=gate,
        thresholds=threshold,
        penalty=penalty,
        share=share,
        **options,
    ).item()


def feasible_first(
    rewards: Tensor,
    feasible: Tensor,
    groups: Tensor | Sequence[Hashable],
    *,
    margin: float = 0.1,
    scale: Scale = "none",
    epsilon: float = 1e-4,
) -> Tensor:
    """Advantages by which no answer that breaks a constraint ever gains: (answers,).

    Whatever it earned, it counts as ``margin`` less than the least that a feasible one of its group
    did, and all are then compared as ``group_advantage`` does: its advantage is the smallest, never
    above 0. A group without a feasible answer says nothing (NaN).

    Parameters
    ----------
    feasible
        (answers,), whether each keeps all constraints
    margin
        0 or more; 0: where one answer is feasible, nothing is learned from its group
    scale, epsilon
        of ``group_advantage``

    Raises
    ------
    OptionError
        For a negative margin, or shapes that do not fit.

    Examples
    --------
    >>> rewards, feasible = torch.tensor([0.6, 0.3, 0.1, 0.2]), torch.tensor([0, 1, 1, 1])
    >>> feasible_first(rewards, feasible, [0, 0, 0, 0])
    tensor([-0.1500,  0.1500, -0.0500,  0.0500])
    """
    if margin < 0 or feasible.shape != rewards.shape:
        raise OptionError("margin is 0 or more, and feasible says it of each answer.")
    own, allowed = widen(rewards), feasible.bool()
    keys = groups if isinstance(groups, Tensor) else group_keys(groups)
    key = keys.to(own.device).unique(return_inverse=True)[1]
    known = allowed & ~own.isnan()
    least = own.new_full((int(key.max()) + 1 if len(key) else 0,), torch.inf)
    least = least.scatter_reduce(0, key[known], own[known], "amin")[key]
    below = (least - margin).masked_fill(least.isinf() | own.isnan(), torch.nan)
    return group_advantage(torch.where(allowed, own, below), key, scale=scale, epsilon=epsilon)
