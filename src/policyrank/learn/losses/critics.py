"""What a critic of tokens or steps loses, and the text that a policy is kept fluent with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import widen
from policyrank.learn.losses.averages import Average, averaged, check_average, counted, token_mean


@dataclass(frozen=True)
class ValueLoss:
    """A critic's loss and what is watched while it falls.

    Attributes
    ----------
    loss
        (), to be differentiated
    clip_share
        (), tokens whose clipped error is the larger one, of those that count
    error
        (), mean square error, not clipped
    explained
        (), share of the returns' variance that the critic explains; NaN where they do not vary
    """

    loss: Tensor
    clip_share: Tensor
    error: Tensor
    explained: Tensor


@dataclass(frozen=True)
class ValueObjective:
    """Half the square error of a critic; with clipping, as far as it may move in a round.

    max((V - R)^2, (V_old + clip(V - V_old) - R)^2) / 2, averaged as ``PolicyObjective`` does.

    Parameters
    ----------
    clip
        how far a value counts from what it was when sampled; None: any distance
    average
        over all tokens; within each sequence, then over sequences; ...: as ``PolicyObjective``
    length
        tokens that a completion may have, for ``"length"``

    Raises
    ------
    OptionError
        For an unknown average, or a clip that is not above 0.

    References
    ----------
    Schulman et al. (2017), its released code; arXiv 2307.04964, equation 14.

    Examples
    --------
    >>> values, returns = torch.tensor([[1.5]]), torch.tensor([[0.9]])
    >>> ValueObjective()(values, returns, torch.ones(1, 1), old=torch.ones(1, 1)).loss
    tensor(0.1800)
    """

    clip: float | None = 0.2
    average: Average = "token"
    length: int | None = None

    def __post_init__(self) -> None:
        check_average(self.average, self.length)
        if self.clip is not None and not self.clip > 0:
            raise OptionError(f"clip={self.clip}: it is above 0, or None.")

    def __call__(
        self,
        values: Tensor,
        returns: Tensor,
        where: Tensor,
        *,
        old: Tensor | None = None,
        segments: Tensor | None = None,
        total: float | Tensor | None = None,
    ) -> ValueLoss:
        """The loss of a batch; a token whose return is NaN does not count.

        Parameters
        ----------
        values, returns
            (batch, tokens), of the critic that learns, and what it should have said
        where
            (batch, tokens), what the policy wrote itself
        old
            (batch, tokens), of the critic when it was sampled; None: not clipped
        segments
            (batch, tokens), for the average of segments
        total
            what the sum is divided by instead of what counts here: ``counted`` of the whole batch

        Raises
        ------
        OptionError
            For shapes that do not fit.
        """
        for name, own in (("returns", returns), ("where", where), ("old", old)):
            if own is not None and own.shape != values.shape:
                raise OptionError(f"{name} {tuple(own.shape)} must be {tuple(values.shape)}.")
        mask = self.counting(returns, where, segments)
        target = widen(returns).masked_fill(~mask, 0.0)
        said = widen(values).masked_fill(~mask, 0.0)
        far = (said - target) ** 2
        held = far
        if self.clip is not None and old is not None:
            before = widen(old).masked_fill(~mask, 0.0)
            held = (before + (said - before).clamp(-self.clip, self.clip) - target) ** 2
        loss = averaged(
            0.5 * torch.maximum(far, held),
            mask,
            self.average,
            segments=segments,
            length=self.length,
            total=total,
        )
        clipped = (held > far).to(loss.dtype)
        return ValueLoss(
            loss,
            token_mean(clipped, mask),
            token_mean(far.detach(), mask),
            _explained(said.detach(), target, mask),
        )

    def counting(self, returns: Tensor, where: Tensor, segments: Tensor | None = None) -> Tensor:
        """Which tokens count: (batch, tokens)."""
        mask = where.bool() & ~returns.isnan()
        if self.average == "segment" and segments is not None:
            mask = mask & (segments > 0)
        return mask

    def counted(self, returns: Tensor, where: Tensor, segments: Tensor | None = None) -> Tensor:
        """What the loss is a mean over: tokens (average ``"token"``) or sequences that count."""
        return counted(self.counting(returns, where, segments), self.average)


def pretraining_loss(
    log_probs: Tensor,
    where: Tensor,
    *,
    average: Average = "token",
    length: int | None = None,
    total: float | Tensor | None = None,
) -> Tensor:
    """Negative log-likelihood of text that a policy is kept fluent with (PPO-ptx): ().

    Added to a policy's loss with a weight; the text is not the policy's own.

    Parameters
    ----------
    log_probs
        (batch, tokens), by the policy that learns, of pretraining or demonstration text
    where
        (batch, tokens), what is to be learned: of dialogues the assistant's turns
    average, length, total
        as ``PolicyObjective``

    Raises
    ------
    OptionError
        For shapes that do not fit, or an unknown average.

    References
    ----------
    Ouyang et al. (2022), arXiv 2203.02155, equation 2; arXiv 2307.04964.

    Examples
    --------
    >>> mask = torch.tensor([[True, True, False]])
    >>> pretraining_loss(torch.tensor([[-1.0, -2.0, -9.0]]), mask)
    tensor(1.5000)
    """
    check_average(average, length)
    if where.shape != log_probs.shape:
        raise OptionError(f"where {tuple(where.shape)} must be {tuple(log_probs.shape)}.")
    mask = where.bool()
    each = -widen(log_probs).masked_fill(~mask, 0.0)
    segments = mask.long() if average == "segment" else None
    return averaged(each, mask, average, segments=segments, length=length, total=total)


def _explained(said: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """1 - Var(returns - values) / Var(returns), over what counts."""
    spread = token_mean((target - token_mean(target, mask)) ** 2, mask)
    rest = target - said
    left = token_mean((rest - token_mean(rest, mask)) ** 2, mask)
    return torch.where(spread > 0, 1 - left / spread, torch.nan)
