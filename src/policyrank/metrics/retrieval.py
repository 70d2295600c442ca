"""Retrieval metrics of ragged runs: millions of (query, document, score) rows against judgements."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]
Int = NDArray[np.int64]


@dataclass(frozen=True)
class Judged:
    """A run's rows in ranked order, query by query, with their grades, and what the judgements
    hold.

    Attributes
    ----------
    offsets
        (queries + 1,), where each query's rows begin
    grades
        (rows,), grade of each row, -1 where it was not judged
    ideal, ideal_offsets
        grades of all judged documents of each query, highest first, and where they begin
    """

    offsets: Int
    grades: Float
    ideal: Float
    ideal_offsets: Int

    @classmethod
    def of(
        cls,
        query: ArrayLike,
        score: ArrayLike,
        grade: ArrayLike,
        *,
        ideal: Sequence[ArrayLike] | None = None,
        tie: ArrayLike | None = None,
    ) -> Judged:
        """From rows in any order.

        Parameters
        ----------
        query
            (rows,), codes 0, 1, ..., of the query
        score
            (rows,), higher is better, finite
        grade
            (rows,), -1: not judged
        ideal
            for each query all its judged grades, those the run lacks included; None: the run's own
        tie
            (rows,), ranks rows of equal score, higher first; None: the order of the rows

        Raises
        ------
        ValueError
            For scores that are not finite.
        """
        q, s, g = (
            np.asarray(query, dtype=np.int64),
            np.asarray(score, dtype=float),
            np.asarray(grade, dtype=float),
        )
        if not np.isfinite(s).all():
            raise ValueError(
                f"row {int(np.flatnonzero(~np.isfinite(s))[0]) + 1} of the run has a score that is"
                " not finite."
            )
        t = -np.arange(len(q)) if tie is None else np.asarray(tie)
        count = int(q.max()) + 1 if len(q) else 0
        count = max(count, len(ideal) if ideal is not None else 0)
        order = np.lexsort((-t, -s, q))
        offsets = np.concatenate([[0], np.cumsum(np.bincount(q, minlength=count))]).astype(np.int64)
        grades = g[order]
        if ideal is None:
            best, who = grades[grades >= 0], q[order][grades >= 0]
        else:
            parts = [np.asarray(x, dtype=float) for x in ideal]
            best = np.concatenate(parts) if parts else np.zeros(0)
            who = np.repeat(np.arange(len(parts)), [len(x) for x in parts])
        arranged = np.lexsort((-best, who))
        ends = np.concatenate(
            [[0], np.cumsum(np.bincount(who.astype(np.int64), minlength=count))]
        ).astype(np.int64)
        return cls(offsets, grades, best[arranged], ends)

    def __len__(self) -> int:
        return len(self.offsets) - 1


@njit(parallel=True, cache=True)
def _ndcg(offsets: Int, grades: Float, ideal: Float, ends: Int, k: int, exponential: bool) -> Float:
    out = np.zeros(len(offsets) - 1)
    for q in prange(len(out)):
        dcg = best = 0.0
        for i in range(offsets[q], min(offsets[q + 1], offsets[q] + k)):
            if grades[i] > 0:
                gain = 2.0 ** grades[i] - 1 if exponential else grades[i]
                dcg += gain / np.log2(i - offsets[q] + 2)
        for i in range(ends[q], min(ends[q + 1], ends[q] + k)):
            if ideal[i] > 0:
                gain = 2.0 ** ideal[i] - 1 if exponential else ideal[i]
                best += gain / np.log2(i - ends[q] + 2)
        out[q] = dcg / best if best > 0 else 0.0
    return out


@njit(parallel=True, cache=True)
def _binary(
    offsets: Int, grades: Float, relevant: Float, k: int, least: float
) -> tuple[Float, Float, Float, Float]:
    """Hits within k, average precision within k, reciprocal rank within k, place of the last hit
    (0: none).
    """
    n = len(offsets) - 1
    hits, average, reciprocal, last = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    for q in prange(n):
        found = total = 0.0
        for i in range(offsets[q], min(offsets[q + 1], offsets[q] + k)):
            if grades[i] >= least:
                place = i - offsets[q] + 1
                found += 1
                total += found / place
                if found == 1:
                    reciprocal[q] = 1.0 / place
                last[q] = place
        hits[q] = found
        average[q] = total / relevant[q] if relevant[q] > 0 else 0.0
    return hits, average, reciprocal, last


@njit(parallel=True, cache=True)
def _err(offsets: Int, grades: Float, k: int, highest: float) -> Float:
    out = np.zeros(len(offsets) - 1)
    for q in prange(len(out)):
        left = 1.0
        for i in range(offsets[q], min(offsets[q + 1], offsets[q] + k)):
            stop = (2.0 ** max(grades[i], 0.0) - 1) / 2.0**highest
            out[q] += left * stop / (i - offsets[q] + 1)
            left *= 1 - stop
    return out


@njit(parallel=True, cache=True)
def _rbp(offsets: Int, grades: Float, p: float, k: int, least: float) -> Float:
    out = np.zeros(len(offsets) - 1)
    for q in prange(len(out)):
        weight = 1 - p
        for i in range(offsets[q], min(offsets[q + 1], offsets[q] + k)):
            if grades[i] >= least:
                out[q] += weight
            weight *= p
    return out


@njit(parallel=True, cache=True)
def _place_of(offsets: Int, grades: Float, wanted: Float, least: float) -> Float:
    """Place of the wanted-th relevant row; the number of rows where the run does not have so many."""
    out = np.zeros(len(offsets) - 1)
    for q in prange(len(out)):
        found = 0
        out[q] = offsets[q + 1] - offsets[q]
        for i in range(offsets[q], offsets[q + 1]):
            if grades[i] >= least:
                found += 1
                if found == wanted[q]:
                    out[q] = i - offsets[q] + 1
                    break
    return out


_ALL = np.iinfo(np.int64).max // 4


def ndcg(judged: Judged, k: int | None = None, *, gain: str = "linear") -> Float:
    """NDCG@k, discount log2(place + 1), gains the grades (as trec_eval) or 2^grade - 1
    (``gain="exp2"``); 0 without a relevant document.

    Examples
    --------
    >>> ndcg(Judged.of([0, 0, 0], [1, 2, 3], [3, 2, 1])).round(6)
    array([0.789998])
    """
    if gain not in ("linear", "exp2"):
        raise ValueError(f"gain={gain!r}: use 'linear' or 'exp2'.")
    return _ndcg(
        judged.offsets, judged.grades, judged.ideal, judged.ideal_offsets, k or _ALL, gain == "exp2"
    )


def random_ndcg(judged: Judged, k: int | None = None, *, gain: str = "linear") -> Float:
    """Expected NDCG@k of a random order of each query's judged documents: mean gain times the sum
    of discounts over the ideal DCG.

    Examples
    --------
    >>> random_ndcg(Judged.of([0, 0, 0], [1, 2, 3], [3, 2, 1])).round(6)
    array([0.894999])
    """
    return _ideal_only(judged, k, gain, "random")


def worst_ndcg(judged: Judged, k: int | None = None, *, gain: str = "linear") -> Float:
    """NDCG@k of the worst order of each query's judged documents."""
    return _ideal_only(judged, k, gain, "worst")


