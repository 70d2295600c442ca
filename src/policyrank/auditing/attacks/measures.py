"""What an attack on a ranker did: ranks, boosts, success, how much was changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]


def rank_of(score: float, others: ArrayLike) -> int:
    """Rank (1 is best) of a document with this score among the *other* documents; equal scores
    count against it.

    The attacked document's old copy must not be among the others.

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
    return out | {f"top {k}": float(((after <= k) & (before > k)).mean()) for k in cuts}


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
    before, after = (
        np.atleast_2d(np.asarray(old, dtype=float)),
        np.atleast_2d(np.asarray(new, dtype=float)),
    )
    rose, boost = (after < before).mean(axis=1), before - after
    out = {
        "query success": float(rose.mean()),
        "boost": float(boost.mean()),
        "least boost": float(boost.min(axis=1).mean()),
    }
    return out | {f"QSR@{100 * s:g}%": float((rose >= s).mean()) for s in shares}


def perturbation_rate(old: Sequence[str], new: Sequence[str]) -> float:
    """Share of words inserted, removed or replaced, of the longer of the two texts: [0, 1]."""
    same = sum(
        m.size
        for m in SequenceMatcher(None, list(old), list(new), autojunk=False).get_matching_blocks()
    )
    return 1 - same / max(len(old), len(new), 1)


def word_cosine(
    old: Sequence[str], new: Sequence[str], weight: Mapping[str, float] | None = None
) -> float:
    """Cosine of word counts (times ``weight`` of each word, such as its idf): how much of the text
    is still there.
    """
    words = sorted({*old, *new})
    place = {w: k for k, w in enumerate(words)}
    a, b = (
        np.bincount([place[w] for w in text], minlength=len(words)).astype(float)
        for text in (old, new)
    )
    if weight is not None:
        scale = np.array([weight.get(w, 0.0) for w in words])
        a, b = a * scale, b * scale
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))
