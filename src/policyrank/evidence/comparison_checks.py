"""What a table of comparisons must hold to be one: outcomes, and two different policies a row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence.base import check_finite


def check_outcomes(outcome: NDArray[Any]) -> None:
    """Refuse outcomes outside [0, 1], naming the first row that has one."""
    check_finite(outcome, "the outcome")
    bad = (outcome < 0) | (outcome > 1)
    if bad.any():
        row = int(np.argmax(bad))
        raise EvidenceError(
            f"row {row + 1}: the outcome is {outcome[row]:g}, outside [0, 1]"
            f" ({int(bad.sum())} such rows). Use 1 when a wins, 0 when b wins, 0.5 for a tie."
        )


def check_total(count: NDArray[np.int64]) -> None:
    """Refuse counts whose sum a float cannot hold exactly."""
    if count.sum(dtype=float) >= 2**53:
        row = int(np.argmax(count))
        raise EvidenceError(
            f"row {row + 1}: a count of {count[row]:,}; all counts together must stay below 2^53."
        )


def check_sides(a: NDArray[np.int32], b: NDArray[np.int32], policies: tuple[str, ...]) -> None:
    """Refuse codes of no policy, and a policy against itself, naming the first such row."""
    for codes in (a, b):
        if codes.min() < 0 or codes.max() >= len(policies):
            raise EvidenceError(
                "a policy code lies outside the list of names. Build with Comparisons.of(names,"
                " ...)."
            )
    same = a == b
    if same.any():
        row = int(np.argmax(same))
        raise EvidenceError(
            f"row {row + 1}: {policies[a[row]]!r} is compared with itself"
            f" ({int(same.sum())} such rows). Remove these rows, or read with bad='skip' to"
            " leave them out and count them."
        )