def normalised_ndcg(judged: Judged, k: int | None = None, *, gain: str = "linear") -> Float:
    """(NDCG - its random level) / (1 - its random level): 0 is chance, 1 is perfect; 0 where every
    order is as good.
    """
    chance = random_ndcg(judged, k, gain=gain)
    value = ndcg(judged, k, gain=gain)
    return np.divide(
        value - chance, 1 - chance, out=np.zeros_like(chance), where=chance < 1 - 1e-12
    )


def _ideal_only(judged: Judged, k: int | None, gain: str, what: str) -> Float:
    out = np.zeros(len(judged))
    for q in range(len(judged)):
        g = np.maximum(judged.ideal[judged.ideal_offsets[q] : judged.ideal_offsets[q + 1]], 0)
        g = 2.0**g - 1 if gain == "exp2" else g
        top = min(len(g), k or len(g))
        discount = 1 / np.log2(np.arange(2, top + 2))
        best = float((g[:top] * discount).sum())
        got = (
            float(g.mean() * discount.sum())
            if what == "random" and len(g)
            else float((g[::-1][:top] * discount).sum())
        )
        out[q] = got / best if best > 0 else 0.0
    return out


def relevant(judged: Judged, least: float = 1) -> Float:
    """Relevant judged documents of each query (grade >= ``least``)."""
    who = np.repeat(np.arange(len(judged)), np.diff(judged.ideal_offsets))
    return np.bincount(who, judged.ideal >= least, minlength=len(judged)).astype(float)


