"""How far a reward can be trusted where a filter looks: R^2 of logged rewards and true scores."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn.advantages import group_keys
from policyrank.learn.temporal import Keys

LEAST_BINS = 3
"""Two points lie on a line whatever they are."""

_CHUNK = 20_000_000
"""Cells of a block of resamples."""


class Reliability(NamedTuple):
    """A line through the means of answers with like rewards.

    Attributes
    ----------
    r2
        share of the bins' variance of scores that the line explains; NaN of fewer than three bins,
        or where scores do not vary
    slope, intercept
        of score on reward
    bins
        (bins, 3), mean reward, mean score, and weight of each that holds something
    """

    r2: float
    slope: float
    intercept: float
    bins: Tensor


def reward_reliability(
    rewards: Tensor, scores: Tensor, weights: Tensor | None = None, *, bins: int = 20
) -> Reliability:
    """The R^2 rule of policy filtration: how well a line tells scores from rewards, group by group.

    Answers are sorted by reward and cut into ``bins`` of equal weight, equal rewards always into
    one; means of reward and score in each bin, a line by least squares through these points, each
    counting once: R^2 = 1 - SS_res / SS_tot. How many groups the paper took is not known. R^2 grows
    as bins get fewer, so that only numbers of as many bins can be compared.

    Parameters
    ----------
    rewards, scores
        (answers,), finite
    weights
        (answers,), of a filter (``rank_weights``); None: 1 each
    bins
        how many, at least three

    Raises
    ------
    OptionError
        For shapes that do not fit, or too few bins.

    References
    ----------
    arXiv 2409.06957, section 4.

    Examples
    --------
    >>> rewards = torch.linspace(0, 1, 40)
    >>> round(reward_reliability(rewards, 2 * rewards + 1).r2, 6)
    1.0
    """
    weights = torch.ones(len(rewards)) if weights is None else weights.cpu()
    rewards, scores = rewards.cpu(), scores.cpu()
    order = _by_reward(rewards, scores, weights, bins)
    own, score, mass = (values[order].double() for values in (rewards, scores, weights))
    place = _cut(own, mass[None], bins)
    means, there = _binned(own, score, place, mass[None], bins)
    r2, slope, intercept = _line(means, there)
    held = torch.stack([*means, _summed(place, mass[None], bins)], dim=-1)[0][there[0]]
    return Reliability(r2.item(), slope.item(), intercept.item(), held)


def resampled_r2(
    rewards: Tensor,
    scores: Tensor,
    weights: Tensor,
    prompts: Keys,
    *,
    bins: int = 20,
    resamples: int = 1000,
    seed: int = 0,
) -> Tensor:
    """R^2 with prompts drawn anew, each with all of its answers: (resamples,).

    The same seed draws the same prompts, so that filters can be compared draw by draw.

    Parameters
    ----------
    rewards, scores, weights, bins
        as ``reward_reliability``
    prompts
        (answers,), whose answer each is
    """
    keys = prompts if isinstance(prompts, Tensor) else group_keys(prompts)
    key = keys.cpu().unique(return_inverse=True)[1]
    rewards, scores, weights = rewards.cpu(), scores.cpu(), weights.cpu()
    order = _by_reward(rewards, scores, weights, bins)
    own, score, weight = (values[order].double() for values in (rewards, scores, weights))
    number = int(key.max()) + 1
    generator = torch.Generator().manual_seed(seed)
    out, step = [], max(_CHUNK // max(len(own), 1), 1)
    for start in range(0, resamples, step):
        many = min(step, resamples - start)
        drawn = torch.randint(number, (many, number), generator=generator)
        times = torch.zeros(many, number, dtype=torch.float64)
        times.scatter_add_(1, drawn, torch.ones_like(times))
        mass = times[:, key[order]] * weight
        means, there = _binned(own, score, _cut(own, mass, bins), mass, bins)
        out.append(_line(means, there)[0])
    return torch.cat(out)


def _by_reward(rewards: Tensor, scores: Tensor, weights: Tensor, bins: int) -> Tensor:
    """Answers from the lowest reward to the highest: (answers,)."""
    if bins < LEAST_BINS:
        raise OptionError(f"bins={bins}: a line needs {LEAST_BINS} or more.")
    if not rewards.shape == scores.shape == weights.shape or rewards.ndim != 1:
        raise OptionError("rewards, scores and weights: give one of each answer.")
    if not bool(rewards.isfinite().all() & scores.isfinite().all()):
        raise OptionError("rewards and scores must be finite: leave out what has none.")
    return rewards.argsort(stable=True)


def _cut(own: Tensor, mass: Tensor, bins: int) -> Tensor:
    """The bin of each sorted answer, by the weight below it: (resamples, answers)."""
    new = torch.ones(len(own), dtype=torch.long)
    new[1:] = (own[1:] != own[:-1]).long()
    equals = (new.cumsum(0) - 1).expand(mass.shape)
    each = torch.zeros_like(mass).scatter_add(1, equals, mass)
    total = mass.sum(dim=1, keepdim=True).clamp(min=1e-300)
    middle = (each.cumsum(dim=1) - 0.5 * each) / total
    return (middle.gather(1, equals) * bins).long().clamp(0, bins - 1)


def _summed(place: Tensor, values: Tensor, bins: int) -> Tensor:
    out = torch.zeros(len(values), bins, dtype=torch.float64)
    return out.scatter_add(1, place.expand(values.shape), values)


def _binned(
    own: Tensor, score: Tensor, place: Tensor, mass: Tensor, bins: int
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Mean reward and score of each bin, and which hold something: (resamples, bins)."""
    whole = _summed(place, mass, bins)
    there = whole > 0
    divisor = torch.where(there, whole, 1.0)
    means = _summed(place, mass * own, bins) / divisor, _summed(place, mass * score, bins) / divisor
    return means, there


def _line(means: tuple[Tensor, Tensor], there: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """R^2, slope and intercept of a line through the bins: (resamples,) each."""
    count = there.sum(dim=1)
    many = count.clamp(min=1)
    centres = [(own * there).sum(dim=1) / many for own in means]
    x, y = ((own - mid[:, None]) * there for own, mid in zip(means, centres, strict=True))
    across, along, both = (x * x).sum(dim=1), (y * y).sum(dim=1), (x * y).sum(dim=1)
    told = (count >= LEAST_BINS) & (across > 0) & (along > 1e-15)
    slope = both / torch.where(across > 0, across, torch.nan)
    r2 = torch.where(told, both**2 / (across * along), torch.nan)
    return r2, slope, centres[1] - slope * centres[0]
