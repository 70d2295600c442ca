"""Moments of all that was seen, kept as it comes; rewards normalised, or shaped token by token."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import widen


@dataclass
class RunningMoments:
    """Count, mean and squares of all values that were seen; two of them merge into one.

    Processes each make their own of what they have, exchange ``packed()`` and take
    ``unpacked()`` of all: the same moments as of all values at once.

    Attributes
    ----------
    count
        values seen
    mean
        of them
    squares
        sum of their squared distances from the mean

    References
    ----------
    Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance".

    Examples
    --------
    >>> moments = RunningMoments()
    >>> moments.update(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    >>> moments.update(torch.tensor([10.0, 12.0]))
    >>> round(moments.mean, 4), round(moments.variance, 4), round(moments.std, 4)
    (5.3333, 17.2222, 4.5461)
    """

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, values: Tensor, where: Tensor | None = None) -> RunningMoments:
        """Those of some values; masked ones and NaN, which do not apply, are left out.

        Raises
        ------
        OptionError
            For infinite values, which would stay in the mean for good.
        """
        own = widen(values.detach()).double()
        shown = ~own.isnan() if where is None else where.bool() & ~own.isnan()
        own = own[shown]
        if bool(own.isinf().any()):
            raise OptionError("infinite values have no mean: clip them, or give NaN.")
        if not len(own):
            return cls()
        equal = bool(own.max() == own.min())  # their mean would be off by rounding
        mean = own[0] if equal else own.mean()
        return cls(float(len(own)), float(mean), float(((own - mean) ** 2).sum()))

    def update(self, values: Tensor, where: Tensor | None = None) -> None:
        """Take in values, of any shape; masked ones and NaN are left out."""
        self.merge(self.of(values, where))

    def merge(self, other: RunningMoments) -> None:
        """Take in what another has seen."""
        count = self.count + other.count
        if not other.count:
            return
        apart = other.mean - self.mean
        self.squares += other.squares + apart**2 * self.count * other.count / count
        self.mean += apart * other.count / count
        self.count = count

    @property
    def variance(self) -> float:
        """Of the population; NaN before the first value."""
        return self.squares / self.count if self.count else math.nan

    @property
    def std(self) -> float:
        """Standard deviation of a sample; NaN of fewer than two values."""
        return math.sqrt(self.squares / (self.count - 1)) if self.count >= 2 else math.nan

    @property
    def scale(self) -> float:
        """What may be divided by: ``std``, or 1 while there are not two different values."""
        return self.std if self.count >= 2 and self.squares > 0 else 1.0

    def packed(self) -> Tensor:
        """Count, mean and squares: (3,), float64, to be gathered from all processes."""
        return torch.tensor([self.count, self.mean, self.squares], dtype=torch.float64)

    @classmethod
    def unpacked(cls, packed: Tensor) -> RunningMoments:
        """Those of (3,), or of (processes, 3) or (processes * 3,) merged."""
        out = cls()
        for count, mean, squares in packed.double().reshape(-1, 3).tolist():
            out.merge(cls(count, mean, squares))
        return out

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint keeps."""
        return {"count": self.count, "mean": self.mean, "squares": self.squares}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from a checkpoint.

        Raises
        ------
        OptionError
            When it lacks one of the three, or holds what no values have.
        """
        missing = {"count", "mean", "squares"}.difference(state)
        if missing:
            raise OptionError(f"the state of moments lacks {', '.join(sorted(missing))}.")
        count, mean, squares = (float(state[name]) for name in ("count", "mean", "squares"))
        if not (count >= 0 and math.isfinite(mean) and 0 <= squares < math.inf):
            raise OptionError(f"no values have count {count}, mean {mean}, squares {squares}.")
        self.count, self.mean, self.squares = count, mean, squares


def normalised_rewards(
    rewards: Tensor,
    moments: RunningMoments,
    *,
    centre: bool = True,
    scale: bool = True,
    clip: float | None = None,
) -> Tensor:
    """Rewards less the running mean, over the running deviation, clipped: the shape of the rewards.

    The batch's own rewards are taken into the moments first, and only then normalised by them (as
    in MOSS-RLHF). Before KL is taken off, which lives on another scale. NaN stays. Nothing is
    divided by a deviation of nothing: see ``RunningMoments.scale``.

    Parameters
    ----------
    centre, scale
        take the mean off; divide by the deviation. Scaling alone is what MOSS-RLHF's launch script
        does
    clip
        how far from 0 a reward may be; None: any

    References
    ----------
    Zheng et al. (2023), "Secrets of RLHF in Large Language Models Part I: PPO", arXiv 2307.04964,
    equation 18: clip 0.3 or 0.8.

    Examples
    --------
    >>> moments = RunningMoments.of(torch.tensor([1.0, 2.0, 3.0, 4.0, 10.0, 12.0]))
    >>> normalised_rewards(torch.tensor([20.0, 4.0]), moments, clip=0.8)
    tensor([ 0.8000, -0.2933])
    """
    if clip is not None and not clip > 0:
        raise OptionError(f"clip={clip}: it is above 0, or None.")
    out = widen(rewards).double()
    if centre:
        out = out - moments.mean
    if scale:
        out = out / moments.scale
    if clip is not None:
        out = out.clamp(-clip, clip)
    return out.to(widen(rewards).dtype)


def kl_shaped_rewards(
    scores: Tensor,
    log_probs: Tensor,
    reference: Tensor,
    where: Tensor,
    *,
    beta: float,
    segments: Tensor | None = None,
) -> Tensor:
    """A reward for each token: its log-ratio to the reference, and the score at the end.

    r_t = -beta (log pi(y_t) - log pi_ref(y_t)), and the score on top at the last token that the
    policy wrote. 0 at masked tokens: what stands there, NaN even, never enters. A row of which
    nothing is unmasked has no place for its score. A NaN score, which says nothing, stays.

    Parameters
    ----------
    scores
        (rows,); or (rows, segments), each at the last token of its segment, those that have none
        nowhere
    log_probs, reference
        (rows, tokens), by the policy that sampled and by the reference
    where
        (rows, tokens), what the policy wrote itself
    beta
        weight of KL, 0 or more
    segments
        (rows, tokens), from 1; 0: of none. Needed for scores of segments

    Raises
    ------
    OptionError
        For shapes that do not fit, or a negative weight.

    References
    ----------
    Ziegler et al. (2019), arXiv 1909.08593; arXiv 2307.04964.

    Examples
    --------
    >>> apart = torch.tensor([[0.2, -0.1, 0.4, 9.0]])
    >>> mask = torch.tensor([[True, True, True, False]])
    >>> kl_shaped_rewards(torch.tensor([1.5]), apart, torch.zeros(1, 4), mask, beta=0.05)
    tensor([[-0.0100,  0.0050,  1.4800,  0.0000]])
    """
    if beta < 0:
        raise OptionError(f"beta={beta}: it is 0 or more.")
    for name, own in (("reference", reference), ("where", where), ("segments", segments)):
        if own is not None and own.shape != log_probs.shape:
            raise OptionError(f"{name} {tuple(own.shape)} must be {tuple(log_probs.shape)}.")
    if len(scores) != len(log_probs) or scores.ndim > 2:
        raise OptionError(f"scores {tuple(scores.shape)} for {len(log_probs)} rows.")
    mask = where.bool()
    shown = widen(log_probs).masked_fill(~mask, 0.0)
    held = widen(reference).masked_fill(~mask, 0.0)
    parts = mask.long()
    if scores.ndim == 2:
        if segments is None:
            raise OptionError(f"scores {tuple(scores.shape)} are of segments: give the segments.")
        parts = segments.long().masked_fill(~mask, 0)
    return -beta * (shown - held).detach() + _at_ends(scores, parts).to(shown.dtype)


def _at_ends(scores: Tensor, parts: Tensor) -> Tensor:
    """Each score at the last token of its part, 0 elsewhere: (rows, tokens)."""
    columns = scores if scores.ndim == 2 else scores[:, None]
    place = torch.arange(1, parts.shape[1] + 1, device=parts.device).expand(parts.shape)
    last = parts.new_zeros(len(parts), columns.shape[1] + 2)
    own = parts.clamp(max=columns.shape[1] + 1)
    last = last.scatter_reduce(1, own, place, "amax")[:, 1 : columns.shape[1] + 1]
    out = columns.new_zeros(len(parts), parts.shape[1] + 1)
    return out.scatter(1, last, columns)[:, 1:]
