"""Results of pairs, collected row by row; rows that cannot be used are refused or counted."""

from __future__ import annotations

import math
from collections import defaultdict

from policyrank.evidence.account import Account
from policyrank.evidence.comparisons import Comparisons
from policyrank.evidence.formats.results import Duel, comparisons_of

LABELS = {
    "model_a": 1.0,
    "model_b": 0.0,
    "model_1": 1.0,
    "model_2": 0.0,
    "tie": 0.5,
    "tie (bothbad)": 0.5,
    "bothbad": 0.5,
    "both_bad": 0.5,
}
"""What arenas write -> the outcome for the first; both bad is a tie."""


class Duels:
    """Comparisons in the making.

    Attributes
    ----------
    rows
        the usable ones
    """

    def __init__(self, account: Account) -> None:
        self.rows: list[Duel] = []
        self._account = account
        self._unusable: dict[str, list[str]] = defaultdict(list)

    def put(self, place: str, duel: Duel) -> None:
        """Keep a result, or why it cannot be used."""
        fault = _fault(duel)
        if fault is None:
            self.rows.append(duel)
        else:
            self._unusable[fault].append(place.removeprefix(f"{self._account.name}, "))

    def comparisons(self) -> Comparisons:
        """All that were put in; the faulty ones are refused or counted."""
        for fault, places in self._unusable.items():
            self._account.unusable(fault, places)
        return comparisons_of(self.rows, self._account)


def _fault(duel: Duel) -> str | None:
    if not duel.a or not duel.b:
        return "a policy without a name"
    if duel.a == duel.b:
        return f"{duel.a} against itself"
    if math.isnan(duel.outcome) or not 0 <= duel.outcome <= 1:
        return "no usable outcome"
    return None


def outcome_of(label: object) -> float:
    """The outcome that an arena's label means for the first; NaN: none."""
    return LABELS.get(str(label).strip().lower(), math.nan)


def judge_name(judge: object) -> str:
    """A judge's name; FastChat writes it in a list with that of the judge's prompt."""
    return str(judge[0]) if isinstance(judge, list) and judge else str(judge)
