"""Objectives over a group of answers: their labels as a distribution, or as advantages."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from policyrank.learn._lists import Reduce, masked_mean, prepare, reduce_lists, span, widen
from policyrank.learn.advantages import Advantage, named_advantage, of_shares
from policyrank.learn.labels import label_distribution
from policyrank.learn.losses.listwise import softmax_cross_entropy


def distribution_matching(
    scores: Tensor,
    labels: Tensor,
    *,
    where: Tensor | None = None,
    temperature: float = 1.0,
    standardise: bool = True,
    least_gap: float = 0.0,
    reduce: Reduce = "mean",
) -> Tensor:
    """Cross-entropy of ``label_distribution(labels)`` and softmax(scores).

    It learns from unlabelled answers that were only scored beside a positive one. Lists whose
    labels span at most ``least_gap`` say nothing. Labels: ``scores``, standardised in each list
    unless told otherwise.

    References
    ----------
    Positive-unlabeled distillation, arXiv 2601.20687 (its label-distribution learning,
    reconstructed); NCA, Chen et al. (2024), arXiv 2402.05369.
    """
    scores, labels, mask = prepare(scores, labels, where)
    target = label_distribution(
        labels,
        where=mask,
        temperature=temperature,
        standardise=standardise,
        least_gap=least_gap,
    )
    loss = softmax_cross_entropy(scores, target.detach(), where=mask, reduce="none")
    return reduce_lists(loss, span(labels, mask) > least_gap, reduce)


def group_clipped(
    log_probs: Tensor,
    labels: Tensor,
    *,
    reference: Tensor | None = None,
    where: Tensor | None = None,
    lengths: Tensor | None = None,
    clip: float = 0.2,
    advantage: str | Advantage = "standardised",
    least_gap: float = 0.0,
    reduce: Reduce = "mean",
) -> Tensor:
    """Clipped policy gradient over a group of answers that the reference itself sampled.

    GRPO with one ratio an answer, that of the whole answer's mean log-probability of a token under
    policy and reference (the policy that sampled). Without a reference the policy is taken as it
    stands (ratio 1), the gradient then being REINFORCE's. Groups whose labels span at most
    ``least_gap`` say nothing. Beyond a log-ratio of 20 a straight line goes on for exp, which would
    leave float32 at 88. Labels: ``scores``, which the advantage standardises.

    Parameters
    ----------
    clip
        the ratio counts within 1 - clip and 1 + clip
    advantage
        of the labels, which are rewards: a name in ``learn.ADVANTAGES``, or a function

    Raises
    ------
    OptionError
        For an unknown advantage.

    References
    ----------
    Shao et al. (2024), arXiv 2402.03300; the ratio of sequences: Zheng et al. (2025), "GSPO", arXiv
    2507.18071.

    Examples
    --------
    >>> policy, rewards = torch.zeros(2, requires_grad=True), torch.tensor([1.0, 0.0])
    >>> group_clipped(policy, rewards).backward()
    >>> policy.grad
    tensor([-0.5000,  0.5000])
    """
    rule = named_advantage(advantage)
    log_probs, rewards, mask = prepare(log_probs, labels, where)
    told = span(rewards, mask) > least_gap
    gain = rule(rewards, mask).masked_fill(~told[..., None], 0.0)
    old = log_probs.detach()
    if reference is not None:
        old = widen(reference).detach().masked_fill(~mask, 0.0)
    ahead = log_probs - old
    if lengths is not None:
        ahead = ahead / lengths.clamp(min=1)
    ratio = torch.exp(ahead.clamp(max=20)) * (1 + (ahead - 20).clamp(min=0))
    gained = torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain)
    return reduce_lists(-masked_mean(gained, mask), told, reduce)


def share_clipped(
    log_probs: Tensor,
    labels: Tensor,
    *,
    reference: Tensor | None = None,
    where: Tensor | None = None,
    lengths: Tensor | None = None,
    clip: float = 0.2,
    temperature: float = 1.0,
    standardise: bool = True,
    least_gap: float = 0.0,
    reduce: Reduce = "mean",
) -> Tensor:
    """``group_clipped`` with the shares of ``label_distribution(labels)`` as rewards.

    Labels: ``scores``, standardised in each list unless told otherwise.

    References
    ----------
    arXiv 2601.20687 (reconstructed).
    """
    return group_clipped(
        log_probs,
        labels,
        reference=reference,
        where=where,
        lengths=lengths,
        clip=clip,
        advantage=partial(of_shares, temperature=temperature, standardise=standardise),
        least_gap=least_gap,
        reduce=reduce,
    )
