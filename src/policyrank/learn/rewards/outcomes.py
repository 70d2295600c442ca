"""Outcomes beside other rewards: with rubrics, with a ranker's own quality, with length."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import widen
from policyrank.learn.advantages import group_keys

Mix = Literal["positive", "negative", "all"]
Normaliser = Literal["none", "group", "successes"]


def mixed_outcome(
    outcomes: Tensor,
    rubrics: Tensor,
    groups: Tensor | Sequence[Hashable],
    *,
    alpha: float = 0.3,
    mix: Mix = "positive",
    normalise: Normaliser = "group",
) -> Tensor:
    """Outcome and rubric reward as one: (answers,).

    Where all of a group succeed, its advantages are those of the rubrics alone, whatever alpha and
    normaliser, once they are divided by their deviation; alpha acts in mixed groups, where a larger
    one brings sloppy successes nearer to failures, never nearer than 1 - alpha.

    Parameters
    ----------
    outcomes
        (answers,), 1: right, 0: wrong
    rubrics
        (answers,), in [0, 1] (``chain_reward``, ``rubric_reward``). NaN: the judge gave nothing,
        and the answer is NaN where it would count; a 0 would look like a bad answer
    groups
        (answers,), of whom the largest rubric reward is taken
    alpha
        weight of the rubrics, in [0, 1]
    mix
        ``"positive"``: (1 - alpha) + alpha R where right, 0 where wrong; ``"negative"``: 1 where
        right, alpha R where wrong; ``"all"``: (1 - alpha) outcome + alpha R
    normalise
        R is the rubric reward over the largest of the ``"group"``, wrong answers among them, so
        that the best right one may get less than 1; of its ``"successes"``; or as it is
        (``"none"``, what CaRR's released runs had). Over a largest of 0 it is 0

    Raises
    ------
    OptionError
        For shapes that do not fit, an unknown option, or an alpha outside [0, 1].

    References
    ----------
    arXiv 2601.06021 (C-GRPO: positive); E-GRPO: negative.

    Examples
    --------
    >>> outcomes, rubrics = torch.tensor([1.0, 1, 0]), torch.tensor([0.375, 0.625, 0.125])
    >>> mixed_outcome(outcomes, rubrics, ["q", "q", "q"])
    tensor([0.8800, 1.0000, 0.0000])
    """
    if not 0 <= alpha <= 1:
        raise OptionError(f"alpha={alpha}: it is in [0, 1].")
    if mix not in ("positive", "negative", "all"):
        raise OptionError(f"mix={mix!r}: use positive, negative or all.")
    if normalise not in ("none", "group", "successes"):
        raise OptionError(f"normalise={normalise!r}: use none, group or successes.")
    if outcomes.shape != rubrics.shape or outcomes.ndim != 1:
        raise OptionError("outcomes and rubrics: give one of each answer.")
    right, own = widen(outcomes), widen(rubrics)
    if normalise != "none":
        among = own if normalise == "group" else own.masked_fill(right <= 0, torch.nan)
        largest = _largest(among, groups)
        own = torch.where(largest > 0, own / largest, own * 0.0)
    if mix == "all":
        return (1 - alpha) * right + alpha * own
    if mix == "negative":
        return torch.where(right > 0, 1.0, alpha * own)
    return torch.where(right > 0, (1 - alpha) + alpha * own, 0.0)


def _largest(values: Tensor, groups: Tensor | Sequence[Hashable]) -> Tensor:
    """The largest of each answer's group, NaN left out, 0 where there is none: (answers,)."""
    keys = groups if isinstance(groups, Tensor) else group_keys(groups)
    if keys.shape != values.shape:
        raise OptionError(f"{tuple(keys.shape)} keys for {len(values)} answers: give each one.")
    key = keys.to(values.device).unique(return_inverse=True)[1]
    found = values.new_zeros(int(key.max()) + 1 if len(key) else 0)
    return found.scatter_reduce(0, key, values.nan_to_num(nan=0.0), "amax")[key]


def mean_hit(relevance: Tensor, cutoffs: Sequence[int] = (1, 3, 5)) -> Tensor:
    """How many of the cut-offs have something relevant above them: (...), in [0, 1].

    Parameters
    ----------
    relevance
        (..., places), above 0 where what stands there is relevant

    Examples
    --------
    >>> mean_hit(torch.tensor([[0, 1, 0, 0, 0], [0, 0, 0, 1, 0], [1, 0, 0, 0, 0]]))
    tensor([0.6667, 0.3333, 1.0000])
    """
    if not cutoffs or min(cutoffs) < 1:
        raise OptionError(f"cutoffs={tuple(cutoffs)}: give places, from 1.")
    hits = [(relevance[..., :k] > 0).any(dim=-1) for k in cutoffs]
    return torch.stack(hits, dim=-1).float().mean(dim=-1)


def ranker_reward(
    quality: Tensor,
    outcome: Tensor,
    answerable: Tensor,
    valid: Tensor,
    *,
    gate: float = 0.5,
    penalty: float = 0.2,
    right_from: float | None = None,
) -> Tensor:
    """What a ranker earns that an agent calls: its ranking's quality, and the agent's outcome.

    Not valid: -penalty. Nothing relevant among the candidates: the outcome alone. Else the quality,
    with the outcome on top where the quality is above the gate. (calls,)

    Parameters
    ----------
    quality
        (calls,), such as ``mean_hit`` of the ranking
    outcome
        (calls,), of the agent's answer in the end, such as its F1; NaN: the agent's own output was
        ill-formed, and the call is not learned from (the paper's way)
    answerable
        (calls,), whether one of the candidates is relevant
    valid
        (calls,), whether the ranking can be read
    gate
        that quality must pass: with cut-offs 1, 3 and 5, 0.5 is a hit among the first three, 0.8 at
        the first place (the released code)
    penalty
        for what cannot be read, 0 or more
    right_from
        outcomes from here on are 1, others 0, negative ones too (the released code: 0.8); None: as
        they are

    Raises
    ------
    OptionError
        For shapes that do not fit, or a negative penalty.

    References
    ----------
    "CoSearch" (2026), arXiv 2604.17555, equation 6.

    Examples
    --------
    >>> quality = torch.tensor([2 / 3, 1 / 3, 0.0, 1.0])
    >>> ranker_reward(quality, torch.full((4,), 0.9), torch.tensor([1, 1, 0, 1]),
    ...               torch.tensor([1, 1, 1, 0]))
    tensor([ 1.5667,  0.3333,  0.9000, -0.2000])
    """
    if penalty < 0:
        raise OptionError(f"penalty={penalty}: it is 0 or more.")
    for name, own in (("outcome", outcome), ("answerable", answerable), ("valid", valid)):
        if own.shape != quality.shape:
            raise OptionError(f"{name} {tuple(own.shape)} must be {tuple(quality.shape)}.")
    ranked, ended = widen(quality), widen(outcome)
    if right_from is not None:
        ended = torch.where(ended.isnan(), torch.nan, (ended >= right_from).to(ended.dtype))
    lost = ended.isnan()
    whole = torch.where(ranked > gate, ranked + ended, ranked)
    whole = torch.where(answerable.bool(), whole, ended)
    return torch.where(valid.bool(), whole, -penalty).masked_fill(lost, torch.nan)


def length_bonus(correct: Tensor, lengths: Tensor, most: int) -> Tensor:
    """What a right answer earns for being short: max(0, 1 - length / most); 0 where wrong.

    With it an all-right group is no longer one of equal rewards: ask of outcomes, not of rewards,
    whether a group is one-sided (``one_sided``).

    Examples
    --------
    >>> length_bonus(torch.tensor([1, 1, 0]), torch.tensor([8192, 40000, 5]), 32768)
    tensor([0.7500, 0.0000, 0.0000])
    """
    if most < 1:
        raise OptionError(f"most={most}: it is 1 or more.")
    return (1 - lengths.float() / most).clamp(min=0) * (correct > 0)
