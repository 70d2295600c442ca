"""Do models rank the answers as their raters do? Numbers from log-probabilities of answers."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logit

from policyrank.errors import EvidenceError

Float = NDArray[np.float64]


def _lengths(values: ArrayLike | None, shape: tuple[int, ...]) -> Float:
    if values is None:
        return np.ones(shape)
    lengths = np.asarray(values, dtype=float)
    if (lengths <= 0).any():
        raise EvidenceError("an answer has no tokens: lengths must be >= 1")
    return lengths


def ranking_accuracy(
    chosen: ArrayLike,
    rejected: ArrayLike,
    *,
    chosen_length: ArrayLike | None = None,
    rejected_length: ArrayLike | None = None,
    alpha: ArrayLike | None = None,
    tie_margin: float = 0.01,
) -> float:
    """Share of pairs in which the preferred answer is the likelier one.

    Parameters
    ----------
    chosen, rejected
        float (pairs,), summed log-probabilities of the answers
    chosen_length, rejected_length
        tokens of the answers, to compare log-probabilities per token (inverse perplexity)
    alpha
        share of raters that prefer ``chosen``; where it is 1/2 the pair is right when the
        probabilities differ by less than ``tie_margin``

    References
    ----------
    Chen et al. (2024), "Preference Learning Algorithms Do Not Learn Preference Rankings", arXiv
    2405.19534.

    Examples
    --------
    >>> ranking_accuracy([-10.0, -30.0], [-12.0, -20.0])
    0.5
    """
    win, lose = np.asarray(chosen, dtype=float), np.asarray(rejected, dtype=float)
    win = win / _lengths(chosen_length, win.shape)
    lose = lose / _lengths(rejected_length, lose.shape)
    right = win >= lose
    if alpha is not None:
        tied = np.asarray(alpha, dtype=float) == 0.5
        right = np.where(tied, np.abs(np.exp(win) - np.exp(lose)) < tie_margin, right)
    return float(right.mean())


def listwise_ranking_accuracy(logprobs: ArrayLike, ranks: ArrayLike) -> float:
    """Share of lists (lists, answers) that the model orders exactly as the raters.

    Rank 1 is best.

    Examples
    --------
    >>> listwise_ranking_accuracy([[-1.0, -2.0], [-1.0, -2.0]], [[1, 2], [2, 1]])
    0.5
    """
    scores, ranked = np.asarray(logprobs, dtype=float), np.asarray(ranks, dtype=float)
    ours = np.argsort(-scores, axis=-1, kind="stable")
    theirs = np.argsort(ranked, axis=-1, kind="stable")
    return float((ours == theirs).all(axis=-1).mean())


def reward_accuracy(
    chosen: ArrayLike,
    rejected: ArrayLike,
    reference_chosen: ArrayLike,
    reference_rejected: ArrayLike,
) -> float:
    """Share of pairs in which the preferred answer gained more against the reference.

    What preference trainers log.

    Examples
    --------
    >>> reward_accuracy([2, 1], [1, 2], [1, 1], [1, 1])
    0.5
    """
    gain = np.asarray(chosen, dtype=float) - np.asarray(reference_chosen, dtype=float)
    other = np.asarray(rejected, dtype=float) - np.asarray(reference_rejected, dtype=float)
    return float((gain > other).mean())


def idealized_log_ratio(
    reference_log_ratio: ArrayLike, alpha: ArrayLike, beta: float, *, eps: float = 1e-3
) -> Float:
    """log pi*(y_w) / pi*(y_l) at the optimum of DPO or KL-regularised RLHF (Theorem 3.1).

    Parameters
    ----------
    reference_log_ratio
        log pi_ref(y_w) - log pi_ref(y_l)
    alpha
        share of raters that prefer y_w, in [0, 1]; unanimous shares are moved to ``eps`` and ``1 -
        eps``
    beta
        strength of the KL penalty, > 0

    Examples
    --------
    >>> round(float(idealized_log_ratio(-5.0, 0.75, 0.1)), 3)
    5.986
    """
    share = np.clip(np.asarray(alpha, dtype=float), eps, 1 - eps)
    return np.asarray(reference_log_ratio, dtype=float) + logit(share) / beta


def idealized_ranking_accuracy(
    reference_log_ratio: ArrayLike, alpha: ArrayLike, beta: float, *, eps: float = 1e-3
) -> float:
    """The ranking accuracy that a perfectly optimised policy would reach.

    Examples
    --------
    >>> idealized_ranking_accuracy([0.0, -30.0], [0.9, 0.9], 0.1)
    0.5
    """
    return float((idealized_log_ratio(reference_log_ratio, alpha, beta, eps=eps) > 0).mean())


def dpo_flip_threshold(difficulty: ArrayLike, beta: float) -> Float:
    """The DPO loss below which a pair is ranked rightly (Theorem 4.1).

    -log sigma(beta c), c = log pi_ref(y_l) / pi_ref(y_w).

    Examples
    --------
    >>> dpo_flip_threshold([0.0, 10.0, -10.0], 0.1).round(4)
    array([0.6931, 0.3133, 1.3133])
    """
    return np.logaddexp(0, -beta * np.asarray(difficulty, dtype=float))


def flip_table(reference_log_ratio: ArrayLike, log_ratio: ArrayLike) -> dict[str, float]:
    """Shares of pairs that are right or wrong under the reference and now.

    Examples
    --------
    >>> flip_table([1.0, -1.0], [1.0, 1.0])["wrong -> right"]
    0.5
    """
    before = np.asarray(reference_log_ratio, dtype=float) >= 0
    now = np.asarray(log_ratio, dtype=float) >= 0
    shares = {
        "right -> right": before & now,
        "right -> wrong": before & ~now,
        "wrong -> right": ~before & now,
        "wrong -> wrong": ~before & ~now,
    }
    return {name: float(pairs.mean()) for name, pairs in shares.items()}
