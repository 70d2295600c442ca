"""What an attack on a ranker did: ranks, boosts, success, how much was changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyrank.board.intervals import quantile

Float = NDArray[np.float64]


def rank_of(score: float, others: ArrayLike) -> int:
    """Rank (1 is best) of a document with this score among the *other* documents.

    Equal scores count against it. The attacked document's old copy must not be among the others.

    Examples
    --------
    >>> rank_of(3.5, [5, 4, 3, 2])
    3
    """
    return int((np.asarray(others) >= score).sum()) + 1


def attack_metrics(
    old: ArrayLike, new: ArrayLike, cuts: Sequence[int] = (10, 20, 50, 100)
) -> dict[str, float]:
    """Of ranks before and after (any shape): ``success`` (share that rose), ``boost`` (mean of old
    - new) and ``top K`` (share that is within the first K after and was not before).

    Examples
    --------
    >>> found = attack_metrics([50, 10, 30], [20, 12, 30], cuts=[20])
    >>> round(found["success"], 3), round(found["boost"], 2), round(found["top 20"], 3)
    (0.333, 9.33, 0.333)
    """
    before, after = np.asarray(old, dtype=float).ravel(), np.asarray(new, dtype=float).ravel()
    out = {"success": float((after < before).mean()), "boost": float((before - after).mean())}
    for k in cuts:
        out[f"top {k}"] = float(((after <= k) & (before > k)).mean())
    return out


def group_metrics(
    old: ArrayLike, new: ArrayLike, shares: Sequence[float] = (0.25, 0.5, 0.75)
) -> dict[str, float]:
    """Of ranks (documents, queries of the group): ``query success``, ``boost``, ``least boost``
    (the mean over documents of the least boost in the group), and ``QSR@p%`` (share of documents
    that rose for at least p% of the group).

    Examples
    --------
    >>> found = group_metrics([[50, 10, 30]], [[20, 12, 30]])
    >>> found["least boost"], found["QSR@25%"], found["QSR@50%"]
    (-2.0, 1.0, 0.0)
    """
    before = np.atleast_2d(np.asarray(old, dtype=float))
    after = np.atleast_2d(np.asarray(new, dtype=float))
    rose, boost = (after < before).mean(axis=1), before - after
    out = {
        "query success": float(rose.mean()),
        "boost": float(boost.mean()),
        "least boost": float(boost.min(axis=1).mean()),
    }
    for share in shares:
        out[f"QSR@{100 * share:g}%"] = float((rose >= share).mean())
    return out


def mean_interval(values: Float) -> tuple[float, float]:
    """The 95% interval of a mean, by Student's t; NaN for one value.

    Examples
    --------
    >>> low, high = mean_interval(np.array([1.0, 2.0, 3.0]))
    >>> round(float(low), 3), round(float(high), 3)
    (-0.484, 4.484)
    """
    n, mean = len(values), values.mean()
    if n < 2:
        return np.nan, np.nan
    half = quantile(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return mean - half, mean + half


def perturbation_rate(old: Sequence[str], new: Sequence[str]) -> float:
    """Share of words inserted, removed or replaced, of the longer of the two texts: [0, 1]."""
    matcher = SequenceMatcher(None, list(old), list(new), autojunk=False)
    same = sum(block.size for block in matcher.get_matching_blocks())
    return 1 - same / max(len(old), len(new), 1)


def word_cosine(
    old: Sequence[str], new: Sequence[str], weight: Mapping[str, float] | None = None
) -> float:
    """Cosine of word counts (times ``weight`` of each word, such as its idf).

    It says how much of the text is still there.

    Examples
    --------
    >>> round(word_cosine(["a", "b"], ["a", "c"]), 6)
    0.5
    """
    met = sorted({*old, *new})
    place = {word: column for column, word in enumerate(met)}
    counts = np.zeros((2, len(met)))
    for row, text in enumerate((old, new)):
        for word in text:
            counts[row, place[word]] += 1
    if weight is not None:
        counts *= np.array([weight.get(word, 0.0) for word in met])
    a, b = counts
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b / max(length, 1e-12))
