"""Objectives on log-ratios of policy and reference that are no losses of rankings."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from policyrank.errors import OptionError
from policyrank.learn._lists import Reduce, masked_mean, prepare, reduce_lists, span
from policyrank.learn.labels import win_shares
from policyrank.learn.losses.implicit import implicit_scores
from policyrank.learn.losses.pairwise import LabelGap, Pairs, pair_loss


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
    """Logistic loss of pairs whose label is wrong with probability ``smoothing``.

    The expected one (cDPO), or with ``robust`` an unbiased estimate of the clean one (robust DPO),
    which has no lower bound. Labels: ``order``.

    Raises
    ------
    OptionError
        Unless 0 <= smoothing < 1/2.

    References
    ----------
    Mitchell (2023), "A note on DPO with noisy preferences"; Chowdhury et al. (2024), arXiv
    2403.00409.
    """
    if not 0 <= smoothing < 0.5:
        raise OptionError(f"smoothing={smoothing}: it is at least 0 and below 1/2.")
    s, y, mask = prepare(scores, labels, where)
    other, scale = smoothing, 1.0
    if robust:
        other, scale = -smoothing, 1 / (1 - 2 * smoothing)

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
    """(h - 1/(2 beta))^2 over pairs, h the difference of their log-ratios.

    Per token as IPO's authors and TRL have it; ``per_token=False``: summed. Labels: ``order``.

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
    """APO-zero: push up what is better than the list's mean label, down what is worse.

    Each by its own sigmoid; equal labels say nothing. Labels: ``scores``, of which only the side of
    the mean counts.

    References
    ----------
    D'Oosterlinck et al. (2024), arXiv 2408.06266.
    """
    scores, labels, mask = prepare(scores, labels, where)
    good = _good(labels, mask)
    return _desirable(scores, good, mask, torch.zeros_like(scores), reduce)


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
    """KTO on lists: 1 - sigmoid(s - z) of desirable answers, 1 - sigmoid(z - s) of others.

    Desirable is what lies above the list's mean label; z, the KL that is taken as zero utility, is
    the mean score of the other kind in the list, at least 0, and not learned through (the pairwise
    form of KTO's released code). The mean of each kind, added: on a pair the sum of both, where the
    released code has their mean. Labels: ``scores``, of which only the side of the mean counts.

    References
    ----------
    Ethayarajh et al. (2024), arXiv 2402.01306.
    """
    implicit = implicit_scores(log_probs, reference, beta=beta)
    scores, labels, mask = prepare(implicit, labels, where)
    good = _good(labels, mask)
    up = masked_mean(scores.detach(), mask & good)[..., None].clamp(min=0)
    down = masked_mean(scores.detach(), mask & ~good)[..., None].clamp(min=0)
    return _desirable(scores, good, mask, torch.where(good, down, up), reduce)


def _good(labels: Tensor, mask: Tensor) -> Tensor:
    """Above the list's mean label, and by more than rounding: equal labels are of one kind."""
    lowest = labels.masked_fill(~mask, torch.inf).amin(dim=-1, keepdim=True)
    height = (labels - lowest).masked_fill(~mask, 0.0)
    mean = masked_mean(height, mask)[..., None]
    return mask & (height - mean > 1e-5 * span(labels, mask)[..., None])


def _desirable(scores: Tensor, good: Tensor, mask: Tensor, zero: Tensor, reduce: Reduce) -> Tensor:
    """Mean over each kind, added."""
    loss = torch.sigmoid(torch.where(good, zero - scores, scores - zero))
    both = masked_mean(loss, mask & good) + masked_mean(loss, mask & ~good)
    return reduce_lists(both, (mask & good).any(dim=-1), reduce)


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
    """(log-ratio - (P - 1/2) / beta)^2 of both answers of a pair, mean over pairs.

    P is ``win_shares(labels)``: an answer's share of wins against the others of the list. On a pair
    P is 1 and 0: the hard form. Labels that are win rates against all, itself as 1/2 included, are
    not used as such. Labels: ``order``.

    References
    ----------
    Wu et al. (2024), arXiv 2405.00675.
    """
    implicit = implicit_scores(log_probs, reference, beta=1.0)
    ratio, labels, mask = prepare(implicit, labels, where)
    off = (ratio - (win_shares(labels, mask) - 0.5) / beta) ** 2
    return reduce_lists(2 * masked_mean(off, mask), span(labels, mask) > 0, reduce)
