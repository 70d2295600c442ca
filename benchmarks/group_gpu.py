"""Learning from groups on a GPU, beside TRL's GRPOTrainer and plain rows, in one run.

Models of SmolLM2's shapes with random weights, so that nothing is downloaded; LoRA of rank 8;
seconds and peak memory of the device. Also whether float32 gradients are the CPU's. ``python
benchmarks/group_gpu.py --out docs/benchmarks-group-gpu.md`` on a machine with a GPU.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

from policyrank.models import group_sampling
from policyrank.models.group_sampling import Decoding, ModelSampler
from policyrank.models.sampling import Sampled
from policyrank.train import GroupConfig, GroupTrainer
from policyrank.train.group_data import PromptData, PromptRow

SAMPLES, RANK, VOCABULARY = 8, 8, 49_152
SHAPES: dict[str, dict[str, int]] = {
    "135M": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30},
    "1.7B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24},
}
HEADS = {"135M": (9, 3), "1.7B": (32, 32)}


@dataclass(frozen=True)
class Case:
    """A model, and one group: prompt and output in tokens."""

    size: str
    prompt: int
    tokens: int


CASES = (Case("135M", 1024, 64), Case("135M", 1024, 256), Case("1.7B", 2048, 256))


def tokenizer_of() -> Any:
    vocabulary = {f"t{k}": k for k in range(VOCABULARY)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="t0"))
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="t1", pad_token="t2")


def model_of(size: str, dtype: torch.dtype, layers: int | None = None) -> Any:
    """A model of this shape, the same random weights each time."""
    torch.manual_seed(0)
    heads, shared = HEADS[size]
    shape = SHAPES[size] | ({} if layers is None else {"num_hidden_layers": layers})
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        num_attention_heads=heads,
        num_key_value_heads=shared,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        eos_token_id=1,
        pad_token_id=2,
        **shape,
    )
    return LlamaForCausalLM(config).to(dtype)


def drawn(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    """The prompt, and a group of outputs."""
    rng = torch.Generator().manual_seed(1)
    head = torch.randint(3, VOCABULARY, (case.prompt,), generator=rng)
    return head, torch.randint(3, VOCABULARY, (SAMPLES, case.tokens), generator=rng)


class Given:
    """A sampler of the same drawn tokens for every way."""

    def __init__(self, ids: torch.Tensor) -> None:
        self.ids = ids

    def __call__(
        self, heads: Sequence[Sequence[int]], samples: int, /, *, seed: int
    ) -> list[list[Sampled]]:
        group = [Sampled("", tuple(own), False) for own in self.ids[:samples].tolist()]
        return [group for _ in heads]


def lora() -> Any:
    from peft import LoraConfig

    return LoraConfig(r=RANK, target_modules="all-linear", task_type="CAUSAL_LM")


def trainer_of(case: Case, folder: str, layout: str, model: Any, **options: Any) -> Any:
    """A GroupTrainer of one prompt, whose outputs are rewarded by their place."""
    head, ids = drawn(case)
    sampler = options.pop("sampler", Given(ids))
    peft = options.pop("peft_config", lora())
    args = GroupConfig(
        folder,
        samples=SAMPLES,
        tokens=case.tokens,
        max_length=case.prompt + case.tokens,
        layout=layout,  # type: ignore[arg-type]
        per_device_train_batch_size=1,
        report_to=[],
        disable_tqdm=True,
        weights="as given",
        **{"save_strategy": "no"} | options,
    )
    rows = PromptData([PromptRow(k, "", head.tolist(), {}) for k in range(4)])
    return GroupTrainer(
        model,
        args,
        lambda group: [float(own) for own in group.ids[:, 0] % 7],
        rows,
        processing_class=tokenizer_of(),
        sampler=sampler,
        peft_config=peft,
    )


def ours(case: Case, folder: str, layout: str) -> Callable[[], None]:
    """Loss and gradient of a group by GroupTrainer."""
    trainer = trainer_of(case, folder, layout, model_of(case.size, torch.bfloat16), bf16=True)
    device = trainer.accelerator.device
    trainer.model.to(device)
    trainer.state.max_steps = 1
    batches, _ = trainer.get_batch_samples(
        iter([{"numbers": torch.tensor([0])}]), 1, torch.device(device)
    )
    batch = trainer._prepare_inputs(batches[0])
    trainer.model.train()

    def step() -> None:
        trainer.model.zero_grad()
        trainer.compute_loss(trainer.model, dict(batch)).backward()

    return step


def theirs(case: Case, folder: str) -> Callable[[], None]:
    """Loss and gradient of the same group by TRL's GRPOTrainer."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    args = GRPOConfig(
        folder,
        num_generations=SAMPLES,
        per_device_train_batch_size=SAMPLES,
        max_completion_length=case.tokens,
        epsilon_high=0.28,
        bf16=True,
        gradient_checkpointing=False,
        report_to=[],
    )
    trainer = GRPOTrainer(
        model_of(case.size, torch.bfloat16),
        reward_funcs=[lambda completions, **_: [0.0] * len(completions)],
        args=args,
        train_dataset=Dataset.from_list([{"prompt": "t5"}]),
        processing_class=tokenizer_of(),
        peft_config=lora(),
    )
    head, ids = drawn(case)
    rewards = torch.arange(float(SAMPLES))
    inputs = {
        "prompt_ids": head.expand(SAMPLES, -1),
        "prompt_mask": torch.ones(SAMPLES, case.prompt, dtype=torch.long),
        "completion_ids": ids,
        "completion_mask": torch.ones_like(ids),
        "advantages": (rewards - rewards.mean()) / (rewards.std() + 1e-4),
        "num_items_in_batch": torch.tensor(ids.numel()),
    }
    inputs = {name: own.to("cuda") for name, own in inputs.items()}
    trainer.model.to("cuda").train()
    trainer.current_gradient_accumulation_steps = 1

    def step() -> None:
        trainer.model.zero_grad()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = trainer._compute_loss(trainer.model, inputs)
        loss.backward()

    return step


