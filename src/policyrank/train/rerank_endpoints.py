"""Rerank endpoints of others: a query and documents are sent, scores come back.

Three shapes of requests: ``rerank`` (Cohere, Jina, vLLM, ``policyrank serve`` and many more),
``score`` (vLLM) and ``tei`` (text-embeddings-inference).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any, Literal, get_args

import msgspec

from policyrank.errors import EvidenceError, OptionError
from policyrank.evidence.json_schema import parse_json
from policyrank.evidence.kept_lines import read_kept_lines
from policyrank.files import append_lines
from policyrank.train.posting import RefusedError, check_key, post

Api = Literal["rerank", "score", "tei"]
APIS: tuple[Api, ...] = get_args(Api)
TEI_DOCUMENTS = 32
"""Texts that text-embeddings-inference takes in a request, unless it was started otherwise."""


@dataclass(frozen=True)
class Scored:
    """What an endpoint says of some documents.

    Attributes
    ----------
    scores
        of each document, in the order of the request
    tokens
        that were read, where it tells
    truncated
        documents that it cut, where it tells
    unordered
        it named them in another order than that of their scores
    """

    scores: tuple[float, ...]
    tokens: int | None = None
    truncated: int | None = None
    unordered: bool = False


@dataclass
class Met:
    """What asking an endpoint met.

    Attributes
    ----------
    requests, kept
        that were answered, and answers that the cache had
    refused
        requests that the budget had no room for
    tokens, told
        that were read, of so many answers that tell
    truncated
        documents that the server says it cut
    unordered
        answers whose order is not that of their scores
    split
        lists that were asked about in parts
    """

    requests: int = 0
    kept: int = 0
    refused: int = 0
    tokens: int = 0
    told: int = 0
    truncated: int = 0
    unordered: int = 0
    split: int = 0

    def count(self, found: Scored) -> None:
        """Count an answer."""
        if found.tokens is not None:
            self.tokens += found.tokens
            self.told += 1
        self.truncated += found.truncated or 0
        self.unordered += found.unordered


@dataclass(frozen=True)
class RerankEndpoint:
    """Scores of documents by a server, each request made once: answers are kept in a file.

    Parameters
    ----------
    url
        such as https://api.cohere.com/v2/rerank, https://api.jina.ai/v1/rerank,
        http://localhost:8000/v1/score; what ends otherwise gets ``/rerank`` at its end
    model
        its name there (None: not told)
    api
        shape of requests (None: ``score`` where the address ends so, else ``rerank``)
    key
        name of the environment variable with the API key (None: no key)
    at_once
        documents of a request (None: all of a list; of ``tei`` 32)
    truncate
        the server may cut texts that are longer than it reads; else it is not asked to, and those
        that refuse such texts (vLLM, text-embeddings-inference) end the run. Cohere and Jina cut
        them unasked
    cache
        JSONL file of answers (None: not kept)
    workers, retries, timeout
        requests at once; tries after a failure that may pass, waiting longer each time; seconds
        without a sign of the server
    report
        told what is left out of the file

    Raises
    ------
    OptionError
        For an unknown shape.
    """

    url: str
    model: str | None = None
    api: Api | None = None
    key: str | None = None
    at_once: int | None = None
    truncate: bool = False
    cache: str | Path | None = None
    workers: int = 8
    retries: int = 5
    timeout: float = 120.0
    report: Callable[[str], Any] | None = None
    _lock: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.api not in (None, *APIS):
            raise OptionError(f"api={self.api!r}: use one of {', '.join(APIS)}.")

    @property
    def shape(self) -> Api:
        """The shape of its requests."""
        ends_in_score = self.url.rstrip("/").endswith("/score")
        return self.api or ("score" if ends_in_score else "rerank")

    @property
    def address(self) -> str:
        """Where requests go."""
        url = self.url.rstrip("/")
        end = "/score" if self.shape == "score" else "/rerank"
        return url if url.endswith(end) else url + end

    @property
    def most(self) -> int | None:
        """Documents of a request; None: any number."""
        return self.at_once or (TEI_DOCUMENTS if self.shape == "tei" else None)

    def scores(self, query: str, documents: Sequence[str]) -> tuple[Scored, bool]:
        """Scores of documents by one request, and whether the cache had them.

        Raises
        ------
        EvidenceError
            When the key is missing, the request fails for good, or the reply does not give each
            document one finite score.
        """
        check_key(self.url, self.key)
        body = self._body(query, documents)
        name = self._name(body)
        with self._lock:
            known = self._kept.get(name)
        if known is not None and len(known.scores) == len(documents):
            return known, True
        read = partial(read_scores, documents=len(documents), by_score=self.shape != "score")
        told: dict[str, Any] = {"key": self.key, "retries": self.retries, "timeout": self.timeout}
        try:
            found = post(self.address, body, read, **told)
        except RefusedError as error:
            raise EvidenceError(f"{error}{self._remedy(error)}") from None
        self._keep(name, found)
        return found, False

    def _body(self, query: str, documents: Sequence[str]) -> dict[str, Any]:
        texts = list(documents)
        if self.shape == "tei":
            told = {"raw_scores": True, "truncate": self.truncate}
            return {"query": query, "texts": texts, **told}
        body: dict[str, Any] = {} if self.model is None else {"model": self.model}
        if self.truncate:
            body["truncate_prompt_tokens"] = -1
        if self.shape == "score":
            return body | {"text_1": query, "text_2": texts}
        # Some servers answer a few documents only, unless they are told how many.
        return body | {"query": query, "documents": texts, "top_n": len(texts)}

    def _name(self, body: dict[str, Any]) -> str:
        """What an answer is kept under."""
        told = json.dumps([self.address, self.model, body])
        return hashlib.sha256(told.encode()).hexdigest()

    def _remedy(self, error: RefusedError) -> str:
        if error.too_long:
            return (
                " Where a text is longer than it reads, let it cut texts (truncate) or show less of"
                " them (passage-words); where there are too many, ask about fewer (at-once)."
            )
        if error.code == 404:
            return " Is the path right, and the model's name (served-model)?"
        if error.code in (400, 422):
            return f" Is {self.shape} what it answers (api: {', '.join(APIS)})?"
        return ""

    @cached_property
    def _kept(self) -> dict[str, Scored]:
        """Answers in the file, which is read once."""
        if self.cache is None:
            return {}
        rows = read_kept_lines(self.cache, _Kept, self.report)
        return {row.request: row.scored() for row in rows}

    def _keep(self, name: str, found: Scored) -> None:
        if self.cache is None:
            return
        row = {"request": name, **vars(found)}
        with self._lock:
            self._kept[name] = found
            append_lines(self.cache, [json.dumps(row)])


def rank_lists(
    endpoint: RerankEndpoint,
    lists: Sequence[tuple[str, Sequence[str]]],
    *,
    calls: int | None = None,
    report: Callable[[int, int], None] | None = None,
) -> tuple[list[tuple[float, ...] | None], Met]:
    """Scores of many queries' documents, several requests at a time.

    Parameters
    ----------
    lists
        (query, documents) of each
    calls
        requests that may be made, those that the cache answers included; lists after them have
        none (None)
    report
        called with requests done and in all

    Raises
    ------
    EvidenceError
        As ``RerankEndpoint.scores``; what was answered until then is kept in the cache.
    """
    met, asked, parts = Met(), 0, []
    for place, (_, documents) in enumerate(lists):
        own = _parts(place, len(documents), endpoint.most)
        if met.refused or (calls is not None and asked + len(own) > calls):
            met.refused += len(own)
            continue
        asked += len(own)
        met.split += len(own) > 1
        parts += own
    found: dict[tuple[int, int], tuple[float, ...]] = {}
    for part, scored, kept in _all_parts(endpoint, lists, parts):
        found[part[:2]] = scored.scores
        met.kept += kept
        met.requests += not kept
        met.count(scored)
        if report is not None:
            report(len(found), len(parts))
    out: list[tuple[float, ...] | None] = [None if texts else () for _, texts in lists]
    for place, start, _ in parts:
        out[place] = (out[place] or ()) + found[place, start]
    return out, met


Part = tuple[int, int, int]
"""List, its first document, and the one after the last."""


def _parts(place: int, documents: int, most: int | None) -> list[Part]:
    size = most or max(documents, 1)
    return [(place, at, min(at + size, documents)) for at in range(0, documents, size)]


def _all_parts(
    endpoint: RerankEndpoint, lists: Sequence[tuple[str, Sequence[str]]], parts: Sequence[Part]
) -> Iterator[tuple[Part, Scored, bool]]:
    """Part, what was said of it, and whether it was kept: as they come."""
    with ThreadPoolExecutor(endpoint.workers) as pool:
        waiting = {}
        for part in parts:
            place, start, stop = part
            query, documents = lists[place]
            waiting[pool.submit(endpoint.scores, query, documents[start:stop])] = part
        try:
            for done in as_completed(waiting):
                yield waiting[done], *done.result()
        finally:  # what was not begun is not asked after a failure
            pool.shutdown(wait=True, cancel_futures=True)


class _Result(msgspec.Struct):
    index: int
    relevance_score: float | None = None
    score: float | None = None


class _Usage(msgspec.Struct):
    total_tokens: int | None = None
    prompt_tokens: int | None = None


class _Meta(msgspec.Struct):
    truncated: list[int] | None = None


class _Reply(msgspec.Struct):
    results: list[_Result] | None = None
    data: list[_Result] | None = None
    usage: _Usage | None = None
    meta: _Meta | None = None


class _Kept(msgspec.Struct):
    """A line of the file of answers."""

    request: str
    scores: list[float]
    tokens: int | None = None
    truncated: int | None = None
    unordered: bool = False

    def scored(self) -> Scored:
        return Scored(tuple(self.scores), self.tokens, self.truncated, self.unordered)


def read_scores(reply: bytes, documents: int, *, by_score: bool = True) -> Scored:
    """The scores in a reply of any of the shapes: one for each document, or an error.

    Parameters
    ----------
    documents
        how many were asked about
    by_score
        results come best first

    Raises
    ------
    EvidenceError
        For another form; a document that is missing, named twice, or was not asked about; a score
        that is missing or not finite.

    Examples
    --------
    >>> reply = b'{"results": [{"index": 1, "relevance_score": 2}, {"index": 0, "score": 1}]}'
    >>> read_scores(reply, 2).scores
    (1.0, 2.0)
    """
    shape: Any = _Reply | list[_Result]
    whole = parse_json(reply, shape, "the reply")
    if isinstance(whole, list):
        whole = _Reply(results=whole)
    rows = whole.data if whole.results is None else whole.results
    if rows is None:
        raise EvidenceError("the reply holds no results")
    scores: dict[int, float] = {}
    for row in rows:
        value = row.score if row.relevance_score is None else row.relevance_score
        if not 0 <= row.index < documents:
            raise EvidenceError(f"the reply names document {row.index} of {documents:,}")
        if row.index in scores:
            raise EvidenceError(f"the reply names document {row.index} twice")
        if value is None or not math.isfinite(value):
            raise EvidenceError(f"the reply has no number as the score of document {row.index}")
        scores[row.index] = value
    if len(scores) < documents:
        raise EvidenceError(
            f"the reply scores {len(scores):,} of {documents:,} documents: does the server cut its"
            " answers (top_n)?"
        )
    unordered = by_score and any(first < second for first, second in pairwise(scores.values()))
    tokens = None if whole.usage is None else whole.usage.total_tokens or whole.usage.prompt_tokens
    cut = None
    if whole.meta is not None and whole.meta.truncated is not None:
        cut = len(whole.meta.truncated)
    return Scored(tuple(scores[k] for k in range(documents)), tokens, cut, unordered)
