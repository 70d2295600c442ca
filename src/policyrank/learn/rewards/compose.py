"""Several rewards as one: sums, and gates by which one decides whether another counts.

Each takes parts (answers, parts) and gives (answers,). A part that is NaN does not apply: it is
left out of sums and gates; where none applies the reward is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import widen
from policyrank.learn.advantages import group_advantage
from policyrank.learn.rewards.gates import TWO_LAYER_GATES

Gate = Literal["geometric", "product", "least", "hard"]
_WHOLE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "geometric": partial(TWO_LAYER_GATES["geometric"], delta=0.0),
    "product": partial(TWO_LAYER_GATES["product"], delta=0.0),
    "least": TWO_LAYER_GATES["least"],
}
"""Gates of ``two_layer_reward`` without smoothing: a part of 0 closes them."""


def weighted_sum(parts: Tensor, weights: Tensor | None = None) -> Tensor:
    """The sum of what applies: (answers,).

    Examples
    --------
    >>> weighted_sum(torch.tensor([[1.0, 0.5], [1.0, torch.nan]]), torch.tensor([1.0, 2.0]))
    tensor([2., 1.])
    """
    parts = widen(parts)
    weighted = parts if weights is None else parts * weights
    none = parts.isnan().all(dim=-1)
    return weighted.nan_to_num(nan=0.0).sum(dim=-1).masked_fill(none, torch.nan)


def normalised_sum(
    parts: Tensor,
    groups: Tensor | Sequence[Hashable] | None = None,
    weights: Tensor | None = None,
    *,
    epsilon: float = 1e-4,
) -> Tensor:
    """Each part standardised in its group, then summed, so that none drowns another: (answers,).

    References
    ----------
    GDPO; TRL's ``normalize_then_sum``.
    """
    each = group_advantage(parts, groups, scale="sample", epsilon=epsilon, least=2)
    return weighted_sum(each, weights)


def gated(parts: Tensor, gate: Gate = "geometric", *, threshold: float = 0.5) -> Tensor:
    """One reward of parts in [0, 1] that all must hold: (answers,).

    Parameters
    ----------
    gate
        ``"geometric"``: their geometric mean; ``"product"``; ``"least"``: the smallest; ``"hard"``:
        the last part, where all before it reach ``threshold``, else 0

    Raises
    ------
    OptionError
        For an unknown gate, or parts outside [0, 1] where it needs them inside.

    Examples
    --------
    >>> gated(torch.tensor([[0.25, 1.0], [0.0, 1.0]]))
    tensor([0.5000, 0.0000])
    """
    parts = widen(parts)
    there = ~parts.isnan()
    none = ~there.any(dim=-1)
    if gate == "hard":
        opens = ((parts >= threshold) | ~there)[..., :-1].all(dim=-1)
        return torch.where(opens, parts[..., -1], 0.0).masked_fill(~there[..., -1], torch.nan)
    if bool(((parts < 0) | (parts > 1)).any()):
        raise OptionError(f"gate={gate!r} takes parts in [0, 1].")
    if gate not in _WHOLE:
        raise OptionError(f"gate={gate!r}: use geometric, product, least or hard.")
    return _WHOLE[gate](parts, parts).masked_fill(none, torch.nan)
