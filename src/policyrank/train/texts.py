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
from policyrank.models.encoders import load_cross_encoder, load_encoder
from policyrank.train.data import Batch, Lists
from policyrank.train.negatives import Sampler, uniform


@dataclass(frozen=True)
class Texts:
    """What a ranker of texts sees: a query text a list, and documents (lists, n) as places in a
    collection.
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
        judged = (
            qrels
            if qrels is not None
            else pl.DataFrame(
                schema={"query": pl.String, "document": pl.String, "grade": pl.Float64}
            )
        )
        rows = (
            run.select("query", "document", "score")
            .join(judged, on=["query", "document"], how="left")
            .with_columns(pl.col("grade").fill_null(0.0))
        )
        if add_relevant:
            missed = judged.filter(pl.col("grade") > 0).join(
                run, on=["query", "document"], how="anti"
            )
            missed = missed.filter(pl.col("query").is_in(run["query"].unique().to_list()))
            rows = pl.concat(
                [
                    rows,
                    missed.select(
                        "query",
                        "document",
                        score=pl.lit(-np.inf),
                        grade=pl.col("grade").cast(pl.Float64),
                    ),
                ]
            )
        if not rows.height:
            raise EvidenceError("no candidates: the run is empty.")
        for column, known, what in (
            ("query", queries, "queries"),
            ("document", documents, "documents"),
        ):
            unknown = rows.filter(~pl.col(column).is_in(list(known)))
            if unknown.height:
                raise EvidenceError(
                    f"{column} {unknown[column][0]!r} is in the run or the judgements, but not"
                    f" among the {what}."
                )
        code = {n: k for k, n in enumerate(dict.fromkeys(rows["query"]))}
        rows = rows.with_columns(
            code=pl.col("query").replace_strict(code, return_dtype=pl.Int64)
        ).sort("code", maintain_order=True)
        place = {n: k for k, n in enumerate(documents)}
        return cls(
            tuple(code),
            np.concatenate([[0], np.cumsum(np.bincount(rows["code"].to_numpy()))]).astype(np.int64),
            rows["grade"].to_numpy().astype(float),
            rows["score"].cast(pl.Float64).to_numpy(),
            tuple(queries[n] for n in code),
            np.array([place[n] for n in rows["document"]]),
            tuple(documents),
            tuple(documents.values()),
        )

    def features_of(self, which: NDArray[np.int64], index: NDArray[np.int64]) -> Texts:
        return Texts(tuple(self.texts[q] for q in which), self.documents[index], self.collection)

    def batch(
        self,
        which: ArrayLike,
        size: int | None = None,
        rng: np.random.Generator | None = None,
        sampler: Sampler = uniform,
    ) -> Batch:
        """As of any lists; in training (with a generator) the negatives of ``in_batch`` and
        ``random`` join.
        """
        found = super().batch(which, size, rng, sampler)
        if rng is None or not (self.in_batch or self.random):
            return found
        own, shown = found.features.documents, found.where.numpy()
        more = np.unique(own[shown]) if self.in_batch else np.empty(0, dtype=np.int64)
        more = np.union1d(
            more,
            rng.choice(len(self.collection), min(self.random, len(self.collection)), replace=False),
        )
        good = [
            self.documents[a:b][self.labels[a:b] > 0]
            for a, b in ((self.offsets[q], self.offsets[q + 1]) for q in np.asarray(which))
        ]
        new = np.stack(
            [
                ~np.isin(more, np.concatenate([row[w], g]))
                for row, w, g in zip(own, shown, good, strict=True)
            ]
        )

        def join(values: Tensor, fill: float) -> Tensor:
            return torch.cat([values, torch.full(new.shape, fill, dtype=values.dtype)], dim=1)

        texts = replace(
            found.features, documents=np.hstack([own, np.broadcast_to(more, new.shape)])
        )
        return Batch(
            texts,
            join(found.labels, 0.0),
            join(found.first_stage, -np.inf),
            torch.cat([found.where, torch.from_numpy(new)], dim=1),
            join(found.rows, -1),
        )


class CrossEncoderRanker(nn.Module):
    """Scores of a cross-encoder: query and document read together.

    Parameters
    ----------
    encoder
        ``sentence_transformers.CrossEncoder`` with one label
    batch
        pairs read at once, the longest first
    """

    def __init__(self, encoder: Any, batch: int = 32) -> None:
        super().__init__()
        self.encoder, self.batch = encoder, batch

    def forward(self, texts: Texts, where: Tensor) -> Tensor:
        lists, places = np.nonzero(where.cpu().numpy())
        pairs = [
            (texts.queries[i], texts.collection[texts.documents[i, j]])
            for i, j in zip(lists, places, strict=True)
        ]
        order = np.argsort([-len(d) for _, d in pairs], kind="stable")
        parts = []
        for start in range(0, len(order), self.batch):
            seen = self.encoder.preprocess([pairs[k] for k in order[start : start + self.batch]])
            parts.append(
                self.encoder(
                    {k: v.to(where.device) for k, v in seen.items() if isinstance(v, Tensor)}
                )["scores"]
                .squeeze(-1)
                .float()
            )
        if not parts:
            return torch.zeros(where.shape, device=where.device)
        back = torch.from_numpy(np.argsort(order)).to(where.device)
        return torch.zeros(where.shape, device=where.device).masked_scatter(
            where, torch.cat(parts)[back]
        )

    def save(self, path: Any) -> None:
        """In sentence-transformers' own format."""
        self.encoder.save_pretrained(str(path), create_model_card=False)


