"""Attention whose queries and keys are cut to few directions, and what that truly saves."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import low
from policyrank.learn.singular_values import tail_norm


def cut_to_rank(matrix: Tensor, rank: int, basis: Tensor | None = None) -> Tensor:
    """The nearest matrix of a rank to (..., n, d), or its projection on a basis' first vectors.

    Parameters
    ----------
    matrix
        (..., n, d)
    rank
        from 1; d or more: as it is
    basis
        (..., d, d), orthonormal columns from the most to the least important, such as
        ``principal_directions`` of other data. None: the matrix's own singular vectors, which of a
        causal model's keys depend on tokens that are yet to come.

    Raises
    ------
    OptionError
        For a rank below 1.
    """
    if rank < 1:
        raise OptionError(f"rank={rank}: it is 1 or more.")
    if rank >= matrix.shape[-1]:
        return matrix
    if basis is None:
        _, _, right = torch.linalg.svd(matrix, full_matrices=False)
        first = right[..., :rank, :].mT
    else:
        first = basis[..., :rank]
    return matrix @ first @ first.mT


def principal_directions(matrix: Tensor) -> Tensor:
    """Directions of rows (..., n, d), not centred, the most important first: (..., d, d)."""
    return torch.linalg.eigh(matrix.mT @ matrix).eigenvectors.flip(-1)


class LowRankAttention(NamedTuple):
    """Attention of truncated queries and keys.

    Attributes
    ----------
    out
        (..., n, d_v)
    weights
        (..., n, n)
    """

    out: Tensor
    weights: Tensor


def low_rank_attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    rank: int,
    *,
    where: Tensor | None = None,
    bases: tuple[Tensor, Tensor] | None = None,
) -> LowRankAttention:
    """softmax(Q_r K_r' / sqrt(d)) V, with queries and keys cut to ``rank``.

    Parameters
    ----------
    queries, keys, values
        (..., n, d), (..., n, d) and (..., n, d_v)
    rank
        from 1; d or more: exact attention
    where
        bool (n, n) or (..., n, n), which keys a query sees (causal: lower triangle); None: all
    bases
        of queries and of keys, as ``cut_to_rank``; without them each sequence is cut by its own
        directions, which is not causal

    Examples
    --------
    >>> q, k, v = torch.ones(3, 4, 8)
    >>> low_rank_attention(q, k, v, 2).out.shape
    torch.Size([4, 8])
    """
    of_queries, of_keys = bases or (None, None)
    scores = cut_to_rank(queries, rank, of_queries) @ cut_to_rank(keys, rank, of_keys).mT
    scores = scores / math.sqrt(queries.shape[-1])
    if where is not None:
        scores = scores.masked_fill(~where, low(scores))
    weights = scores.softmax(dim=-1)
    return LowRankAttention(weights @ values, weights)


def attention_change_bound(queries: Tensor, keys: Tensor, rank: int) -> Tensor:
    """At most how far the weights of attention move in the Frobenius norm: (...).

    (tail(Q) ||K||_2 + ||Q||_2 tail(K)) / (2 sqrt(d)): rows of a softmax change at most half as much
    as what they are of, masked or not. By their own singular vectors.

    Examples
    --------
    >>> q, k = torch.eye(4), torch.eye(4)
    >>> attention_change_bound(q, k, 4)
    tensor(0.)
    """
    of_queries, of_keys = torch.linalg.svdvals(queries), torch.linalg.svdvals(keys)
    lost = tail_norm(of_queries, rank) * of_keys[..., 0]
    lost = lost + of_queries[..., 0] * tail_norm(of_keys, rank)
    return lost / (2 * math.sqrt(queries.shape[-1]))


class AttentionCost(NamedTuple):
    """Floating-point operations of attention, a multiplication and an addition each.

    Attributes
    ----------
    scores
        of queries with keys; of truncated ones the projection too
    mixing
        of the weights with the values
    factors
        of the singular vectors, where each sequence has its own
    """

    scores: int
    mixing: int
    factors: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.scores + self.mixing + self.factors


def attention_cost(
    length: int,
    width: int,
    rank: int | None = None,
    *,
    batch: int = 1,
    heads: int = 1,
    own_factors: bool = False,
) -> AttentionCost:
    """What attention of ``length`` tokens costs in all, with heads of ``width`` numbers.

    Truncation saves a share of rank / width of the one quadratic product of the scores, never of
    the other; with singular vectors of each sequence's own, about 4 n d^2 + 8 d^3 for each of Q and
    K, it often costs more than it saves.

    Parameters
    ----------
    rank
        None, or ``width`` and more: exact
    own_factors
        whether each sequence's singular vectors are computed

    Raises
    ------
    OptionError
        For numbers below 1.

    Examples
    --------
    >>> attention_cost(1024, 64).scores, attention_cost(1024, 64, 16).scores
    (134217728, 35651584)
    """
    numbers = (length, width, batch, heads, *([] if rank is None else [rank]))
    if min(numbers) < 1:
        raise OptionError("length, width, rank, batch and heads are 1 or more.")
    times, quadratic = batch * heads, 2 * length * length
    mixing = times * quadratic * width
    if rank is None or rank >= width:
        return AttentionCost(mixing, mixing, 0)
    factors = 2 * (4 * length * width**2 + 8 * width**3) if own_factors else 0
    scores = quadratic * rank + 2 * length * rank * width
    return AttentionCost(times * scores, mixing, times * factors)
