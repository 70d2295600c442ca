"""TPO: learning from trees of answers with weights of steps.

Liao et al. (2024), "TPO: Aligning Large Language Models with Multi-branch & Multi-step Preference
Trees", arXiv 2410.12854.

**The claim**: a list of answers that share beginnings, learned with LambdaLoss's weights, beats DPO
on its best and worst; weighing the steps of an answer by their likeness to those of the best one
("adaptive step reward") adds to that.

**What is done here**: the world of short sequences with a known true reward; an answer of 6 tokens
is three steps. Of each of 400 prompts the list holds the best of 8 samples, three branches that
keep 0, 1 and 2 of its steps and go on by sampling, and the worst of 8; values are true rewards with
noise of .5, scaled to [0, 1] in each list. The same lists, start, 6 epochs, learning rate 1e-3 and
beta .1 for all. A replicate is a world. The weights of steps are 1 + cos ("similar", what the
paper's released code computes) and 1 - cos ("different", the paper's stated aim), mean 1. "released
formula" is the loss in the released code, whose sign is wrong: it is minimised by the reverse
order. Because methods move at different speed, win rates are also read where the KL from the start
is 2 nats. Differences from the paper: no language models, no mathematics.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from policyrank.evidence import Scores
from policyrank.learn import segments
from policyrank.studies.frame import Claim, Report, Scale, quiet
from policyrank.studies.lipo import at_equal_kl
from policyrank.studies.sequences import Arena, RankedSequences, Weights, align, imitate
from policyrank.worlds.sequences import SequencePolicy, SequenceWorld

TITLE = "TPO"
PAPER = "arXiv 2410.12854"
ABOUT = "preference trees and weights of steps"
STEPS = 3
PAIR = "DPO on best and worst"


def released(
    log_probs: Tensor,
    labels: Tensor,
    *,
    reference: Tensor,
    lengths: Tensor | None = None,
    beta: float = 0.5,
) -> Tensor:
    """The loss of the paper's released code, for the record.

    Examples
    --------
    >>> labels, zero = torch.tensor([[3.0, 2.0, 1.0]]), torch.zeros(1, 3)
    >>> released(torch.tensor([[2.0, 0.0, -2.0]]), labels, reference=zero), released(torch.tensor([[-2.0, 0.0, 2.0]]), labels, reference=zero)
    (tensor(0.5898), tensor(0.1921))
    """
    s = log_probs - reference
    sign = torch.sign(labels[:, :, None] - labels[:, None, :])
    n = s.shape[1]
    ranking = softplus(-sign * (s[:, :, None] - s[:, None, :])).sum(dim=(1, 2)) / (n * (n - 1))
    return softplus(-beta * ranking).mean()


def by_step(kind: str) -> Weights:
    """Weights of tokens by the likeness of their step's mean hidden state to the best answer's."""

    def weigh(policy: SequencePolicy, x: Tensor, y: Tensor, labels: Tensor) -> Tensor:
        index = (
            torch.arange(y.shape[-1])
            .div(y.shape[-1] // STEPS, rounding_mode="floor")
            .add(1)
            .expand_as(y)
        )
        with torch.no_grad():
            means = segments.segment_mean(policy.states(x, y)[..., 1:, :], index, STEPS)
        weights = segments.step_weights(
            means, torch.ones(means.shape[:-1], dtype=torch.bool), labels.argmax(dim=1), kind
        )
        return weights.gather(-1, index - 1)

    return weigh


METHODS: dict[str, dict[str, Any]] = {
    PAIR: {"loss": "dpo"},
    "all pairs": {"loss": "dpo"},
    "TPO, steps equal": {"loss": "lipo-lambda"},
    "TPO, similar steps": {"loss": "lipo-lambda", "weights": by_step("similar")},
    "TPO, different steps": {"loss": "lipo-lambda", "weights": by_step("different")},
    "released formula": {"loss": released},
}
CLAIMS = (
    *(
        Claim(f"{m} beats {PAIR}", m, PAIR, "win rate", tasks=("same epochs",))
        for m in ("all pairs", "TPO, steps equal", "TPO, similar steps", "TPO, different steps")
    ),
    Claim(
        "Lambda weights beat all pairs",
        "TPO, steps equal",
        "all pairs",
        "win rate",
        tasks=("same epochs",),
    ),
    *(
        Claim(
            f"{m} beats equal steps by .005",
            m,
            "TPO, steps equal",
            "win rate",
            0.005,
            tasks=("same epochs",),
        )
        for m in ("TPO, similar steps", "TPO, different steps")
    ),
    *(
        Claim(f"At a KL of 2 nats {m} beats {PAIR}", m, PAIR, "win rate", tasks=("KL 2",))
        for m in ("all pairs", "TPO, steps equal", "TPO, similar steps")
    ),
    Claim(
        f"The released formula is worse than {PAIR} by .1",
        PAIR,
        "released formula",
        "win rate",
        0.1,
        tasks=("same epochs",),
    ),
)


def trees(world: SequenceWorld, policy: SequencePolicy, prompts: int, seed: int) -> RankedSequences:
    """Lists of five: best of 8, branches that keep 0, 1, 2 of its steps, worst of 8."""
    x = world.prompts(prompts, seed=seed * 7919 + 1)
    y = policy.sample(x, 8, seed=seed * 7919 + 2)
    r = world.reward(x, y)
    at = torch.arange(prompts)
    root, worst = y[at, r.argmax(dim=1)], y[at, r.argmin(dim=1)]
    size = world.answer // STEPS
    branches = [
        policy.sample(x, 1, seed=seed * 7919 + 3 + k, prefix=root[:, None, : k * size])[:, 0]
        for k in range(3)
    ]
    answers = torch.stack([root, *branches, worst], dim=1)
    values = world.reward(x, answers) + 0.5 * torch.randn(
        prompts, 5, generator=torch.Generator().manual_seed(seed)
    )
    low, high = values.amin(dim=1, keepdim=True), values.amax(dim=1, keepdim=True)
    return RankedSequences(x, answers, (values - low) / (high - low))


def ends(data: RankedSequences) -> RankedSequences:
    """Best and worst of each list."""
    which = torch.stack([data.labels.argmax(dim=1), data.labels.argmin(dim=1)], dim=1)
    at = torch.arange(len(which))[:, None]
    return RankedSequences(data.prompts, data.answers[at, which], data.labels[at, which])


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is a world."""
    seeds, prompts, epochs, long = {
        "smoke": (2, 64, 1, 2),
        "small": (20, 400, 6, 40),
        "full": (100, 400, 6, 40),
    }[scale]
    torch.set_num_threads(1)
    rows: list[tuple[str, str, str, int, float]] = []
    for r in range(seeds):
        world = SequenceWorld(seed * 1000 + r)
        base = imitate(
            world, SequencePolicy(world, seed=r), 2, seed=r, steps=50 if scale == "smoke" else 600
        )
        arena, data = Arena.of(world, base, r), trees(world, base, prompts, r)
        for method, options in METHODS.items():
            report(f"world {r + 1} of {seeds}: {method}")
            used = ends(data) if method == PAIR else data
            given = {**options, "beta": 0.1, "seed": r}
            found = arena(align(base, used, epochs=epochs, **given), r)
            rows += [(method, "same epochs", metric, r, value) for metric, value in found.items()]
            if method != "released formula":
                (win,) = at_equal_kl(
                    arena, base, used, given.pop("loss"), (2.0,), epochs=long, **given
                )
                if not np.isnan(win):
                    rows.append((method, "KL 2", "win rate", r, win))
    methods, tasks, metrics, replicates, values = zip(*rows, strict=True)
    return Scores.of(
        methods, tasks, values, metric=metrics, replicate=replicates, lower_is_better=["KL"]
    )
