"""ReasonRank: a listwise reranker that is rewarded by several views of its order.

Liu et al. (2025), "ReasonRank: Empowering Passage Ranking with Strong Reasoning Ability", arXiv
2508.07050.

**The claim**: the reward nDCG@10 + .2 recall@10 + .1 rank-biased overlap with a teacher's order
trains better than nDCG@10 alone.

**What is done here**: Cranfield, lists of 20: up to 8 relevant candidates of BM25 and random
others. A small network on MiniLM's features is a Plackett-Luce policy over a list; GRPO samples 8
orders of each of 16 lists, 300 updates. The teacher orders by grade, then by BM25. The views are
tried alone and together, as the paper's code has them (average overlap), at one of three learning
rates each, by nDCG@10 on a third of the queries that judges nothing. Judged is nDCG@10 by grades of
BM25's 100 candidates, over queries: five folds, three draws. Groups whose rewards are all equal
teach nothing: their share is counted at the start. Differences from the paper: no language model,
no reasoning, no format to learn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from policyrank.learn import PlackettLuce, PolicyObjective, group_advantage
from policyrank.learn.rewards import coverage, ndcg, rank_biased_overlap, weighted_sum
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.cranfield import (
    FIRST_STAGE,
    NDCG,
    Candidates,
    Fold,
    PassageScorer,
    Rerankers,
    apart,
    descend,
    inputs,
    reranking,
    usable,
)
from policyrank.studies.frame import Measured, Report, Row, Scale, quiet, scores_of

TITLE = "ReasonRank"
PAPER = "arXiv 2508.07050"
ABOUT = "a reranker rewarded by several views of its order"
GAIN, RECALL, OVERLAP = "nDCG alone", "recall alone", "overlap alone"
VIEWS, BM25 = "three views", FIRST_STAGE
SILENT = "groups that say nothing"
WEIGHTS: dict[str, tuple[float, float, float]] = {
    GAIN: (1, 0, 0),
    RECALL: (0, 1, 0),
    OVERLAP: (0, 0, 1),
    VIEWS: (1, 0.2, 0.1),
}
UNIT, DRAW = Unit("query", "task"), Unit("draw of lists")
CLAIMS = (
    *for_each(WEIGHTS, Claim("{}: beats BM25", "{}", BM25, NDCG)),
    *for_each((GAIN, RECALL, OVERLAP), Claim("Three views beat {}", VIEWS, "{}", NDCG)),
    Claim("Three views lose at most .005 to nDCG alone", VIEWS, GAIN, NDCG, -0.005),
    *for_each(
        (GAIN, RECALL),
        Claim("Fewer groups say nothing than with {}", VIEWS, "{}", SILENT, unit=DRAW),
    ),
)


@dataclass(frozen=True)
class Size:
    """Draws, folds, updates; draws of lists that are counted; candidates, queries."""

    draws: int
    folds: int
    updates: int
    counted: int
    depth: int
    most: int | None = None


SCALES: dict[Scale, Size] = {
    "smoke": Size(1, 2, 4, 2, 30, 30),
    "small": Size(3, 5, 300, 20, 100),
    "full": Size(10, 5, 1000, 100, 100),
}
LIST, RELEVANT, ORDERS, BATCH = 20, 8, 8, 16


@dataclass(frozen=True, eq=False)
class Lists:
    """Lists of 20: features (lists, LIST, features), grades, and places in the teacher's order."""

    features: Tensor
    grades: Tensor
    teacher: Tensor

    @classmethod
    def of(cls, lists: Mapping[str, Candidates], fold: Fold, rng: np.random.Generator) -> Lists:
        """A list of each training query."""
        features, grades, teacher = [], [], []
        for name in fold.train:
            own = lists[name]
            relevant = rng.permutation(np.flatnonzero(own.grades > 0))[:RELEVANT]
            others = np.flatnonzero(own.grades <= 0)
            beside = rng.choice(others, LIST - len(relevant), replace=False)
            chosen = rng.permutation(np.r_[relevant, beside])
            features.append(inputs(own)[chosen])
            grades.append(torch.from_numpy(own.grades[chosen]))
            teacher.append(torch.from_numpy(np.lexsort((-own.scores[chosen], -own.grades[chosen]))))
        return cls(torch.stack(features), torch.stack(grades), torch.stack(teacher))


