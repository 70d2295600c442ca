"""Losses of whole lists."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from policyrank.errors import OptionError
from policyrank.learn._lists import (
    Reduce,
    descending,
    low,
    ordered,
    prepare,
    reduce_lists,
    several,
    suffix_logsumexp,
    widen,
)

LOG_2 = 0.6931471805599453


def softmax_cross_entropy(
    scores: Tensor,
    labels: Tensor,
    *,
    where: Tensor | None = None,
    weights: Tensor | None = None,
    normalise: bool = False,
    reduce: Reduce = "mean",
) -> Tensor:
    """-sum_i y_i log softmax(s)_i.

    With one positive: InfoNCE, localised contrastive estimation, setwise training. Labels are >= 0,
    divided by their sum with ``normalise`` (rax does not); lists without a positive label say
    nothing.
    """
    s, y, mask = prepare(scores, labels, where)
    if normalise:
        y = y / y.sum(dim=-1, keepdim=True).clamp(min=1e-10)
    if weights is not None:
        y = y * widen(weights).masked_fill(~mask, 0.0)
    log_softmax = _log_softmax(s, mask, where is not None)
    best = y.amax(dim=-1)
    if reduce == "mean":  # lists that say nothing add 0 anyway
        says = torch.count_nonzero(best).clamp_(min=1)
        return torch.dot(y.reshape(-1).to(log_softmax.dtype), log_softmax.reshape(-1)) / -says
    return reduce_lists(-(y * log_softmax).sum(dim=-1), best > 0, reduce)


def listnet(
    scores: Tensor,
    labels: Tensor,
    *,
    where: Tensor | None = None,
    temperature: float = 1.0,
    reduce: Reduce = "mean",
) -> Tensor:
    """Cross-entropy of softmax(labels / temperature) and softmax(scores) (ListNet's top-one form).

    References
    ----------
    Cao et al. (2007), "Learning to Rank: From Pairwise Approach to Listwise Approach".
    """
    s, y, mask = prepare(scores, labels, where)
    target = _log_softmax(y / temperature, mask, where is not None).exp()
    crossed = target * _log_softmax(s, mask, where is not None)
    loss = -crossed.masked_fill(~mask, 0.0).sum(dim=-1)
    return reduce_lists(loss, several(mask), reduce)


def _log_softmax(values: Tensor, mask: Tensor, masked: bool) -> Tensor:
    """log softmax over what the mask shows; 0 elsewhere."""
    if not masked:
        return torch.log_softmax(values, dim=-1)
    shown = values.masked_fill(~mask, low(values))
    return torch.log_softmax(shown, dim=-1).masked_fill(~mask, 0.0)


def listmle(
    scores: Tensor,
    labels: Tensor,
    *,
    where: Tensor | None = None,
    k: int | None = None,
    position_weights: Literal["none", "p-listmle"] = "none",
    places: Literal["sum", "mean"] = "sum",
    generator: torch.Generator | None = None,
    reduce: Reduce = "mean",
) -> Tensor:
    """Negative log-likelihood under Plackett-Luce of the order by label; linear memory.

    Parameters
    ----------
    k
        likelihood of the first k places only
    position_weights
        ``"p-listmle"``: place i of n weighs (2^(n-i) - 1) / (2^(n-1) - 1), so that the top counts
        most (Lan et al. 2014, scaled so that the first place weighs 1)
    places
        ``"mean"``: divided by the number of choices, one less than the places
    generator
        breaks ties of labels at random; without it, the order of the list does

    References
    ----------
    Xia et al. (2008), "Listwise Approach to Learning to Rank".

    Examples
    --------
    >>> listmle(torch.zeros(3), torch.tensor([2.0, 1.0, 0.0]))
    tensor(1.7918)
    """
    scores, labels, mask = prepare(scores, labels, where)
    if generator is not None:
        drawn = torch.rand(scores.shape, generator=generator, device=scores.device)
        shuffle = drawn.argsort(dim=-1)
        scores, labels = scores.gather(-1, shuffle), labels.gather(-1, shuffle)
        mask = mask.gather(-1, shuffle)
    scores, mask = ordered(scores, labels, mask)
    step = (suffix_logsumexp(scores, mask) - scores).masked_fill(~mask, 0.0)
    if position_weights == "p-listmle":
        step = step * _position_weights(mask, scores.dtype)
    if k is not None:
        step = step[..., :k]
    loss = step.sum(dim=-1)
    if places == "mean":
        loss = loss / (mask.sum(dim=-1) - 1).clamp(min=1, max=k)
    return reduce_lists(loss, several(mask), reduce)


def _position_weights(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """(2^(n-i) - 1) / (2^(n-1) - 1) of place i, written so that 2^n is never made."""
    place = torch.arange(mask.shape[-1], device=mask.device)
    n = mask.sum(dim=-1, keepdim=True).to(dtype)
    rest = -torch.expm1(-(n - 1 - place) * LOG_2)
    whole = -torch.expm1(-(n - 1).clamp(min=1) * LOG_2)
    return (torch.exp2(-place.to(dtype)) * rest / whole).clamp(min=0)


def p_listmle(
    scores: Tensor,
    labels: Tensor,
    *,
    where: Tensor | None = None,
    k: int | None = None,
    generator: torch.Generator | None = None,
    reduce: Reduce = "mean",
) -> Tensor:
    """Position-aware ListMLE: ``listmle`` with ``position_weights="p-listmle"``."""
    return listmle(
        scores,
        labels,
        where=where,
        k=k,
        position_weights="p-listmle",
        generator=generator,
        reduce=reduce,
    )


def ranklist(
    scores: Tensor,
    labels: Tensor,
    *,
    where: Tensor | None = None,
    skip: int | None = 1,
    form: Literal["sum", "lse"] = "sum",
    reduce: Reduce = "mean",
) -> Tensor:
    """RankList: items up to ``skip`` places apart in the order of the labels should be in order.

    ``form="sum"``: the sum over those pairs of log(1 + exp(-(s_i - s_j))); ``"lse"``: log(1 + sum
    of exp(-(s_i - s_j))), which lies between the largest term and the sum. Pairs of equal labels
    are left out.

    Parameters
    ----------
    skip
        largest distance; 1: neighbours; None: all pairs
    form
        exact, or by one log-sum-exp

    Notes
    -----
    Memory is list x skip. ``skip=None`` with "sum" is RankNet's sum over all pairs, with "lse" the
    LSEP loss. On three items the sum over neighbours equals the log-sum-exp over all pairs.

    References
    ----------
    Naini, Diaz and Busso (2025), "RankList", arXiv 2508.09826 (reconstructed from its abstract).

    Examples
    --------
    >>> s, y = torch.tensor([2.0, 1.0, 0.0]), torch.tensor([2.0, 1.0, 0.0])
    >>> ranklist(s, y), ranklist(s, y, skip=None, form="lse")
    (tensor(0.6265), tensor(0.6265))
    """
    scores, labels, mask = prepare(scores, labels, where)
    longest = scores.shape[-1] - 1
    far = longest
    if skip is not None:
        far = min(skip, longest)
    if far < 1:
        says_nothing = torch.zeros_like(mask.any(dim=-1))
        return reduce_lists(scores.sum(dim=-1) * 0, says_nothing, reduce)
    order = descending(labels, mask)
    ahead, behind = _first_and_next(scores.gather(-1, order), far)
    better, worse = _first_and_next(labels.gather(-1, order), far)
    first, others = _first_and_next(mask.gather(-1, order).to(scores.dtype), far)
    margin = ahead - behind
    valid = (first > 0) & (others > 0) & (better > worse)
    if form == "sum":
        loss = torch.where(valid, softplus(-margin), 0.0).sum(dim=(-1, -2))
    elif form == "lse":
        terms = (-margin).masked_fill(~valid, low(scores)).flatten(-2)
        one = torch.zeros_like(terms[..., :1])
        loss = torch.logsumexp(torch.cat([one, terms], dim=-1), dim=-1)
    else:
        raise OptionError(f"form={form!r}: use 'sum' or 'lse'.")
    return reduce_lists(loss, valid.flatten(-2).any(dim=-1), reduce)


def _first_and_next(values: Tensor, far: int) -> tuple[Tensor, Tensor]:
    """Each item (..., list, 1) and the ``far`` after it (..., list, far), 0 past the end."""
    windows = torch.nn.functional.pad(values, (0, far)).unfold(-1, far + 1, 1)
    return windows[..., :1], windows[..., 1:]


def skip_schedule(epoch: int, *, start: int = 1, end: int = 3, every: int = 1) -> int:
    """RankList's progressive exposure: the largest distance at an epoch.

    From ``start``, one more ``every`` epochs, up to ``end``.

    Examples
    --------
    >>> [skip_schedule(epoch, end=3) for epoch in range(4)]
    [1, 2, 3, 3]
    """
    return min(start + epoch // every, end)
