"""Screening prioritisation: neural rankers for systematic reviews.

Wang, Scells, Koopman and Zuccon (2022), "Neural Rankers for Effective Screening Prioritisation in
Medical Systematic Review Literature Search", arXiv 2212.09017.

**The claim**: ranking what a review's search found by pre-trained language models beats earlier
rankers, fine-tuning on other reviews helps, fusion with an earlier ranker helps further, and it
matters whether documents are titles, abstracts or both.

**What is done here**: nine systematic reviews (7,234 works, .6% to 22% included after full-text
screening), the review's title as query, all works of the review ranked. MiniLM (160 tokens) by
cosine; BM25; their fusion (CombSUM); two models tuned on the other eight reviews by the contrastive
list loss (one included work, seven others): a linear head on vectors and scores, and the last layer
of the encoder; and relevance feedback, which sees labels while screening goes on (logistic
regression, batches of 25). A task is a review. R%@p is the recall within the first p percent, WSS@x
the work saved over sampling at recall x. Equal scores of BM25 are ordered at random. Differences
from the paper: no biomedical models, no CLEF collections, full-text labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from policyrank.evidence import Scores, datasets
from policyrank.models.encoders import encode_texts, load_encoder
from policyrank.ranking.runs import fuse_runs, score_runs
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.frame import Report, Scale, quiet
from policyrank.train import RankerTrainer, RankingData, TextData, bi_encoder, linear
from policyrank.train.feedback import feedback_order
from policyrank.train.first_stage import bm25_run

TITLE = "Screening prioritisation"
PAPER = "arXiv 2212.09017"
ABOUT = "neural rankers, fusion and feedback on nine systematic reviews"
MEASURES = ("AP", "R%@10", "R%@20", "WSS@95", "WSS@100")
ZERO, BM25, FUSION = "MiniLM", "BM25", "BM25 + MiniLM"
SCALES: dict[Scale, tuple[int | None, int, int]] = {
    "smoke": (24, 1, 2),
    "small": (None, 60, 20),
    "full": (None, 400, 100),
}
"""Works of a review in use, epochs of tuning, random orders."""
TITLES, BM25_TITLES = "MiniLM, titles", "BM25, titles"
FEEDBACK, HEAD, LAYER = "relevance feedback", "head tuned", "last layer tuned"
UNIT = Unit("review", "task")
CLAIMS = (
    *for_each(
        ("AP", "R%@10", "R%@20", "WSS@95"), Claim("MiniLM beats BM25 in {}", ZERO, BM25, "{}")
    ),
    Claim("BM25 beats a random order in AP", BM25, "random", "AP"),
    Claim("Titles alone beat titles and abstracts in AP (MiniLM)", TITLES, ZERO, "AP"),
    Claim("Titles and abstracts beat titles alone in WSS@95 (MiniLM)", ZERO, TITLES, "WSS@95"),
    *for_each(("AP", "WSS@95"), Claim("Fusion beats MiniLM in {}", FUSION, ZERO, "{}")),
    *for_each(
        (HEAD, LAYER),
        Claim("{} on other reviews beats MiniLM untuned in AP", "{}", ZERO, "AP"),
    ),
    *for_each(
        ("AP", "WSS@95"), Claim("Relevance feedback beats MiniLM in {}", FEEDBACK, ZERO, "{}")
    ),
)
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Reviews:
    """Works (n,) of several reviews, in rows: titles, texts, labels, and vectors of MiniLM."""

    frame: pl.DataFrame
    queries: dict[str, str]
    rows: dict[str, NDArray[np.int64]]
    labels: Float
    titles: list[str]
    texts: list[str]
    title_vectors: NDArray[np.float32]
    vectors: NDArray[np.float32]
    asked: dict[str, NDArray[np.float32]]

    @classmethod
    def of(cls, works: pl.DataFrame, queries: dict[str, str]) -> Reviews:
        """Read and encoded."""
        names = list(dict.fromkeys(works["review"]))
        titles = works["title"].to_list()
        texts = [f"{a} {b}".strip() for a, b in works.select("title", "abstract").iter_rows()]
        encoder = load_encoder("minilm", device="cpu")
        encoder.max_seq_length = 160
        title_vectors = encode_texts(encoder, titles, cache="minilm")
        vectors = encode_texts(encoder, texts, cache="minilm")
        asked = encode_texts(encoder, [queries[name] for name in names])
        of = works["review"].to_numpy()
        return cls(
            works.select(query="review", document="work_id"),
            queries,
            {name: np.flatnonzero(of == name) for name in names},
            works["included"].to_numpy().astype(float),
            titles,
            texts,
            title_vectors,
            vectors,
            dict(zip(names, asked, strict=True)),
        )

    def each(self, score: Callable[[str, NDArray[np.int64]], Any]) -> Float:
        """Scores of all works, review by review: of its name and its rows."""
        out = np.empty(len(self.labels))
        for name, own in self.rows.items():
            out[own] = score(name, own)
        return out

    def cosine(self, vectors: NDArray[np.float32]) -> Float:
        """Of each work's vector and its review's title."""
        return self.each(lambda name, own: vectors[own] @ self.asked[name])

    def bm25(self, texts: list[str], rng: np.random.Generator) -> Float:
        """Of the review's title and each work's text."""
        words = np.array(texts, dtype=object)
        return self.each(lambda name, own: _bm25(self.queries[name], words[own].tolist(), rng))

    def feedback(self, start: Float) -> Float:
        """The order in which relevance feedback asks for works, from that of these scores."""

        def score(name: str, own: NDArray[np.int64]) -> Float:
            order = feedback_order(start[own], self.vectors[own], self.labels[own])
            return -np.argsort(order).astype(float)

        return self.each(score)

    def named(self, names: list[str]) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
        """Rows of these reviews, and the review of each."""
        own = [self.rows[name] for name in names]
        return np.concatenate(own), np.repeat(names, [len(rows) for rows in own])

    def others(self, name: str) -> list[str]:
        """All reviews but one."""
        return [other for other in self.rows if other != name]


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a task is a review."""
    most, steps, draws = SCALES[scale]
    queries, works = datasets.load("screening")
    if most is not None:
        works = _few(works, most)
    report("encoding works")
    reviews = Reviews.of(works, queries)
    rng = np.random.default_rng(seed)
    scores: dict[str, Float] = {
        ZERO: reviews.cosine(reviews.vectors),
        TITLES: reviews.cosine(reviews.title_vectors),
        BM25: reviews.bm25(reviews.texts, rng),
        BM25_TITLES: reviews.bm25(reviews.titles, rng),
    }
    report("feedback")
    scores[FEEDBACK] = reviews.feedback(scores[ZERO])
    scores[HEAD] = _heads(reviews, scores, steps, seed, report)
    scores[LAYER] = _layers(reviews, steps, seed, report)
    runs = {method: _run(reviews, values) for method, values in scores.items()}
    runs[FUSION] = fuse_runs([runs[BM25], runs[ZERO]])
    for k in range(draws):
        runs[f"random {k}"] = _run(reviews, rng.random(len(reviews.labels)))
    qrels = reviews.frame.with_columns(grade=pl.Series(reviews.labels))
    table = score_runs(runs, qrels, MEASURES).to_frame()
    policy = pl.col("policy").cast(pl.String).str.replace(r"^random .*", "random")
    table = table.with_columns(policy)
    means = table.group_by("policy", "task", "metric", maintain_order=True).agg(
        pl.col("score").mean()
    )
    return Scores.of(
        means["policy"].to_list(),
        means["task"].to_list(),
        means["score"].to_numpy(),
        metric=means["metric"].to_list(),
    )


