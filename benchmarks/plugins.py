"""What ``RolloutGRPOTrainer`` costs over TRL's GRPOTrainer: ``make bench`` writes
docs/benchmarks-plugins.md.

SmolLM2-135M with 4 of its layers: 2 prompts of about 60 tokens, 8 completions of 32 tokens each,
sampled, rewarded and learned from. CPU seconds of an optimizer step, alternating; the ratio is the
median of each round's. ``same`` changes nothing; ``segments`` has a reward of groups, 4 segments
with their own advantages, and ratios of segments.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from transformers.utils import logging
from trl import GRPOConfig, GRPOTrainer

from policyrank.learn import PolicyObjective, Rollouts
from policyrank.models.language import load_causal_lm
from policyrank.train.trl import RolloutGRPOTrainer

TOKENS = 32
PROMPTS = ["The river and the stone were " * 10, "A judge reads what the model writes " * 9]


class Clock(TrainerCallback):
    """CPU seconds of each optimizer step, sampling included."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.start = time.process_time()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.seconds.append(time.process_time() - self.start)


def vowels(completions: list[str], **_: Any) -> list[float]:
    return [sum(letter in "aeiou" for letter in text) / 100 for text in completions]


def quarters(rollouts: Rollouts) -> torch.Tensor:
    index = 1 + torch.arange(rollouts.ids.shape[1]) * 4 // TOKENS
    return index.expand_as(rollouts.ids).masked_fill(~rollouts.where, 0)


def of_quarters(group: Rollouts) -> torch.Tensor:
    even = (group.ids % 2 == 0).float()
    assert group.segments is not None
    return torch.stack([(even * (group.segments == k)).sum(dim=1) for k in range(1, 5)], dim=1)


WAYS: dict[str, dict[str, Any]] = {
    "TRL": {"cls": GRPOTrainer, "reward_funcs": vowels},
    "same": {"cls": RolloutGRPOTrainer, "reward_funcs": vowels},
    "segments": {
        "cls": RolloutGRPOTrainer,
        "group_rewards": of_quarters,
        "segments": quarters,
        "objective": PolicyObjective(ratio="segment"),
    },
}


def step(model: Any, tokenizer: Any, cls: Any, steps: int, **options: Any) -> float:
    """CPU seconds of a step, the mean of ``steps`` after one that is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        args = GRPOConfig(
            folder,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=4,
            num_generations=8,
            max_completion_length=TOKENS,
            generation_kwargs={"min_new_tokens": TOKENS},
            max_steps=steps + 1,
            learning_rate=0.0,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        clock = Clock()
        trainer = cls(
            model=model,
            args=args,
            train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
            processing_class=tokenizer,
            callbacks=[clock],
            **options,
        )
        trainer.train()
    return statistics.mean(clock.seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--layers", type=int, default=4)
    options = parser.parse_args()
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    model, tokenizer = load_causal_lm("smollm2", device="cpu", trainable=True)
    model.model.layers = model.model.layers[: options.layers]
    model.config.num_hidden_layers = options.layers
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(options.rounds):
        for name, way in WAYS.items():
            found[name].append(step(model, tokenizer, steps=options.steps, **way))
    lines = [
        "# Benchmarks: plug-ins",
        "",
        (__doc__ or "").strip(),
        "",
        "| what | CPU seconds a step | over TRL |",
        "| :-- | --: | --: |",
    ]
    for name, seconds in found.items():
        ratio = statistics.median(
            own / plain for own, plain in zip(seconds, found["TRL"], strict=True)
        )
        lines.append(f"| {name} | {statistics.median(seconds):.2f} | {ratio - 1:+.1%} |")
    versions = ", ".join(f"{n} {importlib.metadata.version(n)}" for n in ("torch", "trl"))
    lines += ["", f"{platform.machine()}, 1 thread, {versions}.", ""]
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
