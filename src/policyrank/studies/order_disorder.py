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

from typing import Any

import numpy as np
import torch

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
from policyrank.studies.frame import Claim, Report, Scale, quiet
from policyrank.train.first_stage import bm25_run
from policyrank.train.scorers import cosine_scorer

TITLE = "Order-Disorder"
PAPER = "arXiv 2209.06506"
ABOUT = "imitation attacks on black-box rankers: a few words that lift documents"
WHERE = "Cranfield, MiniLM"
MEASURES = {
    "boost": "boost",
    "success": "success",
    "into the first 50": "first50",
    "flagged": "flagged",
    "query words among the added": "query_share",
}
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
    *(
        Claim(f"The trigger lifts more than {m}", "trigger", m, "boost")
        for m in ("random words", "anchor words", "substitution")
    ),
    Claim(
        "Words of the anchor lift more than random words", "anchor words", "random words", "boost"
    ),
    Claim("The trigger raises nine of ten documents", "trigger", "nine of ten", "success"),
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


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is an attacked query."""
    seeds, attacked, lists, depth, tried = {
        "smoke": (1, 2, 6, 20, 1),
        "small": (3, 20, 150, 200, 3),
        "full": (10, 50, 150, 200, 10),
    }[scale]
    torch.set_num_threads(1)
    queries, documents, _ = datasets.load("cranfield")
    documents = {k: v for k, v in documents.items() if v}
    if scale == "smoke":
        queries, documents = dict(list(queries.items())[:10]), dict(list(documents.items())[:60])
    encoder = load_encoder("minilm", device="cpu")
    encoder.max_seq_length = 160
    report("encoding Cranfield")
    names = list(documents)
    asked, vectors = (
        encode_texts(encoder, list(queries.values()), cache="minilm"),
        encode_texts(encoder, list(documents.values()), cache="minilm"),
    )
    victim = cosine_scorer(
        encoder,
        known=dict(zip([*queries.values(), *documents.values()], [*asked, *vectors], strict=True)),
    )
    nearest = {
        q: [names[i] for i in np.argsort(-(vectors @ v), kind="stable")[:depth]]
        for q, v in zip(queries, asked, strict=True)
    }
    rows: list[tuple[str, str, int, float]] = []
    for s in range(seeds):
        found = attack(
            victim,
            queries,
            documents,
            nearest,
            attacked=attacked,
            lists=lists,
            seed=seed * 1000 + s,
            report=lambda text, s=s: report(f"seed {s + 1} of {seeds}, {text}"),  # type: ignore[misc]
        )
        rows += _rows(found, victim, queries, documents, nearest, s, tried, report)
    methods, metrics, replicates, values = zip(*rows, strict=True)
    return Scores.of(methods, [WHERE] * len(rows), values, metric=metrics, replicate=replicates)


def _rows(
    found: AttackReport,
    victim: Any,
    queries: Any,
    documents: Any,
    nearest: Any,
    s: int,
    tried: int,
    report: Report,
) -> list[tuple[str, str, int, float]]:
    out: list[tuple[str, str, int, float]] = []
    defended = deletion_defence(victim)
    for k, (q, overlap) in enumerate(found.overlaps.items()):
        r = s * 1000 + k
        own = {d: documents[d] for d in nearest[q]}
        bm25 = bm25_run({q: queries[q]}, own, depth=10)["document"].to_list()
        out += [
            ("imitation", "overlap", r, overlap),
            ("chance", "overlap", r, found.chance),
            ("BM25", "overlap", r, len(set(bm25) & set(nearest[q][:10])) / 10),
        ]
        part = found.frame.filter(found.frame["query"] == q)
        for method in ATTACKS:
            mine = part.filter(part["method"] == method)
            old, new = mine["old"].to_numpy(), mine["new"].to_numpy()
            values = {
                "boost": old - new,
                "success": new < old,
                "first50": new <= 50,
                "flagged": mine["flagged"].to_numpy(),
                "query_share": mine["query_share"].to_numpy(),
            }
            out += [(method, m, r, float(values[key].mean())) for m, key in MEASURES.items()]
        out.append(("nine of ten", "success", r, 0.9))
        mine = part.filter(part["method"] == "trigger")
        scores = victim(queries[q], list(own.values()))
        triggers = {
            d: words(found.texts["trigger", q, d])[: -len(words(documents[d])) or None]
            for d in mine["document"]
        }
        position = {d: i for i, d in enumerate(own)}
        best = []
        for d, old in mine.select("document", "old").iter_rows():
            versions = [" ".join([*triggers[e], *words(documents[d])]) for e in mine["document"]]
            others = np.delete(scores, position[d])
            best.append(old - min(rank_of(x, others) for x in victim(queries[q], versions)))
        out.append(("trigger, best of the query's", "boost", r, float(np.mean(best))))
        if k < tried:
            report(f"seed {s + 1}: the defence, query {k + 1} of {tried}")
            guarded = defended(queries[q], list(own.values()))
            gains = []
            for d in mine["document"]:
                others = np.delete(guarded, position[d])
                gains.append(
                    rank_of(guarded[position[d]], others)
                    - rank_of(defended(queries[q], [found.texts["trigger", q, d]])[0], others)
                )
            out.append(("trigger, defended", "boost", r, float(np.mean(gains))))
            out.append(
                (
                    "trigger, where the defence was tried",
                    "boost",
                    r,
                    float((mine["old"] - mine["new"]).mean()),  # type: ignore[arg-type]
                )
            )
    return out
