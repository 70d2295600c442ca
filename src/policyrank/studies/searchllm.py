"""SearchLLM: what an answer must not do closes a gate on what it does well, and how far it holds.

Wu et al. (2026), "Aligning Large Language Models with Searcher Preferences", arXiv 2603.10473.

**The claim**: answers of a search engine trained on a gated reward, the smoothed geometric mean of
constraints times the mean of objectives, keep the constraints where a weighted sum trades them away
for richness.

**What is done here**: *By calculus*: one constraint is 1 - phi, phi the share of what is made up,
others are kept, and the objective is .3 + .7 phi, for making things up looks rich. The best phi of
each gate, on a grid of 100,001, against what its first-order condition says. *A policy*: MuSiQue's
questions with five paragraphs each, those that support the answer among them, cut into sentences,
and ten foreign sentences, of other questions, which count as made up; a small network sees each
sentence's likeness to the question, that of its title, length, position and whether it is foreign,
and draws six in order (Plackett-Luce). Constraints: share that is not foreign, at most 150 words,
the answer is there. Objectives: distinct titles over six, one less the mean likeness of pairs, one
over the place of the answer. As evidence has five titles, the sixth is foreign. GRPO: 16 questions
with 8 answers a step, 150 steps, learning rates out of three in a split apart, by the objectives of
answers that keep all constraints (0 of others). Linear: half the mean of constraints, half that of
objectives; GDPO: each part standardised in its group, then summed; "feasible first": advantages by
which none that breaks a constraint ever gains. Judged on 30 questions in 100 that were not learned
from, 16 answers each. A replicate is a split; as they overlap the spread is widened (Nadeau and
Bengio). Differences from the paper: no language model and no judges, all scores are rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from policyrank.evidence import datasets
from policyrank.learn import PlackettLuce, PolicyObjective, group_advantage
from policyrank.learn.rewards import feasible_first, normalised_sum, two_layer_reward
from policyrank.learn.rewards.gates import TwoLayerGate
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.fairness import Settings, tune
from policyrank.studies.frame import Measured, Report, Row, Scale, by_metric, quiet, scores_of

TITLE = "SearchLLM"
PAPER = "arXiv 2603.10473"
ABOUT = "constraints that gate objectives, and how far each gate holds"
LINEAR, GEOMETRIC, PRODUCT, LEAST, HARD = "linear", "geometric", "product", "least", "hard"
GATES = (LINEAR, GEOMETRIC, PRODUCT, LEAST, HARD)
GDPO, FEASIBLE, START = "GDPO", "feasible first", "start"
METHODS = (*GATES, GDPO, FEASIBLE)
VIOLATED, FOREIGN, RICH = "answers with foreign sentences", "foreign share", "distinct titles"
FIRST, OBJECTIVES, KEPT = "answer first", "objectives", "objectives, constraints kept"
BEST_PHI, GRID, SOLVED = "best share made up", "grid", "first-order condition"
OPTIMA: dict[str, tuple[TwoLayerGate, int, float]] = {
    "linear, 1 constraint": ("linear", 1, 0.0),
    "linear, 3 constraints": ("linear", 3, 1.0),
    "geometric, 1 constraint": ("geometric", 1, 0.407 / 1.4),
    "geometric, 3 constraints": ("geometric", 3, 1.821 / 2.8),
    "geometric, 9 constraints": ("geometric", 9, 6.063 / 7.0),
    "product, 3 constraints": ("product", 3, 0.407 / 1.4),
    "least, 3 constraints": ("least", 3, 2 / 7),
    "hard, 3 constraints": ("hard", 3, 0.0),
}
"""Setting -> gate, constraints, and the phi by .3 + .7 phi = .7 m (1.01 - phi), kept to [0, 1]."""
TEST = "other questions"
CONSTANTS = (START, GRID, SOLVED)

UNIT = Unit("split", overlap=3 / 7)
MAIN = Claim("", PRODUCT, LINEAR, VIOLATED, tasks=(TEST,))
CLAIMS = (
    *for_each(
        OPTIMA,
        Claim(
            "Best share made up, grid and calculus: {}",
            GRID,
            SOLVED,
            BEST_PHI,
            1e-5,
            tasks=("{}",),
            kind="identity",
        ),
    ),
    Claim(
        "With 9 constraints the geometric gate is best opened by making up more than half",
        GRID,
        0.5,
        BEST_PHI,
        tasks=("geometric, 9 constraints",),
        kind="computed",
    ),
    *for_each(
        (GEOMETRIC, PRODUCT, LEAST, HARD, FEASIBLE),
        Claim("{}: fewer answers with foreign sentences than linear", "{}", LINEAR, VIOLATED),
    ),
    Claim("Product: fewer than geometric", PRODUCT, GEOMETRIC, VIOLATED),
    Claim("Hard: fewer than product", HARD, PRODUCT, VIOLATED),
    Claim("Feasible first: fewer than geometric", FEASIBLE, GEOMETRIC, VIOLATED),
    Claim("Geometric: fewer than GDPO", GEOMETRIC, GDPO, VIOLATED),
    Claim("Linear has more distinct titles than product (the seesaw)", LINEAR, PRODUCT, RICH),
    *for_each(
        (GEOMETRIC, PRODUCT),
        Claim("{}: the answer stands further ahead than with linear", "{}", LINEAR, FIRST),
    ),
    Claim("Hard's objectives are within .03 of product's", HARD, PRODUCT, OBJECTIVES, -0.03),
    *for_each(
        (GEOMETRIC, PRODUCT, HARD, FEASIBLE),
        Claim("{}: more of the objectives with constraints kept than linear", "{}", LINEAR, KEPT),
    ),
)


@dataclass(frozen=True)
class Size:
    """Splits, those for tuning apart, and steps."""

    splits: int
    tuning: int
    steps: int


SCALES: dict[Scale, Size] = {
    "smoke": Size(2, 1, 4),
    "small": Size(8, 1, 150),
    "full": Size(100, 10, 1000),
}
RATES = (3e-3, 1e-2, 3e-2)
PARAGRAPHS, STRANGERS, PICKED, WORDS = 5, 10, 6, 150
QUESTIONS, ANSWERS = 16, 8


@dataclass(frozen=True, eq=False)
class Pool:
    """Sentences of questions, padded.

    Attributes
    ----------
    features
        (questions, sentences, features)
    where, foreign, answers
        (questions, sentences), which are real, of another question, and hold the answer
    words, title
        (questions, sentences), length, and a number for the title
    likeness
        (questions, sentences, sentences), cosines
    """

    features: Tensor
    where: Tensor
    foreign: Tensor
    answers: Tensor
    words: Tensor
    title: Tensor
    likeness: Tensor

    def take(self, which: NDArray[np.int64]) -> Pool:
        """These questions alone."""
        at = torch.from_numpy(which)
        return Pool(*(own[at] for own in vars(self).values()))


@dataclass(frozen=True)
class Sentence:
    """A sentence of a paragraph, and where it stands there."""

    text: str
    title: str
    place: int


def sentences_of(paragraph: Mapping[str, Any]) -> list[Sentence]:
    """A paragraph cut after full stops, question and exclamation marks."""
    parts = re.split(r"(?<=[.!?])\s+(?=[A-Z\"'(])", paragraph["paragraph_text"].strip())
    texts = [part for part in parts if part]
    return [Sentence(text, paragraph["title"], place) for place, text in enumerate(texts)]


def pool_of(questions: list[dict[str, Any]], rng: np.random.Generator) -> Pool:
    """Evidence of each question, and foreign sentences by lot."""
    evidence = []
    for question in questions:
        supports = [row for row in question["paragraphs"] if row["is_supporting"]]
        others = [row for row in question["paragraphs"] if not row["is_supporting"]]
        some = (supports + others)[:PARAGRAPHS]
        evidence.append([own for row in some for own in sentences_of(row)])
    rows = []
    for number, (question, own) in enumerate(zip(questions, evidence, strict=True)):
        titles = {sentence.title for sentence in own}
        rest = [s for k, e in enumerate(evidence) if k != number for s in e]
        rest = [s for s in rest if s.title not in titles]
        drawn = rng.choice(len(rest), STRANGERS, replace=False)
        rows.append(_of_question(question, own, [rest[k] for k in drawn]))
    width = max(len(own["words"]) for own in rows)
    padded = {
        name: _padded([own[name] for own in rows], width, square=name == "likeness")
        for name in rows[0]
    }
    real = padded["features"][padded["where"]]
    padded["features"] = (padded["features"] - real.mean(dim=0)) / real.std(dim=0)
    return Pool(**padded)


def _of_question(
    question: dict[str, Any], own: list[Sentence], strangers: list[Sentence]
) -> dict[str, Tensor]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    found = own + strangers
    words = TfidfVectorizer(stop_words="english", sublinear_tf=True)
    bodies = words.fit_transform([sentence.text for sentence in found])
    asked = words.transform([question["question"]])
    heads = words.transform([sentence.title for sentence in found])
    lengths = torch.tensor([len(sentence.text.split()) for sentence in found]).float()
    foreign = torch.arange(len(found)) >= len(own)
    numbers = {title: k for k, title in enumerate(dict.fromkeys(s.title for s in found))}
    answer = question["answer"].lower()
    columns = [
        torch.from_numpy((bodies @ asked.T).toarray()[:, 0]).float(),
        torch.from_numpy((heads @ asked.T).toarray()[:, 0]).float(),
        lengths.log1p(),
        torch.tensor([sentence.place for sentence in found]).float().log1p(),
        foreign.float(),
    ]
    return {
        "features": torch.stack(columns, dim=1),
        "where": torch.ones(len(found), dtype=torch.bool),
        "foreign": foreign,
        "answers": torch.tensor([answer in sentence.text.lower() for sentence in found]) & ~foreign,
        "words": lengths,
        "title": torch.tensor([numbers[sentence.title] for sentence in found]),
        "likeness": torch.from_numpy((bodies @ bodies.T).toarray()).float(),
    }


def _padded(rows: list[Tensor], width: int, *, square: bool) -> Tensor:
    """Rows of any numbers of sentences as one tensor, zeros behind; square: and beside."""
    out = []
    for own in rows:
        wide = own.new_zeros(width, width) if square else own.new_zeros(width, *own.shape[1:])
        wide[tuple(slice(size) for size in own.shape)] = own
        out.append(wide)
    return torch.stack(out)


@dataclass(frozen=True, eq=False)
class Judged:
    """Constraints and objectives of answers, in [0, 1]: (questions, answers, three) each."""

    constraints: Tensor
    objectives: Tensor

    @property
    def feasible(self) -> Tensor:
        """Which keep all constraints: (questions, answers)."""
        return (self.constraints >= 1).all(dim=-1)


def judged(pool: Pool, picked: Tensor) -> Judged:
    """Rules on answers: (questions, answers, PICKED), sentences in their order."""

    def of(values: Tensor) -> Tensor:
        return values[:, None].expand(-1, picked.shape[1], -1).gather(-1, picked)

    k = picked.shape[-1]
    grounded = 1 - of(pool.foreign).float().mean(dim=-1)
    length = (WORDS / of(pool.words).sum(dim=-1)).clamp(max=1)
    hits = of(pool.answers)
    found = hits.any(dim=-1).float()
    titles = of(pool.title).sort(dim=-1).values
    distinct = 1 + (titles[..., 1:] != titles[..., :-1]).sum(dim=-1)
    question = torch.arange(len(picked))[:, None, None, None]
    alike = pool.likeness[question, picked[..., :, None], picked[..., None, :]]
    pairs = (alike.sum(dim=(-2, -1)) - alike.diagonal(dim1=-2, dim2=-1).sum(dim=-1)) / (k * (k - 1))
    first = found / (1 + hits.float().argmax(dim=-1))
    return Judged(
        torch.stack([grounded, length, found], dim=-1),
        torch.stack([distinct / k, (1 - pairs).clamp(0, 1), first], dim=-1),
    )


def advantages_of(own: Judged, method: str) -> Tensor:
    """How much better each answer is than its question's others: (questions * answers,)."""
    questions, answers = own.constraints.shape[:2]
    group = torch.arange(questions).repeat_interleave(answers)
    held, gains = own.constraints.flatten(0, 1), own.objectives.flatten(0, 1)
    if method == GDPO:
        return normalised_sum(torch.cat([held, gains], dim=-1), group)
    if method == FEASIBLE:
        return feasible_first(gains.mean(dim=-1), own.feasible.flatten(), group, scale="sample")
    rewards = two_layer_reward(held, gains, gate=cast(TwoLayerGate, method))
    return group_advantage(rewards, group, scale="sample")


