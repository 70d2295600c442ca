"""First stages: candidates by BM25 or by vectors, as a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank._rooms import require
from policyrank.errors import EvidenceError
from policyrank.models.encoders import encode_texts
from policyrank.train.asking import UNSPACED

_WORD = rf"[{UNSPACED}]|[^\W{UNSPACED}]{{2,}}"
"""bm25s's own words of two characters and more, and single ones of scripts without blanks."""


def bm25_run(
    queries: Mapping[str, str],
    documents: Mapping[str, str],
    *,
    depth: int = 100,
    k1: float = 1.2,
    b: float = 0.75,
) -> pl.DataFrame:
    """The ``depth`` best documents of each query by BM25: columns query, document, score.

    bm25s; English stop words, no stemming; where a script puts no blanks between words (Chinese,
    Japanese, Thai, ...), each of its characters is a word. Documents that share no word with the
    query are left out.

    Raises
    ------
    MissingExtraError
        When the extra ``retrieval`` is missing.
    EvidenceError
        When there is nothing to search.
    """
    if not queries or not documents:
        raise EvidenceError("BM25 needs at least one query and one document.")
    return Bm25Index(documents, k1=k1, b=b).run(queries, depth=depth)


class Bm25Index:
    """Documents whose words are counted once, and searched again and again; see ``bm25_run``.

    Raises
    ------
    MissingExtraError
        When the extra ``retrieval`` is missing.
    EvidenceError
        When there is nothing to search.
    """

    def __init__(self, documents: Mapping[str, str], *, k1: float = 1.2, b: float = 0.75) -> None:
        require("bm25s", "BM25")
        import bm25s

        if not documents:
            raise EvidenceError("BM25 needs at least one query and one document.")
        self._index = bm25s.BM25(k1=k1, b=b)
        self._names = np.array(list(documents))
        words = self._words(list(documents.values()))
        if not words.vocab:
            raise EvidenceError(
                "BM25 finds no word in the documents: it reads words of two characters and more"
                " that are no English stop words. Give candidates by a run, or use a dense first"
                " stage."
            )
        self._index.index(words, show_progress=False)

    def _words(self, texts: list[str]) -> Any:
        import bm25s

        return bm25s.tokenize(texts, stopwords="en", token_pattern=_WORD, show_progress=False)

    def run(self, queries: Mapping[str, str], *, depth: int = 100) -> pl.DataFrame:
        """The ``depth`` best documents of each query: columns query, document, score."""
        tokens = self._words(list(queries.values()))
        k = min(depth, len(self._names))
        found, scores = self._index.retrieve(tokens, k=k, show_progress=False)
        return _run(queries, self._names[found], scores).filter(pl.col("score") > 0)


def dense_run(
    queries: Mapping[str, str],
    documents: Mapping[str, str],
    encoder: Any,
    *,
    depth: int = 100,
    batch: int = 64,
    progress: bool = False,
    cache: str | None = None,
) -> pl.DataFrame:
    """The ``depth`` documents of each query nearest in cosine, exactly.

    Columns query, document, score.

    Parameters
    ----------
    encoder
        of sentence-transformers
    cache
        see ``encode_texts``
    """
    if not queries or not documents:
        raise EvidenceError("a search needs at least one query and one document.")
    texts = list(documents.values())
    known = encode_texts(encoder, texts, batch=batch, progress=progress, cache=cache)
    asked = encode_texts(encoder, list(queries.values()), batch=batch, cache=cache)
    k, names = min(depth, len(known)), np.array(list(documents))
    tops, scores = [], []
    for start in range(0, len(asked), 256):
        cosine = asked[start : start + 256] @ known.T
        nearest = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
        tops.append(nearest)
        scores.append(np.take_along_axis(cosine, nearest, axis=1))
    top, score = np.concatenate(tops), np.concatenate(scores)
    order = np.argsort(-score, axis=1, kind="stable")
    return _run(
        queries,
        names[np.take_along_axis(top, order, axis=1)],
        np.take_along_axis(score, order, axis=1),
    )


def _run(queries: Mapping[str, str], documents: NDArray[Any], scores: NDArray[Any]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "query": np.repeat(np.array(list(queries)), documents.shape[1]),
            "document": documents.ravel(),
            "score": scores.ravel().astype(float),
        }
    )
