"""Rewards made of rewards: what ``compose`` makes of their values, with the signature of one.

Each takes rewards by name, or as they are (then they go by their own names), and gives a ``Reward``
whose parts are theirs. Functions of TRL's kind are taken as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn.rewards.compose import Gate, gated, normalised_sum, weighted_sum
from policyrank.learn.rewards.gates import TwoLayerGate, two_layer_reward
from policyrank.learn.rollouts import Reward, Rewards, Rollouts, as_reward, rewarded

Named = Mapping[str, Any] | Sequence[Any]


def weighted(rewards: Named, weights: Sequence[float] | None = None) -> Reward:
    """The weighted sum of what applies (``weighted_sum``).

    Raises
    ------
    OptionError
        For none, or another number of weights than of rewards.

    Examples
    --------
    >>> def length(completions, **_): return [len(text) for text in completions]
    >>> both = weighted({"length": length, "half": lambda group: [0.5] * len(group)}, [0.1, 1.0])
    >>> group = Rollouts(torch.zeros(2, 1), torch.ones(2, 1), torch.zeros(2), prompts=["p", "p"],
    ...                  completions=["ab", "abcd"])
    >>> both(group).values
    tensor([0.7000, 0.9000])
    """
    named = _named(rewards)
    given = _weights(named, weights)
    return _composed(named, lambda parts, _: weighted_sum(parts, given))


def normalised(
    rewards: Named, weights: Sequence[float] | None = None, *, epsilon: float = 1e-4
) -> Reward:
    """Each standardised in its group, then summed (``normalised_sum``).

    Raises
    ------
    OptionError
        As ``weighted``.
    """
    named = _named(rewards)
    given = _weights(named, weights)
    rule = partial(normalised_sum, weights=given, epsilon=epsilon)
    return _composed(named, rule)


def gate(rewards: Named, kind: Gate = "geometric", *, threshold: float = 0.5) -> Reward:
    """One reward of several in [0, 1] that all must hold (``gated``)."""
    return _composed(_named(rewards), lambda parts, _: gated(parts, kind, threshold=threshold))


def two_layers(
    constraints: Named,
    objectives: Named,
    weights: Sequence[float] | None = None,
    *,
    gate: TwoLayerGate = "geometric",
    thresholds: Tensor | float = 1.0,
    penalty: float = 0.0,
    share: float = 0.5,
    **options: Any,
) -> Reward:
    """Objectives in [0, 1], gated by constraints in [0, 1] (``two_layer_reward``); all are logged.

    Raises
    ------
    OptionError
        For none, weights that do not fit, or a name that stands on both sides.
    """
    held, wanted = _named(constraints), _named(objectives)
    if both := sorted(held.keys() & wanted.keys()):
        raise OptionError(f"{both[0]!r} is a constraint and an objective: give it one part.")
    given = _weights(wanted, weights)

    def rule(parts: Tensor, _: Tensor) -> Tensor:
        return two_layer_reward(
            parts[..., : len(held)],
            parts[..., len(held) :],
            given,
            gate=gate,
            thresholds=thresholds,
            penalty=penalty,
            share=share,
            **options,
        )

    return _composed({**held, **wanted}, rule)


def _composed(rewards: Mapping[str, Reward], rule: Callable[[Tensor, Tensor], Tensor]) -> Reward:
    """Of the whole batch where one of them is; ``rule``: parts and groups -> values."""

    def reward(group: Rollouts) -> Rewards:
        found = {name: rewarded(group, own) for name, own in rewards.items()}
        shapes = {own.values.shape for own in found.values()}
        if len(shapes) > 1:
            told = ", ".join(f"{name} {tuple(own.values.shape)}" for name, own in found.items())
            raise OptionError(f"rewards that are composed must have one shape: {told}.")
        parts: dict[str, Tensor] = {}
        for name, own in found.items():
            parts[name] = own.values if own.values.ndim == 1 else own.values.nanmean(dim=-1)
            for part, values in own.parts.items():
                parts[f"{name}/{part}"] = values
        values = torch.stack([own.values for own in found.values()], dim=-1)
        return Rewards(rule(values, group.groups), parts)

    reward.__name__ = "+".join(rewards)
    several = any(getattr(own, "of_batch", False) for own in rewards.values())
    reward.of_batch = several  # type: ignore[attr-defined]
    return reward


def _named(rewards: Named) -> dict[str, Reward]:
    if isinstance(rewards, Mapping):
        named = {name: as_reward(own) for name, own in rewards.items()}
    else:
        named = {}
        for own in map(as_reward, rewards):
            name = getattr(own, "__name__", type(own).__name__)
            again = sum(known.partition(" ")[0] == name for known in named)
            named[f"{name} {again + 1}" if again else name] = own
    if not named:
        raise OptionError("no reward: give one or several.")
    return named


def _weights(rewards: Mapping[str, Reward], weights: Sequence[float] | None) -> Tensor | None:
    if weights is None:
        return None
    if len(weights) != len(rewards):
        raise OptionError(f"{len(weights)} weights for {len(rewards)} rewards: give each one.")
    return torch.tensor([float(weight) for weight in weights])
