"""Losses of whole lists."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from policyrank.learn._lists import (
    Reduce,
    ideal_dcg,
    ordered,
    prepare,
    reduce_lists,
    suffix_logsumexp,
    widen,
)


def softmax_cross_entropy(
    scores: Tensor,
    labels: Tensor,
    *,
    where: Tensor | None = None,
    weights: Tensor | None = None,
    normalise: bool = False,
    reduce: Reduce = "mean",
) -> Tensor:
    """-sum_i y_i log softmax(s)_i. With one positive: InfoNCE, localised contrastive estimation,
    setwise training.

    Labels are >= 0, divided by their sum with ``normalise`` (rax does not); lists without a
    positive label say nothing.
    """
    s, y, mask = prepare(scores, labels, where)
    if normalise:
        y = y / y.sum(dim=-1, keepdim=True).clamp(min=1e-10)
    y = y if weights is None else y * widen(weights).masked_fill(~mask, 0.0)
    log_p = _log_softmax(s, mask, where is not None)
    best = y.amax(dim=-1)
    if reduce == "mean":  # lists that say nothing add 0 anyway
        return torch.dot(y.reshape(-1), log_p.reshape(-1)) / -torch.count_nonzero(best).clamp_(
            min=1
        )
    return reduce_lists(-(y * log_p).sum(dim=-1), best > 0, reduce)


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
    log_p = _log_softmax(s, mask, where is not None)
    return reduce_lists(
        -(target * log_p).masked_fill(~mask, 0.0).sum(dim=-1), mask.any(dim=-1), reduce
    )


def _log_softmax(x: Tensor, mask: Tensor, masked: bool) -> Tensor:
    """log softmax over what the mask shows; 0 elsewhere."""
    if not masked:
        return torch.log_softmax(x, dim=-1)
    return torch.log_softmax(
        x.masked_fill(~mask, torch.finfo(x.dtype).min / 4), dim=-1
    ).masked_fill(~mask, 0.0)


def listmle(
    scores: Tensor,
    labels: Tensor,
    *,
    where: Tensor | None = None,
    k: int | None = None,
    position_weights: Literal["none", "p-listmle"] = "none",
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
    s, y, mask = prepare(scores, labels, where)
    if generator is not None:
        shuffle = torch.rand(s.shape, generator=generator, device=s.device).argsort(dim=-1)
        s, y, mask = s.gather(-1, shuffle), y.gather(-1, shuffle), mask.gather(-1, shuffle)
    s, mask = ordered(s, y, mask)
    step = (suffix_logsumexp(s, mask) - s).masked_fill(~mask, 0.0)
    place = torch.arange(s.shape[-1], device=s.device)
    if position_weights == "p-listmle":
        n = mask.sum(dim=-1, keepdim=True).to(s.dtype)
        rest = n - 1 - place
        weight = (
            torch.exp2(-place.to(s.dtype))
            * -torch.expm1(-rest * 0.6931471805599453)
            / -torch.expm1(-(n - 1).clamp(min=1) * 0.6931471805599453)
        )
        step = step * weight.clamp(min=0)
    if k is not None:
        step = step[..., :k]
    return reduce_lists(step.sum(dim=-1), mask.any(dim=-1), reduce)


def p_listmle(scores: Tensor, labels: Tensor, **options: object) -> Tensor:
    """Position-aware ListMLE: ``listmle`` with ``position_weights="p-listmle"``."""
    return listmle(scores, labels, position_weights="p-listmle", **options)  # type: ignore[arg-type]


def approx_ndcg(
    scores: Tensor,
    labels: Tensor,
    *,
    where: Tensor | None = None,
    k: int | None = None,
    temperature: float = 0.1,
    reduce: Reduce = "mean",
) -> Tensor:
    """1 - NDCG with the places replaced by 1 + sum_j sigmoid((s_j - s_i) / temperature), gains 2^y
    - 1.

    Lists without a positive label say nothing. With ``k``, places beyond k + 1/2 fade out.

    References
    ----------
    Qin, Liu and Li (2010), "A general approximation framework for direct optimization of
    information retrieval measures".
    """
    s, y, mask = prepare(scores, labels, where)
    both = mask[..., :, None] & mask[..., None, :]
    above = torch.where(both, torch.sigmoid((s[..., None, :] - s[..., :, None]) / temperature), 0.0)
    place = 0.5 + above.sum(dim=-1)  # the item itself contributes one half
    gain, best = _gain_and_ideal(y, mask, k)
    value = gain / torch.log2(place + 1)
    if k is not None:
        value = value * torch.sigmoid((k + 0.5 - place) / temperature)
    return reduce_lists(1 - value.sum(dim=-1) / best.clamp(min=1e-10), best > 0, reduce)


def neural_ndcg(
    scores: Tensor,
    labels: Tensor,
    *,
    where: Tensor | None = None,
    k: int | None = None,
    temperature: float = 1.0,
    sinkhorn: int = 20,
    reduce: Reduce = "mean",
) -> Tensor:
    """1 - NDCG with the sort replaced by NeuralSort's soft permutation matrix, made doubly
    stochastic by Sinkhorn scaling.

    References
    ----------
    Pobrotyn and Bialobrzeski (2021), "NeuralNDCG", arXiv 2102.07831; Grover et al. (2019),
    NeuralSort.
    """
    s, y, mask = prepare(scores, labels, where)
    both = mask[..., :, None] & mask[..., None, :]
    apart = torch.where(both, (s[..., :, None] - s[..., None, :]).abs(), 0.0).sum(dim=-1)
    n = mask.sum(dim=-1, keepdim=True)
    place = torch.arange(1, s.shape[-1] + 1, device=s.device)
    scale = (n + 1 - 2 * place).to(s.dtype)
    low = torch.finfo(s.dtype).min / 4
    logits = (scale[..., :, None] * s[..., None, :] - apart[..., None, :]) / temperature
    real = (place <= n)[..., :, None] & mask[..., None, :]
    p = torch.softmax(logits.masked_fill(~mask[..., None, :], low), dim=-1).masked_fill(~real, 0.0)
    # The scaled matrix is diag(rows) p diag(columns): only the two scalings are iterated, so that p
    # is kept once.
    gain, best = _gain_and_ideal(y, mask, k)
    rows, columns = _Sinkhorn.apply(p, sinkhorn)
    sorted_gain = (rows * (p @ (columns * gain[..., None]))).squeeze(-1)[..., :k]
    discount = torch.log2(place[:k].to(s.dtype) + 1)
    return reduce_lists(
        1 - (sorted_gain / discount).sum(dim=-1) / best.clamp(min=1e-10), best > 0, reduce
    )


class _Sinkhorn(torch.autograd.Function):
    """Scalings u, v (..., n, 1) that make diag(u) p diag(v) doubly stochastic, by so many rounds;
    empty rows and columns keep 1.

    The gradient of p is one product of the vectors of all rounds, instead of one outer product a
    round.
    """

    @staticmethod
    def forward(ctx: Any, p: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
        u, us, vs = p.new_ones((*p.shape[:-1], 1)), [], []
        v = u
        for _ in range(rounds):
            us.append(u)
            v = _inverse(p.mT @ u)
            u = _inverse(p @ v)
            vs.append(v)
        ctx.save_for_backward(p, *us, u, *vs)
        return u, v

    @staticmethod
    def backward(ctx: Any, gu: Tensor, gv: Tensor) -> tuple[Tensor, None]:
        p, *kept = ctx.saved_tensors
        rounds = len(kept) // 2
        us, vs = kept[: rounds + 1], kept[rounds + 1 :]
        left, right = [], []
        for t in range(rounds - 1, -1, -1):
            ga = -gu * us[t + 1] ** 2
            gb = -(gv + p.mT @ ga) * vs[t] ** 2
            left += [ga, us[t]]
            right += [vs[t], gb]
            gu, gv = p @ gb, torch.zeros_like(gv)
        if not rounds:
            return torch.zeros_like(p), None
        return torch.cat(left, dim=-1) @ torch.cat(right, dim=-1).mT, None


def _inverse(total: Tensor) -> Tensor:
    """1 / total, 1 where there is nothing (padding)."""
    return 1 / torch.where(total > 1e-10, total, 1.0)


def _gain_and_ideal(y: Tensor, mask: Tensor, k: int | None) -> tuple[Tensor, Tensor]:
    gain = torch.where(mask, torch.exp2(y) - 1, 0.0)
    return gain, ideal_dcg(gain, k)


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
    s, y, mask = prepare(scores, labels, where)
    n = s.shape[-1]
    far = n - 1 if skip is None else min(skip, n - 1)
    order = y.masked_fill(~mask, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    s, y, mask = (x.gather(-1, order) for x in (s, y, mask))
    if far < 1:
        return reduce_lists(s.sum(dim=-1) * 0, torch.zeros_like(mask.any(dim=-1)), reduce)
    # Windows over the padded list: [..., i, d] is item i + d + 1.
    windows = [
        torch.nn.functional.pad(x, (0, far)).unfold(-1, far + 1, 1)
        for x in (s, y, mask.to(s.dtype))
    ]
    margin = windows[0][..., :1] - windows[0][..., 1:]
    valid = (
        (windows[2][..., :1] > 0)
        & (windows[2][..., 1:] > 0)
        & (windows[1][..., :1] > windows[1][..., 1:])
    )
    says = valid.flatten(-2).any(dim=-1)
    if form == "sum":
        loss = torch.where(valid, softplus(-margin), 0.0).sum(dim=(-1, -2))
    elif form == "lse":
        terms = (-margin).masked_fill(~valid, torch.finfo(s.dtype).min / 4).flatten(-2)
        loss = torch.logsumexp(torch.cat([torch.zeros_like(terms[..., :1]), terms], dim=-1), dim=-1)
    else:
        raise ValueError(f"form={form!r}: use 'sum' or 'lse'.")
    return reduce_lists(loss, says, reduce)


def skip_schedule(epoch: int, *, start: int = 1, end: int = 3, every: int = 1) -> int:
    """RankList's progressive exposure: the largest distance at an epoch, from ``start``, one more
    ``every`` epochs, up to ``end``.
    """
    return min(start + epoch // every, end)
