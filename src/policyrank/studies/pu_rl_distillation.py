"""Positive-unlabeled distillation: one teacher answer a prompt, ranked answers of the student.

"Positive-Unlabeled Reinforcement Learning Distillation for On-Premise Small Models" (2026), arXiv
2601.20687. Only its abstract and a summary could be read: what is measured is a reconstruction.

**The claim**: after imitating one teacher answer a prompt, a student that ranks its own answers
beside that answer (the anchor) gets better without further teacher calls, preference labels or a
reward model.

**What is done here**: the world of short sequences with a known true reward. The student starts
from uniform answers; the teacher's answer is the best of 16 random ones; 400 anchors are imitated
(20 epochs, learning rate 1e-3), then 8 candidates a prompt are sampled once and ranked. Judges:
true reward less the anchor's with noise of .5 or 1.5, likeness to the anchor (tokens in place),
chance. "pair" is DPO on best and worst, "list" the cross-entropy with the label distribution; 6
epochs, beta .1. SPIN: the anchor beats one sample of the student. "group" is the clipped policy
gradient on label distributions: one offline round, or 50 rounds of 8 prompts (as many samples and
passes over them as the others, but 300 small updates instead of 78). Each way to learn has its own
learning rate: that out of four which wins most, at no more than 10 nats from the start, in two
worlds apart from those judged. Because they go differently far, pairs, lists (up to 40 epochs) and
on-policy groups are also read where the KL from the start first comes to .5 and 1 nats, at the rate
out of the four that wins most at 1 nat. The win rate is that over the student after imitation, on
400 fresh prompts; a replicate is a world. Real judges: of 805 AlpacaEval prompts the
answer of FuseChat-Llama-3.1-8B is the anchor and the other nine are ranked by likeness (MiniLM), by
length, by chance, and on 24 prompts by SmolLM2-135M's rating beside the anchor and without it
(answers cut to 300 characters); NDCG, tasks are prompts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policyrank.evidence import RankedAnswers, datasets
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.fairness import Curve, Health, Tuned, typical
from policyrank.studies.frame import Measured, Report, Row, Scale, by_metric, quiet, scores_of
from policyrank.studies.pro import ndcg
from policyrank.studies.sequences import (
    RATES,
    TUNING,
    Arena,
    Place,
    RankedSequences,
    Watch,
    align,
    best_only,
    ends,
    imitate,
    signs,
    tuned_by_wins,
    win_by_kl,
)
from policyrank.worlds.sequences import SequencePolicy, SequenceWorld

TITLE = "Positive-unlabeled distillation"
PAPER = "arXiv 2601.20687"
ABOUT = "distillation from one teacher answer a prompt: the student then ranks its own"
WORLD = "short sequences"
ANCHOR = "FuseChat-Llama-3.1-8B-Instruct"
GROUPS = "label-distribution-grpo"
MOST = 300
"""Characters of an answer that the language model is shown."""
JUDGES = ("noise .5", "noise 1.5", "likeness", "chance")
NDCG, RATED = "NDCG", "NDCG, 24 prompts"
WIN, AT_EQUAL_KL = "win rate", "win rate at equal KL"
SPIN, OFFLINE, ON_POLICY = "SPIN", "group, offline, noise .5", "group, on-policy, noise .5"
METHODS = (
    *(f"{kind}, {judge}" for judge in JUDGES for kind in ("pair", "list")),
    SPIN,
    OFFLINE,
    ON_POLICY,
)
CURVES, KLS = ("pair, noise .5", "list, noise .5", ON_POLICY), (0.5, 1.0)


@dataclass(frozen=True)
class Size:
    """``steps``, ``taught``: steps and epochs of imitation; ``rated``: real prompts to rate.

    ``tuning``: worlds; ``judged``: prompts in each.
    """

    seeds: int
    prompts: int
    epochs: int
    rounds: int
    steps: int
    taught: int
    rated: int
    tuning: int
    judged: int = 400
    rates: tuple[dict[str, Any], ...] = RATES


SCALES: dict[Scale, Size] = {
    "smoke": Size(2, 32, 1, rounds=2, steps=50, taught=2, rated=0, tuning=1, judged=50),
    "small": Size(16, 400, 6, rounds=50, steps=600, taught=20, rated=24, tuning=6),
    "full": Size(100, 400, 6, rounds=50, steps=600, taught=20, rated=805, tuning=10),
}
UNIT, PROMPT = Unit("world"), Unit("prompt", "task")
CLAIMS = (
    *for_each(
        product(("pair", "list"), JUDGES[:3]),
        Claim(
            "{0}, judge with {1}: better than with scores of chance by .02",
            "{0}, {1}",
            "{0}, chance",
            WIN,
            0.02,
        ),
    ),
    *for_each(
        product(("pair", "list"), JUDGES[:2]),
        Claim("{0} with a judge of {1} beats SPIN", "{0}, {1}", "SPIN", WIN),
    ),
    Claim(
        "A better judge makes a better student (list)",
        "list, noise .5",
        "list, noise 1.5",
        WIN,
    ),
    Claim("List beats pair", "list, noise .5", "pair, noise .5", WIN),
    Claim(
        "On-policy groups beat one offline round of groups",
        "group, on-policy, noise .5",
        "group, offline, noise .5",
        WIN,
    ),
    Claim(
        "On-policy groups beat pairs at equal samples",
        "group, on-policy, noise .5",
        "pair, noise .5",
        WIN,
    ),
    *for_each(
        CURVES[:2],
        Claim(
            "At a KL of 1 nat on-policy groups beat {}",
            ON_POLICY,
            "{}",
            AT_EQUAL_KL,
            tasks=("KL 1",),
            seen=(0,),
        ),
    ),
    Claim(
        "Real answers: likeness to the anchor ranks better than chance",
        "likeness to the anchor",
        "by chance",
        NDCG,
        unit=PROMPT,
    ),
    Claim(
        "Real answers: likeness ranks better than length",
        "likeness to the anchor",
        "longest first",
        NDCG,
        unit=PROMPT,
    ),
    Claim(
        "Real answers: SmolLM2's rating beside the anchor beats chance",
        "rating beside the anchor",
        "by chance, 24 prompts",
        RATED,
        unit=PROMPT,
    ),
    Claim(
        "Real answers: the anchor helps its rating",
        "rating beside the anchor",
        "rating alone",
        RATED,
        unit=PROMPT,
    ),
)


def run(scale: Scale, seed: int, report: Report = quiet) -> Measured:
    """Measure; a replicate is a world, of the real answers a prompt is one."""
    torch.set_num_threads(1)
    size = SCALES[scale]
    report("tuning")
    tuned = _tuned(size, seed)
    found: list[Health] = []
    rows = chain(
        _sequences(size, seed, tuned, found, report), real_judges(size.rated, seed, report)
    )
    scores = scores_of(rows, lower_is_better=["KL"])
    return Measured(scores, tuple(tuned.values()), typical(found))


@dataclass(frozen=True)
class Taught(Place):
    """A place whose base has imitated the teacher, what that answered, and the base's answers."""

    prompts: Tensor
    anchor: Tensor
    answers: Tensor

    @classmethod
    def after(cls, seed: int, replicate: int, size: Size) -> Taught:
        """The student starts from uniform answers, then imitates one answer a prompt."""
        number = 1000 * seed + replicate
        world, draw = SequenceWorld(number), number * 7919
        x = world.prompts(size.prompts, seed=draw + 1)
        random = world.random_answers(x, 16, seed=draw + 2)
        anchor = random[torch.arange(size.prompts), world.reward(x, random).argmax(dim=1)]
        start = imitate(world, SequencePolicy(world, seed=number), 1, seed=number, steps=size.steps)
        taught = RankedSequences(x, anchor[:, None], torch.zeros(size.prompts, 1))
        base = align(start, taught, best_only, epochs=size.taught, seed=number)
        arena = Arena.of(world, base, number, size.judged)
        return cls(number, world, base, arena, x, anchor, base.sample(x, 8, seed=draw + 3))

    def ranked(self, kind: str) -> RankedSequences:
        """The base's answers with what a judge of this kind gives them."""
        generator = torch.Generator().manual_seed(self.number * 7919 + 4 + JUDGES.index(kind))
        labels = judged(self.world, generator, kind, self.prompts, self.answers, self.anchor)
        return RankedSequences(self.prompts, self.answers, labels)


