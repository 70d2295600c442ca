"""POW3R: rubric rewards that lean on the criteria by which a policy's answers differ.

"Not Every Rubric Teaches Equally: Policy-Aware Rubric Rewards for RLVR" (2026), arXiv 2605.20164.

**The claim**: within each category weight moves to criteria on which a policy's own answers
disagree; 8 to 12 points of the pressure leave criteria that say nothing, rewards spread 25 to 37%
wider, and training reaches the same reward in 2.5 to 4 times fewer steps than with the rubric as it
is; all rubrics beat a reward of 1 for passing everything.

**What is done here**: *Replay*: 200 prompts with 5 to 12 criteria of weights 1 to 5 in 4
categories; a criterion is passed with a chance whose logit is normal (mean -.3, spread 3.3 or 6);
after 15 groups of 16 answers the factors judge a sixteenth. *Training*: 48 prompts with 4 to 10
criteria, each a conjunction of 1 to 4 of 40 contents; a policy, linear in 12 features of a prompt,
writes each content or not; GRPO with 16 answers a prompt, 200 updates with Adam, factors updated at
each visit; rewards differ, all else is the same, and each has its own learning rate, out of three,
by the score after 200 updates in worlds apart from those judged. The score is the expected reward
by category, exact. A replicate is a world. With rewards over their deviation a factor can only
weigh criteria against each other: the variants that are only centred are beside. Differences from
the paper: no language model, no judge, no private rubrics.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policyrank.learn import PolicyObjective, group_advantage
from policyrank.learn.rewards import Rubric, contrast_factors, diagnose_rubric, rubric_reward
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.fairness import Settings, tune
from policyrank.studies.frame import Measured, Report, Row, Scale, by_method, quiet, scores_of

TITLE = "POW3R"
PAPER = "arXiv 2605.20164"
ABOUT = "rubric rewards that lean on criteria by which answers differ"
FIXED, LEANING, WEIGHED, ALL = "by category", "contrast factors", "sum of weights", "all or nothing"
CENTRED = {FIXED: f"{FIXED}, centred", LEANING: f"{LEANING}, centred"}
REPLAYS = {"replay, spread 3.3": 3.3, "replay, spread 6": 6.0}
IDLE, SPREAD, TIED, SCORE = "idle weight", "spread of rewards over fixed", "tied groups", "score"
STEPS = "updates to a score of .8"
GROUP, GROUPS = 16, 15
RATES = (0.03, 0.1, 0.3)
READ = (25, 50, 100, 200)
GOAL = 0.8

UNIT = Unit("world")
MAIN = Claim("", LEANING, FIXED, SCORE, tasks=("25 updates",))
CLAIMS = (
    *for_each(
        REPLAYS,
        Claim(
            "At least 3 points of the weight leave criteria that say nothing ({})",
            LEANING,
            FIXED,
            IDLE,
            0.03,
            tasks=("{}",),
        ),
    ),
    *for_each(
        REPLAYS,
        Claim("Rewards spread 5% wider ({})", LEANING, 1.0, SPREAD, 0.05, tasks=("{}",)),
    ),
    *for_each(
        REPLAYS,
        Claim("Rewards spread 25% wider ({})", LEANING, 1.0, SPREAD, 0.25, tasks=("{}",)),
    ),
    Claim(
        "As many groups are tied with the factors as without",
        LEANING,
        FIXED,
        TIED,
        1e-9,
        kind="identity",
    ),
    *for_each(
        (WEIGHED, FIXED, LEANING),
        Claim("{} beats all or nothing by .1", "{}", ALL, SCORE, 0.1, tasks=("200 updates",)),
    ),
    *for_each(
        (25, 50, 200),
        Claim(
            "After {} updates the factors beat the rubric as it is",
            LEANING,
            FIXED,
            SCORE,
            tasks=("{} updates",),
        ),
    ),
    Claim("The factors lose at most .03", LEANING, FIXED, SCORE, -0.03, tasks=("200 updates",)),
    Claim(
        "Only centred, the factors beat the rubric as it is after 25 updates",
        CENTRED[LEANING],
        CENTRED[FIXED],
        SCORE,
        tasks=("25 updates",),
    ),
    Claim("The factors reach .8 in 10 updates fewer", LEANING, FIXED, STEPS, 10.0),
)


@dataclass(frozen=True)
class Size:
    """Worlds that are judged, and that are for tuning; prompts that are replayed; updates."""

    worlds: int
    tuning: int
    prompts: int
    updates: int


SCALES: dict[Scale, Size] = {
    "smoke": Size(2, 1, 10, 20),
    "small": Size(12, 3, 200, 200),
    "full": Size(60, 10, 800, 200),
}


def run(scale: Scale, seed: int, report: Report = quiet) -> Measured:
    """Measure; a replicate is a world."""
    size = SCALES[scale]
    torch.set_num_threads(1)
    rows: list[Row] = []
    for r in range(size.worlds):
        report(f"replay: world {r + 1} of {size.worlds}")
        for setting, width in REPLAYS.items():
            rows += replayed(np.random.default_rng([seed, r, int(width)]), setting, width, size, r)
    methods = (ALL, WEIGHED, FIXED, LEANING, *CENTRED.values())

    def reached(method: str, settings: Settings, world: int) -> float:
        report(f"tuning {method}: {settings}, world {world + 1}")
        return trained(method, settings["lr"], (seed, 1000 + world), size.updates)[-1]

    grids = {method: [{"lr": rate} for rate in RATES] for method in methods}
    tuned = tune(grids, reached, range(size.tuning), metric=SCORE)
    for r in range(size.worlds):
        report(f"training: world {r + 1} of {size.worlds}")
        curves = {}
        for method in methods:
            rate = tuned[method].chosen["lr"]
            curves[method] = trained(method, rate, (seed, r), size.updates)
        for update in filter(size.updates.__ge__, READ):
            values = {method: curve[update] for method, curve in curves.items()}
            rows += by_method(f"{update} updates", SCORE, r, values)
        first = {method: float(_first(curve, GOAL)) for method, curve in curves.items()}
        rows += by_method("until .8", STEPS, r, first)
    scores = scores_of(rows, lower_is_better=(IDLE, TIED, STEPS))
    return Measured(scores, tuple(tuned.values()))


def _first(curve: list[float], goal: float) -> int:
    """The update at which a curve comes to a goal; the last one where it never does."""
    return next((update for update, value in enumerate(curve) if value >= goal), len(curve) - 1)


# Replay -------------------------------------------------------------------------------------------


def drawn_rubric(rng: np.random.Generator, least: int, most: int) -> Rubric:
    """Criteria with weights of 1 to 5 in up to four categories."""
    criteria = int(rng.integers(least, most + 1))
    weights = torch.from_numpy(rng.integers(1, 6, criteria)).double()
    return Rubric(weights, torch.from_numpy(rng.integers(0, 4, criteria)))


def replayed(
    rng: np.random.Generator, setting: str, width: float, size: Size, r: int
) -> Iterator[Row]:
    """What the factors do to rewards of answers that do not change."""
    idle: dict[str, list[float]] = {FIXED: [], LEANING: []}
    spread: dict[str, list[float]] = {FIXED: [], LEANING: []}
    for _ in range(size.prompts):
        rubric = drawn_rubric(rng, 5, 12)
        chance = 1 / (1 + np.exp(-rng.normal(-0.3, width, len(rubric.weights))))
        factors = None
        for _ in range(GROUPS):
            factors = contrast_factors(_answers(rng, chance), rubric, factors)
        last = _answers(rng, chance)
        for method, own in ((FIXED, None), (LEANING, factors)):
            found = diagnose_rubric(last, rubric, own)
            idle[method].append(found.idle)
            spread[method].append(found.spread)
    yield from by_method(setting, IDLE, r, {name: _mean(own) for name, own in idle.items()})
    wider = _mean(spread[LEANING]) / _mean(spread[FIXED])
    yield LEANING, setting, SPREAD, r, wider
    tied = {name: float(np.mean(np.array(own) < 1e-9)) for name, own in spread.items()}
    yield from by_method(setting, TIED, r, tied)


def _answers(rng: np.random.Generator, chance: NDArray[np.float64]) -> Tensor:
    """Verdicts of a group: (answers, criteria)."""
    return torch.from_numpy(rng.random((GROUP, len(chance))) < chance).double()


def _mean(values: list[float]) -> float:
    return float(np.mean(values))


# Training -----------------------------------------------------------------------------------------

CONTENTS, FEATURES, PROMPTS = 40, 12, 48
REWARDS = {
    ALL: partial(rubric_reward, aggregate="all"),
    WEIGHED: partial(rubric_reward, aggregate="sum"),
}


@dataclass(frozen=True, eq=False)
class World:
    """Prompts, and what each wants.

    Attributes
    ----------
    features
        (prompts, features)
    start
        (features, contents), weights of the policy that all begin with
    rubrics, needs
        of each prompt, and of each of its criteria the contents that it asks for: bool (criteria,
        contents)
    """

    features: Tensor
    start: Tensor
    rubrics: list[Rubric]
    needs: list[Tensor]

    @classmethod
    def of(cls, rng: np.random.Generator) -> World:
        """Chances of contents at the start differ from prompt to prompt."""
        features = rng.normal(size=(PROMPTS, FEATURES))
        features[:, 0] = 1
        start = rng.normal(0, 0.3, (FEATURES, CONTENTS))
        start[0] = rng.normal(-1, 1, CONTENTS)
        rubrics = [drawn_rubric(rng, 4, 10) for _ in range(PROMPTS)]
        needs = []
        for rubric in rubrics:
            asked = np.zeros((len(rubric.weights), CONTENTS), dtype=bool)
            for row in asked:
                row[rng.choice(CONTENTS, rng.integers(1, 5), replace=False)] = True
            needs.append(torch.from_numpy(asked))
        return cls(torch.from_numpy(features), torch.from_numpy(start), rubrics, needs)

    def verdicts(self, prompt: int, contents: Tensor) -> Tensor:
        """Which criteria answers (answers, contents) pass: (answers, criteria)."""
        asked = self.needs[prompt].double()
        return (contents @ asked.T >= asked.sum(dim=1)).double()

    def score(self, weights: Tensor) -> float:
        """The expected reward by category, over prompts."""
        chance = torch.sigmoid(self.features @ weights)
        found = []
        for own, rubric, asked in zip(chance, self.rubrics, self.needs, strict=True):
            passed = torch.where(asked, own, 1.0).prod(dim=1)
            found.append(float(rubric_reward(passed[None], rubric)[0]))
        return _mean(found)


def trained(method: str, rate: float, seeds: tuple[int, int], updates: int) -> list[float]:
    """The score before training and after each update."""
    world = World.of(np.random.default_rng(seeds))
    generator = torch.Generator().manual_seed(seeds[0] * 10_000 + seeds[1])
    weights = world.start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([weights], lr=rate)
    factors: list[Tensor | None] = [None] * PROMPTS
    leans = method in (LEANING, CENTRED[LEANING])
    reward = REWARDS.get(method, rubric_reward)
    centred = method in CENTRED.values()
    groups = torch.arange(PROMPTS).repeat_interleave(GROUP)
    objective = PolicyObjective(average="sequence")
    curve = [world.score(world.start)]
    for _ in range(updates):
        logits = (world.features @ weights)[:, None].expand(-1, GROUP, -1)
        chance = torch.sigmoid(logits.detach())
        contents = torch.bernoulli(chance, generator=generator)
        rewards = []
        for prompt, rubric in enumerate(world.rubrics):
            verdicts = world.verdicts(prompt, contents[prompt])
            rewards.append(reward(verdicts, rubric, factors=factors[prompt]))
            if leans:
                factors[prompt] = contrast_factors(verdicts, rubric, factors[prompt])
        gain = group_advantage(torch.cat(rewards), groups, scale="none" if centred else "sample")
        log_probs = torch.nn.functional.logsigmoid(torch.where(contents > 0, logits, -logits))
        flat = log_probs.reshape(-1, CONTENTS)
        loss = objective(flat, gain, torch.ones_like(flat)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(world.score(weights.detach()))
    return curve
