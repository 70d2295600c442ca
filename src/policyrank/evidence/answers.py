"""Ranked answers: prompts with several completions and what they are worth."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl

from policyrank.errors import EvidenceError
from policyrank.evidence import tables
from policyrank.evidence.answer_cells import plain, typed, without_nan
from policyrank.evidence.answer_rows import Row, is_unpaired, read_row, unused_columns
from policyrank.evidence.conversations import Answer, Message, Prompt, check_inside, text_of
from policyrank.evidence.json_schema import parse_json
from policyrank.evidence.sources import open_source

__all__ = [
    "Answer",
    "AnswerSets",
    "Message",
    "Prompt",
    "RankedAnswers",
    "read_answers",
    "read_rows",
    "text_of",
    "win_shares",
]

_HALF = "\\ud"
"""How half of a pair of surrogates, which JSON's parser would replace, begins in JSON."""


@dataclass(frozen=True)
class RankedAnswers:
    """A prompt with its completions.

    Attributes
    ----------
    prompt
        text, or chat messages (``{"role", "content"}``)
    completions
        texts; or chat messages, where an answer is more than a text
    labels
        of each completion, higher is better
    steps
        of each completion, the texts of its steps, which together are the completion; None where
        answers are not cut into steps
    place
        where it was read, for messages
    """

    prompt: Prompt
    completions: tuple[Answer, ...]
    labels: tuple[float, ...]
    steps: tuple[tuple[str, ...], ...] | None = None
    place: str = field(default="", compare=False)

    @property
    def best(self) -> int:
        """Place of the best completion, the first of ties."""
        return max(range(len(self.labels)), key=lambda k: self.labels[k])


@dataclass(frozen=True, eq=False)
class AnswerSets(Sequence[RankedAnswers]):
    """Lists of ranked answers, and what was left out on the way.

    Attributes
    ----------
    unpaired
        whether each list is a single answer, labelled 1 (desirable) or 0 (not)
    """

    lists: tuple[RankedAnswers, ...]
    notes: tuple[str, ...] = ()
    unpaired: bool = False

    def __len__(self) -> int:
        return len(self.lists)

    def __getitem__(self, k: Any) -> Any:
        return self.lists[k]

    def __str__(self) -> str:
        sizes = Counter(len(r.completions) for r in self.lists)
        shape = ", ".join(f"{count:,} of {size}" for size, count in sorted(sizes.items()))
        return "\n".join([f"{len(self):,} lists ({shape})", *(f"! {n}" for n in self.notes)])


def win_shares(values: Sequence[float]) -> tuple[float, ...]:
    """The share of the others that each value lies above, equal ones counting half.

    (number below + half the number of equal others) / (n - 1), in [0, 1]: what ranks become as
    labels, and scores of any scale where a loss takes none below 0.

    Examples
    --------
    >>> win_shares([-2.5, 7.0, -2.5])
    (0.25, 1.0, 0.25)
    """
    others = len(values) - 1
    if others < 1:
        return tuple(0.5 for _ in values)
    shares = []
    for own in values:
        below = sum(other < own for other in values)
        equal = sum(other == own for other in values) - 1
        shares.append((below + equal / 2) / others)
    return tuple(shares)


