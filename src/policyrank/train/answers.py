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
from policyrank.fingerprints import hashed
from policyrank.models.fitting import LongPrompts, Seen, fitted
from policyrank.models.tokens import AnswerTokens, answer_tokens, ask

Layout = Literal["shared", "rows"]
FLAT = ("row", "place", "at", "target", "answer", "step")
"""What the collator says of each token that a policy wrote."""
MISMATCHED = -1.0
"""Label of an answer to another prompt, by which unpaired answers are compared."""


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
        of each token, its step (1, 2, ...); 0 for what the policy did not write
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
        return [max(1, *own) if own else 1 for own in self.steps]


@dataclass(eq=False)
class AnswerData(torch.utils.data.Dataset[EncodedAnswers]):
    """Encoded lists, and what was left out or cut on the way.

    Attributes
    ----------
    answers
        what the lists were read from, where they were
    unpaired
        whether each list is one answer, desirable or not, beside one to another prompt
    """

    lists: list[EncodedAnswers]
    notes: tuple[str, ...] = ()
    answers: list[RankedAnswers] = field(default_factory=list)
    unpaired: bool = False

    def __len__(self) -> int:
        return len(self.lists)

    def __getitem__(self, k: int) -> EncodedAnswers:
        return self.lists[k]

    @property
    def labels(self) -> list[list[float]]:
        """Of each list."""
        return [own.labels for own in self.lists]

    def with_labels(self, labels: Sequence[Sequence[float]]) -> AnswerData:
        """The same lists with other labels."""
        pairs = zip(self.lists, labels, strict=True)
        return replace(self, lists=[replace(own, labels=list(new)) for own, new in pairs])

    def with_reference(self, found: Sequence[list[list[float]]]) -> AnswerData:
        """The same lists with log-probabilities under a reference."""
        pairs = zip(self.lists, found, strict=True)
        return replace(self, lists=[replace(own, reference=known) for own, known in pairs])

    def fingerprint(self) -> str:
        """Of all tokens, steps and labels, in their order."""
        parts = [[own.prompt, own.completions, own.steps, own.labels] for own in self.lists]
        return hashed(parts)


def encode_answers(
    source: Any,
    tokenizer: Any,
    *,
    max_length: int = 1024,
    long_prompts: LongPrompts = "leave out",
    chat: bool | None = None,
    end: bool = True,
    keep_end: bool = False,
) -> AnswerData:
    """Tokens of ranked answers.

    Parameters
    ----------
    source
        what ``read_answers`` takes
    max_length
        tokens of prompt and one completion; longer completions are cut at the end, which is counted
    long_prompts
        prompts that leave an answer neither its own length nor half of ``max_length``: lists are
        left out, or prompts cut at their beginning; counted either way
    chat, end
        see ``models.tokens.ask`` and ``answer_tokens``
    keep_end
        whether completions that are cut keep their last token, which a reward is read from

    Raises
    ------
    EvidenceError
        When nothing is left, or a row is malformed.
    """
    sets = source if isinstance(source, AnswerSets) else read_answers(source)
    seen = Seen()
    lists: list[EncodedAnswers] = []
    kept: list[RankedAnswers] = []
    for number, found in enumerate(sets, 1):
        try:
            asked = ask(tokenizer, found.prompt, chat=chat)
            tails = _tails(tokenizer, asked, found, end)
        except EvidenceError as error:
            raise EvidenceError(f"{found.place or f'list {number}'}: {error}") from None
        within = fitted(asked.ids, tails, max_length, long_prompts, seen, keep_end=keep_end)
        if within is None:
            continue
        made = _encoded(found, *within, seen)
        if len(set(made.labels)) > 1 or sets.unpaired:
            lists.append(made)
            kept.append(found)
        else:
            seen.alike += 1
    notes = [*sets.notes, *seen.notes(max_length, long_prompts)]
    if not lists:
        raise EvidenceError(
            f"no list is left: {'; '.join(notes)}. Raise max_length, or take long_prompts='cut'."
        )
    if sets.unpaired:
        lists = _beside_another(lists, max_length)
    return AnswerData(lists, tuple(notes), kept, sets.unpaired)


def _tails(tokenizer: Any, asked: Any, found: RankedAnswers, end: bool) -> list[AnswerTokens]:
    tails = []
    for k, completion in enumerate(found.completions):
        steps = None if found.steps is None else found.steps[k]
        tails.append(answer_tokens(tokenizer, asked, completion, steps=steps, end=end))
    return tails


def _encoded(
    found: RankedAnswers, head: list[int], tails: Sequence[AnswerTokens], seen: Seen
) -> EncodedAnswers:
    """A list of completions, each once: of those equal once cut, the best is kept."""
    best: dict[tuple[int, ...], int] = {}
    for k, tail in enumerate(tails):
        own = tuple(tail.ids)
        if own not in best or found.labels[k] > found.labels[best[own]]:
            best[own] = k
    seen.same += len(tails) - len(best)
    places = sorted(best.values())
    return EncodedAnswers(
        head,
        [tails[k].ids for k in places],
        [tails[k].steps for k in places],
        [found.labels[k] for k in places],
    )


def _beside_another(lists: Sequence[EncodedAnswers], max_length: int) -> list[EncodedAnswers]:
    """Each answer beside that of the next list, cut to the room that there is.

    By the other one KTO estimates how far the policy is from its reference.
    """
    if len(lists) < 2:
        raise EvidenceError("one unpaired answer: two and more are compared.")
    out = []
    for own, other in zip(lists, [*lists[1:], lists[0]], strict=True):
        room = max(max_length - len(own.prompt), 1)
        completions = [own.completions[0], other.completions[0][:room]]
        steps = [own.steps[0], other.steps[0][:room]]
        out.append(EncodedAnswers(own.prompt, completions, steps, [own.labels[0], MISMATCHED]))
    return out


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
    padding; ``part``: 0 for the prompt, k for the k-th completion. For every completion token that
    the policy wrote, flat: ``row``, ``place`` (of the token that predicts it), ``at`` (its own),
    ``target``, ``answer`` (list * longest list + completion) and ``step``. ``labels``, ``where``,
    ``lengths`` (lists, longest list); ``reference`` (lists, longest list, steps) where there is
    one.
    """

    pad: int
    layout: Layout = "shared"

    def __call__(self, lists: Sequence[EncodedAnswers]) -> dict[str, Tensor]:
        rows, width = self._rows(self._pieces(lists))
        wide = max(len(own.completions) for own in lists)
        # First, so that who asks for the size of the batch finds its lists.
        tensors = {"labels": _padded([own.labels for own in lists], wide, torch.float32)}
        tensors |= self._laid_out(rows, width, wide)
        lengths = [[int(np.count_nonzero(steps)) for steps in own.steps] for own in lists]
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
                    written = np.flatnonzero(part.steps)
                    place = np.array([head_stop - 1, *range(start, stop - 1)])
                    answer = part.which * wide + part.completion - 1
                    flat["row"].append(np.full(len(written), row))
                    flat["place"].append(place[written])
                    flat["at"].append(start + written)
                    flat["target"].append(np.array(part.tokens, dtype=np.int64)[written])
                    flat["answer"].append(np.full(len(written), answer))
                    flat["step"].append(np.array(part.steps, dtype=np.int64)[written])
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
