"""The same scores twice in a table, in other units: found among many columns without all pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from policyrank.evidence.directions import words

Float = NDArray[np.float64]

UNITS = frozenset(
    "raw pct percent percentage perc ms s sec seconds normalized normalised rescaled".split()
)
"""Words of a name that say in which unit its scores are."""

FACTORS = (100.0, 1000.0)
"""Between percents and fractions, milliseconds and seconds."""

_CLOSE = 1e-6
_MOST = 8


def is_copy(names: tuple[str, str], x: Float, y: Float) -> bool:
    """Whether two columns of the same words, units aside, order the rows alike; or whether one is
    the other times 100 or 1,000.
    """
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < 2 or not np.array_equal(np.isfinite(x), np.isfinite(y)):
        return False
    x, y = x[both], y[both]
    first, second = (frozenset(words(name)) for name in names)
    if first - UNITS == second - UNITS and first != second:
        order = np.argsort(x, kind="stable")
        return bool((np.diff(y[order]) >= -1e-9).all())
    if len(np.unique(x)) < 3:
        return False
    with np.errstate(over="ignore"):
        for factor in FACTORS:
            for small, large in ((x, y), (y, x)):
                if np.allclose(small * factor, large, rtol=1e-9, atol=1e-9):
                    return True
    return False


def likely_copies(names: Sequence[str], columns: Sequence[Float]) -> list[list[int]]:
    """Of each column the earlier ones that it may be a copy of, in their order."""
    found: list[set[int]] = [set() for _ in names]
    for one, other in (*_named_alike(names), *_proportional(columns)):
        found[max(one, other)].add(min(one, other))
    return [sorted(earlier) for earlier in found]


def _named_alike(names: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs of names of the same words but for their units."""
    groups: dict[frozenset[str], dict[frozenset[str], list[int]]] = {}
    for place, name in enumerate(names):
        found = frozenset(words(name))
        groups.setdefault(found - UNITS, {}).setdefault(found & UNITS, []).append(place)
    for by_unit in groups.values():
        several = list(by_unit.values())
        for i, ours in enumerate(several):
            for theirs in several[i + 1 :]:
                yield from ((one, other) for one in ours for other in theirs)


def _proportional(columns: Sequence[Float]) -> Iterator[tuple[int, int]]:
    """Pairs of columns of one shape, of which one is 100 or 1,000 times as large."""
    groups: dict[bytes, list[tuple[float, float, int]]] = defaultdict(list)
    for place, values in enumerate(columns):
        known = np.isfinite(values)
        top = float(np.abs(values[known]).max(initial=0))
        if top > 0:
            weight = (np.arange(1, known.sum() + 1) * 0.6180339887) % 1
            shape = float((values[known] / top) @ weight)
            groups[known.tobytes()].append((shape, top, place))
    for group in groups.values():
        for cluster in _clusters(sorted(group)):
            yield from _times_apart(cluster)


def _clusters(
    sorted_by_shape: Iterable[tuple[float, float, int]],
) -> Iterator[list[tuple[float, int]]]:
    """Runs of two and more columns of shapes equal up to rounding: largest values and places."""
    cluster: list[tuple[float, int]] = []
    before = -np.inf
    for shape, top, place in sorted_by_shape:
        if shape - before > _CLOSE * max(abs(shape), 1):
            if len(cluster) > 1:
                yield cluster
            cluster = []
        cluster.append((top, place))
        before = shape
    if len(cluster) > 1:
        yield cluster


def _times_apart(cluster: list[tuple[float, int]]) -> Iterator[tuple[int, int]]:
    """Pairs of a cluster whose largest values are a factor apart: the first few of each column."""
    cluster.sort()
    tops = np.array([top for top, _ in cluster])
    places = np.array([place for _, place in cluster])
    for factor in (*FACTORS, *(1 / factor for factor in FACTORS)):
        with np.errstate(over="ignore"):
            wanted = tops * factor
        low = np.searchsorted(tops, wanted * (1 - _CLOSE))
        high = np.searchsorted(tops, wanted * (1 + _CLOSE))
        for at in np.flatnonzero(high > low):
            others = np.sort(places[low[at] : high[at]])[:_MOST]
            yield from ((int(places[at]), int(other)) for other in others)
