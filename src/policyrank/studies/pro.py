"""PRO: the best answer against the rest, then the second against the rest.

Song et al. (2023), "Preference Ranking Optimization for Human Alignment", arXiv 2306.17492.

**The claim**: learning the whole ranking of n answers, with temperatures from the gaps of rewards
and a term that imitates the best, beats RRHF and imitation of the best answer, and gains from
longer lists.

**What is done here**: the world of short sequences with a known true reward: a GRU imitates the
better of two random answers; 600 prompts with n of its samples are ranked by the true reward; every
method has the same lists, start and 4 epochs, and its own learning rate for each n: that out of
four which wins most in six worlds apart from those judged. The win rate is that over the policy
before, on 400 fresh prompts. A replicate is a world. "equal gaps" is ListMLE on the same scores
with the same imitation. Because the methods go differently far, PRO, RRHF and imitation are also
trained for up to 20 epochs on lists of 8 and of 2, and their win rates are read where the KL from
the start first comes to .1, .3 and 1 nats, at the learning rate out of the four that wins most at
.3 nats in the worlds for tuning. Real lists: the ten answers of 805 AlpacaEval prompts, a linear
scorer on MiniLM's embedding of the answer and its product with the prompt's, trained by the staged
loss and by ListMLE on labels standardised in each list (40 epochs, a learning rate out of four by
NDCG on a sixth of the lists, which judges nothing), beside the longest answer first; the other
lists are judged in five folds by a scorer of the other four, and a prompt is one observation.
Differences from the paper: no language model is trained, the labels are the true reward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policyrank.evidence import datasets
from policyrank.learn import LOSSES
from policyrank.learn.losses.preference import pro
from policyrank.learn.utilities import ndcg_gains
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.fairness import Curve, Health, Tuned, tune, typical
from policyrank.studies.frame import Measured, Report, Row, Scale, by_metric, quiet, scores_of
from policyrank.studies.sequences import (
    RATES,
    TUNING,
    Place,
    RankedSequences,
    align,
    best_only,
    signs,
    tuned_by_wins,
    win_by_kl,
)

TITLE = "PRO"
PAPER = "arXiv 2306.17492"
ABOUT = "whole lists: the best answer against the rest, then the second against the rest"


METHODS: dict[str, dict[str, Any]] = {
    "PRO": {"loss": "pro"},
    "PRO without imitation": {"loss": "pro", "sft_weight": 0.0},
    "PRO, equal gaps (ListMLE)": {"loss": "pro", "gaps": False},
    "RRHF": {"loss": "rrhf"},
    "imitation of the best": {"loss": best_only},
}
LENGTHS = (2, 3, 5, 8)
KLS, CURVES = (0.1, 0.3, 1.0), ("PRO", "RRHF", "imitation of the best")
WIN, AT_EQUAL_KL = "win rate", "win rate at equal KL"
SCORER_RATES: tuple[dict[str, Any], ...] = tuple({"lr": rate} for rate in (1e-3, 3e-3, 1e-2, 3e-2))


@dataclass(frozen=True)
class Size:
    """``steps``: of imitation; ``long``: epochs where the KL is to be equal; ``tuning``: worlds.

    ``folds``: of the real lists; ``judged``: prompts in each world.
    """

    seeds: int
    prompts: int
    epochs: int
    long: int
    folds: int
    steps: int
    tuning: int
    judged: int = 400
    rates: tuple[dict[str, Any], ...] = RATES


SCALES: dict[Scale, Size] = {
    "smoke": Size(2, 64, epochs=2, long=4, folds=0, steps=50, tuning=1, judged=50, rates=RATES[2:]),
    "small": Size(15, 600, epochs=4, long=20, folds=5, steps=600, tuning=6),
    "full": Size(50, 1500, epochs=4, long=20, folds=5, steps=600, tuning=10),
}
UNIT, PROMPT = Unit("world"), Unit("prompt", "task")
CLAIMS = (
    *for_each(
        product(("RRHF", "imitation of the best"), LENGTHS),
        Claim("PRO beats {0} on lists of {1}", "PRO", "{0}", WIN, tasks=("n={1}",)),
    ),
    *for_each(
        product(("RRHF", "imitation of the best"), (2, 8), (0.1, 0.3)),
        Claim(
            "At a KL of {2} nats, on lists of {1}, PRO beats {0}",
            "PRO",
            "{0}",
            AT_EQUAL_KL,
            tasks=("n={1}, KL {2}",),
            seen=(0, 5),
        ),
    ),
    Claim(
        "PRO on lists of 8 beats PRO on pairs",
        "PRO",
        "PRO",
        WIN,
        tasks=("n=8",),
        than_tasks=("n=2",),
    ),
    Claim(
        "Gaps beat equal gaps on pairs",
        "PRO",
        "PRO, equal gaps (ListMLE)",
        WIN,
        tasks=("n=2",),
    ),
    Claim(
        "Gaps beat equal gaps on lists of 8",
        "PRO",
        "PRO, equal gaps (ListMLE)",
        WIN,
        tasks=("n=8",),
    ),
    Claim(
        "A linear scorer trained by the staged loss beats the longest answer",
        "staged loss",
        "longest first",
        "NDCG",
        unit=PROMPT,
    ),
    Claim(
        "With the length among its features too",
        "staged loss and length",
        "longest first",
        "NDCG",
        unit=PROMPT,
    ),
    Claim(
        "The staged loss beats ListMLE on real lists",
        "staged loss",
        "ListMLE",
        "NDCG",
        unit=PROMPT,
    ),
)


def run(scale: Scale, seed: int, report: Report = quiet) -> Measured:
    """Measure; a replicate is a world, of the real lists a prompt is a task."""
    torch.set_num_threads(1)
    size = SCALES[scale]
    places = [Place.of(seed, TUNING + k, size.steps, size.judged) for k in range(size.tuning)]
    tuned: dict[str, Tuned] = {}
    for n in LENGTHS:
        report(f"tuning: lists of {n}")
        tuned |= _tuned(size, places, n)
    report("tuning: equal KL")
    tuned |= _tuned_at_equal_kl(size, places)
    found: list[Health] = []
    rows = list(_sequences(size, seed, tuned, found, report))
    if size.folds:
        lists = Lists.read(seed, size.folds, report)
        tuned |= lists.tuned()
        rows += real_lists(lists, tuned, report)
    scores = scores_of(rows, lower_is_better=["KL"])
    return Measured(scores, tuple(tuned.values()), typical(found))


def ranked_lists(place: Place, prompts: int, n: int) -> RankedSequences:
    """Lists of ``n`` samples of the policy, with their true rewards."""
    x = place.world.prompts(prompts, seed=place.number * 7919 + 1)
    y = place.base.sample(x, n, seed=place.number * 7919 + 2)
    return RankedSequences(x, y, place.world.reward(x, y))


def _tuned(size: Size, places: list[Place], n: int) -> dict[str, Tuned]:
    methods = {f"{method}, n={n}": options for method, options in METHODS.items()}

    def reached(place: Place, name: str, settings: Mapping[str, Any]) -> float | None:
        data = ranked_lists(place, size.prompts, n)
        options = {"seed": place.number, **methods[name], **settings}
        policy = align(place.base, data, epochs=size.epochs, **options)
        return place.arena.won(policy, place.number)

    return tuned_by_wins(methods, places, reached, rates=size.rates)


def _tuned_at_equal_kl(size: Size, places: list[Place]) -> dict[str, Tuned]:
    methods = {f"{method}, n={n}, equal KL": (method, n) for method, n in product(CURVES, (2, 8))}

    def reached(place: Place, name: str, settings: Mapping[str, Any]) -> float | None:
        method, n = methods[name]
        return _curve(size, place, method, n, 0.3, settings).at(0.3)

    return tuned_by_wins(
        methods, places, reached, rates=size.rates, metric="win rate at a KL of .3"
    )


def _curve(
    size: Size, place: Place, method: str, n: int, most: float, settings: Mapping[str, Any]
) -> Curve:
    data = ranked_lists(place, size.prompts, n)
    options = {"epochs": size.long, "seed": place.number, **METHODS[method], **settings}
    return win_by_kl(place.arena, data, most=most, **options)


def _sequences(
    size: Size, seed: int, tuned: Mapping[str, Tuned], found: list[Health], report: Report
) -> Iterator[Row]:
    for r in range(size.seeds):
        place = Place.of(seed, r, size.steps, size.judged)
        for n in LENGTHS:
            data = ranked_lists(place, size.prompts, n)
            for method, own in METHODS.items():
                report(f"world {r + 1} of {size.seeds}: {method}, lists of {n}")
                losses: list[float] = []
                settings = tuned[f"{method}, n={n}"].chosen
                options = {"seed": place.number, "losses": losses, **own, **settings}
                policy = align(place.base, data, epochs=size.epochs, **options)
                values = place.arena(policy, place.number)
                found += signs(method, values["KL"], losses)
                yield from by_metric(method, f"n={n}", r, values)
        for method, n in product(CURVES, (2, 8)):
            report(f"world {r + 1} of {size.seeds}: {method}, lists of {n}, at equal KL")
            settings = tuned[f"{method}, n={n}, equal KL"].chosen
            curve = _curve(size, place, method, n, max(KLS), settings)
            for kl in KLS:
                win = curve.at(kl)
                if win is not None:
                    yield method, f"n={n}, KL {kl:g}", AT_EQUAL_KL, r, win


@dataclass(frozen=True)
class Lists:
    """AlpacaEval's lists, embedded: what a scorer reads, what it learns, what it is judged by.

    ``fold``: of each prompt; those of fold -1 are for tuning and judge nothing.
    """

    features: Tensor
    length: Tensor
    labels: Tensor
    psi: Tensor
    fold: Tensor
    seed: int

    @classmethod
    def read(cls, seed: int, folds: int, report: Report) -> Lists:
        """Encoded by MiniLM, in folds by lot."""
        from policyrank.models.encoders import encode_texts, load_encoder

        lists = [x for x, _ in datasets.load("alpacaeval") if len(x.completions) == 10]
        report("encoding AlpacaEval's answers")
        encoder = load_encoder("minilm")
        texts = [text for x in lists for text in x.completions]
        answers = torch.from_numpy(encode_texts(encoder, texts, cache="minilm"))
        answers = answers.unflatten(0, (len(lists), 10))
        prompts = [str(x.prompt) for x in lists]
        asked = torch.from_numpy(encode_texts(encoder, prompts, cache="minilm"))
        features = torch.cat([answers, answers * asked[:, None]], dim=-1)
        length = torch.tensor([len(text) for text in texts]).float().unflatten(0, (len(lists), 10))
        psi = torch.tensor([x.labels for x in lists])
        centred = psi - psi.mean(dim=1, keepdim=True)
        labels = centred / psi.std(dim=1, correction=0, keepdim=True).clamp(min=1e-8)
        fold = np.random.default_rng([seed, 1]).permutation(len(lists)) % (folds + 1) - 1
        return cls(features, length, labels, psi, torch.from_numpy(fold), seed)

    @property
    def scorers(self) -> dict[str, tuple[Tensor, Callable[[Tensor, Tensor], Tensor]]]:
        """What each reads, and by which loss it learns."""
        long = (self.length.log() - self.length.log().mean()) / self.length.log().std()
        with_length = torch.cat([self.features, long[..., None]], dim=-1)
        return {
            "staged loss": (self.features, staged),
            "staged loss and length": (with_length, staged),
            "ListMLE": (self.features, LOSSES["listmle"]),
        }

    def tuned(self) -> dict[str, Tuned]:
        """The learning rate of each scorer, on halves of the lists that judge nothing."""
        apart = torch.nonzero(self.fold == -1)[:, 0]
        scorers = self.scorers

        def measure(name: str, settings: Mapping[str, Any], half: int) -> float:
            features, loss = scorers[name]
            held, others = apart[half::2], apart[1 - half :: 2]
            model = fitted(features[others], self.labels[others], loss, self.seed, **settings)
            with torch.no_grad():
                return float(ndcg(self.psi[held], model(features[held]).squeeze(-1)).mean())

        return tune(dict.fromkeys(scorers, SCORER_RATES), measure, (0, 1), metric="NDCG")


def real_lists(lists: Lists, tuned: Mapping[str, Tuned], report: Report) -> Iterator[Row]:
    """NDCG of each of AlpacaEval's prompts under a scorer that learned from other folds."""
    for f in range(int(lists.fold.max()) + 1):
        report(f"real lists, fold {f + 1}")
        held = torch.nonzero(lists.fold == f)[:, 0]
        others = torch.nonzero((lists.fold >= 0) & (lists.fold != f))[:, 0]
        found = {
            "longest first": lists.length[held],
            "in the order of the file": -torch.arange(10.0).expand(len(held), 10),
        }
        for name, (features, loss) in lists.scorers.items():
            settings = tuned[name].chosen
            own = 1000 * lists.seed + f
            model = fitted(features[others], lists.labels[others], loss, own, **settings)
            with torch.no_grad():
                found[name] = model(features[held]).squeeze(-1)
        for method, scores in found.items():
            for k, value in zip(held.tolist(), ndcg(lists.psi[held], scores).tolist(), strict=True):
                yield method, f"prompt {k}", "NDCG", 0, value


def ndcg(labels: Tensor, scores: Tensor) -> Tensor:
    """Of each list, gain 2^label - 1."""
    order = scores.argsort(dim=1, descending=True)[None]
    gains = ndcg_gains(labels, order, torch.ones_like(labels, dtype=torch.bool))
    return gains.sum(dim=-1)[0]


def staged(scores: Tensor, labels: Tensor) -> Tensor:
    """PRO's loss on scores that are no log-probabilities."""
    return pro(scores, labels, lengths=torch.ones_like(labels), sft_weight=0.0, centre=True)


def fitted(
    x: Tensor, y: Tensor, loss: Callable[[Tensor, Tensor], Tensor], seed: int, lr: float
) -> torch.nn.Module:
    """A linear scorer that learned from these lists."""
    torch.manual_seed(seed)
    model = torch.nn.Linear(x.shape[-1], 1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    for _ in range(40):
        for group in torch.randperm(len(x)).split(32):
            value = loss(model(x[group]).squeeze(-1), y[group])
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
    return model
