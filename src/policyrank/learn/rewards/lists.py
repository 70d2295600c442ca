"""Rewards of lists that a model writes: relevance at each place, or agreement with another list.

Relevance is (answers, places), 0 where nothing stands or what stands there earns nothing (not in
the catalogue, said before).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import discounts, ideal_dcg, widen
from policyrank.learn.advantages import reward_to_go

Coverage = Literal["recall", "precision", "f1"]


def ndcg(relevance: Tensor, ideal: Tensor, *, k: int | None = None) -> Tensor:
    """nDCG@k with linear gains, by what could have been found: (answers,).

    Parameters
    ----------
    relevance
        (answers, places)
    ideal
        (items,) or (answers, items), gains of all that is relevant, in any order: of the whole
        collection, or of the slate that was to be ranked (conditional nDCG). NaN where it is
        nothing

    Examples
    --------
    >>> ndcg(torch.tensor([[0.0, 1.0]]), torch.tensor([1.0, 1.0]), k=2)
    tensor([0.3869])
    """
    best = widen(ideal).expand(len(relevance), -1) if ideal.ndim == 1 else widen(ideal)
    whole = ideal_dcg(best, k)
    return torch.where(whole > 0, dcg(relevance, k=k) / whole, torch.nan)


def dcg(relevance: Tensor, *, k: int | None = None) -> Tensor:
    """Discounted gains, summed: (answers,)."""
    gains = widen(relevance)[..., :k]
    return gains @ discounts(gains)


def rank_credit(relevance: Tensor, *, future: float | None = None) -> Tensor:
    """What each place of a list is credited with: (answers, places).

    Parameters
    ----------
    future
        None: the discounted gains at it and below, which alone it can have caused; a weight in [0,
        1): its own gain and that share of the next places', again and again less; 0: its own

    Raises
    ------
    OptionError
        Unless 0 <= future < 1.

    References
    ----------
    Rank-GRPO, arXiv 2510.20150 (log variant; 0 is its "exp_inf").

    Examples
    --------
    >>> rank_credit(torch.tensor([[0.0, 1, 0, 1]]))
    tensor([[1.0616, 1.0616, 0.4307, 0.4307]])
    """
    gains = widen(relevance)
    if future is None:
        return reward_to_go(gains, discounts(gains))
    if not 0 <= future < 1:
        raise OptionError(f"future={future}: a weight from 0, below 1.")
    out = gains.clone()
    for place in range(gains.shape[-1] - 2, -1, -1):
        out[..., place] += future * out[..., place + 1]
    return out


def coverage(found: Tensor, listed: Tensor, relevant: Tensor, kind: Coverage = "recall") -> Tensor:
    """How much of what is relevant a set holds: (answers,); NaN where nothing is relevant.

    Parameters
    ----------
    found
        (answers,), distinct relevant items in the set
    listed
        (answers,), distinct items in it
    relevant
        (answers,) or (), relevant items that there are

    Examples
    --------
    >>> coverage(torch.tensor([1]), torch.tensor([3]), torch.tensor(2), "f1")
    tensor([0.4000])
    """
    found, listed = found.float(), listed.float()
    whole = relevant.float().expand_as(found)
    if kind == "recall":
        value = found / whole
    elif kind == "precision":
        value = found / listed.clamp(min=1)
    elif kind == "f1":
        value = 2 * found / (listed + whole).clamp(min=1)
    else:
        raise OptionError(f"kind={kind!r}: use recall, precision or f1.")
    return value.masked_fill(whole == 0, torch.nan)


def rank_biased_overlap(first: Tensor, second: Tensor, *, p: float = 1.0) -> Tensor:
    """How alike two lists are from the top: (answers,), in [0, 1].

    The overlap of their first d items over d, mean over depths weighed by p^(d - 1): p = 1 is the
    average overlap. The weights are normalised, so that equal lists have 1.

    Parameters
    ----------
    first, second
        (answers, places) or (places,), ids; negative ones are nothing

    Raises
    ------
    OptionError
        Unless 0 < p <= 1.

    References
    ----------
    Webber et al. (2010), truncated at the longer list; ReasonRank's code has p = 1.

    Examples
    --------
    >>> rank_biased_overlap(torch.tensor([[4, 3, 2, 1]]), torch.tensor([1, 2, 3, 4]))
    tensor([0.4167])
    """
    if not 0 < p <= 1:
        raise OptionError(f"p={p}: above 0, at most 1.")
    first = first if first.ndim > 1 else first[None]
    second = second.expand(len(first), -1) if second.ndim == 1 else second
    depth = max(first.shape[-1], second.shape[-1])
    if not depth:
        return torch.ones(len(first))
    there = (first[:, :, None] == second[:, None, :]) & (first >= 0)[:, :, None]
    # An item counts from the depth at which both lists have it.
    place = torch.maximum(
        torch.arange(first.shape[-1])[:, None], torch.arange(second.shape[-1])
    ).to(first.device)
    shared = torch.zeros(len(first), depth, device=first.device)
    shared.scatter_add_(1, place.flatten().expand(len(first), -1), there.flatten(1).float())
    at = torch.arange(1, depth + 1, device=first.device)
    weight = p ** (at - 1).double()
    overlap = shared.cumsum(dim=-1).double() / at
    return ((overlap * weight).sum(dim=-1) / weight.sum()).float()


def tiered(value: Tensor, tiers: Tensor, floors: dict[int, float]) -> Tensor:
    """A reward where the form holds, and a fixed one where it does not: (answers,).

    Parameters
    ----------
    value
        (answers,), of those whose form holds
    tiers
        (answers,), integers: 0 where it holds, else what is wrong
    floors
        what each kind of wrong earns, such as {1: -1, 2: 0}

    Raises
    ------
    OptionError
        For a kind that has no floor.

    Examples
    --------
    >>> tiered(torch.tensor([1.3, 9.0, 9.0]), torch.tensor([0, 1, 2]), {1: -1.0, 2: 0.0})
    tensor([ 1.3000, -1.0000,  0.0000])
    """
    out = widen(value).clone()
    for kind in tiers.unique().tolist():
        if kind == 0:
            continue
        if kind not in floors:
            raise OptionError(f"answers of tier {kind} earn nothing known: name it in floors.")
        out = torch.where(tiers == kind, floors[kind], out)
    return out
