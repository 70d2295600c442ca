"""How far two orders of the same policies agree."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyrank.errors import EvidenceError

Float = NDArray[np.float64]


def _pair(x: ArrayLike, y: ArrayLike) -> tuple[Float, Float]:
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if a.shape != b.shape or a.ndim != 1:
        raise EvidenceError(f"two vectors of one length are needed, not {a.shape} and {b.shape}")
    for which, values in (("first", a), ("second", b)):
        wrong = ~np.isfinite(values)
        if wrong.any():
            at = int(np.argmax(wrong))
            raise EvidenceError(
                f"number {at + 1} of the {which} is {values[at]}, which is no number to compare."
                " Leave that policy out of both."
            )
    return a, b


def kendall_tau(x: ArrayLike, y: ArrayLike) -> float:
    """Kendall's tau-b between two vectors of scores (n,), in [-1, 1].

    NaN when one of them is constant.

    References
    ----------
    Kendall (1945), "The treatment of ties in ranking problems".

    Examples
    --------
    >>> round(kendall_tau([1, 2, 3], [1, 3, 2]), 6)
    0.333333
    """
    a, b = _pair(x, y)
    i, j = np.triu_indices(len(a), 1)
    first, second = np.sign(a[i] - a[j]), np.sign(b[i] - b[j])
    norm = np.sqrt(np.abs(first).sum() * np.abs(second).sum())
    return _ratio((first * second).sum(), norm)


def _ratio(value: float, norm: float) -> float:
    """NaN where there is nothing to divide by."""
    if norm <= 0:
        return float("nan")
    return float(value / norm)


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rank correlation (average ranks for ties), in [-1, 1].

    Examples
    --------
    >>> spearman([1, 2, 3], [1, 3, 2])
    0.5
    """
    a, b = _pair(x, y)
    return pearson(_ranks(a), _ranks(b))


def _ranks(values: Float) -> Float:
    """How many are less, ties as half."""
    less = (values[:, None] > values).sum(axis=1)
    return less + 0.5 * (values[:, None] == values).sum(axis=1)


def pearson(x: ArrayLike, y: ArrayLike) -> float:
    """Pearson's correlation, in [-1, 1]; NaN when one of them is constant.

    Examples
    --------
    >>> round(pearson([1, 2, 3], [2, 4, 6]), 12)
    1.0
    """
    a, b = _pair(x, y)
    a, b = a - a.mean(), b - b.mean()
    return _ratio(a @ b, np.sqrt((a @ a) * (b @ b)))


def mmrv(real: ArrayLike, estimate: ArrayLike) -> float:
    """Mean maximum rank violation.

    Mean over i of max over j of |R_i - R_j| where the two order i and j differently. In the unit of
    ``real``; 0 is perfect.

    References
    ----------
    Li et al. (2024), "Evaluating Real-World Robot Manipulation Policies in Simulation", arXiv
    2405.05941.

    Examples
    --------
    >>> round(mmrv([1, 2, 3], [1, 3, 2]), 6)
    0.666667
    """
    true, guessed = _pair(real, estimate)
    wrong = (guessed[:, None] < guessed) != (true[:, None] < true)
    return float((np.abs(true[:, None] - true) * wrong).max(axis=1).mean())


def regret_at_1(real: ArrayLike, estimate: ArrayLike) -> float:
    """What is lost in ``real`` by taking the policy that ``estimate`` puts first.

    Of several that tie there each is taken as often: the mean over them.

    Examples
    --------
    >>> regret_at_1([1.0, 3.0], [2.0, 1.0]), regret_at_1([1.0, 3.0], [2.0, 2.0])
    (2.0, 1.0)
    """
    return regret_at_k(real, estimate, 1)


