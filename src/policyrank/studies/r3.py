"""R^3: replay, reflection and ranks of entropy where groups say nothing.

"R^3: Replay, Reflection, and Ranking Rewards for LLM Reinforcement Learning" (2026), arXiv
2601.19620.

**The claim**: groups whose outputs all fail, or all succeed, teach GRPO nothing; stored outputs of
the other side in them, failed answers in the prompt, and ranks of cut answers by their entropy keep
it learning on hard prompts, and each of the three is needed.

**What is done here**: *Tables*: 60 prompts, each with a word of four of eight symbols to find and a
softmax table that favours it a little; groups of 8, 50 epochs, 2 replayed outputs; the success is
exact. All ways have four learning rates, tuned on other worlds; "at rate .5" is the same without
tuning, since one success among failures has a large advantage, and a larger step may be all there
is to it. *Sums*: a transformer of two layers that was shown how to add a digit to a number of two
digits for 300 steps, some answers too long for the cap, then trained by ``GroupTrainer`` with
``Replay`` on 48 sums; all ways stop at the same number of sampled answers (asking again costs
some), at the same rate, which is not tuned; judged on 200 other sums, by the likeliest symbols.
*GSM8K*: real answers of four systems to 1319 problems. A group is the two answers of the 175B
systems; kept are those of the 6B systems, as of an earlier policy: how many silent groups have one
of the other side? Differences from the paper: no large language model, and no reasoning that is cut
where it goes well; its k, tau, p, alpha and rates are not given: these are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policyrank.evidence import datasets
from policyrank.learn import PolicyObjective, mixed_advantage, one_sided, without_ties
from policyrank.studies.adding import Adder, adder, trained_on_sums
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.fairness import Health, Settings, tune
from policyrank.studies.frame import Measured, Report, Row, Scale, by_metric, quiet, scores_of
from policyrank.train.replay_buffer import CHOICES, KeptOutput, ReplayBuffer
from policyrank.train.replay_config import Replay

TITLE = "R^3"
PAPER = "arXiv 2601.19620"
ABOUT = "replay and reflection where groups say nothing"
GRPO, REPLAY, SUCCESSES = "GRPO", "replay", "replay of successes"
DAMPED, STORED = "replay, alpha 2", "replay, stored ratio"
MEAN, MEAN_REPLAY = "mean alone", "mean alone, replay"
REFLECT, ENTROPY, ALL = "reflection", "entropy ranks", "all three"
TABLES, FIXED, SUMS, PROBLEMS = "tables", "tables, rate .5", "sums", "GSM8K"
SUCCESS, SILENT, MENDED = "success", "silent groups", "silent groups with an opposite kept"
FAILING, SUCCEEDING = "groups that fail", "groups that succeed"
START = "start"
CONSTANTS = (START,)

UNIT = Unit("world")
PART = Unit("part of the problems")
MAIN = Claim("", REPLAY, GRPO, SUCCESS, tasks=(TABLES,))
CLAIMS = (
    Claim("Replay: .1 more success at rate .5", REPLAY, GRPO, SUCCESS, 0.1, (FIXED,)),
    Claim("Replay: fewer silent groups at rate .5", REPLAY, GRPO, SILENT, tasks=(FIXED,)),
    Claim("Replay: more success, rates tuned", REPLAY, GRPO, SUCCESS, tasks=(TABLES,)),
    Claim(
        "Replay: more success without the deviation, rates tuned",
        MEAN_REPLAY,
        MEAN,
        SUCCESS,
        tasks=(TABLES,),
    ),
    Claim("Replay of successes alone is as good", SUCCESSES, REPLAY, SUCCESS, -0.02, (TABLES,)),
    Claim("Alpha of 1 beats 2, rates tuned", REPLAY, DAMPED, SUCCESS, tasks=(TABLES,)),
    Claim("The fresh ratio beats the stored one", REPLAY, STORED, SUCCESS, tasks=(TABLES,)),
    Claim("Replay: more success on other sums", REPLAY, GRPO, SUCCESS, tasks=(SUMS,)),
    Claim("Reflection: more success on other sums", REFLECT, GRPO, SUCCESS, tasks=(SUMS,)),
    Claim("Entropy ranks: more success on other sums", ENTROPY, GRPO, SUCCESS, tasks=(SUMS,)),
    Claim("All three: more success on other sums", ALL, GRPO, SUCCESS, tasks=(SUMS,)),
    Claim("All three beat replay alone on other sums", ALL, REPLAY, SUCCESS, tasks=(SUMS,)),
    *for_each(
        (FAILING, SUCCEEDING),
        Claim(
            "GSM8K: an opposite answer is kept for a third of the {}",
            "{}",
            1 / 3,
            MENDED,
            tasks=(PROBLEMS,),
            unit=PART,
        ),
    ),
    Claim(
        "GSM8K: more often for groups that succeed than for those that fail",
        SUCCEEDING,
        FAILING,
        MENDED,
        tasks=(PROBLEMS,),
        unit=PART,
    ),
)


@dataclass(frozen=True)
class Size:
    """Worlds of tables, those for tuning, epochs; models that add, answers sampled; parts."""

    worlds: int
    tuning: int
    epochs: int
    models: int
    pretraining: int
    answers: int
    parts: int


SCALES: dict[Scale, Size] = {
    "smoke": Size(2, 1, 3, 2, 8, 128, 2),
    "small": Size(12, 2, 50, 5, 300, 5120, 20),
    "full": Size(200, 10, 150, 20, 600, 40_000, 20),
}
PROMPTS, LENGTH, SYMBOLS, GROUP, REPLAYED = 60, 4, 8, 8, 2
RATES = (1.0, 4.0, 16.0, 64.0)

Float = NDArray[np.float64]


# Tables


@dataclass(frozen=True)
class Way:
    """How tables learn.

    Attributes
    ----------
    replayed
        outputs that a silent group gets
    advantage
        of groups
    both
        whether groups that succeed get failures
    stored
        whether ratios of replayed tokens are to who sampled them
    """

    replayed: int = 0
    advantage: Callable[..., Tensor] = field(default=partial(mixed_advantage, scale="sample"))
    both: bool = True
    stored: bool = False


MEANS = partial(mixed_advantage, scale="none")
WAYS: dict[str, Way] = {
    GRPO: Way(),
    REPLAY: Way(REPLAYED),
    SUCCESSES: Way(REPLAYED, both=False),
    DAMPED: Way(REPLAYED, partial(mixed_advantage, scale="sample", damping=2.0)),
    STORED: Way(REPLAYED, stored=True),
    MEAN: Way(advantage=MEANS),
    MEAN_REPLAY: Way(REPLAYED, MEANS),
}


def table_world(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Words to find (prompts, LENGTH), and logits (prompts, LENGTH, SYMBOLS) that favour them."""
    words = torch.from_numpy(rng.integers(SYMBOLS, size=(PROMPTS, LENGTH)))
    favour = torch.from_numpy(rng.uniform(0.2, 2.6, size=PROMPTS)).float()
    logits = torch.zeros(PROMPTS, LENGTH, SYMBOLS)
    return words, logits.scatter(2, words[..., None], favour[:, None, None].expand(-1, LENGTH, 1))


