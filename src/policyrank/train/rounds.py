"""Rounds of groups: in which order prompts come, and what a round holds until it is learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policyrank.evidence.conversations import as_messages
from policyrank.files import written
from policyrank.learn import Rollouts
from policyrank.models.sampling import Sampled, Trajectory
from policyrank.train.answers import AnswerCollator, EncodedAnswers
from policyrank.train.group_data import PromptRow

Batch = dict[str, Tensor]


class RoundOrder(torch.utils.data.Sampler[int]):
    """Prompts in a new order each epoch, those of each round as often as it is passed over.

    The last round of an epoch is filled up with the epoch's first prompts.

    Parameters
    ----------
    prompts
        how many there are
    block
        prompts of a round, of all processes
    step
        gives the optimizer steps that are done, by which the epoch is known
    steps
        optimizer steps of a round, all passes together
    """

    def __init__(
        self,
        prompts: int,
        block: int,
        passes: int,
        *,
        steps: int,
        seed: int,
        step: Callable[[], int],
    ) -> None:
        self.prompts, self.block, self.passes, self.seed = prompts, block, passes, seed
        self.rounds = -(-prompts // block)
        self._steps, self._step = steps, step

    @property
    def filled(self) -> int:
        """Prompts that come a second time in an epoch."""
        return self.rounds * self.block - self.prompts

    def __len__(self) -> int:
        return self.rounds * self.block * self.passes

    def __iter__(self) -> Iterator[int]:
        epoch = self._step() // (self.rounds * self._steps)
        order = np.random.default_rng([self.seed, epoch]).permutation(self.prompts)
        order = np.resize(order, self.rounds * self.block)  # goes round
        for first in range(0, len(order), self.block):
            for _ in range(self.passes):
                yield from order[first : first + self.block].tolist()


def round_seed(seed: int, number: int, process: int) -> int:
    """A seed of one round of one process."""
    return int(np.random.default_rng([seed, number, process]).integers(2**31))


def as_rollouts(
    rows: Sequence[PromptRow], made: Sequence[Sequence[Sampled]], *, pad: int, progress: float
) -> Rollouts:
    """Groups of samples, one of each row, in their order.

    Outputs are texts where prompts are, and else messages, as TRL has them. Of trajectories of
    turns only what the policy wrote is learned from, and each turn is a segment.
    """
    flat = [(row, own) for row, group in zip(rows, made, strict=True) for own in group]
    width = max(max((len(own.ids) for _, own in flat), default=1), 1)
    ids = torch.full((len(flat), width), pad)
    where = torch.zeros(ids.shape, dtype=torch.bool)
    known = torch.zeros(ids.shape)
    segments = torch.zeros(ids.shape, dtype=torch.long)
    prompts, completions = [], []
    for k, (row, own) in enumerate(flat):
        n = len(own.ids)
        ids[k, :n] = torch.tensor(own.ids, dtype=torch.long)
        where[k, :n] = True
        if isinstance(own, Trajectory):
            where[k, :n] = torch.tensor(own.where, dtype=torch.bool)
            segments[k, :n] = torch.tensor(own.segments, dtype=torch.long)
        if own.log_probs is not None:
            known[k, :n] = torch.tensor(own.log_probs)
        prompts.append(row.prompt if isinstance(row.prompt, str) else as_messages(row.prompt))
        text: Any = own.text
        if not isinstance(row.prompt, str):
            text = [{"role": "assistant", "content": own.text}]
            if isinstance(own, Trajectory):
                text = list(own.messages)
        completions.append(text)
    sizes = torch.tensor([len(group) for group in made])
    columns = {name: [row.columns[name] for row, _ in flat] for name in _names(rows)}
    turns = [own for _, own in flat if isinstance(own, Trajectory)]
    in_turns = bool(turns) and len(turns) == len(flat)
    if in_turns:
        for name in turns[0].columns:
            columns[name] = [own.columns[name] for own in turns]
    return Rollouts(
        ids,
        where,
        torch.arange(len(rows)).repeat_interleave(sizes),
        log_probs=None if any(own.log_probs is None for _, own in flat) else known,
        segments=segments if in_turns else None,
        ended=torch.tensor([own.ended for _, own in flat]),
        prompts=prompts,
        completions=completions,
        columns=columns,
        progress=progress,
    )


def _names(rows: Sequence[PromptRow]) -> list[str]:
    return list(rows[0].columns) if rows else []


def learning_batch(
    collate: AnswerCollator,
    rows: Sequence[PromptRow],
    rollouts: Rollouts,
    learned: dict[str, Tensor],
) -> Batch:
    """Tensors of some groups, as they are learned from.

    What the collator gives, and by output and token (outputs, tokens): what is in ``learned`` and
    ``learns`` (what the policy wrote itself). ``column`` tells which token each flat one is. Where
    groups have other sizes, smaller ones end with outputs that are not there, of which nothing is
    learned.

    Parameters
    ----------
    rows
        prompts of the groups in ``rollouts``, which follow one another
    learned
        name -> (outputs, tokens)
    """
    sizes = rollouts.groups.unique_consecutive(return_counts=True)[1]
    lists, most, first = [], int(sizes.max()), 0
    places = torch.arange(1, rollouts.ids.shape[1] + 1)
    lengths = (rollouts.where.long() * places).amax(dim=-1)
    for row, size in zip(rows, sizes.tolist(), strict=True):
        completions, steps = [], []
        for output in range(first, first + size):
            length = int(lengths[output])
            completions.append(rollouts.ids[output, :length].tolist())
            steps.append(rollouts.where[output, :length].long().tolist())
        lists.append(EncodedAnswers(row.ids, completions, steps, [0.0] * size))
        first += size
    batch = collate(lists)
    heads = torch.tensor([len(row.ids) for row in rows])
    position = batch["position_ids"][batch["row"], batch["at"]]
    batch["column"] = position - heads[batch["answer"] // most]
    width = max(int(lengths.max()), 1)
    there = (torch.arange(most) < sizes[:, None]).reshape(-1)
    for name, own in {"learns": rollouts.where, **learned}.items():
        batch[name] = own.new_zeros(len(there), width)
        batch[name][there] = own[:, :width]
    return batch


def by_output(flat: Tensor, batch: Batch) -> Tensor:
    """Flat values of tokens where they stand: (outputs, tokens), 0 elsewhere."""
    shape = batch["learns"].shape
    return flat.new_zeros(shape).index_put((batch["answer"], batch["column"]), flat)


@dataclass
class Round:
    """What is learned from until the next round.

    Attributes
    ----------
    batches
        in their order, each with its ``number``; of groups that say something, if any
    pulled
        how many batches of prompts were taken from the loader since the round began
    """

    batches: list[Batch]
    pulled: int = 0

    def save(self, path: Path) -> None:
        """Write it, so that training goes on inside the round."""
        from safetensors.torch import save_file

        tensors = {}
        for k, batch in enumerate(self.batches):
            for name, own in batch.items():
                tensors[f"{k}.{name}"] = own.contiguous().clone()
        with written(path) as part:
            save_file(tensors, part)

    @classmethod
    def load(cls, path: Path, pulled: int) -> Round:
        """What was saved."""
        from safetensors.torch import load_file

        batches: dict[int, Batch] = {}
        for name, own in load_file(path).items():
            number, _, rest = name.partition(".")
            batches.setdefault(int(number), {})[rest] = own
        return cls([batches[k] for k in sorted(batches)], pulled)
