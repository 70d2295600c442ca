"""Rank-GRPO: each rank of a list has its own advantage; lists are brought into a catalogue.

Zhu et al. (2025), "Rank-GRPO: Training LLM-based Conversational Recommender Systems with
Reinforcement Learning", arXiv 2510.20150.

**The claim**: crediting each rank with what it can have caused, with a ratio of its own, trains
recommenders better than one advantage a list (GRPO, GSPO), most off-policy; a teacher's lists that
are mapped into the catalogue (and adjusted to what is chosen) recommend better than the part of
them that happens to lie in it.

**What is done here**: *Lists of GPT-4 and GPT-3.5* for 228 turns of INSPIRED's dialogues on films:
recall of the films that were recommended in the end, among 20. Filter: names that stand in the
catalogue; remap: likeness of names (character n-grams, cosines under .5 cut) by place, plus words
of the dialogue; adjusted: fitted on the other four fifths of the dialogues. A dialogue is the unit.
*Ranks as actions*: worlds of 60 items and users with known taste; a small network, which sees a
noisy profile, lists ten items; 64 users learn, 8 lists each, 300 updates, clips .06 and .08, at one
or four passes over each batch; each way to credit ranks has the same start and three learning
rates, by the gains (DCG) on the training users in worlds apart. Whole list: its DCG on every rank,
with a ratio a token (GRPO) or a list (GSPO); below: what comes at a rank or after it; own: what
comes at a rank. Judged are the expected DCG of training users' lists, nDCG@10 of 100 other users,
and the signal of the gradient over its noise, in logs. A replicate is a world. Differences from the
paper: no language model, an item is one token.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from policyrank.evidence import datasets
from policyrank.learn import PlackettLuce, PolicyObjective, group_advantage
from policyrank.learn.rewards import dcg, ndcg, rank_credit
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.fairness import Settings, tune
from policyrank.studies.frame import Measured, Report, Row, Scale, by_metric, quiet, scores_of
from policyrank.train.catalogues import first_of, fit_adjustment, remap

TITLE = "Rank-GRPO"
PAPER = "arXiv 2510.20150"
ABOUT = "an advantage for each rank of a list, and lists brought into a catalogue"
WHOLE, GSPO, BELOW, OWN = "whole list", "whole list, its ratio", "ranks below", "own rank"
METHODS = (WHOLE, GSPO, BELOW, OWN)
FILTER, REMAP, ADJUSTED = "filter", "remap", "remap, adjusted"
TEACHERS = {"GPT-4": "gpt4", "GPT-3.5": "gpt35"}
GAIN, NDCG, SIGNAL = "DCG@10 in training", "nDCG@10", "log signal over noise"
PASSES = {"1 pass": 1, "4 passes": 4}

UNIT = Unit("world")
DIALOGUE = Unit("dialogue", "task", of=lambda turn: turn.partition(",")[0])
MAIN = Claim("", OWN, WHOLE, GAIN, tasks=("4 passes",))
CLAIMS = (
    *for_each(
        TEACHERS,
        Claim("Remapped lists of {} recall more", REMAP, FILTER, "recall@20, {}", unit=DIALOGUE),
    ),
    *for_each(
        TEACHERS,
        Claim("Adjusting recalls more ({})", ADJUSTED, REMAP, "recall@20, {}", unit=DIALOGUE),
    ),
    *for_each(
        [(way, passes) for way in (BELOW, OWN) for passes in PASSES],
        Claim("{0}: gains more than a whole list ({1})", "{0}", WHOLE, GAIN, tasks=("{1}",)),
    ),
    *for_each(
        PASSES,
        Claim("Own rank gains more than the list's ratio ({})", OWN, GSPO, GAIN, tasks=("{}",)),
    ),
    *for_each(
        (BELOW, OWN),
        Claim(
            "{}: a clearer gradient at the start, 1.5 times",
            "{}",
            WHOLE,
            SIGNAL,
            float(np.log(1.5)),
        ),
    ),
    *for_each(
        PASSES,
        Claim("Own rank lists better for other users ({})", OWN, WHOLE, NDCG, tasks=("{}",)),
    ),
)


@dataclass(frozen=True)
class Size:
    """Worlds, those for tuning apart; updates; samples of gradients."""

    worlds: int
    tuning: int
    updates: int
    samples: int


SCALES: dict[Scale, Size] = {
    "smoke": Size(2, 1, 8, 10),
    "small": Size(20, 3, 300, 300),
    "full": Size(100, 10, 1000, 1000),
}
RATES = (1e-2, 3e-2, 1e-1)
PLACES, LISTS = 10, 8


def run(scale: Scale, seed: int, report: Report = quiet) -> Measured:
    """Measure; a replicate is a world, a task of recall a turn of a dialogue."""
    size = SCALES[scale]
    torch.set_num_threads(1)
    report("lists of teachers")
    rows: list[Row] = list(of_teachers(seed))
    grids = {method: [{"lr": rate} for rate in RATES] for method in METHODS}
    tuned = []
    for setting, passes in PASSES.items():

        def reached(method: str, settings: Settings, number: int, passes: int = passes) -> float:
            report(f"tuning {method}, {passes} passes: {settings}, world {number + 1}")
            found = trained(method, settings["lr"], passes, size.updates, (seed, 1000 + number))
            return found[GAIN]

        chosen = tune(grids, reached, range(size.tuning), metric=f"{GAIN}, {setting}")
        tuned += list(chosen.values())
        for number in range(size.worlds):
            report(f"{setting}: world {number + 1} of {size.worlds}")
            for method in METHODS:
                rate = chosen[method].chosen["lr"]
                values = trained(method, rate, passes, size.updates, (seed, number))
                rows += by_metric(method, setting, number, values)
    for number in range(size.worlds):
        report(f"gradients: world {number + 1} of {size.worlds}")
        for method, value in clarity((seed, number), size.samples).items():
            rows.append((method, "at the start", SIGNAL, number, value))
    return Measured(scores_of(rows), tuple(tuned))


# Lists of teachers --------------------------------------------------------------------------------


def _plain(name: str) -> str:
    return " ".join(re.sub(r"[^a-z0-9 ]", " ", name.casefold()).split())


def of_teachers(seed: int) -> Iterator[Row]:
    """Recall of each turn's films by a teacher's list: filtered, remapped, adjusted."""
    turns, catalogue = datasets.load("inspired")
    ids = list(catalogue)
    plain = [_plain(catalogue[own]) for own in ids]
    place = {own: k for k, own in enumerate(ids)}
    dialogues = sorted({turn["dialog"] for turn in turns})
    order = np.random.default_rng(seed).permutation(len(dialogues))
    fold_of = {dialogues[k]: number % 5 for number, k in enumerate(order)}
    folds = np.array([fold_of[turn["dialog"]] for turn in turns])
    truth = np.zeros((len(turns), len(ids)))
    for row, turn in enumerate(turns):
        truth[row, [place[own] for own in turn["target_ids"]]] = 1
    said = [set(map(_plain, turn["mentioned_before"])) for turn in turns]
    barred = np.array([[name in own for name in plain] for own in said])
    for teacher, column in TEACHERS.items():
        lists = [turn[column] for turn in turns]
        scores = _mapped(lists, [turn["context"] for turn in turns], plain)
        fitted = np.zeros_like(scores)
        for fold in range(5):
            rest = folds != fold
            fitted[~rest] = fit_adjustment(scores[rest], truth[rest])(scores[~rest])
        for row, turn in enumerate(turns):
            named = [plain.index(own) for own in map(_plain, lists[row]) if own in plain]
            kept = [own for own in dict.fromkeys(named) if not barred[row, own]]
            every = {
                FILTER: kept[:20],
                REMAP: first_of(scores[row], 20, without=barred[row]),
                ADJUSTED: first_of(fitted[row], 20, without=barred[row]),
            }
            for method, found in every.items():
                recall = float(truth[row, found].sum() / truth[row].sum())
                yield (
                    method,
                    f"{turn['dialog']}, {turn['turn']}",
                    f"recall@20, {teacher}",
                    0,
                    recall,
                )


def _mapped(
    lists: Sequence[Sequence[str]], contexts: Sequence[str], plain: Sequence[str]
) -> NDArray[np.float64]:
    """Scores of the catalogue: (turns, catalogue)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4))
    names = letters.fit_transform(plain)
    words = TfidfVectorizer()
    spoken = (words.fit_transform(plain) @ words.transform(contexts).T).toarray().T
    found = []
    for listed, context in zip(lists, spoken, strict=True):
        own = [_plain(name) for name in listed]
        alike = (letters.transform(own) @ names.T).toarray()
        alike[alike < 0.5] = 0
        same = np.array([[one == other for other in plain] for one in own])
        found.append(remap(alike + same, context))
    return np.array(found)


