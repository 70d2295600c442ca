"""Ranked answers: prompts with several completions and what they are worth. What policies are
trained on and reward models are judged by.
"""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from policyrank.errors import EvidenceError

Messages = Sequence[Mapping[str, str]]
Prompt = str | Messages


@dataclass(frozen=True)
class RankedAnswers:
    """A prompt with its completions.

    Attributes
    ----------
    prompt
        text, or chat messages (``{"role", "content"}``)
    completions
        texts
    labels
        of each completion, higher is better
    steps
        of each completion, the texts of its steps, which together are the completion; None where
        answers are not cut into steps
    """

    prompt: Prompt
    completions: tuple[str, ...]
    labels: tuple[float, ...]
    steps: tuple[tuple[str, ...], ...] | None = None

    @property
    def best(self) -> int:
        """Place of the best completion, the first of ties."""
        return max(range(len(self.labels)), key=lambda k: self.labels[k])


@dataclass(frozen=True, eq=False)
class AnswerSets(Sequence[RankedAnswers]):
    """Lists of ranked answers, and what was left out on the way."""

    lists: tuple[RankedAnswers, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.lists)

    def __getitem__(self, k: Any) -> Any:
        return self.lists[k]

    def __str__(self) -> str:
        sizes = Counter(len(r.completions) for r in self.lists)
        shape = ", ".join(f"{count:,} of {size}" for size, count in sorted(sizes.items()))
        return "\n".join([f"{len(self):,} lists ({shape})", *(f"! {n}" for n in self.notes)])


