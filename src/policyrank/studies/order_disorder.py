"""Order-Disorder: imitation attacks on black-box neural rankers.

Liu, Kang, Tang, Song, Sun, Wang, Lu and Liu (2022), "Order-Disorder: Imitation Adversarial Attacks
for Black-box Neural Ranking Models", arXiv 2209.06506.

**The claim**: a ranker can be imitated from its ranked lists, a few trigger words found on the
imitation lift passages in the ranker itself, and with terms for fluency and coherence the triggers
are harder to detect than stuffing with the query.

**What is done here**: Cranfield; the victim is MiniLM (cosine, 160 tokens), its first 200 documents
of each query are ranked. The imitation, a small model of word vectors, learns from 150 queries'
lists; the five lowest documents of 20 other queries are attacked with at most six words (the
inserted query has about 17). A replicate is an attacked query, over three seeds. "overlap" is that
of the first ten of imitation and victim (by chance .05), BM25's overlap beside it. "best of the
query's" tries the triggers found for all five documents of the query on each and keeps the best, as
the paper's released code does. "defended" is the trigger against the least of five scores, another
fifth of the document left out in each (three queries a seed). A text is flagged when its oddest
eight words are more perplexing, or fuller of query words, than those of 95% of clean texts, to a
bigram model that has not seen the attacked documents. Differences from the paper: no BERT in the
search (bigrams and word vectors instead), no MS MARCO.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from policyrank.auditing.attacks import (
    ATTACKS,
    AttackReport,
    attack,
    deletion_defence,
    rank_of,
    words,
)
from policyrank.evidence import Scores, datasets
from policyrank.models.encoders import encode_texts, load_encoder
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.frame import Report, Row, Scale, prefixed, quiet, scores_of
from policyrank.train.first_stage import bm25_run
from policyrank.train.scorers import cosine_scorer

TITLE = "Order-Disorder"
PAPER = "arXiv 2209.06506"
ABOUT = "imitation attacks on black-box rankers: a few words that lift documents"
WHERE = "Cranfield, MiniLM"
Scorer = Callable[[str, Sequence[str]], NDArray[np.float64]]
MEASURES = {
    "boost": pl.col("old") - pl.col("new"),
    "success": pl.col("new") < pl.col("old"),
    "into the first 50": pl.col("new") <= 50,
    "flagged": pl.col("flagged"),
    "query words among the added": pl.col("query_share"),
}
UNIT = Unit("query", of=lambda name: name[-4:].lstrip("0"))
CONSTANTS = ("chance",)
CLAIMS = (
    Claim(
        "The imitation's first ten overlap by .2 more than chance",
        "imitation",
        "chance",
        "overlap",
        0.2,
    ),
    Claim(
        "The imitation overlaps no less than BM25, but for .02",
        "imitation",
        "BM25",
        "overlap",
        -0.02,
    ),
    *for_each(
        ("random words", "anchor words", "substitution"),
        Claim("The trigger lifts more than {}", "trigger", "{}", "boost"),
    ),
    Claim(
        "Words of the anchor lift more than random words", "anchor words", "random words", "boost"
    ),
    Claim("The trigger raises nine of ten documents", "trigger", 0.9, "success"),
    Claim(
        "Fluency and coherence cost at most ten ranks",
        "trigger",
        "trigger, unguarded",
        "boost",
        -10,
    ),
    Claim(
        "Fluency and coherence make the trigger harder to detect",
        "trigger, unguarded",
        "trigger",
        "flagged",
    ),
    Claim(
        "The inserted query is detected more often than the trigger",
        "query inserted",
        "trigger",
        "flagged",
    ),
    Claim(
        "Trying all the query's triggers flatters the trigger",
        "trigger, best of the query's",
        "trigger",
        "boost",
    ),
    Claim(
        "Scoring by the least of deletions takes 20 ranks of the trigger",
        "trigger, where the defence was tried",
        "trigger, defended",
        "boost",
        20,
    ),
)


@dataclass(frozen=True)
class Size:
    """``tried``: queries on which the defence is; ``queries``, ``documents``: those in use."""

    seeds: int
    attacked: int
    lists: int
    depth: int
    tried: int
    queries: int | None = None
    documents: int | None = None


SCALES: dict[Scale, Size] = {
    "smoke": Size(1, 2, 6, 20, 1, queries=10, documents=60),
    "small": Size(seeds=3, attacked=20, lists=150, depth=200, tried=3),
    "full": Size(seeds=10, attacked=50, lists=150, depth=200, tried=10),
}


@dataclass(frozen=True)
class Collection:
    """Queries and documents, who ranks them, and the first documents of each query."""

    queries: dict[str, str]
    documents: dict[str, str]
    victim: Scorer
    nearest: dict[str, list[str]]


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is an attacked query."""
    torch.set_num_threads(1)
    size = SCALES[scale]
    report("encoding Cranfield")
    collection = _collection(size)
    rows: list[Row] = []
    for s in range(size.seeds):
        found = attack(
            collection.victim,
            collection.queries,
            collection.documents,
            collection.nearest,
            attacked=size.attacked,
            lists=size.lists,
            seed=seed * 1000 + s,
            report=prefixed(report, f"seed {s + 1} of {size.seeds}, "),
        )
        for k, query in enumerate(found.overlaps):
            if k < size.tried:
                report(f"seed {s + 1}: the defence, query {k + 1} of {size.tried}")
            for method, metric, value in _of_query(found, collection, query, k < size.tried):
                rows.append((method, WHERE, metric, int(f"{s}{int(query):04d}"), value))
    return scores_of(rows)


