"""PF-PPO: learn from the answers whose rewards can be trusted, chosen by R^2 before any training.

Shen and Zhang (2024), "Policy Filtration in RLHF to Fine-Tune LLM for Code Generation", arXiv
2409.06957.

**The claim**: reward models are most reliable at the ends, so that PPO on the best and the worst
(or a random one) of each prompt's answers beats PPO on all; the best alone is worst; R^2 between
reward and true score, group by group, tells so before.

**What is done here**: *Sequences with a known true reward* z, standard deviation 1. The reward that
is seen is tanh(.6 z + a e exp(-(z / .7)^2)), e a second reward as random as the first: with a = 1.5
it is noisy in the middle and right at the ends; with a = 4.8 the noise reaches the ends. A GRU that
imitates the better of two random answers is the start. 25 rounds of 64 prompts with 5 answers:
reward less .05 of the log-ratio to the start, less its prompt's mean (no critic), standardised over
all answers; then six updates, each of 64 answers drawn by the filter's weights from the round, as
the released code does, so that every filter has as many; clip .2, Adam. "5/2 of the updates" gives
all answers 15 of them. The learning rate of each arm, out of three, by the share that it reaches in
worlds apart whose ends are reliable; it is kept where noise is everywhere. Judged: share of 2000
answers to new prompts with z > 1. R^2 is of other 400 prompts' answers by the start, with true
scores, 20 bins. "The rule" takes the filter with the largest; "a filter at random" is the mean of
the five. A replicate is a world. *HumanEval*: 96 problems, 701 solutions of models, with the share
of tests that each passes; scorers: examples of the problem's text that run right (which the tests
may hold, too), agreement with others, a linear ranker of embeddings that learned from other folds,
and, as any that learns from comparisons, not what problems are worth; R^2 in 10 bins with problems
resampled, which is the unit. As fewer answers make noisier bins, "one at random" and "two at
random" are the measure of the best alone, and of best and worst. Differences from the paper: no
critic, no language model; on real answers R^2 alone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from policyrank.evidence import datasets
from policyrank.learn import (
    PolicyObjective,
    group_advantage,
    rank_weights,
    resampled,
    reward_reliability,
    whitened,
)
from policyrank.learn.reliability import resampled_r2
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.fairness import Health, Settings, tune, typical
from policyrank.studies.frame import Measured, Report, Row, Scale, by_method, quiet, scores_of
from policyrank.studies.sequences import FARTHEST, TUNING, imitate
from policyrank.studies.solutions import Problem, learned_scores, read_problems, rules
from policyrank.worlds.problem_texts import docstring_examples
from policyrank.worlds.sequences import SequencePolicy, SequenceWorld

TITLE = "PF-PPO"
PAPER = "arXiv 2409.06957"
ABOUT = "filters of answers by rank, and the R^2 that chooses among them"
ALL, BEST, RANDOM, WORST, POWER = "all", "best", "best-random", "best-worst", "power"
FILTERS = (ALL, BEST, RANDOM, WORST, POWER)
LONGER = "all, 5/2 of the updates"
ONE, TWO, START = "one at random", "two at random", "start"
RULE, ANY = "the rule", "a filter at random"
ARMS = (*FILTERS, LONGER)
REACHED, R2, REAL = "share with z > 1", "R^2", "R^2, HumanEval"
FOLLOWS, WITHOUT = "correlation with R^2", "correlation with R^2, without best"
NOISE = {"reliable ends": 1.5, "noise everywhere": 4.8}
ENDS, EVERYWHERE = NOISE
EXAMPLES, CONSENSUS, LEARNED = "examples", "consensus", "learned from text"
SCORERS = (EXAMPLES, CONSENSUS, LEARNED)
CONSTANTS = (START, ONE, TWO, RULE, ANY)

UNIT = Unit("world")
PROBLEMS = Unit("resample of problems", "resample")
MAIN = Claim("", WORST, ALL, REACHED, tasks=(ENDS,))
CLAIMS = (
    *for_each(
        (WORST, RANDOM, POWER),
        Claim("{} beats all answers where the ends are reliable", "{}", ALL, REACHED, 0, (ENDS,)),
    ),
    *for_each(
        NOISE,
        Claim("The best alone is worse than all ({})", ALL, BEST, REACHED, tasks=("{}",)),
    ),
    Claim(
        "Best and worst are no worse than all with 5/2 of the updates, by .02",
        WORST,
        LONGER,
        REACHED,
        -0.02,
        (ENDS,),
    ),
    Claim(
        "All beat best and worst where noise is everywhere", ALL, WORST, REACHED, 0, (EVERYWHERE,)
    ),
    Claim("R^2 of best and worst is above that of all (reliable ends)", WORST, ALL, R2, 0, (ENDS,)),
    Claim("R^2 of best and worst is below that of all (noise)", ALL, WORST, R2, 0, (EVERYWHERE,)),
    *for_each(
        NOISE,
        Claim("R^2 of the best alone is below one at random's ({})", ONE, BEST, R2, 0, ("{}",)),
    ),
    *for_each(
        NOISE,
        Claim("Filters with more R^2 reach more ({})", RULE, 0.0, FOLLOWS, tasks=("{}",)),
    ),
    *for_each(
        NOISE,
        Claim(
            "Among filters other than the best, those with more R^2 reach more ({})",
            RULE,
            0.0,
            WITHOUT,
            tasks=("{}",),
        ),
    ),
    *for_each(
        NOISE,
        Claim(
            "The rule's choice is no worse than all answers, by .01 ({})",
            RULE,
            ALL,
            REACHED,
            -0.01,
            ("{}",),
        ),
    ),
    *for_each(
        NOISE,
        Claim("The rule's choice beats a filter at random ({})", RULE, ANY, REACHED, tasks=("{}",)),
    ),
    *for_each(
        (
            ("the best alone has less R^2 than all", ALL, BEST),
            ("the best alone has less R^2 than one at random", ONE, BEST),
            ("best and worst have more R^2 than two at random", WORST, TWO),
            ("best and worst have more R^2 than all", WORST, ALL),
        ),
        Claim(
            "HumanEval, with each scorer: {0}",
            "{1}",
            "{2}",
            REAL,
            tasks=SCORERS,
            kind="everywhere",
            unit=PROBLEMS,
        ),
    ),
)


@dataclass(frozen=True)
class Size:
    """Worlds, those for tuning apart; steps of imitation, rounds; prompts that judge.

    Problems of HumanEval, and resamples of them.
    """

    worlds: int
    tuning: int
    start: int
    rounds: int
    prompts: int
    problems: int
    resamples: int


SCALES: dict[Scale, Size] = {
    "smoke": Size(2, 1, 5, 1, 40, 6, 20),
    "small": Size(10, 2, 200, 25, 400, 96, 1000),
    "full": Size(50, 5, 600, 40, 400, 96, 10_000),
}
RATES: tuple[dict[str, Any], ...] = tuple({"lr": rate} for rate in (1e-3, 3e-3, 1e-2))
PROMPTS, ANSWERS, UPDATES, BATCH, KL = 64, 5, 6, 64, 0.05
WIDTH = 32
BINS, REAL_BINS, DRAWS, LEAST = 20, 10, 10, 20
"""LEAST: problems from which a ranker can learn in folds."""


@dataclass(frozen=True, eq=False)
class Noisy:
    """A world of sequences, a reward that is noisy in its middle, and the policy at the start."""

    number: int
    world: SequenceWorld
    other: SequenceWorld
    noise: float
    start: SequencePolicy

    @classmethod
    def of(cls, seed: int, replicate: int, noise: float, steps: int) -> Noisy:
        """A world by its number; ``under`` another noise it and its start are the same."""
        number = 1000 * seed + replicate
        world, other = SequenceWorld(number), SequenceWorld(number + 500_000)
        policy = SequencePolicy(world, width=WIDTH, seed=number)
        return cls(number, world, other, noise, imitate(world, policy, 2, number, steps=steps))

    def under(self, noise: float) -> Noisy:
        """The same with another noise."""
        return replace(self, noise=noise)

    def rewards(self, prompts: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
        """What is seen, and what is true: (prompts, answers) each."""
        true = self.world.reward(prompts, answers)
        return seen_of(true, self.other.reward(prompts, answers), self.noise), true

    def logged(self, prompts: int) -> tuple[Tensor, Tensor, Tensor]:
        """Rewards seen, true ones and prompts of answers by the start: (answers,) each."""
        x = self.world.prompts(prompts, seed=self.number * 7919 + 1)
        y = self.start.sample(x, ANSWERS, seed=self.number * 7919 + 2)
        seen, true = self.rewards(x, y)
        return seen.flatten(), true.flatten(), _groups(prompts)

    def reached(self, policy: SequencePolicy, prompts: int) -> float:
        """Share of answers to new prompts with z > 1."""
        x = self.world.prompts(prompts, seed=self.number * 7919 + 3)
        y = policy.sample(x, ANSWERS, seed=self.number * 7919 + 4)
        return float((self.world.reward(x, y) > 1).double().mean())

    def kl(self, policy: SequencePolicy) -> float:
        """From the start, of a policy's own answers."""
        x = self.world.prompts(100, seed=self.number * 7919 + 5)
        return policy.kl(self.start, x, policy.sample(x, 2, seed=self.number * 7919 + 6))


