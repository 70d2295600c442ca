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
epochs, learning rate 5e-4, beta .1. SPIN: the anchor beats one sample of the student. "group" is
the clipped policy gradient on label distributions: one offline round, or 50 rounds of 8 prompts (as
many samples and passes over them as the others, but 300 small updates instead of 78, and a far
larger KL: no comparison at equal steps or KL). The win rate is that over the student after
imitation, on 400 fresh prompts; a replicate is a world. Real judges: of 805 AlpacaEval prompts the
answer of FuseChat-Llama-3.1-8B is the anchor and the other nine are ranked by likeness (MiniLM), by
length, by chance, and on 24 prompts by SmolLM2-135M's rating beside the anchor and without it
(answers cut to 300 characters); NDCG, tasks are prompts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policyrank.evidence import RankedAnswers, Scores, datasets
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.frame import Report, Row, Scale, by_metric, quiet, scores_of
from policyrank.studies.pro import ndcg
from policyrank.studies.sequences import Arena, RankedSequences, align, best_only, ends, imitate
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
WIN = "win rate"


@dataclass(frozen=True)
class Size:
    """``steps``, ``taught``: steps and epochs of imitation; ``rated``: real prompts to rate."""

    seeds: int
    prompts: int
    epochs: int
    rounds: int
    steps: int
    taught: int
    rated: int


SCALES: dict[Scale, Size] = {
    "smoke": Size(seeds=2, prompts=32, epochs=1, rounds=2, steps=50, taught=2, rated=0),
    "small": Size(seeds=20, prompts=400, epochs=6, rounds=50, steps=600, taught=20, rated=24),
    "full": Size(seeds=100, prompts=400, epochs=6, rounds=50, steps=600, taught=20, rated=805),
}
UNIT = Unit("world")
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
    Claim(
        "Real answers: likeness to the anchor ranks better than chance",
        "likeness to the anchor",
        "by chance",
        NDCG,
    ),
    Claim(
        "Real answers: likeness ranks better than length",
        "likeness to the anchor",
        "longest first",
        NDCG,
    ),
    Claim(
        "Real answers: SmolLM2's rating beside the anchor beats chance",
        "rating beside the anchor",
        "by chance, 24 prompts",
        RATED,
    ),
    Claim(
        "Real answers: the anchor helps its rating",
        "rating beside the anchor",
        "rating alone",
        RATED,
    ),
)


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is a world, of the real answers a prompt is one."""
    torch.set_num_threads(1)
    size = SCALES[scale]
    rows = chain(_sequences(size, seed, report), real_judges(size.rated, seed, report))
    return scores_of(rows, lower_is_better=["KL"])


def _sequences(size: Size, seed: int, report: Report) -> Iterator[Row]:
    for r in range(size.seeds):
        report(f"world {r + 1} of {size.seeds}")
        for method, values in students(SequenceWorld(seed * 1000 + r), r, size).items():
            yield from by_metric(method, WORLD, r, values)


def students(world: SequenceWorld, seed: int, size: Size) -> dict[str, dict[str, float]]:
    """Win rate and KL of each way to learn, over the student after imitation."""
    x = world.prompts(size.prompts, seed=seed * 7919 + 1)
    random = world.random_answers(x, 16, seed=seed * 7919 + 2)
    anchor = random[torch.arange(size.prompts), world.reward(x, random).argmax(dim=1)]
    start = imitate(world, SequencePolicy(world, seed=seed), 1, seed=seed, steps=size.steps)
    taught = RankedSequences(x, anchor[:, None], torch.zeros(size.prompts, 1))
    base = align(start, taught, best_only, epochs=size.taught, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    judge = partial(judged, world, generator)
    fit: dict[str, Any] = {"epochs": size.epochs, "lr": 5e-4, "seed": seed}

    y = base.sample(x, 8, seed=seed * 7919 + 3)
    found = {}
    for kind in JUDGES:
        data = RankedSequences(x, y, judge(kind, x, y, anchor))
        found[f"pair, {kind}"] = align(base, ends(data), "dpo", beta=0.1, **fit)
        found[f"list, {kind}"] = align(base, data, "label-distribution", beta=0.1, **fit)
        if kind == "noise .5":
            found[f"group, offline, {kind}"] = align(base, data, GROUPS, **fit)
    own = torch.stack([anchor, y[:, 0]], dim=1)
    spin = RankedSequences(x, own, torch.tensor([1.0, 0.0]).expand(size.prompts, 2))
    found["SPIN"] = align(base, spin, "dpo", beta=0.1, **fit)
    student, order = base, torch.randperm(size.prompts, generator=generator)
    for number, group in enumerate(order.split(max(1, size.prompts // size.rounds))):
        asked = x[group]
        fresh = student.sample(asked, 8, seed=seed * 7919 + 100 + number)
        data = RankedSequences(asked, fresh, judge("noise .5", asked, fresh, anchor[group]))
        student = align(student, data, GROUPS, **fit)
    found["group, on-policy, noise .5"] = student

    arena = Arena.of(world, base, seed)
    return {name: arena(policy, seed) for name, policy in found.items()}


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
