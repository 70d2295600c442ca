"""Loops over the rows of all queries at once, compiled."""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

Float = NDArray[np.float64]
Int = NDArray[np.int64]


@njit(cache=True)
def _gain(grade: float, exponential: bool) -> float:
    if grade <= 0:
        return 0.0
    if exponential:
        return 2.0**grade - 1
    return grade


@njit(cache=True)
def _dcg(grades: Float, start: int, end: int, exponential: bool) -> float:
    total = 0.0
    for row in range(start, end):
        gain = _gain(grades[row], exponential)
        if gain > 0:
            total += gain / np.log2(row - start + 2)
    return total


@njit(parallel=True, cache=True)
def ndcg(offsets: Int, grades: Float, ideal: Float, ends: Int, k: int, exponential: bool) -> Float:
    out = np.zeros(len(offsets) - 1)
    for query in prange(len(out)):
        start, first = offsets[query], ends[query]
        dcg = _dcg(grades, start, min(offsets[query + 1], start + k), exponential)
        best = _dcg(ideal, first, min(ends[query + 1], first + k), exponential)
        if best > 0:
            out[query] = dcg / best
    return out


@njit(parallel=True, cache=True)
def binary(
    offsets: Int, grades: Float, relevant: Float, k: int, least: float
) -> tuple[Float, Float, Float]:
    """Hits within k, average precision within k, reciprocal rank within k."""
    queries = len(offsets) - 1
    hits, average, reciprocal = np.zeros(queries), np.zeros(queries), np.zeros(queries)
    for query in prange(queries):
        found = total = 0.0
        start = offsets[query]
        for row in range(start, min(offsets[query + 1], start + k)):
            if grades[row] >= least:
                place = row - start + 1
                found += 1
                total += found / place
                if found == 1:
                    reciprocal[query] = 1.0 / place
        hits[query] = found
        if relevant[query] > 0:
            average[query] = total / relevant[query]
    return hits, average, reciprocal


@njit(parallel=True, cache=True)
def err(offsets: Int, grades: Float, k: int, highest: float) -> Float:
    out = np.zeros(len(offsets) - 1)
    for query in prange(len(out)):
        left, start = 1.0, offsets[query]
        for row in range(start, min(offsets[query + 1], start + k)):
            stop = (2.0 ** max(grades[row], 0.0) - 1) / 2.0**highest
            out[query] += left * stop / (row - start + 1)
            left *= 1 - stop
    return out


@njit(parallel=True, cache=True)
def rbp(offsets: Int, grades: Float, p: float, k: int, least: float) -> Float:
    out = np.zeros(len(offsets) - 1)
    for query in prange(len(out)):
        weight, start = 1 - p, offsets[query]
        for row in range(start, min(offsets[query + 1], start + k)):
            if grades[row] >= least:
                out[query] += weight
            weight *= p
    return out


@njit(parallel=True, cache=True)
def place_of(offsets: Int, grades: Float, wanted: Float, least: float) -> Float:
    """Place of the wanted-th relevant row; the number of rows where the run has fewer."""
    out = np.zeros(len(offsets) - 1)
    for query in prange(len(out)):
        found, start = 0, offsets[query]
        out[query] = offsets[query + 1] - start
        for row in range(start, offsets[query + 1]):
            if grades[row] >= least:
                found += 1
                if found == wanted[query]:
                    out[query] = row - start + 1
                    break
    return out
