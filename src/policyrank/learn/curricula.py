"""Curricula: weights of samples by how easy a cheap first ranker finds them.

The weights are faded to 1 while training goes on. MacAvaney et al. (2020), "Training Curricula for
Open Domain Answer Re-Ranking", arXiv 2004.14269.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import pairs_of, widen


class Easiness(Protocol):
    """Scores of the first run (..., list) and the mask -> how easy each item is, in [0, 1]."""

    def __call__(self, scores: Tensor, where: Tensor, /) -> Tensor: ...


def reciprocal_rank(scores: Tensor, where: Tensor) -> Tensor:
    """1 / place in the first run: (..., list).

    Equal scores share the mean of their places. A document that the run lacks has score -inf and
    counts as place 1,000.
    """
    keys = (-widen(scores)).masked_fill(~where, torch.inf).contiguous()
    in_order = keys.sort(dim=-1).values
    above = torch.searchsorted(in_order, keys)
    place = (above + torch.searchsorted(in_order, keys, right=True) + 1) / 2
    return torch.where(torch.isneginf(scores), 1e-3, 1 / place) * where


def normalised_score(scores: Tensor, where: Tensor) -> Tensor:
    """(score - lowest) / (highest - lowest) of the run; 1/2 where all are equal: (..., list)."""
    scores = widen(scores)
    found = where & torch.isfinite(scores)
    lowest = scores.masked_fill(~found, torch.inf).amin(dim=-1, keepdim=True)
    highest = scores.masked_fill(~found, -torch.inf).amax(dim=-1, keepdim=True)
    value = torch.where(highest > lowest, (scores - lowest) / (highest - lowest), 0.5)
    return torch.where(found, value, 0.0)


def kde(scores: Tensor, where: Tensor) -> Tensor:
    """Cumulative distribution, at each score, of a Gaussian kernel density of the run's scores.

    Scott's bandwidth; 1/2 where all are equal.
    """
    scores = widen(scores)
    found = where & torch.isfinite(scores)
    x = scores.masked_fill(~found, 0.0)
    n = found.sum(dim=-1, keepdim=True).to(x.dtype)
    mean = x.sum(dim=-1, keepdim=True) / n.clamp(min=1)
    squares = torch.where(found, x - mean, 0.0) ** 2
    variance = squares.sum(dim=-1, keepdim=True) / (n - 1).clamp(min=1)
    width = variance.sqrt() * n.clamp(min=1) ** (-1 / 5)
    apart = (x[..., :, None] - x[..., None, :]) / width.clamp(min=1e-12)[..., None]
    below = torch.where(found[..., None, :], torch.special.ndtr(apart), 0.0)
    value = below.sum(dim=-1) / n.clamp(min=1)
    return torch.where(found, torch.where(width > 0, value, 0.5), 0.0)


EASINESS: dict[str, Easiness] = {
    "reciprocal-rank": reciprocal_rank,
    "normalised": normalised_score,
    "kde": kde,
}


def named_easiness(easiness: str | Easiness) -> Easiness:
    """One of ``EASINESS`` by name; a function is what it is.

    Raises
    ------
    OptionError
        For an unknown name.
    """
    if not isinstance(easiness, str):
        return easiness
    if easiness not in EASINESS:
        names = ", ".join(EASINESS)
        raise OptionError(f"easiness={easiness!r}: use one of {names}, or a function.")
    return EASINESS[easiness]


def point_weights(easiness: Tensor, labels: Tensor) -> Tensor:
    """Easiness of a sample: of a relevant document its own, of any other one minus it.

    Shape (..., list).
    """
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

    Raises
    ------
    OptionError
        For an unknown easiness.

    Examples
    --------
    >>> run, y = torch.tensor([[9.0, 5.0, 4.0, 3.0]]), torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    >>> curriculum, all_shown = Curriculum("reciprocal-rank", 20), torch.ones(1, 4).bool()
    >>> curriculum(run, y, all_shown, epoch=5)[0, 0, 3].item()
    0.90625
    """

    easiness: str | Easiness = "reciprocal-rank"
    epochs: int | None = 20
    samples: Literal["pairs", "points"] = "pairs"
    anti: bool = False
    normalise: bool = False
    batch_mean: bool = False

    def __post_init__(self) -> None:
        named_easiness(self.easiness)

    def __call__(self, first_stage: Tensor, labels: Tensor, where: Tensor, epoch: int) -> Tensor:
        """Weights of samples whose whole first run is given; see ``weights``.

        Parameters
        ----------
        first_stage
            (..., list), scores of the first run, -inf for documents it lacks
        """
        return self.weights(self.easy(first_stage, where), labels, where, epoch)

    def easy(self, first_stage: Tensor, where: Tensor) -> Tensor:
        """How easy each item of a whole run is, in [0, 1]: (..., list)."""
        return named_easiness(self.easiness)(first_stage, where)

    def weights(self, easy: Tensor, labels: Tensor, where: Tensor, epoch: int) -> Tensor:
        """Weights (..., list, list) of pairs, or (..., list) of points, for a loss's ``weights``.

        Parameters
        ----------
        easy
            (..., list), easiness by the whole run: of a list that was cut to fewer items, that
            which they had before
        labels, where
            (..., list)
        epoch
            from 0
        """
        weight = self._difficulty(easy, labels)
        fade = self._fade(epoch)
        weight = weight * (1 - fade) + fade
        if self.batch_mean:
            axes = tuple(range(weight.ndim))
            return self._mean(weight, labels, where, axes).expand_as(weight)
        if self.normalise:
            axes = {"pairs": (-2, -1), "points": (-1,)}[self.samples]
            return weight / self._mean(weight, labels, where, axes).clamp(min=1e-8)
        return weight

    def _difficulty(self, easy: Tensor, labels: Tensor) -> Tensor:
        """Weights before training."""
        weight = pair_weights(easy) if self.samples == "pairs" else point_weights(easy, labels)
        if self.anti:
            return 1 - weight
        return weight

    def _fade(self, epoch: int) -> float:
        """How far the weights have come to 1, in [0, 1]."""
        if self.epochs is None:
            return 0.0
        return min(epoch / max(self.epochs, 1), 1.0)

    def _mean(self, weight: Tensor, labels: Tensor, where: Tensor, axes: tuple[int, ...]) -> Tensor:
        """Mean weight of the pairs in order, or of the points there are."""
        used = where
        if self.samples == "pairs":
            used = pairs_of(where) & (labels[..., :, None] > labels[..., None, :])
        total = torch.where(used, weight, 0.0).sum(dim=axes, keepdim=True)
        return total / used.sum(dim=axes, keepdim=True).clamp(min=1)
