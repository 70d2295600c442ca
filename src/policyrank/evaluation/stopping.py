"""When to stop: rules that may be looked at after every evaluation, and err with probability at
most delta.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaln

from policyrank.errors import EvidenceError
from policyrank.evaluation.state import Float, State

Stop = Callable[[State], str | None]


def log_evidence(wins: Float, losses: Float) -> Float:
    """Log e-value against "i does not beat j more than half of the time", after these wins and
    losses (ties half of each).

    The likelihood ratio against 1/2, mixed uniformly over win rates above 1/2:
    2^(n + 1) integral from 1/2 to 1 of q^w (1 - q)^l dq. Under the null it is a supermartingale,
    also for outcomes with ties, so it exceeds 1/delta ever with probability at most delta (Ville
    1939).

    Examples
    --------
    >>> float(np.round(np.exp(log_evidence(np.array(10.0), np.array(0.0))), 2))
    186.09
    """
    w, lo = np.asarray(wins, dtype=float), np.asarray(losses, dtype=float)
    above = np.clip(betainc(lo + 1, w + 1, 0.5), 1e-300, 1.0)
    return (w + lo + 1) * np.log(2) + betaln(w + 1, lo + 1) + np.log(above)


def _beats(state: State, hypotheses: int, delta: float) -> NDArray[np.bool_]:
    return log_evidence(state.wins, state.wins.T) >= np.log(hypotheses / delta)


def best_known(delta: float = 0.05) -> Stop:
    """Stop when one policy is known to beat each other one more than half of the time.

    A wrong answer needs one of n - 1 true null hypotheses (that some policy beats the truly best
    one) to be rejected.

    Examples
    --------
    >>> state = State(("x", "y"), ("fold",))
    >>> for _ in range(7):
    ...     state.observe_outcome(0, 1, 1.0)
    >>> best_known(0.05)(state), best_known(0.001)(state)
    ('x is the best, with probability at least 0.95', None)
    """
    _check(delta)

    def stop(state: State) -> str | None:
        n = len(state.policies)
        beats = _beats(state, n - 1, delta)
        np.fill_diagonal(beats, True)
        found = np.flatnonzero(beats.all(axis=1))
        return (
            f"{state.policies[found[0]]} is the best, with probability at least {1 - delta:g}"
            if len(found)
            else None
        )

    return stop


def top_k_known(k: int, delta: float = 0.05) -> Stop:
    """Stop when some k policies are each known to beat every other one.

    Examples
    --------
    >>> state = State(("x", "y", "z"), ("fold",))
    >>> for better, worse in [(0, 2), (1, 2)] * 9:
    ...     state.observe_outcome(better, worse, 1.0)
    >>> top_k_known(2)(state), top_k_known(1)(state)
    ('the top 2 are x, y, with probability at least 0.95', None)
    """
    _check(delta)

    def stop(state: State) -> str | None:
        n = len(state.policies)
        if not 1 <= k < n:
            raise EvidenceError(f"k={k}: it lies between 1 and {n - 1}.")
        beats = _beats(state, k * (n - k), delta)
        top = np.argsort(-beats.sum(axis=1), kind="stable")[:k]
        rest = np.setdiff1d(np.arange(n), top)
        if beats[np.ix_(top, rest)].all():
            return (
                f"the top {k} are {', '.join(sorted(state.policies[i] for i in top))}, with"
                f" probability at least {1 - delta:g}"
            )
        return None

    return stop


def order_known(delta: float = 0.05) -> Stop:
    """Stop when the direction of every pair is known.

    Examples
    --------
    >>> state = State(("x", "y", "z"), ("fold",))
    >>> for better, worse in [(0, 1), (0, 2), (1, 2)] * 9:
    ...     state.observe_outcome(better, worse, 1.0)
    >>> order_known()(state)
    'every pair is settled, with probability at least 0.95'
    """
    _check(delta)

    def stop(state: State) -> str | None:
        n = len(state.policies)
        beats = _beats(state, n * (n - 1) // 2, delta)
        known = beats | beats.T | np.eye(n, dtype=bool)
        return (
            f"every pair is settled, with probability at least {1 - delta:g}"
            if known.all()
            else None
        )

    return stop


def _check(delta: float) -> None:
    if not 0 < delta < 1:
        raise EvidenceError(f"delta={delta}: it lies between 0 and 1, for example 0.05.")


STOPS: dict[str, Callable[..., Stop]] = {
    "best": best_known,
    "top": top_k_known,
    "order": order_known,
}