# Ranks as actions ---------------------------------------------------------------------------------

ITEMS, TASTE, USERS, OTHERS = 60, 8, 64, 100


@dataclass(frozen=True, eq=False)
class World:
    """Users by what is seen of them: (users, TASTE); what each likes: bool (users, ITEMS)."""

    seen: Tensor
    likes: Tensor

    @classmethod
    def of(cls, rng: np.random.Generator) -> World:
        """Users to learn from, then others; each likes about six items."""
        items = rng.normal(size=(ITEMS, TASTE))
        users = rng.normal(size=(USERS + OTHERS, TASTE))
        chance = 1 / (1 + np.exp(3.5 - 0.9 * users @ items.T))
        likes = rng.random(chance.shape) < chance
        likes[np.arange(len(users)), chance.argmax(axis=1)] = True
        seen = users + rng.normal(0, 0.5, users.shape)
        return cls(torch.from_numpy(seen).float(), torch.from_numpy(likes))


def _started(seeds: tuple[int, int]) -> tuple[World, nn.Sequential, torch.Generator]:
    world = World.of(np.random.default_rng(seeds))
    torch.manual_seed(seeds[0] * 10_000 + seeds[1])
    policy = nn.Sequential(nn.Linear(TASTE, 32), nn.Tanh(), nn.Linear(32, ITEMS))
    return world, policy, torch.Generator().manual_seed(seeds[0] * 10_000 + seeds[1])


