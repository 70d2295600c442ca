"""Retrieval metrics of ragged runs: rows (query, document, score) against judgements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyrank.errors import EvidenceError, OptionError
from policyrank.metrics import retrieval_kernels as kernels

Float = NDArray[np.float64]
Int = NDArray[np.int64]


@dataclass(frozen=True)
class Judged:
    """A run's rows in ranked order, query by query, with their grades.

    And what the judgements hold.

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
        EvidenceError
            For scores that are not finite.
        """
        queries = np.asarray(query, dtype=np.int64)
        scores = np.asarray(score, dtype=float)
        bad = np.flatnonzero(~np.isfinite(scores))
        if len(bad):
            raise EvidenceError(f"row {bad[0] + 1} of the run has a score that is not finite.")
        first = -np.arange(len(queries)) if tie is None else np.asarray(tie)
        order = np.lexsort((-first, -scores, queries))
        queries, grades = queries[order], np.asarray(grade, dtype=float)[order]
        if ideal is None:
            judged = grades >= 0
            best, owner = grades[judged], queries[judged]
            count = int(queries.max(initial=-1)) + 1
        else:
            best, owner = _flat(ideal)
            count = max(int(queries.max(initial=-1)) + 1, len(ideal))
        arranged = np.lexsort((-best, owner))
        return cls(_offsets(queries, count), grades, best[arranged], _offsets(owner, count))

    def __len__(self) -> int:
        return len(self.offsets) - 1


def _flat(lists: Sequence[ArrayLike]) -> tuple[Float, Int]:
    """Numbers of all lists in one, and the list that each is of."""
    parts = [np.zeros(0), *(np.asarray(one, dtype=float) for one in lists)]
    owner = np.repeat(np.arange(-1, len(lists)), list(map(len, parts)))
    return np.concatenate(parts), owner


def _offsets(owner: Int, count: int) -> Int:
    """(count + 1,): where the rows of each begin, in sorted order."""
    size = np.bincount(owner, minlength=count)
    return np.concatenate([[0], np.cumsum(size)]).astype(np.int64)


_ALL = np.iinfo(np.int64).max // 4


def ndcg(judged: Judged, k: int | None = None, *, gain: str = "linear") -> Float:
    """NDCG@k, discount log2(place + 1); 0 without a relevant document.

    Gains are the grades (as trec_eval), or 2^grade - 1 (``gain="exp2"``).

    Examples
    --------
    >>> ndcg(Judged.of([0, 0, 0], [1, 2, 3], [3, 2, 1])).round(6)
    array([0.789998])
    """
    if gain not in ("linear", "exp2"):
        raise OptionError(f"gain={gain!r}: use 'linear' or 'exp2'.")
    ideal, ends = judged.ideal, judged.ideal_offsets
    return kernels.ndcg(judged.offsets, judged.grades, ideal, ends, k or _ALL, gain == "exp2")


def random_ndcg(judged: Judged, k: int | None = None, *, gain: str = "linear") -> Float:
    """Expected NDCG@k of a random order of each query's judged documents.

    Mean gain times the sum of discounts over the ideal DCG.

    Examples
    --------
    >>> random_ndcg(Judged.of([0, 0, 0], [1, 2, 3], [3, 2, 1])).round(6)
    array([0.894999])
    """
    return _of_ideal(judged, k, gain, _random_dcg)


def worst_ndcg(judged: Judged, k: int | None = None, *, gain: str = "linear") -> Float:
    """NDCG@k of the worst order of each query's judged documents."""
    return _of_ideal(judged, k, gain, _worst_dcg)


def normalised_ndcg(judged: Judged, k: int | None = None, *, gain: str = "linear") -> Float:
    """(NDCG - its random level) / (1 - its random level).

    0 is chance, 1 is perfect; 0 where every order is as good.
    """
    chance = random_ndcg(judged, k, gain=gain)
    above = ndcg(judged, k, gain=gain) - chance
    return np.divide(above, 1 - chance, out=np.zeros_like(chance), where=chance < 1 - 1e-12)


def _random_dcg(gains: Float, discount: Float) -> float:
    if not len(gains):
        return 0.0
    return float(gains.mean() * discount.sum())


def _worst_dcg(gains: Float, discount: Float) -> float:
    return float((gains[::-1][: len(discount)] * discount).sum())


def _of_ideal(
    judged: Judged, k: int | None, gain: str, dcg: Callable[[Float, Float], float]
) -> Float:
    """A DCG of each query's judged documents, over the ideal one."""
    out = np.zeros(len(judged))
    for query, (start, end) in enumerate(pairwise(judged.ideal_offsets)):
        gains = np.maximum(judged.ideal[start:end], 0)
        if gain == "exp2":
            gains = 2.0**gains - 1
        top = min(len(gains), k or len(gains))
        discount = 1 / np.log2(np.arange(2, top + 2))
        best = float((gains[:top] * discount).sum())
        if best > 0:
            out[query] = dcg(gains, discount) / best
    return out


def relevant(judged: Judged, least: float = 1) -> Float:
    """Relevant judged documents of each query (grade >= ``least``)."""
    who = np.repeat(np.arange(len(judged)), np.diff(judged.ideal_offsets))
    return np.bincount(who, judged.ideal >= least, minlength=len(judged)).astype(float)


