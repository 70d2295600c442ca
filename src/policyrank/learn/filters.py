"""Which of a prompt's answers are learned from: weights by rank, and draws by them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import widen
from policyrank.learn._options import check_options
from policyrank.learn.advantages import group_keys
from policyrank.learn.temporal import Keys

Ties = Literal["shared", "first", "last"]
Over = Literal["group", "batch"]


class Places(NamedTuple):
    """Answers as a filter sees them: (answers,) each, in any order.

    Attributes
    ----------
    rewards
        of each
    place
        in its group by reward, 0 the best
    size
        answers of its group
    """

    rewards: Tensor
    place: Tensor
    size: Tensor


class RankFilter(Protocol):
    """Answers by reward and place -> how much each counts, 0 or more: (answers,)."""

    def __call__(self, answers: Places, /) -> Tensor: ...


def everyone(answers: Places) -> Tensor:
    """All alike (PPO on all answers)."""
    return torch.ones_like(answers.rewards)


def best(answers: Places) -> Tensor:
    """The best alone, as best-of-n and rejection sampling have it."""
    return (answers.place == 0).to(answers.rewards.dtype)


def best_and_random(answers: Places) -> Tensor:
    """Half for the best, half for the others together: 1/2, and 1 / (2 (N - 1)) for each other."""
    others = 0.5 / (answers.size - 1).clamp(min=1)
    return torch.where(answers.place == 0, 0.5, others.to(answers.rewards.dtype))


def best_and_worst(answers: Places) -> Tensor:
    """Half for the best, half for the worst, where reward models are most reliable."""
    last = answers.place == answers.size - 1
    return 0.5 * best(answers) + 0.5 * last.to(answers.rewards.dtype)


def power(answers: Places, *, exponent: float = 2.0) -> Tensor:
    """|reward|^exponent."""
    return answers.rewards.abs() ** exponent


def above(answers: Places, *, threshold: float = 0.0, others: float = 0.0) -> Tensor:
    """1 above a threshold, ``others`` for the rest (1/2: each is kept with that probability)."""
    return torch.where(answers.rewards > threshold, 1.0, others).to(answers.rewards.dtype)


def outside(answers: Places, *, threshold: float = 0.0, bottom: float = 0.0) -> Tensor:
    """1 above ``threshold`` and below ``bottom``, 0 between."""
    kept = (answers.rewards > threshold) | (answers.rewards < bottom)
    return kept.to(answers.rewards.dtype)


RANK_FILTERS: dict[str, RankFilter] = {
    "all": everyone,
    "best": best,
    "best-random": best_and_random,
    "best-worst": best_and_worst,
    "power": power,
    "above": above,
    "above-random": partial(above, others=0.5),
    "outside": outside,
}
"""Filters by name; the last four weigh answers of the whole batch, the first each prompt's."""

OVER_BATCH = frozenset({"power", "above", "above-random", "outside"})


def rank_weights(
    rewards: Tensor,
    groups: Keys,
    rule: str | RankFilter = "best-worst",
    *,
    ties: Ties = "shared",
    over: Over | None = None,
    **options: Any,
) -> Tensor:
    """How much each answer counts when a prompt's answers are filtered by rank: (answers,).

    Parameters
    ----------
    rewards
        (answers,), before they are clipped or KL is taken off; NaN: not ranked, weight 0
    groups
        (answers,), whose answers are ranked together: integers or any keys
    rule
        one of ``RANK_FILTERS``, or a function
    ties
        ``"shared"``: equal rewards share the mean of their places' weights, so a group that ties
        counts alike; ``"first"``, ``"last"``: the first, or last, of equals stands before the
        others (PF-PPO's released code: the last)
    over
        ``"group"``: weights of a group sum to 1; ``"batch"``: the mean of these sums is 1, and
        prompts may count more or less than others. None: as is usual for the rule. Where nothing
        counts, weights are 0
    **options
        of the rule: ``exponent``; ``threshold``, ``others``, ``bottom``

    Raises
    ------
    OptionError
        For an unknown rule or option, a rule that gives no weights, or shapes that do not fit.

    References
    ----------
    Shen and Zhang (2024), "Policy Filtration in RLHF to Fine-Tune LLM for Code Generation", arXiv
    2409.06957.

    Examples
    --------
    >>> rewards, prompt = torch.tensor([0.5, 0.9, 0.1, 0.3, 0.2]), torch.zeros(5, dtype=torch.long)
    >>> rank_weights(rewards, prompt)
    tensor([0.0000, 0.5000, 0.5000, 0.0000, 0.0000])
    >>> rank_weights(rewards, prompt, "best-random")
    tensor([0.1250, 0.5000, 0.1250, 0.1250, 0.1250])
    """
    if ties not in ("shared", "first", "last"):
        raise OptionError(f"ties={ties!r}: use shared, first or last.")
    if over not in (None, "group", "batch"):
        raise OptionError(f"over={over!r}: use group or batch.")
    found = named_filter(rule, **options)
    keys = (groups if isinstance(groups, Tensor) else group_keys(groups)).to(rewards.device)
    if rewards.ndim != 1 or keys.shape != rewards.shape:
        shapes = f"{tuple(rewards.shape)} and {tuple(keys.shape)}"
        raise OptionError(f"rewards and groups, {shapes}: give one of each answer.")
    own = widen(rewards)
    known = ~own.isnan()
    key = keys[known].unique(return_inverse=True)[1]
    weights = _filtered(found, own[known].double(), key, ties)
    if over is None:
        over = "batch" if rule in OVER_BATCH else "group"
    if over == "group":
        whole = torch.zeros_like(weights).index_add(0, key, weights)[key]
    else:
        whole = weights.sum().expand(len(key)) / len(key.unique())
    out = torch.zeros_like(own)
    out[known] = torch.where(whole > 0, weights / whole, 0.0).to(own.dtype)
    return out


