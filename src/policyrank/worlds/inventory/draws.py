"""Poisson numbers: of many generators at once, and by quantiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from scipy.special import pdtr, pdtrik

from policyrank.worlds.inventory.networks import Float


class Stream:
    """Poisson numbers of many generators at once, their uniform numbers drawn ahead.

    Each number is the very one that ``numpy.random.default_rng(seed).poisson`` would give one by
    one.

    Methods: multiplication below a mean of 10, else transformed rejection (PTRS; Hoermann 1993), as
    numpy's.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._rngs = [np.random.default_rng(seed) for seed in seeds]
        self._uniform = np.stack([rng.random(256) for rng in self._rngs])
        self._at = np.zeros(len(seeds), dtype=np.int64)

    def poisson(self, mean: Float) -> Float:
        """(B, M) means -> (B, M) numbers."""
        found = np.empty_like(mean)
        done = np.zeros(len(mean), dtype=np.int64)
        while not _streamed(mean, self._uniform, self._at, found, done):
            self._draw_more()
        return found

    def _draw_more(self) -> None:
        """What is left of each stream, and more of it for all, to the same length."""
        size = self._uniform.shape[1] - int(self._at.min()) + 256
        longer = np.empty((len(self._rngs), size))
        for row, (rng, uniform, at) in enumerate(
            zip(self._rngs, self._uniform, self._at, strict=True)
        ):
            left = len(uniform) - at
            longer[row, :left] = uniform[at:]
            longer[row, left:] = rng.random(size - left)
        self._uniform = longer
        self._at[:] = 0


@numba.njit(cache=True)
def _streamed(
    mean: Float, uniform: Float, at: Any, found: Float, done: Any
) -> bool:  # pragma: no cover
    """Fill in numbers; False when some stream has run out, with its place kept."""
    whole = True
    for row in range(mean.shape[0]):
        for column in range(done[row], mean.shape[1]):
            value, place = _poisson(mean[row, column], uniform[row], at[row])
            if value < 0:
                whole = False
                break
            found[row, column] = value
            done[row] = column + 1
            at[row] = place
    return whole


@numba.njit(cache=True)
def _poisson(mean: float, uniform: Float, at: int) -> tuple[float, int]:  # pragma: no cover
    """A number, and where the next one starts; -1 when the uniform numbers have run out."""
    if mean == 0.0:
        return 0.0, at
    if mean < 10.0:
        return _by_multiplication(mean, uniform, at)
    return _by_rejection(mean, uniform, at)


@numba.njit(cache=True)
def _by_multiplication(
    mean: float, uniform: Float, at: int
) -> tuple[float, int]:  # pragma: no cover
    least, product, count = math.exp(-mean), 1.0, 0
    while at < len(uniform):
        product *= uniform[at]
        at += 1
        if product <= least:
            return float(count), at
        count += 1
    return -1.0, at


@numba.njit(cache=True)
def _by_rejection(mean: float, uniform: Float, at: int) -> tuple[float, int]:  # pragma: no cover
    root = math.sqrt(mean)
    spread = 0.931 + 2.53 * root
    slope = -0.059 + 0.02483 * spread
    scale = 1.1239 + 1.1328 / (spread - 3.4)
    sure = 0.9277 - 3.6224 / (spread - 2)
    while at + 1 < len(uniform):
        centred, second = uniform[at] - 0.5, uniform[at + 1]
        at += 2
        edge = 0.5 - abs(centred)
        value = math.floor((2 * slope / edge + spread) * centred + mean + 0.43)
        if edge >= 0.07 and second <= sure:
            return float(value), at
        if value < 0 or (edge < 0.013 and second > edge):
            continue
        density = -mean + value * math.log(mean) - math.lgamma(value + 1)
        hat = math.log(second) + math.log(scale) - math.log(slope / (edge * edge) + spread)
        if hat <= density:
            return float(value), at
    return -1.0, at


@numba.njit(cache=True)
def _small_quantile(u: Float, mean: Float) -> Float:  # pragma: no cover
    found = np.empty(u.size)
    for place in range(u.size):
        count, chance = 0, math.exp(-mean[place])
        total = chance
        while total < u[place] and chance > 1e-300:
            count += 1
            chance *= mean[place] / count
            total += chance
        found[place] = count
    return found


def quantile(u: Float, mean: Float) -> Float:
    """Poisson quantile: the smallest k with P(N <= k) >= u.

    Examples
    --------
    >>> quantile(np.array([0.1, 0.5, 0.99]), np.array([2.0, 2.0, 1000.0])).tolist()
    [0.0, 2.0, 1074.0]
    """
    small = mean < 300
    found = np.empty_like(mean)
    found[small] = _small_quantile(u[small], mean[small])
    if not small.all():
        chance, level = u[~small], mean[~small]
        near = np.ceil(pdtrik(np.clip(chance, 1e-300, 1 - 1e-16), level))
        found[~small] = np.select(
            [pdtr(near - 1, level) >= chance, pdtr(near, level) < chance],
            [near - 1, near + 1],
            near,
        )
    return found