def _hits(judged: Judged, k: int | None, least: float) -> tuple[Float, Float, Float]:
    total = relevant(judged, least)
    return kernels.binary(judged.offsets, judged.grades, total, k or _ALL, least)


def average_precision(judged: Judged, k: int | None = None, *, least: float = 1) -> Float:
    """Average precision: the sum of precisions at relevant documents within k.

    Over all relevant ones.

    Examples
    --------
    >>> average_precision(Judged.of([0, 0, 0], [3, 2, 1], [1, 0, 1])).round(4).tolist()
    [0.8333]
    """
    return _hits(judged, k, least)[1]


def reciprocal_rank(judged: Judged, k: int | None = None, *, least: float = 1) -> Float:
    """1 / place of the first relevant document within k, else 0."""
    return _hits(judged, k, least)[2]


def precision(judged: Judged, k: int | None = None, *, least: float = 1) -> Float:
    """Relevant documents among the first k, over k (or over the rows, without k)."""
    hits = _hits(judged, k, least)[0]
    if k:
        return hits / k
    return hits / np.maximum(np.diff(judged.offsets), 1)


def recall(judged: Judged, k: int | None = None, *, least: float = 1) -> Float:
    """Relevant documents among the first k, over all relevant ones; 0 where there are none."""
    return _hits(judged, k, least)[0] / np.maximum(relevant(judged, least), 1)


def success(judged: Judged, k: int | None = None, *, least: float = 1) -> Float:
    """1 where a relevant document is among the first k, else 0.

    Examples
    --------
    >>> found = Judged.of([0, 0, 1], [2, 1, 1], [0, 1, 0])
    >>> success(found, 1).tolist(), success(found, 2).tolist()
    ([0.0, 0.0], [1.0, 0.0])
    """
    return (_hits(judged, k, least)[0] > 0).astype(float)


def recall_at_percent(judged: Judged, percent: float, *, least: float = 1) -> Float:
    """Relevant documents among the first ceil(percent n / 100) of the query's n rows.

    Over all relevant ones.
    """
    rows = np.diff(judged.offsets)
    depth = np.ceil(percent * rows / 100 - 1e-9).astype(np.int64)
    return among_first(judged, depth, judged.grades >= least) / np.maximum(
        relevant(judged, least), 1
    )


def among_first(judged: Judged, depth: Int, counted: NDArray[np.bool_]) -> Float:
    """How many of each query's first rows are counted: (queries,).

    Parameters
    ----------
    depth
        (queries,), how many rows
    counted
        (rows,)

    Examples
    --------
    >>> found = Judged.of([0, 0, 1], [2, 1, 1], [0, 1, 3])
    >>> among_first(found, np.array([1, 5]), found.grades > 0).tolist()
    [0.0, 1.0]
    """
    # Counted up to each row, none before the first: those of a stretch are a difference.
    so_far = np.concatenate([[0], np.cumsum(counted)])
    start = judged.offsets[:-1]
    end = start + np.minimum(depth, np.diff(judged.offsets))
    return (so_far[end] - so_far[start]).astype(float)


def expected_reciprocal_rank(
    judged: Judged, k: int | None = None, *, highest: float | None = None
) -> Float:
    """ERR@k: a reader stops at a document of grade g with probability (2^g - 1) / 2^highest.

    ``highest`` is, when None, the highest grade judged.

    References
    ----------
    Chapelle et al. (2009).
    """
    top = float(judged.ideal.max(initial=0.0)) if highest is None else highest
    return kernels.err(judged.offsets, judged.grades, k or _ALL, top)


def rank_biased_precision(
    judged: Judged, p: float = 0.8, k: int | None = None, *, least: float = 1
) -> Float:
    """RBP: (1 - p) sum over places i of p^(i-1) [relevant].

    References
    ----------
    Moffat and Zobel (2008).
    """
    return kernels.rbp(judged.offsets, judged.grades, p, k or _ALL, least)


def last_relevant(judged: Judged, *, least: float = 1) -> Float:
    """Place of the last relevant document, over the number of rows.

    What share must be read to find all; 1 where the run lacks one.
    """
    rows = np.diff(judged.offsets)
    place = kernels.place_of(judged.offsets, judged.grades, relevant(judged, least), least)
    return place / np.maximum(rows, 1)


def work_saved(judged: Judged, x: float = 0.95, *, least: float = 1) -> Float:
    """Work saved over sampling: (n - place of the ceil(x R)-th relevant document) / n - (1 - x).

    0 without relevant ones.

    Examples
    --------
    >>> work_saved(Judged.of([0] * 10, range(10, 0, -1), [1, 0, 1, 0, 0, 0, 0, 0, 0, 0])).round(4)
    array([0.65])
    """
    n, total = np.diff(judged.offsets), relevant(judged, least)
    wanted = np.ceil(x * total - 1e-9)
    place = kernels.place_of(judged.offsets, judged.grades, wanted, least)
    return np.where(total > 0, (n - place) / np.maximum(n, 1) - (1 - x), 0.0)
