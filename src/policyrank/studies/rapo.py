"""RAPO: relative and absolute rewards of a score that a model writes.

"Unlocking the Essence of Beauty: Advanced Aesthetic Reasoning with Relative-Absolute Policy
Optimization" (2025), arXiv 2509.21871.

**The claim**: rewarding both how near a score is (a bell of the error) and how it orders a picture
among others (fidelity under Thurstone's model) makes a better judge of pictures than either alone.

**What is done here**: *AADB*, 9,958 photographs with eleven attributes by people, and *KADID-10k*,
10,125 distorted pictures of 81, known by kind and level (scores mapped to [0, 1]). Each
is cut into ten disjoint parts (of KADID by picture), which are the replicates; seven tenths of a
part are learned from, the rest judge. The scorer is a small network whose score is sampled with two
decimals; 800 updates of GRPO on 32 items with 8 answers each. All rewards have the same start,
budget, and three learning rates, of which the one with the highest correlation (PLCC; of the order
alone nothing more is known of scale) in two parts is taken, and these parts judge nothing. Ridge
regression stands beside. "Ties high" is the relative reward as the paper's code has it, by which of
two equal pictures each is the higher one. Differences from the paper: no pictures, no vision model,
no reasoning: what the rewards do to a scorer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from policyrank.evidence import datasets
from policyrank.evidence.quality_datasets import ScoredItems
from policyrank.learn.rewards import bell, near, rank_fidelity, within
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.fairness import Settings, tune
from policyrank.studies.frame import Measured, Report, Row, Scale, by_metric, quiet, scores_of
from policyrank.studies.scorers import (
    Float,
    ScoreReward,
    Training,
    judged,
    part,
    predicted,
    split_by_group,
    standardised,
    train_scorer,
)

TITLE = "RAPO"
PAPER = "arXiv 2509.21871"
ABOUT = "relative and absolute rewards of scores"
L1, STEP, ABSOLUTE, RELATIVE = "L1", "threshold", "absolute", "relative"
BOTH, HIGH, RIDGE = "relative + absolute", "relative + absolute, ties high", "ridge regression"
SETS = ("AADB", "KADID-10k")
SRCC, PLCC, RMSE, TIMES = "SRCC", "PLCC", "RMSE", "RMSE over that of both"


def absolute(scores: Tensor, true: Tensor) -> Tensor:
    """A bell of the error, of width .1."""
    return bell(scores, true[:, None], sigma=0.1)


REWARDS: dict[str, ScoreReward] = {
    L1: lambda scores, true: near(scores, true[:, None], span=1.0),
    STEP: lambda scores, true: within(scores, true[:, None], steps={0.1: 1.0}),
    ABSOLUTE: absolute,
    RELATIVE: rank_fidelity,
    BOTH: lambda scores, true: absolute(scores, true) + rank_fidelity(scores, true),
    HIGH: lambda scores, true: absolute(scores, true) + rank_fidelity(scores, true, tie=1.0),
}
UNIT = Unit("part of the data")
CLAIMS = (
    *for_each(
        SETS,
        Claim("Both beat absolute alone in rank ({})", BOTH, ABSOLUTE, SRCC, tasks=("{}",)),
    ),
    *for_each(
        SETS,
        Claim("Both beat relative alone in rank ({})", BOTH, RELATIVE, SRCC, tasks=("{}",)),
    ),
    *for_each(
        (ABSOLUTE, RELATIVE, L1, STEP),
        Claim("Both lose at most .01 to {} in rank", BOTH, "{}", SRCC, -0.01, kind="everywhere"),
    ),
    Claim("Alone, relative errs 1.3 times as much", BOTH, RELATIVE, TIMES, 0.3, kind="everywhere"),
    Claim(
        "Both err at most 2% more than absolute", BOTH, ABSOLUTE, TIMES, -0.02, kind="everywhere"
    ),
    Claim("Ties as halves beat ties as high", BOTH, HIGH, SRCC, tasks=("AADB",)),
    Claim(
        "Both correlate better than ridge regression on AADB", BOTH, RIDGE, PLCC, tasks=("AADB",)
    ),
)


@dataclass(frozen=True)
class Size:
    """Parts that judge, parts for tuning, updates."""

    parts: int
    tuning: int
    updates: int


SCALES: dict[Scale, Size] = {
    "smoke": Size(2, 1, 20),
    "small": Size(8, 2, 800),
    "full": Size(8, 2, 5000),
}
RATES = (1e-3, 3e-3, 1e-2)
PARTS = 10


def run(scale: Scale, seed: int, report: Report = quiet) -> Measured:
    """Measure; a replicate is a part of the data, the last two of the ten are for tuning."""
    size = SCALES[scale]
    torch.set_num_threads(1)
    kadid = datasets.load("kadid")
    sets = {
        "AADB": datasets.load("aadb"),
        "KADID-10k": replace(kadid, score=(kadid.score - 1) / 4),
    }
    parts = {}
    for place, (name, items) in enumerate(sets.items()):
        parts[name] = _parts(items, np.random.default_rng([seed, place]))
    training = Training(updates=size.updates)

    def said(name: str, method: str, rate: float, number: int) -> tuple[Float, Float]:
        train, test = parts[name][number]
        scorer = train_scorer(
            train, REWARDS[method], training, rate=rate, seed=seed * 1000 + number
        )
        return predicted(scorer, test.features), test.score

    rows: list[Row] = []
    tuned = []
    for name in SETS:

        def reached(method: str, settings: Settings, number: int, name: str = name) -> float:
            report(f"{name}, tuning {method}: {settings}, part {number + 1}")
            return judged(*said(name, method, settings["lr"], number))[PLCC]

        grids = {method: [{"lr": rate} for rate in RATES] for method in REWARDS}
        found = tune(grids, reached, range(PARTS - size.tuning, PARTS), metric=f"PLCC, {name}")
        tuned += list(found.values())
        for number in range(size.parts):
            report(f"{name}: part {number + 1} of {size.parts}")
            every = {}
            for method in REWARDS:
                rate = found[method].chosen["lr"]
                every[method] = judged(*said(name, method, rate, number))
            every[RIDGE] = judged(_ridge(*parts[name][number]), parts[name][number][1].score)
            for method, values in every.items():
                times = {TIMES: values[RMSE] / every[BOTH][RMSE]}
                rows += by_metric(method, name, number, {**values, **times})
    return Measured(scores_of(rows, lower_is_better=(RMSE, TIMES)), tuple(tuned))


def _parts(items: ScoredItems, rng: np.random.Generator) -> list[tuple[ScoredItems, ScoredItems]]:
    """Disjoint parts, each to learn from and to judge by."""
    names = rng.permutation(np.unique(items.group))
    found = []
    for own in np.array_split(names, PARTS):
        train, test = split_by_group(part(items, np.isin(items.group, own)), rng, 0.3)
        first, second = standardised(train, test)
        found.append((first, second))
    return found


def _ridge(train: ScoredItems, test: ScoredItems) -> Float:
    """The scores that ridge regression with weight 1 says."""
    center = train.score.mean()
    gram = train.features.T @ train.features + np.eye(train.features.shape[1])
    weights = np.linalg.solve(gram, train.features.T @ (train.score - center))
    return np.asarray(center + test.features @ weights, dtype=np.float64)
