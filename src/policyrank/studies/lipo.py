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

from contextlib import suppress

import numpy as np
import torch

from policyrank.evidence import Scores
from policyrank.learn.losses.preference import winrate_labels
from policyrank.studies.frame import Claim, Report, Scale, quiet
from policyrank.studies.sequences import Arena, RankedSequences, align, imitate
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
SIZES = (2, 4, 8)
KLS = (1.0, 2.0, 3.0)
CURVES = ("LiPO-lambda", "DPO (pairs)", "DPO (Plackett-Luce)", "hinge (SLiC)", "softmax (NCE)")

CLAIMS = (
    *(
        Claim(f"LiPO-lambda beats {m} on lists of 8", "LiPO-lambda", m, "win rate", tasks=("K=8",))
        for m in LOSSES
        if m != "LiPO-lambda"
    ),
    *(
        Claim(
            f"{m}: lists of 8 beat lists of 2",
            m,
            m,
            "win rate",
            tasks=("K=8",),
            than_tasks=("K=2",),
        )
        for m in LOSSES
    ),
    Claim(
        "At a KL of 2 nats LiPO-lambda beats DPO on pairs",
        "LiPO-lambda",
        "DPO (pairs)",
        "win rate at equal KL",
        tasks=("KL 2",),
    ),
    Claim(
        "At a KL of 2 nats LiPO-lambda beats softmax",
        "LiPO-lambda",
        "softmax (NCE)",
        "win rate at equal KL",
        tasks=("KL 2",),
    ),
)


def labelled(
    world: SequenceWorld, policy: SequencePolicy, prompts: int, size: int, seed: int
) -> RankedSequences:
    """Samples of the policy with the mean share of wins that a noisy judge gives them (LiPO's
    labels).
    """
    x = world.prompts(prompts, seed=seed * 7919 + 1)
    y = policy.sample(x, size, seed=seed * 7919 + 2)
    noisy = world.reward(x, y) + torch.randn(
        y.shape[:2], generator=torch.Generator().manual_seed(seed * 7919 + 3)
    )
    return RankedSequences(
        x, y, winrate_labels(torch.sigmoid(3 * (noisy[:, :, None] - noisy[:, None, :])))
    )


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is a world."""
    seeds, prompts, epochs, long = {
        "smoke": (2, 64, 1, 2),
        "small": (20, 300, 8, 60),
        "full": (100, 1500, 8, 60),
    }[scale]
    torch.set_num_threads(1)
    rows: list[tuple[str, str, str, int, float]] = []
    for r in range(seeds):
        world = SequenceWorld(seed * 1000 + r)
        base = imitate(
            world, SequencePolicy(world, seed=r), 2, seed=r, steps=50 if scale == "smoke" else 600
        )
        arena = Arena.of(world, base, r)
        for size in SIZES:
            report(f"world {r + 1} of {seeds}: lists of {size}")
            data = labelled(world, base, prompts, size, r)
            for method, loss in LOSSES.items():
                found = arena(align(base, data, loss, epochs=epochs, seed=r, beta=0.1), r)
                rows += [(method, f"K={size}", metric, r, value) for metric, value in found.items()]
        for method in CURVES:
            report(f"world {r + 1} of {seeds}: {method} at equal KL")
            rows += [
                (method, f"KL {kl:g}", "win rate at equal KL", r, win)
                for kl, win in zip(
                    KLS,
                    at_equal_kl(arena, base, data, LOSSES[method], KLS, epochs=long, seed=r),
                    strict=True,
                )
                if not np.isnan(win)
            ]
    methods, tasks, metrics, replicates, values = zip(*rows, strict=True)
    return Scores.of(
        methods, tasks, values, metric=metrics, replicate=replicates, lower_is_better=["KL"]
    )


def at_equal_kl(
    arena: Arena,
    base: SequencePolicy,
    data: RankedSequences,
    loss: object,
    kls: tuple[float, ...],
    *,
    epochs: int,
    seed: int,
    **options: object,
) -> list[float]:
    """Win rates where training first passes these KLs from its start; NaN where it does not."""

    class Done(Exception):
        pass

    curve = [(0.0, 0.5)]

    def watch(epoch: int, policy: SequencePolicy) -> None:
        found = arena(policy, seed)
        curve.append((found["KL"], found["win rate"]))
        if found["KL"] > max(kls):
            raise Done

    with suppress(Done):
        align(base, data, loss, epochs=epochs, seed=seed, watch=watch, **({"beta": 0.1} | options))  # type: ignore[arg-type]
    x, y = np.array(curve).T
    top = np.maximum.accumulate(x)
    return [float(np.interp(kl, top, y)) if top[-1] >= kl else float("nan") for kl in kls]
