"""Ranked answers as tokens: encoded once, laid out so that no token is read twice.

Little padding is read at all. In the layout ``shared`` the answers of a list follow their prompt in
one row: each sees the prompt and itself, not the others (by the attention mask) and has the
positions that it would have alone; several short lists share a row. In ``rows`` each answer has a
row with its own copy of the prompt, for models that take no such mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from policyrank.errors import EvidenceError
from policyrank.evidence import AnswerSets, RankedAnswers, read_answers
from policyrank.models.language import encode_answer, encode_prompt

Layout = Literal["shared", "rows"]
LongPrompts = Literal["leave out", "cut"]
FLAT = ("row", "place", "target", "answer", "step")
"""What the collator says of each completion token."""


@dataclass(frozen=True)
class EncodedAnswers:
    """One list as tokens.

    Attributes
    ----------
    prompt
        token ids
    completions
        token ids of each, end token included
    steps
        of each token, its step (1, 2, ...)
    labels
        of each completion, higher is better
    reference
        log-probability of each completion's steps under the reference, (completions, steps); None
        before it is computed
    """

    prompt: list[int]
    completions: list[list[int]]
    steps: list[list[int]]
    labels: list[float]
    reference: list[list[float]] | None = None

    @property
    def tokens(self) -> int:
        """In the layout that shares the prompt."""
        return len(self.prompt) + sum(map(len, self.completions))

    @property
    def depths(self) -> list[int]:
        """Steps of each completion, at least 1."""
        return [max(own, default=1) for own in self.steps]


@dataclass(eq=False)
class AnswerData(torch.utils.data.Dataset[EncodedAnswers]):
    """Encoded lists, and what was left out or cut on the way."""

    lists: list[EncodedAnswers]
    notes: tuple[str, ...] = ()
    answers: list[RankedAnswers] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.lists)

    def __getitem__(self, k: int) -> EncodedAnswers:
        return self.lists[k]

    def with_reference(self, found: Sequence[list[list[float]]]) -> AnswerData:
        """The same lists with log-probabilities under a reference."""
        pairs = zip(self.lists, found, strict=True)
        return replace(self, lists=[replace(own, reference=known) for own, known in pairs])


def encode_answers(
    source: Any,
    tokenizer: Any,
    *,
    max_length: int = 1024,
    long_prompts: LongPrompts = "leave out",
    chat: bool | None = None,
    end: bool = True,
) -> AnswerData:
    """Tokens of ranked answers.

    Parameters
    ----------
    source
        what ``read_answers`` takes
    max_length
        tokens of prompt and one completion; longer completions are cut at the end, which is counted
    long_prompts
        prompts that leave no room for half of ``max_length``: lists are left out, or prompts cut at
        their beginning; counted either way
    chat, end
        see ``models.language.encode``

    Raises
    ------
    EvidenceError
        When nothing is left, or a row is malformed.
    """
    sets: AnswerSets = read_answers(source)
    half, seen = max_length // 2, _Seen()
    lists: list[EncodedAnswers] = []
    kept: list[RankedAnswers] = []
    for found in sets:
        head = encode_prompt(tokenizer, found.prompt, chat=chat)
        if len(head) > half:
            seen.long += 1
            if long_prompts == "leave out":
                continue
            head = head[-half:]
        lists.append(_encoded(found, head, max_length - len(head), tokenizer, end, seen))
        kept.append(found)
    notes = [*sets.notes, *seen.notes(max_length, long_prompts)]
    if not lists:
        raise EvidenceError(
            f"no list is left: {'; '.join(notes)}. Raise max_length, or take long_prompts='cut'."
        )
    return AnswerData(lists, tuple(notes), kept)


@dataclass
class _Seen:
    """What encoding met: long prompts, and completions that were cut or became the same."""

    long: int = 0
    cut: int = 0
    same: int = 0

    def notes(self, max_length: int, long_prompts: LongPrompts) -> list[str]:
        """What is told of it."""
        done = {"leave out": "left out", "cut": "cut at their beginning"}[long_prompts]
        half = max_length // 2
        told = {
            f"{done}: {self.long:,} prompts of more than {half} tokens (half of max_length)": (
                self.long
            ),
            f"cut: {self.cut:,} completions at {max_length} tokens, prompt included": self.cut,
            f"{self.same:,} completions are the same as another of their list once they are"
            " tokens": self.same,
        }
        return [note for note, count in told.items() if count]


def _encoded(
    found: RankedAnswers, head: list[int], room: int, tokenizer: Any, end: bool, seen: _Seen
) -> EncodedAnswers:
    """A list after its encoded prompt; ``seen`` counts what is cut to the room or the same."""
    completions, steps = [], []
    for answer in found.steps or found.completions:
        ids, own = encode_answer(tokenizer, answer, end=end)
        seen.cut += len(ids) > room
        completions.append(ids[:room])
        steps.append(own[:room])
    seen.same += len(completions) - len(set(map(tuple, completions)))
    return EncodedAnswers(head, completions, steps, list(found.labels))


@dataclass(frozen=True)
class _Part:
    """Tokens that stand together: the prompt of a list (completion 0), or its k-th completion."""

    tokens: list[int]
    which: int
    completion: int
    steps: Sequence[int] = ()


def _size(piece: Sequence[_Part]) -> int:
    return sum(len(part.tokens) for part in piece)


@dataclass(frozen=True)
class AnswerCollator:
    """Lists -> tensors of one step.

    ``input_ids``, ``position_ids`` (rows, tokens); ``owner`` (rows, tokens): the list, -1 for
    padding; ``part``: 0 for the prompt, k for the k-th completion. For every completion token,
    flat: ``row``, ``place`` (of the token that predicts it), ``target``, ``answer`` (list * longest
    list + completion) and ``step``. ``labels``, ``where``, ``lengths`` (lists, longest list);
    ``reference`` (lists, longest list, steps) where there is one.
    """

    pad: int
    layout: Layout = "shared"

    def __call__(self, lists: Sequence[EncodedAnswers]) -> dict[str, Tensor]:
        rows, width = self._rows(self._pieces(lists))
        wide = max(len(own.completions) for own in lists)
        tensors = self._laid_out(rows, width, wide)
        tensors["labels"] = _padded([own.labels for own in lists], wide, torch.float32)
        lengths = [list(map(len, own.completions)) for own in lists]
        tensors["lengths"] = _padded(lengths, wide, torch.int64)
        tensors["where"] = tensors["lengths"] > 0
        known = [own.reference for own in lists if own.reference is not None]
        if len(known) == len(lists):
            tensors["reference"] = _references(known, wide)
        return tensors

    def _pieces(self, lists: Sequence[EncodedAnswers]) -> list[list[_Part]]:
        """What must stand in one row: a prompt and what is read after it."""
        pieces: list[list[_Part]] = []
        for which, own in enumerate(lists):
            head = _Part(own.prompt, which, 0)
            tails = []
            for k, (tokens, steps) in enumerate(zip(own.completions, own.steps, strict=True), 1):
                tails.append(_Part(tokens, which, k, steps))
            if self.layout == "shared":
                pieces.append([head, *tails])
            else:
                pieces.extend([head, tail] for tail in tails)
        return pieces

    def _rows(self, pieces: Sequence[list[_Part]]) -> tuple[list[list[_Part]], int]:
        """Rows of parts, first fit, longest first; and the tokens of the longest row."""
        longest = max(map(_size, pieces))
        rows: list[list[_Part]] = []
        room: list[int] = []
        for piece in sorted(pieces, key=_size, reverse=True):
            at = self._first_with_room(room, _size(piece))
            if at == len(rows):
                rows.append([])
                room.append(longest)
            rows[at] += piece
            room[at] -= _size(piece)
        return rows, longest - min(room)

    def _first_with_room(self, room: Sequence[int], size: int) -> int:
        """The row that takes so many tokens more; a new one where none does."""
        if self.layout == "shared":
            for row, free in enumerate(room):
                if free >= size:
                    return row
        return len(room)

    def _laid_out(
        self, rows: Sequence[Sequence[_Part]], width: int, wide: int
    ) -> dict[str, Tensor]:
        """Tensors of the tokens, by row, and of the completions' tokens, flat."""
        shape = (len(rows), width)
        by_row = {
            "input_ids": np.full(shape, self.pad),
            "position_ids": np.zeros(shape, dtype=np.int64),
            "owner": np.full(shape, -1),
            "part": np.zeros(shape, dtype=np.int64),
        }
        flat: dict[str, list[Any]] = {name: [] for name in FLAT}
        for row, parts in enumerate(rows):
            start = head = head_stop = 0
            for part in parts:
                n = len(part.tokens)
                stop = start + n
                own = (row, slice(start, stop))
                by_row["input_ids"][own] = part.tokens
                by_row["owner"][own] = part.which
                by_row["part"][own] = part.completion
                if part.completion == 0:
                    by_row["position_ids"][own] = np.arange(n)
                    head, head_stop = n, stop
                else:
                    by_row["position_ids"][own] = np.arange(head, head + n)
                    flat["row"].append(np.full(n, row))
                    flat["place"].append([head_stop - 1, *range(start, stop - 1)])
                    flat["target"].append(part.tokens)
                    flat["answer"].append(np.full(n, part.which * wide + part.completion - 1))
                    flat["step"].append(part.steps)
                start = stop
        columns = {name: np.concatenate(flat[name], dtype=np.int64) for name in FLAT}
        return {name: torch.from_numpy(values) for name, values in (by_row | columns).items()}


def _references(known: Sequence[list[list[float]]], wide: int) -> Tensor:
    """Log-probabilities of steps under the reference, 0 for padding: (lists, wide, steps)."""
    steps = max(len(answer) for own in known for answer in own)
    out = torch.zeros(len(known), wide, steps)
    for k, own in enumerate(known):
        out[k, : len(own)] = _padded(own, steps, torch.float32)
    return out


def _padded(rows: Sequence[Sequence[float]], width: int, dtype: torch.dtype) -> Tensor:
    out = torch.zeros(len(rows), width, dtype=dtype)
    for k, row in enumerate(rows):
        out[k, : len(row)] = torch.tensor(row, dtype=dtype)
    return out
