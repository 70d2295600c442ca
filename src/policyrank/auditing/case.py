"""What the checks of comparisons look at, and how they say what they found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from policyrank.auditing.findings import Finding, Verdict
from policyrank.board import Leaderboard
from policyrank.evidence import Comparisons
from policyrank.ranking import bradley_terry
from policyrank.ranking.conventions import ELO

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Case:
    """The comparisons, their board, and who owns which policy.

    Attributes
    ----------
    wins
        (n, n): how often each policy beat each other one
    level
        of tests and rank sets
    window
        last share of the time in which a policy must have been compared
    """

    evidence: Comparisons
    board: Leaderboard
    wins: Float
    owners: Mapping[str, str] | None
    level: float
    window: float

    @classmethod
    def of(
        cls,
        evidence: Comparisons,
        owners: Mapping[str, str] | None,
        level: float,
        window: float = 0.2,
    ) -> Case:
        plain = replace(evidence, covariates=None, covariate_names=())
        return cls(
            evidence=plain,
            board=bradley_terry(plain, level=level),
            wins=plain.preferences(),
            owners=owners,
            level=level,
            window=window,
        )

    @property
    def alpha(self) -> float:
        return 1 - self.level

    @property
    def theta(self) -> Float:
        """Log-odds ratings in the order of the evidence's policies."""
        return ratings_of(self.board, self.evidence.policies) / ELO


def ratings_of(board: Leaderboard, policies: Iterable[str]) -> Float:
    """Ratings of policies in the order that they are named in."""
    return board.rating[[board.position(policy) for policy in policies]]


def names(policies: Sequence[str], most: int = 5) -> str:
    """The first of some policies, and how many more there are."""
    shown = ", ".join(policies[:most])
    if len(policies) <= most:
        return shown
    return f"{shown} and {len(policies) - most} more"


def graded(*, concern: bool, note: bool = False) -> Verdict:
    """The graver of the verdicts that apply."""
    if concern:
        return "concern"
    if note:
        return "note"
    return "fine"


def unless_fine(verdict: Verdict, remedy: str) -> str:
    """The remedy, where there is something to mend."""
    if verdict == "fine":
        return ""
    return remedy


def no_column(check: str, column: str) -> Finding:
    return Finding(
        check,
        "unchecked",
        f"The comparisons have no column {column!r}.",
        remedy=f"Read them with {column}=...",
    )