def measured(make: Callable[[], Callable[[], Any]], times: int) -> tuple[float, float]:
    """The least seconds of several calls after two, and the most memory in GiB."""
    gc.collect()
    torch.cuda.empty_cache()
    call = make()
    call()
    torch.cuda.reset_peak_memory_stats()
    found = []
    for _ in range(times + 1):
        torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - began)
    return min(found[1:]), torch.cuda.max_memory_allocated() / 2**30


def sampler_of(case: Case, together: bool) -> Callable[[], Any]:
    model = model_of(case.size, torch.bfloat16).to("cuda").eval()
    least = MinNewTokensLengthLogitsProcessor(case.prompt, case.tokens, [1, 2], device="cuda")
    how = Decoding(case.tokens, processors=LogitsProcessorList([least]))
    apart = group_sampling.keeps_apart
    head = drawn(case)[0].tolist()

    def call() -> None:
        group_sampling.keeps_apart = lambda _: together
        try:
            ModelSampler(model, tokenizer_of(), how)([head], SAMPLES, seed=0)
        finally:
            group_sampling.keeps_apart = apart

    return call


def cpu_gradient_gap() -> float:
    """Largest difference of float32 gradients on both devices, over the largest gradient."""
    case, found = Case("135M", 200, 24), []
    for device in ("cpu", "cuda"):
        torch.backends.cuda.matmul.allow_tf32 = False
        with tempfile.TemporaryDirectory() as folder:
            trainer = trainer_of(
                case,
                folder,
                "shared",
                model_of("135M", torch.float32, layers=4),
                use_cpu=device == "cpu",
                bf16=False,
                max_steps=1,
                learning_rate=1.0,
                optim="sgd",
                lr_scheduler_type="constant",
                max_grad_norm=0.0,
                peft_config=None,
            )
            before = {n: p.detach().cpu().clone() for n, p in trainer.model.named_parameters()}
            trainer.train()
            after = {n: p.detach().cpu() for n, p in trainer.model.named_parameters()}
        found.append({name: before[name] - after[name] for name in before})
    size = max(float(own.abs().max()) for own in found[0].values())
    return max(float((found[0][k] - found[1][k]).abs().max()) for k in found[0]) / size


