"""What objectives of preferences are made of: implicit scores, and a loss of rankings on them."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import Reduce, masked_mean, widen


class RankingLoss(Protocol):
    """Scores and labels (..., list) -> a scalar, or one loss a list with ``reduce="none"``."""

    def __call__(
        self,
        scores: Tensor,
        labels: Tensor,
        /,
        *,
        where: Tensor | None = None,
        reduce: Reduce = "mean",
    ) -> Tensor: ...


class PreferenceLoss(Protocol):
    """Log-probabilities and labels (..., list) -> a scalar, or one loss a list.

    ``reference`` holds the log-probabilities under the reference, ``lengths`` the answers' tokens.
    """

    def __call__(
        self,
        log_probs: Tensor,
        labels: Tensor,
        /,
        *,
        reference: Tensor | None = None,
        where: Tensor | None = None,
        lengths: Tensor | None = None,
        reduce: Reduce = "mean",
    ) -> Tensor: ...


def implicit_scores(
    log_probs: Tensor,
    reference: Tensor | None = None,
    *,
    beta: float = 0.1,
    lengths: Tensor | None = None,
    per_token: bool = False,
) -> Tensor:
    """beta (log pi - log pi_ref) of each answer: (..., list).

    Divided by the answer's tokens with ``per_token``.

    Raises
    ------
    OptionError
        When ``per_token`` lacks lengths.
    """
    score = widen(log_probs)
    if reference is not None:
        score = score - widen(reference).detach()
    if not per_token:
        return beta * score
    if lengths is None:
        raise OptionError("this objective divides by the answers' tokens: give lengths.")
    return beta * (score / lengths.clamp(min=1))


def of_ranking(
    loss: RankingLoss,
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
    """Any loss of rankings on implicit scores (LiPO). Labels: as the loss has them.

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
    >>> from policyrank.learn.losses import ranknet
    >>> policy, reference = torch.tensor([-3.0, -6.0]), torch.tensor([-7.0, 0.0])
    >>> implicit_scores(policy, reference)  # log-ratios 4 and -6 at beta .1
    tensor([ 0.4000, -0.6000])
    >>> of_ranking(ranknet, policy, torch.tensor([1.0, 0.0]), reference=reference)
    tensor(0.3133)
    """
    scores = implicit_scores(log_probs, reference, beta=beta, lengths=lengths, per_token=per_token)
    return loss(scores, labels, where=where, reduce=reduce, **options)


def both_of_a_pair(loss: RankingLoss, scores: Tensor, labels: Tensor, **options: Any) -> Tensor:
    """Twice a mean over answers: the mean over pairs of the sum of their two answers' losses.

    Labels: as the loss has them.

    Examples
    --------
    >>> from policyrank.learn.losses import mse
    >>> both_of_a_pair(mse, torch.tensor([1.0, 3.0]), torch.zeros(2))
    tensor(10.)
    """
    return 2 * loss(scores, labels, **options)


def best_answer(labels: Tensor, where: Tensor) -> Tensor:
    """Place of the best answer of each list, ties by position: (..., 1)."""
    return labels.masked_fill(~where, -torch.inf).argmax(dim=-1, keepdim=True)


def of_best(values: Tensor, labels: Tensor, where: Tensor) -> Tensor:
    """Mean value of each list's best answers, of those that tie: (...); 0 of an empty list."""
    highest = labels.masked_fill(~where, -torch.inf).amax(dim=-1, keepdim=True)
    return masked_mean(values, where & (labels == highest))


def best_nll(log_probs: Tensor, labels: Tensor, where: Tensor) -> Tensor:
    """Minus the log-probability of the best answer, its mean over those that tie: (...)."""
    return -of_best(widen(log_probs), labels, where)
