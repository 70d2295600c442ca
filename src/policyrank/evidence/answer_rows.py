"""One row of ranked answers: which of the shapes that people have it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policyrank.errors import EvidenceError
from policyrank.evidence.conversations import (
    Answer,
    Conversation,
    Message,
    Prompt,
    as_messages,
    check_characters,
    is_chat,
    is_transcript,
    read_chat,
    read_tools,
    read_transcript,
    transcript_prompt,
)

DEEPEST = 500
"""Levels of a tree of answers; deeper ones are no answers of a person or a program."""
PROMPTS = ("prompt", "instruction", "question")
"""Columns that may hold the prompt."""


@dataclass(frozen=True)
class Row:
    """What a row says.

    Attributes
    ----------
    labels
        of each completion: higher is better, unless ``ranked``, where 1 is best
    note
        what was done to rows of this shape, with a place for their number
    """

    prompt: Prompt
    completions: tuple[Answer, ...]
    labels: tuple[float, ...]
    steps: tuple[tuple[str, ...], ...] | None = None
    ranked: bool = False
    note: str | None = None


def read_row(place: str, row: Mapping[str, Any]) -> Row:
    """Prompt, completions and labels, from whichever shape the row has.

    Raises
    ------
    EvidenceError
        Naming the place and what is missing, or cannot be understood.
    """
    if not isinstance(row, Mapping):
        raise EvidenceError(f"{place}: no row with columns ({str(row)[:60]!r}).")
    if row.get("tree") is not None:
        paths = list(_leaves(place, row["tree"], ()))
        return _listed(place, row, [steps for steps, _ in paths], [score for _, score in paths])
    if row.get("completions") is not None:
        completions = _as_list(place, "completions", row["completions"])
        if row.get("scores") is not None:
            return _listed(place, row, completions, _as_list(place, "scores", row["scores"]))
        if row.get("ranks") is None:
            raise EvidenceError(
                f"{place}: completions have neither scores (higher is better) nor ranks (1 is"
                " best)."
            )
        ranks = _as_list(place, "ranks", row["ranks"])
        return _listed(place, row, completions, ranks, ranked=True)
    if row.get("chosen") is not None and row.get("rejected") is not None:
        return _pair(place, row)
    if is_unpaired(row):
        return _listed(place, row, [row["completion"]], [_desirable(place, row["label"])])
    raise EvidenceError(
        f"{place}: no completions. A row has prompt and completions with scores or ranks, or"
        " chosen and rejected, or completion and label, or a tree."
    )


def is_unpaired(row: Mapping[str, Any]) -> bool:
    """Whether a row is a single answer with its label (KTO's shape)."""
    lists = any(row.get(name) is not None for name in ("tree", "completions", "chosen"))
    return not lists and row.get("completion") is not None and row.get("label") is not None


def read_prompt(place: str, row: Mapping[str, Any]) -> Prompt:
    """The prompt of a row, with its system message, tools and options of the template.

    Raises
    ------
    EvidenceError
        When the row has none, or it is neither a text nor messages.
    """
    given = None
    for name in PROMPTS:
        given = given or row.get(name)
    if not given and row.get("messages"):
        given = row["messages"]
    if not given:
        raise EvidenceError(f"{place}: no prompt.")
    if isinstance(given, str):
        check_characters(f"{place}: the prompt", given)
        if is_transcript(given):
            return transcript_prompt(given)
    return _with_context(place, row, given)


def _with_context(place: str, row: Mapping[str, Any], given: Any) -> Prompt:
    tools = read_tools(place, row.get("tools"))
    options = row.get("chat_template_kwargs") or {}
    system = row.get("system") or row.get("system_prompt")
    if isinstance(given, str):
        if not (tools or options or system):
            return given
        given = [{"role": "user", "content": given}]
    messages = read_chat(place, "the prompt", given)
    if system:
        messages = ({"role": "system", "content": str(system)}, *messages)
    return Conversation(messages, tools, dict(options))


def _listed(
    place: str,
    row: Mapping[str, Any],
    completions: Sequence[Any],
    labels: Sequence[Any],
    **more: Any,
) -> Row:
    prompt = read_prompt(place, row)
    if len(labels) != len(completions):
        raise EvidenceError(
            f"{place}: {len(completions)} completions, but {len(labels)} scores or ranks."
        )
    answers, steps = [], []
    for number, completion in enumerate(completions, 1):
        answers.append(read_completion(f"{place}: completion {number}", completion))
        steps.append(_steps(completion))
    values = []
    for number, label in enumerate(labels, 1):
        if not is_finite(label):
            raise EvidenceError(
                f"{place}: completion {number} has the score {label!r}. Give a finite number, or"
                " leave the completion out."
            )
        values.append(float(label))
    cut = tuple(steps) if all(steps) else None
    return Row(prompt, tuple(answers), tuple(values), cut, **more)


def read_completion(what: str, value: Any) -> Answer:
    """A text, the text of steps, or messages; a single message of plain text is that text.

    Raises
    ------
    EvidenceError
        For anything else.
    """
    if isinstance(value, str):
        check_characters(what, value)
        return value
    if steps := _steps(value):
        return "".join(steps)
    place, _, name = what.rpartition(": ")
    return _plain(read_chat(place, name, value))


def _plain(messages: tuple[Message, ...]) -> Answer:
    """The text of one plain message of the assistant; else the messages."""
    first = messages[0]
    plain = set(first) == {"role", "content"} and first["role"] == "assistant"
    return str(first["content"]) if plain and len(messages) == 1 else messages


def _steps(completion: Any) -> tuple[str, ...]:
    """The texts of a completion that is cut into steps; else none."""
    if not isinstance(completion, (list, tuple)):
        return ()
    if not all(isinstance(step, str) for step in completion):
        return ()
    return tuple(completion)


def is_finite(label: Any) -> bool:
    """Whether a label is a number that is neither NaN nor infinite."""
    try:
        return isinstance(label, (int, float)) and math.isfinite(label)
    except OverflowError:
        return False


def _as_list(place: str, what: str, value: Any) -> list[Any]:
    if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
        raise EvidenceError(f"{place}: {what} is no list ({str(value)[:60]!r}).")
    return list(value)


def _desirable(place: str, label: Any) -> float:
    """1 of a desirable answer, 0 of another."""
    if label in (True, False, 1, 0):
        return float(label)
    if str(label).strip().lower() in ("true", "false"):
        return float(str(label).strip().lower() == "true")
    raise EvidenceError(
        f"{place}: label is {label!r}. Of an unpaired answer it is true (desirable) or false."
    )


def _pair(place: str, row: Mapping[str, Any]) -> Row:
    """Chosen and rejected."""
    labels = [_margin(place, row.get("margin")), 0.0]
    chosen, rejected = row["chosen"], row["rejected"]
    if is_transcript(chosen) and is_transcript(rejected):
        return _dialogues(place, read_transcript(chosen), read_transcript(rejected), labels)
    if is_chat(chosen) and is_chat(rejected):
        chosen, rejected = (
            read_chat(place, "chosen", chosen),
            read_chat(place, "rejected", rejected),
        )
        shared = _shared(chosen, rejected)
        if not any(row.get(name) for name in PROMPTS):
            if not shared:
                raise EvidenceError(f"{place}: no prompt, and the two chats share no message.")
            prompt = _with_context(place, row, chosen[:shared])
            return _of_chats(prompt, chosen[shared:], rejected[shared:], labels)
        if shared and chosen[0]["role"] in ("user", "system"):
            return _whole_chats(place, row, chosen, rejected, labels)
    elif not any(row.get(name) for name in PROMPTS):
        return _texts_that_share(place, chosen, rejected, labels)
    return _listed(place, row, [chosen, rejected], labels)


def _margin(place: str, margin: Any) -> float:
    if margin is None:
        return 1.0
    if not is_finite(margin) or margin < 0:
        raise EvidenceError(
            f"{place}: margin is {margin!r}. It is how much better chosen is, 0 or more."
        )
    return float(margin)


def _of_chats(
    prompt: Prompt,
    chosen: tuple[Message, ...],
    rejected: tuple[Message, ...],
    labels: Sequence[float],
    note: str | None = None,
) -> Row:
    answers = (_plain(chosen), _plain(rejected))
    return Row(prompt, answers, tuple(labels), note=note)


def _whole_chats(
    place: str,
    row: Mapping[str, Any],
    chosen: tuple[Message, ...],
    rejected: tuple[Message, ...],
    labels: Sequence[float],
) -> Row:
    """A prompt beside chats that begin with it (UltraFeedback's shape)."""
    shared = _shared(chosen, rejected)
    own = as_messages(read_prompt(place, row))
    asked = str(own[-1].get("content")).strip()
    said = [str(message.get("content")).strip() for message in chosen[:shared]]
    if asked not in said and asked != "\n\n".join(said):
        raise EvidenceError(
            f"{place}: chosen and rejected are whole chats, but do not begin with the prompt"
            f" ({asked[:40]!r} beside {said[0][:40]!r}). Remove the prompt, or give answers alone."
        )
    context = {name: value for name, value in row.items() if not name.startswith("system")}
    if chosen[0]["role"] != "system":
        context = dict(row)
    prompt = _with_context(place, context, chosen[:shared])
    note = "{} rows: chosen and rejected are whole chats; the messages that they share are the"
    return _of_chats(prompt, chosen[shared:], rejected[shared:], labels, f"{note} prompt")


def _dialogues(
    place: str,
    chosen: tuple[Message, ...],
    rejected: tuple[Message, ...],
    labels: Sequence[float],
) -> Row:
    """Two dialogues ``Human: ... Assistant: ...`` that share all but their ends."""
    shared = _shared(chosen, rejected)
    if not shared:
        raise EvidenceError(f"{place}: the two dialogues share no turn.")
    while shared > 1 and chosen[shared - 1]["role"] == "assistant":
        shared -= 1
    note = "{} rows: dialogues of Human and Assistant were read as messages"
    prompt = transcript_prompt(chosen[:shared])
    return _of_chats(prompt, chosen[shared:], rejected[shared:], labels, note)


def _texts_that_share(place: str, chosen: Any, rejected: Any, labels: Sequence[float]) -> Row:
    """Two texts without a prompt: what they share, up to the end of a word, is the prompt."""
    if not (isinstance(chosen, str) and isinstance(rejected, str)):
        raise EvidenceError(f"{place}: no prompt.")
    same = 0
    for one, other in zip(chosen, rejected, strict=False):
        if one != other:
            break
        same += 1
    start = chosen.rfind(" ", 0, same + 1)
    if start < 1:
        raise EvidenceError(f"{place}: no prompt, and the two texts share no beginning.")
    note = "{} rows have no prompt: what both texts share is taken as it"
    row = {"prompt": chosen[:start]}
    found = _listed(place, row, [chosen[start:], rejected[start:]], labels)
    return Row(found.prompt, found.completions, found.labels, note=note)


def _shared(chosen: Sequence[Message], rejected: Sequence[Message]) -> int:
    """How many first messages two chats share, leaving at least one of each."""
    longest = min(len(chosen), len(rejected)) - 1
    for k in range(longest):
        if chosen[k] != rejected[k]:
            return k
    return longest


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