def named_filter(rule: str | RankFilter, **options: Any) -> RankFilter:
    """One of ``RANK_FILTERS`` by name, with options; a function is what it is.

    Raises
    ------
    OptionError
        For an unknown name or option.
    """
    found: Callable[..., Tensor]
    if isinstance(rule, str):
        if rule not in RANK_FILTERS:
            names = ", ".join(RANK_FILTERS)
            raise OptionError(f"filter {rule!r}: use one of {names}, or a function.")
        name, found = f"filter {rule!r}", RANK_FILTERS[rule]
    else:
        name, found = "the filter", rule
    check_options(found, options, name=name, given=("answers",))
    return partial(found, **options) if options else found


def _filtered(rule: RankFilter, rewards: Tensor, key: Tensor, ties: Ties) -> Tensor:
    """Weights by the rule, ties as told: (answers,)."""
    line = torch.arange(len(rewards), device=rewards.device)
    order = line.flip(0) if ties == "last" else line
    order = order[rewards[order].argsort(descending=True, stable=True)]
    order = order[key[order].argsort(stable=True)]
    sizes = torch.bincount(key)
    inside = key[order]
    place = line - (sizes.cumsum(0) - sizes)[inside]
    sorted_rewards = rewards[order]
    weights = rule(Places(sorted_rewards, place, sizes[inside])).double()
    if weights.shape != rewards.shape or not bool((weights >= 0).all() & weights.isfinite().all()):
        raise OptionError("the filter gives no weights: one number a answer, 0 or more.")
    if ties == "shared" and len(order):
        new = torch.ones_like(inside)
        new[1:] = (inside[1:] != inside[:-1]) | (sorted_rewards[1:] != sorted_rewards[:-1])
        equals = new.cumsum(0) - 1
        total = torch.zeros_like(weights).index_add(0, equals, weights)
        weights = total[equals] / torch.bincount(equals)[equals]
    out = torch.empty_like(weights)
    out[order] = weights
    return out


def tied_share(rewards: Tensor, groups: Keys) -> Tensor:
    """Of the groups of several, how many have their best or worst reward twice: ().

    Examples
    --------
    >>> tied_share(torch.tensor([1.0, 0, 0, 3, 2, 1]), torch.tensor([0, 0, 0, 1, 1, 1]))
    tensor(0.5000)
    """
    alike = rank_weights(rewards, groups, "best-worst")
    once = rank_weights(rewards, groups, "best-worst", ties="first")
    keys = groups if isinstance(groups, Tensor) else group_keys(groups)
    known = ~rewards.isnan()
    key = keys.to(rewards.device)[known].unique(return_inverse=True)[1]
    several = torch.bincount(key) > 1
    differs = torch.zeros(len(several), device=rewards.device)
    differs = differs.index_add(0, key, (alike - once)[known].abs().float())
    return (differs[several] > 0).float().mean().nan_to_num(nan=0.0)


def resampled(
    weights: Tensor,
    draws: int,
    *,
    replacement: bool = True,
    seed: int | torch.Generator = 0,
) -> Tensor:
    """Which answers a step learns from, drawn by weight: (draws,), indices.

    Parameters
    ----------
    weights
        (answers,), 0 or more, not all 0
    draws
        how many
    replacement
        an answer may be drawn again; else at most once

    Raises
    ------
    OptionError
        For weights that are none, or too few answers to be drawn once each.

    Examples
    --------
    >>> resampled(torch.tensor([0.0, 1.0, 0.0]), 2)
    tensor([1, 1])
    """
    own = weights.double().cpu()
    if own.ndim != 1 or not bool((own >= 0).all() & own.isfinite().all()) or not own.sum() > 0:
        raise OptionError("weights are (answers,), 0 or more, and not all 0.")
    generator = torch.Generator().manual_seed(seed) if isinstance(seed, int) else seed
    if replacement:
        edges = own.cumsum(0)
        drawn = torch.rand(draws, generator=generator, dtype=torch.float64) * edges[-1]
        found = torch.searchsorted(edges, drawn, right=True)
        return found.clamp(max=int((own > 0).nonzero()[-1])).to(weights.device)
    if draws > int((own > 0).sum()):
        raise OptionError(
            f"draws={draws} of {int((own > 0).sum())} answers that count: draw fewer, or with"
            " replacement."
        )
    # The first arrivals of clocks that run at the weights' speeds are such a draw.
    clock = torch.empty_like(own).exponential_(generator=generator) / own
    return (
        clock.masked_fill(own == 0, torch.inf).topk(draws, largest=False).indices.to(weights.device)
    )