def regret_at_k(real: ArrayLike, estimate: ArrayLike, k: int) -> float:
    """What is lost in ``real`` by taking the best of the ``k`` that ``estimate`` puts first.

    Where policies tie at the last place, the mean over the sets of k that may be meant.

    Parameters
    ----------
    real, estimate
        (n,), higher is better
    k
        from 1 to n

    Examples
    --------
    >>> round(regret_at_k([1, 2, 3, 9], [1, 1, 1, 0], 2), 6)
    6.333333
    """
    true, guessed = _pair(real, estimate)
    if not 1 <= k <= len(true):
        raise EvidenceError(f"k is {k}; it lies between 1 and {len(true)}")
    last = np.sort(guessed)[-k]
    sure, tied = true[guessed > last], np.sort(true[guessed == last])
    drawn, size = k - len(sure), len(tied)
    # The largest of the drawn is the i-th smallest of the tied in C(i - 1, drawn - 1) sets.
    sets = np.array([comb(i, drawn - 1) for i in range(size)], dtype=float)
    best = np.maximum(tied, sure.max(initial=-np.inf))
    return float(true.max() - best @ sets / comb(size, drawn))


def top_1_agreement(x: ArrayLike, y: ArrayLike) -> float:
    """How far two vectors agree on the first policy, in [0, 1]; those that tie share the place.

    Examples
    --------
    >>> top_1_agreement([3, 1, 2], [3, 3, 2]), top_1_agreement([3, 1, 2], [0, 3, 2])
    (0.5, 0.0)
    """
    a, b = _pair(x, y)
    first, second = a == a.max(), b == b.max()
    return float((first / first.sum()) @ (second / second.sum()))


def _places(ranking: Sequence[Hashable], truth: Sequence[Hashable]) -> NDArray[np.int64]:
    where = {item: place for place, item in enumerate(ranking)}
    if len(where) != len(ranking) or set(where) != set(truth) or len(set(truth)) != len(truth):
        raise EvidenceError("the two rankings must hold the same items, each once")
    return np.array([where[item] for item in truth])


def kendall_distance(
    ranking: Sequence[Hashable], truth: Sequence[Hashable], *, normalised: bool = False
) -> float:
    """Number of pairs that two orders (best first) place oppositely.

    ``normalised``: as a share of all pairs.

    Examples
    --------
    >>> kendall_distance("abc", "acb"), kendall_distance("abc", "cba", normalised=True)
    (1.0, 1.0)
    """
    place = _places(ranking, truth)
    i, j = np.triu_indices(len(place), 1)
    wrong = float((place[i] > place[j]).sum())
    if normalised:
        return wrong / max(len(i), 1)
    return wrong


def identification_error(ranking: Sequence[Hashable], truth: Sequence[Hashable], k: int) -> float:
    """Share of the true top k that the ranking's top k misses, in [0, 1].

    Examples
    --------
    >>> identification_error("abc", "acb", 2)    # c is missed
    0.5
    """
    if not 1 <= k <= len(truth):
        raise EvidenceError(f"k is {k}; it lies between 1 and {len(truth)}")
    return float((_places(ranking, truth)[:k] >= k).mean())


def generalised_ranking_error(
    ranking: Sequence[Hashable], truth: Sequence[Hashable], k: int
) -> float:
    """GRE(k) = a IDE(k) + (1 - a) K(k), a = (m - k) / (m - 1).

    K is the normalised Kendall distance among the true top k. GRE(1) is the top-1 error, GRE(m) the
    normalised Kendall distance.

    References
    ----------
    Lanctot et al. (2026), "Active Evaluation of General Agents", arXiv 2601.07651.

    Examples
    --------
    >>> [round(generalised_ranking_error([0, 2, 1], [0, 1, 2], k), 4) for k in (1, 2, 3)]
    [0.0, 0.25, 0.3333]
    """
    m, top = len(truth), set(truth[:k])
    share = (m - k) / max(m - 1, 1)
    placed = [item for item in ranking if item in top]
    inside = kendall_distance(placed, list(truth[:k]), normalised=True)
    return share * identification_error(ranking, truth, k) + (1 - share) * inside


def agre(ranking: Sequence[Hashable], truth: Sequence[Hashable]) -> float:
    """Average generalised ranking error: the mean of GRE(k) over k = 1..m.

    Examples
    --------
    >>> round(agre([2, 1, 0], [0, 1, 2]), 6)
    0.916667
    """
    depths = range(1, len(truth) + 1)
    return float(np.mean([generalised_ranking_error(ranking, truth, k) for k in depths]))
