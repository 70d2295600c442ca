"""CoSearch: an agent that searches and the ranker that it searches by learn together.

Zeng et al. (2026), "CoSearch: Joint Training of Reasoning and Document Ranking via Reinforcement
Learning for Agentic Search", arXiv 2604.17555 (details by its released code).

**The claim**: trained together by GRPO, agent and ranker answer better than an agent with a ranker
that was trained before and is frozen; what makes it work is that the ranker's calls are compared
with those of like sub-queries, and that it is rewarded both for its ranking and for the answer.

**What is done here**: 100 MuSiQue questions over the 2,884 paragraphs of theirs and of 100 of
HotpotQA's; BM25 finds twenty, of which the first three of a ranking are shown. The agent asks for
the next hop (the gold sub-question, also without its first or its last word), for the last, asks
the whole question, or stops; up to five searches. A reader that is a rule knows a hop once its
passage was shown and what it needs is known, else it guesses the title of the first passage; the
reward is token F1. The agent chooses by turn, hops left and last choice; the ranker is a small
network on seven features of words, at the start in BM25's order. GRPO: 60 steps of 16 questions
with 8 trajectories; a ranking is right where a passage holds the answer, its quality the mean of
hits at 1, 2 and 3. "Fixed ranker": learns by quality alone beside the agent as it is at the start,
then is frozen, and the agent learns as many steps: with twice the trajectories of all others.
"Ranker alone": the agent stays as it is at the start. Oracles put passages with the answer first
(the paper's), or those that support a hop. Each has two learning rates, by F1 on 20 questions that
judge nothing; the others are judged when they were not learned from (five folds), by the likeliest
rankings and 16 trajectories. The unit is a question; the policies of a fold are shared by its
questions. *Early*: after a fifth of the steps. *Start*: rewards of the same calls, drawn anew, in
groups of each kind, and how advantages go with whether evidence was shown, less its chance.
Differences from the paper: no language model, no dense retriever, a reader that makes no mistakes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policyrank.learn import PolicyObjective, group_advantage
from policyrank.learn.rewards import mean_hit, ranker_reward
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.fairness import Settings, Tuned, tune
from policyrank.studies.frame import Measured, Report, Row, Scale, by_metric, quiet, scores_of
from policyrank.studies.search_game import (
    DEPTH,
    SHOWN,
    TURNS,
    Agent,
    Game,
    Orders,
    Ranker,
    Searches,
    by_oracle,
    game_of,
    hits,
    likenesses,
    searched,
)
from policyrank.train.likeness import semantic_groups

TITLE = "CoSearch"
PAPER = "arXiv 2604.17555"
ABOUT = "an agent and its ranker trained together, against frozen ones"
START, BM25, FIXED, ALONE = "start", "retrieval alone", "fixed ranker", "ranker alone"
JOINT, RELEASED = "together", "together, as released"
WHOLE, EXACT = "together, by question", "together, by same words"
QUALITY, ANSWER = "together, quality alone", "together, answer alone"
ORACLE, EVIDENCE = "oracle of answers", "oracle of evidence"
F1, HIT, EARLY, FOUND = "F1", "hops hit at 3", "hops hit at 3, early", "hops found"
SEARCHES, SPREAD, TRUE = "searches", "variance in groups", "correlation with what is shown"
GROUPED, PLAIN = "calls in groups", "correlation, not divided"
AT_START = "start"
CONSTANTS = (START,)


@dataclass(frozen=True)
class Way:
    """How a ranker learns.

    Attributes
    ----------
    gate, right_from
        see ``ranker_reward``; None: quality alone, or the answer alone, by ``part``
    threshold, strata, least
        of ``semantic_groups``; strata: calls with and without an answer among what is found apart
    """

    part: str = "both"
    gate: float = 0.5
    right_from: float | None = None
    threshold: float = 0.8
    strata: bool = True
    least: int = 3


WAYS = {
    JOINT: Way(),
    RELEASED: Way(gate=0.8, right_from=0.8, least=4),
    WHOLE: Way(threshold=0.0, strata=False),
    EXACT: Way(threshold=1.0),
    QUALITY: Way(part="quality"),
    ANSWER: Way(part="answer"),
}
METHODS = (BM25, FIXED, ALONE, *WAYS, ORACLE, EVIDENCE)

UNIT = Unit("question", "task")
DRAW = Unit("draw of trajectories")
MAIN = Claim("", JOINT, FIXED, F1)
# Written 2026-11-28, when numbers of master seed 5 alone had been seen.
CLAIMS = (
    Claim("Together beats the fixed ranker", JOINT, FIXED, F1),
    Claim("Together beats retrieval alone by .05", JOINT, BM25, F1, 0.05),
    Claim("The fixed ranker beats retrieval alone", FIXED, BM25, F1),
    Claim("Together beats the ranker alone by .05", JOINT, ALONE, F1, 0.05),
    Claim("The oracle of answers beats together", ORACLE, JOINT, F1),
    Claim("The oracle of evidence beats that of answers", EVIDENCE, ORACLE, F1),
    *for_each(
        (WHOLE, QUALITY, ANSWER),
        Claim("Together beats {}", JOINT, "{}", F1),
    ),
    *for_each(
        (EXACT, RELEASED),
        Claim("Together loses at most .03 to {}", JOINT, "{}", F1, -0.03),
    ),
    Claim("Together ranks hops better than BM25", JOINT, BM25, HIT),
    Claim("Together ranks hops better than the fixed ranker", JOINT, FIXED, HIT),
    Claim("Together ranks hops better early on than by question", JOINT, WHOLE, EARLY),
    Claim(
        "Start: less variance in groups of like queries than of a question",
        JOINT,
        WHOLE,
        SPREAD,
        unit=DRAW,
    ),
    Claim("Start: advantages go more with what is shown", JOINT, WHOLE, TRUE, unit=DRAW),
    Claim("Start: so they do where they are not divided", JOINT, WHOLE, PLAIN, unit=DRAW),
)


@dataclass(frozen=True)
class Size:
    """Ways to cut into folds, folds that are judged, draws at the start, and steps."""

    repeats: int
    folds: int
    draws: int
    steps: int


SCALES: dict[Scale, Size] = {
    "smoke": Size(1, 1, 2, 4),
    "small": Size(1, 5, 12, 60),
    "full": Size(20, 5, 100, 1000),
}
RATES = (2e-2, 5e-2)
APART, FOLDS = 20, 5
QUESTIONS, TRAJECTORIES = 16, 8


@dataclass(frozen=True, eq=False)
class World:
    """The game, and how alike what can be asked is."""

    game: Game
    place: Mapping[str, int]
    alike: Tensor

    def likeness(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """As ``token_likeness``, looked up."""
        own = [self.place[text] for text in texts]
        return self.alike.numpy()[np.ix_(own, own)]


@dataclass(frozen=True, eq=False)
class Calls:
    """Calls of a ranker, one a row.

    Attributes
    ----------
    row
        the trajectory of each
    query, question
        what was asked, and of which question
    quality, answerable
        mean hit of what was shown, and whether anything found holds the answer
    outcome
        of the trajectory
    """

    row: Tensor
    query: Tensor
    question: Tensor
    quality: Tensor
    answerable: Tensor
    outcome: Tensor


def calls_of(game: Game, question: Tensor, own: Searches) -> Calls:
    """The searches of trajectories."""
    row, turn = own.searched.nonzero(as_tuple=True)
    query = own.query[row, turn]
    order = own.order[row, turn]
    relevant = (game.holds[query] & game.where[query]).gather(1, order)
    return Calls(
        row,
        query,
        question[row],
        mean_hit(relevant, range(1, SHOWN + 1)),
        game.holds[query].any(dim=1),
        own.outcome[row],
    )


def rewards_of(calls: Calls, way: Way) -> Tensor:
    """What each ranking earns: (calls,)."""
    if way.part == "quality":
        return calls.quality
    if way.part == "answer":
        return calls.outcome
    return ranker_reward(
        calls.quality,
        calls.outcome,
        calls.answerable,
        torch.ones_like(calls.answerable),
        gate=way.gate,
        right_from=way.right_from,
    )


def groups_of(world: World, calls: Calls, way: Way) -> Tensor:
    """Whom each call is compared with: (calls,), -1 for nobody."""
    found = semantic_groups(
        [world.game.texts[query] for query in calls.query],
        calls.question.tolist(),
        strata=calls.answerable.tolist() if way.strata else None,
        threshold=way.threshold,
        least=way.least,
        likeness=world.likeness,
    )
    return torch.from_numpy(found)


def gains_of(rewards: Tensor, groups: Tensor) -> Tensor:
    """How much better each ranking did than its group; 0 of those in none."""
    inside = rewards.masked_fill(groups < 0, torch.nan)
    return group_advantage(inside, groups, scale="sample", epsilon=1e-6).nan_to_num(nan=0.0)


@dataclass(frozen=True, eq=False)
class Pair:
    """An agent and how passages are ordered for it; early on, too."""

    agent: Agent
    orders: Orders
    early: Orders


@dataclass(frozen=True)
class Training:
    """Who learns, how the ranker does, and for how long."""

    steps: int
    rate: float
    way: Way | None = None
    agent: bool = True


def trained(
    world: World,
    training: Training,
    questions: NDArray[np.int64],
    orders: Orders | None,
    seed: tuple[int, int],
) -> Pair:
    """GRPO on trajectories; without fixed orders the ranker learns beside the agent."""
    torch.manual_seed(seed[0] * 10_000 + seed[1])
    generator = torch.Generator().manual_seed(seed[0] * 10_000 + seed[1])
    agent, ranker = Agent(), Ranker()
    way = training.way
    learns = Orders(ranker=ranker, drawn=True) if orders is None else orders
    weights = [*agent.parameters()] if training.agent else []
    weights += [*ranker.parameters()] if orders is None else []
    optimiser = torch.optim.Adam(weights, lr=training.rate)
    everyone = torch.from_numpy(questions)
    early = Ranker()
    for step in range(training.steps):
        some = torch.randperm(len(everyone), generator=generator)[:QUESTIONS]
        question = everyone[some].repeat_interleave(TRAJECTORIES)
        own = searched(world.game, question, agent, learns, generator)
        loss = torch.zeros(())
        if training.agent:
            gain = group_advantage(own.outcome, question, scale="sample", epsilon=1e-6)
            loss = loss + AGENT(own.log_probs, gain, own.acted.float()).loss
        if way is not None:
            loss = loss + _ranker_loss(world, question, own, way)
        optimiser.zero_grad()
        if loss.requires_grad:
            loss.backward()
            optimiser.step()
        if step + 1 == training.steps // 5:
            early.load_state_dict(ranker.state_dict())
    if orders is not None:
        return Pair(agent, orders, orders)
    return Pair(agent, Orders(ranker=ranker), Orders(ranker=early))


AGENT = PolicyObjective(average="length", length=TURNS)
RANKER = PolicyObjective(average="length", length=SHOWN)


def _ranker_loss(world: World, question: Tensor, own: Searches, way: Way) -> Tensor:
    calls = calls_of(world.game, question, own)
    if not len(calls.row):
        return torch.zeros(())
    gain = gains_of(rewards_of(calls, way), groups_of(world, calls, way))
    likely = own.order_log_probs[own.searched]
    return RANKER(likely, gain, torch.ones_like(likely)).loss


def made(
    method: str,
    world: World,
    rate: float,
    steps: int,
    questions: NDArray[np.int64],
    seed: tuple[int, int],
) -> Pair:
    """A method's agent and orders, trained."""
    game = world.game
    if method in WAYS:
        return trained(world, Training(steps, rate, WAYS[method]), questions, None, seed)
    alone = Training(steps, rate, WAYS[JOINT], agent=False)
    if method == ALONE:
        return trained(world, alone, questions, None, seed)
    if method == FIXED:
        first = Training(steps, rate, WAYS[QUALITY], agent=False)
        ranker = trained(world, first, questions, None, seed)
        agent = trained(world, Training(steps, rate), questions, ranker.orders, seed)
        return Pair(agent.agent, ranker.orders, ranker.early)
    fixed = {
        BM25: torch.arange(DEPTH).expand(game.where.shape),
        ORACLE: by_oracle(game.holds & game.where),
        EVIDENCE: by_oracle(game.supports.any(dim=-1)),
    }
    return trained(world, Training(steps, rate), questions, Orders(fixed[method]), seed)


