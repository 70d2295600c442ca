"""Learning from groups beside TRL's GRPOTrainer and plain rows, in one run: ``make bench`` writes
docs/benchmarks-group.md.

SmolLM2-135M cut to its first layers, LoRA of rank 8, float32, one thread; CPU seconds, so that
other work on the machine does not count. A training step is loss and gradient of one group, the
same samples for each way.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LogitsProcessorList, MinNewTokensLengthLogitsProcessor
from transformers.utils import logging

from policyrank.models import group_sampling
from policyrank.models.group_sampling import Decoding, ModelSampler
from policyrank.models.language import load_causal_lm
from policyrank.models.sampling import Sampled
from policyrank.models.tokens import padding, stop_ids
from policyrank.train import GroupConfig, GroupTrainer
from policyrank.train.group_data import PromptData, PromptRow

SAMPLES, RANK = 8, 8


def small(layers: int) -> tuple[Any, Any]:
    """SmolLM2, its first layers only."""
    model, tokenizer = load_causal_lm("smollm2", device="cpu", trainable=True)
    model.model.layers = model.model.layers[:layers]
    model.config.num_hidden_layers = layers
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer


def seconds(call: Callable[[], Any], times: int) -> float:
    """The least CPU seconds of several calls."""
    found = []
    for _ in range(times):
        began = time.process_time()
        call()
        found.append(time.process_time() - began)
    return min(found)


class Given:
    """A sampler of the same drawn tokens for every way."""

    def __init__(self, tokens: int, vocabulary: int) -> None:
        rng = torch.Generator().manual_seed(0)
        self.ids = torch.randint(3, vocabulary, (SAMPLES, tokens), generator=rng)

    def __call__(
        self, heads: Sequence[Sequence[int]], samples: int, /, *, seed: int
    ) -> list[list[Sampled]]:
        group = [Sampled("", tuple(own), False) for own in self.ids[:samples].tolist()]
        return [group for _ in heads]


def lora() -> Any:
    from peft import LoraConfig

    return LoraConfig(r=RANK, target_modules="all-linear", task_type="CAUSAL_LM")


def gains() -> torch.Tensor:
    rewards = torch.arange(float(SAMPLES))
    return (rewards - rewards.mean()) / (rewards.std() + 1e-4)


def ours(layers: int, prompt: int, tokens: int, layout: str, folder: str) -> Callable[[], None]:
    """Loss and gradient of a group by GroupTrainer."""
    model, tokenizer = small(layers)
    args = GroupConfig(
        folder,
        samples=SAMPLES,
        tokens=tokens,
        max_length=prompt + tokens,
        layout=layout,  # type: ignore[arg-type]
        per_device_train_batch_size=1,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
    )
    head = torch.randint(3, 40_000, (prompt,), generator=torch.Generator().manual_seed(1))
    trainer = GroupTrainer(
        model,
        args,
        lambda group: list(range(len(group))),
        PromptData([PromptRow(0, "", head.tolist(), {})]),
        processing_class=tokenizer,
        sampler=Given(tokens, 40_000),
        peft_config=lora(),
    )
    trainer.state.max_steps = 1
    asked = iter([{"numbers": torch.tensor([0])}])
    batches, _ = trainer.get_batch_samples(asked, 1, torch.device("cpu"))
    trainer.model.train()

    def step() -> None:
        trainer.model.zero_grad()
        trainer.compute_loss(trainer.model, batches[0]).backward()

    return step


def theirs(layers: int, prompt: int, tokens: int, folder: str) -> Callable[[], None]:
    """Loss and gradient of the same group by TRL's GRPOTrainer."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    model, tokenizer = small(layers)
    args = GRPOConfig(
        folder,
        num_generations=SAMPLES,
        per_device_train_batch_size=SAMPLES,
        max_completion_length=tokens,
        epsilon_high=0.28,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        use_cpu=True,
    )
    trainer = GRPOTrainer(
        model,
        reward_funcs=[lambda completions, **_: [0.0] * len(completions)],
        args=args,
        train_dataset=Dataset.from_list([{"prompt": "a"}]),
        processing_class=tokenizer,
        peft_config=lora(),
    )
    head = torch.randint(3, 40_000, (prompt,), generator=torch.Generator().manual_seed(1))
    ids = Given(tokens, 40_000).ids
    inputs = {
        "prompt_ids": head.expand(SAMPLES, -1),
        "prompt_mask": torch.ones(SAMPLES, prompt, dtype=torch.long),
        "completion_ids": ids,
        "completion_mask": torch.ones_like(ids),
        "advantages": gains(),
        "num_items_in_batch": torch.tensor(ids.numel()),
    }
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1

    def step() -> None:
        trainer.model.zero_grad()
        trainer._compute_loss(trainer.model, inputs).backward()

    return step


