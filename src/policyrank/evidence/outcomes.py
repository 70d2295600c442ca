"""What the labels of an outcome column say: 1 when the first wins, 0 when the second, 0.5 a tie."""

from __future__ import annotations

import re

import numpy as np

from policyrank.evidence import tables as t

FIRST = frozenset(
    """
    a modela policya left first player1 playera p1 win wins won w white home awins model1
    assistanta responsea agenta 1st chosen
    """.split()
)
SECOND = frozenset(
    """
    b modelb policyb right second player2 playerb p2 loss lose loses lost l black away bwins
    model2 assistantb responseb agentb 2nd rejected
    """.split()
)
TIE = frozenset(
    """
    tie ties draw drawn d equal both bothbad bothgood tiebothbad tiebothgood same neither 1212
    """.split()
)
AMBIGUOUS = frozenset("winner preference vote choice label verdict".split())
"""Names of columns whose numbers could mean a win of either side."""

_RESULT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*[-–:]\s*(\d+(?:\.\d+)?)\s*")


def label_value(label: str, first: str, second: str) -> float:
    """1, 0.5 or 0 for a usual label, or for the name of a column (or its last letter); else NaN.

    Examples
    --------
    >>> label_value("model_a", "modela", "modelb"), label_value("1-3", "x", "y")
    (1.0, 0.0)
    >>> label_value("tie (bothbad)", "x", "y"), label_value("maybe", "x", "y")
    (0.5, nan)
    """
    if result := _RESULT.fullmatch(label):
        points = [float(side) for side in result.groups()]
        return 0.5 + 0.5 * float(np.sign(points[0] - points[1]))
    if label.replace(" ", "") in ("1/2-1/2", "½-½"):
        return 0.5
    word = t.key(label)
    if not word:
        return np.nan
    ours, theirs = {first}, {second}
    if first[:-1] == second[:-1]:
        ours.add(first[-1:])
        theirs.add(second[-1:])
    if word in FIRST or word in ours:
        return 1.0
    if word in SECOND or word in theirs:
        return 0.0
    return 0.5 if word in TIE else np.nan
