"""Rewards of numbers that a model says: how near each is, and in what order they put things.

An answer that holds no number is NaN: it earns nothing, and moves nobody else's reward.
"""

from __future__ import annotations

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import widen
from policyrank.learn.advantages import group_mean

_FLOOR = 1e-6
"""Under roots and in variances, as VisualQuality-R1 has it."""


def bell(predicted: Tensor, target: Tensor, *, sigma: float) -> Tensor:
    """exp(-(predicted - target)^2 / (2 sigma^2)): (...); NaN where either is NaN.

    RAPO's absolute reward (sigma .1 on scores in [0, 1]); VQAThinker's (.5 on 1 to 5).

    Raises
    ------
    OptionError
        Unless sigma > 0.

    Examples
    --------
    >>> bell(torch.tensor([3.0, 3.5]), torch.tensor(3.0), sigma=0.5)
    tensor([1.0000, 0.6065])
    """
    if sigma <= 0:
        raise OptionError(f"sigma={sigma}: it is above 0.")
    return torch.exp(-0.5 * ((widen(predicted) - target) / sigma) ** 2)


def within(predicted: Tensor, target: Tensor, *, steps: dict[float, float]) -> Tensor:
    """A reward by how far off a number is: (...); beyond all steps 0, NaN where either is NaN.

    Parameters
    ----------
    steps
        distance -> reward below it, such as {.07: 1, .1: .5}

    Examples
    --------
    >>> within(torch.tensor([0.06, 0.08, 0.11]), torch.tensor(0.0), steps={0.07: 1.0, 0.1: 0.5})
    tensor([1.0000, 0.5000, 0.0000])
    """
    off = (widen(predicted) - target).abs()
    out = torch.zeros_like(off)
    for distance in sorted(steps, reverse=True):
        out = torch.where(off < distance, steps[distance], out)
    return out.masked_fill(off.isnan(), torch.nan)


def near(predicted: Tensor, target: Tensor, *, span: float) -> Tensor:
    """1 - |predicted - target| / span, at least 0: (...)."""
    return (1 - (widen(predicted) - target).abs() / span).clamp(min=0)


def thurstone(mean: Tensor, variance: Tensor, others: Tensor, their_variance: Tensor) -> Tensor:
    """The probability that one is higher than another, both normal: Phi of their gap."""
    gap = (mean - others) / (variance + their_variance + _FLOOR).sqrt()
    return torch.special.ndtr(gap)


def fidelity(said: Tensor, true: Tensor) -> Tensor:
    """How alike two probabilities are: sqrt(p q) + sqrt((1 - p)(1 - q)), 1 where equal.

    References
    ----------
    Tsai et al. (2007), "FRank"; with 1e-6 under the roots, as VisualQuality-R1.
    """
    return (said * true + _FLOOR).sqrt() + ((1 - said) * (1 - true) + _FLOOR).sqrt()


def rank_fidelity(scores: Tensor, targets: Tensor, *, tie: float = 0.5) -> Tensor:
    """How well each answer's score orders its item among the others: (items, answers).

    Each answer is compared with the mean of the answers of each other item, by Thurstone's model
    with the items' own variances (unbiased; one answer has none), and the probability with the true
    order by its fidelity. Answers and items without a number are NaN, and nobody's rival.

    Parameters
    ----------
    scores
        (items, answers)
    targets
        (items,), true scores
    tie
        what two items of equal target are taken for: .5, or 1 as RAPO's code (each above the other)

    Raises
    ------
    OptionError
        For shapes that do not fit.

    References
    ----------
    Wu et al. (2025), "VisualQuality-R1"; RAPO, arXiv 2509.21871; VQAThinker, arXiv 2508.06051.

    Examples
    --------
    >>> rank_fidelity(torch.tensor([[4.0, 3.0], [2.0, 2.5]]), torch.tensor([4.0, 2.0]))
    tensor([[0.9943, 0.9113],
            [0.9864, 0.9481]])
    """
    if scores.ndim != 2 or targets.shape != scores.shape[:1]:
        shapes = f"scores {tuple(scores.shape)}, targets {tuple(targets.shape)}"
        raise OptionError(f"{shapes}: they are (items, answers) and (items,).")
    scores, targets = widen(scores), widen(targets).to(scores.device)
    there = ~scores.isnan()
    count = there.sum(dim=1)
    mean = scores.nansum(dim=1) / count
    off = (scores - mean[:, None]).masked_fill(~there, 0.0)
    variance = (off**2).sum(dim=1) / (count - 1).clamp(min=1)
    said = thurstone(scores[:, :, None], variance[:, None, None], mean, variance)
    gap = targets[:, None] - targets
    true = torch.where(gap == 0, tie, (gap > 0).to(scores.dtype))
    alike = fidelity(said, true[:, None, :])
    itself = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    rival = ~itself & ~mean.isnan() & ~gap.isnan()
    alike = alike.masked_fill(~rival[:, None, :], torch.nan)
    return alike.nanmean(dim=2).masked_fill(~there, torch.nan)


def consistency_bonus(
    rewards: Tensor,
    corrupted: Tensor,
    groups: Tensor | None = None,
    *,
    gate: float = 0.5,
    bonus: float = 0.3,
) -> Tensor:
    """What answers earn for beating those on a corrupted input: (answers,), 0 or ``bonus``.

    Where the mean reward of a group is at least that of its corrupted twin (frames shuffled,
    documents mixed, tokens dropped), each of its answers above ``gate`` earns the bonus.

    Parameters
    ----------
    rewards, corrupted
        (answers,), on the input and on its corrupted twin; NaN: counts for nothing
    groups
        (answers,), integers, whom the twins belong to; None: the whole batch at once, as
        VQAThinker's code has it, which compares means over different items

    References
    ----------
    VQAThinker, arXiv 2508.06051; a group each: T-GRPO of Video-R1.

    Examples
    --------
    >>> consistency_bonus(torch.tensor([0.95, 0.5]), torch.tensor([0.6, 0.6]), gate=0.9)
    tensor([0.3000, 0.0000])
    """
    ahead = group_mean(rewards, groups) >= group_mean(corrupted, groups)
    earned = ahead & (rewards > gate)
    return torch.where(earned, bonus, 0.0).to(widen(rewards).dtype)
