"""Rank-R1: a reranker that is rewarded for naming the relevant passage, and sorts by a heap.

Zhuang et al. (2025), "Rank-R1: Enhancing Reasoning in LLM-based Document Rerankers via
Reinforcement Learning", arXiv 2503.06034.

**The claim**: GRPO with a reward of 1 for naming the one relevant passage of twenty reaches with
18% of the data what supervised fine-tuning reaches with all; the choices make a ranking by setwise
heap sort.

**What is done here**: *Data*: Cranfield, candidates by BM25; a set is a relevant passage and up to
19 others. A small network on MiniLM's features is a softmax over the set. GRPO samples 8 choices a
set; supervised is cross-entropy on the relevant one; each learns from all sets of the training
queries or from 18% of them, 400 updates of 32 sets, at one of three learning rates, by nDCG@10 on a
third of the queries that judges nothing. The supervised one on 18% is the control that the claim
needs. Judged is nDCG@10 of BM25's 100 candidates in the order of the scores (what a heap sort of
its choices gives), over queries: five folds, three draws. *Calls*: lists of 100 with random values,
the first ten by heaps of 3, 9 and 19 children. *Noise*: a chooser that is right with a chance, else
names any; one, three or five votes on shuffled sets of 20; nDCG@10 of lists with ten relevant.
Differences from the paper: no language model, no reasoning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from policyrank.learn import PolicyObjective, group_advantage
from policyrank.learn.rewards import ndcg
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.cranfield import (
    FIRST_STAGE,
    NDCG,
    Candidates,
    Fold,
    PassageScorer,
    Rerankers,
    descend,
    inputs,
    reranking,
    usable,
)
from policyrank.studies.frame import Measured, Report, Row, Scale, quiet, scores_of
from policyrank.train.sorts import Choose, by_vote, setwise_heapsort

TITLE = "Rank-R1"
PAPER = "arXiv 2503.06034"
ABOUT = "rewarded for naming the relevant passage; sorting by a heap"
CALLS, FIRST_TEN = "calls", "share of the first ten"
SHARE = 0.18
GRPO, GRPO_FEW = "GRPO, all sets", "GRPO, 18% of sets"
SFT, SFT_FEW, BM25 = "supervised, all sets", "supervised, 18% of sets", FIRST_STAGE
LEARNERS = (GRPO, GRPO_FEW, SFT, SFT_FEW)
CHILDREN = {"3 children": 3, "9 children": 9, "19 children": 19}
VOTES = {"1 vote": 1, "3 votes": 3, "5 votes": 5}
RIGHT = {"right in 40%": 0.4, "right in 60%": 0.6, "right in 80%": 0.8}

UNIT, LIST = Unit("query", "task"), Unit("list")
CLAIMS = (
    *for_each((GRPO_FEW, SFT), Claim("{} beats BM25", "{}", BM25, NDCG)),
    Claim("GRPO on 18% loses at most .01 to supervised on all", GRPO_FEW, SFT, NDCG, -0.01),
    Claim("GRPO beats supervised, both on 18%", GRPO_FEW, SFT_FEW, NDCG),
    Claim("GRPO beats supervised, both on all", GRPO, SFT, NDCG),
    Claim("All sets beat 18% of them (supervised)", SFT, SFT_FEW, NDCG),
    Claim(
        "A heap finds the true first ten",
        "19 children",
        1.0,
        FIRST_TEN,
        1e-9,
        kind="identity",
        unit=LIST,
    ),
    Claim(
        "19 children need less than half the calls of 3",
        "19 children",
        "half the calls of 3 children",
        CALLS,
        unit=LIST,
    ),
    *for_each(
        [(votes, right) for votes in ("3 votes", "5 votes") for right in RIGHT],
        Claim(
            "{0} rank better than one ({1})",
            "{0}",
            "1 vote",
            "nDCG@10 by votes",
            0.01,
            ("{1}",),
            unit=LIST,
        ),
    ),
)
CONSTANTS = ("half the calls of 3 children",)


@dataclass(frozen=True)
class Size:
    """Draws, folds, updates, and random lists; candidates of a query, and queries in use."""

    draws: int
    folds: int
    updates: int
    lists: int
    depth: int
    most: int | None = None


SCALES: dict[Scale, Size] = {
    "smoke": Size(1, 2, 5, 4, 30, 30),
    "small": Size(3, 5, 400, 200, 100),
    "full": Size(10, 5, 2000, 1000, 100),
}
SET, CHOICES, BATCH = 20, 8, 32


def run(scale: Scale, seed: int, report: Report = quiet) -> Measured:
    """Measure; a task is a query, or a kind of list; a replicate a draw, or a list."""
    size = SCALES[scale]
    torch.set_num_threads(1)
    report("encoding Cranfield")
    lists = reranking(size.depth, size.most)
    names = usable(lists)
    rerankers = Rerankers(
        lists,
        names,
        LEARNERS,
        lambda method, fold, rate: trained(method, lists, fold, rate, size),
        size.folds,
        size.draws,
        seed,
    )
    tuned = rerankers.tuned(report)
    rows = list(rerankers.judged(tuned, report))
    report("sorting random lists")
    rows += of_calls(np.random.default_rng([seed, 1]), size.lists)
    rows += of_votes(np.random.default_rng([seed, 2]), size.lists)
    return Measured(scores_of(rows, lower_is_better=(CALLS,)), tuple(tuned.values()))


# Data ---------------------------------------------------------------------------------------------


def sets_of(
    lists: Mapping[str, Candidates], names: Sequence[str], rng: np.random.Generator
) -> Tensor:
    """A set for each relevant passage, which stands first in it: (sets, SET, features)."""
    found = []
    for name in names:
        own = lists[name]
        features = inputs(own)
        others = np.flatnonzero(own.grades <= 0)
        for relevant in np.flatnonzero(own.grades > 0):
            beside = rng.choice(others, SET - 1, replace=len(others) < SET - 1)
            found.append(features[np.r_[relevant, beside]])
    return torch.stack(found)


def trained(
    method: str, lists: Mapping[str, Candidates], fold: Fold, rate: float, size: Size
) -> nn.Module:
    """A scorer that has learned to name the relevant passage of a set."""
    rng = np.random.default_rng(fold.seed)
    sets = sets_of(lists, fold.train, rng)
    if method in (GRPO_FEW, SFT_FEW):
        sets = sets[rng.permutation(len(sets))[: max(1, round(SHARE * len(sets)))]]
    generator = torch.Generator().manual_seed(fold.seed)
    scorer = PassageScorer(sets.shape[-1], fold.seed)
    objective = PolicyObjective()

    def loss() -> Tensor:
        batch = sets[torch.randint(len(sets), (BATCH,), generator=generator)]
        log_probs = torch.log_softmax(scorer(batch), dim=-1)
        if method in (SFT, SFT_FEW):
            return -log_probs[:, 0].mean()
        chosen = torch.multinomial(log_probs.exp().detach(), CHOICES, True, generator=generator)
        rewards = (chosen == 0).float().reshape(-1)
        groups = torch.arange(BATCH).repeat_interleave(CHOICES)
        gain = group_advantage(rewards, groups, scale="sample")
        of_chosen = log_probs.gather(1, chosen).reshape(-1, 1)
        return objective(of_chosen, gain, torch.ones_like(of_chosen)).loss

    return descend(scorer, loss, rate=rate, updates=size.updates)


# Sorting ------------------------------------------------------------------------------------------


def of_calls(rng: np.random.Generator, lists: int) -> Iterator[Row]:
    """Calls for the first ten of 100, and whether they are the true ones."""
    for number in range(lists):
        value = rng.random(100)
        true = np.argsort(-value)[:10].tolist()
        for method, children in CHILDREN.items():
            found = setwise_heapsort(
                100,
                lambda items, value=value: int(np.argmax(value[list(items)])),
                children=children,
            )
            yield method, "100 items", CALLS, number, float(found.calls)
            if method == "3 children":
                yield CONSTANTS[0], "100 items", CALLS, number, found.calls / 2
            same = float(np.mean([own in true for own in found.order[:10]]))
            yield method, "100 items", FIRST_TEN, number, same


def _erring(value: NDArray[np.float64], chance: float, rng: np.random.Generator) -> Choose:
    """Names the best of some with a chance, else any."""

    def choose(items: Sequence[int]) -> int:
        if rng.random() < chance:
            return int(np.argmax(value[list(items)]))
        return int(rng.integers(len(items)))

    return choose


def of_votes(rng: np.random.Generator, lists: int) -> Iterator[Row]:
    """nDCG@10 by choosers that err, with one or several votes."""
    for number in range(lists):
        grades = np.zeros(100)
        grades[rng.choice(100, 10, replace=False)] = rng.integers(1, 4, 10)
        value = grades + 0.01 * rng.random(100)
        for setting, chance in RIGHT.items():
            for method, votes in VOTES.items():
                choose = _erring(value, chance, rng)
                voted = by_vote(choose, votes, seed=int(rng.integers(2**31)))
                order = list(setwise_heapsort(100, voted).order)
                gains = torch.from_numpy(grades)
                reached = float(ndcg(gains[order][None], gains, k=10))
                yield method, setting, "nDCG@10 by votes", number, reached
