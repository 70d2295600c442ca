"""RewardRanker: a reranker of programs that trains itself against its own generator.

"Iterative Self-Training for Code Generation via Reinforced Re-Ranking" (2025), arXiv 2504.09643.

**The claim**: a reranker gets better when the generator is trained against it and what that one
then writes is tested and fed back: what passes, and what fails although it is ranked high.

**What is done here**: *The loop, where the truth is known*: short sequences, "pass" is a true
reward above 2 (about 1 sample in 40); 60 problems with 10 samples of a policy of uniform answers to
start; the reranker is an MLP on embeddings of prompt and answer tokens and of neighbours (500 steps
on pairs; for each way to mine its own learning rate, that out of three which is best in five worlds
apart from those judged, where the generator learned from a reranker at the middle one); the
generator is improved by 30 rounds of the clipped policy gradient on the reranker's scores less .5
of the samples' log-ratios to the first one (32 problems, 8 samples; without that the generator
collapsed; .5 was taken out of .5, 1 and 2 on three worlds of seed 0). The improved generator's
samples on 60 problems x 40 are tested, and the reranker is trained anew with: hard negatives only,
what passes and hard negatives, all of them, or as a control as many more samples of the first
generator. Judged on the first improved generator's samples: of 8 for each of 500 new problems, does
the best-ranked pass? A replicate is a world. *Real lists*: 96 HumanEval problems with 701 solutions
of models, run here in the sandbox; the best-ranked solution of each passes or not (ties by lot).
"examples" counts the examples of the problem's text that run right; "consensus" is the share of the
others with the same results on their inputs; likelihood is that of a token under
SmolLM2-135M-Instruct; the learned reranker is Plackett-Luce-linear on MiniLM's embeddings, five
folds by problem. Tasks are problems. Differences from the paper: no 6.7B models, a reconstruction
of how hard negatives are chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from policyrank.learn.rewards import bradley_terry_reward
from policyrank.metrics.programs import best_of_n
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.fairness import Health, tune, typical
from policyrank.studies.frame import Measured, Report, Row, Scale, by_method, quiet, scores_of
from policyrank.studies.sequences import FARTHEST, TUNING, RankedSequences, align, imitate
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
RERANKERS = (FIRST, CONTROL, *RULES)
RERANKER_RATES: tuple[dict[str, Any], ...] = tuple({"lr": rate} for rate in (3e-4, 1e-3, 3e-3))
MIDDLE = 1e-3
UNIT, PROBLEM = Unit("world"), Unit("problem", "task")
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
        ),
        Claim("Real lists: {0} beats {1}", "{0}", "{1}", REAL, unit=PROBLEM),
    ),
    Claim(
        "Real lists: examples beats consensus",
        "examples",
        "consensus",
        REAL,
        unit=PROBLEM,
        seen=(0,),
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
    world: SequenceWorld,
    x: Tensor,
    y: Tensor,
    passed: Tensor,
    where: Tensor,
    steps: int,
    lr: float = MIDDLE,
) -> tuple[Reranker, float]:
    """Bradley-Terry on pairs of what passes and what fails; and its loss in the end."""
    model = Reranker(world)
    mixed = (passed & where).any(dim=1) & (~passed & where).any(dim=1)
    x, y, labels, where = x[mixed], y[mixed], passed[mixed].float(), where[mixed]
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    for _ in range(steps):
        group = torch.randint(len(x), (32,))
        loss = bradley_terry_reward(model(x[group], y[group]), labels[group], where=where[group])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return model, float(bradley_terry_reward(model(x, y), labels, where=where))


def run(scale: Scale, seed: int, report: Report = quiet) -> Measured:
    """Measure; a replicate is a world, of the real lists a problem is a task."""
    seeds, steps, rounds, real, tuning = {
        "smoke": (2, 10, 2, 10, 1),
        "small": (20, 500, 30, 96, 5),
        "full": (100, 500, 30, 96, 10),
    }[scale]
    torch.set_num_threads(1)
    report("tuning")
    loops = [Loop.of(seed, TUNING + k, steps, rounds, MIDDLE) for k in range(tuning)]

    def passes(name: str, settings: Mapping[str, Any], k: int) -> float:
        return loops[k].best(loops[k].reranker(name, steps, **settings)[0])

    grids = dict.fromkeys(RERANKERS, RERANKER_RATES)
    tuned = tune(grids, passes, range(tuning), metric=LOOP)
    rows: list[Row] = []
    found: list[Health] = []
    for r in range(seeds):
        report(f"world {r + 1} of {seeds}")
        loop = Loop.of(seed, r, steps, rounds, tuned[FIRST].chosen["lr"])
        for name in RERANKERS:
            model, loss = loop.reranker(name, steps, **tuned[name].chosen)
            rows.append((name, "new problems", LOOP, r, loop.best(model)))
            found.append(Health(name, "loss on its pairs", loss, most=float(np.log(2))))
            found.append(Health(name, "KL of the generator from the first", loop.kl, 0, FARTHEST))
        rows += by_method("new problems", LOOP, r, loop.bounds)
    rows += real_lists(seed, real, report)
    return Measured(scores_of(rows), tuple(tuned.values()), typical(found))


@dataclass(frozen=True)
class Loop:
    """One turn: problems with tested answers, a generator improved, and what that writes.

    ``known``, ``more``: of the first generator; ``new``: of the improved one, with the scores of
    the reranker that it learned from; ``held``: new problems, with eight answers to rank.
    """

    number: int
    world: SequenceWorld
    x: Tensor
    known: Tensor
    more: Tensor
    new: Tensor
    scores: NDArray[np.float64]
    held: Tensor
    answers: Tensor
    kl: float

    @classmethod
    def of(cls, seed: int, replicate: int, steps: int, rounds: int, lr: float) -> Loop:
        """The generator learns from a first reranker at this learning rate."""
        number = 1000 * seed + replicate
        world, draw = SequenceWorld(number), number * 7919
        policy = SequencePolicy(world, seed=number)
        base = imitate(world, policy, 1, seed=number, steps=100)
        x = world.prompts(60, seed=draw + 1)
        known, more = base.sample(x, 10, seed=draw + 2), base.sample(x, 40, seed=draw + 3)
        torch.manual_seed(draw)
        first, _ = reranker(world, x, known, everything(10), steps, lr)
        student = _improved(world, base, first, rounds, draw)
        new = student.sample(x, 40, seed=draw + 4)
        with torch.no_grad():
            scores = first(x, new).numpy()
        held = world.prompts(500, seed=draw + 5)
        answers = student.sample(held, 8, seed=draw + 6)
        kl = student.kl(base, held, answers)
        return cls(number, world, x, known, more, new, scores, held, answers, kl)

    def reranker(self, name: str, steps: int, lr: float) -> tuple[Reranker, float]:
        """What learns from the answers of this name, and its loss in the end."""
        torch.manual_seed(self.number * 7919)
        y, where = self.known, everything(10)
        if name == CONTROL:
            y, where = torch.cat([self.known, self.more], dim=1), everything(50)
        elif name in RULES:
            passed = (self.world.reward(self.x, self.new) > 2).numpy()
            kept = [mine(s, p, RULES[name]) for s, p in zip(self.scores, passed, strict=True)]
            y = torch.cat([self.known, self.new], dim=1)
            where = torch.cat([where, torch.from_numpy(np.stack(kept))], dim=1)
        return reranker(self.world, self.x, y, where, steps, lr)

    @property
    def right(self) -> Tensor:
        """Which answers to new problems pass."""
        return (self.world.reward(self.held, self.answers) > 2).double()

    def best(self, model: Reranker) -> float:
        """Share of new problems of which the best-ranked answer passes."""
        with torch.no_grad():
            scores = model(self.held, self.answers)
        return best_of_n(scores.tolist(), self.right.tolist())

    @property
    def bounds(self) -> dict[str, float]:
        """What no reranker and a perfect one would reach."""
        best = float(self.right.amax(dim=1).mean())
        return {"the first of 8": float(self.right.mean()), "oracle of 8": best}


def everything(answers: int) -> Tensor:
    """So many answers of each problem, all in use."""
    return torch.ones(60, answers, dtype=torch.bool)


def _improved(
    world: SequenceWorld, base: SequencePolicy, first: Reranker, rounds: int, draw: int
) -> SequencePolicy:
    """The generator after policy gradient on the reranker's scores less the log-ratio."""
    student = base
    for number in range(rounds):
        asked = world.prompts(32, seed=draw + 1000 + number)
        y = student.sample(asked, 8, seed=draw + 2000 + number)
        with torch.no_grad():
            far = (student(asked, y) - base(asked, y)).sum(dim=-1)
            rewards = first(asked, y) - KL * far
        data = RankedSequences(asked, y, rewards)
        student = align(student, data, "grpo", epochs=4, lr=1e-3, seed=draw + number)
    return student


def reranker(
    world: SequenceWorld, x: Tensor, y: Tensor, where: Tensor, steps: int, lr: float
) -> tuple[Reranker, float]:
    """A reranker of tested answers; problems without both kinds lend nothing."""
    passed = world.reward(x, y) > 2
    usable = (passed & where).any(dim=1)
    if not usable.any():  # pass is rare: the best answers stand in for it
        rewards = world.reward(x, y)
        passed = rewards == rewards.masked_fill(~where, -torch.inf).amax(dim=1, keepdim=True)
    return fit(world, x, y, passed, where, steps, lr)


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
