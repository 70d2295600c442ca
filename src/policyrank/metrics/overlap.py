"""Overlap of two rankings of items that need not be the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


def rank_biased_overlap(
    a: Sequence[Any], b: Sequence[Any], p: float = 0.9, *, extrapolate: bool = True
) -> float:
    """RBO of two rankings: (1 - p) sum over depths d of p^(d-1) overlap(d) / d.

    Extrapolated beyond the shorter one, or cut there.

    References
    ----------
    Webber, Moffat and Zobel (2010), equations 4 and 32.

    Examples
    --------
    >>> round(rank_biased_overlap([1, 2, 3], [1, 3, 2], 0.7, extrapolate=False), 3)
    0.552
    """
    small, large = sorted((a, b), key=len)
    s, n = len(small), len(large)
    if s == 0:
        return 0.0
    agree = _overlaps(small, large)
    depth = np.arange(1, n + 1)
    if not extrapolate:
        return float((1 - p) * (p ** (depth[:s] - 1) * agree[1 : s + 1] / depth[:s]).sum())
    total = float((p**depth * agree[1:] / depth).sum())
    if n > s:
        beyond = depth[s:]
        total += float((p**beyond * agree[s] * (beyond - s) / (s * beyond)).sum())
    return (1 - p) / p * total + ((agree[n] - agree[s]) / n + agree[s] / s) * p**n


def _overlaps(small: Sequence[Any], large: Sequence[Any]) -> Float:
    """Items that the first d of both share, d = 0, 1, ..., length of the larger."""
    seen_small: set[Any] = set()
    seen_large: set[Any] = set()
    overlap, found = 0, np.zeros(len(large) + 1)
    for d, new in enumerate(large, start=1):
        overlap += new in seen_small
        seen_large.add(new)
        if d <= len(small):
            mine = small[d - 1]
            overlap += mine in seen_large
            seen_small.add(mine)
        found[d] = overlap
    return found