def _collection(size: Size) -> Collection:
    """Cranfield as MiniLM ranks it."""
    queries, documents, _ = datasets.load("cranfield")
    queries = dict(list(queries.items())[: size.queries])
    written = [(name, text) for name, text in documents.items() if text]
    documents = dict(written[: size.documents])
    encoder = load_encoder("minilm", device="cpu")
    encoder.max_seq_length = 160
    asked = encode_texts(encoder, list(queries.values()), cache="minilm")
    vectors = encode_texts(encoder, list(documents.values()), cache="minilm")
    texts = [*queries.values(), *documents.values()]
    victim = cosine_scorer(encoder, known=dict(zip(texts, [*asked, *vectors], strict=True)))
    names = np.array(list(documents))
    nearest = {}
    for query, vector in zip(queries, asked, strict=True):
        order = np.argsort(-(vectors @ vector), kind="stable")[: size.depth]
        nearest[query] = names[order].tolist()
    return Collection(queries, documents, victim, nearest)


def _of_query(
    found: AttackReport, collection: Collection, query: str, defend: bool
) -> Iterator[tuple[str, str, float]]:
    """Method, metric, value of one attacked query."""
    own = {name: collection.documents[name] for name in collection.nearest[query]}
    text = {query: collection.queries[query]}
    bm25 = set(bm25_run(text, own, depth=10)["document"])
    yield "imitation", "overlap", found.overlaps[query]
    yield "chance", "overlap", found.chance
    yield "BM25", "overlap", len(bm25 & set(collection.nearest[query][:10])) / 10
    part = found.frame.filter(pl.col("query") == query)
    for method in ATTACKS:
        mine = part.filter(pl.col("method") == method)
        for metric, value in MEASURES.items():
            values = mine.select(value).to_series().to_numpy()
            yield method, metric, float(values.mean())
    mine = part.filter(pl.col("method") == "trigger")
    yield "trigger, best of the query's", "boost", _best_of_all(found, collection, query, mine)
    if defend:
        yield "trigger, defended", "boost", _defended(found, collection, query, mine)
        gain = mine["old"] - mine["new"]
        yield "trigger, where the defence was tried", "boost", float(gain.to_numpy().mean())


def _best_of_all(
    found: AttackReport, collection: Collection, query: str, mine: pl.DataFrame
) -> float:
    """Mean boost where each document gets the best of the triggers of all."""
    names, documents = collection.nearest[query], collection.documents
    scores = collection.victim(collection.queries[query], [documents[name] for name in names])
    triggers = []
    for name in mine["document"]:
        edited, original = words(found.texts["trigger", query, name]), words(documents[name])
        triggers.append(edited[: -len(original) or None])
    boosts = []
    for name, old in mine.select("document", "old").iter_rows():
        original = words(documents[name])
        versions = [" ".join([*trigger, *original]) for trigger in triggers]
        others = np.delete(scores, names.index(name))
        new = collection.victim(collection.queries[query], versions)
        boosts.append(old - min(rank_of(score, others) for score in new))
    return float(np.mean(boosts))


def _defended(found: AttackReport, collection: Collection, query: str, mine: pl.DataFrame) -> float:
    """Mean boost where the least score of deletions counts."""
    names, asked = collection.nearest[query], collection.queries[query]
    defended = deletion_defence(collection.victim)
    scores = defended(asked, [collection.documents[name] for name in names])
    gains = []
    for name in mine["document"]:
        at = names.index(name)
        others = np.delete(scores, at)
        new = defended(asked, [found.texts["trigger", query, name]])[0]
        gains.append(rank_of(scores[at], others) - rank_of(new, others))
    return float(np.mean(gains))
