"""All objectives of preferences on the same ranked lists.

Not one paper's claim but the question its users have: which objective? Those of
`policyrank.learn.PREFERENCE_LOSSES` that learn from lists made beforehand.

**The claims**: objectives that use the whole order beat DPO on best and worst; LiPO-lambda is the
best of all.

**What is done here**: *Short sequences* with a known true reward: lists of 4 samples of a policy,
300 prompts, labels by the true reward with noise of 1, standardised in each list; each objective
gets its own learning rate out of 3e-4, 1e-3 and 3e-3, by the win rate on 100 prompts kept for that,
and 8 epochs; win rate over the policy before on 400 fresh prompts. A replicate is a world.
*SmolLM2-135M-Instruct*: lists of 4 of the ten answers of AlpacaEval, cut at 64 tokens, labels the
place in the judge's order (0 to 1); the last two layers learn from 32 lists, once, two at a step,
at a learning rate that falls from 2e-4; pair accuracy of the implicit reward (of the mean
log-probability where an objective has no reference) on 32 other lists, equal scores half; a list is
a task. "longest first" and the model's own likelihood stand beside. One seed: the intervals are
over lists, not over training runs.
"""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from policyrank.evidence import RankedAnswers, Scores, datasets
from policyrank.learn import PREFERENCE_LOSSES
from policyrank.learn.losses import REFERENCE_FREE
from policyrank.studies.frame import Claim, Report, Scale, quiet
from policyrank.studies.sequences import Arena, RankedSequences, align, imitate
from policyrank.studies.tpo import ends
from policyrank.worlds.sequences import SequencePolicy, SequenceWorld

