"""Segments of tokens: steps of an answer, phases, ranks.

Index 0 is what belongs to none (prompt, padding, what a tool wrote); segments are 1, ..., S.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import widen


class StepWeight(Protocol):
    """Cosines of steps with those of the best answer -> weights of the steps, the same shape."""

    def __call__(self, cosine: Tensor, /) -> Tensor: ...


STEP_WEIGHTS: dict[str, StepWeight] = {
    "ones": torch.ones_like,
    "similar": lambda cosine: 1 + cosine,
    "different": lambda cosine: 1 - cosine,
    "exp": lambda cosine: torch.exp(-cosine),
}
"""Weight of a step by the cosine of its hidden state with the same step of the best answer. TPO's
released code has "similar", its stated aim is "different".
"""


def segment_sum(values: Tensor, index: Tensor, segments: int) -> Tensor:
    """Sum over the tokens of each segment: (..., tokens) -> (..., segments).

    Parameters
    ----------
    values
        (..., tokens)
    index
        (..., tokens), integers 0 to ``segments``; 0 belongs to none

    Examples
    --------
    >>> segment_sum(torch.tensor([1.0, 3.0, 5.0, 9.0]), torch.tensor([1, 1, 2, 0]), 2)
    tensor([4., 5.])
    """
    values = widen(values)
    out = values.new_zeros((*values.shape[:-1], segments + 1))
    return out.scatter_add(-1, index, values)[..., 1:]


def segment_mean(values: Tensor, index: Tensor, segments: int) -> Tensor:
    """Mean over the tokens of each segment, 0 for empty ones.

    (..., tokens) or (..., tokens, d) -> (..., segments) or (..., segments, d)

    Examples
    --------
    >>> segment_mean(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([1, 1, 2]), 2)
    tensor([2., 5.])
    """
    count = segment_sum(torch.ones_like(index, dtype=torch.float32), index, segments).clamp(min=1)
    if values.ndim == index.ndim:
        return segment_sum(values, index, segments) / count
    tokens, width = index.shape[-1], values.shape[-1]
    columns = index[..., None, :].expand(*index.shape[:-1], width, tokens)
    return segment_sum(values.mT, columns, segments).mT / count[..., None]


def of_segments(values: Tensor, index: Tensor) -> Tensor:
    """What belongs to each token's segment: (..., segments) and (..., tokens) -> (..., tokens).

    Tokens that belong to none, and those beyond the last segment, have 0.

    Examples
    --------
    >>> of_segments(torch.tensor([[2.0, 5.0]]), torch.tensor([[0, 1, 1, 2, 3]]))
    tensor([[0., 2., 2., 5., 0.]])
    """
    none = values.new_zeros((*values.shape[:-1], 1))
    padded = torch.cat([none, values, none], dim=-1)
    return padded.gather(-1, index.clamp(max=values.shape[-1] + 1).long())


def separated_segments(separators: Tensor, where: Tensor, most: int | None = None) -> Tensor:
    """Ranks of a list that separators divide: (..., tokens).

    A separator belongs to what it ends; a token that holds several skips segments, as the text
    does. What comes after the last separator is a segment too, the end of the sequence alone.

    Parameters
    ----------
    separators
        (..., tokens), how many each token holds, such as newlines
    where
        (..., tokens), what belongs to the list
    most
        segments that are told apart; all later ones together are ``most + 1``

    References
    ----------
    Zhu et al. (2025), "Rank-GRPO", arXiv 2510.20150 (its released code).

    Examples
    --------
    >>> separated_segments(torch.tensor([0, 1, 0, 2, 0]), torch.ones(5, dtype=torch.bool))
    tensor([1, 1, 2, 2, 4])
    """
    held = separators.long().masked_fill(~where.bool(), 0)
    index = 1 + held.cumsum(dim=-1) - held
    if most is not None:
        index = index.clamp(max=most + 1)
    return index.masked_fill(~where.bool(), 0)


def span_segments(
    starts: Tensor, spans: Sequence[Sequence[tuple[int, int]]], where: Tensor
) -> Tensor:
    """Segments by places in the text: (batch, tokens).

    What a parser found, in characters, so that rewards and segments come from one parse: phases,
    items, or what the policy wrote itself where a tool wrote the rest. A token belongs to the span
    in which it starts; between spans to none.

    Parameters
    ----------
    starts
        (batch, tokens), at which character each token starts
    spans
        of each row: first character, and the one after the last, in order and not overlapping
    where
        (batch, tokens), tokens that can belong to one

    Raises
    ------
    OptionError
        When spans overlap, or there are not as many rows of them.

    Examples
    --------
    >>> starts = torch.tensor([[0, 4, 8, 12]])
    >>> span_segments(starts, [[(0, 5), (8, 20)]], torch.ones(1, 4, dtype=torch.bool))
    tensor([[1, 1, 2, 2]])
    """
    if len(spans) != len(starts):
        raise OptionError(f"spans of {len(spans)} rows for {len(starts)}: give each one.")
    out = torch.zeros_like(starts, dtype=torch.long)
    for row, own in enumerate(spans):
        edges = [edge for span in own for edge in span]
        if edges != sorted(edges):
            raise OptionError(f"row {row}: spans {list(own)} must be in order and not overlap.")
        place = torch.tensor(edges, dtype=starts.dtype, device=starts.device)
        passed = torch.searchsorted(place, starts[row].contiguous(), right=True)
        out[row] = torch.where(passed % 2 == 1, passed // 2 + 1, 0)
    return out.masked_fill(~where.bool(), 0)


def step_weights(
    steps: Tensor, present: Tensor, best: Tensor, kind: str | StepWeight = "similar"
) -> Tensor:
    """TPO's adaptive weights of steps, mean 1 over each answer's steps: (..., list, steps).

    Parameters
    ----------
    steps
        (..., list, steps, d), mean hidden state of each step
    present
        (..., list, steps), whether an answer has that step
    best
        (...), place of the best answer, with which the others are compared step by step; steps that
        it lacks have cosine 0
    kind
        a name in ``STEP_WEIGHTS``, or a function of the cosine

    Raises
    ------
    OptionError
        For an unknown name.

    References
    ----------
    Liao et al. (2024), "TPO: Aligning Large Language Models with Multi-branch & Multi-step
    Preference Trees", arXiv 2410.12854; the exact formula of the paper could not be read, "similar"
    is what its released code does.
    """
    rule = named_step_weight(kind)
    at = best[..., None, None]
    reference = steps.gather(-3, at[..., None].expand(*steps.shape[:-3], 1, *steps.shape[-2:]))
    there = present.gather(-2, at.expand(*present.shape[:-2], 1, present.shape[-1]))
    cosine = torch.nn.functional.cosine_similarity(widen(steps), widen(reference), dim=-1)
    weight = rule(cosine.masked_fill(~(present & there), 0.0)).masked_fill(~present, 0.0)
    mean = weight.sum(dim=-1, keepdim=True) / present.sum(dim=-1, keepdim=True).clamp(min=1)
    even = present.to(weight.dtype)
    return torch.where(mean > 1e-8, weight / mean.clamp(min=1e-8), even).detach()


def named_step_weight(kind: str | StepWeight) -> StepWeight:
    """One of ``STEP_WEIGHTS`` by name; a function is what it is.

    Raises
    ------
    OptionError
        For an unknown name.
    """
    if not isinstance(kind, str):
        return kind
    if kind not in STEP_WEIGHTS:
        names = ", ".join(STEP_WEIGHTS)
        raise OptionError(f"step weights {kind!r}: use one of {names}, or a function.")
    return STEP_WEIGHTS[kind]
