"""Training curricula for re-ranking: easy samples first.

MacAvaney, Nardini, Perego, Tonellotto, Goharian and Frieder (2020), "Training Curricula for Open
Domain Answer Re-Ranking", arXiv 2004.14269.

**The claim**: weighting training samples by how easily BM25 ranks them, and fading the weights to
one, improves re-rankers.

**What is done here**: Cranfield (225 queries, graded), five folds (three to train, one to choose
the epoch, one to test), the first 100 of BM25 re-ranked by an MLP (769-64-1, dropout .2) on frozen
MiniLM vectors of query and document (20 times their product and their distance, 3 times the
cosine). Pairwise softmax loss on 20 documents a list, eight lists a step, Adam 1e-3, 40 epochs,
weights one from epoch 20 on. A replicate is a seed and a fold. "anti" takes hard samples first;
"batch mean" gives all pairs of a batch their mean weight, as the paper's released code does.
"early" is the mean of nDCG@10 on the validation queries over the first ten epochs. Differences from
the paper: frozen features and a small collection instead of trained encoders on MS MARCO, ANTIQUE
and TREC CAR.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch

from policyrank.evidence import Scores, datasets
from policyrank.learn import Curriculum
from policyrank.models.encoders import encode_texts, load_encoder
from policyrank.studies.frame import Claim, Report, Scale, quiet
from policyrank.train import Mlp, RankerTrainer, RankingData
from policyrank.train.first_stage import bm25_run

TITLE = "Training curricula"
PAPER = "arXiv 2004.14269"
ABOUT = "easy samples first, for re-rankers"
RR, NDCG, EARLY = "RR", "nDCG@10", "early nDCG@10"
METHODS: dict[str, Curriculum | None] = {
    "none": None,
    "reciprocal rank": Curriculum("reciprocal-rank", 20),
    "normalised score": Curriculum("normalised", 20),
    "KDE": Curriculum("kde", 20),
    "anti": Curriculum("reciprocal-rank", 20, anti=True),
    "batch mean": Curriculum("reciprocal-rank", 20, batch_mean=True),
}
CLAIMS = (
    *(
        Claim(f"The curriculum by {m} beats none in the reciprocal rank", m, "none", RR)
        for m in ("reciprocal rank", "normalised score", "KDE")
    ),
    *(
        Claim(f"The curriculum by {m} beats none in nDCG@10", m, "none", NDCG)
        for m in ("reciprocal rank", "normalised score", "KDE")
    ),
    Claim("The curriculum by reciprocal rank is ahead early on", "reciprocal rank", "none", EARLY),
    Claim("Easy first beats hard first early on", "reciprocal rank", "anti", EARLY),
    Claim(
        "Weighing by sample beats the batch's mean weight in nDCG@10",
        "reciprocal rank",
        "batch mean",
        NDCG,
    ),
)


@cache
def reranking(
    depth: int, most: int | None = None
) -> dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Of each query (the first ``most``): grades, features and BM25 scores of its candidates."""
    queries, documents, qrels = datasets.load("cranfield")
    queries = dict(list(queries.items())[:most])
    run = bm25_run(queries, documents, depth=depth).join(
        qrels, on=["query", "document"], how="left"
    )
    encoder = load_encoder("minilm", device="cpu")
    used = sorted(set(run["document"]))
    d = dict(zip(used, encode_texts(encoder, [documents[x] for x in used]), strict=True))
    q = dict(zip(queries, encode_texts(encoder, list(queries.values())), strict=True))
    out = {}
    for (name,), part in run.group_by("query", maintain_order=True):
        theirs = np.stack([d[x] for x in part["document"]])
        own = q[str(name)]
        features = np.hstack(
            [20 * own * theirs, 20 * np.abs(own - theirs), 3 * (theirs @ own)[:, None]]
        )
        out[str(name)] = (
            part["grade"].fill_null(0.0).to_numpy(),
            features.astype(np.float32),
            part["score"].to_numpy(),
        )
    return out


def data_of(lists: dict[str, Any], names: list[str]) -> RankingData:
    rows = [(n, *lists[n]) for n in names]
    return RankingData.of(
        np.repeat(names, [len(r[1]) for r in rows]),
        np.concatenate([r[1] for r in rows]),
        np.concatenate([r[2] for r in rows]),
        np.concatenate([r[3] for r in rows]),
    )


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is a seed and a fold."""
    seeds, epochs, depth, folds = {
        "smoke": (1, 2, 10, 2),
        "small": (3, 40, 100, 5),
        "full": (10, 40, 100, 5),
    }[scale]
    torch.set_num_threads(1)
    report("encoding Cranfield")
    lists = reranking(depth, 40 if scale == "smoke" else None)
    lists = {
        n: v for n, v in lists.items() if v[0].any()
    }  # queries without a relevant candidate cannot be improved
    rows: list[tuple[str, str, str, int, float]] = []
    for s in range(seeds):
        order = np.random.default_rng([seed, s]).permutation(sorted(lists))
        parts = [p.tolist() for p in np.array_split(order, 5)]
        for f in range(folds):
            sets = [
                data_of(lists, [n for k in which for n in parts[(f + k) % 5]])
                for which in ((0, 1, 2), (3,), (4,))
            ]
            for method, curriculum in METHODS.items():
                report(f"{method}: seed {s + 1} of {seeds}, fold {f + 1} of {folds}")
                torch.manual_seed(seed * 1000 + s)
                trainer = RankerTrainer(
                    Mlp(769, (64,), 0.2),
                    loss="pair-softmax",
                    curriculum=curriculum,
                    metric=NDCG,
                    epochs=epochs,
                    lists=8,
                    size=20,
                    seed=seed * 1000 + s,
                )
                history = trainer.fit(sets[0], sets[1])
                r = s * folds + f
                rows += [
                    (method, "Cranfield", m, r, float(trainer.evaluate(sets[2], m).mean()))
                    for m in (RR, NDCG)
                ]
                rows.append(
                    (
                        method,
                        "Cranfield",
                        EARLY,
                        r,
                        float(np.mean([h.validation for h in history[:10]])),
                    )
                )
    methods, tasks, metrics, replicates, values = zip(*rows, strict=True)
    return Scores.of(methods, tasks, values, metric=metrics, replicate=replicates)