TITLE = "Objectives of preferences"
PAPER = ""
ABOUT = "all objectives of preferences on the same ranked lists"
ON_POLICY = {"grpo", "label-distribution-grpo"}
NAMES = [n for n in PREFERENCE_LOSSES if n not in ON_POLICY]
ENDS, WIN, PAIRS = "dpo on best and worst", "win rate", "pair accuracy"
RATES = (3e-4, 1e-3, 3e-3)
CLAIMS = (
    *(
        Claim(f"{n} on the whole list beats DPO on best and worst", n, ENDS, WIN)
        for n in ("dpo", "dpo-pl", "lipo-lambda", "softmax", "pro")
    ),
    *(
        Claim(f"lipo-lambda beats {n}", "lipo-lambda", n, WIN)
        for n in ("dpo", "dpo-pl", "slic", "softmax", "ipo")
    ),
    *(
        Claim(f"SmolLM2: {n} beats the model before", n, "likelihood before", PAIRS)
        for n in ("dpo", "lipo-lambda")
    ),
    Claim("SmolLM2: lipo-lambda beats dpo", "lipo-lambda", "dpo", PAIRS),
    Claim("SmolLM2: dpo on the whole list beats DPO on best and worst", "dpo", ENDS, PAIRS),
    Claim(
        "SmolLM2: lipo-lambda beats the longest answer first", "lipo-lambda", "longest first", PAIRS
    ),
)


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is a world, a task of the language model a list."""
    seeds, prompts, lists = {"smoke": (2, 32, 0), "small": (10, 300, 32), "full": (100, 1500, 600)}[
        scale
    ]
    torch.set_num_threads(1)
    rows: list[tuple[str, str, str, int, float]] = []
    for r in range(seeds):
        world = SequenceWorld(seed * 1000 + r)
        base = imitate(
            world, SequencePolicy(world, seed=r), 2, seed=r, steps=50 if scale == "smoke" else 600
        )
        x = world.prompts(prompts, seed=r * 7919 + 1)
        y = base.sample(x, 4, seed=r * 7919 + 2)
        noisy = world.reward(x, y) + torch.randn(
            y.shape[:2], generator=torch.Generator().manual_seed(r)
        )
        data = RankedSequences(
            x, y, (noisy - noisy.mean(1, keepdim=True)) / noisy.std(1, keepdim=True)
        )
        chosen, tested = Arena.of(world, base, r + 500, prompts=100), Arena.of(world, base, r)
        for name in (*NAMES, ENDS):
            report(f"world {r + 1} of {seeds}: {name}")
            used, loss = (ends(data), "dpo") if name == ENDS else (data, name)
            if loss == "point-sigmoid":  # its labels are chances
                used = RankedSequences(used.prompts, used.answers, torch.sigmoid(used.labels))
            found = [
                align(base, used, loss, epochs=2 if scale == "smoke" else 8, lr=lr, seed=r)
                for lr in (RATES[:1] if scale == "smoke" else RATES)
            ]
            best = max(found, key=lambda policy: chosen(policy, r)["win rate"])
            rows += [
                (name, "short sequences", metric, r, value)
                for metric, value in tested(best, r).items()
            ]
    if lists:
        rows += language_model(lists, seed, report)
    methods, tasks, metrics, replicates, values = zip(*rows, strict=True)
    return Scores.of(
        methods, tasks, values, metric=metrics, replicate=replicates, lower_is_better=["KL"]
    )


def language_model(lists: int, seed: int, report: Report) -> list[tuple[str, str, str, int, float]]:
    """Pair accuracy on held-out lists of SmolLM2, trained by each objective."""
    from policyrank.models.language import load_causal_lm
    from policyrank.train import (
        ListwisePreferenceConfig,
        ListwisePreferenceTrainer,
        encode_answers,
    )
    from policyrank.train.texts import train_last

    rng = np.random.default_rng(seed)
    taken: list[RankedAnswers] = []
    for x, _ in datasets.load("alpacaeval"):
        if len(x.completions) == 10 and len(str(x.prompt)) < 300 and len(set(x.labels)) == 10:
            few = rng.choice(10, size=4, replace=False)
            place = np.argsort(np.argsort([x.labels[k] for k in few])) / 3
            taken.append(
                RankedAnswers(x.prompt, tuple(x.completions[k] for k in few), tuple(place.tolist()))
            )
    taken = [taken[k] for k in rng.permutation(len(taken))[: 2 * lists]]
    model, tokenizer = load_causal_lm("smollm2", device="cpu")
    train_last(model, 2)
    model.model.layers = nn.ModuleList([Below(model.model.layers[:-2]), *model.model.layers[-2:]])
    model.config.num_hidden_layers = 3
    start = copy.deepcopy(model.state_dict())
    short = [cut(x, tokenizer, 64) for x in taken]
    train, test = (
        encode_answers(part, tokenizer, max_length=256) for part in (short[:lists], short[lists:])
    )
    rows: list[tuple[str, str, str, int, float]] = []

    def record(method: str, scores: list[list[float]]) -> None:
        rows.extend(
            (method, f"list {k}", PAIRS, 0, in_order(x.labels, s))
            for k, (x, s) in enumerate(zip(test.lists, scores, strict=True))
        )

    record("longest first", [[float(len(a)) for a in x.completions] for x in taken[lists:]])
    known: Any = None
    for name in (*NAMES, ENDS):
        report(f"SmolLM2: {name}")
        loss = "dpo" if name == ENDS else name
        torch.manual_seed(seed)
        model.load_state_dict(start)
        with TemporaryDirectory() as folder:
            arguments = ListwisePreferenceConfig(
                str(Path(folder)),
                per_device_train_batch_size=1,
                per_device_eval_batch_size=1,
                gradient_accumulation_steps=2,
                num_train_epochs=1,
                learning_rate=2e-4,
                report_to=[],
                use_cpu=True,
                disable_tqdm=True,
                save_strategy="no",
                logging_strategy="no",
                seed=seed,
                dataloader_pin_memory=False,
                loss=loss,
            )
            trainer = ListwisePreferenceTrainer(
                model, arguments, train, test, processing_class=tokenizer
            )
            if known is None:
                known = [
                    trainer.train_dataset.with_reference(trainer.step_log_probs(train)),
                    test.with_reference(trainer.step_log_probs(test)),
                ]
                record(
                    "likelihood before",
                    [
                        [
                            p[0] / len(c)
                            for p, c in zip(x.reference or [], x.completions, strict=True)
                        ]
                        for x in known[1].lists
                    ],
                )
            trainer.train_dataset = two(known[0]) if name == ENDS else known[0]
            trainer.train()
            after = trainer.step_log_probs(test)
        free = loss in REFERENCE_FREE
        record(
            name,
            [
                [
                    a[0] / len(c) if free else a[0] - b[0]
                    for a, b, c in zip(own, x.reference or [], x.completions, strict=True)
                ]
                for own, x in zip(after, known[1].lists, strict=True)
            ],
        )
    return rows


class Below(nn.Module):
    """Frozen layers that read each input once, however many objectives and passes ask for it."""

    def __init__(self, layers: nn.ModuleList) -> None:
        super().__init__()
        self.layers = layers
        self.kept: dict[bytes, torch.Tensor] = {}

    def forward(self, hidden: torch.Tensor, **options: Any) -> torch.Tensor:
        key = hashlib.sha1(hidden.detach().numpy().tobytes()).digest()
        if key not in self.kept:
            with torch.no_grad():
                for layer in self.layers:
                    hidden = layer(hidden, **options)
            self.kept[key] = hidden
        return self.kept[key]


def cut(x: RankedAnswers, tokenizer: Any, tokens: int) -> RankedAnswers:
    """Answers of at most so many tokens."""
    texts = tuple(
        tokenizer.decode(tokenizer(a, add_special_tokens=False)["input_ids"][:tokens])
        for a in x.completions
    )
    return RankedAnswers(x.prompt, texts, x.labels)


def two(data: Any) -> Any:
    """Best and worst of each encoded list."""
    from dataclasses import replace

    out = []
    for x in data.lists:
        order = np.argsort(x.labels)
        pick = [int(order[-1]), int(order[0])]
        out.append(
            replace(
                x,
                completions=[x.completions[k] for k in pick],
                steps=[x.steps[k] for k in pick],
                labels=[x.labels[k] for k in pick],
                reference=[x.reference[k] for k in pick],
            )
        )
    return replace(data, lists=out)


def in_order(labels: Any, scores: Any) -> float:
    y, s = np.asarray(labels), np.asarray(scores)
    return float((0.5 + 0.5 * np.sign(s[:, None] - s[None, :]))[y[:, None] > y[None, :]].mean())
