"""Retrieval metrics of sets (what was returned, and what was relevant), and of judged documents."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policyrank.metrics.retrieval import Judged, among_first, relevant

Float = NDArray[np.float64]


def judged_only(judged: Judged) -> Judged:
    """The run without documents that nobody judged: later ones move up.

    Examples
    --------
    >>> found = Judged.of([0, 0, 0, 1], [4, 3, 2, 1], [-1, 1, 0, -1])
    >>> judged_only(found).offsets, judged_only(found).grades
    (array([0, 2, 2]), array([1., 0.]))
    """
    seen = judged.grades >= 0
    return Judged(
        np.concatenate([[0], np.cumsum(seen)])[judged.offsets].astype(np.int64),
        judged.grades[seen],
        judged.ideal,
        judged.ideal_offsets,
    )


def judged_share(judged: Judged, k: int | None = None) -> Float:
    """Judged documents among the first k, over k (or over the rows, without k).

    Examples
    --------
    >>> judged_share(Judged.of([0, 0, 0], [3, 2, 1], [1, -1, 0]), 2)
    array([0.5])
    """
    rows = np.diff(judged.offsets)
    depth = rows if k is None else np.full(len(rows), k)
    return among_first(judged, depth, judged.grades >= 0) / np.maximum(depth, 1)


def r_precision(judged: Judged, *, least: float = 1) -> Float:
    """Precision among the first R, the number of relevant documents; 0 where there are none.

    References
    ----------
    Buckley and Voorhees (2005), "Retrieval System Evaluation".

    Examples
    --------
    >>> r_precision(Judged.of([0] * 3, [3, 2, 1], [1, 0, 1]))
    array([0.5])
    """
    total = relevant(judged, least)
    hits = among_first(judged, total.astype(np.int64), judged.grades >= least)
    return hits / np.maximum(total, 1)


def bpref(judged: Judged, *, least: float = 1) -> Float:
    """Binary preference: which judged documents stand above relevant ones; others count nothing.

    The sum over relevant documents found of 1 - min(irrelevant ones above, R) / min(R, N), over R:
    R and N are how many are judged relevant and irrelevant. 0 where R = 0.

    References
    ----------
    Buckley and Voorhees (2004), "Retrieval Evaluation with Incomplete Information", in the form of
    trec_eval.

    Examples
    --------
    >>> bpref(Judged.of([0] * 4, [4, 3, 2, 1], [1, -1, 0, 1])).round(3)    # 1 and 1 - 1/1
    array([0.5])
    """
    total, rows = relevant(judged, least), np.diff(judged.offsets)
    irrelevant = np.diff(judged.ideal_offsets) - total
    query = np.repeat(np.arange(len(judged)), rows)
    hit = judged.grades >= least
    missed = np.cumsum((judged.grades >= 0) & ~hit)
    before = np.concatenate([[0], missed])[judged.offsets[:-1]]
    above = np.minimum(missed - before[query], total[query])
    most = np.maximum(np.minimum(total, irrelevant), 1)
    kept = np.bincount(query, hit * (1 - above / most[query]), minlength=len(judged))
    return kept / np.maximum(total, 1)


def set_precision(judged: Judged, *, least: float = 1, relative: bool = False) -> Float:
    """Relevant documents returned, over all returned.

    ``relative``: over the most that so many could hold, min(returned, R).

    Examples
    --------
    >>> found = Judged.of([0] * 3, [3, 2, 1], [1, 0, 0])
    >>> set_precision(found).round(3), set_precision(found, relative=True)
    (array([0.333]), array([1.]))
    """
    rows, total = np.diff(judged.offsets), relevant(judged, least)
    most = np.minimum(rows, total) if relative else rows
    return _found(judged, least) / np.maximum(most, 1)


def set_recall(judged: Judged, *, least: float = 1) -> Float:
    """Relevant documents returned, over all relevant ones; 0 where there are none."""
    return _found(judged, least) / np.maximum(relevant(judged, least), 1)


def set_f(judged: Judged, *, beta: float = 1, least: float = 1) -> Float:
    """F of what was returned: (1 + beta^2) P R / (beta^2 P + R), recall beta times as important.

    trec_eval's set_F.x, which ir-measures calls beta, is that of beta = sqrt(x).

    References
    ----------
    van Rijsbergen (1979), "Information Retrieval".

    Examples
    --------
    >>> set_f(Judged.of([0] * 4, [4, 3, 2, 1], [1, 0, 0, 0]))    # P 1/4, R 1
    array([0.4])
    """
    precise, complete = set_precision(judged, least=least), set_recall(judged, least=least)
    both = beta**2 * precise + complete
    above = (1 + beta**2) * precise * complete
    return np.divide(above, both, out=np.zeros_like(both), where=both > 0)


def set_average_precision(judged: Judged, *, least: float = 1) -> Float:
    """Precision times recall of what was returned (trec_eval's set_map)."""
    return set_precision(judged, least=least) * set_recall(judged, least=least)


def _found(judged: Judged, least: float) -> Float:
    return among_first(judged, np.diff(judged.offsets), judged.grades >= least)
