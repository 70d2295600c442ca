"""What a study of replay trains, which is none itself: a small transformer that adds numbers."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from policyrank.train.replay_config import Replay

DIGITS = "0123456789"
END, PAD = "$", "_"
SYMBOLS = (*DIGITS, "+", "=", ";", END, PAD)
PLACE = {symbol: k for k, symbol in enumerate(SYMBOLS)}
CAP = 5
"""Symbols of an answer, its end among them."""
SUMS, HEAD = 810, len("47+8=")
TAUGHT, JUDGED = 48, 200
"""Sums that are learned from in groups, and on which is judged."""
GROUPS, GROUP, RATE = 16, 8, 1e-3


@dataclass(frozen=True, eq=False)
class Adder:
    """A model that adds now and then.

    Attributes
    ----------
    model, tokenizer
        a causal language model of ``SYMBOLS``
    taught, judged
        prompts ``47+85=`` with their sums, of which those judged are in no training
    """

    model: Any
    tokenizer: Any
    taught: list[tuple[str, str]]
    judged: list[tuple[str, str]]

    def success(self, model: Any = None) -> float:
        """The share of judged sums that the likeliest symbols give."""
        model = self.model if model is None else model
        ids = torch.tensor([_ids(prompt) for prompt, _ in self.judged])
        model.eval()
        with torch.no_grad():
            for _ in range(CAP):
                ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(dim=-1)], dim=1)
        said = ["".join(SYMBOLS[k] for k in row) for row in ids[:, HEAD:].tolist()]
        found = [_right(text, total) for text, (_, total) in zip(said, self.judged, strict=True)]
        return float(np.mean(found))


def _ids(text: str) -> list[int]:
    return [PLACE[symbol] for symbol in text]


def _right(text: str, total: str) -> bool:
    """Whether an answer is the sum, zeros before it or none, and ended within the cap."""
    said, ended, _ = text[:CAP].partition(END)
    return bool(ended) and said.isdigit() and said.lstrip("0") == total


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel(dict(PLACE), unk_token=PAD))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=END, pad_token=PAD)


def sums(rng: np.random.Generator, number: int) -> list[tuple[str, str]]:
    """Different sums of a number of two digits and one of one digit."""
    pairs = rng.permutation(SUMS)[:number]
    found = []
    for a, b in zip(pairs // 9 + 10, pairs % 9 + 1, strict=True):
        found.append((f"{a}+{b}=", str(a + b)))
    return found


def adder(seed: int, steps: int) -> Adder:
    """A model that was shown sums for so many steps.

    Some answers have zeros before them, too many for the cap at times; some follow a wrong answer.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    rng = np.random.default_rng([seed, 0])
    every = sums(rng, SUMS)
    taught, judged, shown = every[:TAUGHT], every[TAUGHT:][:JUDGED], every[TAUGHT + JUDGED :]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(SYMBOLS), hidden_size=48, intermediate_size=96,
                num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
                max_position_embeddings=64, pad_token_id=PLACE[PAD], eos_token_id=PLACE[END],
                bos_token_id=None, attn_implementation="eager",  # type: ignore[call-arg]
            )
        )  # fmt: skip
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 4e-3 * (1 - step / steps)
        ids, target = _batch(shown, rng)
        logits = model(ids[:, :-1]).logits
        loss = cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=-100)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return Adder(model, _tokenizer(), taught, judged)


def _batch(
    shown: list[tuple[str, str]], rng: np.random.Generator, size: int = 64
) -> tuple[Tensor, Tensor]:
    """Sums as ids, and what is to be predicted: the answers alone."""
    texts, heads = [], []
    for k in rng.integers(len(shown), size=size):
        prompt, total = shown[k]
        head = prompt
        if rng.random() < 0.2:
            wrong = max(int(total) + int(rng.choice([-10, -1, 1, 10, 9, -9])), 1)
            head = f"{prompt}{wrong};{prompt}"
        zeros = "0" * int(rng.choice(4, p=[0.5, 0.2, 0.15, 0.15]))
        texts.append(f"{head}{zeros}{total}{END}")
        heads.append(len(head))
    width = max(map(len, texts))
    ids = torch.tensor([_ids(text.ljust(width, PAD)) for text in texts])
    place = torch.arange(width)
    first, last = torch.tensor(heads)[:, None], torch.tensor([len(text) for text in texts])[:, None]
    return ids, ids.masked_fill((place < first) | (place >= last), -100)


def trained_on_sums(
    start: Adder,
    recipe: Replay | None,
    answers: int,
    seed: int,
    watch: Callable[[int], object] | None = None,
) -> tuple[float, float]:
    """Success of a copy once it sampled so many answers; the share of silent groups on the way.

    ``watch`` is told after each round how many there were.
    """
    from transformers import TrainerCallback

    from policyrank.train import GroupConfig, GroupTrainer

    class Budget(TrainerCallback):
        """Ends training where the answers are sampled."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            groups = GROUPS * state.global_step
            if trainer.replaying is not None:
                groups += trainer.replaying.counts.reflections
            control.should_training_stop |= groups * GROUP >= answers
            if watch is not None:
                watch(groups * GROUP)

    def right(completions: Any, total: Any, ended: Any, **_: Any) -> list[float]:
        told = zip(completions, total, ended, strict=True)
        return [float(end and text.lstrip("0") == own) for text, own, end in told]

    rows = [{"prompt": prompt, "total": total} for prompt, total in start.taught]
    with tempfile.TemporaryDirectory() as folder:
        args = GroupConfig(
            folder, samples=GROUP, tokens=CAP, max_length=24, learning_rate=RATE, seed=seed,
            per_device_train_batch_size=GROUPS, max_steps=answers // (GROUPS * GROUP) + 1,
            lr_scheduler_type="constant", objective="grpo", objective_options={"beta": 0.0},
            save_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True, logging_steps=1,
            sampled_rows=512,
        )  # fmt: skip
        trainer = GroupTrainer(
            copy.deepcopy(start.model), args, right, rows, processing_class=start.tokenizer,
            replay=recipe, callbacks=[Budget()],
        )  # fmt: skip
        trainer.train()
    silent = [log["silent"] for log in trainer.state.log_history if "silent" in log]
    return start.success(trainer.model), float(np.mean(silent))
