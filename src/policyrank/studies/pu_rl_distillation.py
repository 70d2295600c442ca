"""Positive-unlabeled distillation: one answer of a teacher a prompt, ranked answers of the
student's own.

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

import numpy as np
import torch
from torch import Tensor

from policyrank.evidence import RankedAnswers, Scores, datasets
from policyrank.studies.frame import Claim, Report, Scale, quiet
from policyrank.studies.pro import ndcg
from policyrank.studies.sequences import Arena, RankedSequences, align, best_only, ends, imitate
from policyrank.worlds.sequences import SequencePolicy, SequenceWorld

TITLE = "Positive-unlabeled distillation"
PAPER = "arXiv 2601.20687"
ABOUT = "distillation from one teacher answer a prompt: the student then ranks its own"
WORLD = "short sequences"
ANCHOR = "FuseChat-Llama-3.1-8B-Instruct"
JUDGES = ("noise .5", "noise 1.5", "likeness", "chance")
CLAIMS = (
    *(
        Claim(
            f"{how}, judge with {judge}: better than with scores of chance by .02",
            f"{how}, {judge}",
            f"{how}, chance",
            "win rate",
            0.02,
        )
        for how in ("pair", "list")
        for judge in JUDGES[:3]
    ),
    *(
        Claim(f"{how} with a judge of {judge} beats SPIN", f"{how}, {judge}", "SPIN", "win rate")
        for how in ("pair", "list")
        for judge in JUDGES[:2]
    ),
    Claim(
        "A better judge makes a better student (list)",
        "list, noise .5",
        "list, noise 1.5",
        "win rate",
    ),
    Claim("List beats pair", "list, noise .5", "pair, noise .5", "win rate"),
    Claim(
        "On-policy groups beat one offline round of groups",
        "group, on-policy, noise .5",
        "group, offline, noise .5",
        "win rate",
    ),
    Claim(
        "On-policy groups beat pairs at equal samples",
        "group, on-policy, noise .5",
        "pair, noise .5",
        "win rate",
    ),
    Claim(
        "Real answers: likeness to the anchor ranks better than chance",
        "likeness to the anchor",
        "by chance",
        "NDCG",
    ),
    Claim(
        "Real answers: likeness ranks better than length",
        "likeness to the anchor",
        "longest first",
        "NDCG",
    ),
    Claim(
        "Real answers: SmolLM2's rating beside the anchor beats chance",
        "rating beside the anchor",
        "by chance, 24 prompts",
        "NDCG, 24 prompts",
    ),
    Claim(
        "Real answers: the anchor helps its rating",
        "rating beside the anchor",
        "rating alone",
        "NDCG, 24 prompts",
    ),
)


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is a world, of the real answers a prompt is one."""
    seeds, rated = {"smoke": (2, 0), "small": (20, 24), "full": (100, 805)}[scale]
    torch.set_num_threads(1)
    rows: list[tuple[str, str, str, int, float]] = []
    for r in range(seeds):
        report(f"world {r + 1} of {seeds}")
        found = students(
            SequenceWorld(seed * 1000 + r),
            r,
            **({"prompts": 32, "epochs": 1, "rounds": 2, "steps": 50} if scale == "smoke" else {}),
        )
        rows += [
            (m, WORLD, metric, r, value)
            for m, values in found.items()
            for metric, value in values.items()
        ]
    if rated:
        rows += real_judges(rated, seed, report)
    methods, tasks, metrics, replicates, values = zip(*rows, strict=True)
    return Scores.of(
        methods, tasks, values, metric=metrics, replicate=replicates, lower_is_better=["KL"]
    )