def _credit(method: str, gains: Tensor) -> Tensor:
    """Rewards of each rank: (lists, PLACES)."""
    if method in (WHOLE, GSPO):
        return dcg(gains)[:, None].expand_as(gains)
    return rank_credit(gains, future=0.0 if method == OWN else None)


OBJECTIVES = {
    GSPO: PolicyObjective(ratio="sequence", clip=(0.06, 0.08)),
    WHOLE: PolicyObjective(clip=(0.06, 0.08)),
}


def _drawn(
    policy: nn.Module, world: World, users: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Lists of each user, and their gains: both (users * LISTS, PLACES)."""
    who = users.repeat_interleave(LISTS)
    with torch.no_grad():
        order = PlackettLuce(policy(world.seen[who]))
        listed = order.sample(1, k=PLACES, generator=generator)[0]
    return listed, world.likes[who].gather(1, listed).float()


def trained(
    method: str, rate: float, passes: int, updates: int, seeds: tuple[int, int]
) -> Mapping[str, float]:
    """What is reached in the end, for the users of training and for others."""
    world, policy, generator = _started(seeds)
    optimizer = torch.optim.Adam(policy.parameters(), lr=rate)
    objective = OBJECTIVES.get(method, OBJECTIVES[WHOLE])
    for _ in range(updates // passes):
        users = torch.randperm(USERS, generator=generator)[:16]
        listed, gains = _drawn(policy, world, users, generator)
        who = users.repeat_interleave(LISTS)
        advantages = group_advantage(_credit(method, gains), who, scale="sample")
        old = None
        for _ in range(passes):
            log_probs = PlackettLuce(policy(world.seen[who])).step_log_prob(listed)
            old = log_probs.detach() if old is None else old
            where = torch.ones_like(log_probs)
            loss = objective(log_probs, advantages, where, old=old).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        _, gains = _drawn(policy, world, torch.arange(USERS), generator)
        best = PlackettLuce(policy(world.seen[USERS:])).mode(PLACES)
        hits = world.likes[USERS:].gather(1, best).float()
        others = ndcg(hits, world.likes[USERS:].float(), k=PLACES)
    return {GAIN: float(dcg(gains).mean()), NDCG: float(others.mean())}


def clarity(seeds: tuple[int, int], samples: int) -> dict[str, float]:
    """The log of the gradient's mean, squared, over its variance, at the start."""
    world, policy, generator = _started(seeds)
    weights = list(policy.parameters())
    found: dict[str, list[Tensor]] = {method: [] for method in (WHOLE, BELOW, OWN)}
    for _ in range(samples):
        users = torch.randperm(USERS, generator=generator)[:4]
        listed, gains = _drawn(policy, world, users, generator)
        who = users.repeat_interleave(LISTS)
        log_probs = PlackettLuce(policy(world.seen[who])).step_log_prob(listed)
        for method, own in found.items():
            gain = group_advantage(_credit(method, gains), who, scale="sample")
            loss = -(gain * log_probs).mean()
            parts: Any = torch.autograd.grad(loss, weights, retain_graph=True)
            own.append(torch.cat([part.reshape(-1) for part in parts]))
    out = {}
    for method, each in found.items():
        drawn = torch.stack(each)
        variance = float(drawn.var(dim=0).sum())
        signal = float((drawn.mean(dim=0) ** 2).sum()) - variance / samples
        out[method] = float(np.log(max(signal, 1e-12) / variance))
    return out