def optima() -> Iterator[Row]:
    """The phi at which each gate's reward is largest, and what calculus says."""
    phi = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    for setting, (gate, number, solved) in OPTIMA.items():
        held = torch.ones(len(phi), number, dtype=torch.float64)
        held[:, 0] = 1 - phi
        rewards = two_layer_reward(held, (0.3 + 0.7 * phi)[:, None], gate=gate)
        yield GRID, setting, BEST_PHI, 0, float(phi[rewards.argmax()])
        yield SOLVED, setting, BEST_PHI, 0, solved


def started(pool: Pool, seed: int, number: int) -> tuple[nn.Module, torch.Generator]:
    """The same network and draws for every method."""
    torch.manual_seed(seed * 10_000 + number)
    generator = torch.Generator().manual_seed(seed * 10_000 + number)
    network = nn.Sequential(nn.Linear(pool.features.shape[-1], 16), nn.Tanh(), nn.Linear(16, 1))
    return network, generator


def trained(method: str, rate: float, pool: Pool, steps: int, seed: int, number: int) -> nn.Module:
    """GRPO on the answers that a policy draws."""
    policy, generator = started(pool, seed, number)
    optimiser = torch.optim.Adam(policy.parameters(), lr=rate)
    objective = PolicyObjective(average="length", length=PICKED)
    for _ in range(steps):
        some = torch.randperm(len(pool.where), generator=generator)[:QUESTIONS]
        part = pool.take(some.numpy())
        order = PlackettLuce(policy(part.features)[..., 0], part.where)
        drawn = order.sample(ANSWERS, k=PICKED, generator=generator)
        log_probs = order.step_log_prob(drawn).transpose(0, 1).flatten(0, 1)
        gain = advantages_of(judged(part, drawn.transpose(0, 1)), method)
        loss = objective(log_probs, gain, torch.ones_like(log_probs)).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return policy