def resumed() -> str:
    """Whether training that goes on inside a round ends with the weights of training that does."""
    case, ends = Case("135M", 64, 16), []
    with tempfile.TemporaryDirectory() as folder:
        for stops in (False, True):
            out = str(Path(folder, str(stops)))
            options: dict[str, Any] = {
                "bf16": torch.cuda.is_available(),
                "max_steps": 6,
                "passes": 3,
                "save_strategy": "steps",
                "save_steps": 2,
                "reward_kl": 0.05,
                "sampler": None,
                "learning_rate": 1e-3,
            }
            first = trainer_of(case, out, "shared", model_of("135M", torch.float32, 4), **options)
            if stops:
                first.args.max_steps = 6
                first.add_callback(_Stop())
            first.train()
            if stops:
                again = model_of("135M", torch.float32, 4)
                first = trainer_of(case, out, "shared", again, **options)
                first.train(resume_from_checkpoint=True)
            ends.append({n: p.detach().cpu() for n, p in first.model.named_parameters()})
    gap = max(float((ends[0][k] - ends[1][k]).abs().max()) for k in ends[0])
    return "to the same weights" if gap == 0 else f"within {gap:.1e}"


def _Stop() -> Any:
    from transformers import TrainerCallback

    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            control.should_training_stop = state.global_step >= 4
            return control

    return Stop()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--times", type=int, default=5)
    own = parser.parse_args()
    logging.set_verbosity_error()
    names = ("torch", "transformers", "trl", "peft")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    lines = [
        "# Learning from groups on a GPU",
        "",
        f"{torch.cuda.get_device_name()}; {versions}. One group of {SAMPLES} outputs; models of"
        f" SmolLM2's shapes with random weights in bfloat16, LoRA of rank {RANK} on all linear"
        f" layers; the least of {own.times} (`python benchmarks/group_gpu.py`).",
        "",
        f"Gradients in float32 are the CPU's to {cpu_gradient_gap():.1e} of the largest. Training"
        f" that is stopped inside a round goes on {resumed()}.",
        "",
        "| model | prompt + output | loss and gradient of a group | seconds | times ours | GiB |",
        "| :-- | --: | :-- | --: | --: | --: |",
    ]
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            ways: dict[str, Callable[[], Callable[[], Any]]] = {
                "GroupTrainer": lambda case=case: ours(case, folder, "shared"),
                "GroupTrainer, rows": lambda case=case: ours(case, folder, "rows"),
                "TRL": lambda case=case: theirs(case, folder),
            }
            lines += rows_of(case, ways, own.times)
    lines += [
        "",
        "| model | prompt + output | sampling of a group | seconds | times ours | GiB |",
        "| :-- | --: | :-- | --: | --: | --: |",
    ]
    for case in CASES:
        ways = {
            "one row": lambda case=case: sampler_of(case, True),
            "generate on the repeated prompt": lambda case=case: sampler_of(case, False),
        }
        lines += rows_of(case, ways, 2)
    text = "\n".join(lines) + "\n"
    if own.out:
        own.out.write_text(text)


def rows_of(case: Case, ways: dict[str, Callable[[], Callable[[], Any]]], times: int) -> list[str]:
    """A line of the table for each way; what fails is told."""
    found, first = [], None
    for name, make in ways.items():
        try:
            took, memory = measured(make, times)
        except Exception as error:  # one way may not run here, the others are still told
            why = f"{type(error).__name__}: {error}".splitlines()[0][:120]
            found.append(f"| {case.size} | {case.prompt:,} + {case.tokens} | {name} | {why} | | |")
            print(found[-1], flush=True)
            continue
        first = first or took
        times_ours = took / first
        found.append(
            f"| {case.size} | {case.prompt:,} + {case.tokens} | {name} | {took:.3f} |"
            f" {times_ours:.2f} | {memory:.1f} |"
        )
        print(found[-1], flush=True)
    return found


if __name__ == "__main__":
    main()