def lesson(place: Taught, method: str) -> tuple[RankedSequences, str, dict[str, Any]]:
    """What an offline method learns from, by which loss, with which options."""
    if method == SPIN:
        answers = torch.stack([place.anchor, place.answers[:, 0]], dim=1)
        labels = torch.tensor([1.0, 0.0]).expand(len(answers), 2)
        return RankedSequences(place.prompts, answers, labels), "dpo", {"beta": 0.1}
    kind, _, judge = method.partition(", ")
    if method == OFFLINE:
        return place.ranked("noise .5"), GROUPS, {}
    if kind == "pair":
        return ends(place.ranked(judge)), "dpo", {"beta": 0.1}
    return place.ranked(judge), "label-distribution", {"beta": 0.1}


def student(
    size: Size, place: Taught, method: str, settings: Mapping[str, Any], **others: Any
) -> SequencePolicy:
    """The base after learning by this method."""
    if method == ON_POLICY:
        return on_policy(size, place, settings)
    data, loss, options = lesson(place, method)
    fit = {"epochs": size.epochs, "seed": place.number, **options, **settings, **others}
    return align(place.base, data, loss, **fit)


def on_policy(
    size: Size, place: Taught, settings: Mapping[str, Any], watch: Watch | None = None
) -> SequencePolicy:
    """Fresh samples of a few prompts, ranked and learned from, round after round."""
    draw = place.number * 7919
    generator = torch.Generator().manual_seed(draw + 10)
    learner, order = place.base, torch.randperm(size.prompts, generator=generator)
    for number, group in enumerate(order.split(max(1, size.prompts // size.rounds))):
        x, anchor = place.prompts[group], place.anchor[group]
        y = learner.sample(x, 8, seed=draw + 100 + number)
        labels = judged(place.world, generator, "noise .5", x, y, anchor)
        fit = {"epochs": size.epochs, "seed": draw + number, **settings}
        learner = align(learner, RankedSequences(x, y, labels), GROUPS, **fit)
        if watch is not None and watch(number, learner):
            break
    return learner


def _curve(
    size: Size, place: Taught, method: str, most: float, settings: Mapping[str, Any]
) -> Curve:
    if method == ON_POLICY:
        watch = Watch(place.arena, most, place.number)
        on_policy(size, place, settings, watch)
        return watch.curve
    data, loss, options = lesson(place, method)
    fit = {"epochs": 40, "seed": place.number, **options, **settings}
    return win_by_kl(place.arena, data, loss, most=most, **fit)


def _tuned(size: Size, seed: int) -> dict[str, Tuned]:
    places = [Taught.after(seed, TUNING + k, size) for k in range(size.tuning)]
    curves = {f"{method}, equal KL": method for method in CURVES}

    def reached(place: Taught, method: str, settings: Mapping[str, Any]) -> float | None:
        return place.arena.won(student(size, place, method, settings), place.number)

    def at_equal_kl(place: Taught, name: str, settings: Mapping[str, Any]) -> float | None:
        return _curve(size, place, curves[name], max(KLS), settings).at(max(KLS))

    tuned = tuned_by_wins(METHODS, places, reached, rates=size.rates)
    metric = f"win rate at a KL of {max(KLS):g}"
    return tuned | tuned_by_wins(curves, places, at_equal_kl, rates=size.rates, metric=metric)


def _sequences(
    size: Size, seed: int, tuned: Mapping[str, Tuned], found: list[Health], report: Report
) -> Iterator[Row]:
    for r in range(size.seeds):
        report(f"world {r + 1} of {size.seeds}")
        place = Taught.after(seed, r, size)
        for method in METHODS:
            losses: list[float] = []
            settings = tuned[method].chosen
            values = place.arena(
                student(size, place, method, settings, losses=losses), place.number
            )
            found += signs(method, values["KL"], losses)
            yield from by_metric(method, WORLD, r, values)
        for method in CURVES:
            settings = tuned[f"{method}, equal KL"].chosen
            curve = _curve(size, place, method, max(KLS), settings)
            for kl in KLS:
                win = curve.at(kl)
                if win is not None:
                    yield method, f"KL {kl:g}", AT_EQUAL_KL, r, win


def judged(
    world: SequenceWorld,
    generator: torch.Generator,
    kind: str,
    x: Tensor,
    y: Tensor,
    anchor: Tensor,
) -> Tensor:
    """What a judge of this kind gives answers ``y`` beside the anchor, (prompts, list)."""
    noise = torch.randn(y.shape[:2], generator=generator)
    if kind == "likeness":
        return (y == anchor[:, None]).float().mean(dim=-1)
    if kind == "chance":
        return noise
    gain = world.reward(x, y) - world.reward(x, anchor[:, None])
    return gain + float(kind.removeprefix("noise ")) * noise


def real_judges(rated: int, seed: int, report: Report) -> Iterator[Row]:
    """NDCG of what ranks nine real answers beside a tenth."""
    if not rated:
        return
    from policyrank.models.encoders import load_encoder
    from policyrank.models.language import load_causal_lm
    from policyrank.train.judges import rating_judge, similarity_scorer

    lists, anchors = _beside_anchors()
    prompts, answers = [x.prompt for x in lists], [x.completions for x in lists]
    report("likeness of AlpacaEval's answers to the anchor")
    likeness = similarity_scorer(load_encoder("minilm"), anchors)
    rng = np.random.default_rng(seed)
    chance = [_by_lot(x, rng) for x in lists]
    every = range(len(lists))
    yield from _ranked("likeness to the anchor", NDCG, lists, every, likeness(prompts, answers))
    lengths = [[float(len(text)) for text in texts] for texts in answers]
    yield from _ranked("longest first", NDCG, lists, every, lengths)
    for k, value in enumerate(chance):
        yield "by chance", f"prompt {k}", NDCG, 0, value

    model, tokenizer = load_causal_lm("smollm2", device="cpu")
    some = rng.choice(len(lists), size=min(rated, len(lists)), replace=False).tolist()
    asked = [prompts[k] for k in some]
    shortened = [[text[:MOST] for text in answers[k]] for k in some]
    short_anchors = {prompt: text[:MOST] for prompt, text in anchors.items()}
    for method, shown in (("rating beside the anchor", short_anchors), ("rating alone", None)):
        report(f"SmolLM2 rates answers of {len(some)} prompts: {method}")
        scores = rating_judge(model, tokenizer, shown)(asked, shortened)
        yield from _ranked(method, RATED, lists, some, scores)
    for k in some:
        yield "by chance, 24 prompts", f"prompt {k}", RATED, 0, chance[k]


def _beside_anchors() -> tuple[list[RankedAnswers], dict[str, str]]:
    """AlpacaEval's lists less the anchor, and the anchor of each prompt."""
    lists, anchors = [], {}
    for x, models in datasets.load("alpacaeval"):
        if len(models) != 10:
            continue
        at = models.index(ANCHOR)
        texts, labels = list(x.completions), list(x.labels)
        anchors[str(x.prompt)] = texts.pop(at)
        del labels[at]
        lists.append(RankedAnswers(x.prompt, tuple(texts), tuple(labels)))
    return lists, anchors


def _ranked(
    method: str, metric: str, lists: list[RankedAnswers], which: Iterable[int], scores: Any
) -> Iterator[Row]:
    for k, own in zip(which, scores, strict=True):
        yield method, f"prompt {k}", metric, 0, one(lists[k], own)


def _by_lot(x: RankedAnswers, rng: np.random.Generator) -> float:
    """Mean over a hundred random orders."""
    return float(np.mean([one(x, rng.random(9)) for _ in range(100)]))


def one(x: RankedAnswers, scores: object) -> float:
    """NDCG of a list by these scores."""
    return float(ndcg(torch.tensor([x.labels]), torch.tensor(np.asarray(scores))[None])[0])