@torch.no_grad()
def reached(
    world: World, pair: Pair, questions: NDArray[np.int64], seed: tuple[int, int]
) -> dict[str, Tensor]:
    """What a pair reaches on each question: metric -> (questions,)."""
    game = world.game
    generator = torch.Generator().manual_seed(seed[0] * 10_000 + seed[1] + 5000)
    each = torch.from_numpy(questions)
    own = searched(
        game, each.repeat_interleave(2 * TRAJECTORIES), pair.agent, pair.orders, generator
    )
    rows = (len(each), 2 * TRAJECTORIES)
    return {
        F1: own.outcome.reshape(rows).mean(dim=1),
        FOUND: own.known.sum(dim=-1).float().reshape(rows).mean(dim=1) / game.number[each],
        SEARCHES: own.searched.sum(dim=-1).float().reshape(rows).mean(dim=1),
        HIT: hits(game, pair.orders, questions),
        EARLY: hits(game, pair.early, questions),
    }


@torch.no_grad()
def at_start(
    world: World, questions: NDArray[np.int64], chance: Tensor, seed: tuple[int, int]
) -> Iterator[Row]:
    """Rewards of the same calls in groups of each kind, before anything was learned.

    Judged are calls that all kinds of groups hold: what is left of the spread within a group, and
    how the advantage goes with what the ranker did: whether a passage that supports a hop was shown
    less the chance of it, as its query has it.
    """
    game = world.game
    generator = torch.Generator().manual_seed(seed[0] * 10_000 + seed[1] + 7000)
    torch.manual_seed(seed[0] * 10_000 + seed[1])
    question = torch.from_numpy(questions).repeat_interleave(TRAJECTORIES)
    own = searched(game, question, Agent(), Orders(ranker=Ranker(), drawn=True), generator)
    calls = calls_of(game, question, own)
    rewards = rewards_of(calls, WAYS[JOINT])
    order = own.order[own.searched]
    shown = game.supports[calls.query].any(dim=-1).gather(1, order).any(dim=1).float()
    did = shown - chance[calls.query]
    groups = {method: groups_of(world, calls, WAYS[method]) for method in (JOINT, EXACT, WHOLE)}
    both = torch.stack([own >= 0 for own in groups.values()]).all(dim=0)
    for method, group in groups.items():
        inside = rewards.masked_fill(group < 0, torch.nan)
        rest = group_advantage(rewards[both], group[both]).nan_to_num(nan=0.0)
        freedom = len(rest) - len(group[both].unique())
        values = {
            SPREAD: float((rest**2).sum() / freedom),
            TRUE: correlation(gains_of(rewards, group)[both], did[both]),
            PLAIN: correlation(group_advantage(inside, group)[both], did[both]),
            GROUPED: float((group >= 0).float().mean()),
        }
        yield from by_metric(method, AT_START, seed[1], values)


