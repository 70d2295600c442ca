"""Numbers about programs that were sampled and tested."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from policyrank.errors import EvidenceError


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that at least one of ``k`` samples passes, when ``c`` of ``n`` do.

    1 - C(n - c, k) / C(n, k).

    References
    ----------
    Chen et al. (2021), arXiv 2107.03374, equation 1.

    Examples
    --------
    >>> round(pass_at_k(10, 3, 1), 6), round(pass_at_k(10, 3, 5), 6)
    (0.3, 0.916667)
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise EvidenceError(f"n={n}, c={c}, k={k}: 0 <= c <= n and 1 <= k <= n.")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def best_of_n(scores: Sequence[Sequence[float]], passed: Sequence[Sequence[float]]) -> float:
    """Share of problems whose highest-scored sample passes (has 1).

    Equal scores count as drawn by lot.

    Raises
    ------
    EvidenceError
        For scores that are NaN.

    Examples
    --------
    >>> best_of_n([[0.1, 0.9, 0.3]], [[1, 0, 1]]), best_of_n([[0.5, 0.5]], [[1, 0]])
    (0.0, 0.5)
    """
    out = []
    for problem, (given, outcome) in enumerate(zip(scores, passed, strict=True), start=1):
        own, right = np.asarray(given, dtype=float), np.asarray(outcome) == 1
        if np.isnan(own).any():
            sample = int(np.argmax(np.isnan(own))) + 1
            raise EvidenceError(
                f"problem {problem}, sample {sample}: its score is NaN. Score it again, or leave it"
                " out."
            )
        out.append(right[own == own.max()].mean())
    return float(np.mean(out))


def oracle_at_n(passed: Sequence[Sequence[float]]) -> float:
    """Share of problems of which some sample passes (has 1)."""
    return float(np.mean([1 in outcome for outcome in passed]))
