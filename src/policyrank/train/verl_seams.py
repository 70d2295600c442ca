"""What passes through verl's registries, which know neither segments nor "says nothing".

verl hands its estimators rewards of tokens, a mask and ids of groups, and its losses advantages of
tokens and a mask, and nothing else. So segments travel in those: in rewards the last token of each
has what the segment earned, in advantages neighbours differ in their last digits, and a token that
says nothing has exactly 0. Nothing here imports verl.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

import torch
from torch import Tensor

from policyrank.errors import OptionError, refuse_unknown_options
from policyrank.learn.advantages import (
    Baseline,
    Scale,
    group_advantage,
    group_keys,
    reward_to_go,
    token_gains,
    without_ties,
)
from policyrank.learn.losses import PolicyLoss, PolicyObjective

NOTHING = -1e-20
"""A reward that says nothing, where only numbers pass; one of 0 is its opposite."""
_AVERAGES: dict[str, Any] = {
    "token-mean": "token",
    "token-sum": "token",
    "seq-mean-token-sum": "sum",
    "seq-mean-token-sum-norm": "length",
    "seq-mean-token-mean": "sequence",
}


@dataclass(frozen=True)
class GroupOptions:
    """How rewards become advantages; in verl's configuration under ``algorithm.policyrank``.

    Parameters
    ----------
    baseline, scale, epsilon
        of ``group_advantage``; scale None: the sample's deviation, or with
        ``norm_adv_by_std_in_grpo=False`` none
    damping
        of the deviation in groups that hold replayed rows beside fresh ones, above 0
        (``mixed_advantage``): a replayed row is a row of the batch with the ``uid`` of the fresh
        ones. More than 1 holds back all rows of all groups alike
    to_go
        a segment is credited with what is earned in it and after it
    keep_agreeing
        let groups of equal rewards have an advantage of (almost) 0, not one of exactly 0, which
        says nothing
    """

    baseline: Baseline = "mean"
    scale: Scale | None = None
    epsilon: float = 1e-6
    damping: float = 1.0
    to_go: bool = False
    keep_agreeing: bool = False

    def __post_init__(self) -> None:
        known = {"baseline": get_args(Baseline), "scale": (*get_args(Scale), None)}
        for name, values in known.items():
            if getattr(self, name) not in values:
                names = ", ".join(map(str, values))
                raise OptionError(f"{name}={getattr(self, name)!r}: use one of {names}.")
        if not self.damping > 0:
            raise OptionError(f"damping={self.damping}: it is above 0.")

    @classmethod
    def of(cls, algorithm: Any) -> GroupOptions:
        """As verl's ``algorithm`` says.

        Raises
        ------
        OptionError
            For an option that there is not.
        """
        given: Mapping[str, Any] = (algorithm.get("policyrank") if algorithm else None) or {}
        refuse_unknown_options(given, [field.name for field in fields(cls)], of="policyrank")
        found = cls(**given)
        if found.scale is None:
            scaled = algorithm is None or algorithm.get("norm_adv_by_std_in_grpo", True)
            found = replace(found, scale="sample" if scaled else "none")
        return found

    def gains(self, values: Tensor, groups: Tensor | Sequence[Any]) -> Tensor:
        """How much better each did than its group: the shape of the values; NaN says nothing."""
        if self.to_go and values.ndim > 1:
            values = reward_to_go(values)
        scale = self.scale or "sample"
        out = group_advantage(
            values,
            groups,
            baseline=self.baseline,
            scale=scale,
            epsilon=self.epsilon / self.damping,
        )
        out = out if scale == "none" else out / self.damping
        return out if self.keep_agreeing else without_ties(out, groups)


def marked(values: Tensor, segments: Tensor, where: Tensor) -> Tensor:
    """Rewards of segments as verl has them, at the last token of each: (rows, tokens).

    0 and NaN are written as the smallest numbers, which move no sum.

    Parameters
    ----------
    values
        (rows, segments), NaN where it does not apply
    segments
        (rows, tokens), from 1, in order
    where
        (rows, tokens), what the policy wrote itself

    Raises
    ------
    OptionError
        For segments that go back, or leave one out before another: the reader counts marks.

    Examples
    --------
    >>> values = torch.tensor([[0.5, 2.0]])
    >>> marked(values, torch.tensor([[1, 1, 2, 0]]), torch.tensor([[1, 1, 1, 0]]))
    tensor([[0.0000, 0.5000, 2.0000, 0.0000]])
    """
    out = torch.zeros(segments.shape)
    told = values.float()
    told = torch.where(told.isnan(), NOTHING, torch.where(told == 0, -NOTHING, told))
    index = segments.masked_fill(~where.bool() | (segments > values.shape[1]), 0)
    for row, own in enumerate(index.tolist()):
        ends = {segment: token for token, segment in enumerate(own) if segment}
        if list(ends) != list(range(1, len(ends) + 1)) or [*ends.values()] != sorted(ends.values()):
            raise OptionError(
                f"row {row}: segments {[*dict.fromkeys(s for s in own if s)]}: marks tell only"
                " those that follow one another, from 1."
            )
        for segment, token in ends.items():
            out[row, token] = told[row, segment - 1]
    return out


def unmarked(rewards: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
    """Rewards of segments, and each token's segment, of what ``marked`` wrote.

    A segment ends at its mark, and begins after the one before. One mark at the end, as verl
    writes a reward, and none, which is its 0: the row is one segment.

    Returns
    -------
    (rows, segments), NaN where it does not apply, and (rows, tokens), from 1; 0 to none
    """
    where = where.bool()
    marks = (rewards != 0) & where.any(dim=-1, keepdim=True)
    last = where & (where.flip(-1).cumsum(-1).flip(-1) == 1)
    bare = ~marks.any(dim=-1, keepdim=True)
    marks = marks | (last & bare)
    segments = 1 + marks.cumsum(dim=-1) - marks.long()
    count = marks.sum(dim=-1, keepdim=True)
    values = torch.full((len(rewards), int(count.max()) if len(rewards) else 0), torch.nan)
    row, token = marks.nonzero(as_tuple=True)
    said = rewards[row, token].float().cpu()
    said = torch.where(said == NOTHING, torch.nan, torch.where(said.abs() <= -NOTHING, 0.0, said))
    values[row.cpu(), segments[row, token].cpu() - 1] = said
    return values, segments.masked_fill(~where | (segments > count), 0)


def told(gains: Tensor, segments: Tensor) -> Tensor:
    """Advantages of tokens in which the losses here read segments again: (rows, tokens).

    Of any four neighbouring segments each differs by about a millionth, an advantage of 0 is the
    smallest number, and what says nothing is 0.
    """
    level = segments % 4
    tiny = -NOTHING * (1 + level)
    shifted = gains * (1 + level * 2.0**-21)
    return torch.where(gains == 0, tiny.to(gains.dtype), shifted).nan_to_num(nan=0.0)


def read_segments(advantages: Tensor) -> Tensor:
    """Segments of what ``told`` wrote: runs of one advantage, 0 where nothing is said.

    What says nothing in between, such as a tool's output, ends no run.

    Examples
    --------
    >>> read_segments(torch.tensor([[2.0, 0.0, 2.0, -1.0]]))
    tensor([[1, 0, 1, 2]])
    """
    says = advantages != 0
    place = torch.arange(advantages.shape[-1], device=advantages.device)
    last = place.expand_as(advantages).masked_fill(~says, -1).cummax(dim=-1).values
    before = torch.cat([torch.full_like(last[:, :1], -1), last[:, :-1]], dim=-1)
    previous = advantages.gather(-1, before.clamp(min=0)).masked_fill(before < 0, 0.0)
    return (says & (advantages != previous)).cumsum(dim=-1).masked_fill(~says, 0)


def token_advantages(
    rewards: Tensor, where: Tensor, index: Sequence[Any] | None, options: GroupOptions
) -> Tensor:
    """Advantages of verl's rewards of tokens: (rows, tokens), 0 where nothing is said.

    A row alone in its group has none (verl's estimators give it its reward), and is told so.

    Raises
    ------
    OptionError
        Without ids of groups.
    """
    if index is None:
        raise OptionError("verl's batch has no uid: groups cannot be told.")
    keys = index.tolist() if hasattr(index, "tolist") else index
    values, segments = unmarked(rewards, where)
    gains = options.gains(values, group_keys(keys)).to(rewards.device)
    return told(token_gains(gains, where, segments), segments)


def objective_of(base: PolicyObjective, average: str, config: Any) -> PolicyObjective:
    """An objective with the clips of verl's actor and one of its averages.

    Raises
    ------
    OptionError
        For an average that there is not.
    """
    if average not in _AVERAGES:
        raise OptionError(f"loss_agg_mode={average!r}: use one of {', '.join(_AVERAGES)}.")
    both = config.clip_ratio
    low = both if config.clip_ratio_low is None else config.clip_ratio_low
    high = both if config.clip_ratio_high is None else config.clip_ratio_high
    most = config.get("clip_ratio_c", 3.0) if base.surrogate == "clipped" else None
    info = config.global_batch_info
    return replace(
        base,
        clip=(low, high),
        dual_clip=most,
        average=base.average if base.average == "segment" else _AVERAGES[average],
        length=info.get("loss_scale_factor"),
    )


def policy_loss(
    base: PolicyObjective,
    old_log_prob: Tensor,
    log_prob: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    loss_agg_mode: str,
    config: Any,
    rollout_is_weights: Tensor | None,
) -> PolicyLoss:
    """A loss on what verl hands to one, divided as verl divides.

    Over the batch of all processes where verl says how much there is of it; else over what speaks
    here.
    """
    info = config.global_batch_info
    if loss_agg_mode == "seq-mean-token-sum-norm" and info.get("loss_scale_factor") is None:
        info = {**info, "loss_scale_factor": log_prob.shape[-1]}
    objective = objective_of(base, loss_agg_mode, _With(config, info))
    processes = info.get("dp_size") or 1
    whole = info.get("batch_num_tokens" if objective.average == "token" else "global_batch_size")
    total = None if whole is None else max(whole, 1) / processes
    if loss_agg_mode == "token-sum":
        total = 1 / processes
    segments = read_segments(advantages)
    gains = advantages if rollout_is_weights is None else advantages * rollout_is_weights
    where = response_mask.bool() & (segments > 0)
    return objective(log_prob, gains, where, old=old_log_prob, segments=segments, total=total)


class _With:
    """verl's configuration of the actor with another ``global_batch_info``."""

    def __init__(self, config: Any, info: dict[str, Any]) -> None:
        self.config, self.global_batch_info = config, info

    def __getattr__(self, name: str) -> Any:
        return getattr(self.config, name)