def training(layers: int, prompt: int, tokens: int, times: int) -> dict[str, float]:
    """CPU seconds of a step by each way."""
    from trl.trainer import utils

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, layout in (("GroupTrainer", "shared"), ("GroupTrainer, rows", "rows")):
            step = ours(layers, prompt, tokens, layout, folder)
            step()
            found[name] = seconds(step, times)
        step = theirs(layers, prompt, tokens, folder)
        found["TRL as it is on a CPU"] = seconds(step, 1)
        stock, utils._use_triton = utils._use_triton, lambda *_, **__: True
        try:
            found["TRL, completion tokens through the head"] = seconds(step, times)
        finally:
            utils._use_triton = stock
    return found


def sampling(layers: int, prompt: int, tokens: int, times: int) -> dict[str, float]:
    """CPU seconds of one group of exactly so many tokens, in one row and by ``generate``."""
    model, tokenizer = small(layers)
    model.eval()
    head = torch.randint(3, 40_000, (prompt,), generator=torch.Generator().manual_seed(1)).tolist()
    stop = stop_ids(tokenizer, None) or [padding(tokenizer)]
    least = MinNewTokensLengthLogitsProcessor(prompt, tokens, stop, device="cpu")
    how = Decoding(tokens, processors=LogitsProcessorList([least]))
    found = {}
    apart = group_sampling.keeps_apart
    for name, together in (("one row", True), ("generate on the repeated prompt", False)):
        group_sampling.keeps_apart = lambda _, together=together: together
        sampler = ModelSampler(model, tokenizer, how)
        found[name] = seconds(lambda sampler=sampler: sampler([head], SAMPLES, seed=0), times)
    group_sampling.keeps_apart = apart
    return found


def table(found: dict[str, float], title: str) -> list[str]:
    first = next(iter(found.values()))
    lines = [f"| {title} | CPU seconds | times ours |", "| :-- | --: | --: |"]
    lines += [f"| {name} | {own:.2f} | {own / first:.2f} |" for name, own in found.items()]
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--prompt", type=int, default=1024)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--times", type=int, default=2)
    own = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    size = own.layers, own.prompt, own.tokens, own.times
    step, drawn = training(*size), sampling(*size)
    names = ("torch", "transformers", "trl", "peft")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    lines = [
        "# Learning from groups: how fast",
        "",
        f"One prompt of {own.prompt:,} tokens, {SAMPLES} outputs of {own.tokens}; SmolLM2-135M,"
        f" its first {own.layers} layers, LoRA of rank {RANK} on all linear layers, float32, one"
        f" thread of {platform.machine()}; the least of {own.times} (`python benchmarks/group.py`)."
        f" {versions}.",
        "",
        *table(step, "loss and gradient of a group"),
        "TRL's fused head scores every position, prompts too, where there is no Triton; the last"
        " line has it score completion tokens only, as it does on a GPU.",
        "",
        *table(drawn, "sampling of a group"),
    ]
    text = "\n".join(lines)
    print(text)
    if own.out:
        own.out.write_text(text)


if __name__ == "__main__":
    main()
