"""What an outcome column says: 1 when the first wins, 0 when the second does, 0.5 a tie.

Codes are read in the context of the column's other codes and of the names of the two policies'
columns: A is a win of the away team beside H, and of the first policy beside B.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence import tables as t

FIRST = frozenset(
    """
    a modela policya left first player1 playera p1 win wins won w white home awins model1 1st
    assistanta responsea agenta chosen agent1 system1 systema generator1 leftvote team1 teama
    """.split()
)
SECOND = frozenset(
    """
    b modelb policyb right second player2 playerb p2 loss lose loses lost l black away bwins
    model2 assistantb responseb agentb 2nd rejected agent2 system2 systemb generator2 rightvote
    team2 teamb
    """.split()
)
TIE = frozenset(
    """
    tie ties tied draw drawn d equal both bothbad bothgood tiebothbad tiebothgood same neither 1212
    remise unentschieden nul tievote bothbadvote bothbadvotes bothequal equallygood equallybad
    nopreference tossup neutral equivalent c remis 05 draws
    """.split()
)
AMBIGUOUS = frozenset(
    "winner preference preferred vote choice label verdict decision judgment judgement".split()
)
"""Names of columns whose numbers 0 and 1 could mean a win of either side."""

_RESULT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*[-–:]\s*(\d+(?:\.\d+)?)\s*")
_GREATER = re.compile(r"\[*\s*([A-Za-z0-9]+)\s*(>>|>|==?|≻|<<|<|≈|~)\s*([A-Za-z0-9]+)\s*\]*")
_PRAISE = re.compile(
    r"(is)?(much|slightly|significantly|clearly|abit)?(better|wins|win|won|winner|preferred)$"
)


class Codes(NamedTuple):
    """The codes of one column, in its context.

    Attributes
    ----------
    first, second
        keys of the names of the two policies' columns
    words
        all codes of the column, without case and signs
    """

    first: str
    second: str
    words: frozenset[str]

    @classmethod
    def of(cls, first: str, second: str, labels: Sequence[str]) -> Codes:
        """The context of a column that holds these labels."""
        return cls(t.key(first), t.key(second), frozenset(map(t.key, labels)))

    @property
    def _own(self) -> dict[str, float]:
        """Codes that the names of the two columns, or the other codes, give their meaning."""
        home = "home" in self.first or (self.first, self.second) == ("ht", "at")
        if home and not self.words & {"b"}:
            return {"h": 1.0, "a": 0.0, "d": 0.5, "x": 0.5, "1": 1.0, "2": 0.0}
        if "left" in self.first and not self.words & {"w"}:
            return {"l": 1.0, "r": 0.0}
        if "white" in self.first and "b" in self.words:
            return {"w": 1.0, "b": 0.0}
        if self.first[-1:] == "0" and self.second[-1:] == "1" and not self.words & {"2"}:
            return {"0": 1.0, "1": 0.0}
        if {"1", "2"} <= self.words or ("2" in self.words and "0" in self.words):
            return {"1": 1.0, "2": 0.0, "0": 0.5, "x": 0.5, "15": 0.5}
        return {}

    def value(self, label: str) -> float:
        """1, 0.5 or 0 for a label, or NaN.

        Examples
        --------
        >>> Codes.of("home", "away", ["H", "A"]).value("A"), Codes.of("x", "y", ["A"]).value("A")
        (0.0, 1.0)
        >>> Codes.of("model_a", "model_b", []).value("[[B>>A]]")
        0.0
        """
        if result := _RESULT.fullmatch(label):
            points = [float(side) for side in result.groups()]
            return 0.5 + 0.5 * float(np.sign(points[0] - points[1]))
        if label.replace(" ", "") in ("1/2-1/2", "½-½"):
            return 0.5
        if greater := _GREATER.fullmatch(label.strip()):
            return self._greater(*greater.groups())
        return self._word(t.key(label))

    def _word(self, word: str) -> float:
        if not word:
            return np.nan
        if word in self._own:
            return self._own[word]
        ours, theirs = {self.first}, {self.second}
        if self.first[:-1] == self.second[:-1]:
            ours.add(self.first[-1:])
            theirs.add(self.second[-1:])
        for known in (word, _PRAISE.sub("", word)):
            if known in ours or (known in FIRST and known not in theirs):
                return 1.0
            if known in theirs or known in SECOND:
                return 0.0
        return 0.5 if word in TIE else np.nan

    def _greater(self, left: str, sign: str, right: str) -> float:
        """``A>>B`` and its like; how much greater does not count."""
        sides = [self._word(t.key(side)) for side in (left, right)]
        if {*sides} != {0.0, 1.0}:
            return np.nan
        if sign in ("=", "==", "≈", "~"):
            return 0.5
        return sides[0] if sign in (">", ">>", "≻") else sides[1]


def label_value(label: str, first: str, second: str) -> float:
    """1, 0.5 or 0 for a usual label, or for the name of a column (or its last letter); else NaN.

    Examples
    --------
    >>> label_value("model_a", "modela", "modelb"), label_value("1-3", "x", "y")
    (1.0, 0.0)
    >>> label_value("tie (bothbad)", "x", "y"), label_value("maybe", "x", "y")
    (0.5, nan)
    """
    return Codes.of(first, second, [label]).value(label)


def of_numbers(
    values: NDArray[np.float64], column: str, first_wins: int | None, where: str
) -> tuple[NDArray[np.float64], str | None]:
    """Outcomes of a numeric column, and a note on how its numbers were read.

    0 to 1: the share of the first (or of the second, with ``first_wins=0``); 1 and 2: who wins, and
    between them the share of the second, 0 a tie; -1 to 1: minus the second's.

    Raises
    ------
    EvidenceError
        Where 0 and 1 could mean either side.

    Examples
    --------
    >>> of_numbers(np.array([1.0, 2.0, 1.5, 0.0]), "preference", None, "x.csv")[0]
    array([1. , 0. , 0.5, 0.5])
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return values, None
    codes = (known >= 1) & (known <= 2)
    if known.max() > 1 and known.max() <= 2 and (codes | (known == 0)).all():
        read = np.where(values == 0, 0.5, 2 - values)
        if first_wins == 0:
            read = np.where(values == 0, 0.5, values - 1)
        return read, f"{column}: 1 read as a win of the first, 2 of the second, 1.5 and 0 as a tie"
    if known.min() == -1 and known.max() <= 1:
        read = (values + 1) / 2
        if first_wins == 0:
            read = 1 - read
        return read, f"{column}: 1 read as a win of the first, -1 of the second, 0 as a tie"
    if first_wins is None and t.key(column) in AMBIGUOUS:
        raise EvidenceError(
            f"{where}: numbers in column {column!r} could mean a win of either side. Say"
            " first_wins=1 (--first-wins 1) if 1 means that the first policy wins,"
            " first_wins=0 (--first-wins 0) if 0 does."
        )
    return (1 - values if first_wins == 0 else values), None