def average_precision(judged: Judged, k: int | None = None, *, least: float = 1) -> Float:
    """Average precision: the sum of precisions at relevant documents within k, over all relevant
    ones.
    """
    return _binary(judged.offsets, judged.grades, relevant(judged, least), k or _ALL, least)[1]


def reciprocal_rank(judged: Judged, k: int | None = None, *, least: float = 1) -> Float:
    """1 / place of the first relevant document within k, else 0."""
    return _binary(judged.offsets, judged.grades, relevant(judged, least), k or _ALL, least)[2]


def precision(judged: Judged, k: int | None = None, *, least: float = 1) -> Float:
    """Relevant documents among the first k, over k (or over the rows, without k)."""
    hits = _binary(judged.offsets, judged.grades, relevant(judged, least), k or _ALL, least)[0]
    return hits / (k if k else np.maximum(np.diff(judged.offsets), 1))


def recall(judged: Judged, k: int | None = None, *, least: float = 1) -> Float:
    """Relevant documents among the first k, over all relevant ones; 0 where there are none."""
    total = relevant(judged, least)
    return _binary(judged.offsets, judged.grades, total, k or _ALL, least)[0] / np.maximum(total, 1)


def recall_at_percent(judged: Judged, percent: float, *, least: float = 1) -> Float:
    """Relevant documents among the first ceil(percent n / 100) of the query's n rows, over all
    relevant ones.
    """
    total, n = relevant(judged, least), np.diff(judged.offsets)
    out = np.zeros(len(judged))
    for q, depth in enumerate(np.ceil(percent * n / 100 - 1e-9).astype(np.int64)):
        out[q] = (judged.grades[judged.offsets[q] : judged.offsets[q] + depth] >= least).sum()
    return out / np.maximum(total, 1)


def expected_reciprocal_rank(
    judged: Judged, k: int | None = None, *, highest: float | None = None
) -> Float:
    """ERR@k: a reader stops at a document of grade g with probability (2^g - 1) / 2^highest (None:
    the highest grade judged).

    References
    ----------
    Chapelle et al. (2009).
    """
    top = float(judged.ideal.max(initial=0.0)) if highest is None else highest
    return _err(judged.offsets, judged.grades, k or _ALL, top)


def rank_biased_precision(
    judged: Judged, p: float = 0.8, k: int | None = None, *, least: float = 1
) -> Float:
    """RBP: (1 - p) sum over places i of p^(i-1) [relevant].

    References
    ----------
    Moffat and Zobel (2008).
    """
    return _rbp(judged.offsets, judged.grades, p, k or _ALL, least)


def last_relevant(judged: Judged, *, least: float = 1) -> Float:
    """Place of the last relevant document, over the number of rows: what share must be read to find
    all; 1 where the run lacks one.
    """
    n = np.diff(judged.offsets)
    return _place_of(judged.offsets, judged.grades, relevant(judged, least), least) / np.maximum(
        n, 1
    )


def work_saved(judged: Judged, x: float = 0.95, *, least: float = 1) -> Float:
    """Work saved over sampling: (n - place of the ceil(x R)-th relevant document) / n - (1 - x); 0
    without relevant ones.

    Examples
    --------
    >>> work_saved(Judged.of([0] * 10, range(10, 0, -1), [1, 0, 1, 0, 0, 0, 0, 0, 0, 0])).round(4)
    array([0.65])
    """
    n, total = np.diff(judged.offsets), relevant(judged, least)
    wanted = np.ceil(x * total - 1e-9)
    place = _place_of(judged.offsets, judged.grades, wanted, least)
    return np.where(total > 0, (n - place) / np.maximum(n, 1) - (1 - x), 0.0)