def seen_of(true: Tensor, other: Tensor, noise: float) -> Tensor:
    """tanh(.6 z + a e exp(-(z / .7)^2)): right where z is far from 0."""
    return torch.tanh(0.6 * true + noise * other * torch.exp(-((true / 0.7) ** 2)))


def _groups(prompts: int) -> Tensor:
    return torch.arange(prompts).repeat_interleave(ANSWERS)


def trained(place: Noisy, arm: str, rate: float, rounds: int) -> SequencePolicy:
    """The start after so many rounds on answers that a filter drew."""
    rule, updates = (ALL, UPDATES * 5 // 2) if arm == LONGER else (arm, UPDATES)
    policy, objective = copy.deepcopy(place.start), PolicyObjective()
    optimiser = torch.optim.Adam(policy.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(place.number)
    group = _groups(PROMPTS)
    for number in range(rounds):
        draw = place.number * 7919 + 10 + 2 * number
        x = place.world.prompts(PROMPTS, seed=draw)
        y = policy.sample(x, ANSWERS, seed=draw + 1)
        seen, _ = place.rewards(x, y)
        with torch.no_grad():
            old = policy(x, y)
            far = (old - place.start(x, y)).sum(dim=-1)
        gain = whitened(group_advantage((seen - KL * far).flatten(), group))
        weights = rank_weights(seen.flatten(), group, rule)
        before, answers = old.flatten(0, 1), y.flatten(0, 1)
        for _ in range(updates):
            at = resampled(weights, BATCH, seed=generator)
            own = policy(x[group[at]], answers[at, None])[:, 0]
            loss = objective(own, gain[at], torch.ones_like(own), old=before[at]).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return policy


def reliabilities(
    seen: Tensor, true: Tensor, group: Tensor, seed: int, bins: int
) -> dict[str, float]:
    """R^2 of each filter, and of as few answers taken at random."""
    r2 = partial(reward_reliability, seen, true, bins=bins)
    found = {rule: r2(rank_weights(seen, group, rule)).r2 for rule in FILTERS}
    for name, rule in ((ONE, BEST), (TWO, WORST)):
        drawn = [r2(own).r2 for own in _at_random(group, rule, seed)]
        found[name] = float(np.nanmean(drawn))
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _at_random(group: Tensor, rule: str, seed: int) -> Iterator[Tensor]:
    """Weights of a filter that ranks by lot, several times."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(DRAWS):
        yield rank_weights(torch.rand(len(group), generator=generator), group, rule)


def run(scale: Scale, seed: int, report: Report = quiet) -> Measured:
    """Measure; a replicate is a world, of HumanEval a resample of the problems."""
    size = SCALES[scale]
    torch.set_num_threads(1)
    rows: list[Row] = list(real_answers(seed, size, report))
    health: list[Health] = []
    apart = [Noisy.of(seed, TUNING + k, NOISE[ENDS], size.start) for k in range(size.tuning)]

    def reached(arm: str, settings: Settings, k: int) -> float:
        report(f"tuning {arm}: {settings}")
        policy = trained(apart[k], arm, settings["lr"], size.rounds)
        return apart[k].reached(policy, size.prompts)

    chosen = tune(dict.fromkeys(ARMS, RATES), reached, range(size.tuning), metric=REACHED)
    rates = {arm: own.chosen["lr"] for arm, own in chosen.items()}
    for number in range(size.worlds):
        world = Noisy.of(seed, number, NOISE[ENDS], size.start)
        for setting, noise in NOISE.items():
            report(f"{setting}: world {number + 1} of {size.worlds}")
            place = world.under(noise)
            policies = {arm: trained(place, arm, rates[arm], size.rounds) for arm in ARMS}
            policies[START] = place.start
            values = {arm: place.reached(own, size.prompts) for arm, own in policies.items()}
            far = {arm: place.kl(policies[arm]) for arm in ARMS}
            health += [Health(arm, f"KL, {setting}", kl, 0, FARTHEST) for arm, kl in far.items()]
            trust = reliabilities(*place.logged(size.prompts), seed=place.number, bins=BINS)
            values[RULE] = values[max(FILTERS, key=lambda name: trust.get(name, -1.0))]
            values[ANY] = float(np.mean([values[name] for name in FILTERS]))
            rows += by_method(setting, REACHED, number, values)
            rows += by_method(setting, R2, number, trust)
            rows += followed(setting, number, values, trust)
    return Measured(scores_of(rows), tuple(chosen.values()), typical(health))


def followed(
    setting: str, number: int, values: Mapping[str, float], trust: Mapping[str, float]
) -> Iterator[Row]:
    """Whether what filters reach is ordered as their R^2: Spearman's correlation."""
    for metric, names in ((FOLLOWS, FILTERS), (WITHOUT, [n for n in FILTERS if n != BEST])):
        there = [name for name in names if name in trust]
        found = spearmanr([trust[n] for n in there], [values[n] for n in there]).statistic
        if np.isfinite(found):
            yield RULE, setting, metric, number, float(found)


def real_answers(seed: int, size: Size, report: Report) -> Iterator[Row]:
    """R^2 of filters on HumanEval's solutions, by scorer."""
    problems = read_problems(size.problems)
    told = datasets.load("humaneval-solutions")[: size.problems]
    shares = [[own["n_passed"] / own["n_tests"] for own in each["candidates"]] for each in told]
    group = torch.arange(len(shares)).repeat_interleave(torch.tensor([len(s) for s in shares]))
    true = torch.tensor([value for own in shares for value in own], dtype=torch.float64)
    for scorer, lists in scorers(problems, shares, seed, report).items():
        seen = torch.tensor([value for own in lists for value in own], dtype=torch.float64)
        seen = whitened(seen)
        r2 = partial(
            resampled_r2,
            seen,
            true,
            prompts=group,
            bins=REAL_BINS,
            resamples=size.resamples,
            seed=seed,
        )
        found = {rule: r2(weights=rank_weights(seen, group, rule)) for rule in FILTERS}
        for name, rule in ((ONE, BEST), (TWO, WORST)):
            drawn = [r2(weights=own) for own in _at_random(group, rule, seed)]
            found[name] = torch.stack(drawn).nanmean(dim=0)
        for method, values in found.items():
            for number, value in enumerate(values.tolist()):
                if np.isfinite(value):
                    yield method, scorer, REAL, number, value


def scorers(
    problems: list[Problem], shares: list[list[float]], seed: int, report: Report
) -> dict[str, list[list[float]]]:
    """Scores of each problem's solutions: by how many runs, by shares, by what was learned."""
    found: dict[str, list[list[float]]] = {name: [] for name in (EXAMPLES, CONSENSUS)}
    for number, (problem, share) in enumerate(zip(problems, shares, strict=True)):
        report(f"examples of problem {number + 1} of {len(problems)}")
        own = rules(problem, share)
        examples = len(docstring_examples(problem.prompt, problem.function))
        right = [value / max(examples, 1) for value in own[EXAMPLES]]
        found[EXAMPLES].append(right)
        found[CONSENSUS].append(own[CONSENSUS])
    if len(problems) >= LEAST:
        found[LEARNED] = learned_scores(problems, shares, seed)
    return found
