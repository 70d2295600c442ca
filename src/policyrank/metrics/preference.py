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
    if not (lengths > 0).all():
        raise EvidenceError("an answer has no tokens: lengths must be >= 1")
    return lengths


def _numbers(values: ArrayLike, what: str) -> Float:
    """Numbers, perhaps infinite, or an error that names the first that is none."""
    found = np.asarray(values, dtype=float)
    wrong = np.isnan(found)
    if wrong.any():
        place = ", ".join(str(int(i) + 1) for i in np.argwhere(wrong)[0])
        raise EvidenceError(f"{what} {place} is NaN. Score that answer again, or leave it out.")
    return found


def _refuse_shares(share: Float, least: float, why: str) -> None:
    outside = (share < least) | (share > 1)
    if outside.any():
        pair = int(np.argmax(outside))
        raise EvidenceError(
            f"pair {pair + 1}: {share.flat[pair]:g} of the raters prefer the chosen answer; {why}."
        )


def _per_token(
    chosen: ArrayLike,
    rejected: ArrayLike,
    chosen_length: ArrayLike | None,
    rejected_length: ArrayLike | None,
) -> tuple[Float, Float]:
    win, lose = _numbers(chosen, "chosen"), _numbers(rejected, "rejected")
    return win / _lengths(chosen_length, win.shape), lose / _lengths(rejected_length, lose.shape)


def ranking_accuracy(
    chosen: ArrayLike,
    rejected: ArrayLike,
    *,
    chosen_length: ArrayLike | None = None,
    rejected_length: ArrayLike | None = None,
    alpha: ArrayLike | None = None,
    tie_margin: float = 0.01,
) -> float:
    """Share of pairs in which the preferred answer is the likelier one; ``tied_share`` beside it.

    Parameters
    ----------
    chosen, rejected
        float (pairs,), summed log-probabilities of the answers
    chosen_length, rejected_length
        tokens of the answers, to compare log-probabilities per token (inverse perplexity)
    alpha
        share of raters that prefer ``chosen``, in [1/2, 1]; where it is 1/2 the pair is right when
        the log-probabilities differ by less than ``tie_margin``

    Raises
    ------
    EvidenceError
        For NaN, answers without tokens, or shares of raters outside [1/2, 1].

    References
    ----------
    Chen et al. (2024), "Preference Learning Algorithms Do Not Learn Preference Rankings", arXiv
    2405.19534; equal answers are no order (there they count as right).

    Examples
    --------
    >>> ranking_accuracy([-10.0, -30.0], [-12.0, -20.0])
    0.5
    """
    win, lose = _per_token(chosen, rejected, chosen_length, rejected_length)
    right = win > lose
    if alpha is not None:
        share = _numbers(alpha, "alpha")
        _refuse_shares(share, 0.5, "the chosen answer is that of at least half: swap the two")
        with np.errstate(invalid="ignore"):
            near = (win == lose) | (np.abs(win - lose) < tie_margin)
        right = np.where(share == 0.5, near, right)
    return float(right.mean())


def tied_share(
    chosen: ArrayLike,
    rejected: ArrayLike,
    *,
    chosen_length: ArrayLike | None = None,
    rejected_length: ArrayLike | None = None,
) -> float:
    """Share of pairs whose answers are equally likely; parameters as for ``ranking_accuracy``.

    Examples
    --------
    >>> tied_share([-10.0, -30.0], [-10.0, -20.0])
    0.5
    """
    win, lose = _per_token(chosen, rejected, chosen_length, rejected_length)
    return float((win == lose).mean())


def listwise_ranking_accuracy(logprobs: ArrayLike, ranks: ArrayLike) -> float:
    """Share of lists (lists, answers) that the model orders exactly as the raters.

    Rank 1 is best. A tie, of the model or of the raters, is no order.

    Raises
    ------
    EvidenceError
        For NaN.

    Examples
    --------
    >>> listwise_ranking_accuracy([[-1.0, -2.0], [-1.0, -2.0]], [[1, 2], [2, 1]])
    0.5
    """
    scores, ranked = _numbers(logprobs, "log-probability"), _numbers(ranks, "rank")
    ours = np.sign(scores[..., :, None] - scores[..., None, :])
    theirs = np.sign(ranked[..., None, :] - ranked[..., :, None])
    other = ~np.eye(scores.shape[-1], dtype=bool)
    same = (ours == theirs) & (theirs != 0)
    return float(same[..., other].all(axis=-1).mean())


def best_share(scores: ArrayLike, labels: ArrayLike, where: ArrayLike | None = None) -> float:
    """Share of lists whose highest scored answer has the best label; those that tie share.

    Parameters
    ----------
    scores, labels
        (lists, answers)
    where
        (lists, answers), which answers there are; None: all

    Raises
    ------
    EvidenceError
        For NaN.

    Examples
    --------
    >>> best_share([[1.0, 0.0], [1.0, 1.0]], [[1, 0], [0, 1]])
    0.75
    """
    shown = np.ones(np.shape(scores), dtype=bool) if where is None else np.asarray(where) > 0
    score = np.where(shown, _numbers(np.where(shown, scores, 0.0), "score"), -np.inf)
    label = np.where(shown, _numbers(np.where(shown, labels, 0.0), "label"), -np.inf)
    first = (score == score.max(axis=-1, keepdims=True)) & shown
    best = (label == label.max(axis=-1, keepdims=True)) & shown
    return float(((first & best).sum(axis=-1) / first.sum(axis=-1).clip(1)).mean())


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
    gain = _gained(chosen, reference_chosen, "chosen")
    other = _gained(rejected, reference_rejected, "rejected")
    return float((gain > other).mean())


def _gained(values: ArrayLike, reference: ArrayLike, what: str) -> Float:
    """How much likelier than under the reference; infinity less infinity is no number."""
    with np.errstate(invalid="ignore"):
        gain = np.asarray(values, dtype=float) - np.asarray(reference, dtype=float)
    return _numbers(gain, f"{what} less its reference")


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

    Raises
    ------
    EvidenceError
        For NaN, and shares outside [0, 1].

    Examples
    --------
    >>> round(float(idealized_log_ratio(-5.0, 0.75, 0.1)), 3)
    5.986
    """
    share = _numbers(alpha, "alpha")
    _refuse_shares(share, 0.0, "shares of raters lie in [0, 1]")
    ratio = _numbers(reference_log_ratio, "log-ratio of the reference")
    return ratio + logit(np.clip(share, eps, 1 - eps)) / beta


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
    return np.logaddexp(0, -beta * _numbers(difficulty, "difficulty"))


def flip_table(reference_log_ratio: ArrayLike, log_ratio: ArrayLike) -> dict[str, float]:
    """Shares of pairs that are right or wrong under the reference and now; equal is wrong.

    Examples
    --------
    >>> flip_table([1.0, -1.0], [1.0, 1.0])["wrong -> right"]
    0.5
    """
    before = _numbers(reference_log_ratio, "log-ratio of the reference") > 0
    now = _numbers(log_ratio, "log-ratio") > 0
    shares = {
        "right -> right": before & now,
        "right -> wrong": before & ~now,
        "wrong -> right": ~before & now,
        "wrong -> wrong": ~before & ~now,
    }
    return {name: float(pairs.mean()) for name, pairs in shares.items()}
