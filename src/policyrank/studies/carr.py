"""CaRR: right answers are told apart by how much of the chain of evidence they cite.

Zhang et al. (2026), "Chaining the Evidence: Robust Reinforcement Learning for Deep Search Agents
with Citation-Aware Rubric Rewards", arXiv 2601.06021 (formulas by its released code).

**The claim**: rewarded for the answer alone, a search agent takes shortcuts; a rubric reward, the
share of the question's hops that it named, cited and connected to the answer, given to right
answers only (C-GRPO), keeps the evidence complete and the answers as right.

**What is done here**: 100 MuSiQue questions with 20 passages each; the gold decomposition is the
rubric, so that nothing is judged by a model: a hop is a statement on its answer and on those that
it needs, and is supported when its passage is cited. A small network scores passages by eight
features of words; it cites up to five, one after the other, until it stops (Plackett and Luce, the
stop among the passages). An answer is right when the last hop's passage is cited: earlier ones can
be skipped. *Free*: citing costs nothing. *Dear*: each citation of a right answer costs .02. GRPO:
300 steps of 16 questions with 8 answers, alpha = .3; all rewards have the same start and budget,
and, where citing is free, three learning rates, by the mean of right answers and whole chains on 20
questions that judge nothing; where it is dear .005, for there the slowest looks best. "Positive":
rubrics count where the answer is right, over the largest of the group or as they are (the released
runs); "not connected": every supported hop counts; "negative": rubrics count where the answer is
wrong (E-GRPO); "all": both; "all, all pay": wrong answers pay for citations, too. The other 80
questions are judged when they were not learned from (five folds), by 16 answers each. The unit is a
question; the policies of a fold are shared by its questions. *All sets of hops*: what is earned
without the last hop. Differences from the paper: no language model, no pages, citations and support
are exact, and none is invented.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from policyrank.evidence import datasets
from policyrank.learn import PlackettLuce, PolicyObjective, group_advantage
from policyrank.learn.rewards import chain_reward, mixed_outcome
from policyrank.learn.rewards.outcomes import Mix, Normaliser
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.fairness import Settings, Tuned, tune
from policyrank.studies.frame import Measured, Report, Row, Scale, quiet, scores_of
from policyrank.studies.hops import Hop, hops_of, passage_features, statements

TITLE = "CaRR"
PAPER = "arXiv 2601.06021"
ABOUT = "rubric rewards of a chain of evidence, for right answers only"
START, OUTCOME, GROUP, RAW = "start", "outcome alone", "positive, group", "positive, as it is"
LOOSE, NEGATIVE = "positive, not connected", "negative, not connected"
ALL, PAYING, RUBRICS = "all, not connected", "all, all pay", "rubrics alone"
FREE, DEAR, SETS = "free", "dear", "all sets of hops"
RIGHT, CHAIN, WHOLE = "right", "rubric reward", "whole chain"
SHORT, STRAY, CITED = "right by a shortcut", "stray citations", "citations"
FIRST, MIDDLE = "first hop cited", "middle hops cited"
WRONG = "largest rubric reward of wrong answers"
CONSTANTS = (START,)


@dataclass(frozen=True)
class Way:
    """How an answer is rewarded.

    Attributes
    ----------
    alpha
        weight of the rubrics
    connect
        only hops that hang together with the answer count
    all_pay
        whether wrong answers pay for their citations, too
    """

    alpha: float = 0.3
    mix: Mix = "positive"
    normalise: Normaliser = "none"
    connect: bool = True
    all_pay: bool = False


WAYS = {
    OUTCOME: Way(alpha=0.0),
    GROUP: Way(normalise="group"),
    RAW: Way(),
    LOOSE: Way(normalise="group", connect=False),
    NEGATIVE: Way(mix="negative", normalise="group", connect=False),
    ALL: Way(mix="all", normalise="group", connect=False),
    PAYING: Way(mix="all", normalise="group", all_pay=True),
    RUBRICS: Way(alpha=1.0, mix="all"),
}
COSTS = {FREE: 0.0, DEAR: 0.02}

UNIT = Unit("question", "task")
MAIN = Claim("", GROUP, OUTCOME, f"{WHOLE}, {DEAR}")
# Written 2026-11-28, when numbers of master seed 5 alone had been seen.
CLAIMS = (
    Claim("Free: more whole chains than by the outcome alone", GROUP, OUTCOME, f"{WHOLE}, {FREE}"),
    Claim("Dear: .05 more, too", GROUP, OUTCOME, f"{WHOLE}, {DEAR}", 0.05),
    Claim("Free: at most .03 fewer are right", GROUP, OUTCOME, f"{RIGHT}, {FREE}", -0.03),
    Claim("Dear: more are right", GROUP, OUTCOME, f"{RIGHT}, {DEAR}"),
    Claim("Free: fewer are right by a shortcut", GROUP, OUTCOME, f"{SHORT}, {FREE}"),
    *for_each(
        (FREE, DEAR),
        Claim(
            "{}: as it is, at most .03 fewer whole chains than over the group's largest",
            RAW,
            GROUP,
            f"{WHOLE}, {{}}",
            -0.03,
        ),
    ),
    Claim("Dear: more whole chains than by negative (E-GRPO)", GROUP, NEGATIVE, f"{WHOLE}, {DEAR}"),
    Claim("Dear: more whole chains than by all", GROUP, ALL, f"{WHOLE}, {DEAR}"),
    Claim(
        "Dear: .05 more whole chains than where wrong answers pay, too",
        GROUP,
        PAYING,
        f"{WHOLE}, {DEAR}",
        0.05,
    ),
    Claim("Free: connected, more middle hops are cited", GROUP, LOOSE, f"{MIDDLE}, {FREE}"),
    Claim("Free: more are right than by rubrics alone", GROUP, RUBRICS, f"{RIGHT}, {FREE}"),
    Claim(
        "Connected, a wrong answer earns no rubric reward", GROUP, 0.0, WRONG, 0.0, kind="identity"
    ),
)


@dataclass(frozen=True)
class Size:
    """Ways to cut into folds, folds that are judged, runs of tuning, and steps."""

    repeats: int
    folds: int
    tuning: int
    steps: int


SCALES: dict[Scale, Size] = {
    "smoke": Size(1, 1, 1, 3),
    "small": Size(4, 5, 4, 300),
    "full": Size(20, 5, 5, 1000),
}
RATES, COMMON = (2e-3, 5e-3, 1e-2), 5e-3
APART, FOLDS = 20, 5
QUESTIONS, ANSWERS, MOST = 16, 8, 5
HOPS, FEATURES = 4, 8


@dataclass(frozen=True, eq=False)
class Pool:
    """Passages of questions.

    Attributes
    ----------
    features
        (questions, passages, features)
    support
        (questions, HOPS, passages), which passage supports the last hop, the one before, ...; none
        where there are fewer
    chain, loose
        (questions, 2^HOPS), the rubric reward of each set of hops that are cited, bit by bit as in
        ``support``: connected, and not
    """

    features: Tensor
    support: Tensor
    chain: Tensor
    loose: Tensor

    def take(self, which: Tensor) -> Pool:
        """These questions alone, in the shape of their numbers."""
        return Pool(*(own[which] for own in vars(self).values()))


def pool_of(questions: list[dict[str, Any]]) -> Pool:
    """Questions, with what every set of cited hops earns."""
    hops = [hops_of(question) for question in questions]
    support = torch.zeros(len(hops), HOPS, len(questions[0]["paragraphs"]), dtype=torch.bool)
    for row, own in enumerate(hops):
        for place, hop in enumerate(reversed(own)):
            support[row, place, hop.passage] = True
    chains = [earned(own, connect=True) for own in hops]
    loose = [earned(own, connect=False) for own in hops]
    return Pool(passage_features(questions), support, torch.tensor(chains), torch.tensor(loose))


def earned(hops: tuple[Hop, ...], *, connect: bool) -> list[float]:
    """The rubric reward of each set of cited hops, by the bits of its number: the last hop's is 1.

    Answers are named as they are; hops that a question has not make no difference.
    """
    rubrics = statements(hops)
    last = len(hops) - 1
    names = {f"E{last - number}": hop.answer for number, hop in enumerate(hops)}
    found = []
    for bits in product((False, True), repeat=HOPS):
        cited = bits[::-1][: len(hops)]  # of the last hop, the one before, ...
        verdict = chain_reward(rubrics, names, cited[::-1], connect=connect)
        found.append(verdict.reward)
    return found


class Citer(nn.Module):
    """Scores passages, and the stop."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(FEATURES, 32), nn.ReLU())
        self.body.append(nn.Linear(32, 1))
        self.stop = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        """Scores: (..., passages + 1), the stop last."""
        scores = self.body(features)[..., 0]
        return torch.cat([scores, self.stop.expand(*scores.shape[:-1], 1)], dim=-1)


