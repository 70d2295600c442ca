"""What rating methods share: scales, the weak prior, and which evidence a method takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from policyrank.errors import EvidenceError
from policyrank.evidence import Comparisons, Rankings, Scores
from policyrank.ranking.links import Link

ELO = 400 / np.log(10)
"""Points a unit of log-odds."""

ELO_CENTRE = 1500.0
WEAK_PRIOR = 2.0
"""Standard deviation in log-odds of the prior where the maximum does not exist."""

CONVERSIONS: dict[tuple[type, type], str] = {
    (Scores, Rankings): "Convert it with .to_rankings().",
    (Scores, Comparisons): "Convert it with .to_comparisons().",
    (Rankings, Comparisons): "Convert it with Comparisons.of_rankings(...).",
    (Comparisons, Rankings): "Convert it with .to_rankings().",
}
"""(what is there, what is wanted) -> how to get it."""


def scale_of(scale: str, link: Link | None = None) -> tuple[float, float]:
    """Board units a unit of theta, and the centre of the board."""
    if scale == "elo":
        return ELO * (1.0 if link is None else link.slope), ELO_CENTRE
    if scale == "natural":
        return 1.0, 0.0
    raise EvidenceError(f"scale={scale!r}: use 'elo' or 'natural'.")


def need(evidence: Any, kinds: type | tuple[type, ...], method: str) -> None:
    """Refuse another form of evidence than the method takes, and name the conversion."""
    if isinstance(evidence, kinds):
        return
    wanted = kinds if isinstance(kinds, tuple) else (kinds,)
    ways = [CONVERSIONS.get((type(evidence), kind)) for kind in wanted]
    remedies = [way for way in ways if way is not None]
    if not remedies:
        remedies = [f"Read it with read_{wanted[0].__name__.lower()}()."]
    names = " or ".join(kind.__name__ for kind in wanted)
    raise EvidenceError(f"{method} takes {names}, not {type(evidence).__name__}. {remedies[0]}")
