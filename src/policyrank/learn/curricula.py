"""Curricula: weights of samples by how easy a cheap first ranker finds them, faded to 1 while
training goes on.

MacAvaney et al. (2020), "Training Curricula for Open Domain Answer Re-Ranking", arXiv 2004.14269.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from policyrank.learn._lists import ranks, widen

Easiness = Callable[[Tensor, Tensor], Tensor]


def reciprocal_rank(scores: Tensor, where: Tensor) -> Tensor:
    """1 / place in the first run: (..., list). A document that the run lacks has score -inf and
    counts as place 1,000.
    """
    return (
        torch.where(torch.isneginf(scores), 1e-3, 1 / ranks(widen(scores), where).to(torch.float32))
        * where
    )


def normalised_score(scores: Tensor, where: Tensor) -> Tensor:
    """(score - lowest) / (highest - lowest) of the run; 1/2 where all are equal: (..., list)."""
    s = widen(scores)
    found = where & torch.isfinite(s)
    low = s.masked_fill(~found, torch.inf).amin(dim=-1, keepdim=True)
    high = s.masked_fill(~found, -torch.inf).amax(dim=-1, keepdim=True)
    value = torch.where(high > low, (s - low) / (high - low), 0.5)
    return torch.where(found, value, 0.0)


def kde(scores: Tensor, where: Tensor) -> Tensor:
    """Cumulative distribution, at each score, of a Gaussian kernel density of the run's scores
    (Scott's bandwidth); 1/2 where all are equal.
    """
    s = widen(scores)
    found = where & torch.isfinite(s)
    x = s.masked_fill(~found, 0.0)
    n = found.sum(dim=-1, keepdim=True).to(x.dtype)
    mean = x.sum(dim=-1, keepdim=True) / n.clamp(min=1)
    variance = (torch.where(found, x - mean, 0.0) ** 2).sum(dim=-1, keepdim=True) / (n - 1).clamp(
        min=1
    )
    width = variance.sqrt() * n.clamp(min=1) ** (-1 / 5)
    z = (x[..., :, None] - x[..., None, :]) / width.clamp(min=1e-12)[..., None]
    value = torch.where(found[..., None, :], torch.special.ndtr(z), 0.0).sum(dim=-1) / n.clamp(
        min=1
    )
    return torch.where(found, torch.where(width > 0, value, 0.5), 0.0)


EASINESS: dict[str, Easiness] = {
    "reciprocal-rank": reciprocal_rank,
    "normalised": normalised_score,
    "kde": kde,
}


def point_weights(easiness: Tensor, labels: Tensor) -> Tensor:
    """Easiness of a sample: that of a relevant document, one minus that of any other: (..., list)."""
    return torch.where(labels > 0, easiness, 1 - easiness) + 1e-8


def pair_weights(easiness: Tensor) -> Tensor:
    """(e_i - e_j + 1) / 2 of each pair, i the better item: (..., list, list)."""
    return (easiness[..., :, None] - easiness[..., None, :] + 1) / 2 + 1e-8


@dataclass(frozen=True)
class Curriculum:
    """Weights that start at the difficulty and end at 1.

    Parameters
    ----------
    easiness
        a name in ``EASINESS``, or a function of scores and mask
    epochs
        m: from this epoch on all weights are 1; None: never
    samples
        weights of ``"pairs"``, or of ``"points"``
    anti
        hard samples first
    normalise
        weights of a list have mean 1, which separates the curriculum from a warm-up of the step
        size
    batch_mean
        one weight for all, their mean: what the paper's released code does

    Examples
    --------
    >>> run, y = torch.tensor([[9.0, 5.0, 4.0, 3.0]]), torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    >>> Curriculum("reciprocal-rank", 20)(run, y, torch.ones(1, 4, dtype=torch.bool), epoch=5)[0, 0, 3].item()
    0.90625
    """

    easiness: str | Easiness = "reciprocal-rank"
    epochs: int | None = 20
    samples: Literal["pairs", "points"] = "pairs"
    anti: bool = False
    normalise: bool = False
    batch_mean: bool = False

    def __call__(self, first_stage: Tensor, labels: Tensor, where: Tensor, epoch: int) -> Tensor:
        """Weights (..., list, list) of pairs, or (..., list) of points, for a loss's ``weights``.

        Parameters
        ----------
        first_stage
            (..., list), scores of the first run, -inf for documents it lacks
        """
        rule = EASINESS[self.easiness] if isinstance(self.easiness, str) else self.easiness
        e = rule(first_stage, where)
        pairs = self.samples == "pairs"
        weight = pair_weights(e) if pairs else point_weights(e, labels)
        weight = 1 - weight if self.anti else weight
        fade = 0.0 if self.epochs is None else min(epoch / max(self.epochs, 1), 1.0)
        weight = weight * (1 - fade) + fade
        if self.normalise or self.batch_mean:
            used = (
                where[..., :, None]
                & where[..., None, :]
                & (labels[..., :, None] > labels[..., None, :])
                if pairs
                else where
            )
            axes = tuple(range(weight.ndim)) if self.batch_mean else (-2, -1) if pairs else (-1,)
            mean = torch.where(used, weight, 0.0).sum(dim=axes, keepdim=True) / used.sum(
                dim=axes, keepdim=True
            ).clamp(min=1)
            weight = mean.expand_as(weight) if self.batch_mean else weight / mean.clamp(min=1e-8)
        return weight
