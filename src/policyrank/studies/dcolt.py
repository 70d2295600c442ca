"""DCoLT: a masked diffusion model learns in which order to unmask.

Huang et al. (2025), "Reinforcing the Diffusion Chain of Lateral Thought with Diffusion Language
Models", arXiv 2505.10446 (LLaDOU).

**The claim**: rewarding whole denoising trajectories, in which an unmasking policy draws positions
by Plackett-Luce, trains diffusion language models better than their fixed orders allow (LLaDA on
GSM8K: 88.1% against 78.3%).

**What is done here**. *Pairs*: 8 or 16 tokens, pairs of which are equal, five symbols, in two
steps; tokens are drawn by their exact marginals, so an answer is right unless both of a pair are
unmasked at once. Free scores of positions learn from groups of 16 answers in 400 updates, by the
probability of the set that a step unmasked or of the order in which it was drawn; which tokens are
pairs is another draw in each world. At the start also the variance of both gradients, of the same
300 groups. *Sudoku* of 4 x 4 cells: the first row is given, twelve cells are written in three steps
of four. A small BERT learns to fill in any cells of the 288 grids by any others, and is then
trained by ``MaskedDiffusionTrainer`` for 100 updates of 8 rows with 8 answers, rewarded where they
make a grid: with tokens alone in random order or in that of confidence (LLaDA's rule), or with a
learned order. All three have three learning rates, chosen by what samples reach with a model apart.
Judged are 400 samples, and as many greedy answers, and how many of the 288 grids are among them. A
replicate is a world: pairs, or a pre-trained model. How many updates there are and which rates are
tried was set after a trial by another seed (5), in which the learned order was far behind.
Differences from the paper: no language, one learning rate for model and policy, sets in place of
orders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from policyrank.learn import Unmasking, choice_log_prob, group_advantage
from policyrank.models import Denoising, Prediction, Written, denoise
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.fairness import Settings, Tuned, tune
from policyrank.studies.frame import Measured, Report, Row, Scale, by_metric, quiet, scores_of
from policyrank.studies.sudoku import CELLS, Solver, pretrained, reinforced

TITLE = "DCoLT"
PAPER = "arXiv 2505.10446"
ABOUT = "a diffusion language model learns in which order to unmask"
RANDOM, SURE = "random order", "confidence"
BY_SET, BY_ORDER = "learned order", "learned order, by orders"
TOKENS_RANDOM, TOKENS_SURE, LEARNED = "trained, random", "trained, confidence", "trained, learned"
UNTRAINED: Mapping[str, Any] = {RANDOM: "random", SURE: "confidence"}
ARMS: Mapping[str, Any] = {
    TOKENS_RANDOM: "random",
    TOKENS_SURE: "confidence",
    LEARNED: "learned",
}
RIGHT, APART, NOISE = "right", "one of each pair first", "variance over the set's"
GREEDY, FOUND = "right, greedy", "grids that are found"
SIZES = {"8 tokens": 8, "16 tokens": 16}
FEW, EACH = "4 cells a step", "1 cell a step"

UNIT = Unit("world")
MAIN = Claim("", LEARNED, TOKENS_SURE, RIGHT, tasks=(FEW,))
CLAIMS = (
    *for_each(
        SIZES,
        Claim(
            "A learned order is right .5 more often than a random one ({})",
            BY_SET,
            RANDOM,
            RIGHT,
            0.5,
            ("{}",),
        ),
    ),
    *for_each(
        SIZES,
        Claim(
            "A learned order is right more than 95% of the time ({})",
            BY_SET,
            0.95,
            RIGHT,
            tasks=("{}",),
        ),
    ),
    *for_each(
        SIZES,
        Claim(
            "In each world its first half has one of each pair ({})",
            BY_SET,
            0.5,
            APART,
            tasks=("{}",),
            kind="worst",
        ),
    ),
    *for_each(
        SIZES,
        Claim(
            "The order's gradient varies more than the set's ({})",
            BY_ORDER,
            1.0,
            NOISE,
            tasks=("{}",),
        ),
    ),
    *for_each(
        SIZES,
        Claim(
            "By sets it learns no worse than by orders, .02 ({})",
            BY_SET,
            BY_ORDER,
            RIGHT,
            -0.02,
            ("{}",),
        ),
    ),
    Claim("Before training, confidence beats a random order", SURE, RANDOM, RIGHT, tasks=(FEW,)),
    Claim(
        "One cell a step, a random order is no worse than confidence, .05",
        RANDOM,
        SURE,
        RIGHT,
        -0.05,
        (EACH,),
    ),
    Claim("Training tokens helps in order of confidence", TOKENS_SURE, SURE, RIGHT, tasks=(FEW,)),
    *for_each(
        (RIGHT, GREEDY),
        Claim(
            "A learned order beats tokens alone by confidence, {}",
            LEARNED,
            TOKENS_SURE,
            "{}",
            tasks=(FEW,),
        ),
    ),
    *for_each(
        (RIGHT, GREEDY),
        Claim(
            "A learned order beats tokens alone at random, {}",
            LEARNED,
            TOKENS_RANDOM,
            "{}",
            tasks=(FEW,),
        ),
    ),
    Claim(
        "A learned order finds as many grids as confidence, .05",
        LEARNED,
        TOKENS_SURE,
        FOUND,
        -0.05,
        (FEW,),
    ),
)


@dataclass(frozen=True)
class Size:
    """Worlds of pairs and of grids, those for tuning apart; updates; what is drawn."""

    pairs: int
    grids: int
    tuning: int
    updates: int
    groups: int
    steps: int
    trained: int
    answers: int


SCALES: dict[Scale, Size] = {
    "smoke": Size(2, 2, 1, 4, 5, 4, 2, 20),
    "small": Size(10, 6, 1, 400, 300, 1200, 100, 400),
    "full": Size(100, 40, 3, 400, 1000, 4000, 400, 2000),
}
RATES: dict[str, tuple[float, ...]] = {"pairs": (0.25, 0.5, 1.0), "grids": (3e-4, 1e-3, 3e-3)}
GROUP, SYMBOLS, DRAWN = 16, 5, 2000


def run(scale: Scale, seed: int, report: Report = quiet) -> Measured:
    """Measure; a replicate is a world."""
    size = SCALES[scale]
    torch.set_num_threads(1)
    tuned: list[Tuned] = []
    rows = [*of_pairs(size, seed, tuned, report), *of_grids(size, seed, tuned, report)]
    return Measured(scores_of(rows), tuple(tuned))


# Pairs --------------------------------------------------------------------------------------------


class Pairs:
    """A ``MaskPredictor`` of tokens that are equal in pairs: their exact marginals."""

    def __init__(self, tokens: int, rng: np.random.Generator) -> None:
        order = rng.permutation(tokens)
        partner = np.empty(tokens, dtype=np.int64)
        partner[order[::2]], partner[order[1::2]] = order[1::2], order[::2]
        self.partner = torch.from_numpy(partner)

    def __call__(self, ids: Tensor, masked: Tensor, last: int, /) -> Prediction:
        """A token whose partner is seen equals it; others are uniform."""
        known, symbol = ~masked[:, self.partner], ids[:, self.partner]
        logits = torch.zeros(*ids.shape, SYMBOLS)
        forced = torch.full_like(logits, -torch.inf).scatter(-1, symbol[..., None], 0.0)
        return Prediction(torch.where(known[..., None], forced, logits), logits)

    def right(self, made: Written) -> Tensor:
        """Whether all pairs are equal: (answers,)."""
        return (made.ids == made.ids[:, self.partner]).all(dim=-1).float()


class FreeScores(nn.Module):
    """An unmasking policy that sees nothing: a number for each position."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(tokens))

    def forward(self, hidden: Tensor, time: Tensor, masked: Tensor, block: Tensor) -> Tensor:
        """The same scores for each row."""
        return self.scores.expand(masked.shape)


