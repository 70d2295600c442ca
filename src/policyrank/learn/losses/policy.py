"""The clipped policy gradient, once: ratios, clips, averages and KL are its options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import widen
from policyrank.learn.losses.averages import Average, averaged, check_average, counted, token_mean
from policyrank.learn.segments import of_segments, segment_mean

Ratio = Literal["token", "segment", "sequence"]
Surrogate = Literal["clipped", "weighted", "geometric"]
Divergence = Literal["k1", "k2", "k3"]
FURTHEST = 20.0
"""A log-ratio beyond which exp goes on as a straight line: it would leave float32 at 88."""


@dataclass(frozen=True)
class PolicyLoss:
    """A policy loss and what is watched while it falls.

    Attributes
    ----------
    loss
        (), to be differentiated: the surrogate, with KL and entropy as weighted
    clip_share
        (), tokens whose clip is binding, of those that count
    divergence
        (), mean estimate of KL(policy, reference) a token; 0 without a reference
    ratio
        (), mean ratio of new and old probability
    """

    loss: Tensor
    clip_share: Tensor
    divergence: Tensor
    ratio: Tensor


@dataclass(frozen=True)
class PolicyObjective:
    """Clipped policy gradient on samples of an older policy: what it is made of.

    Called with tensors of (batch, tokens) it gives a ``PolicyLoss``. Settings that have names are
    in ``POLICY_OBJECTIVES``; F-GRPO and Rank-GRPO are ``ratio="segment"``.

    Parameters
    ----------
    ratio
        of each token; the geometric mean over its segment, or over the sequence
    surrogate
        ``"clipped"``; ``"weighted"``: the clipped ratio is a constant weight of log-probability;
        ``"geometric"``: the geometric mean of ratios that are clipped token by token
    clip
        how far the ratio counts below and above 1; of log-ratios for ``"geometric"``
    dual_clip
        with a negative advantage, the largest ratio that counts (Ye et al. 2020: 3)
    most
        the largest ratio that counts at all (TRL's delta)
    average
        over all tokens; within each sequence, then over sequences; within segments, sequences, all;
        ``"sum"``: the sum of each sequence, then over sequences; ``"length"``: that over ``length``
    length
        tokens that a completion may have
    beta, divergence
        weight of KL to the reference, and its estimator: k1 log-ratio, k2 half its square, k3
        exp(d) - d - 1 with d of reference over policy (Schulman 2020)
    weighted_divergence
        weigh that estimate by the ratio, so that its gradient is KL's own (TRL's default)
    entropy_weight
        of the mean entropy, which is rewarded

    Raises
    ------
    OptionError
        For an unknown option, or one that lacks what it needs.

    References
    ----------
    Schulman et al. (2017), arXiv 1707.06347; Shao et al. (2024), arXiv 2402.03300; Yu et al.
    (2025), "DAPO", arXiv 2503.14476; Liu et al. (2025), arXiv 2503.20783; Zheng et al. (2025),
    "GSPO", arXiv 2507.18071; Zhao et al. (2025), "GMPO", arXiv 2507.20673; MiniMax (2025), "CISPO",
    arXiv 2506.13585; DeepSeek-AI (2025), "DeepSeek-V3.2", arXiv 2512.02556.

    Examples
    --------
    >>> log_probs = torch.zeros(2, 3, requires_grad=True)
    >>> objective = PolicyObjective()
    >>> objective(log_probs, torch.tensor([1.0, -1.0]), torch.ones(2, 3)).loss.backward()
    >>> log_probs.grad
    tensor([[-0.1667, -0.1667, -0.1667],
            [ 0.1667,  0.1667,  0.1667]])
    """

    ratio: Ratio = "token"
    surrogate: Surrogate = "clipped"
    clip: tuple[float, float] = (0.2, 0.2)
    dual_clip: float | None = None
    most: float | None = None
    average: Average = "token"
    length: int | None = None
    beta: float = 0.0
    divergence: Divergence = "k3"
    weighted_divergence: bool = False
    entropy_weight: float = 0.0

    def __post_init__(self) -> None:
        for name, known in (
            ("ratio", Ratio),
            ("surrogate", Surrogate),
            ("divergence", Divergence),
        ):
            if getattr(self, name) not in get_args(known):
                names = ", ".join(get_args(known))
                raise OptionError(f"{name}={getattr(self, name)!r}: use one of {names}.")
        check_average(self.average, self.length)

    def __call__(
        self,
        log_probs: Tensor,
        advantages: Tensor,
        where: Tensor,
        *,
        old: Tensor | None = None,
        segments: Tensor | None = None,
        reference: Tensor | None = None,
        entropy: Tensor | None = None,
        total: float | Tensor | None = None,
        tokens: float | Tensor | None = None,
    ) -> PolicyLoss:
        """The loss of a batch.

        A token whose advantage is NaN does not count, in numerator and denominator; nor one that
        belongs to no segment, where segments count, nor a sequence without tokens that count.

        Parameters
        ----------
        log_probs
            (batch, tokens), of the tokens that were sampled, by the policy that learns
        advantages
            (batch,) or (batch, tokens); NaN: says nothing
        where
            (batch, tokens), what the policy wrote itself and learns from
        old
            (batch, tokens), by the policy that sampled; None: by this one (ratio 1)
        segments
            (batch, tokens), integers from 1; 0: to none
        reference
            (batch, tokens), by the policy that ``beta`` holds it to
        entropy
            (batch, tokens), of the policy at each token
        total
            what the sum is divided by instead of what counts here, where this is a part of a
            batch: ``counted`` of the whole one
        tokens
            what the entropy's sum is divided by: tokens that count in the whole batch

        Raises
        ------
        OptionError
            For shapes that do not fit, or a tensor that is missing.
        """
        _check(
            log_probs, where=where, old=old, segments=segments, reference=reference, entropy=entropy
        )
        log_probs = widen(log_probs)
        mask = self.counting(advantages, where, segments)
        gain = widen(advantages if advantages.ndim > 1 else advantages[:, None])
        gain = gain.expand_as(log_probs).masked_fill(~mask, 0.0)
        before = log_probs.detach() if old is None else widen(old)
        step = (log_probs - before).masked_fill(~mask, 0.0)
        each, clipped, weight = self._surrogate(log_probs, step, gain, mask, segments)

        far = self._divergence(log_probs, reference, mask)
        held = far * weight if self.weighted_divergence else far
        each = (each + self.beta * held).masked_fill(~mask, 0.0)
        loss = averaged(
            each, mask, self.average, segments=segments, length=self.length, total=total
        )
        if self.entropy_weight:
            if entropy is None:
                raise OptionError("entropy_weight: give the entropy of each token.")
            uncertain = widen(entropy).masked_fill(~mask, 0.0).sum()
            uncertain = uncertain / (mask.sum().clamp(min=1) if tokens is None else tokens)
            loss = loss - self.entropy_weight * uncertain
        return PolicyLoss(
            loss,
            token_mean(clipped.to(loss.dtype), mask),
            token_mean(far.detach(), mask),
            token_mean(weight.detach(), mask),
        )

    def counting(self, advantages: Tensor, where: Tensor, segments: Tensor | None = None) -> Tensor:
        """Which tokens count: (batch, tokens)."""
        gain = advantages if advantages.ndim > 1 else advantages[:, None]
        mask = where.bool() & ~gain.isnan()
        if "segment" in (self.ratio, self.average):
            mask = mask & (_given(segments) > 0)
        return mask

    def counted(self, advantages: Tensor, where: Tensor, segments: Tensor | None = None) -> Tensor:
        """What the loss is a mean over: tokens (average ``"token"``) or sequences that count."""
        return counted(self.counting(advantages, where, segments), self.average)

    def _surrogate(
        self, log_probs: Tensor, step: Tensor, gain: Tensor, mask: Tensor, segments: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What each token loses, where the clip binds, and its ratio: (batch, tokens)."""
        if self.surrogate == "geometric":
            taken = self._nearest(step, gain)
            weight = ratio_of(_mean_of(taken, mask.long()))
            return -weight * gain, taken != step, weight
        parts = self._parts(mask, segments)
        weight = ratio_of(step if parts is None else _mean_of(step, parts))
        highest = 1 + self.clip[1]
        if self.surrogate == "weighted":
            kept = weight.detach().clamp(max=highest)
            return -kept * gain * log_probs, weight > highest, weight
        within = weight.clamp(1 - self.clip[0], highest)
        taken = weight if self.most is None else weight.clamp(max=self.most)
        gained = torch.minimum(taken * gain, within * gain)
        if self.dual_clip is not None:
            gained = torch.where(gain < 0, torch.maximum(gained, self.dual_clip * gain), gained)
        return -gained, within * gain < weight * gain, weight

    def _nearest(self, step: Tensor, gain: Tensor) -> Tensor:
        """Log-ratios clipped where going further would gain."""
        within = step.clamp(-self.clip[0], self.clip[1])
        return torch.where(gain > 0, torch.minimum(step, within), torch.maximum(step, within))

    def _parts(self, mask: Tensor, segments: Tensor | None) -> Tensor | None:
        """Over which tokens a ratio is taken: (batch, tokens), 0 to none; None: each alone."""
        if self.ratio == "token":
            return None
        if self.ratio == "sequence":
            return mask.long()
        return _given(segments).masked_fill(~mask, 0)

    def _divergence(self, log_probs: Tensor, reference: Tensor | None, mask: Tensor) -> Tensor:
        """An estimate of KL(policy, reference) at each token."""
        if reference is None:
            if self.beta:
                raise OptionError(f"beta={self.beta}: give the reference's log-probabilities.")
            return torch.zeros_like(log_probs)
        behind = (widen(reference) - log_probs).masked_fill(~mask, 0.0)
        if self.divergence == "k1":
            return -behind
        if self.divergence == "k2":
            return 0.5 * behind**2
        return ratio_of(behind) - behind - 1


