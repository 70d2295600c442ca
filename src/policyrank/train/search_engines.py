"""Engines that find passages for an agent: by words, vectors, a server, or a learned ranker."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from policyrank.errors import EvidenceError, OptionError
from policyrank.evidence.json_schema import parse_json
from policyrank.metrics.short_answers import holds_answer
from policyrank.models.encoders import encode_texts
from policyrank.train.first_stage import Bm25Index
from policyrank.train.posting import check_key, post
from policyrank.train.served import Asked, Served
from policyrank.worlds.agents import right_answers


@dataclass(frozen=True)
class Passage:
    """A passage that was found, with its score; higher is better."""

    name: str
    text: str
    score: float


class SearchEngine(Protocol):
    """A query, and how many -> passages, best first; fewer where there are not so many."""

    def __call__(self, query: str, k: int, /) -> Sequence[Passage]: ...


@dataclass
class Bm25Engine:
    """BM25 over documents by name; passages that share no word with the query are not found."""

    documents: Mapping[str, str]
    k1: float = 1.2
    b: float = 0.75

    def __post_init__(self) -> None:
        self._index = Bm25Index(self.documents, k1=self.k1, b=self.b)
        self._lock = threading.Lock()

    def __call__(self, query: str, k: int, /) -> list[Passage]:
        """The ``k`` best."""
        with self._lock:
            run = self._index.run({"": query}, depth=k)
        found = zip(run["document"], run["score"], strict=True)
        return [Passage(name, self.documents[name], score) for name, score in found]


@dataclass
class DenseEngine:
    """The nearest in cosine, exactly, by an encoder of sentence-transformers.

    Parameters
    ----------
    cache
        of vectors; see ``models.encode_texts``
    """

    documents: Mapping[str, str]
    encoder: Any
    cache: str | None = None

    def __post_init__(self) -> None:
        self._names, texts = list(self.documents), list(self.documents.values())
        self._vectors = encode_texts(self.encoder, texts, cache=self.cache)
        self._lock = threading.Lock()

    def __call__(self, query: str, k: int, /) -> list[Passage]:
        """The ``k`` best."""
        with self._lock:
            asked = encode_texts(self.encoder, [query])
        cosine = (asked @ self._vectors.T)[0]
        order = np.argsort(-cosine, kind="stable")[:k]
        names = [self._names[place] for place in order]
        scores = cosine[order].tolist()
        return [Passage(n, self.documents[n], s) for n, s in zip(names, scores, strict=True)]


@dataclass
class ServerEngine:
    """A running search server, as of Search-R1: ``{"queries": [...], "topk": k}`` is posted to it.

    It gives ``{"result": [[{"document": {"id", "contents"}, "score"}, ...]]}``; documents may be
    texts, and have ``title`` and ``text`` instead.

    Parameters
    ----------
    url
        such as http://localhost:8000/retrieve
    key
        environment variable with the server's key
    retries, timeout
        tries after a failure that may pass; seconds of one request
    """

    url: str
    key: str | None = None
    retries: int = 2
    timeout: float = 30.0

    def __call__(self, query: str, k: int, /) -> list[Passage]:
        """The ``k`` best.

        Raises
        ------
        EvidenceError
            When the server refuses, or its reply holds no passages.
        """
        check_key(self.url, self.key)
        body = {"queries": [query], "topk": k, "return_scores": True}
        options: dict[str, Any] = {"key": self.key, "retries": self.retries}
        reply = post(self.url, body, self._read, timeout=self.timeout, **options)
        return reply[:k]

    def _read(self, reply: bytes) -> list[Passage]:
        found = parse_json(reply, dict[str, Any], f"the reply of {self.url}").get("result")
        if not isinstance(found, list) or not found or not isinstance(found[0], list):
            raise EvidenceError(f"{self.url}: the reply has no result: a list of a query's own.")
        return [_served(own, place, self.url) for place, own in enumerate(found[0], 1)]


def _served(own: Any, place: int, url: str) -> Passage:
    score = 1.0 / place
    if isinstance(own, Mapping) and "document" in own:
        score, own = float(own.get("score", score)), own["document"]
    if isinstance(own, str):
        return Passage(str(place), own, score)
    text = own.get("contents") or own.get("text") if isinstance(own, Mapping) else None
    if not isinstance(text, str):
        raise EvidenceError(f"{url}: passage {place} has no contents ({json.dumps(own)[:60]}).")
    title = own.get("title") or ""
    name = str(own.get("id") or own.get("_id") or title or place)
    return Passage(name, f"{title} {text}".strip(), score)


@dataclass
class RerankedEngine:
    """The first engine's passages in a learned ranker's order.

    Parameters
    ----------
    first
        whose ``depth`` best are reranked
    ranker
        such as ``ServedTexts(load_text_ranker(...), "cross-encoder")``
    """

    first: SearchEngine
    ranker: Served
    depth: int = 50
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __call__(self, query: str, k: int, /) -> list[Passage]:
        """The ``k`` best."""
        known = list(self.first(query, max(self.depth, k)))
        if not known:
            return []
        with self._lock:
            (said,) = self.ranker([Asked(query, [own.text for own in known])])
        order = np.argsort(-np.asarray(said.scores), kind="stable")[:k]
        return [
            Passage(known[place].name, known[place].text, said.scores[place]) for place in order
        ]


@dataclass
class OracleEngine:
    """Passages that hold a right answer first: how good an agent could be with a perfect ranker.

    Parameters
    ----------
    first
        whose ``depth`` best are looked at; the order of the others stays
    label
        column with the right answers
    """

    first: SearchEngine
    label: str = "answer"
    depth: int = 50

    def for_row(self, row: Mapping[str, Any]) -> SearchEngine:
        """For a row of data, whose right answers are known."""
        right = right_answers(row, self.label)

        def best(query: str, k: int) -> list[Passage]:
            known = list(self.first(query, max(self.depth, k)))
            return sorted(known, key=lambda own: not holds_answer(own.text, right))[:k]

        return best

    def __call__(self, query: str, k: int, /) -> list[Passage]:
        """Refuse to answer without a row."""
        raise OptionError("an oracle knows the right answers of a row: ask for_row(row).")
