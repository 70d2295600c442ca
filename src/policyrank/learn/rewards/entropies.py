"""Unfinished answers ranked by the pattern of their entropy: forks where needed, calm elsewhere."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import widen
from policyrank.learn.advantages import group_advantage, group_keys


def peak_entropy(entropies: Tensor, where: Tensor, share: float = 0.2) -> Tensor:
    """The mean of the largest entropies of each row, a share of its tokens, at least one: (rows,).

    NaN of a row without tokens.

    Parameters
    ----------
    entropies
        (rows, tokens), of the next token's distribution
    where
        (rows, tokens), what the policy wrote
    share
        of tokens, above 0 and at most 1; rounded down

    Examples
    --------
    >>> peak_entropy(torch.tensor([[2.0, 0, 0, 0, 0, 9]]), torch.tensor([[1, 1, 1, 1, 1, 0]]))
    tensor([2.])
    """
    if not 0 < share <= 1:
        raise OptionError(f"share={share}: it is above 0 and at most 1.")
    mask = where.bool()
    held = widen(entropies).masked_fill(~mask, -torch.inf).sort(dim=-1, descending=True).values
    length = mask.sum(dim=-1)
    # 0.7 * 90 is 62.99... in binary: what is a whole number stays one.
    taken = (length.double() * share + 1e-9).floor().clamp(min=1)
    place = torch.arange(mask.shape[-1], device=mask.device)
    among = (place < taken[:, None]) & (place < length[:, None])
    total = held.masked_fill(~among, 0.0).sum(dim=-1)
    return torch.where(length > 0, total / taken.to(total.dtype), torch.nan)


def mean_entropy(entropies: Tensor, where: Tensor) -> Tensor:
    """The mean entropy of each row's tokens: (rows,); NaN of a row without tokens."""
    mask = where.bool()
    total = widen(entropies).masked_fill(~mask, 0.0).sum(dim=-1)
    return total / mask.sum(dim=-1)


def dominance_counts(
    higher: Tensor, lower: Tensor, groups: Tensor | Sequence[Hashable] | None = None
) -> Tensor:
    """How many of its group each row dominates: (rows,), NaN where one of its numbers is.

    i dominates j when it is strictly above it in ``higher`` and strictly below it in ``lower``.

    Examples
    --------
    >>> peak, mean = torch.tensor([2.0, 1, 0.5, 1.5]), torch.tensor([0.4, 1, 0.5, 0.46])
    >>> dominance_counts(peak, mean)
    tensor([3., 0., 0., 2.])
    """
    high, low = widen(higher), widen(lower)
    if high.shape != low.shape or high.ndim != 1:
        raise OptionError("higher and lower: give one number of each row.")
    rows, inside = _padded(groups, high)
    told = inside & ~(high[rows].isnan() | low[rows].isnan())
    above = high[rows][:, :, None] > high[rows][:, None, :]
    below = low[rows][:, :, None] < low[rows][:, None, :]
    wins = (above & below & told[:, :, None] & told[:, None, :]).sum(dim=-1).to(high.dtype)
    out = torch.full_like(high, torch.nan)
    out[rows[inside]] = wins.masked_fill(~told, torch.nan)[inside]
    return out


def rank_ramp(
    scores: Tensor, groups: Tensor | Sequence[Hashable] | None = None, *, most: float = 1.0
) -> Tensor:
    """From ``most`` for the best of a group down to 0 for the last, ties sharing theirs: (rows,).

    Where all scores tie all get the same, most / 2; one alone, which is compared with nobody, 0.
    NaN stays, and counts for nobody.

    Examples
    --------
    >>> rank_ramp(torch.tensor([3.0, 0, 0, 2]))
    tensor([1.0000, 0.1667, 0.1667, 0.6667])
    """
    centred = group_advantage(scores, groups, baseline="rank", least=1)
    alone = group_advantage(scores, groups, least=2).isnan() & ~scores.isnan()
    return (most * (centred + 1) / 2).masked_fill(alone, 0.0)


def entropy_rank_reward(
    entropies: Tensor,
    where: Tensor,
    groups: Tensor | Sequence[Hashable],
    unfinished: Tensor,
    outcomes: Tensor,
    *,
    share: float = 0.2,
    most: float = 0.5,
) -> Tensor:
    """A reward for answers that were cut, in groups where all failed: (rows,), 0 for all others.

    They are ranked by how many others each dominates: a higher entropy at its peaks and a lower one
    on the whole. Ties, which are the rule, share the mean of their places, where a plain sort would
    pay by the order of rows.

    Parameters
    ----------
    entropies, where
        (rows, tokens)
    groups
        (rows,), whose answer each is
    unfinished
        (rows,), whether each was cut
    outcomes
        (rows,), whether each succeeded
    share
        of tokens that are peaks
    most
        of the reward: below that of a success, or a failure is worth as much

    References
    ----------
    arXiv 2601.19620 (structural entropy ranking reward); ranks from 0, answers that ended are left
    at 0. It is a proxy that pays for a low mean entropy, and can be gamed.
    """
    keys = groups if isinstance(groups, Tensor) else group_keys(groups)
    keys = keys.to(where.device)
    key = keys.unique(return_inverse=True)[1]
    number = int(key.max()) + 1 if len(key) else 0
    solved = torch.zeros(number, device=where.device)
    solved = solved.index_add(0, key, (outcomes > 0).to(solved.dtype))
    ranked = unfinished.bool() & (solved[key] == 0)
    peak = peak_entropy(entropies, where, share).masked_fill(~ranked, torch.nan)
    whole = mean_entropy(entropies, where)
    ramp = rank_ramp(dominance_counts(peak, whole, key), key, most=most)
    return ramp.nan_to_num(nan=0.0)


def _padded(groups: Tensor | Sequence[Hashable] | None, values: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of each group, and which of them are there: (groups, largest) each."""
    if groups is None:
        key = torch.zeros(len(values), dtype=torch.long, device=values.device)
    else:
        keys = groups if isinstance(groups, Tensor) else group_keys(groups)
        key = keys.to(values.device).unique(return_inverse=True)[1]
    if key.shape != values.shape:
        raise OptionError(f"{tuple(key.shape)} keys for {len(values)} rows: give each one.")
    sizes = torch.bincount(key)
    widest = int(sizes.max()) if len(sizes) else 0
    order = key.argsort(stable=True)
    place = torch.arange(len(key), device=key.device) - (sizes.cumsum(0) - sizes)[key[order]]
    rows = torch.zeros(len(sizes), widest, dtype=torch.long, device=key.device)
    rows[key[order], place] = order
    inside = torch.arange(widest, device=key.device) < sizes[:, None]
    return rows, inside
