"""What a server asks of a ranker: scores of many requests at once, and what was cut of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.train.data import RankingData
from policyrank.train.ranker import RankerTrainer
from policyrank.train.saved_rankers import FeatureRanker
from policyrank.train.text_rankers import TextRanker, token_lengths
from policyrank.train.texts import TextData


@dataclass(frozen=True)
class Asked:
    """A query and its documents: texts, or rows of features."""

    query: str
    documents: Sequence[Any]


@dataclass(frozen=True)
class Answered:
    """What a ranker says of them.

    Attributes
    ----------
    scores
        of each document, higher is better
    tokens
        that were read
    truncated
        places of documents that were cut
    written
        tokens that it wrote
    notes
        what else is to be told
    """

    scores: tuple[float, ...]
    tokens: int = 0
    truncated: tuple[int, ...] = ()
    written: int = 0
    notes: tuple[str, ...] = ()


class Served(Protocol):
    """A ranker behind a server."""

    kind: str
    """What it is called."""

    longest: int | None
    """Tokens that it reads of a document, with its query where they are read together."""

    ordered: bool
    """Whether scores are places in their list: a document alone has none."""

    def check(self, asked: Asked) -> None:
        """Refuse documents that it cannot read, by an EvidenceError."""

    def __call__(self, asked: Sequence[Asked], /) -> list[Answered]:
        """Scores of several requests."""


def check_texts(asked: Asked, kind: str) -> None:
    """Refuse what is no text.

    Raises
    ------
    EvidenceError
        Naming the document.
    """
    for place, text in enumerate([asked.query, *asked.documents]):
        what = "query" if place == 0 else f"document {place - 1}"
        if not isinstance(text, str):
            raise EvidenceError(f"{what} is no text: {kind}s read texts.")
        if not _is_unicode(text):
            raise EvidenceError(f"{what} holds half of a character (a lone surrogate).")


class ServedTexts:
    """A ranker of texts behind a server.

    Attributes
    ----------
    kind
        cross-encoder or bi-encoder
    longest
        tokens of a document (of a pair) that are read
    ordered
        False: a document has its score alone
    """

    def __init__(self, ranker: TextRanker, kind: str) -> None:
        self.ranker, self.kind = ranker, kind
        self.longest: int | None = ranker.encoder.max_seq_length
        self.ordered = False
        self._trainer = RankerTrainer(ranker)

    def check(self, asked: Asked) -> None:
        """Refuse what is no text.

        Raises
        ------
        EvidenceError
            Naming the document.
        """
        check_texts(asked, self.kind)

    def __call__(self, asked: Sequence[Asked], /) -> list[Answered]:
        """Scores of several requests: as ``policyrank rerank`` gives them."""
        sizes = [len(own.documents) for own in asked]
        texts = [text for own in asked for text in own.documents]
        queries = [own.query for own in asked for _ in own.documents]
        rows = len(texts)
        places = [str(place) for place in range(rows)]
        data = TextData(
            queries=tuple(map(str, range(len(asked)))),
            offsets=_offsets(sizes),
            labels=np.zeros(rows),
            first_stage=np.zeros(rows),
            texts=tuple(own.query for own in asked),
            documents=np.arange(rows),
            names=tuple(places),
            collection=tuple(texts),
        )
        scores = self._trainer.scores(data)
        lengths = token_lengths(self.ranker, queries, texts)
        longest = self.longest or int(lengths.max(initial=0))
        out = []
        for own, length in zip(_split(scores, sizes), _split(lengths, sizes), strict=True):
            cut = tuple(np.flatnonzero(length > longest).tolist())
            read = int(np.minimum(length, longest).sum())
            out.append(Answered(tuple(own.tolist()), read, cut))
        return out


class ServedFeatures:
    """A ranker of features behind a server; the text of a query says nothing to it.

    Attributes
    ----------
    kind
        ``features``
    longest
        None: it reads no tokens
    ordered
        False: a document has its score alone
    """

    def __init__(self, ranker: FeatureRanker) -> None:
        self.ranker, self.kind = ranker, "features"
        self.longest: int | None = None
        self.ordered = False
        self._trainer = RankerTrainer(ranker.model)

    def check(self, asked: Asked) -> None:
        """Refuse what is no row of as many features as it reads.

        Raises
        ------
        EvidenceError
            Naming the document.
        """
        for place, row in enumerate(asked.documents):
            if isinstance(row, str) or len(row) != self.ranker.features:
                raise EvidenceError(
                    f"document {place}: this ranker reads"
                    f' {{"features": [...]}} of {self.ranker.features:,} numbers.'
                )
            if not (np.abs(row) <= np.finfo(np.float32).max).all():
                raise EvidenceError(f"document {place} has a feature that is not finite.")

    def __call__(self, asked: Sequence[Asked], /) -> list[Answered]:
        """Scores of several requests, each a list of its own."""
        sizes = [len(own.documents) for own in asked]
        rows = [row for own in asked for row in own.documents]
        data = RankingData(
            queries=tuple(map(str, range(len(asked)))),
            offsets=_offsets(sizes),
            labels=np.zeros(len(rows)),
            first_stage=np.zeros(len(rows)),
            features=np.asarray(rows, dtype=np.float32),
        )
        if self.ranker.standardise:
            data = data.standardised()
        scores = self._trainer.scores(data)
        return [Answered(tuple(own.tolist())) for own in _split(scores, sizes)]


def _offsets(sizes: Sequence[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _split(values: NDArray[Any], sizes: Sequence[int]) -> list[NDArray[Any]]:
    return np.split(values, np.cumsum(sizes)[:-1])


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