def rewards(orders: Tensor, grades: Tensor, teacher: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Of orders (rows, LIST), by views of these weights: (rows,).

    ``grades``, ``teacher``: (rows, LIST).
    """
    relevant = (grades > 0).double()
    found = relevant.gather(1, orders)
    seen = found[:, :10].sum(dim=1)
    views = torch.stack(
        [
            ndcg(found, relevant, k=10),
            coverage(seen, torch.tensor(10), relevant.sum(dim=1)).double(),
            rank_biased_overlap(orders, teacher).double(),
        ],
        dim=1,
    )
    return weighted_sum(views, torch.tensor(weights).double())


def run(scale: Scale, seed: int, report: Report = quiet) -> Measured:
    """Measure; a task is a query, a replicate a draw."""
    size = SCALES[scale]
    torch.set_num_threads(1)
    report("encoding Cranfield")
    lists = reranking(size.depth, size.most)
    names = usable(lists, LIST - 1)
    rerankers = Rerankers(
        lists,
        names,
        tuple(WEIGHTS),
        lambda method, fold, rate: trained(method, lists, fold, rate, size),
        size.folds,
        size.draws,
        seed,
    )
    tuned = rerankers.tuned(report)
    rows = list(rerankers.judged(tuned, report))
    rows += silent(lists, apart(names, seed)[1], seed, size.counted)
    return Measured(scores_of(rows, lower_is_better=(SILENT,)), tuple(tuned.values()))


def trained(
    method: str, lists: Mapping[str, Candidates], fold: Fold, rate: float, size: Size
) -> nn.Module:
    """A scorer that has learned to order lists of 20."""
    own = Lists.of(lists, fold, np.random.default_rng(fold.seed))
    generator = torch.Generator().manual_seed(fold.seed)
    scorer = PassageScorer(own.features.shape[-1], fold.seed)
    objective = PolicyObjective(average="sequence")

    def loss() -> Tensor:
        chosen = torch.randint(len(own.features), (BATCH,), generator=generator)
        order = PlackettLuce(scorer(own.features[chosen]))
        drawn = order.sample(ORDERS, generator=generator)
        rows = drawn.transpose(0, 1).reshape(-1, LIST)
        who = chosen.repeat_interleave(ORDERS)
        value = rewards(rows, own.grades[who], own.teacher[who], WEIGHTS[method])
        groups = torch.arange(BATCH).repeat_interleave(ORDERS)
        gain = group_advantage(value, groups, scale="sample")
        log_probs = order.step_log_prob(drawn).transpose(0, 1).reshape(-1, LIST)
        return objective(log_probs, gain.float(), torch.ones_like(log_probs)).loss

    return descend(scorer, loss, rate=rate, updates=size.updates)


def silent(
    lists: Mapping[str, Candidates], names: list[str], seed: int, draws: int
) -> Iterator[Row]:
    """The share of groups of random orders whose rewards are all equal."""
    for draw in range(draws):
        fold = Fold(tuple(names), (), draw)
        own = Lists.of(lists, fold, np.random.default_rng([seed, draw, 7]))
        count = len(own.grades)
        generator = torch.Generator().manual_seed(seed * 1000 + draw)
        drawn = PlackettLuce(torch.zeros(count, LIST)).sample(ORDERS, generator=generator)
        rows = drawn.transpose(0, 1).reshape(-1, LIST)
        who = torch.arange(count).repeat_interleave(ORDERS)
        for method, weights in WEIGHTS.items():
            value = rewards(rows, own.grades[who], own.teacher[who], weights)
            spread = value.reshape(count, ORDERS)
            equal = spread.amax(dim=1) - spread.amin(dim=1) < 1e-9
            yield method, "at the start", SILENT, draw, float(equal.double().mean())
