"""Neural PG-RANK: training a ranker by policy gradient on the measure itself.

Gao, Chang, Cardie, Brantley and Joachims (2023), "Policy-Gradient Training of Language Models for
Ranking", arXiv 2310.04407.

**The claim**: taking the ranker as a Plackett-Luce policy and ascending the expected nDCG@10 beats
training by contrastive, pairwise and listwise losses, most where training and evaluation measure
agree; leave-one-out and reward-to-go baselines make the gradient less noisy.

**What is done here**: MSLR-WEB10K samples (136 features, grades 0 to 4): an MLP with one hidden
layer of 32 learns from 33 queries, ten more choose the epoch, 43 others test. All losses have the
same model, starts, batches, 30 epochs and learning rate 1e-3; 16 rankings are sampled a query. A
replicate is a seed (start, split into training and validation, draws). Alignment: the same policy
gradient on nDCG@10 and on the reciprocal rank of documents of grade 2 or more, each judged by both.
Differences from the paper: features instead of language models and MS MARCO, and few queries, so
that all losses overfit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from policyrank.evidence import Scores, datasets
from policyrank.learn.utilities import ndcg_gains, reciprocal_rank_gains
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.frame import Report, Row, Scale, quiet, scores_of
from policyrank.train import Mlp, RankerTrainer, RankingData, read_letor

TITLE = "Neural PG-RANK"
PAPER = "arXiv 2310.04407"
ABOUT = "policy gradient on the measure against other ranking losses"
NDCG, RR = "nDCG(gain=exp2)@10", "RR(least=2)"
TEST = "43 test queries"


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


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is one seed."""
    seeds, epochs, lists = {"smoke": (2, 2, 8), "small": (10, 30, 43), "full": (50, 100, 43)}[scale]
    torch.set_num_threads(1)  # lists this small gain nothing from more
    data = read_letor(datasets.FILES["msn1.fold1.train.5k.txt.gz"].fetch()).standardised()
    test = read_letor(datasets.FILES["msn1.fold1.test.5k.txt.gz"].fetch()).standardised()
    rows: list[Row] = []
    for r in range(seeds):
        order = np.random.default_rng([seed, r]).permutation(len(data))[:lists]
        cut = lists * 3 // 4 + 1
        train, validation = part(data, order[:cut]), part(data, order[cut:])
        for method, options in METHODS.items():
            report(f"{method}: seed {r + 1} of {seeds}")
            torch.manual_seed(seed * 1000 + r)
            metric = RR if "reciprocal" in method else NDCG
            trainer = RankerTrainer(
                Mlp(136, (32,)), metric=metric, epochs=epochs, seed=seed * 1000 + r, **options
            )
            trainer.fit(train, validation)
            for metric in (NDCG, RR):
                values = trainer.evaluate(test, metric)
                for query, value in zip(test.queries, values.tolist(), strict=True):
                    rows.append((method, f"query {query}", metric, r, value))
    return scores_of(rows)


def part(data: RankingData, which: np.ndarray[tuple[int], np.dtype[np.int64]]) -> RankingData:
    """These queries alone."""
    rows = [np.arange(data.offsets[q], data.offsets[q + 1]) for q in which]
    names = np.repeat([data.queries[q] for q in which], [len(own) for own in rows])
    every = np.concatenate(rows)
    return RankingData.of(names, data.labels[every], data.features[every], data.first_stage[every])
