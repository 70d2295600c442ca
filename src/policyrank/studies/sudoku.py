"""Sudoku of 4 x 4 cells for a small masked diffusion model, which is no study itself."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policyrank.models import Denoising, MaskedDiffusionSampler

CLUES, CELLS = 4, 12
WORDS = ("[pad]", "[unknown]", "[mask]", "1", "2", "3", "4")
SPECIAL = {"pad_token": "[pad]", "unk_token": "[unknown]", "mask_token": "[mask]"}


@cache
def grids() -> NDArray[np.int64]:
    """All 288 grids, digits from 1: (grids, cells).

    Examples
    --------
    >>> grids().shape
    (288, 16)
    """
    found: list[list[int]] = [[]]
    for _ in range(4):
        longer = [[*own, *row] for own in found for row in permutations((1, 2, 3, 4))]
        found = [own for own in longer if _open(own)]
    return np.array(found)


def _open(cells: Sequence[int]) -> bool:
    """Whether the first rows have no digit twice in a column or a quarter."""
    seen = set()
    for place, digit in enumerate(cells):
        row, column = divmod(place, 4)
        seen |= {("column", column, digit), ("quarter", row // 2, column // 2, digit)}
    return len(seen) == 2 * len(cells)


def solved(cells: Sequence[int]) -> bool:
    """Whether each row, column and quarter holds four digits."""
    table = np.reshape(cells, (4, 4))
    quarters = table.reshape(2, 2, 2, 2).swapaxes(1, 2).reshape(4, 4)
    parts = [*table, *table.T, *quarters]
    return all(len(set(part.tolist())) == 4 for part in parts)


def puzzles(rng: np.random.Generator, count: int) -> Iterator[tuple[str, str]]:
    """The first row of a grid and the three below, as digits: one of twelve that go with it."""
    for grid in grids()[rng.integers(len(grids()), size=count)]:
        digits = "".join(map(str, grid.tolist()))
        yield digits[:CLUES], digits[CLUES:]


def right(clues: str, answer: str) -> bool:
    """Whether an answer makes a grid with the row that was given.

    Examples
    --------
    >>> right("1234", "341221434321"), right("1234", "341221434312")
    (True, False)
    """
    if len(answer) != CELLS or not set(answer) <= set("1234"):
        return False
    return solved([int(digit) for digit in clues + answer])


def solves(prompts: Sequence[str], completions: Sequence[str], **_: Any) -> list[float]:
    """A reward: 1 for a right answer, 0 for another."""
    return [float(right(*own)) for own in zip(prompts, completions, strict=True)]


@dataclass(frozen=True, eq=False)
class Solver:
    """A masked language model of grids, and its tokenizer."""

    model: Any
    tokenizer: Any

    def answers(self, how: Denoising, count: int, seed: int) -> tuple[float, float]:
        """The share that is right of answers to any rows, and of their grids that are different."""
        sampler = MaskedDiffusionSampler(self.model, self.tokenizer, how, rows=256)
        rows = [clues for clues, _ in puzzles(np.random.default_rng([seed, 3]), count)]
        made = sampler([self.tokenizer(clues)["input_ids"] for clues in rows], 1, seed=seed)
        said = [own.text for (own,) in made]
        good = [clues + own for clues, own in zip(rows, said, strict=True) if right(clues, own)]
        return len(good) / count, len(set(good)) / len(grids())


def _ids(texts: Sequence[str]) -> Tensor:
    return torch.tensor([[WORDS.index(own) for own in text] for text in texts])


def untrained(seed: int, width: int = 48) -> Solver:
    """A BERT of two layers, drawn anew."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    number = {word: place for place, word in enumerate(WORDS)}
    core = Tokenizer(models.WordLevel(number, unk_token="[unknown]"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    core.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, **SPECIAL)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CLUES + CELLS,
        pad_token_id=0,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    torch.manual_seed(seed)
    return Solver(BertForMaskedLM(config), tokenizer)


def pretrained(seed: int, steps: int, batch: int = 64) -> Solver:
    """A solver that has learned to fill in any cells of grids, by any others."""
    solver = untrained(seed)
    rng = np.random.default_rng([seed, 1])
    optimizer = torch.optim.AdamW(solver.model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=max(steps, 2))
    solver.model.train()
    for _ in range(steps):
        drawn = list(puzzles(rng, batch))
        ids = _ids([clues + grid for clues, grid in drawn])
        masked = torch.zeros(ids.shape, dtype=torch.bool)
        chance = torch.from_numpy(rng.random((batch, CELLS)))
        # A share of masks between none and all; the loss is a mean over those of each grid.
        masked[:, CLUES:] = chance <= torch.from_numpy(rng.random((batch, 1)))
        masked[:, CLUES] |= ~masked.any(dim=1)
        logits = solver.model(input_ids=ids.masked_fill(masked, WORDS.index("[mask]"))).logits
        each = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), ids.flatten(), reduction="none"
        ).reshape(ids.shape)
        loss = ((each * masked).sum(dim=1) / masked.sum(dim=1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    solver.model.eval()
    return solver


def reinforced(
    solver: Solver, order: Any, rate: float, updates: int, seed: int, *, steps: int, samples: int
) -> Solver:
    """A copy that has learned from groups of its own answers to new puzzles."""
    from policyrank.train import MaskedDiffusionConfig, MaskedDiffusionTrainer

    prompts, batch = [], 8
    for clues, _ in puzzles(np.random.default_rng([seed, 2]), batch * updates):
        prompts.append({"prompt": clues})
    model = copy.deepcopy(solver.model)
    with TemporaryDirectory() as folder:
        args = MaskedDiffusionConfig(
            folder,
            samples=samples,
            tokens=CELLS,
            denoising_steps=steps,
            order=order,
            max_length=CLUES + CELLS,
            per_device_train_batch_size=batch,
            max_steps=updates,
            learning_rate=rate,
            lr_scheduler_type="constant",
            sampled_rows=batch * samples,
            seed=seed,
            shown=0,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = MaskedDiffusionTrainer(
            model, args, solves, prompts, processing_class=solver.tokenizer
        )
        trainer.train()
    return Solver(model.eval(), solver.tokenizer)
