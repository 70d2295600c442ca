"""Lists of texts: queries with candidates that are named documents of a collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from policyrank.errors import EvidenceError
from policyrank.fingerprints import hashed
from policyrank.train.data import Batch, Lists
from policyrank.train.negatives import Sampler, uniform


@dataclass(frozen=True)
class Texts:
    """What a ranker of texts sees.

    A query text a list, and documents (lists, n) as places in a collection.
    """

    queries: tuple[str, ...]
    documents: NDArray[np.int64]
    collection: Sequence[str]

    def to(self, device: Any) -> Texts:
        """Texts have no device."""
        return self


@dataclass(frozen=True, eq=False)
class TextData(Lists):
    """Queries with candidates that are texts.

    Attributes
    ----------
    texts
        of the queries
    documents
        (rows,), places in the collection
    names, collection
        of all documents
    in_batch
        a step's lists also see each other's documents, as negatives (label 0) unless they are
        judged relevant
    random
        so many documents of the collection, drawn anew, join each step's lists as negatives
    """

    texts: tuple[str, ...]
    documents: NDArray[np.int64]
    names: tuple[str, ...]
    collection: tuple[str, ...]
    in_batch: bool = False
    random: int = 0

    @classmethod
    def of(
        cls,
        queries: Mapping[str, str],
        documents: Mapping[str, str],
        run: pl.DataFrame,
        qrels: pl.DataFrame | None = None,
        *,
        add_relevant: bool = True,
    ) -> TextData:
        """Candidates of a run, labelled by judgements.

        Parameters
        ----------
        queries, documents
            texts by name
        run
            columns query, document, score
        qrels
            columns query, document, grade; what is not judged has label 0 (None: all labels 0, to
            rerank)
        add_relevant
            relevant documents that the run lacks join the list, with first-stage score -inf; for
            training, never for testing

        Raises
        ------
        EvidenceError
            When a run or judgement names a query or document that is not there.
        """
        rows = _labelled(run, qrels, add_relevant=add_relevant)
        if not rows.height:
            raise EvidenceError("no candidates: the run is empty.")
        _check_names(rows, "query", queries, "queries")
        _check_names(rows, "document", documents, "documents")
        names = rows["query"].unique(maintain_order=True).to_list()
        code = dict(zip(names, range(len(names)), strict=True))
        rows = rows.with_columns(
            code=pl.col("query").replace_strict(code, return_dtype=pl.Int64)
        ).sort("code", maintain_order=True)
        sizes = np.bincount(rows["code"].to_numpy())
        place = dict(zip(documents, range(len(documents)), strict=True))
        return cls(
            queries=tuple(names),
            offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            labels=rows["grade"].to_numpy().astype(float),
            first_stage=rows["score"].cast(pl.Float64).to_numpy(),
            texts=tuple(queries[name] for name in names),
            documents=np.array([place[name] for name in rows["document"]]),
            names=tuple(documents),
            collection=tuple(documents.values()),
        )

    def features_of(self, which: NDArray[np.int64], index: NDArray[np.int64]) -> Texts:
        queries = tuple(self.texts[query] for query in which)
        return Texts(queries, self.documents[index], self.collection)

    def batch(
        self,
        which: ArrayLike,
        size: int | None = None,
        rng: np.random.Generator | None = None,
        sampler: Sampler = uniform,
    ) -> Batch:
        """As of any lists.

        In training (with a generator) the negatives of ``in_batch`` and ``random`` join.
        """
        found = super().batch(which, size, rng, sampler)
        if rng is None or not (self.in_batch or self.random):
            return found
        own, shown = found.features.documents, found.where.numpy()
        more = np.empty(0, dtype=np.int64)
        if self.in_batch:
            more = np.unique(own[shown])
        drawn = min(self.random, len(self.collection))
        more = np.union1d(more, rng.choice(len(self.collection), drawn, replace=False))
        new = np.empty((len(own), len(more)), dtype=bool)
        for k, query in enumerate(np.asarray(which)):
            new[k] = ~np.isin(more, np.concatenate([own[k][shown[k]], self._relevant(query)]))

        def join(values: Tensor, fill: float) -> Tensor:
            return torch.cat([values, torch.full(new.shape, fill, dtype=values.dtype)], dim=1)

        documents = np.hstack([own, np.broadcast_to(more, new.shape)])
        return Batch(
            replace(found.features, documents=documents),
            join(found.labels, 0.0),
            torch.cat([found.where, torch.from_numpy(new)], dim=1),
            join(found.rows, -1),
        )

    def fingerprint(self) -> dict[str, int | str]:
        """Of any lists, and of the texts."""
        return {
            **super().fingerprint(),
            "documents": len(self.collection),
            "texts of queries": hashed(self.texts),
            "texts of documents": hashed(self.names, self.collection),
            "candidates": hashed(self.documents),
            "negatives": f"in_batch={self.in_batch}, random={self.random}",
        }

    def _relevant(self, query: int) -> NDArray[np.int64]:
        """Documents that are judged relevant to a query."""
        own = slice(self.offsets[query], self.offsets[query + 1])
        return self.documents[own][self.labels[own] > 0]


def _labelled(run: pl.DataFrame, qrels: pl.DataFrame | None, *, add_relevant: bool) -> pl.DataFrame:
    """Candidates with their grades, and relevant documents that the run lacks at the end."""
    key = ["query", "document"]
    if qrels is None:
        qrels = pl.DataFrame(schema={**dict.fromkeys(key, pl.String), "grade": pl.Float64})
    rows = (
        run.select(*key, "score")
        .join(qrels, on=key, how="left")
        .with_columns(pl.col("grade").fill_null(0.0))
    )
    if not add_relevant:
        return rows
    missed = qrels.filter(pl.col("grade") > 0).join(run, on=key, how="anti")
    missed = missed.filter(pl.col("query").is_in(run["query"].unique().to_list()))
    added = missed.select(*key, score=pl.lit(-np.inf), grade=pl.col("grade").cast(pl.Float64))
    return pl.concat([rows, added])


def _check_names(rows: pl.DataFrame, column: str, known: Mapping[str, str], what: str) -> None:
    unknown = rows.filter(~pl.col(column).is_in(list(known)))
    if unknown.height:
        raise EvidenceError(
            f"{column} {unknown[column][0]!r} is in the run or the judgements, but not among the"
            f" {what}."
        )