@dataclass(frozen=True, eq=False)
class Cited:
    """Answers to questions: (..., questions, answers, ...), of a policy, or one of each run.

    Attributes
    ----------
    log_probs, written
        (..., MOST), of each choice, and whether it was made: none after the stop
    hops
        (..., HOPS), which are supported, the last one first
    number
        citations
    """

    log_probs: Tensor
    written: Tensor
    hops: Tensor
    number: Tensor

    @property
    def right(self) -> Tensor:
        """Which answers are right."""
        return self.hops[..., 0].float()

    def rubrics(self, pool: Pool, *, connect: bool) -> Tensor:
        """The rubric reward."""
        table = pool.chain if connect else pool.loose
        number = (self.hops.long() * 2 ** torch.arange(HOPS)).sum(dim=-1)
        return table.gather(-1, number)

    def take(self, which: Tensor) -> Cited:
        """The answers of these runs alone."""
        return Cited(*(own[which] for own in vars(self).values()))


def cited(scores: Tensor, pool: Pool, answers: int, generator: torch.Generator) -> Cited:
    """Answers that are drawn by scores (..., questions, passages + 1)."""
    order = PlackettLuce(scores)
    drawn = order.sample(answers, k=MOST, generator=generator)
    log_probs = order.step_log_prob(drawn).movedim(0, -2)
    drawn = drawn.movedim(0, -2)
    stops = drawn == scores.shape[-1] - 1
    written = (stops.cumsum(dim=-1) - stops.long()) == 0
    cites = written & ~stops
    there = torch.zeros(*drawn.shape[:-1], scores.shape[-1], dtype=torch.bool)
    there = there.scatter(-1, drawn, cites)[..., :-1]
    hops = (pool.support[..., None, :, :] & there[..., None, :]).any(dim=-1)
    return Cited(log_probs, written, hops, cites.sum(dim=-1))


