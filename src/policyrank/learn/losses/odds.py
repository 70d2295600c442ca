"""Objectives that prefer and imitate at once, without a reference: ORPO and CPO."""

from __future__ import annotations

import torch
from torch import Tensor

from policyrank.learn._lists import Reduce, prepare, reduce_lists, span
from policyrank.learn.losses.implicit import best_nll, implicit_scores
from policyrank.learn.losses.pairwise import Pairs, ranknet


def orpo(
    log_probs: Tensor,
    labels: Tensor,
    *,
    reference: Tensor | None = None,
    where: Tensor | None = None,
    lengths: Tensor | None = None,
    beta: float = 0.1,
    pairs: Pairs = "mean",
    reduce: Reduce = "mean",
) -> Tensor:
    """The best answer's negative log-likelihood, plus beta times a logistic loss of log odds.

    beta log(1 + exp(-(o_i - o_j))) over pairs, o = log(p / (1 - p)), p the exponential of an
    answer's mean log-probability of a token. Labels: their order.

    References
    ----------
    Hong et al. (2024), "ORPO: Monolithic Preference Optimization without Reference Model", arXiv
    2403.07691.

    Examples
    --------
    >>> log_probs = torch.tensor([-1.0, -2.0])
    >>> orpo(log_probs, torch.tensor([1.0, 0.0]), lengths=torch.ones(2))
    tensor(1.0238)
    """
    mean = implicit_scores(log_probs, beta=1.0, lengths=lengths, per_token=True)
    p, y, mask = prepare(mean, labels, where)
    # An answer that is certain has infinite odds: it is held a rounding away from that.
    certain = torch.finfo(p.dtype).eps
    odds = p - torch.log(-torch.expm1(p.clamp(max=-certain)))
    ahead = ranknet(odds, y, where=mask, pairs=pairs, reduce="none")
    return reduce_lists(best_nll(p, y, mask) + beta * ahead, span(y, mask) > 0, reduce)


def cpo(
    log_probs: Tensor,
    labels: Tensor,
    *,
    reference: Tensor | None = None,
    where: Tensor | None = None,
    lengths: Tensor | None = None,
    beta: float = 0.1,
    nll_weight: float = 1.0,
    pairs: Pairs = "mean",
    reduce: Reduce = "mean",
) -> Tensor:
    """DPO's loss with a uniform reference, plus the best answer's negative log-likelihood.

    log(1 + exp(-beta (l_i - l_j))) over pairs, l the log-probability of an answer, summed over its
    tokens; plus ``nll_weight`` times that of the best answer, per token. Labels: their order.

    References
    ----------
    Xu et al. (2024), "Contrastive Preference Optimization", arXiv 2401.08417.

    Examples
    --------
    >>> log_probs, lengths = torch.tensor([-2.0, -6.0]), torch.tensor([2, 3])
    >>> cpo(log_probs, torch.tensor([1.0, 0.0]), lengths=lengths)
    tensor(1.5130)
    """
    score = implicit_scores(log_probs, beta=beta)
    mean = implicit_scores(log_probs, beta=1.0, lengths=lengths, per_token=True)
    s, y, mask = prepare(score, labels, where)
    loss = ranknet(s, y, where=mask, pairs=pairs, reduce="none")
    loss = loss + nll_weight * best_nll(mean.masked_fill(~mask, 0.0), y, mask)
    return reduce_lists(loss, span(y, mask) > 0, reduce)
