"""RewardRanker: a reranker of programs that trains itself against its own generator.

"Iterative Self-Training for Code Generation via Reinforced Re-Ranking" (2025), arXiv 2504.09643.

**The claim**: a reranker gets better when the generator is trained against it and what that one
then writes is tested and fed back: what passes, and what fails although it is ranked high.

**What is done here**: *The loop, where the truth is known*: short sequences, "pass" is a true
reward above 2 (about 1 sample in 40); 60 problems with 10 samples of a policy of uniform answers to
start; the reranker is an MLP on embeddings of prompt and answer tokens and of neighbours (500 steps
on pairs); the generator is improved by 30 rounds of the clipped policy gradient on the reranker's
scores less .5 of the samples' log-ratios to the first one (32 problems, 8 samples; without that the
generator collapsed; .5 was taken out of .5, 1 and 2 on three of the worlds measured here). The
improved generator's samples on 60 problems x 40 are tested, and the reranker is trained anew with:
hard negatives only, what passes and hard negatives, all of them, or as a control as many more
samples of the first generator. Judged on the first improved generator's samples: of 8 for each of
500 new problems, does the best-ranked pass? A replicate is a world. *Real lists*: 96 HumanEval
problems with 701 solutions of models, run here in the sandbox; the best-ranked solution of each
passes or not (ties by lot). "examples" counts the examples of the problem's text that run right;
"consensus" is the share of the others with the same results on their inputs; likelihood is that of
a token under SmolLM2-135M-Instruct; the learned reranker is Plackett-Luce-linear on MiniLM's
embeddings, five folds by problem. Tasks are problems. Differences from the paper: no 6.7B models, a
reconstruction of how hard negatives are chosen.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from policyrank.evidence import Scores
from policyrank.learn.rewards import bradley_terry_reward
from policyrank.metrics.programs import best_of_n
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.frame import Report, Row, Scale, by_method, quiet, scores_of
from policyrank.studies.sequences import RankedSequences, align, imitate
from policyrank.studies.solutions import (
    learned_scores,
    likelihoods,
    read_problems,
    rules,
    tested_shares,
)
from policyrank.train.programs import Mining, mine
from policyrank.worlds.sequences import SequencePolicy, SequenceWorld

TITLE = "Reinforced reranking"
PAPER = "arXiv 2504.09643"
ABOUT = "rerankers of programs that train themselves"
KL = 0.5  # of the samples' log-ratios to the first generator, taken from their rewards
LOOP, REAL = "best of 8 passes", "best-ranked passes, HumanEval"
FIRST, HARD, BOTH, ALL, CONTROL = (
    "iteration 1",
    "hard negatives only",
    "passed and hard negatives",
    "all samples",
    "control: more first samples",
)
RULES: dict[str, Mining] = {HARD: "hard", BOTH: "passed and hard", ALL: "all"}
UNIT = Unit("world")
CLAIMS = (
    Claim(
        "Self-training (what passes and hard negatives) beats iteration 1 by .03",
        BOTH,
        FIRST,
        LOOP,
        0.03,
    ),
    Claim("Hard negatives alone beat iteration 1", HARD, FIRST, LOOP),
    Claim("Self-training beats as many more samples of the first generator", BOTH, CONTROL, LOOP),
    Claim("All samples are no worse than mined ones, by .01", ALL, BOTH, LOOP, -0.01),
    Claim("Iteration 1 beats the first of 8", FIRST, "the first of 8", LOOP),
    *for_each(
        (
            ("examples", "shortest"),
            ("examples", "by chance"),
            ("examples, then consensus", "examples"),
            ("consensus", "by chance"),
            ("learned from text", "by chance"),
            ("learned from text", "shortest"),
            ("examples", "likelihood (SmolLM2-135M)"),
            ("examples", "consensus"),
        ),
        Claim("Real lists: {0} beats {1}", "{0}", "{1}", REAL),
    ),
)


class Reranker(nn.Module):
    """Scores of answers (n, list, answer): (n, list)."""

    def __init__(self, world: SequenceWorld, width: int = 64) -> None:
        super().__init__()
        self.world = world
        self.own = nn.Embedding(world.tokens**2 * world.prompt, width)
        self.pair = nn.Embedding(world.tokens**2, width)
        self.head = nn.Sequential(
            nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        t, k = torch.arange(y.shape[-1]) % self.world.prompt, self.world.tokens
        own = self.own((t * k + x[:, None, t]) * k + y).sum(dim=-2)
        return self.head(own + self.pair(y[..., :-1] * k + y[..., 1:]).sum(dim=-2)).squeeze(-1)


def fit(
    world: SequenceWorld, x: Tensor, y: Tensor, passed: Tensor, where: Tensor, steps: int
) -> Reranker:
    """Bradley-Terry on pairs of what passes and what fails."""
    model = Reranker(world)
    mixed = (passed & where).any(dim=1) & (~passed & where).any(dim=1)
    x, y, labels, where = x[mixed], y[mixed], passed[mixed].float(), where[mixed]
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    for _ in range(steps):
        group = torch.randint(len(x), (32,))
        loss = bradley_terry_reward(model(x[group], y[group]), labels[group], where=where[group])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is a world, of the real lists a problem is a task."""
    seeds, steps, rounds, real = {
        "smoke": (2, 10, 2, 10),
        "small": (20, 500, 30, 96),
        "full": (100, 500, 30, 96),
    }[scale]
    torch.set_num_threads(1)
    rows: list[Row] = []
    for r in range(seeds):
        report(f"world {r + 1} of {seeds}")
        rows += by_method("new problems", LOOP, r, loop(seed * 1000 + r, steps, rounds))
    rows += real_lists(seed, real, report)
    return scores_of(rows)