class BiEncoderRanker(nn.Module):
    """Scores of a bi-encoder: ``scale`` times the cosine of the vectors of query and document; each
    document of a step is read once.

    Parameters
    ----------
    encoder
        ``sentence_transformers.SentenceTransformer``
    scale
        20 is the field's custom for softmax losses
    batch
        texts read at once, the longest first
    """

    def __init__(self, encoder: Any, scale: float = 20.0, batch: int = 64) -> None:
        super().__init__()
        self.encoder, self.scale, self.batch = encoder, scale, batch

    def vectors(self, texts: Sequence[str], device: Any) -> Tensor:
        """Unit vectors (texts, d), with gradients."""
        order = np.argsort([-len(t) for t in texts], kind="stable")
        parts = []
        for start in range(0, len(order), self.batch):
            seen = self.encoder.preprocess([texts[k] for k in order[start : start + self.batch]])
            found = self.encoder(
                {k: v.to(device) for k, v in seen.items() if isinstance(v, Tensor)}
            )["sentence_embedding"]
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
        self.encoder.save_pretrained(str(path), create_model_card=False)


def cross_encoder(
    name: str = "minilm",
    *,
    batch: int = 32,
    max_length: int | None = None,
    layers: int | None = None,
    device: str | None = None,
) -> CrossEncoderRanker:
    """A cross-encoder by folder, hub name, or ``minilm``; ``layers`` trains only so many of its
    last layers and the head.
    """
    return CrossEncoderRanker(
        train_last(load_cross_encoder(name, device, max_length), layers), batch
    )


def bi_encoder(
    name: str = "minilm",
    *,
    scale: float = 20.0,
    batch: int = 64,
    max_length: int | None = None,
    layers: int | None = None,
    device: str | None = None,
) -> BiEncoderRanker:
    """A bi-encoder by folder, hub name, or ``minilm``; ``layers`` trains only so many of its last
    layers.
    """
    encoder = load_encoder(name, device)
    if max_length is not None:
        encoder.max_seq_length = max_length
    return BiEncoderRanker(train_last(encoder, layers), scale, batch)


TEXT_RANKERS: dict[str, Callable[..., Any]] = {
    "cross-encoder": cross_encoder,
    "bi-encoder": bi_encoder,
}


def train_last(encoder: Any, layers: int | None) -> Any:
    """Freeze all but the last ``layers`` layers and what comes after them (None: nothing is
    frozen).

    Raises
    ------
    EvidenceError
        When the encoder has no list of layers.
    """
    if layers is None:
        return encoder
    stacks = sorted(
        (m for m in encoder.modules() if isinstance(m, nn.ModuleList) and len(m)),
        key=lambda m: -sum(p.numel() for p in m.parameters()),
    )
    if not stacks or not 0 <= layers <= len(stacks[0]):
        raise EvidenceError(
            f"layers={layers}: the encoder has {len(stacks[0]) if stacks else 'no list of'} layers."
        )
    frozen = {id(p) for layer in stacks[0][: len(stacks[0]) - layers] for p in layer.parameters()}
    frozen |= {id(p) for n, p in encoder.named_parameters() if "embeddings" in n}
    for p in encoder.parameters():
        p.requires_grad_(id(p) not in frozen)
    return encoder
