"""Asking the ranker that is attacked, and counting what was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from policyrank.auditing.attacks.imitation import Victim
from policyrank.errors import EvidenceError

Float = NDArray[np.float64]
Item = TypeVar("Item")


@dataclass(eq=False)
class Asked:
    """A ranker with its texts by name; ``calls`` counts the documents that it scored."""

    victim: Victim
    queries: Mapping[str, str]
    documents: Mapping[str, str]
    calls: int = 0

    def texts(self, query: str, texts: Sequence[str]) -> Float:
        """Scores of texts of any kind."""
        self.calls += len(texts)
        return np.asarray(self.victim(self.queries[query], texts), dtype=float)

    def scores(self, query: str, names: Sequence[str]) -> Float:
        """Scores of documents.

        Raises
        ------
        EvidenceError
            Where one is not finite.
        """
        found = self.texts(query, [self.documents[name] for name in names])
        if not np.isfinite(found).all():
            raise EvidenceError(f"query {query}: the ranker gave a score that is not finite.")
        return found


def best_first(names: Sequence[Item], scores: Float) -> list[Item]:
    """Names in the order of their scores, ties in the order given."""
    return [names[place] for place in np.argsort(-scores, kind="stable")]


def silent(text: str) -> None:
    """For a ``report`` that nobody gave."""