def _few(works: pl.DataFrame, most: int) -> pl.DataFrame:
    """The first works of the two smallest reviews, the included ones first."""
    works = works.filter(pl.col("review").is_in(["Donners_2021", "Sep_2021"]))
    works = works.sort("included", descending=True)
    place = pl.int_range(pl.len()).over("review", "included")
    return works.filter(place < most // 2).sort("review", maintain_order=True)


def _run(reviews: Reviews, scores: Float) -> pl.DataFrame:
    return reviews.frame.with_columns(score=pl.Series(scores))


def _bm25(query: str, texts: list[str], rng: np.random.Generator) -> Float:
    """Works that share no word with the query come last, in random order."""
    found = bm25_run({"q": query}, _numbered(texts), depth=len(texts))
    out = -rng.random(len(texts)) * 1e-3
    out[found["document"].cast(pl.Int64).to_numpy()] = found["score"].to_numpy()
    return out


def _numbered(texts: list[str]) -> dict[str, str]:
    return {str(k): text for k, text in enumerate(texts)}


def _heads(
    reviews: Reviews, scores: dict[str, Float], steps: int, seed: int, report: Report
) -> Float:
    """A linear head on the products of vectors and four scores, tuned on the other reviews."""
    products = np.empty_like(reviews.vectors)
    for name, own in reviews.rows.items():
        products[own] = 20 * reviews.vectors[own] * reviews.asked[name]
    scaled = [_scaled(reviews, scores[m]) for m in (ZERO, TITLES, BM25, BM25_TITLES)]
    features = np.hstack([products, np.stack(scaled, axis=1)])

    def data(names: list[str]) -> RankingData:
        own, review = reviews.named(names)
        return RankingData.of(review, reviews.labels[own], features[own])

    out = np.empty(len(reviews.labels))
    for name, own in reviews.rows.items():
        report(f"head, tuned without {name}")
        torch.manual_seed(seed)
        trainer = RankerTrainer(
            linear(features.shape[1], dropout=0.0),
            loss="softmax",
            epochs=steps,
            size=8,
            seed=seed,
            weight_decay=0.1,
        )
        trainer.fit(data(reviews.others(name)))
        out[own] = trainer.scores(data([name]))
    return out


def _scaled(reviews: Reviews, scores: Float) -> Float:
    """Mean 0 and standard deviation 1 in each review."""

    def score(name: str, own: NDArray[np.int64]) -> Float:
        return (scores[own] - scores[own].mean()) / max(scores[own].std(), 1e-9)

    return reviews.each(score)


def _layers(reviews: Reviews, steps: int, seed: int, report: Report) -> Float:
    """The encoder's last layer, tuned on the other reviews; no choice of the epoch."""
    documents = _numbered(reviews.texts)

    def data(names: list[str]) -> TextData:
        own, review = reviews.named(names)
        frame = pl.DataFrame({"query": review, "document": own.astype(str)})
        return TextData.of(
            reviews.queries,
            documents,
            frame.with_columns(score=pl.lit(0.0)),
            frame.with_columns(grade=pl.Series(reviews.labels[own])),
            add_relevant=False,
        )

    out = np.empty(len(reviews.labels))
    for name, own in reviews.rows.items():
        report(f"last layer, tuned without {name}")
        torch.manual_seed(seed)
        trainer = RankerTrainer(
            bi_encoder(layers=1, max_length=160, device="cpu"),
            loss="softmax",
            epochs=steps,
            per_epoch=2,
            lists=2,
            size=8,
            learning_rate=2e-5,
            seed=seed,
        )
        trainer.fit(data(reviews.others(name)))
        out[own] = trainer.scores(data([name]))
    return out
