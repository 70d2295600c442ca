"""Ranked answers: prompts with several completions and what they are worth."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policyrank.errors import EvidenceError
from policyrank.evidence import tables
from policyrank.evidence.json_schema import parse_json
from policyrank.evidence.sources import open_source

DEEPEST = 500
"""Levels of a tree of answers; deeper ones are no answers of a person or a program."""

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
    """Rows of a file or of an iterable, each with the name of its place.

    JSONL (gzipped or not), parquet or CSV; or rows such as those of a ``datasets.Dataset``.

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
    if not path.exists():
        raise EvidenceError(f"{path}: no such file.")
    file = open_source(path)
    if file.ending in (".parquet", ".csv", ".tsv", ".arrow"):
        frame, name = tables.open_table(file)
        for number, row in enumerate(tables.collect(frame, name).iter_rows(named=True), 1):
            yield f"{path}, row {number}", row
        return
    for number, line in file.lines():
        if line.strip():
            place = f"{path}, line {number}"
            yield place, parse_json(line, dict[str, Any], place)


def text_of(value: Any) -> str:
    """A text, or the contents of chat messages."""
    if isinstance(value, str):
        return value
    return "\n\n".join(str(message["content"]) for message in value)


def read_answers(source: str | Path | Iterable[Mapping[str, Any] | RankedAnswers]) -> AnswerSets:
    """Ranked answers from JSONL (gzipped or not), parquet, CSV, or rows as of a dataset.

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
    left_out: Counter[str] = Counter()
    total = 0
    for place, row in read_rows(source):  # type: ignore[arg-type]
        total += 1
        found = row if isinstance(row, RankedAnswers) else _parse(place, row)
        used = _best_copies(found)
        left_out["copies of a completion within its list"] += len(found.completions) - len(used)
        if len(used) < 2:
            left_out["lists of a single completion"] += 1
        elif len({found.labels[k] for k in used}) < 2:
            left_out["lists whose completions are all equally good"] += 1
        else:
            lists.append(_at(found, used))
    notes = tuple(f"left out: {count:,} {what}" for what, count in left_out.items() if count)
    if not lists:
        why = ": " + "; ".join(notes) if notes else ""
        where = f"{source}: " if isinstance(source, (str, Path)) else ""
        raise EvidenceError(f"{where}no list to learn from in {total} rows{why}.")
    return AnswerSets(tuple(lists), notes)


def _best_copies(found: RankedAnswers) -> list[int]:
    """Places of the completions, each text once, with its best label."""
    kept: dict[str, int] = {}
    for k, text in enumerate(found.completions):
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
    return RankedAnswers(found.prompt, completions, labels, steps)


def _parse(place: str, row: Mapping[str, Any]) -> RankedAnswers:
    prompt, completions, labels = _columns(place, row)
    if not prompt:
        raise EvidenceError(f"{place}: no prompt.")
    _check_text(place, "the prompt", prompt)
    for k, completion in enumerate(completions, 1):
        if not _is_steps(completion):
            _check_text(place, f"completion {k}", completion)
    if len(labels) != len(completions):
        raise EvidenceError(
            f"{place}: {len(completions)} completions, but {len(labels)} scores or ranks."
        )
    if all(map(_is_steps, completions)):
        steps = tuple(tuple(own) for own in completions)
        texts = tuple("".join(own) for own in completions)
    else:
        steps = None
        texts = tuple("".join(c) if _is_steps(c) else text_of(c) for c in completions)
    for k, (text, label) in enumerate(zip(texts, labels, strict=True), 1):
        if not text.strip():
            raise EvidenceError(
                f"{place}: completion {k} is empty. Remove it, or say what the policy answered."
            )
        if not _is_finite(label):
            raise EvidenceError(
                f"{place}: completion {k} has the score {label}. Give a finite number, or leave the"
                " completion out."
            )
    return RankedAnswers(prompt, texts, tuple(map(float, labels)), steps)


def _is_finite(label: Any) -> bool:
    try:
        return isinstance(label, (int, float)) and math.isfinite(label)
    except OverflowError:
        return False


def _check_text(place: str, what: str, value: Any) -> None:
    """Refuse what is neither a text nor chat messages with contents."""
    if isinstance(value, str):
        return
    messages = value if isinstance(value, (list, tuple)) and value else [None]
    for message in messages:
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
            raise EvidenceError(
                f"{place}: {what} is neither a text nor a list of messages with role and content"
                f" ({str(value)[:60]!r})."
            )


def _as_list(place: str, what: str, value: Any) -> list[Any]:
    if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
        raise EvidenceError(f"{place}: {what} is no list ({str(value)[:60]!r}).")
    return list(value)


def _columns(place: str, row: Mapping[str, Any]) -> tuple[Any, list[Any], Any]:
    """Prompt, completions and labels, from whichever form the row has."""
    prompt = row.get("prompt")
    if row.get("tree") is not None:
        paths = list(_leaves(place, row["tree"], ()))
        return prompt, [steps for steps, _ in paths], [score for _, score in paths]
    if row.get("completions") is not None:
        return prompt, _as_list(place, "completions", row["completions"]), _labels(place, row)
    if row.get("chosen") is None or row.get("rejected") is None:
        raise EvidenceError(
            f"{place}: no completions. A row has prompt and completions with scores or ranks, or"
            " chosen and rejected, or a tree."
        )
    chosen, rejected = row["chosen"], row["rejected"]
    if prompt is None and not isinstance(chosen, str):
        chosen, rejected = (_as_list(place, "a chat", chat) for chat in (chosen, rejected))
        shared = _shared_messages(chosen, rejected)
        prompt, chosen, rejected = list(chosen[:shared]), chosen[shared:], rejected[shared:]
    return prompt, [chosen, rejected], [1.0, 0.0]


def _labels(place: str, row: Mapping[str, Any]) -> Any:
    if row.get("scores") is not None:
        return _as_list(place, "scores", row["scores"])
    if row.get("ranks") is None:
        raise EvidenceError(
            f"{place}: completions have neither scores (higher is better) nor ranks (1 is best)."
        )
    ranks = _as_list(place, "ranks", row["ranks"])
    return [-rank if isinstance(rank, (int, float)) else rank for rank in ranks]


def _shared_messages(chosen: Sequence[Any], rejected: Sequence[Any]) -> int:
    """How many first messages two chats share, leaving at least one of each."""
    for k, (one, other) in enumerate(zip(chosen, rejected, strict=False)):
        if one != other:
            return k
    return min(len(chosen), len(rejected)) - 1


def _is_steps(completion: Any) -> bool:
    """Whether a completion is a list of texts, its steps."""
    if not isinstance(completion, (list, tuple)) or not completion:
        return False
    return all(isinstance(step, str) for step in completion)


def _leaves(
    place: str, node: Mapping[str, Any], above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not isinstance(node, Mapping) or not isinstance(node.get("text", ""), str):
        raise EvidenceError(f"{place}: a node of the tree is not an object with a text.")
    steps = (*above, node["text"]) if node.get("text") else above
    children = _as_list(place, "children of a node", node.get("children") or ())
    if len(above) > DEEPEST:
        raise EvidenceError(f"{place}: a tree of more than {DEEPEST} levels.")
    if not children:
        yield steps, node.get("score", node.get("value"))
    for child in children:
        yield from _leaves(place, child, steps)