def read_rows(
    source: str | Path | Iterable[Mapping[str, Any]],
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows of a JSONL (gzipped or not), parquet or CSV file, or of an iterable such as a
    ``datasets.Dataset``, each with the name of its place.

    Raises
    ------
    EvidenceError
        When there is no such file, or a line is not JSON.
    """
    if not isinstance(source, (str, Path)):
        for number, row in enumerate(source, 1):
            yield f"row {number}", row
        return
    path = Path(source)
    if not path.is_file():
        raise EvidenceError(f"{path}: no such file.")
    if path.suffix in (".parquet", ".csv"):
        table = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path)
        for number, row in enumerate(table.iter_rows(named=True), 1):
            yield f"{path}, row {number}", row
        return
    with (
        gzip.open(path, "rt", encoding="utf-8")
        if path.suffix == ".gz"
        else path.open(encoding="utf-8")
    ) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise EvidenceError(f"{path}, line {number}: not JSON ({error.msg}).") from None
                if not isinstance(row, dict):
                    raise EvidenceError(
                        f"{path}, line {number}: not an object with prompt and completions."
                    )
                yield f"{path}, line {number}", row


def text_of(value: Any) -> str:
    """A text, or the contents of chat messages."""
    return value if isinstance(value, str) else "\n\n".join(str(m["content"]) for m in value)


def read_answers(source: str | Path | Iterable[Mapping[str, Any] | RankedAnswers]) -> AnswerSets:
    """Ranked answers from JSONL (gzipped or not), parquet or CSV, or rows such as those of a
    ``datasets.Dataset``.

    A row is one of

    - ``prompt``, ``completions`` and ``scores`` (higher is better) or ``ranks`` (1 is best); a
      completion is a text, chat messages, or a list of steps;
    - ``prompt``, ``chosen``, ``rejected``: a pair; with chat messages the prompt may be what both
      share (TRL's formats);
    - ``prompt`` and ``tree``: nodes ``{"text", "children", "score"}``, scores at the leaves. Each
      path to a leaf is a completion, its nodes the steps.

    Rows that teach nothing (a single completion, all equally good) are left out, and copies within
    a list too; ``notes`` says how many.

    Raises
    ------
    EvidenceError
        Naming the row that lacks something, has an empty completion, or a label that is missing or
        not finite; and when nothing is left.
    """
    lists: list[RankedAnswers] = []
    out: Counter[str] = Counter()
    total = 0
    for place, row in read_rows(source):  # type: ignore[arg-type]
        total += 1
        found = row if isinstance(row, RankedAnswers) else _parse(place, row)
        kept: dict[str, int] = {}
        for k, text in enumerate(found.completions):
            if text not in kept or found.labels[k] > found.labels[kept[text]]:
                kept[text] = k
        out["copies of a completion within its list"] += len(found.completions) - len(kept)
        used = sorted(kept.values())
        if len(used) < 2:
            out["lists of a single completion"] += 1
        elif len({found.labels[k] for k in used}) < 2:
            out["lists whose completions are all equally good"] += 1
        else:
            steps = None if found.steps is None else tuple(found.steps[k] for k in used)
            completions, labels = (
                tuple(x[k] for k in used) for x in (found.completions, found.labels)
            )
            lists.append(RankedAnswers(found.prompt, completions, labels, steps))  # type: ignore[arg-type]
    notes = tuple(f"left out: {count:,} {what}" for what, count in out.items() if count)
    if not lists:
        raise EvidenceError(
            f"no list to learn from in {total} rows{': ' if notes else ''}{'; '.join(notes)}."
        )
    return AnswerSets(tuple(lists), notes)


def _parse(place: str, row: Mapping[str, Any]) -> RankedAnswers:
    prompt = row.get("prompt")
    if row.get("tree") is not None:
        paths = list(_leaves(place, row["tree"], ()))
        completions: list[Any] = [steps for steps, _ in paths]
        labels: Any = [score for _, score in paths]
    elif row.get("completions") is not None:
        completions = list(row["completions"])
        if row.get("scores") is not None:
            labels = row["scores"]
        elif row.get("ranks") is not None:
            labels = [None if r is None else -float(r) for r in row["ranks"]]
        else:
            raise EvidenceError(
                f"{place}: completions have neither scores (higher is better) nor ranks (1 is"
                " best)."
            )
    elif row.get("chosen") is not None and row.get("rejected") is not None:
        chosen, rejected = row["chosen"], row["rejected"]
        if prompt is None and not isinstance(chosen, str):
            shared = next(
                (k for k, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b),
                min(len(chosen), len(rejected)) - 1,
            )
            prompt, chosen, rejected = list(chosen[:shared]), chosen[shared:], rejected[shared:]
        completions, labels = [chosen, rejected], [1.0, 0.0]
    else:
        raise EvidenceError(
            f"{place}: no completions. A row has prompt and completions with scores or ranks, or"
            " chosen and rejected, or a tree."
        )
    if prompt is None or not len(prompt):
        raise EvidenceError(f"{place}: no prompt.")
    if len(labels) != len(completions):
        raise EvidenceError(
            f"{place}: {len(completions)} completions, but {len(labels)} scores or ranks."
        )
    cut = all(
        isinstance(x, (list, tuple)) and x and all(isinstance(s, str) for s in x)
        for x in completions
    )
    texts = tuple("".join(x) if cut else text_of(x) for x in completions)
    for k, (text, label) in enumerate(zip(texts, labels, strict=True), 1):
        if not text.strip():
            raise EvidenceError(
                f"{place}: completion {k} is empty. Remove it, or say what the policy answered."
            )
        if label is None or not math.isfinite(label):
            raise EvidenceError(
                f"{place}: completion {k} has the score {label}. Give a finite number, or leave the"
                " completion out."
            )
    return RankedAnswers(
        prompt, texts, tuple(map(float, labels)), tuple(map(tuple, completions)) if cut else None
    )


def _leaves(
    place: str, node: Mapping[str, Any], above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not isinstance(node, Mapping) or not isinstance(node.get("text", ""), str):
        raise EvidenceError(f"{place}: a node of the tree is not an object with a text.")
    steps = (*above, node["text"]) if node.get("text") else above
    children = node.get("children") or ()
    if not children:
        yield steps, node.get("score", node.get("value"))
    for child in children:
        yield from _leaves(place, child, steps)
