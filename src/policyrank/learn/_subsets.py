"""Probability that the first draws without replacement are some set, whatever their order."""

from __future__ import annotations

from functools import cache
from itertools import combinations

import torch
from torch import Tensor

from policyrank.learn._lists import low

LARGEST = 10
"""Items of the largest set: its subsets, 1,024, are summed over."""


@cache
def _levels(k: int) -> tuple[tuple[Tensor, Tensor], ...]:
    """By size s = 1 .. k: of each subset the places of those with one item less, and that item.

    Both (subsets of s, s); subsets are numbered in the order of ``combinations``.
    """
    levels = []
    number: dict[tuple[int, ...], int] = {(): 0}
    for size in range(1, k + 1):
        subsets = list(combinations(range(k), size))
        rest = [[tuple(own for own in one if own != item) for item in one] for one in subsets]
        before = [[number[own] for own in row] for row in rest]
        levels.append((torch.tensor(before), torch.tensor(subsets)))
        number = {one: place for place, one in enumerate(subsets)}
    return tuple(levels)


@cache
def _inside(k: int, size: int) -> Tensor:
    """Which items a subset of this size holds: (subsets, k)."""
    subsets = list(combinations(range(k), size))
    return torch.tensor([[item in one for item in range(k)] for one in subsets]).reshape(-1, k)


def prefix_log_probs(scores: Tensor, tail: Tensor) -> Tensor:
    """Log-probability that the first 0, 1, ..., k draws are the first items: (..., k + 1).

    By subsets: the draws so far are a set, and the next one is any of its complement. So k items
    take 2^k sums in place of k! orders.

    Parameters
    ----------
    scores
        (..., k), log-strengths; a very low one is of no item
    tail
        (...), log of the summed strengths of all other items
    """
    k, device = scores.shape[-1], scores.device
    nothing = low(scores)
    own = scores.masked_fill(scores <= nothing, 0.0)  # of subsets that nobody asks for
    found = scores.new_zeros(*scores.shape[:-1], 1)
    first = [found[..., 0]]
    for size, (before, item) in enumerate(_levels(k)):
        drawn = _inside(k, size).to(device)
        left = scores[..., None, :].masked_fill(drawn, nothing)
        others = tail[..., None, None].expand(*left.shape[:-1], 1)
        rest = torch.logsumexp(torch.cat([left, others], dim=-1), dim=-1)
        spent = rest <= nothing / 2  # nothing is left to draw
        ready = found - rest.masked_fill(spent, 0.0)
        terms = ready[..., before.to(device)] + own[..., item.to(device)]
        found = torch.logsumexp(terms, dim=-1)
        first.append(found[..., 0])
    return torch.stack(first, dim=-1)
