"""Studentised differences of all pairs of ratings, and how large they are by chance."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policyrank.board.intervals import Float, as_normal

BLOCK = 128
"""Rows of draws that are compared at once."""
FEW = 16
"""Policies of a block, at least."""


@dataclass(frozen=True, eq=False)
class Gaps:
    """Studentised differences of ratings, a row at a time: (n, n) only where it is asked for."""

    rating: Float
    covariance: Float
    given: Float | None
    df: Float | None
    exact: bool

    @cached_property
    def z(self) -> Float | None:
        """All statistics, where they are given or dear to compute: (n, n)."""
        if self.given is not None or self.df is None:
            return self.given
        rows = [self._own_statistic(j) for j in range(len(self.rating))]
        return as_normal(np.array(rows), self.df)

    @cached_property
    def floor(self) -> float:
        """The variance of a difference below which it is taken as known."""
        largest = float(np.max(np.abs(self.rating), initial=0.0))
        return 1e-12 * max(largest, 1e-300) ** 2

    @cached_property
    def own(self) -> Float:
        """The variance of each rating: (n,)."""
        return self.covariance.diagonal().copy()

    def variance(self, j: int) -> Float:
        """Of the differences between j and each other: (n,)."""
        return np.maximum(self.own[j] + self.own - 2 * self.covariance[j], 0)

    def scale(self, j: int) -> NDArray[np.float32]:
        """One over the standard deviation of each difference, 0 where it does not vary."""
        variance = self.variance(j)
        varies = variance > self.floor
        sd = np.sqrt(np.where(varies, variance, 1.0))
        return np.where(varies, 1 / sd, 0.0).astype(np.float32)

    def statistic(self, j: int) -> Float:
        """By how many standard errors j is above each other: (n,)."""
        if self.z is not None:
            return self.z[j]
        return self._own_statistic(j)

    def _own_statistic(self, j: int) -> Float:
        gap = self.rating[j] - self.rating
        variance = self.variance(j)
        sure = np.zeros_like(gap)
        if self.exact:
            sure = np.where(gap > 0, np.inf, -np.inf)
        sure = np.where(np.abs(gap) > np.sqrt(self.floor), sure, 0.0)
        varies = variance > self.floor
        return np.where(varies, gap / np.sqrt(np.where(varies, variance, 1.0)), sure)

    def beyond(self, critical: float) -> NDArray[np.bool_]:
        """Where the row's statistic exceeds a critical value: (n, n)."""
        out = np.empty(self.covariance.shape, dtype=bool)
        for j in range(len(out)):
            out[j] = self.statistic(j) > critical
        return out


def largest_difference(
    draws: NDArray[np.float32],
    j: int,
    others: slice | NDArray[np.bool_] | NDArray[np.intp],
    scale: NDArray[np.float32],
    sign: int | None = None,
) -> NDArray[np.float32]:
    """The largest difference of each draw between j and ``others``, in units of their spread.

    ``draws``: (n, size). ``sign``: 1 for j above the others, -1 for below, None for either. Blocks
    of a few hundred others stay in the processor's cache.
    """
    there = draws[others]
    top = np.full(draws.shape[1], -np.inf, dtype=np.float32)
    room = np.empty((min(BLOCK, len(there)), draws.shape[1]), dtype=np.float32)
    for start in range(0, len(there), BLOCK):
        block = there[start : start + BLOCK]
        gap = room[: len(block)]
        if sign == -1:
            np.subtract(block, draws[j], out=gap)
        else:
            np.subtract(draws[j], block, out=gap)
        if sign is None:
            np.abs(gap, out=gap)
        gap *= scale[start : start + BLOCK, None]
        np.maximum(top, gap.max(axis=0), out=top)
    return top


class Extremes(NamedTuple):
    """A pair of each draw, and its studentised difference: (size,) each."""

    upper: NDArray[np.intp]
    lower: NDArray[np.intp]
    value: NDArray[np.float32]


def extremes(draws: NDArray[np.float32], gaps: Gaps) -> Extremes:
    """The largest and the smallest studentised rating of each draw, and their difference.

    No other pair's difference is much larger, and of most draws none is.
    """
    sd = np.sqrt(np.clip(gaps.own, 0, None))
    own = draws / np.maximum(sd, 1e-30).astype(np.float32)[:, None]
    upper, lower = own.argmax(axis=0), own.argmin(axis=0)
    value = np.zeros(draws.shape[1], dtype=np.float32)
    for j in np.unique(upper):
        at = np.flatnonzero(upper == j)
        value[at] = (draws[j, at] - draws[lower[at], at]) * gaps.scale(j)[lower[at]]
    return Extremes(upper, lower, value)


class Blocks:
    """Draws of all policies in blocks of like spread.

    A draw's block is left out where even its extremes, in units of its smallest spread, would not
    reach what was found before.
    """

    def __init__(self, draws: NDArray[np.float32], gaps: Gaps) -> None:
        n = len(draws)
        width = min(n, BLOCK, max(FEW, n // FEW))
        order, starts = np.argsort(gaps.own, kind="stable"), np.arange(0, n, width)
        self.gaps, self.draws = gaps, draws
        self._lowest = np.minimum.reduceat(draws[order], starts)
        self._highest = np.maximum.reduceat(draws[order], starts)
        order = np.r_[order, np.repeat(order[-1], len(starts) * width - n)]
        self._order = order.reshape(-1, width)
        self._blocks = np.ascontiguousarray(draws[self._order].transpose(2, 0, 1))

    def of(self, chosen: NDArray[np.intp]) -> Blocks:
        """The same of some draws."""
        part = copy(self)
        part.draws = np.ascontiguousarray(self.draws[:, chosen])
        part._lowest, part._highest = self._lowest[:, chosen], self._highest[:, chosen]
        part._blocks = self._blocks[chosen]
        return part

    def lift(
        self,
        top: NDArray[np.float32],
        j: int,
        sign: int | None = None,
        others: NDArray[np.bool_] | None = None,
    ) -> None:
        """Raise ``top`` (size,) to the largest difference of each draw between j and ``others``.

        ``sign``: 1 for j above the others, -1 for below, None for either.
        """
        own, scale = self.draws[j], self.gaps.scale(j)[self._order]
        counted = None
        if others is not None:
            counted = others[self._order]
        reach = self._highest - own if sign == -1 else own - self._lowest
        if sign is None:
            np.maximum(reach, self._highest - own, out=reach)
        # Where all others lie on the other side of j, no difference exceeds 0.
        np.maximum(reach, 0, out=reach)
        reach *= scale.max(axis=1, initial=0, where=True if counted is None else counted)[:, None]
        at = np.flatnonzero(reach > top)
        if not len(at):
            return
        block, draw = np.divmod(at, len(top))
        gap = self._blocks[draw, block]
        gap -= own[draw, None]
        if sign is None:
            np.abs(gap, out=gap)
        elif sign == 1:
            np.negative(gap, out=gap)
        gap *= scale[block]
        if counted is not None:
            gap[~counted[block]] = -np.inf
        np.maximum.at(top, draw, gap.max(axis=1))


def largest_of_all(blocks: Blocks, begun: NDArray[np.float32]) -> NDArray[np.float32]:
    """The largest studentised difference of each draw over all pairs: (size,).

    ``begun``: of one pair of each draw, such as its ``extremes``.
    """
    top = begun.copy()
    for j in range(len(blocks.draws)):
        blocks.lift(top, j, sign=1)
    return top
