"""Training on preferences beside TRL's DPOTrainer, in one run: ``make bench`` writes
docs/benchmarks-preference.md.

SmolLM2-135M, its last two layers trained, the same tokens in the same order, references precomputed
before the clock starts. Seconds of one optimizer step, the median of several; tokens a second
counts every prompt and completion token that the pairs or lists hold, prompts once a completion.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import random
import statistics
import tempfile
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from transformers.utils import logging

from policyrank.models.language import load_causal_lm
from policyrank.train import ListwisePreferenceConfig, ListwisePreferenceTrainer
from policyrank.train.freezing import train_last

WORDS = [
    "the",
    "a",
    "policy",
    "model",
    "answer",
    "good",
    "bad",
    "river",
    "stone",
    "green",
    "quick",
    "slow",
    "reads",
    "writes",
    "judge",
    "rank",
    "list",
    "pair",
    "token",
    "layer",
    "over",
    "under",
    "after",
]


class Clock(TrainerCallback):
    """Seconds of each optimizer step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, *args: Any, **options: Any) -> None:
        self.start = time.perf_counter()

    def on_step_end(self, *args: Any, **options: Any) -> None:
        self.seconds.append(time.perf_counter() - self.start)


def rows(lists: int, size: int, prompt: int, answer: int) -> list[dict[str, Any]]:
    rng = random.Random(0)
    text = lambda n: " ".join(rng.choice(WORDS) for _ in range(n))  # noqa: E731
    return [
        {
            "prompt": text(prompt),
            "completions": [text(rng.randint(answer // 2, answer * 3 // 2)) for _ in range(size)],
            "scores": list(range(size)),
        }
        for _ in range(lists)
    ]


def pairs(data: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"prompt": r["prompt"], "chosen": r["completions"][j], "rejected": r["completions"][i]}
        for r in data
        for i, j in combinations(range(len(r["completions"])), 2)
    ]


def model() -> tuple[Any, Any]:
    found, tokenizer = load_causal_lm("smollm2", device="cpu")
    tokenizer.chat_template = None
    return train_last(found, 2), tokenizer


def options(batch: int, steps: int) -> dict[str, Any]:
    return {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": batch,
        "max_steps": steps,
        "learning_rate": 1e-5,
        "report_to": [],
        "use_cpu": True,
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_strategy": "no",
        "gradient_checkpointing": False,
        "bf16": False,
    }


def ours(
    data: list[dict[str, Any]], batch: int, steps: int, loss: str = "dpo"
) -> tuple[float, float]:
    found, tokenizer = model()
    clock = Clock()
    trainer = ListwisePreferenceTrainer(
        found,
        ListwisePreferenceConfig(**options(batch, steps), loss=loss),
        data,
        processing_class=tokenizer,
        callbacks=[clock],
    )
    trainer.train()
    return statistics.median(clock.seconds[1:]), tokens(trainer.train_dataset.lists)


def tokens(lists: list[Any]) -> float:
    """Of one list, on average, prompts once a completion."""
    return sum(
        len(x.prompt) * len(x.completions) + sum(map(len, x.completions)) for x in lists
    ) / len(lists)


def trl(data: list[dict[str, Any]], batch: int, steps: int) -> float:
    from trl import DPOConfig, DPOTrainer

    found, tokenizer = model()
    clock = Clock()
    args = DPOConfig(**options(batch, steps), precompute_ref_log_probs=True, max_length=1024)
    DPOTrainer(
        found,
        args=args,
        train_dataset=Dataset.from_list(data),
        processing_class=tokenizer,
        callbacks=[clock],
    ).train()
    return statistics.median(clock.seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--steps", type=int, default=8)
    given = parser.parse_args()
    logging.set_verbosity_error()
    table = []
    for prompt, answer in ((40, 40), (120, 60), (20, 120)):
        data = pairs(rows(4 * given.steps, 2, prompt, answer))
        theirs, (mine, size) = trl(data, 4, given.steps), ours(data, 4, given.steps)
        table.append(
            (
                f"pairs, prompts of {prompt} words, answers of about {answer}",
                "4 pairs",
                mine,
                theirs,
                4 * size,
            )
        )
    data = rows(given.steps, 8, 40, 40)
    mine, size = ours(data, 1, given.steps, "lipo-lambda")
    expanded = pairs(data)
    theirs = trl(expanded, 28, given.steps)
    table.append(
        (
            "lists of 8 (TRL: their 28 pairs), prompts of 40 words, answers of about 40",
            "1 list",
            mine,
            theirs,
            size,
        )
    )
    lines = [
        "# Benchmarks: training on preferences",
        "",
        str(__doc__).strip(),
        "",
        "| what | a step | policyrank | TRL | tokens/s policyrank | tokens/s TRL | times faster |",
        "| :-- | :-- | --: | --: | --: | --: | --: |",
    ]
    lines += [
        f"| {what} | {step} | {a:.2f} s | {b:.2f} s | {n / a:,.0f} | {n / b:,.0f} | {b / a:.2f} |"
        for what, step, a, b, n in table
    ]
    versions = ", ".join(
        f"{p} {importlib.metadata.version(p)}"
        for p in ("policyrank", "torch", "transformers", "trl")
    )
    lines += [
        "",
        (
            f"{platform.machine()}, {torch.get_num_threads()} threads, Python"
            f" {platform.python_version()}; {versions}."
        ),
        "",
    ]
    print(text := "\n".join(lines))
    if given.out:
        given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
