"""Losses of whole lists.

Where labels tie, losses of orders compare the tied items with what they are not below, and never
with each other by their place in the list.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from policyrank.errors import OptionError
from policyrank.learn._lists import (
    Reduce,
    by_label,
    descending,
    first_of_group,
    group_of,
    low,
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

    With one positive: InfoNCE, localised contrastive estimation, setwise training. Labels:
    ``gains``, divided by their sum with ``normalise`` (rax does not); lists without a positive
    label say nothing.
    """
    s, y, mask = prepare(scores, labels, where)
    best = y.amax(dim=-1)
    if normalise:
        y = y / y.sum(dim=-1, keepdim=True).clamp(min=1e-10)
    if weights is not None:
        y = y * widen(weights).masked_fill(~mask, 0.0)
    log_softmax = _log_softmax(s, mask, where is not None)
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

    Labels: ``scores``; a constant added to those of a list changes nothing. Equal labels ask for
    equal scores; only lists of one item say nothing.

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

    Labels: ``order``. Ties as Breslow has them: each of a group of equal labels is a choice among
    all items whose labels are not above its own. The lowest group is no choice: its items come
    last, in whatever order. Lists whose labels are all equal say nothing.

    Parameters
    ----------
    k
        likelihood of the first k places only; of a group that stands across the k-th place, each
        item counts by the share of the group's places within k
    position_weights
        ``"p-listmle"``: place i of n weighs (2^(n-i) - 1) / (2^(n-1) - 1), so that the top counts
        most (Lan et al. 2014, scaled so that the first place weighs 1); tied items share the mean
        of the weights of their places
    places
        ``"mean"``: divided by the number of choices, which is that of the places within ``k`` above
        the lowest group
    generator
        breaks ties of labels at random instead, those of the lowest group too; then only lists of
        one item say nothing

    References
    ----------
    Xia et al. (2008), "Listwise Approach to Learning to Rank". Ties: Breslow (1974), "Covariance
    Analysis of Censored Survival Data".

    Examples
    --------
    >>> listmle(torch.zeros(3), torch.tensor([2.0, 1.0, 0.0]))
    tensor(1.7918)
    >>> listmle(torch.zeros(3), torch.tensor([1.0, 0.0, 0.0]))  # one choice among three
    tensor(1.0986)
    """
    scores, labels, mask = prepare(scores, labels, where)
    if generator is not None:
        labels = _strict_order(labels, mask, generator)
    keys, order = by_label(labels, mask)
    place = torch.arange(keys.shape[-1], device=keys.device)
    first = first_of_group(keys)
    real = place < mask.sum(dim=-1, keepdim=True)
    choice = keys > labels.masked_fill(~mask, torch.inf).amin(dim=-1, keepdim=True)
    weight = choice.to(scores.dtype)
    if position_weights == "p-listmle" or k is not None:
        of_place = real.to(scores.dtype)
        if position_weights == "p-listmle":
            of_place = _position_weights(real, scores.dtype)
        if k is not None:
            of_place = of_place * (place < k)
        weight = weight * _shared(of_place, first)
    loss = _Choices.apply(scores.gather(-1, order), real, first, weight)
    if places == "mean":
        loss = loss / choice.sum(dim=-1).clamp(min=1, max=k)
    return reduce_lists(loss, choice.any(dim=-1), reduce)


class _Choices(torch.autograd.Function):
    """Weighted sum over sorted items of -log(exp s_i / sum of exp s_j, j from i's group on).

    The gradient at j is exp(s_j) times the sum, over groups that start at j or above, of weight /
    that sum of exp: one cumulative sum of exponentials, where that of ``logcumsumexp`` takes two.
    """

    @staticmethod
    def forward(ctx: Any, s: Tensor, real: Tensor, first: Tensor, weight: Tensor) -> Tensor:
        rest = suffix_logsumexp(s, real)
        loss = (weight * (rest.gather(-1, first) - s)).sum(dim=-1)
        if ctx.needs_input_grad[0]:
            of_group = torch.zeros_like(weight).scatter_add(-1, first, weight)
            chosen_from = torch.logcumsumexp(of_group.log() - rest, dim=-1)
            reached = torch.exp(s + chosen_from).masked_fill(~real, 0.0)
            ctx.save_for_backward(reached - weight)
        return loss

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None, None]:
        (grad,) = ctx.saved_tensors
        return outer[..., None] * grad, None, None, None


def _strict_order(labels: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
    """Labels of the same order without ties, which are broken at random: (..., list)."""
    drawn = torch.rand(labels.shape, generator=generator, device=labels.device)
    shuffle = drawn.argsort(dim=-1)
    order = descending(labels.gather(-1, shuffle), mask.gather(-1, shuffle))
    below = -torch.arange(labels.shape[-1], device=labels.device, dtype=labels.dtype)
    return torch.zeros_like(labels).scatter(-1, shuffle.gather(-1, order), below.expand_as(labels))


def _shared(weight: Tensor, first: Tensor) -> Tensor:
    """Each item's mean weight of the places of its group, which starts at place ``first``."""
    nothing = torch.zeros_like(weight)
    total = nothing.scatter_add(-1, first, weight)
    size = nothing.scatter_add(-1, first, torch.ones_like(weight))
    return (total / size.clamp(min=1)).gather(-1, first)


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
    """Position-aware ListMLE: ``listmle`` with ``position_weights="p-listmle"``.

    Labels: ``order``.
    """
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
    of exp(-(s_i - s_j))), which lies between the largest term and the sum.

    Labels: ``order``. Items of equal labels hold one place together, so that neighbours are all
    pairs of two labels between which the list has none; within a place there are no pairs.

    Parameters
    ----------
    skip
        largest distance; 1: neighbours; None: all pairs
    form
        exact, or by one log-sum-exp

    Notes
    -----
    Memory is list x skip, ties aside: of a list, its items times the most that the next ``skip``
    places hold. ``skip=None`` with "sum" is RankNet's sum over all pairs, with "lse" the LSEP loss.
    On three items the sum over neighbours equals the log-sum-exp over all pairs.

    References
    ----------
    Naini, Diaz and Busso (2025), "RankList", arXiv 2508.09826 (reconstructed from its abstract).

    Examples
    --------
    >>> s, y = torch.tensor([2.0, 1.0, 0.0]), torch.tensor([2.0, 1.0, 0.0])
    >>> ranklist(s, y), ranklist(s, y, skip=None, form="lse")
    (tensor(0.6265), tensor(0.6265))
    """
    if form not in ("sum", "lse"):
        raise OptionError(f"form={form!r}: use 'sum' or 'lse'.")
    scores, labels, mask = prepare(scores, labels, where)
    keys, order = by_label(labels, mask)
    place = group_of(keys)
    size = mask.sum(dim=-1, keepdim=True)
    farthest = scores.shape[-1]
    items = farthest - 1
    if skip is not None:
        farthest, items = skip, _items_within(place, size, skip)
    ahead, behind = _first_and_next(scores.gather(-1, order), items)
    real = torch.arange(place.shape[-1], device=place.device) < size
    upper, lower = _first_and_next(place.masked_fill(~real, 0).int(), items)
    apart = lower - upper  # padding has place 0, which is behind nothing
    valid = (apart >= 1) & (apart <= farthest)
    if form == "sum":
        loss = torch.where(valid, softplus(behind - ahead), 0.0).sum(dim=(-1, -2))
    else:
        terms = (behind - ahead).masked_fill(~valid, low(scores)).flatten(-2)
        one = torch.zeros_like(scores[..., :1])
        loss = torch.logsumexp(torch.cat([one, terms], dim=-1), dim=-1)
    return reduce_lists(loss, valid.flatten(-2).any(dim=-1), reduce)


def _items_within(place: Tensor, size: Tensor, skip: int) -> int:
    """The most items behind one, in its own and the next ``skip`` places; ``skip`` without ties."""
    after = torch.searchsorted(place, place + skip, right=True).minimum(size)
    behind = after - torch.arange(1, place.shape[-1] + 1, device=place.device)
    return max(int(behind.max()), 0)


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
