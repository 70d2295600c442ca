"""Lists of texts, and rankers of texts: cross- and bi-encoders of sentence-transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from policyrank.errors import EvidenceError
from policyrank.models.encoders import head_is_new, load_cross_encoder, load_encoder
from policyrank.models.quiet import quietly
from policyrank.train.data import Batch, Lists
from policyrank.train.fingerprints import hashed
from policyrank.train.freezing import train_last
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


def _read(encoder: Any, texts: Sequence[Any], device: Any) -> Any:
    """What an encoder of sentence-transformers says of texts (or pairs), on a device."""
    inputs = {}
    for name, values in encoder.preprocess(list(texts)).items():
        if isinstance(values, Tensor):
            inputs[name] = values.to(device)
    return encoder(inputs)


def _longest_first(texts: Sequence[str]) -> NDArray[np.int64]:
    return np.argsort([-len(text) for text in texts], kind="stable")


class CrossEncoderRanker(nn.Module):
    """Scores of a cross-encoder: query and document read together.

    Parameters
    ----------
    encoder
        ``sentence_transformers.CrossEncoder`` with one label
    batch
        pairs read at once, the longest first
    notes
        what was done when the encoder was loaded
    """

    def __init__(self, encoder: Any, batch: int = 32, notes: Sequence[str] = ()) -> None:
        super().__init__()
        self.encoder, self.batch, self.notes = encoder, batch, tuple(notes)

    def forward(self, texts: Texts, where: Tensor) -> Tensor:
        shown = where.cpu().numpy()
        queries = np.nonzero(shown)[0]
        documents = [texts.collection[place] for place in texts.documents[shown]]
        order = _longest_first(documents)
        parts = []
        for start in range(0, len(order), self.batch):
            group = order[start : start + self.batch]
            pairs = [(texts.queries[queries[k]], documents[k]) for k in group]
            parts.append(_read(self.encoder, pairs, where.device)["scores"].squeeze(-1).float())
        out = torch.zeros(where.shape, device=where.device)
        if not parts:
            return out
        back = torch.from_numpy(np.argsort(order)).to(where.device)
        return out.masked_scatter(where, torch.cat(parts)[back])

    def save(self, path: Any) -> None:
        """In sentence-transformers' own format."""
        with quietly():
            self.encoder.save_pretrained(str(path), create_model_card=False)


class BiEncoderRanker(nn.Module):
    """Scores of a bi-encoder: ``scale`` times the cosine of query and document.

    Each document of a step is read once.

    Parameters
    ----------
    encoder
        ``sentence_transformers.SentenceTransformer``
    scale
        20 is the field's custom for softmax losses
    batch
        texts read at once, the longest first
    notes
        what was done when the encoder was loaded
    """

    def __init__(
        self, encoder: Any, scale: float = 20.0, batch: int = 64, notes: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.encoder, self.scale, self.batch = encoder, scale, batch
        self.notes = tuple(notes)

    def vectors(self, texts: Sequence[str], device: Any) -> Tensor:
        """Unit vectors (texts, d), with gradients."""
        order = _longest_first(texts)
        parts = []
        for start in range(0, len(order), self.batch):
            group = [texts[k] for k in order[start : start + self.batch]]
            found = _read(self.encoder, group, device)["sentence_embedding"]
            parts.append(nn.functional.normalize(found.float(), dim=-1))
        return torch.cat(parts)[torch.from_numpy(np.argsort(order)).to(device)]

    def forward(self, texts: Texts, where: Tensor) -> Tensor:
        shown = where.cpu().numpy()
        if not shown.any():
            return torch.zeros(where.shape, device=where.device)
        used, back = np.unique(texts.documents[shown], return_inverse=True)
        documents = self.vectors([texts.collection[k] for k in used], where.device)
        queries = self.vectors(texts.queries, where.device)
        place = np.zeros(shown.shape, dtype=np.int64)
        place[shown] = back
        cosine = (queries @ documents.T).gather(1, torch.from_numpy(place).to(where.device))
        return (self.scale * cosine).masked_fill(~where, 0.0)

    def save(self, path: Any) -> None:
        """In sentence-transformers' own format."""
        with quietly():
            self.encoder.save_pretrained(str(path), create_model_card=False)


def cross_encoder(
    name: str = "minilm",
    *,
    batch: int = 32,
    max_length: int | None = None,
    layers: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
) -> CrossEncoderRanker:
    """A cross-encoder by folder, hub name, or ``minilm``, to be trained.

    Parameters
    ----------
    batch
        pairs read at once
    max_length
        tokens of a pair; what is longer is cut (None: as the encoder was saved)
    layers
        train only so many of its last layers and the head
    dtype
        of the weights (None: float32, even where they were saved in half precision)
    """
    encoder = load_cross_encoder(name, device, max_length, dtype)
    notes = _widened(encoder, name, dtype)
    if head_is_new(encoder):
        notes.append(f"{name}: the head is new, its weights are drawn at random")
    return CrossEncoderRanker(train_last(encoder, layers), batch, notes)


def bi_encoder(
    name: str = "minilm",
    *,
    scale: float = 20.0,
    batch: int = 64,
    max_length: int | None = None,
    layers: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
) -> BiEncoderRanker:
    """A bi-encoder by folder, hub name, or ``minilm``, to be trained.

    Parameters
    ----------
    scale
        what cosines are multiplied by
    batch
        texts read at once
    max_length
        tokens of a text; what is longer is cut (None: as the encoder was saved)
    layers
        train only so many of its last layers
    dtype
        of the weights (None: float32, even where they were saved in half precision)
    """
    encoder = load_encoder(name, device, dtype)
    if max_length is not None:
        encoder.max_seq_length = max_length
    notes = _widened(encoder, name, dtype)
    return BiEncoderRanker(train_last(encoder, layers), scale, batch, notes)


def _widened(encoder: Any, name: str, dtype: str | None) -> list[str]:
    """Put weights in half precision into float32, where no ``dtype`` is told; what is said of it.

    A step of training is often smaller than what half precision can tell apart.
    """
    saved = {own.dtype for own in encoder.parameters() if own.is_floating_point()}
    small = saved & {torch.bfloat16, torch.float16}
    halves = sorted(str(own).removeprefix("torch.") for own in small)
    if dtype is not None or not halves:
        return []
    encoder.float()
    return [f"{name}: saved in {' and '.join(halves)}, its weights are float32 while it trains"]


TEXT_RANKERS: dict[str, Callable[..., Any]] = {
    "cross-encoder": cross_encoder,
    "bi-encoder": bi_encoder,
}


def long_texts(
    ranker: CrossEncoderRanker | BiEncoderRanker, data: TextData, *, most: int = 10_000
) -> tuple[int, int]:
    """How many candidates are longer than what a ranker reads, and how many were looked at.

    Parameters
    ----------
    most
        candidates to look at, spread over all; of a bi-encoder their documents are looked at, of a
        cross-encoder the pairs with their queries
    """
    tokenizer = ranker.encoder.tokenizer
    rows = np.unique(np.linspace(0, len(data.labels) - 1, min(most, len(data.labels))).astype(int))
    documents = [data.collection[place] for place in data.documents[rows]]
    texts = [documents]
    if isinstance(ranker, CrossEncoderRanker):
        query = np.searchsorted(data.offsets, rows, side="right") - 1
        texts = [[data.texts[place] for place in query], documents]
    found = tokenizer(*texts, truncation=False, verbose=False)["input_ids"]
    longest = ranker.encoder.max_seq_length
    return sum(len(ids) > longest for ids in found), len(rows)
