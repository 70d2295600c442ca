"""LiPO: aligning a policy with lists of graded answers is learning to rank.

Liu et al. (2024), "LiPO: Listwise Preference Optimization through Learning-to-Rank", arXiv
2402.01878.

**The claim**: any ranking loss on s_i = beta log(pi / pi_ref) aligns a policy; LambdaLoss with DCG
weights (LiPO-lambda) is the best of those compared, before DPO on pairs and DPO under
Plackett-Luce, and gains most from longer lists.

**What is done here**: the world of short sequences with a known true reward
(`policyrank.worlds.sequences`): a GRU imitates the better of two random answers; 300 prompts with K
answers of that policy are labelled by the mean share of wins under a noisy judge; each loss has the
same lists, start, batches, 8 epochs and beta .1, and its own learning rate for each length of
lists: that out of four which wins most in six worlds apart from those judged. The win rate is
P(true reward of a sample > that of a sample of the policy before) on 400 fresh prompts. A replicate
is a world with everything in it. Because losses go differently far, each is also trained for up to
60 epochs, and its win rate is read where its KL from the start first comes to 1, 2 and 3 nats
(linear between epochs), at the learning rate out of the same four that wins most at 2 nats in the
worlds for tuning. Differences from the paper: no language, small lists of prompts; labels noisier
than its judge's; it tuned nothing by loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from policyrank.learn.losses.preference import winrate_labels
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.fairness import Curve, Health, Tuned, typical
from policyrank.studies.frame import Measured, Report, Row, Scale, by_metric, quiet, scores_of
from policyrank.studies.sequences import (
    RATES,
    TUNING,
    Place,
    RankedSequences,
    align,
    signs,
    tuned_by_wins,
    win_by_kl,
)

TITLE = "LiPO"
PAPER = "arXiv 2402.01878"
ABOUT = "learning-to-rank losses as objectives of alignment, tuned alike and at equal KL"
LOSSES = {
    "LiPO-lambda": "lipo-lambda",
    "DPO (pairs)": "dpo",
    "DPO (Plackett-Luce)": "dpo-pl",
    "hinge (SLiC)": "slic",
    "softmax (NCE)": "softmax",
    "point-sigmoid": "point-sigmoid",
    "point-mse": "point-mse",
}
LENGTHS = (2, 4, 8)
KLS = (1.0, 2.0, 3.0)
CURVES = ("LiPO-lambda", "DPO (pairs)", "DPO (Plackett-Luce)", "hinge (SLiC)", "softmax (NCE)")
WIN, AT_EQUAL_KL = "win rate", "win rate at equal KL"
FIXED: dict[str, Any] = {"beta": 0.1}


@dataclass(frozen=True)
class Size:
    """``steps``: of imitation; ``long``: epochs where the KL is to be equal; ``tuning``: worlds.

    ``judged``: prompts in each.
    """

    seeds: int
    prompts: int
    epochs: int
    long: int
    steps: int
    tuning: int
    judged: int = 400
    rates: tuple[dict[str, Any], ...] = RATES


SCALES: dict[Scale, Size] = {
    "smoke": Size(2, prompts=64, epochs=1, long=2, steps=50, tuning=1, judged=50, rates=RATES[2:]),
    "small": Size(16, prompts=300, epochs=8, long=60, steps=600, tuning=6),
    "full": Size(100, prompts=1500, epochs=8, long=60, steps=600, tuning=10),
}

UNIT = Unit("world")
CLAIMS = (
    *for_each(
        list(LOSSES)[1:],
        Claim("LiPO-lambda beats {} on lists of 8", "LiPO-lambda", "{}", WIN, tasks=("K=8",)),
    ),
    *for_each(
        LOSSES,
        Claim(
            "{}: lists of 8 beat lists of 2",
            "{}",
            "{}",
            WIN,
            tasks=("K=8",),
            than_tasks=("K=2",),
        ),
    ),
    Claim(
        "At a KL of 2 nats LiPO-lambda beats DPO on pairs",
        "LiPO-lambda",
        "DPO (pairs)",
        AT_EQUAL_KL,
        tasks=("KL 2",),
    ),
    Claim(
        "At a KL of 2 nats LiPO-lambda beats softmax",
        "LiPO-lambda",
        "softmax (NCE)",
        AT_EQUAL_KL,
        tasks=("KL 2",),
    ),
)


def labelled(place: Place, prompts: int, length: int) -> RankedSequences:
    """Samples of the policy, labelled by the shares of wins that a noisy judge gives them."""
    number = place.number * 7919
    x = place.world.prompts(prompts, seed=number + 1)
    y = place.base.sample(x, length, seed=number + 2)
    generator = torch.Generator().manual_seed(number + 3)
    noisy = place.world.reward(x, y) + torch.randn(y.shape[:2], generator=generator)
    wins = torch.sigmoid(3 * (noisy[:, :, None] - noisy[:, None, :]))
    return RankedSequences(x, y, winrate_labels(wins))


def run(scale: Scale, seed: int, report: Report = quiet) -> Measured:
    """Measure; a replicate is a world."""
    torch.set_num_threads(1)
    size = SCALES[scale]
    places = [Place.of(seed, TUNING + k, size.steps, size.judged) for k in range(size.tuning)]
    tuned: dict[str, Tuned] = {}
    for length in LENGTHS:
        report(f"tuning: lists of {length}")
        tuned |= _tuned(size, places, length)
    report("tuning: equal KL")
    tuned |= _tuned_at_equal_kl(size, places)
    found: list[Health] = []
    rows = list(_rows(size, seed, tuned, found, report))
    scores = scores_of(rows, lower_is_better=["KL"])
    return Measured(scores, tuple(tuned.values()), typical(found))


def _named(method: str, task: str) -> str:
    return f"{method}, {task}"


def _tuned(size: Size, places: list[Place], length: int) -> dict[str, Tuned]:
    losses = {_named(method, f"K={length}"): loss for method, loss in LOSSES.items()}

    def reached(place: Place, name: str, settings: Mapping[str, Any]) -> float | None:
        data = labelled(place, size.prompts, length)
        policy = align(
            place.base,
            data,
            losses[name],
            epochs=size.epochs,
            seed=place.number,
            **FIXED,
            **settings,
        )
        return place.arena.won(policy, place.number)

    return tuned_by_wins(losses, places, reached, rates=size.rates)


def _tuned_at_equal_kl(size: Size, places: list[Place]) -> dict[str, Tuned]:
    methods = {_named(method, "equal KL"): method for method in CURVES}

    def reached(place: Place, name: str, settings: Mapping[str, Any]) -> float | None:
        return _curve(size, place, methods[name], 2.0, settings).at(2.0)

    return tuned_by_wins(methods, places, reached, rates=size.rates, metric="win rate at a KL of 2")


def _curve(
    size: Size, place: Place, method: str, most: float, settings: Mapping[str, Any]
) -> Curve:
    data = labelled(place, size.prompts, max(LENGTHS))
    options = {"epochs": size.long, "seed": place.number, **FIXED, **settings}
    return win_by_kl(place.arena, data, LOSSES[method], most=most, **options)


def _rows(
    size: Size, seed: int, tuned: Mapping[str, Tuned], found: list[Health], report: Report
) -> Iterator[Row]:
    for r in range(size.seeds):
        place = Place.of(seed, r, size.steps, size.judged)
        for length in LENGTHS:
            report(f"world {r + 1} of {size.seeds}: lists of {length}")
            data = labelled(place, size.prompts, length)
            task = f"K={length}"
            for method, loss in LOSSES.items():
                losses: list[float] = []
                settings = tuned[_named(method, task)].chosen
                options = {"seed": place.number, "losses": losses, **FIXED, **settings}
                policy = align(place.base, data, loss, epochs=size.epochs, **options)
                values = place.arena(policy, place.number)
                found += signs(method, values["KL"], losses)
                yield from by_metric(method, task, r, values)
        for method in CURVES:
            report(f"world {r + 1} of {size.seeds}: {method} at equal KL")
            settings = tuned[_named(method, "equal KL")].chosen
            curve = _curve(size, place, method, max(KLS), settings)
            for kl in KLS:
                win = curve.at(kl)
                if win is not None:
                    yield method, f"KL {kl:g}", AT_EQUAL_KL, r, win