def rewards_of(own: Cited, pool: Pool, way: Way, cost: Tensor | float) -> Tensor:
    """What each answer earns: (..., questions, answers); the cost is that of each run."""
    right, rubrics = own.right, own.rubrics(pool, connect=way.connect)
    group = torch.arange(right.shape[:-1].numel()).repeat_interleave(right.shape[-1])
    reward = mixed_outcome(
        right.flatten(),
        rubrics.flatten(),
        group,
        alpha=way.alpha,
        mix=way.mix,
        normalise=way.normalise,
    )
    pays = torch.ones_like(right) if way.all_pay else right
    return reward.reshape(right.shape) - cost * own.number * pays


@dataclass(frozen=True, eq=False)
class Run:
    """A policy to be trained: how it is rewarded, on which questions, from which start."""

    method: str
    cost: str
    questions: NDArray[np.int64]
    start: int

    def policy(self) -> Citer:
        """The same network for every way."""
        torch.manual_seed(self.start)
        return Citer()


def trained(
    runs: Sequence[Run], pool: Pool, rate: float, steps: int, generator: torch.Generator
) -> list[Citer]:
    """GRPO on the answers that each run's own policy draws, all side by side."""
    policies = [run.policy() for run in runs]
    weights, _ = stack_module_state(policies)
    every = list(weights.values())
    optimiser = torch.optim.Adam(every, lr=rate)
    objective = PolicyObjective(average="length", length=MOST)
    questions = torch.from_numpy(np.array([run.questions for run in runs]))
    costs = torch.tensor([COSTS[run.cost] for run in runs])[:, None, None]
    methods = np.array([run.method for run in runs])
    members = {way: torch.from_numpy(np.flatnonzero(methods == way)) for way in set(methods)}
    group = torch.arange(len(runs) * QUESTIONS).repeat_interleave(ANSWERS)

    def scores(own: dict[str, Tensor], features: Tensor) -> Tensor:
        return functional_call(policies[0], own, (features,))

    for _ in range(steps):
        some = torch.rand(questions.shape, generator=generator).argsort(dim=1)[:, :QUESTIONS]
        part = pool.take(questions.gather(1, some))
        own = cited(vmap(scores)(weights, part.features), part, ANSWERS, generator)
        rewards = torch.zeros(own.right.shape)
        for method, at in members.items():
            found = rewards_of(own.take(at), part.take(at), WAYS[method], costs[at])
            rewards[at] = found
        gain = group_advantage(rewards.flatten(), group, scale="sample", epsilon=1e-6)
        written = own.written.flatten(0, 2).float()
        loss = objective(own.log_probs.flatten(0, 2), gain, written).loss * len(runs)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for place, policy in enumerate(policies):
        policy.load_state_dict({name: own[place].detach() for name, own in weights.items()})
    return policies


@torch.no_grad()
def reached(policy: nn.Module, pool: Pool, generator: torch.Generator) -> dict[str, Tensor]:
    """What answers to each question are, of sixteen: metric -> (questions,), NaN where none."""
    own = cited(policy(pool.features), pool, 2 * ANSWERS, generator)
    hops = pool.support.any(dim=-1)
    many = hops.sum(dim=-1, keepdim=True)
    held = own.hops.sum(dim=-1)
    whole = (held == many).float()
    place = torch.arange(HOPS)
    between = hops & (place > 0) & (place < many - 1)
    shares = own.hops.float().mean(dim=1)
    return {
        RIGHT: own.right.mean(dim=1),
        CHAIN: own.rubrics(pool, connect=True).mean(dim=1),
        WHOLE: whole.mean(dim=1),
        SHORT: (own.right - whole).mean(dim=1),
        FIRST: shares.gather(1, many - 1)[:, 0],
        MIDDLE: (shares * between).sum(dim=1) / between.sum(dim=1),
        CITED: own.number.float().mean(dim=1),
        STRAY: (own.number - held).sum(dim=1) / own.number.sum(dim=1),
    }


