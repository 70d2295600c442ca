"""Prompts that groups of outputs are sampled for, with what the data say of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from policyrank.errors import EvidenceError
from policyrank.evidence.answer_prompts import read_prompt
from policyrank.evidence.answers import Prompt, read_rows
from policyrank.fingerprints import hashed
from policyrank.models.fitting import LongPrompts
from policyrank.models.tokens import encode_prompt

TAKEN = ("prompt", "prompts", "completions", "completion_ids", "ended", "progress")
"""Names by which rewards get something else than a column."""


@dataclass(frozen=True)
class PromptRow:
    """A prompt as token ids.

    Attributes
    ----------
    number
        its place among the prompts
    columns
        what the data say of it; None where a row lacks one that others have
    """

    number: int
    prompt: Prompt
    ids: list[int]
    columns: Mapping[str, Any]


@dataclass(eq=False)
class PromptData(torch.utils.data.Dataset[PromptRow]):
    """Prompts with their columns, and what was left out or cut on the way."""

    rows: list[PromptRow]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, k: int) -> PromptRow:
        return self.rows[k]

    def fingerprint(self) -> str:
        """Of all tokens and columns, in their order."""
        return hashed([[row.ids, sorted(row.columns.items())] for row in self.rows])


def encode_prompts(
    source: Any,
    tokenizer: Any,
    *,
    room: int,
    long_prompts: LongPrompts = "leave out",
    chat: bool | None = None,
) -> PromptData:
    """Prompts of a file, a table, ``datasets`` or rows, as token ids.

    Parameters
    ----------
    source
        with a column ``prompt`` (text or messages) and any others, as TRL has it
    room
        tokens of a prompt, at most
    long_prompts
        longer ones are left out, or cut at their beginning; counted either way
    chat
        see ``models.tokens.ask``

    Raises
    ------
    EvidenceError
        Naming the row without a prompt, and when nothing is left.
    """
    found: list[tuple[Prompt, list[int], dict[str, Any]]] = []
    long = 0
    for place, row in read_rows(source):
        prompt = read_prompt(place, row)
        try:
            ids = encode_prompt(tokenizer, prompt, chat=chat)
        except EvidenceError as error:
            raise EvidenceError(f"{place}: {error}") from None
        long += len(ids) > room
        if len(ids) > room and long_prompts == "leave out":
            continue
        found.append((prompt, ids[-room:], dict(row)))
    if not found:
        raise EvidenceError(
            f"no prompt has at most {room} tokens ({long:,} are longer). Raise max_length, or take"
            " long_prompts='cut'."
            if long
            else "no prompts."
        )
    names = tuple(dict.fromkeys(name for _, _, columns in found for name in columns))
    taken = [name for name in names if name in TAKEN]
    names = tuple(name for name in names if name not in TAKEN)
    rows = []
    for number, (prompt, ids, columns) in enumerate(found):
        rows.append(PromptRow(number, prompt, ids, {name: columns.get(name) for name in names}))
    notes = _notes(rows, long, room, long_prompts)
    for name in taken:
        if name != "prompt":
            notes.append(f"column {name}: left out, rewards get the outputs' own by this name")
    return PromptData(rows, tuple(notes))


def _notes(rows: list[PromptRow], long: int, room: int, long_prompts: LongPrompts) -> list[str]:
    notes = []
    if long:
        done = {"leave out": "left out", "cut": "cut at their beginning"}[long_prompts]
        notes.append(f"{done}: {long:,} prompts of more than {room} tokens")
    for name in rows[0].columns:
        missing = sum(row.columns[name] is None for row in rows)
        if missing:
            notes.append(f"{name}: missing in {missing:,} of {len(rows):,} rows (None to rewards)")
    return notes