class _World:
    """A draw of pairs, scores that are to be learned, and answers."""

    def __init__(self, tokens: int, seed: int, number: int) -> None:
        self.pairs = Pairs(tokens, np.random.default_rng([seed, number, tokens]))
        self.policy: Any = FreeScores(tokens)
        self.tokens = tokens
        self._generator = torch.Generator().manual_seed(seed * 10_000 + number)

    def written(self, answers: int, order: Any = "learned") -> Written:
        how = Denoising(self.tokens, 2, order=order)
        nobody = torch.zeros(answers, 0, dtype=torch.long)
        with torch.no_grad():
            return denoise(self.pairs, nobody, how, policy=self.policy, seed=self._generator)

    def loss(self, made: Written, choice: Any) -> Tensor:
        """The policy gradient's, summed over steps, a mean over answers; groups follow."""
        path, log = Unmasking(made.steps, made.places), torch.zeros(len(made.ids))
        for step in (1, 2):
            scores = self.policy.scores.expand(made.steps.shape)
            log = log + choice_log_prob(scores, path.eligible(step), path.now(step), choice)
        group = torch.arange(len(log)) // GROUP
        gains = group_advantage(self.pairs.right(made), group, scale="sample")
        return -(gains * log).mean()

    def learned(self, rate: float, updates: int, choice: Any) -> None:
        optimizer = torch.optim.SGD(self.policy.parameters(), lr=rate)
        for _ in range(updates):
            loss = self.loss(self.written(GROUP), choice)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def variances(self, groups: int) -> float:
        """Of the order's gradient over that of the set's, of the same answers."""
        drawn: dict[str, list[Tensor]] = {"order": [], "set": []}
        for _ in range(groups):
            made = self.written(GROUP)
            for choice, own in drawn.items():
                own.append(torch.autograd.grad(self.loss(made, choice), self.policy.scores)[0])
        order, by_set = (torch.stack(drawn[own]).var(dim=0).sum() for own in ("order", "set"))
        return float(order / by_set)