def of_wrong_answers(pool: Pool) -> Iterator[Row]:
    """The largest rubric reward without the last hop, over all sets of hops and questions."""
    wrong = torch.arange(2**HOPS) % 2 == 0
    yield GROUP, SETS, WRONG, 0, float(pool.chain[:, wrong].max())
    yield LOOSE, SETS, WRONG, 0, float(pool.loose[:, wrong].max())


def run(scale: Scale, seed: int, report: Report = quiet) -> Measured:
    """Measure; a task is a question, a replicate a way to cut the questions into folds."""
    size = SCALES[scale]
    torch.set_num_threads(1)
    pool = pool_of(datasets.load("musique100"))
    order = np.random.default_rng([seed, 0]).permutation(len(pool.features))
    apart, judged = order[:APART], order[APART:]
    tuned = _tuned(pool, (judged, apart), size, seed, report)
    rates = {(method, FREE): float(own.chosen["lr"]) for method, own in tuned.items()}
    rates |= {(method, DEAR): COMMON for method in WAYS}
    rows: list[Row] = list(of_wrong_answers(pool))
    runs: list[tuple[Run, int, NDArray[np.int64]]] = []
    for number in range(size.repeats):
        mixed = np.random.default_rng([seed, 1, number]).permutation(judged)
        for place, test in enumerate(np.array_split(mixed, FOLDS)[: size.folds]):
            train = np.setdiff1d(order, test)
            start = seed * 10_000 + number * FOLDS + place
            for cost, method in product(COSTS, (START, *WAYS)):
                if method == START or cost == DEAR or not WAYS[method].all_pay:
                    runs.append((Run(method, cost, train, start), number, test))
    generator = torch.Generator().manual_seed(seed * 10_000 + 5000)
    policies = {id(run): run.policy() for run, *_ in runs if run.method == START}
    for rate in RATES:
        some = [run for run, *_ in runs if rates.get((run.method, run.cost)) == rate]
        if some:
            report(f"{len(some)} policies with {rate:g}")
            found = trained(some, pool, rate, size.steps, generator)
            policies |= {id(run): own for run, own in zip(some, found, strict=True)}
    for run, number, test in runs:
        draws = torch.Generator().manual_seed(run.start + 5000)
        values = reached(policies[id(run)], pool.take(torch.from_numpy(test)), draws)
        rows += _rows(run.method, run.cost, number, test, values)
    lower = [f"{metric}, {cost}" for metric in (SHORT, STRAY) for cost in COSTS]
    return Measured(scores_of(rows, lower_is_better=(*lower, WRONG)), tuple(tuned.values()))


def _tuned(
    pool: Pool,
    parts: tuple[NDArray[np.int64], NDArray[np.int64]],
    size: Size,
    seed: int,
    report: Report,
) -> dict[str, Tuned]:
    """Learning rates of each way where citing is free, by questions that judge nothing."""
    ways = [method for method, way in WAYS.items() if not way.all_pay]
    learned, test = parts[0], pool.take(torch.from_numpy(parts[1]))
    first = seed * 10_000 + 1000
    runs = [Run(way, FREE, learned, first + k) for way in ways for k in range(size.tuning)]
    values: dict[tuple[str, float, int], float] = {}
    for rate in RATES:
        report(f"tuning: {rate:g}")
        draws = torch.Generator().manual_seed(first)
        for run, policy in zip(runs, trained(runs, pool, rate, size.steps, draws), strict=True):
            found = reached(policy, test, torch.Generator().manual_seed(run.start))
            balanced = (found[RIGHT] + found[WHOLE]).mean() / 2
            values[run.method, rate, run.start - first] = float(balanced)

    def looked_up(method: str, settings: Settings, number: int) -> float:
        return values[method, settings["lr"], number]

    grids = {method: [{"lr": rate} for rate in RATES] for method in ways}
    return tune(grids, looked_up, range(size.tuning), metric="mean of right and whole, free")


def _rows(
    method: str, cost: str, number: int, which: NDArray[np.int64], values: Mapping[str, Tensor]
) -> Iterator[Row]:
    for metric, own in values.items():
        for question, value in zip(which, own.tolist(), strict=True):
            if not np.isnan(value):
                yield method, f"question {question}", f"{metric}, {cost}", number, value
