"""Objectives on mean log-probabilities of a token, without a reference."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from policyrank.learn._lists import (
    Reduce,
    low,
    masked_mean,
    pairs_of,
    prepare,
    reduce_lists,
)
from policyrank.learn.losses.implicit import best_nll, implicit_scores
from policyrank.learn.losses.pairwise import LabelGap, Pairs, hinge, pair_loss


def simpo(
    log_probs: Tensor,
    labels: Tensor,
    *,
    reference: Tensor | None = None,
    where: Tensor | None = None,
    lengths: Tensor | None = None,
    beta: float = 2.0,
    margin: float = 1.0,
    pairs: Pairs = "mean",
    reduce: Reduce = "mean",
) -> Tensor:
    """log(1 + exp(margin - beta (p_i - p_j))) over pairs; no reference.

    p is the mean log-probability of a token. Labels: ``order``.

    References
    ----------
    Meng et al. (2024), arXiv 2405.14734.
    """
    mean = implicit_scores(log_probs, beta=beta, lengths=lengths, per_token=True)
    s, y, mask = prepare(mean, labels, where)

    def phi(behind: Tensor, _: LabelGap) -> tuple[Tensor, Tensor]:
        return softplus(behind + margin), torch.sigmoid(behind + margin)

    return pair_loss(phi, s, y, mask, pairs=pairs, reduce=reduce)


def rrhf(
    log_probs: Tensor,
    labels: Tensor,
    *,
    reference: Tensor | None = None,
    where: Tensor | None = None,
    lengths: Tensor | None = None,
    sft_weight: float = 1.0,
    reduce: Reduce = "mean",
) -> Tensor:
    """Sum over pairs of max(0, p_j - p_i), plus the best answer's negative log-likelihood.

    All of it is divided by the number of pairs. p is the mean log-probability of a token; no
    reference. Labels: ``order``.

    References
    ----------
    Yuan et al. (2023), arXiv 2304.05302.
    """
    mean = implicit_scores(log_probs, beta=1.0, lengths=lengths, per_token=True)
    s, y, mask = prepare(mean, labels, where)
    loss = hinge(s, y, where=mask, margin=0.0, pairs="sum", reduce="none")
    loss = loss + sft_weight * best_nll(log_probs, y, mask)
    count = _ahead(y, mask).sum(dim=(-1, -2))
    return reduce_lists(loss / count.clamp(min=1), count > 0, reduce)


def _ahead(labels: Tensor, mask: Tensor) -> Tensor:
    """Whether the row has a higher label than the column: (..., list, list)."""
    return (labels[..., :, None] > labels[..., None, :]) & pairs_of(mask)


def pro(
    log_probs: Tensor,
    labels: Tensor,
    *,
    reference: Tensor | None = None,
    where: Tensor | None = None,
    lengths: Tensor | None = None,
    sft_weight: float = 0.05,
    gaps: bool = True,
    centre: bool = False,
    reduce: Reduce = "mean",
) -> Tensor:
    """PRO: the best answer against the rest, then the second against the rest, and so on.

    No reference. Stage k is -log of exp(p_k g_kk) over that plus the sum over worse i of exp(p_i
    g_ki), p the mean log-probability of a token, g_ki = r_k - r_i the gap of the labels (rewards)
    and g_kk the largest of them; plus ``sft_weight`` m^2 times the negative log-likelihood of the
    best answer, summed over tokens. All of it is divided by the m stages: an answer with a worse
    one has a stage, so that m = n - 1 without ties. Equal answers are no rivals.

    Labels: ``scores``, by their differences; ``order`` without ``gaps``.

    Parameters
    ----------
    gaps
        False: all gaps are 1, which without ties is ListMLE on the mean log-probabilities
    centre
        subtract the list's mean log-probability first: with gaps the loss otherwise changes when a
        constant is added to all, and at equal log-probabilities rewards low ones

    References
    ----------
    Song et al. (2023), "Preference Ranking Optimization for Human Alignment", arXiv 2306.17492.
    Log-sum-exp replaces the released code's log(1e-10 + sum).

    Examples
    --------
    >>> p, rewards = torch.tensor([-1.0, -1.2, -0.8]), torch.tensor([2.0, 1.0, 0.0])
    >>> pro(p, rewards, lengths=torch.ones(3), sft_weight=0)
    tensor(1.2321)
    """
    mean = implicit_scores(log_probs, beta=1.0, lengths=lengths, per_token=True)
    score, labels, mask = prepare(mean, labels, where)
    nll = best_nll(log_probs, labels, mask)
    if centre:
        score = score - masked_mean(score, mask)[..., None]
    ahead = _ahead(labels, mask)
    gap = ahead.to(score.dtype)
    if gaps:
        gap = gap * (labels[..., :, None] - labels[..., None, :])
    own = torch.eye(score.shape[-1], dtype=torch.bool, device=score.device)
    gap = torch.where(own, gap.amax(dim=-1, keepdim=True), gap)
    logits = (score[..., None, :] * gap).masked_fill(~(ahead | own), low(score))
    stage = torch.logsumexp(logits, dim=-1) - logits.diagonal(dim1=-2, dim2=-1)
    has_rivals = ahead.any(dim=-1)
    stages = has_rivals.sum(dim=-1)
    staged = masked_mean(stage, has_rivals)
    return reduce_lists(staged + sft_weight * stages * nll, stages > 0, reduce)
