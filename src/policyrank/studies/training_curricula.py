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

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from policyrank.evidence import Scores
from policyrank.learn import Curriculum
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.cranfield import Candidates, reranking
from policyrank.studies.frame import Report, Row, Scale, quiet, scores_of
from policyrank.train import Mlp, RankerTrainer, RankingData

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
BY = ("reciprocal rank", "normalised score", "KDE")
UNIT, FOLD = Unit("query", "task"), Unit("fold", overlap=1 / 3)
CLAIMS = (
    *for_each(
        BY,
        Claim("The curriculum by {} beats none in the reciprocal rank", "{}", "none", RR),
    ),
    *for_each(BY, Claim("The curriculum by {} beats none in nDCG@10", "{}", "none", NDCG)),
    Claim(
        "The curriculum by reciprocal rank is ahead early on",
        "reciprocal rank",
        "none",
        EARLY,
        unit=FOLD,
    ),
    Claim("Easy first beats hard first early on", "reciprocal rank", "anti", EARLY, unit=FOLD),
    Claim(
        "Weighing by sample beats the batch's mean weight in nDCG@10",
        "reciprocal rank",
        "batch mean",
        NDCG,
    ),
)


def data_of(lists: dict[str, Candidates], names: list[str]) -> RankingData:
    """These queries' candidates."""
    own = [lists[name] for name in names]
    return RankingData.of(
        np.repeat(names, [len(one.grades) for one in own]),
        np.concatenate([one.grades for one in own]),
        np.concatenate([one.features for one in own]),
        np.concatenate([one.scores for one in own]),
    )


@dataclass(frozen=True)
class Size:
    """``most``: queries in use; ``depth``: candidates of each."""

    seeds: int
    epochs: int
    depth: int
    folds: int
    most: int | None = None


SCALES: dict[Scale, Size] = {
    "smoke": Size(seeds=1, epochs=2, depth=10, folds=2, most=40),
    "small": Size(seeds=3, epochs=40, depth=100, folds=5),
    "full": Size(seeds=10, epochs=40, depth=100, folds=5),
}


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a task is a query, a replicate a seed; early on a replicate is a fold."""
    torch.set_num_threads(1)
    return scores_of(_rows(SCALES[scale], seed, report))


def _rows(size: Size, seed: int, report: Report) -> Iterator[Row]:
    report("encoding Cranfield")
    lists = reranking(size.depth, size.most)
    # queries without a relevant candidate cannot be improved
    usable = sorted(name for name, own in lists.items() if own.grades.any())
    for s in range(size.seeds):
        order = np.random.default_rng([seed, s]).permutation(usable)
        parts = [part.tolist() for part in np.array_split(order, 5)]
        for f in range(size.folds):
            a, b, c, valid, test = np.roll(np.arange(5), -f)
            train_data = data_of(lists, [*parts[a], *parts[b], *parts[c]])
            valid_data, test_data = data_of(lists, parts[valid]), data_of(lists, parts[test])
            for method, curriculum in METHODS.items():
                report(f"{method}: seed {s + 1} of {size.seeds}, fold {f + 1} of {size.folds}")
                torch.manual_seed(seed * 1000 + s)
                trainer = RankerTrainer(
                    Mlp(769, (64,), 0.2),
                    loss="pair-softmax",
                    curriculum=curriculum,
                    metric=NDCG,
                    epochs=size.epochs,
                    lists=8,
                    size=20,
                    seed=seed * 1000 + s,
                )
                history = trainer.fit(train_data, valid_data)
                early = [epoch.validation for epoch in history[:10]]
                yield method, "Cranfield", EARLY, s * size.folds + f, float(np.mean(early))
                for measure in (RR, NDCG):
                    values = trainer.evaluate(test_data, measure).tolist()
                    for query, value in zip(test_data.queries, values, strict=True):
                        yield method, f"query {query}", measure, s, value