def loop(seed: int, steps: int, rounds: int) -> dict[str, float]:
    """Best of 8 of the first improved generator, by each reranker."""
    world = SequenceWorld(seed)
    torch.manual_seed(seed)
    base = imitate(world, SequencePolicy(world, seed=seed), 1, seed=seed, steps=100)
    x = world.prompts(60, seed=seed * 7919 + 1)
    known = base.sample(x, 10, seed=seed * 7919 + 2)
    more = base.sample(x, 40, seed=seed * 7919 + 3)
    first = reranker(world, x, known, everything(10), steps)
    student = _improved(world, base, first, rounds, seed)
    new = student.sample(x, 40, seed=seed * 7919 + 4)
    with torch.no_grad():
        scores = first(x, new).numpy()
    passed = (world.reward(x, new) > 2).numpy()
    control = reranker(world, x, torch.cat([known, more], dim=1), everything(50), steps)
    rerankers = {FIRST: first, CONTROL: control}
    for method, rule in RULES.items():
        kept = np.stack([mine(s, p, rule) for s, p in zip(scores, passed, strict=True)])
        where = torch.cat([everything(10), torch.from_numpy(kept)], dim=1)
        rerankers[method] = reranker(world, x, torch.cat([known, new], dim=1), where, steps)
    held = world.prompts(500, seed=seed * 7919 + 5)
    y = student.sample(held, 8, seed=seed * 7919 + 6)
    right = (world.reward(held, y) > 2).double()
    found = {}
    for method, model in rerankers.items():
        with torch.no_grad():
            found[method] = best_of_n(model(held, y).tolist(), right.tolist())
    found["the first of 8"] = float(right.mean())
    found["oracle of 8"] = float(right.amax(dim=1).mean())
    return found


def everything(answers: int) -> Tensor:
    """So many answers of each problem, all in use."""
    return torch.ones(60, answers, dtype=torch.bool)


def _improved(
    world: SequenceWorld, base: SequencePolicy, first: Reranker, rounds: int, seed: int
) -> SequencePolicy:
    """The generator after policy gradient on the reranker's scores less the log-ratio."""
    student = base
    for number in range(rounds):
        asked = world.prompts(32, seed=seed * 7919 + 1000 + number)
        y = student.sample(asked, 8, seed=seed * 7919 + 2000 + number)
        with torch.no_grad():
            far = (student(asked, y) - base(asked, y)).sum(dim=-1)
            rewards = first(asked, y) - KL * far
        data = RankedSequences(asked, y, rewards)
        student = align(student, data, "grpo", epochs=4, lr=1e-3, seed=number)
    return student


def reranker(world: SequenceWorld, x: Tensor, y: Tensor, where: Tensor, steps: int) -> Reranker:
    """A reranker of tested answers; problems without both kinds lend nothing."""
    passed = world.reward(x, y) > 2
    usable = (passed & where).any(dim=1)
    if not usable.any():  # pass is rare: the best answers stand in for it
        rewards = world.reward(x, y)
        passed = rewards == rewards.masked_fill(~where, -torch.inf).amax(dim=1, keepdim=True)
    return fit(world, x, y, passed, where, steps)


def real_lists(seed: int, problems_used: int, report: Report) -> Iterator[Row]:
    """Whether the best-ranked of each HumanEval problem's solutions passes."""
    problems = read_problems(problems_used)
    shares = tested_shares(problems, report)
    found: dict[str, list[list[float]]] = {}
    for k, (problem, share) in enumerate(zip(problems, shares, strict=True)):
        report(f"examples of problem {k + 1} of {len(problems)}")
        for method, scores in rules(problem, share).items():
            found.setdefault(method, []).append(scores)
    if problems_used > 10:
        report("likelihood of the solutions under SmolLM2")
        found["likelihood (SmolLM2-135M)"] = likelihoods(problems)
    found["learned from text"] = learned_scores(problems, shares, seed)
    for method, lists in found.items():
        for problem, scores, share in zip(problems, lists, shares, strict=True):
            yield method, problem.name, REAL, 0, best_of_n([scores], [share])
