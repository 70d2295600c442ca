"""Objectives that train a policy on ranked lists of its answers.

``loss(log_probs, labels, *, reference=None, where=None, lengths=None, reduce="mean")``:
log-probabilities of whole answers under the policy and under a reference (..., list), nats summed
over tokens; labels (..., list), higher is better; tokens of each answer. With a reference an
answer's score is beta times its log-ratio, without one beta times its log-probability. A list of
two is a pair; longer lists ask for all pairs, or for the whole order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from policyrank.learn._lists import Reduce, masked_mean, ordered, prepare, reduce_lists, widen
from policyrank.learn.losses.listwise import listmle, softmax_cross_entropy
from policyrank.learn.losses.pairwise import LabelGap, Pairs, hinge, pair_loss, ranknet
from policyrank.learn.losses.pointwise import mse, sigmoid_cross_entropy

PreferenceLoss = Callable[..., Tensor]
"""(log_probs, labels, *, reference, where, lengths, reduce) -> a scalar, or one loss a list with
``reduce="none"``.
"""


def implicit_scores(
    log_probs: Tensor,
    reference: Tensor | None = None,
    *,
    beta: float = 0.1,
    lengths: Tensor | None = None,
    per_token: bool = False,
) -> Tensor:
    """beta (log pi - log pi_ref) of each answer, divided by its tokens with ``per_token``: (...,
    list).

    Raises
    ------
    ValueError
        When ``per_token`` lacks lengths.
    """
    score = widen(log_probs) if reference is None else widen(log_probs) - widen(reference).detach()
    if per_token:
        score = score / _tokens(lengths)
    return beta * score


def of_ranking(
    loss: Callable[..., Tensor],
    log_probs: Tensor,
    labels: Tensor,
    *,
    reference: Tensor | None = None,
    where: Tensor | None = None,
    lengths: Tensor | None = None,
    beta: float = 0.1,
    per_token: bool = False,
    reduce: Reduce = "mean",
    **options: Any,
) -> Tensor:
    """Any loss of rankings on implicit scores (LiPO).

    Parameters
    ----------
    loss
        (scores, labels, *, where, reduce)
    beta
        scale of the implicit scores
    per_token
        divide log-ratios by the answers' tokens, so that long answers are not at an advantage
    options
        passed to the loss

    References
    ----------
    Liu et al. (2024), "LiPO: Listwise Preference Optimization through Learning-to-Rank", arXiv
    2402.01878.

    Examples
    --------
    >>> policy, reference = torch.tensor([-3.0, -6.0]), torch.tensor([-7.0, 0.0])  # log-ratios .4 and -.6 at beta .1
    >>> of_ranking(ranknet, policy, torch.tensor([1.0, 0.0]), reference=reference)
    tensor(0.3133)
    """
    scores = implicit_scores(log_probs, reference, beta=beta, lengths=lengths, per_token=per_token)
    return loss(scores, labels, where=where, reduce=reduce, **options)


def smoothed_dpo(
    scores: Tensor,
    labels: Tensor,
    *,
    where: Tensor | None = None,
    smoothing: float = 0.1,
    robust: bool = False,
    pairs: Pairs = "mean",
    reduce: Reduce = "mean",
) -> Tensor:
    """Logistic loss of pairs whose label is wrong with probability ``smoothing``: expected (cDPO),
    or unbiased of the clean one (robust DPO).

    Raises
    ------
    ValueError
        Unless 0 <= smoothing < 1/2.

    References
    ----------
    Mitchell (2023), "A note on DPO with noisy preferences"; Chowdhury et al. (2024), arXiv
    2403.00409.
    """
    if not 0 <= smoothing < 0.5:
        raise ValueError(f"smoothing={smoothing}: it is at least 0 and below 1/2.")
    s, y, mask = prepare(scores, labels, where)
    other = -smoothing if robust else smoothing
    scale = 1 / (1 - 2 * smoothing) if robust else 1.0

    def phi(behind: Tensor, _: LabelGap) -> tuple[Tensor, Tensor]:
        value = (1 - smoothing) * softplus(behind) + other * softplus(-behind)
        slope = (1 - smoothing) * torch.sigmoid(behind) - other * torch.sigmoid(-behind)
        return scale * value, scale * slope

    return pair_loss(phi, s, y, mask, pairs=pairs, reduce=reduce)


def ipo(
    log_probs: Tensor,
    labels: Tensor,
    *,
    reference: Tensor | None = None,
    where: Tensor | None = None,
    lengths: Tensor | None = None,
    beta: float = 0.1,
    per_token: bool = True,
    pairs: Pairs = "mean",
    reduce: Reduce = "mean",
) -> Tensor:
    """(h - 1/(2 beta))^2 over pairs, h the difference of their log-ratios, per token as IPO's
    authors and TRL have it (``per_token=False``: summed).

    References
    ----------
    Azar et al. (2023), arXiv 2310.12036.
    """
    ratio = implicit_scores(log_probs, reference, beta=1.0, lengths=lengths, per_token=per_token)
    s, y, mask = prepare(ratio, labels, where)

    def phi(behind: Tensor, _: LabelGap) -> tuple[Tensor, Tensor]:
        over = behind + 1 / (2 * beta)
        return over * over, 2 * over

    return pair_loss(phi, s, y, mask, pairs=pairs, reduce=reduce)


def apo_zero(
    scores: Tensor, labels: Tensor, *, where: Tensor | None = None, reduce: Reduce = "mean"
) -> Tensor:
    """Push up what is better than the list's mean label, down what is worse, each by its own
    sigmoid (APO-zero); equal labels say nothing.

    References
    ----------
    D'Oosterlinck et al. (2024), arXiv 2408.06266.
    """
    s, y, mask = prepare(scores, labels, where)
    return _desirable(s, y, mask, torch.zeros_like(s), reduce)


def kto(
    log_probs: Tensor,
    labels: Tensor,
    *,
    reference: Tensor | None = None,
    where: Tensor | None = None,
    lengths: Tensor | None = None,
    beta: float = 0.1,
    reduce: Reduce = "mean",
) -> Tensor:
    """KTO on lists: 1 - sigmoid(s - z) of desirable answers, 1 - sigmoid(z - s) of undesirable
    ones.

    Desirable is what lies above the list's mean label; z, the KL that is taken as zero utility, is
    the mean score of the other kind in the list, at least 0, and not learned through (the pairwise
    form of KTO's released code).

    References
    ----------
    Ethayarajh et al. (2024), arXiv 2402.01306.
    """
    s, y, mask = prepare(implicit_scores(log_probs, reference, beta=beta), labels, where)
    good = _good(y, mask)
    up, down = (
        masked_mean(s.detach(), m)[..., None].clamp(min=0) for m in (mask & good, mask & ~good)
    )
    return _desirable(s, y, mask, torch.where(good, down, up), reduce)


def _good(y: Tensor, mask: Tensor) -> Tensor:
    return y > masked_mean(y, mask)[..., None]


def _desirable(s: Tensor, y: Tensor, mask: Tensor, zero: Tensor, reduce: Reduce) -> Tensor:
    """Mean over each kind, added."""
    good = _good(y, mask)
    loss = torch.sigmoid(torch.where(good, zero - s, s - zero))
    up, down = (masked_mean(loss, m) for m in (mask & good, mask & ~good))
    return reduce_lists(up + down, (mask & good).any(dim=-1), reduce)


def sppo(
    log_probs: Tensor,
    labels: Tensor,
    *,
    reference: Tensor | None = None,
    where: Tensor | None = None,
    lengths: Tensor | None = None,
    beta: float = 0.1,
    reduce: Reduce = "mean",
) -> Tensor:
    """(log-ratio - (P - 1/2) / beta)^2 summed over the list, P an answer's share of wins against
    the others of the list, from its labels.

    On a pair P is 1 and 0: the hard form. Labels that are win rates against all, itself as 1/2
    included, are not used as such: only their order counts.

    References
    ----------
    Wu et al. (2024), arXiv 2405.00675.
    """
    s, y, mask = prepare(implicit_scores(log_probs, reference, beta=1.0), labels, where)
    both = mask[..., :, None] & mask[..., None, :]
    wins = (0.5 + 0.5 * torch.sign(y[..., :, None] - y[..., None, :])).masked_fill(~both, 0.0).sum(
        dim=-1
    ) - 0.5
    others = (mask.sum(dim=-1, keepdim=True) - 1).clamp(min=1)
    off = ((s - (wins / others - 0.5) / beta) ** 2).masked_fill(~mask, 0.0)
    return reduce_lists(off.sum(dim=-1), _orders(y, mask), reduce)


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
    """log(1 + exp(margin - beta (p_i - p_j))) over pairs, p the mean log-probability of a token; no
    reference.

    References
    ----------
    Meng et al. (2024), arXiv 2405.14734.
    """
    s, y, mask = prepare(
        implicit_scores(log_probs, beta=beta, lengths=lengths, per_token=True), labels, where
    )

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
    """Sum over pairs of max(0, p_j - p_i), p the mean log-probability of a token, plus the negative
    log-likelihood of the best answer; no reference.

    References
    ----------
    Yuan et al. (2023), arXiv 2304.05302.
    """
    s, y, mask = prepare(
        implicit_scores(log_probs, beta=1.0, lengths=lengths, per_token=True), labels, where
    )
    loss = hinge(s, y, where=mask, margin=0.0, pairs="sum", reduce="none")
    return reduce_lists(loss + sft_weight * best_nll(log_probs, y, mask), mask.any(dim=-1), reduce)


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
    """PRO: the best answer against the rest, then the second against the rest, and so on; no
    reference.

    Stage k is -log of exp(p_k g_kk) over that plus the sum over worse i of exp(p_i g_ki), p the
    mean log-probability of a token, g_ki = r_k - r_i the gap of the labels (rewards) and g_kk the
    largest of them; plus ``sft_weight`` (n - 1)^2 times the negative log-likelihood of the best
    answer, summed over tokens.

    Parameters
    ----------
    gaps
        False: all gaps are 1, which is ListMLE on the mean log-probabilities
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
    tensor(2.4643)
    """
    score, y, mask = prepare(
        implicit_scores(log_probs, beta=1.0, lengths=lengths, per_token=True), labels, where
    )
    nll = best_nll(log_probs, y, mask)
    if centre:
        score = score - masked_mean(score, mask)[..., None]
    p, real = ordered(score, y, mask)
    r, _ = ordered(y, y, mask)
    n = real.sum(dim=-1)
    later = torch.ones(p.shape[-1], p.shape[-1], dtype=torch.bool, device=p.device).triu()
    shown = later & real[..., :, None] & real[..., None, :]
    gap = (
        (r[..., :, None] - r[..., None, :]).masked_fill(~shown, 0.0) if gaps else shown.to(p.dtype)
    )
    own = torch.eye(p.shape[-1], dtype=torch.bool, device=p.device)
    gap = torch.where(own, gap.amax(dim=-1, keepdim=True), gap)
    logits = (p[..., None, :] * gap).masked_fill(~shown, torch.finfo(p.dtype).min / 4)
    stage = torch.logsumexp(logits, dim=-1) - logits.diagonal(dim1=-2, dim2=-1)
    place = torch.arange(p.shape[-1], device=p.device)
    staged = stage.masked_fill(~(place < n[..., None] - 1), 0.0).sum(dim=-1)
    return reduce_lists(staged + sft_weight * (n - 1).clamp(min=0) ** 2 * nll, n > 0, reduce)


def label_distribution(
    labels: Tensor,
    *,
    where: Tensor | None = None,
    temperature: float = 1.0,
    standardise: bool = True,
    least_gap: float = 0.0,
) -> Tensor:
    """softmax(z / temperature), z the labels standardised in each list (population deviation):
    (..., list), 0 where masked.

    Lists whose labels span at most ``least_gap`` get the uniform distribution: standardising would
    blow noise up to full size.

    Examples
    --------
    >>> label_distribution(torch.tensor([1.0, 0.0, -1.0]), standardise=False)
    tensor([0.6652, 0.2447, 0.0900])
    """
    y, _, mask = prepare(labels, labels, where)
    if standardise:
        y = (y - masked_mean(y, mask)[..., None]).masked_fill(~mask, 0.0)
        y = y / masked_mean(y**2, mask)[..., None].sqrt().clamp(min=1e-8)
    low = torch.finfo(y.dtype).min / 4
    z = torch.where((_span(labels, mask) > least_gap)[..., None], y / temperature, 0.0)
    return torch.softmax(z.masked_fill(~mask, low), dim=-1).masked_fill(~mask, 0.0)


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
    """Cross-entropy of ``label_distribution(labels)`` and softmax(scores): learns from unlabelled
    answers that were only scored beside a positive one.

    Lists whose labels span at most ``least_gap`` say nothing.

    References
    ----------
    Positive-unlabeled distillation, arXiv 2601.20687 (its label-distribution learning,
    reconstructed); NCA, Chen et al. (2024), arXiv 2402.05369.
    """
    s, y, mask = prepare(scores, labels, where)
    target = label_distribution(
        y, where=mask, temperature=temperature, standardise=standardise, least_gap=least_gap
    ).detach()
    loss = softmax_cross_entropy(s, target, where=mask, reduce="none")
    return reduce_lists(loss, _span(y, mask) > least_gap, reduce)


def group_clipped(
    log_probs: Tensor,
    labels: Tensor,
    *,
    reference: Tensor | None = None,
    where: Tensor | None = None,
    lengths: Tensor | None = None,
    clip: float = 0.2,
    scale: bool = True,
    temperature: float | None = None,
    standardise: bool = True,
    least_gap: float = 0.0,
    reduce: Reduce = "mean",
) -> Tensor:
    """Clipped policy gradient over a group of answers that the reference itself sampled (GRPO with
    one ratio an answer).

    The advantage of an answer is its label (a reward) standardised in the group, or with a
    temperature its share of ``label_distribution(labels)`` standardised; its ratio that of the
    whole answer's mean log-probability of a token under policy and reference (the policy that
    sampled). Without a reference the policy is taken as it stands (ratio 1), the gradient then
    being REINFORCE's. Groups whose labels span at most ``least_gap`` say nothing. ``scale=False``
    only centres rewards (Dr. GRPO).

    References
    ----------
    Shao et al. (2024), arXiv 2402.03300; the ratio of sequences: Zheng et al. (2025), "GSPO", arXiv
    2507.18071; shares as rewards: arXiv 2601.20687 (reconstructed).
    """
    lp, y, mask = prepare(log_probs, labels, where)
    old = lp.detach() if reference is None else widen(reference).detach().masked_fill(~mask, 0.0)
    reward = (
        y
        if temperature is None
        else label_distribution(y, where=mask, temperature=temperature, standardise=standardise)
    )
    centred = (reward - masked_mean(reward, mask)[..., None]).masked_fill(~mask, 0.0)
    deviation = masked_mean(centred**2, mask).sqrt()[..., None]
    told = (_span(y, mask) > least_gap)[..., None] & (deviation > 1e-8)
    gain = torch.where(told, centred / deviation.clamp(min=1e-8) if scale else centred, 0.0)
    tokens = torch.ones_like(lp) if lengths is None else lengths.clamp(min=1)
    ratio = torch.exp((lp - old) / tokens)
    gained = torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain)
    return reduce_lists(-masked_mean(gained, mask), told.squeeze(-1), reduce)


def winrate_labels(wins: Tensor, where: Tensor | None = None) -> Tensor:
    """LiPO's labels: the mean over the list of P(row beats column), (..., list, list) -> (...,
    list); the diagonal counts as 1/2.
    """
    n = wins.shape[-1]
    p = torch.where(torch.eye(n, dtype=torch.bool, device=wins.device), 0.5, widen(wins))
    mask = torch.ones_like(p) if where is None else where[..., None, :].to(p.dtype).expand_as(p)
    mean = (p * mask).sum(dim=-1) / mask.sum(dim=-1).clamp(min=1)
    return mean if where is None else mean.masked_fill(~where, 0.0)


def best_nll(log_probs: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """Minus the log-probability of the best answer, ties by position: (...)."""
    best = y.masked_fill(~mask, -torch.inf).argmax(dim=-1, keepdim=True)
    return -widen(log_probs).masked_fill(~mask, 0.0).gather(-1, best).squeeze(-1)


def _orders(y: Tensor, mask: Tensor) -> Tensor:
    """Whether a list has two different labels."""
    return _span(y, mask) > 0


def _span(y: Tensor, mask: Tensor) -> Tensor:
    """Largest less smallest label."""
    return y.masked_fill(~mask, -torch.inf).amax(dim=-1) - y.masked_fill(~mask, torch.inf).amin(
        dim=-1
    )


def _tokens(lengths: Tensor | None) -> Tensor:
    if lengths is None:
        raise ValueError("this objective divides by the answers' tokens: give lengths.")
    return lengths.clamp(min=1)


lipo_lambda = partial(ranknet, lambda_weight="dcg", pairs="sum")

PREFERENCE_LOSSES: dict[str, PreferenceLoss] = {
    "dpo": partial(of_ranking, ranknet),
    "cdpo": partial(of_ranking, smoothed_dpo),
    "robust-dpo": partial(of_ranking, partial(smoothed_dpo, robust=True)),
    "slic": partial(of_ranking, hinge),
    "ipo": ipo,
    "apo-zero": partial(of_ranking, apo_zero),
    "kto": kto,
    "sppo": sppo,
    "simpo": simpo,
    "rrhf": rrhf,
    "pro": pro,
    "dpo-pl": partial(of_ranking, listmle),
    "lipo-lambda": partial(of_ranking, lipo_lambda),
    "softmax": partial(of_ranking, partial(softmax_cross_entropy, normalise=True)),
    "label-distribution": partial(of_ranking, distribution_matching, beta=1.0),
    "grpo": group_clipped,
    "label-distribution-grpo": partial(group_clipped, temperature=1.0),
    "point-mse": partial(of_ranking, mse),
    "point-sigmoid": partial(of_ranking, sigmoid_cross_entropy),
}
REFERENCE_FREE = frozenset({"simpo", "rrhf", "pro"})
