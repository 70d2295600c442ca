"""Which labels a text has: thresholds that are chosen, and how well what is chosen agrees."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyrank.errors import EvidenceError, OptionError

Float = NDArray[np.float64]


class F1(NamedTuple):
    """Agreement of chosen labels with the true ones.

    Attributes
    ----------
    micro
        2 hits / (chosen + true), all labels together
    macro
        mean over labels of each one's own
    by_label
        (labels,); 0 for a label that is neither true nor chosen anywhere
    """

    micro: float
    macro: float
    by_label: Float


def f1_scores(labels: ArrayLike, chosen: ArrayLike) -> F1:
    """F1 of chosen labels.

    Parameters
    ----------
    labels, chosen
        (items, labels), true or false

    Examples
    --------
    >>> found = f1_scores([[1, 0], [1, 1]], [[1, 1], [0, 1]])
    >>> round(found.micro, 4), round(found.macro, 4)
    (0.6667, 0.6667)
    """
    y, c = _pair(labels, chosen)
    hits, size = (y & c).sum(axis=0), y.sum(axis=0) + c.sum(axis=0)
    own = np.where(size > 0, 2 * hits / np.maximum(size, 1), 0.0)
    micro = 2 * hits.sum() / max(size.sum(), 1)
    return F1(float(micro), float(own.mean()), own)


def choose_labels(
    scores: ArrayLike, *, threshold: ArrayLike | None = None, top: int | None = None
) -> NDArray[np.bool_]:
    """The labels of each item: those that reach a threshold, or so many with the highest scores.

    Parameters
    ----------
    scores
        (items, labels)
    threshold
        one, or one a label
    top
        labels of each item; those that tie with the last one are chosen too

    Raises
    ------
    OptionError
        Unless exactly one rule is given.

    Examples
    --------
    >>> choose_labels([[0.9, 0.2], [0.4, 0.5]], threshold=[0.5, 0.4]).tolist()
    [[True, False], [False, True]]
    >>> choose_labels([[0.9, 0.2, 0.2]], top=2).tolist()
    [[True, True, True]]
    """
    s = np.asarray(scores, dtype=float)
    if (threshold is None) == (top is None):
        raise OptionError("give either a threshold or top, the number of labels.")
    if threshold is not None:
        return np.asarray(s >= np.asarray(threshold, dtype=float))
    assert top is not None
    if not 1 <= top <= s.shape[1]:
        raise OptionError(f"top={top}: there are {s.shape[1]} labels.")
    last = np.sort(s, axis=1)[:, -top]
    return np.asarray(s >= last[:, None])


def best_thresholds(
    scores: ArrayLike, labels: ArrayLike, *, by_label: bool = False, rare: int = 10
) -> Float:
    """Thresholds with the highest F1 on items to choose by, which must not be those judged.

    Parameters
    ----------
    scores, labels
        (items, labels)
    by_label
        one for each label by its own F1; a label that fewer than ``rare`` items have takes the one
        that is best for all together (micro F1)

    Returns
    -------
    Float
        (labels,); the midpoint to the next lower score, so that a hair's breadth decides nothing

    Examples
    --------
    >>> s, y = [[0.9, 0.25], [0.5, 0.75], [0.1, 0.2]], [[1, 0], [1, 1], [0, 0]]
    >>> best_thresholds(s, y).tolist()
    [0.375, 0.375]
    """
    s, y = np.asarray(scores, dtype=float), np.asarray(labels, dtype=bool)
    _pair(y, s >= 0)
    if not np.isfinite(s).all():
        raise EvidenceError("a score is not finite.")
    common = _best_threshold(s.ravel(), y.ravel())
    found = np.full(s.shape[1], common)
    if by_label:
        for k in np.flatnonzero(y.sum(axis=0) >= rare):
            found[k] = _best_threshold(s[:, k], y[:, k])
    return found


def _best_threshold(scores: Float, labels: NDArray[np.bool_]) -> float:
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(labels[order])
    chosen = np.arange(1, len(ranked) + 1)
    f1 = 2 * hits / (chosen + labels.sum())
    ends = np.append(ranked[:-1] > ranked[1:], True)  # equal scores are chosen together
    best = int(np.where(ends, f1, -1.0).argmax())
    after = ranked[best + 1] if best + 1 < len(ranked) else ranked[best]
    return float((ranked[best] + after) / 2)


def _pair(labels: ArrayLike, chosen: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    y, c = np.asarray(labels, dtype=bool), np.asarray(chosen, dtype=bool)
    if y.shape != c.shape or y.ndim != 2 or not y.size:
        raise EvidenceError(
            f"labels {y.shape} and scores or choices {c.shape}: both are (items, labels)."
        )
    return y, c
