"""First stages: candidates by BM25, as a run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from policyrank.evidence import EvidenceError


def bm25_run(
    queries: Mapping[str, str], documents: Mapping[str, str], *, depth: int = 100, k1: float = 1.2, b: float = 0.75
) -> pl.DataFrame:
    """The ``depth`` best documents of each query by BM25 (bm25s; English stop words, no stemming): columns query, document, score.

    Documents that share no word with the query are left out.

    Raises
    ------
    EvidenceError
        When the extra ``retrieval`` is missing, or there is nothing to search.
    """
    try:
        import bm25s
    except ModuleNotFoundError:
        raise EvidenceError("BM25 needs bm25s: pip install 'policyrank[retrieval]'") from None
    if not queries or not documents:
        raise EvidenceError("BM25 needs at least one query and one document.")
    index = bm25s.BM25(k1=k1, b=b)
    index.index(bm25s.tokenize(list(documents.values()), stopwords="en", show_progress=False), show_progress=False)
    tokens = bm25s.tokenize(list(queries.values()), stopwords="en", show_progress=False)
    found, scores = index.retrieve(tokens, k=min(depth, len(documents)), show_progress=False)
    names = np.array(list(documents))
    run = pl.DataFrame({
        "query": np.repeat(np.array(list(queries)), found.shape[1]), "document": names[found.ravel()], "score": scores.ravel().astype(float),
    })  # fmt: skip
    return run.filter(pl.col("score") > 0)