def rank_biased_overlap(
    a: Sequence[Any], b: Sequence[Any], p: float = 0.9, *, extrapolate: bool = True
) -> float:
    """RBO of two rankings: (1 - p) sum over depths d of p^(d-1) overlap(d) / d, extrapolated beyond
    the shorter one or cut there.

    References
    ----------
    Webber, Moffat and Zobel (2010), equations 4 and 32.

    Examples
    --------
    >>> round(rank_biased_overlap([1, 2, 3], [1, 3, 2], 0.7, extrapolate=False), 3)
    0.552
    """
    small, large = (a, b) if len(a) <= len(b) else (b, a)
    s, n = len(small), len(large)
    if s == 0:
        return 0.0
    seen_small: set[Any] = set()
    seen_large: set[Any] = set()
    overlap, total, agree = 0, 0.0, np.zeros(n + 1)
    for d in range(1, n + 1):
        new = large[d - 1]
        overlap += new in seen_small
        seen_large.add(new)
        if d <= s:
            mine = small[d - 1]
            overlap += mine in seen_large
            seen_small.add(mine)
        agree[d] = overlap
    depth = np.arange(1, n + 1)
    if not extrapolate:
        return float((1 - p) * (p ** (depth[:s] - 1) * agree[1 : s + 1] / depth[:s]).sum())
    total = float((p**depth * agree[1:] / depth).sum())
    if n > s:
        beyond = depth[s:]
        total += float((p**beyond * agree[s] * (beyond - s) / (s * beyond)).sum())
    return (1 - p) / p * total + ((agree[n] - agree[s]) / n + agree[s] / s) * p**n


Measure = Callable[[Judged], Float]

_PATTERN = re.compile(r"^(?P<name>[A-Za-z]+)(\((?P<options>[^)]*)\))?(@(?P<k>[\d.]+))?$")
_SIMPLE: dict[str, Callable[..., Float]] = {
    "ndcg": ndcg,
    "nndcg": normalised_ndcg,
    "ap": average_precision,
    "map": average_precision,
    "rr": reciprocal_rank,
    "mrr": reciprocal_rank,
    "p": precision,
    "r": recall,
    "recall": recall,
    "err": expected_reciprocal_rank,
    "rbp": rank_biased_precision,
}
MEASURES = (
    "nDCG@k",
    "nDCG(gain=exp2)@k",
    "nnDCG@k",
    "AP",
    "RR@k",
    "P@k",
    "R@k",
    "R%@p",
    "ERR@k",
    "RBP(p=0.8)",
    "LastRelevant",
    "WSS@95",
)


def measure(name: str) -> Measure:
    """The measure that a name such as nDCG@10, nDCG(gain=exp2)@10, AP, RR, P(least=2)@5, R@100,
    R%@10, ERR@20, RBP(p=0.8), WSS@95 stands for.

    Raises
    ------
    ValueError
        For a name that is none.
    """
    found = _PATTERN.match(name.replace("R%", "Rpercent"))
    wrong = ValueError(
        f"measure {name!r}: use {', '.join(MEASURES)}; least=2 in brackets counts grades from 2 on"
        " as relevant."
    )
    if not found:
        raise wrong
    options: dict[str, Any] = {}
    for part in filter(None, (found["options"] or "").split(",")):
        key, _, value = part.partition("=")
        options[key.strip()] = value.strip() if key.strip() == "gain" else float(value)
    kind, k = found["name"].lower(), found["k"]
    if kind in _SIMPLE:
        rule, depth = _SIMPLE[kind], int(k) if k else None
        return lambda judged: rule(judged, k=depth, **options)
    if kind == "rpercent" and k:
        return lambda judged: recall_at_percent(judged, float(k), **options)
    if kind == "wss" and k:
        return lambda judged: work_saved(judged, float(k) / 100, **options)
    if kind == "lastrelevant" and not k:
        return lambda judged: last_relevant(judged, **options)
    raise wrong
