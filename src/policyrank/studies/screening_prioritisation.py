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
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from policyrank.evidence import Scores, datasets
from policyrank.models.encoders import encode_texts, load_encoder
from policyrank.ranking.runs import fuse_runs, score_runs
from policyrank.studies.frame import Claim, Report, Scale, quiet
from policyrank.train import RankerTrainer, RankingData, TextData, bi_encoder, linear
from policyrank.train.feedback import feedback_order
from policyrank.train.first_stage import bm25_run

TITLE = "Screening prioritisation"
PAPER = "arXiv 2212.09017"
ABOUT = "neural rankers, fusion and feedback on nine systematic reviews"
MEASURES = ("AP", "R%@10", "R%@20", "WSS@95", "WSS@100")
ZERO, BM25, FUSION = "MiniLM", "BM25", "BM25 + MiniLM"
CLAIMS = (
    *(
        Claim(f"MiniLM beats BM25 in {m}", ZERO, BM25, m)
        for m in ("AP", "R%@10", "R%@20", "WSS@95")
    ),
    Claim("BM25 beats a random order in AP", BM25, "random", "AP"),
    Claim("Titles alone beat titles and abstracts in AP (MiniLM)", "MiniLM, titles", ZERO, "AP"),
    Claim(
        "Titles and abstracts beat titles alone in WSS@95 (MiniLM)",
        ZERO,
        "MiniLM, titles",
        "WSS@95",
    ),
    *(Claim(f"Fusion beats MiniLM in {m}", FUSION, ZERO, m) for m in ("AP", "WSS@95")),
    *(
        Claim(f"{m} on other reviews beats MiniLM untuned in AP", m, ZERO, "AP")
        for m in ("head tuned", "last layer tuned")
    ),
    *(
        Claim(f"Relevance feedback beats MiniLM in {m}", "relevance feedback", ZERO, m)
        for m in ("AP", "WSS@95")
    ),
)
Float = NDArray[np.float64]


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a task is a review."""
    most, steps, draws = {"smoke": (24, 1, 2), "small": (None, 60, 20), "full": (None, 400, 100)}[
        scale
    ]
    queries, works = datasets.load("screening")
    if most is not None:  # the included ones first, of the two smallest reviews
        works = works.filter(pl.col("review").is_in(["Donners_2021", "Sep_2021"])).sort(
            "included", descending=True
        )
        works = works.filter(pl.int_range(pl.len()).over("review", "included") < most // 2).sort(
            "review", maintain_order=True
        )
    titles = works["title"].to_list()
    both = [f"{a} {b}".strip() for a, b in works.select("title", "abstract").iter_rows()]
    names = list(dict.fromkeys(works["review"]))
    report("encoding works")
    encoder = load_encoder("minilm", device="cpu")
    encoder.max_seq_length = 160
    vectors = {
        kind: encode_texts(encoder, texts, cache="minilm")
        for kind, texts in (("titles", titles), ("both", both))
    }
    asked = dict(zip(names, encode_texts(encoder, [queries[n] for n in names]), strict=True))
    rng = np.random.default_rng(seed)
    rows = {n: np.flatnonzero((works["review"] == n).to_numpy()) for n in names}
    labels = works["included"].to_numpy().astype(float)
    scores: dict[str, Float] = {
        ZERO: _each(rows, lambda n, r: vectors["both"][r] @ asked[n]),
        "MiniLM, titles": _each(rows, lambda n, r: vectors["titles"][r] @ asked[n]),
        BM25: _each(rows, lambda n, r: _bm25(queries[n], [both[k] for k in r], rng)),
        "BM25, titles": _each(rows, lambda n, r: _bm25(queries[n], [titles[k] for k in r], rng)),
    }
    report("feedback")
    scores["relevance feedback"] = _each(
        rows,
        lambda n, r: (
            -np.argsort(feedback_order(scores[ZERO][r], vectors["both"][r], labels[r])).astype(
                float
            )
        ),
    )
    scores["head tuned"] = _heads(rows, labels, scores, vectors["both"], asked, steps, seed, report)
    scores["last layer tuned"] = _layers(rows, labels, queries, both, steps, seed, report)
    frame = works.select(query="review", document="work_id")
    runs = {m: frame.with_columns(score=pl.Series(s)) for m, s in scores.items()}
    runs[FUSION] = fuse_runs([runs[BM25], runs[ZERO]])
    qrels = frame.with_columns(grade=pl.Series(labels))
    chance = {
        f"random {k}": frame.with_columns(score=pl.Series(rng.random(len(frame))))
        for k in range(draws)
    }
    table = (
        score_runs(runs | chance, qrels, MEASURES)
        .to_frame()
        .with_columns(pl.col("policy").cast(pl.String).str.replace(r"^random .*", "random"))
    )
    table = table.group_by("policy", "task", "metric", maintain_order=True).agg(
        pl.col("score").mean()
    )
    return Scores.of(
        table["policy"].to_list(),
        table["task"].to_list(),
        table["score"].to_numpy(),
        metric=table["metric"].to_list(),
    )


def _each(
    rows: dict[str, NDArray[np.int64]], score: Callable[[str, NDArray[np.int64]], Any]
) -> Float:
    out = np.empty(sum(map(len, rows.values())))
    for name, own in rows.items():
        out[own] = score(name, own)
    return out


def _bm25(query: str, texts: list[str], rng: np.random.Generator) -> Float:
    """Works that share no word with the query come last, in random order."""
    found = bm25_run({"q": query}, {str(k): t for k, t in enumerate(texts)}, depth=len(texts))
    out = -rng.random(len(texts)) * 1e-3
    out[found["document"].cast(pl.Int64).to_numpy()] = found["score"].to_numpy()
    return out


def _heads(
    rows: dict[str, NDArray[np.int64]],
    labels: Float,
    scores: dict[str, Float],
    vectors: Any,
    asked: dict[str, Any],
    steps: int,
    seed: int,
    report: Report,
) -> Float:
    """A linear head on the products of vectors and four scores, tuned on the other reviews."""
    found = [scores[m] for m in (ZERO, "MiniLM, titles", BM25, "BM25, titles")]
    scaled = [
        _each(rows, lambda n, r, s=s: (s[r] - s[r].mean()) / max(s[r].std(), 1e-9))  # type: ignore[misc]
        for s in found
    ]
    products = np.empty_like(vectors)
    for name, own in rows.items():
        products[own] = 20 * vectors[own] * asked[name]
    features = np.hstack([products, np.stack(scaled, axis=1)])

    def data(names: list[str]) -> RankingData:
        own = np.concatenate([rows[n] for n in names])
        return RankingData.of(
            np.repeat(names, [len(rows[n]) for n in names]), labels[own], features[own]
        )

    out = np.empty(len(labels))
    for name, own in rows.items():
        report(f"head, tuned without {name}")
        torch.manual_seed(seed)
        others = data([n for n in rows if n != name])
        trainer = RankerTrainer(
            linear(features.shape[1], dropout=0.0),
            loss="softmax",
            epochs=steps,
            size=8,
            seed=seed,
            weight_decay=0.1,
        )
        trainer.fit(others)
        out[own] = trainer.scores(data([name]))
    return out


def _layers(
    rows: dict[str, NDArray[np.int64]],
    labels: Float,
    queries: dict[str, str],
    texts: list[str],
    steps: int,
    seed: int,
    report: Report,
) -> Float:
    """The encoder's last layer, tuned on the other reviews; no choice of the epoch."""
    documents = {str(k): t for k, t in enumerate(texts)}

    def data(names: list[str]) -> TextData:
        own = np.concatenate([rows[n] for n in names])
        frame = pl.DataFrame(
            {"query": np.repeat(names, [len(rows[n]) for n in names]), "document": own.astype(str)}
        )
        return TextData.of(
            queries,
            documents,
            frame.with_columns(score=pl.lit(0.0)),
            frame.with_columns(grade=pl.Series(labels[own])),
            add_relevant=False,
        )

    out = np.empty(len(labels))
    for name, own in rows.items():
        report(f"last layer, tuned without {name}")
        torch.manual_seed(seed)
        others = data([n for n in rows if n != name])
        model = bi_encoder(layers=1, max_length=160, device="cpu")
        trainer = RankerTrainer(
            model,
            loss="softmax",
            epochs=steps,
            per_epoch=2,
            lists=2,
            size=8,
            learning_rate=2e-5,
            seed=seed,
        )
        trainer.fit(others)
        out[own] = trainer.scores(data([name]))
    return out