def students(
    world: SequenceWorld,
    seed: int,
    prompts: int = 400,
    epochs: int = 6,
    rounds: int = 50,
    steps: int = 600,
) -> dict[str, dict[str, float]]:
    """Win rate and KL of each way to learn, over the student after imitation."""
    x = world.prompts(prompts, seed=seed * 7919 + 1)
    random = world.random_answers(x, 16, seed=seed * 7919 + 2)
    anchor = random[torch.arange(prompts), world.reward(x, random).argmax(dim=1)]
    start = imitate(world, SequencePolicy(world, seed=seed), 1, seed=seed, steps=steps)
    taught = RankedSequences(x, anchor[:, None], torch.zeros(prompts, 1))
    base = align(start, taught, best_only, epochs=20 if epochs > 1 else 2, seed=seed)
    arena = Arena.of(world, base, seed)
    generator = torch.Generator().manual_seed(seed)

    def judged(kind: str, x: Tensor, y: Tensor, anchor: Tensor) -> Tensor:
        noise = torch.randn(y.shape[:2], generator=generator)
        if kind == "likeness":
            return (y == anchor[:, None]).float().mean(dim=-1)
        if kind == "chance":
            return noise
        return (
            world.reward(x, y)
            - world.reward(x, anchor[:, None])
            + float(kind.removeprefix("noise ")) * noise
        )

    y = base.sample(x, 8, seed=seed * 7919 + 3)
    given = {"epochs": epochs, "lr": 5e-4, "seed": seed}
    found = {}
    for kind in JUDGES:
        data = RankedSequences(x, y, judged(kind, x, y, anchor))
        found[f"pair, {kind}"] = align(base, ends(data), "dpo", beta=0.1, **given)  # type: ignore[arg-type]
        found[f"list, {kind}"] = align(base, data, "label-distribution", beta=0.1, **given)  # type: ignore[arg-type]
        if kind == "noise .5":
            found[f"group, offline, {kind}"] = align(base, data, "label-distribution-grpo", **given)  # type: ignore[arg-type]
    own = torch.stack([anchor, y[:, 0]], dim=1)
    found["SPIN"] = align(
        base,
        RankedSequences(x, own, torch.tensor([1.0, 0.0]).expand(prompts, 2)),
        "dpo",
        beta=0.1,
        **given,  # type: ignore[arg-type]
    )
    student, order = base, torch.randperm(prompts, generator=generator)
    for number, group in enumerate(order.split(max(1, prompts // rounds))):
        fresh = student.sample(x[group], 8, seed=seed * 7919 + 100 + number)
        data = RankedSequences(x[group], fresh, judged("noise .5", x[group], fresh, anchor[group]))
        student = align(student, data, "label-distribution-grpo", epochs=epochs, lr=5e-4, seed=seed)
    found["group, on-policy, noise .5"] = student
    return {name: arena(policy, seed) for name, policy in found.items()}


def real_judges(rated: int, seed: int, report: Report) -> list[tuple[str, str, str, int, float]]:
    """NDCG of what ranks nine real answers beside a tenth."""
    from policyrank.models.encoders import load_encoder
    from policyrank.models.language import load_causal_lm
    from policyrank.train.judges import rating_judge, similarity_scorer

    lists, anchors = [], {}
    for x, models in datasets.load("alpacaeval"):
        if len(models) == 10:
            at = models.index(ANCHOR)
            rest = [k for k in range(10) if k != at]
            anchors[str(x.prompt)] = x.completions[at]
            lists.append(
                RankedAnswers(
                    x.prompt,
                    tuple(x.completions[k] for k in rest),
                    tuple(x.labels[k] for k in rest),
                )
            )
    prompts, answers = [x.prompt for x in lists], [x.completions for x in lists]
    report("likeness of AlpacaEval's answers to the anchor")
    found = {
        "likeness to the anchor": similarity_scorer(load_encoder("minilm"), anchors)(
            prompts, answers
        )
    }
    found["longest first"] = [[float(len(a)) for a in x] for x in answers]
    rng = np.random.default_rng(seed)
    chance = [np.mean([one(x, rng.random(9)) for _ in range(100)]) for x in lists]
    rows = [
        (m, f"prompt {k}", "NDCG", 0, one(x, s))
        for m, scores in found.items()
        for k, (x, s) in enumerate(zip(lists, scores, strict=True))
    ]
    rows += [("by chance", f"prompt {k}", "NDCG", 0, float(v)) for k, v in enumerate(chance)]
    model, tokenizer = load_causal_lm("smollm2", device="cpu")
    some = rng.choice(len(lists), size=min(rated, len(lists)), replace=False).tolist()
    short = {t: a[:300] for t, a in anchors.items()}
    for method, shown in (("rating beside the anchor", short), ("rating alone", None)):
        report(f"SmolLM2 rates answers of {len(some)} prompts: {method}")
        judge = rating_judge(model, tokenizer, shown)
        scores = judge([prompts[k] for k in some], [[a[:300] for a in answers[k]] for k in some])
        rows += [
            (method, f"prompt {k}", "NDCG, 24 prompts", 0, one(lists[k], s))
            for k, s in zip(some, scores, strict=True)
        ]
    rows += [
        ("by chance, 24 prompts", f"prompt {k}", "NDCG, 24 prompts", 0, float(chance[k]))
        for k in some
    ]
    return rows


def one(x: RankedAnswers, scores: object) -> float:
    return ndcg(torch.tensor([x.labels]), torch.tensor(np.asarray(scores))[None])
