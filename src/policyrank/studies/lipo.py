"""LiPO: aligning a policy with lists of graded answers is learning to rank.

Liu et al. (2024), "LiPO: Listwise Preference Optimization through Learning-to-Rank", arXiv
2402.01878.

**The claim**: any ranking loss on s_i = beta log(pi / pi_ref) aligns a policy; LambdaLoss with DCG
weights (LiPO-lambda) is the best of those compared, before DPO on pairs and DPO under
Plackett-Luce, and gains most from longer lists.

**What is done here**: the world of short sequences with a known true reward
(`policyrank.worlds.sequences`): a GRU imitates the better of two random answers; 300 prompts with K
answers of that policy are labelled by the mean share of wins under a noisy judge; each loss has the
same lists, start, batches, 8 epochs, learning rate 1e-3 and beta .1. The win rate is P(true reward
of a sample > that of a sample of the policy before) on 400 fresh prompts. A replicate is a world
with everything in it. Because losses move at different speed, each is also trained for 60 epochs,
and its win rate is read where its KL from the start is 1, 2 and 3 nats (linear between epochs).
Differences from the paper: no language, small lists of prompts; labels noisier than its judge's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from policyrank.evidence import Scores
from policyrank.learn.losses.preference import winrate_labels
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.frame import Report, Row, Scale, by_metric, quiet, scores_of
from policyrank.studies.sequences import Arena, RankedSequences, align, start, win_by_kl
from policyrank.worlds.sequences import SequencePolicy, SequenceWorld

TITLE = "LiPO"
PAPER = "arXiv 2402.01878"
ABOUT = "learning-to-rank losses as objectives of alignment, at equal steps and equal KL"
LOSSES = {
    "LiPO-lambda": "lipo-lambda",
    "DPO (pairs)": "dpo",
    "DPO (Plackett-Luce)": "dpo-pl",
    "hinge (SLiC)": "slic",
    "softmax (NCE)": "softmax",
    "point-sigmoid": "point-sigmoid",
    "point-mse": "point-mse",
}
LENGTHS = (2, 4, 8)
KLS = (1.0, 2.0, 3.0)
CURVES = ("LiPO-lambda", "DPO (pairs)", "DPO (Plackett-Luce)", "hinge (SLiC)", "softmax (NCE)")
WIN, AT_EQUAL_KL = "win rate", "win rate at equal KL"


@dataclass(frozen=True)
class Size:
    """``steps``: of imitation; ``long``: epochs where the KL is to be equal."""

    seeds: int
    prompts: int
    epochs: int
    long: int
    steps: int


SCALES: dict[Scale, Size] = {
    "smoke": Size(seeds=2, prompts=64, epochs=1, long=2, steps=50),
    "small": Size(seeds=20, prompts=300, epochs=8, long=60, steps=600),
    "full": Size(seeds=100, prompts=1500, epochs=8, long=60, steps=600),
}

UNIT = Unit("world")
CLAIMS = (
    *for_each(
        list(LOSSES)[1:],
        Claim("LiPO-lambda beats {} on lists of 8", "LiPO-lambda", "{}", WIN, tasks=("K=8",)),
    ),
    *for_each(
        LOSSES,
        Claim(
            "{}: lists of 8 beat lists of 2",
            "{}",
            "{}",
            WIN,
            tasks=("K=8",),
            than_tasks=("K=2",),
        ),
    ),
    Claim(
        "At a KL of 2 nats LiPO-lambda beats DPO on pairs",
        "LiPO-lambda",
        "DPO (pairs)",
        AT_EQUAL_KL,
        tasks=("KL 2",),
    ),
    Claim(
        "At a KL of 2 nats LiPO-lambda beats softmax",
        "LiPO-lambda",
        "softmax (NCE)",
        AT_EQUAL_KL,
        tasks=("KL 2",),
    ),
)


def labelled(
    world: SequenceWorld, policy: SequencePolicy, prompts: int, size: int, seed: int
) -> RankedSequences:
    """Samples of the policy, labelled by the shares of wins that a noisy judge gives them."""
    x = world.prompts(prompts, seed=seed * 7919 + 1)
    y = policy.sample(x, size, seed=seed * 7919 + 2)
    generator = torch.Generator().manual_seed(seed * 7919 + 3)
    noisy = world.reward(x, y) + torch.randn(y.shape[:2], generator=generator)
    wins = torch.sigmoid(3 * (noisy[:, :, None] - noisy[:, None, :]))
    return RankedSequences(x, y, winrate_labels(wins))


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is a world."""
    torch.set_num_threads(1)
    return scores_of(_rows(SCALES[scale], seed, report), lower_is_better=["KL"])


def _rows(size: Size, seed: int, report: Report) -> Iterator[Row]:
    for r in range(size.seeds):
        world, base = start(seed, r, size.steps)
        arena = Arena.of(world, base, r)
        for length in LENGTHS:
            report(f"world {r + 1} of {size.seeds}: lists of {length}")
            data = labelled(world, base, size.prompts, length, r)
            for method, loss in LOSSES.items():
                policy = align(base, data, loss, epochs=size.epochs, seed=r, beta=0.1)
                yield from by_metric(method, f"K={length}", r, arena(policy, r))
        for method in CURVES:
            report(f"world {r + 1} of {size.seeds}: {method} at equal KL")
            loss = LOSSES[method]
            curve = win_by_kl(arena, data, loss, most=max(KLS), epochs=size.long, seed=r, beta=0.1)
            for kl in KLS:
                win = curve.at(kl)
                if win is not None:
                    yield method, f"KL {kl:g}", AT_EQUAL_KL, r, win