def read_rows(source: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows of a file, a table or an iterable, each with the name of its place.

    JSONL (gzipped or not), a JSON array of rows, parquet or CSV; a ``datasets.Dataset``; a frame of
    polars or pandas, a table of pyarrow; or rows. CSV has no types: numbers and JSON lists in the
    columns of scores, ranks and completions are read as such.

    Raises
    ------
    EvidenceError
        When there is no such file, a line is not JSON, or the source is no table.
    """
    if not isinstance(source, (str, Path)):
        for number, row in enumerate(_rows_of(source), 1):
            yield f"row {number}", plain(row)
        return
    path = Path(source)
    if not path.exists():
        raise EvidenceError(f"{path}: no such file.")
    file = open_source(path)
    if file.ending in (".parquet", ".csv", ".tsv", ".arrow"):
        frame, name = tables.open_table(file)
        for number, row in enumerate(tables.collect(frame, name).iter_rows(named=True), 1):
            place = f"{path}, row {number}"
            if file.ending in (".csv", ".tsv"):
                row = typed(place, row)
            yield place, row
        return
    if file.ending == ".json" and file.head.lstrip().startswith("["):
        yield from _rows_of_array(file.text, path)
        return
    for number, line in file.lines():
        if line.strip():
            place = f"{path}, line {number}"
            row = parse_json(line, dict[str, Any], place)
            if _HALF in line.lower():
                check_inside(place, json.loads(line))
            yield place, row


def _rows_of_array(text: str, path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    rows = parse_json(text, list[dict[str, Any]], str(path))
    if _HALF in text.lower():
        for number, row in enumerate(json.loads(text), 1):
            check_inside(f"{path}, row {number}", row)
    for number, row in enumerate(rows, 1):
        yield f"{path}, row {number}", row


def _rows_of(source: Any) -> Iterable[Any]:
    """Rows of what is no file."""
    if isinstance(source, Mapping):
        told = ", ".join(map(str, list(source)[:5]))
        raise EvidenceError(f"several sets ({told}) where one is read: name one of them.")
    if isinstance(source, pl.LazyFrame):
        source = tables.collect(source, "the frame")
    if hasattr(source, "iter_rows"):  # polars
        return source.iter_rows(named=True)
    if hasattr(source, "to_batches") and hasattr(source, "to_pylist"):  # pyarrow
        return chain.from_iterable(batch.to_pylist() for batch in source.to_batches())
    if hasattr(source, "to_dict") and hasattr(source, "columns"):  # pandas
        return [without_nan(row) for row in source.to_dict("records")]
    if not isinstance(source, Iterable):
        raise EvidenceError(f"no rows: {type(source).__name__}. Give a file, a table, or rows.")
    return source


def read_answers(source: Any) -> AnswerSets:
    """Ranked answers from JSONL (gzipped or not), JSON, parquet, CSV, frames, or rows.

    A row is one of

    - ``prompt``, ``completions`` and ``scores`` (higher is better) or ``ranks`` (1 is best, which
      become ``win_shares``); a completion is a text, chat messages, or a list of steps;
    - ``prompt``, ``chosen``, ``rejected``: a pair, perhaps with its ``margin``; with chat messages
      the prompt may be what both share (TRL's formats), with whole chats beside a prompt the chats
      count (UltraFeedback's), and two dialogues ``Human: ... Assistant: ...`` are read as messages
      (HH-RLHF's);
    - ``prompt``, ``completion`` and ``label`` (true: desirable): unpaired answers, as KTO has them;
    - ``prompt`` and ``tree``: nodes ``{"text", "children", "score"}``, scores at the leaves. Each
      path to a leaf is a completion, its nodes the steps.

    Prompts may come with ``system``, ``tools`` and ``chat_template_kwargs``; completions may be
    whole chats that begin with the prompt. Rows that teach nothing (a single completion, all
    equally good as 32-bit floats) are left out; so are empty completions, copies within a list, and
    those whose score is null; ``notes`` says how many, and which columns are not used.

    Raises
    ------
    EvidenceError
        Naming the row that lacks something, holds what is no text, or a label that is missing or
        not finite; and when nothing is left.
    """
    told: Counter[str] = Counter()
    lists: list[RankedAnswers] = []
    kinds: set[bool] = set()
    unused: Counter[str] = Counter()
    total = 0
    for place, row in read_rows(source):
        total += 1
        found = row if isinstance(row, RankedAnswers) else _parse(place, row, told)
        unpaired = False
        if isinstance(row, Mapping):
            unpaired = is_unpaired(row)
            unused.update(unused_columns(row))
        kinds.add(unpaired)
        if len(kinds) > 1:
            raise EvidenceError(
                f"{place}: unpaired answers (completion, label) among lists. Give them apart."
            )
        used = _best_copies(found)
        told["left out: {} copies of a completion within its list"] += _lost(found, used)
        if unpaired and used:
            lists.append(found)
        elif not used:
            told["left out: {} lists without any completion"] += 1
        elif len(used) < 2:
            told["left out: {} lists of a single completion"] += 1
        elif len(set(array("f", [found.labels[k] for k in used]))) < 2:
            told["left out: {} lists whose completions are all equally good"] += 1
        else:
            lists.append(_at(found, used))
    notes = tuple(note.format(f"{count:,}") for note, count in told.items() if count)
    if unused:
        notes = (f"columns that say nothing here: {', '.join(unused)}", *notes)
    if not lists:
        why = ": " + "; ".join(notes) if notes else ""
        where = f"{source}: " if isinstance(source, (str, Path)) else ""
        raise EvidenceError(f"{where}no list to learn from in {total} rows{why}.")
    return AnswerSets(tuple(lists), notes, kinds == {True})


def _lost(found: RankedAnswers, used: Sequence[int]) -> int:
    return len(found.completions) - len(used)


def _best_copies(found: RankedAnswers) -> list[int]:
    """Places of the completions, each once, with its best label."""
    kept: dict[str, int] = {}
    for k, answer in enumerate(found.completions):
        text = answer if isinstance(answer, str) else json.dumps(answer, default=str)
        if text not in kept or found.labels[k] > found.labels[kept[text]]:
            kept[text] = k
    return sorted(kept.values())


def _at(found: RankedAnswers, places: Sequence[int]) -> RankedAnswers:
    """The list cut down to some of its completions."""
    completions = tuple(found.completions[k] for k in places)
    labels = tuple(found.labels[k] for k in places)
    steps = None
    if found.steps is not None:
        steps = tuple(found.steps[k] for k in places)
    return RankedAnswers(found.prompt, completions, labels, steps, found.place)


def _parse(place: str, row: Mapping[str, Any], told: Counter[str]) -> RankedAnswers:
    found: Row = read_row(place, row)
    if found.note:
        told[found.note] += 1
    filled = [k for k, answer in enumerate(found.completions) if not _is_empty(answer)]
    told["left out: {} completions without a score"] += found.unscored
    told["left out: {} empty completions"] += len(found.completions) - len(filled)
    labels = found.labels
    if found.ranked:
        labels = win_shares([-rank for rank in labels])
        told["{} rows: ranks became labels (the share of the others that an answer is above)"] += 1
    made = RankedAnswers(found.prompt, found.completions, tuple(labels), found.steps, place)
    return _at(made, filled)


def _is_empty(answer: Answer) -> bool:
    return isinstance(answer, str) and not answer.strip()