def correlation(one: Tensor, other: Tensor) -> float:
    """Pearson's, NaN where one is constant."""
    return float(torch.corrcoef(torch.stack([one.float(), other.float()]))[0, 1])


@torch.no_grad()
def chances(game: Game, draws: int = 400) -> Tensor:
    """How often the ranker of the start shows a passage that supports a hop: (queries,)."""
    torch.manual_seed(0)
    policy = Orders(ranker=Ranker(), drawn=True)
    generator = torch.Generator().manual_seed(0)
    every = torch.arange(len(game.texts))
    total = torch.zeros(len(every))
    for _ in range(draws):
        order, _ = policy.of(game, every, generator)
        total += game.supports.any(dim=-1).gather(1, order).any(dim=1)
    return total / draws


def run(scale: Scale, seed: int, report: Report = quiet) -> Measured:
    """Measure; a task is a question, a replicate a way to cut the questions into folds."""
    size = SCALES[scale]
    torch.set_num_threads(1)
    game = game_of()
    world = World(game, *likenesses(game))
    order = np.random.default_rng([seed, 0]).permutation(len(game.number))
    apart, judged = order[:APART], order[APART:]

    def right(method: str, settings: Settings, number: int) -> float:
        report(f"tuning {method}: {settings}")
        draw = (seed, 1000 + number)
        pair = made(method, world, settings["lr"], size.steps, judged, draw)
        return float(reached(world, pair, apart, draw)[F1].mean())

    grids = {method: [{"lr": rate} for rate in RATES] for method in METHODS}
    tuned: dict[str, Tuned] = tune(grids, right, range(1), metric=F1)
    rows: list[Row] = []
    chance = chances(game)
    for number in range(size.draws):
        rows += at_start(world, order, chance, (seed, number))
    for number in range(size.repeats):
        mixed = np.random.default_rng([seed, 1, number]).permutation(judged)
        for place, test in enumerate(np.array_split(mixed, FOLDS)[: size.folds]):
            report(f"folds {number + 1} of {size.repeats}, {place + 1} of {size.folds}")
            draw = (seed, number * FOLDS + place)
            train = np.setdiff1d(order, test)
            nobody = Orders(torch.arange(DEPTH).expand(game.where.shape))
            pairs = {START: Pair(Agent(), nobody, nobody)}
            for method in METHODS:
                rate = tuned[method].chosen["lr"]
                pairs[method] = made(method, world, rate, size.steps, train, draw)
            for method, pair in pairs.items():
                for metric, values in reached(world, pair, test, draw).items():
                    for question, value in zip(test, values.tolist(), strict=True):
                        rows.append((method, f"question {question}", metric, number, value))
    return Measured(scores_of(rows, lower_is_better=(SPREAD,)), tuple(tuned.values()))