def of_pairs(size: Size, seed: int, tuned: list[Tuned], report: Report) -> Iterator[Row]:
    """Rows of the exact toy; how its methods were tuned is added to ``tuned``."""
    choices = {BY_SET: "set", BY_ORDER: "order"}
    grids = {method: [{"lr": rate} for rate in RATES["pairs"]] for method in choices}
    for setting, tokens in SIZES.items():

        def reached(method: str, settings: Settings, number: int, tokens: int = tokens) -> float:
            world = _World(tokens, seed, 1000 + number)
            world.learned(settings["lr"], size.updates, choices[method])
            return float(world.pairs.right(world.written(DRAWN)).mean())

        report(f"pairs, {setting}: tuning")
        found = tune(grids, reached, range(size.tuning), metric=f"{RIGHT}, {setting}")
        tuned += list(found.values())
        for number in range(size.pairs):
            report(f"pairs, {setting}: world {number + 1} of {size.pairs}")
            for method, order in UNTRAINED.items():
                world = _World(tokens, seed, number)
                made = world.written(DRAWN, order)
                yield method, setting, RIGHT, number, float(world.pairs.right(made).mean())
            yield (
                BY_ORDER,
                setting,
                NOISE,
                number,
                _World(tokens, seed, number).variances(size.groups),
            )
            for method, choice in choices.items():
                world = _World(tokens, seed, number)
                world.learned(found[method].chosen["lr"], size.updates, choice)
                share = float(world.pairs.right(world.written(DRAWN)).mean())
                first = world.policy.scores.argsort(descending=True)[: tokens // 2]
                halves = set(first.tolist()) & set(world.pairs.partner[first].tolist())
                yield from by_metric(
                    method, setting, number, {RIGHT: share, APART: float(not halves)}
                )


# Grids --------------------------------------------------------------------------------------------


def of_grids(size: Size, seed: int, tuned: list[Tuned], report: Report) -> Iterator[Row]:
    """Rows of Sudoku; how its arms were tuned is added to ``tuned``."""
    apart: dict[int, Solver] = {}

    def reached(method: str, settings: Settings, number: int) -> float:
        report(f"grids: tuning {method}: {settings}, model {number + 1}")
        own = seed * 10_000 + 1000 + number
        if number not in apart:
            apart[number] = pretrained(own, size.steps)
        found = trained(apart[number], method, settings["lr"], size, own)
        return _judged(found, ARMS[method], size, own)[RIGHT]

    grids = {method: [{"lr": rate} for rate in RATES["grids"]] for method in ARMS}
    chosen = tune(grids, reached, range(size.tuning), metric=f"{RIGHT}, {FEW}")
    tuned += list(chosen.values())
    for number in range(size.grids):
        report(f"grids: model {number + 1} of {size.grids}")
        own = seed * 10_000 + number
        start = pretrained(own, size.steps)
        for method, order in UNTRAINED.items():
            yield from by_metric(method, FEW, number, _judged(start, order, size, own))
            share, _ = start.answers(Denoising(CELLS, order=order), size.answers, own)
            yield method, EACH, RIGHT, number, share
        for method, order in ARMS.items():
            found = trained(start, method, chosen[method].chosen["lr"], size, own)
            yield from by_metric(method, FEW, number, _judged(found, order, size, own))


def trained(start: Solver, method: str, rate: float, size: Size, seed: int) -> Solver:
    """One arm, with the same rows and as many answers as the others."""
    return reinforced(start, ARMS[method], rate, size.trained, seed, steps=3, samples=8)


def _judged(solver: Solver, order: Any, size: Size, seed: int) -> dict[str, float]:
    """Shares that are right, sampled and greedy, and of all grids that are found."""
    how = Denoising(CELLS, 3, order=order)
    share, found = solver.answers(how, size.answers, seed)
    best, _ = solver.answers(Denoising(CELLS, 3, None, 0.0, order), size.answers, seed)
    return {RIGHT: share, GREEDY: best, FOUND: found}
