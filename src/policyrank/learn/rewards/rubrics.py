"""Rewards of answers that are judged criterion by criterion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import widen

Aggregate = Literal["category", "sum", "all"]


@dataclass(frozen=True, eq=False)
class Rubric:
    """The criteria of one prompt.

    Parameters
    ----------
    weights
        (criteria,), > 0; what is bad has a negative weight, and counts as its absence
    categories
        (criteria,), integers; None: one category
    required
        (criteria,), which must all pass for strict completion; None: all

    Raises
    ------
    OptionError
        For shapes that do not fit, or a weight of 0.
    """

    weights: Tensor
    categories: Tensor | None = None
    required: Tensor | None = None

    def __post_init__(self) -> None:
        if self.weights.ndim != 1 or bool((self.weights == 0).any()):
            raise OptionError("weights of criteria: (criteria,), none of them 0.")
        for name in ("categories", "required"):
            own = getattr(self, name)
            if own is not None and own.shape != self.weights.shape:
                raise OptionError(
                    f"{name} of {tuple(own.shape)} for {len(self.weights)} criteria: give each one."
                )

    @property
    def sizes(self) -> Tensor:
        """Weights without their sign: (criteria,)."""
        return widen(self.weights).abs()

    @property
    def groups(self) -> Tensor:
        """Categories as 0, 1, ...: (criteria,)."""
        if self.categories is None:
            return torch.zeros_like(self.weights, dtype=torch.long)
        return self.categories.unique(return_inverse=True)[1]

    def good(self, verdicts: Tensor) -> Tensor:
        """Verdicts by which 1 is good: those of negative weights are turned. (..., criteria)."""
        return torch.where(self.weights < 0, 1 - widen(verdicts), widen(verdicts))


def rubric_reward(
    verdicts: Tensor,
    rubric: Rubric,
    *,
    aggregate: Aggregate = "category",
    factors: Tensor | None = None,
) -> Tensor:
    """What each answer earns: (answers,), in [0, 1] by category.

    A verdict that is missing (NaN) is one that failed.

    Parameters
    ----------
    verdicts
        (answers, criteria), in [0, 1]
    aggregate
        ``"category"``: the weighted share of what passed in each category, mean over categories;
        ``"sum"``: the sum of weights that passed; ``"all"``: 1 where all that is required passed
    factors
        (criteria,), of the weights (``contrast_factors``); None: 1 each

    References
    ----------
    POW3R, arXiv 2605.20164, equations 3 and 8.

    Examples
    --------
    >>> verdicts = torch.tensor([[1.0, 1, 0, 1], [1, 0, 0, 1]])
    >>> rubric = Rubric(torch.tensor([5.0, 3, 5, 2]), torch.tensor([0, 0, 0, 1]))
    >>> rubric_reward(verdicts, rubric)
    tensor([0.8077, 0.6923])
    """
    passed = rubric.good(verdicts).nan_to_num(nan=0.0)
    if aggregate == "all":
        needed = torch.ones_like(rubric.weights) if rubric.required is None else rubric.required
        return ((passed >= 1) | ~needed.bool()).all(dim=-1).to(passed.dtype)
    weights = rubric.sizes if factors is None else rubric.sizes * factors
    if aggregate == "sum":
        return passed @ weights
    if aggregate != "category":
        raise OptionError(f"aggregate={aggregate!r}: use category, sum or all.")
    return passed @ _shares(weights, rubric.groups)


def _shares(weights: Tensor, groups: Tensor) -> Tensor:
    """A criterion's share of its category, of all categories alike: (criteria,), sum 1."""
    whole = torch.zeros(int(groups.max()) + 1, dtype=weights.dtype, device=weights.device)
    whole = whole.index_add(0, groups, weights)
    return weights / whole[groups] / len(whole)


def contrast_factors(
    verdicts: Tensor,
    rubric: Rubric,
    factors: Tensor | None = None,
    *,
    strength: float = 0.5,
    step: float = 0.2,
    bounds: tuple[float, float] = (0.67, 1.5),
    epsilon: float = 1e-4,
    least_valid: float = 0.75,
) -> Tensor:
    """Factors of weights after a group of answers: more where these disagree. (criteria,).

    Within each category, by the deviation of a criterion's verdicts over the category's weighted
    mean of it. A criterion with fewer than ``least_valid`` of its verdicts keeps its factor, and
    counts for no mean. What cannot be told apart cancels in an advantage anyway: the factors weigh
    criteria that can be, and categories with many that cannot.

    Parameters
    ----------
    verdicts
        (answers, criteria), NaN where missing
    factors
        (criteria,), before; None: 1 each
    strength
        0: no contrast; 1: all of it
    step
        how far a factor goes from where it was
    bounds
        of the factors

    References
    ----------
    POW3R, arXiv 2605.20164, equations 4 to 7.

    Examples
    --------
    >>> verdicts = torch.tensor([[1.0, 1, 0, 1], [1, 0, 0, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    >>> rubric = Rubric(torch.tensor([5.0, 3, 5, 2]), torch.tensor([0, 0, 0, 1]))
    >>> contrast_factors(verdicts, rubric)
    tensor([0.9340, 1.1000, 0.9340, 1.0000])
    """
    verdicts = widen(verdicts)
    before = torch.ones_like(rubric.sizes) if factors is None else widen(factors)
    there = ~verdicts.isnan()
    valid = there.sum(dim=0) >= -(-len(verdicts) * least_valid // 1)
    share = verdicts.nan_to_num(nan=0.0).sum(dim=0) / there.sum(dim=0).clamp(min=1)
    off = (verdicts - share).masked_fill(~there, 0.0)
    deviation = ((off**2).sum(dim=0) / there.sum(dim=0).clamp(min=1) + epsilon).sqrt()
    weights, groups = rubric.sizes.masked_fill(~valid, 0.0), rubric.groups
    whole = torch.zeros(int(groups.max()) + 1, dtype=weights.dtype, device=weights.device)
    mean = whole.index_add(0, groups, weights * deviation) / whole.index_add(0, groups, weights)
    wanted = (1 - strength + strength * deviation / mean[groups]).clamp(*bounds)
    after = ((1 - step) * before + step * wanted).clamp(*bounds)
    return torch.where(valid, after, before)


@dataclass(frozen=True)
class RubricDiagnosis:
    """What the verdicts of a group can teach.

    Attributes
    ----------
    dead, saturated, mixed
        share of criteria that no answer passes, that all pass, and the rest
    idle
        share of the weights (by category) on criteria that are dead or saturated
    spread
        standard deviation of the rewards in the group
    """

    dead: float
    saturated: float
    mixed: float
    idle: float
    spread: float


def diagnose_rubric(
    verdicts: Tensor, rubric: Rubric, factors: Tensor | None = None
) -> RubricDiagnosis:
    """What a group's verdicts (answers, criteria) can teach."""
    good = rubric.good(verdicts).nan_to_num(nan=0.0)
    share = good.mean(dim=0)
    dead, saturated = share == 0, share == 1
    weights = rubric.sizes if factors is None else rubric.sizes * factors
    pressure = _shares(weights, rubric.groups)
    rewards = rubric_reward(verdicts, rubric, factors=factors)
    return RubricDiagnosis(
        float(dead.float().mean()),
        float(saturated.float().mean()),
        float((~dead & ~saturated).float().mean()),
        float(pressure[dead | saturated].sum()),
        float(rewards.std(correction=0)),
    )
