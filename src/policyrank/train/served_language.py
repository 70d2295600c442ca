"""A language model that orders passages, behind a server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from policyrank.train.asking import longer_than
from policyrank.train.language_rankers import LanguageRanker
from policyrank.train.served import Answered, Asked, check_texts
from policyrank.train.sorts import Sorted


class ServedLanguage:
    """A language model that orders passages, behind a server.

    It orders one request after the other. Scores are places from the end, as ``policyrank rerank``
    writes them: 1 for the last. Where it is asked about each passage alone they are the chance of
    Yes, and 0 where it gave no answer, which is told.

    Attributes
    ----------
    kind
        the method
    longest
        None: passages are cut at words
    ordered
        whether scores are places in their list
    """

    def __init__(self, ranker: LanguageRanker) -> None:
        self.ranker, self.kind = ranker, str(ranker.method)
        self.longest: int | None = None
        self.ordered = ranker.method != "pointwise"

    def check(self, asked: Asked) -> None:
        """Refuse what is no text.

        Raises
        ------
        EvidenceError
            Naming the document.
        """
        check_texts(asked, "language model")

    def __call__(self, asked: Sequence[Asked], /) -> list[Answered]:
        """Scores of several requests."""
        return [self._answered(own) for own in asked]

    def _answered(self, asked: Asked) -> Answered:
        spent = self.ranker.spent
        before = replace(spent)
        found = self.ranker(asked.query, asked.documents)
        scores, notes = self._scores(found)
        if spent.shortened > before.shortened or spent.long > before.long:
            notes.append("some questions were longer than the model reads: less was shown, or none")
        asking = self.ranker.asking
        if longer_than(asked.query, asking.query_words):
            notes.append(f"the query is longer than {asking.query_words:,} words: its end is cut")
        cut = [longer_than(text, asking.passage_words) for text in asked.documents]
        read = spent.read - before.read
        written = spent.written - before.written
        places = tuple(np.flatnonzero(cut).tolist())
        return Answered(scores, read, places, written, tuple(notes))

    def _scores(self, found: Sorted) -> tuple[tuple[float, ...], list[str]]:
        """Of each document; and what could not be read."""
        notes = []
        if found.invalid:
            notes.append(
                f"{found.invalid:,} of {found.calls:,} questions had no answer that could be read"
            )
        if found.gave_up:
            notes.append("most answers could not be read: documents are as they were sent")
        if not self.ordered and not found.gave_up:
            assert found.scores is not None
            return tuple(np.nan_to_num(found.scores, nan=0.0).tolist()), notes
        places = np.empty(len(found.order))
        places[list(found.order)] = np.arange(len(found.order), 0, -1)
        return tuple(places.tolist()), notes