@torch.no_grad()
def reached(policy: nn.Module, pool: Pool, seed: int, number: int) -> dict[str, float]:
    """What answers to questions are, sixteen to each."""
    generator = torch.Generator().manual_seed(seed * 10_000 + number + 5000)
    order = PlackettLuce(policy(pool.features)[..., 0], pool.where)
    picked = order.sample(2 * ANSWERS, k=PICKED, generator=generator).transpose(0, 1)
    own = judged(pool, picked)
    grounded, gains = own.constraints[..., 0], own.objectives.mean(dim=-1)
    return {
        VIOLATED: float((grounded < 1).float().mean()),
        FOREIGN: float((1 - grounded).mean()),
        RICH: float(own.objectives[..., 0].mean()),
        FIRST: float(own.objectives[..., 2].mean()),
        OBJECTIVES: float(gains.mean()),
        KEPT: float((gains * own.feasible).mean()),
    }


def run(scale: Scale, seed: int, report: Report = quiet) -> Measured:
    """Measure; a replicate is a split of the questions."""
    size = SCALES[scale]
    torch.set_num_threads(1)
    pool = pool_of(datasets.load("musique100"), np.random.default_rng([seed, 0]))
    told = pool.answers.any(dim=1).numpy()
    report(f"{int((~told).sum())} of {len(told)} questions left out: no sentence has the answer")
    pool = pool.take(np.flatnonzero(told))
    rows: list[Row] = list(optima())

    def split(number: int) -> tuple[Pool, Pool]:
        order = np.random.default_rng([seed, 1, number]).permutation(len(pool.where))
        cut = round(0.7 * len(order))
        return pool.take(order[:cut]), pool.take(order[cut:])

    def kept(method: str, settings: Settings, number: int) -> float:
        report(f"tuning {method}: {settings}")
        train, test = split(1000 + number)
        policy = trained(method, settings["lr"], train, size.steps, seed, 1000 + number)
        return reached(policy, test, seed, 1000 + number)[KEPT]

    grids = {method: [{"lr": rate} for rate in RATES] for method in METHODS}
    tuned = tune(grids, kept, range(size.tuning), metric=KEPT)
    for number in range(size.splits):
        report(f"split {number + 1} of {size.splits}")
        train, test = split(number)
        policies = {START: started(train, seed, number)[0]}
        for method in METHODS:
            rate = tuned[method].chosen["lr"]
            policies[method] = trained(method, rate, train, size.steps, seed, number)
        for method, policy in policies.items():
            rows += by_metric(method, TEST, number, reached(policy, test, seed, number))
    return Measured(scores_of(rows, lower_is_better=(VIOLATED, FOREIGN)), tuple(tuned.values()))