POLICY_OBJECTIVES: dict[str, PolicyObjective] = {
    "ppo": PolicyObjective(),
    "grpo": PolicyObjective(average="sequence", beta=0.04),
    "dr-grpo": PolicyObjective(average="length", length=1024),
    "dapo": PolicyObjective(clip=(0.2, 0.28)),
    "gspo": PolicyObjective(ratio="sequence", clip=(3e-4, 4e-4), average="sequence"),
    "gmpo": PolicyObjective(surrogate="geometric", clip=(0.4, 0.4), average="sequence"),
    "cispo": PolicyObjective(surrogate="weighted", clip=(1.0, 4.0)),
    "segment-grpo": PolicyObjective(ratio="segment", average="segment"),
}
"""Settings that have names, with their papers' clips; ``dataclasses.replace`` changes one."""


def _check(log_probs: Tensor, **others: Tensor | None) -> None:
    if log_probs.ndim != 2:
        raise OptionError(f"log_probs {tuple(log_probs.shape)} must be (batch, tokens).")
    for name, own in others.items():
        if own is not None and own.shape != log_probs.shape:
            shape = tuple(log_probs.shape)
            raise OptionError(
                f"{name} {tuple(own.shape)} and log_probs {shape} must have one shape."
            )


def _mean_of(values: Tensor, parts: Tensor) -> Tensor:
    """The mean over each token's part, at each token."""
    count = int(parts.max()) if parts.numel() else 0
    return of_segments(segment_mean(values, parts, count), parts)


def ratio_of(step: Tensor) -> Tensor:
    """Exp of a log-ratio, which goes on as a straight line where it would leave float32."""
    return torch.exp(step.clamp(max=FURTHEST)) * (1 + (step - FURTHEST).clamp(min=0))


def _given(segments: Tensor | None) -> Tensor:
    if segments is None:
        raise OptionError("ratios and means of segments need segments (batch, tokens).")
    return segments
