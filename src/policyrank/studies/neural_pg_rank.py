"""Neural PG-RANK: training a ranker by policy gradient on the measure itself.

Gao, Chang, Cardie, Brantley and Joachims (2023), "Policy-Gradient Training of Language Models for
Ranking", arXiv 2310.04407.

**The claim**: taking the ranker as a Plackett-Luce policy and ascending the expected nDCG@10 beats
training by contrastive, pairwise and listwise losses, most where training and evaluation measure
agree; leave-one-out and reward-to-go baselines make the gradient less noisy.

**What is done here**: MSLR-WEB10K samples (136 features, grades 0 to 4): an MLP with one hidden
layer of 32 learns from 33 queries, ten more choose the epoch, 43 others test. All losses have the
same model, starts, batches, 30 epochs and three learning rates to choose from, on other draws of
the training queries; 16 rankings are sampled a query. Claims are over test queries, whose values
are means over seeds (start, split into training and validation, draws). Alignment: the same policy
gradient on nDCG@10 and on the reciprocal rank of documents of grade 2 or more, each judged by both.
Differences from the paper: features, not language models and MS MARCO, and few queries, so that
all losses overfit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policyrank.evidence import datasets
from policyrank.learn.utilities import ndcg_gains, reciprocal_rank_gains
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.fairness import Settings, tune
from policyrank.studies.frame import Measured, Report, Row, Scale, quiet, scores_of
from policyrank.train import Mlp, RankerTrainer, RankingData, read_letor

TITLE = "Neural PG-RANK"
PAPER = "arXiv 2310.04407"
ABOUT = "policy gradient on the measure against other ranking losses"
NDCG, RR = "nDCG(gain=exp2)@10", "RR(least=2)"


def first_good(labels: Tensor, rankings: Tensor, where: Tensor) -> Tensor:
    """Reciprocal rank of documents of grade 2 or more."""
    return reciprocal_rank_gains((labels - 1).clamp(min=0), rankings, where)


def _policy_gradient(**options: Any) -> dict[str, Any]:
    return {
        "loss": "pg-rank",
        "loss_options": {"k": 10, "samples": 16, "utility": ndcg_gains} | options,
    }


METHODS: dict[str, dict[str, Any]] = {
    "PG-RANK": _policy_gradient(),
    "PG-RANK, whole reward": _policy_gradient(reward_to_go=False),
    "PG-RANK, no baseline": _policy_gradient(reward_to_go=False, baseline="none"),
    "PG-RANK, GRPO's scaling": _policy_gradient(reward_to_go=False, baseline="std"),
    "PG-RANK on reciprocal rank": _policy_gradient(utility=first_good),
    "softmax (contrastive)": {"loss": "softmax"},
    "RankNet": {"loss": "ranknet"},
    "ListMLE": {"loss": "listmle"},
    "ListNet": {"loss": "listnet"},
    "LambdaRank": {"loss": "lambdarank", "loss_options": {"k": 10}},
}

UNIT = Unit("test query", "task")
CLAIMS = (
    *for_each(
        ("softmax (contrastive)", "RankNet", "ListMLE", "ListNet", "LambdaRank"),
        Claim("PG-RANK beats {} on nDCG@10", "PG-RANK", "{}", NDCG),
    ),
    Claim("PG-RANK loses at most .02 to RankNet", "PG-RANK", "RankNet", NDCG, -0.02),
    Claim(
        "The leave-one-out baseline beats none by .02",
        "PG-RANK, whole reward",
        "PG-RANK, no baseline",
        NDCG,
        0.02,
    ),
    Claim("Reward-to-go beats the whole reward", "PG-RANK", "PG-RANK, whole reward", NDCG),
    Claim(
        "Trained on nDCG it is better in nDCG than trained on reciprocal rank",
        "PG-RANK",
        "PG-RANK on reciprocal rank",
        NDCG,
    ),
    Claim(
        "Trained on reciprocal rank it is better in that than trained on nDCG",
        "PG-RANK on reciprocal rank",
        "PG-RANK",
        RR,
    ),
)


@dataclass(frozen=True)
class Size:
    """Seeds of training, and those of tuning, apart; epochs, and lists to learn from."""

    seeds: int
    tuning: int
    epochs: int
    lists: int


SCALES: dict[Scale, Size] = {
    "smoke": Size(2, 1, 2, 8),
    "small": Size(10, 3, 30, 43),
    "full": Size(50, 10, 100, 43),
}
RATES = (3e-4, 1e-3, 3e-3)
"""Learning rates that each method may choose from."""


def run(scale: Scale, seed: int, report: Report = quiet) -> Measured:
    """Measure; a task is a test query, a replicate a seed of training."""
    size = SCALES[scale]
    torch.set_num_threads(1)  # lists this small gain nothing from more
    data = read_letor(datasets.FILES["msn1.fold1.train.5k.txt.gz"].fetch()).standardised()
    test = read_letor(datasets.FILES["msn1.fold1.test.5k.txt.gz"].fetch()).standardised()
    learner = Learner(data, size, seed)

    def reached(method: str, settings: Settings, r: int) -> float:
        report(f"tuning {method}: {settings}, seed {r}")
        return learner.trained(method, settings, 1000 + r)[1]

    grids = {method: [{"learning_rate": rate} for rate in RATES] for method in METHODS}
    tuned = tune(grids, reached, range(size.tuning), metric="validation")
    rows: list[Row] = []
    for r in range(size.seeds):
        for method in METHODS:
            report(f"{method}: seed {r + 1} of {size.seeds}")
            trainer, _ = learner.trained(method, tuned[method].chosen, r)
            for metric in (NDCG, RR):
                values = trainer.evaluate(test, metric)
                for query, value in zip(test.queries, values.tolist(), strict=True):
                    rows.append((method, f"query {query}", metric, r, value))
    return Measured(scores_of(rows), tuple(tuned.values()))


@dataclass(frozen=True)
class Learner:
    """Trains on random parts of the training queries; a quarter of them chooses the epoch."""

    data: RankingData
    size: Size
    seed: int

    def trained(self, method: str, settings: Settings, r: int) -> tuple[RankerTrainer, float]:
        """A trainer that is done, and the best that it reached on its validation queries."""
        lists = self.size.lists
        order = np.random.default_rng([self.seed, r]).permutation(len(self.data))[:lists]
        cut = lists * 3 // 4 + 1
        train, validation = part(self.data, order[:cut]), part(self.data, order[cut:])
        torch.manual_seed(self.seed * 10_000 + r)
        trainer = RankerTrainer(
            Mlp(136, (32,)),
            metric=RR if "reciprocal" in method else NDCG,
            epochs=self.size.epochs,
            seed=self.seed * 10_000 + r,
            **METHODS[method],
            **settings,
        )
        history = trainer.fit(train, validation)
        return trainer, max(epoch.validation for epoch in history)


def part(data: RankingData, which: np.ndarray[tuple[int], np.dtype[np.int64]]) -> RankingData:
    """These queries alone."""
    rows = [np.arange(data.offsets[q], data.offsets[q + 1]) for q in which]
    names = np.repeat([data.queries[q] for q in which], [len(own) for own in rows])
    every = np.concatenate(rows)
    return RankingData.of(names, data.labels[every], data.features[every], data.first_stage[every])
