"""Objectives of single answers that are desirable or not."""

from __future__ import annotations

import torch
from torch import Tensor

from policyrank.learn._lists import Reduce, masked_mean, prepare, reduce_lists
from policyrank.learn.losses.implicit import PreferenceLoss, implicit_scores


def unpaired_kto(
    log_probs: Tensor,
    labels: Tensor,
    *,
    reference: Tensor | None = None,
    where: Tensor | None = None,
    lengths: Tensor | None = None,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
    zero: Tensor | None = None,
    reduce: Reduce = "mean",
) -> Tensor:
    """KTO: 1 - sigmoid(beta (r - z)) of desirable answers, 1 - sigmoid(beta (z - r)) of others.

    r is the log-ratio of an answer; z, the KL that is taken as zero utility, the mean log-ratio of
    answers to other prompts, at least 0, and not learned through. The mean over answers.

    Parameters
    ----------
    log_probs, reference
        (answers, 2): of each answer, and of another prompt's answer to its prompt
    labels
        (answers, 2): 1 desirable or 0 not; -1 of what belongs to another prompt
    desirable_weight, undesirable_weight
        of the two kinds, for data that hold more of one
    zero
        mean log-ratio of answers to other prompts over a whole step, which a batch may be a part
        of; None: over this batch

    References
    ----------
    Ethayarajh et al. (2024), "KTO: Model Alignment as Prospect Theoretic Optimization", arXiv
    2402.01306.

    Examples
    --------
    >>> ratio = torch.tensor([[2.0, 1.0], [-1.0, 0.0]])
    >>> unpaired_kto(ratio, torch.tensor([[1.0, -1.0], [0.0, -1.0]]))
    tensor(0.4626)
    """
    ratio, y, mask = prepare(implicit_scores(log_probs, reference, beta=1.0), labels, where)
    elsewhere = (y < 0) & mask
    own = (y >= 0) & mask
    if zero is None:
        zero = masked_mean(ratio.detach().flatten(), elsewhere.flatten())
    ahead = beta * (ratio - zero.detach().clamp(min=0))
    good = y > 0
    loss = torch.sigmoid(torch.where(good, -ahead, ahead))
    loss = loss * torch.where(good, desirable_weight, undesirable_weight)
    each = torch.where(own, loss, 0.0).sum(dim=-1)
    return reduce_lists(each, own.any(dim=-1), reduce)


UNPAIRED_LOSSES: dict[str, PreferenceLoss] = {"kto-unpaired": unpaired_kto}
"""Objectives of single answers with a label, by name."""