def success_of(logits: Tensor, words: Tensor) -> float:
    """The chance to write the word, a mean over prompts."""
    log_probs = logits.log_softmax(dim=-1).gather(2, words[..., None])
    return float(log_probs.sum(dim=(1, 2)).exp().mean())


def learned_tables(
    way: Way, rate: float, epochs: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Success at the end, and the share of groups that were silent as sampled, over all epochs."""
    words, logits = table_world(rng)
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    buffer, objective = ReplayBuffer(), PolicyObjective()
    logits.requires_grad_()
    silent = []
    for epoch in range(epochs):
        with torch.no_grad():
            chances = logits.softmax(dim=-1).flatten(0, 1)
            drawn = torch.multinomial(chances, GROUP, replacement=True, generator=generator)
            outputs = drawn.unflatten(0, (PROMPTS, LENGTH)).transpose(1, 2).flatten(0, 1)
        keys = torch.arange(PROMPTS).repeat_interleave(GROUP)
        rewards = (outputs == words[keys]).all(dim=-1).float()
        sides = one_sided(rewards, keys)[::GROUP]
        silent.append(float((sides != 0).float().mean()))
        added = list(_replayed(way, buffer, sides, rng))
        ids = torch.cat([outputs, _stack([own.ids for _, own in added], torch.long)])
        groups = torch.cat([keys, torch.tensor([k for k, _ in added], dtype=torch.long)])
        paid = torch.cat([rewards, torch.tensor([own.reward for _, own in added])])
        log_probs = logits.log_softmax(dim=-1)[groups].gather(2, ids[..., None]).squeeze(-1)
        gains = without_ties(way.advantage(paid, groups).float(), groups)
        gains = gains * GROUP / torch.bincount(groups)[groups]  # a mean over each group
        old = log_probs.detach().clone()
        if way.stored and added:
            old[len(keys) :] = _stack([own.log_probs for _, own in added], torch.float32)
        loss = objective(log_probs, gains, torch.ones_like(old), old=old, total=GROUP).loss
        (gradient,) = torch.autograd.grad(loss, logits)
        _keep(buffer, outputs, log_probs[: len(keys)].detach(), rewards, epoch)
        with torch.no_grad():
            logits -= rate * gradient
    return success_of(logits.detach(), words), float(np.mean(silent))


def _replayed(
    way: Way, buffer: ReplayBuffer, sides: Tensor, rng: np.random.Generator
) -> Iterator[tuple[int, KeptOutput]]:
    for prompt, side in enumerate(sides.tolist()):
        if way.replayed and (side < 0 or (side > 0 and way.both)):
            kept = buffer.of(prompt, solved=side < 0)
            for own in CHOICES["any"](kept, way.replayed, rng) if kept else ():
                yield prompt, own


def _keep(
    buffer: ReplayBuffer, outputs: Tensor, log_probs: Tensor, rewards: Tensor, epoch: int
) -> None:
    where = (True,) * LENGTH
    rows = zip(outputs.tolist(), log_probs.tolist(), rewards.tolist(), strict=True)
    for row, (ids, known, reward) in enumerate(rows):
        own = KeptOutput(tuple(ids), where, None, tuple(known), reward, reward > 0, True, epoch)
        buffer.add(row // GROUP, own)


def _stack(rows: list[Any], dtype: torch.dtype) -> Tensor:
    return torch.tensor(rows, dtype=dtype).reshape(-1, LENGTH)


# Sums

AGAIN = "{prompt}{answer};{prompt}"
RECIPES: dict[str, Replay | None] = {
    GRPO: None,
    REPLAY: Replay(most=REPLAYED),
    REFLECT: Replay(most=0, hard=0.2, reflection=AGAIN),
    ENTROPY: Replay(most=0, entropy_reward=0.5),
    ALL: Replay(most=REPLAYED, hard=0.2, reflection=AGAIN, entropy_reward=0.5),
}


def learned_sums(start: Adder, recipe: Replay | None, answers: int, seed: int) -> dict[str, float]:
    """Success on other sums once so many answers were sampled, and the silent share on the way."""
    success, silent = trained_on_sums(start, recipe, answers, seed)
    return {SUCCESS: success, SILENT: silent}


# Problems


def mended(rights: NDArray[np.bool_]) -> dict[str, float]:
    """Of groups that fail, and that succeed, the share for which an opposite answer is kept.

    ``rights``: (problems, 4), which answers are right; those of the earlier policy first.
    """
    kept, fresh = rights[:, :2], rights[:, 2:]
    fails, succeeds = ~fresh.any(axis=1), fresh.all(axis=1)
    return {
        FAILING: float(kept[fails].any(axis=1).mean()),
        SUCCEEDING: float((~kept[succeeds]).any(axis=1).mean()),
    }


SYSTEMS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


def run(scale: Scale, seed: int, report: Report = quiet) -> Measured:
    """Measure; a replicate is a world of tables, a model that adds, or a part of the problems."""
    size = SCALES[scale]
    torch.set_num_threads(1)
    rows: list[Row] = []

    def reached(method: str, settings: Settings, number: int) -> float:
        report(f"tables, tuning {method}: {settings}, world {number + 1}")
        rng = np.random.default_rng([seed, 1, number])
        return learned_tables(WAYS[method], settings["rate"], size.epochs, rng)[0]

    grids = {method: [{"rate": rate} for rate in RATES] for method in WAYS}
    tuned = tune(grids, reached, range(size.tuning), metric="success, tables")
    for number in range(size.worlds):
        report(f"tables: world {number + 1} of {size.worlds}")
        for method, way in WAYS.items():
            rates: Mapping[str, float] = {TABLES: tuned[method].chosen["rate"], FIXED: 0.5}
            for setting, rate in rates.items():
                rng = np.random.default_rng([seed, 0, number])
                success, silent = learned_tables(way, rate, size.epochs, rng)
                rows += by_metric(method, setting, number, {SUCCESS: success, SILENT: silent})
    gains: list[float] = []
    for number in range(size.models):
        before = len(rows)
        start = adder(seed * 1000 + number, size.pretraining)
        for method, recipe in RECIPES.items():
            report(f"sums: {method}, model {number + 1} of {size.models}")
            found = learned_sums(start, recipe, size.answers, seed * 1000 + number)
            rows += by_metric(method, SUMS, number, found)
        rows += by_metric(START, SUMS, number, {SUCCESS: start.success()})
        gains.append(rows[before][4] - rows[-1][4])
    answers = datasets.load("gsm8k-solutions")
    rights = np.array([[row[name]["is_correct"] for name in SYSTEMS] for row in answers])
    order = np.random.default_rng([seed, 2]).permutation(len(rights))
    for number, own in enumerate(np.array_split(order, size.parts)):
        for method, share in mended(rights[own]).items():
            rows += by_metric(method, PROBLEMS, number, {MENDED: share})
    health = Health(GRPO, "gain on other sums, a mean", float(np.mean(gains)), -0.05)
    scores = scores_of(rows, lower_is_better=(SILENT,))
    return Measured(scores, tuple(tuned.values()), (health,))
