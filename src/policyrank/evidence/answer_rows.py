"""One row of ranked answers: which of the shapes that people have it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from numbers import Real
from typing import Any

from policyrank.errors import EvidenceError
from policyrank.evidence.answer_prompts import (
    PROMPTS,
    SYSTEMS,
    has_prompt,
    of_transcript,
    read_prompt,
    with_context,
)
from policyrank.evidence.conversations import (
    Answer,
    Message,
    Prompt,
    as_messages,
    check_characters,
    is_chat,
    is_transcript,
    read_chat,
    read_transcript,
)

DEEPEST = 500
"""Levels of a tree of answers; deeper ones are no answers of a person or a program."""
LARGEST = 3.4028234663852886e38
"""The largest 32-bit float: larger labels are infinite to a trainer."""


@dataclass(frozen=True)
class Row:
    """What a row says.

    Attributes
    ----------
    labels
        of each completion: higher is better, unless ``ranked``, where 1 is best; NaN where there is
        none
    unscored
        completions that were left out for want of a score
    note
        what was done to rows of this shape, with a place for their number
    """

    prompt: Prompt
    completions: tuple[Answer, ...]
    labels: tuple[float, ...]
    steps: tuple[tuple[str, ...], ...] | None = None
    ranked: bool = False
    unscored: int = 0
    note: str | None = None

    def at(self, places: Sequence[int]) -> Row:
        """The row cut down to some of its completions."""
        completions = tuple(self.completions[k] for k in places)
        labels = tuple(self.labels[k] for k in places)
        steps = None
        if self.steps is not None:
            steps = tuple(self.steps[k] for k in places)
        return replace(self, completions=completions, labels=labels, steps=steps)


def read_row(place: str, row: Mapping[str, Any]) -> Row:
    """Prompt, completions and labels, from whichever shape the row has.

    Completions whose score is null are left out.

    Raises
    ------
    EvidenceError
        Naming the place and what is missing, or cannot be understood.
    """
    found = _labelled(place, row)
    known = [k for k, label in enumerate(found.labels) if not math.isnan(label)]
    return replace(found.at(known), unscored=len(found.labels) - len(known))


def read_candidates(place: str, row: Mapping[str, Any]) -> Row:
    """Prompt and all completions of a row that is to be scored; labels are NaN where it has none.

    Beside ``completions`` only scores and ranks are labels: a pair, a label or a tree in the same
    row are of other answers.

    Raises
    ------
    EvidenceError
        Naming the place and what is missing, or cannot be understood.
    """
    if row.get("completions") is not None:
        if _has_labels(row):
            return _labelled(place, row)
        completions = row["completions"]
        if isinstance(completions, str):
            completions = [completions]
        return _unlabelled(place, row, _as_list(place, "completions", completions))
    ranks_answers = any(row.get(name) is not None for name in ("tree", "chosen", "rejected"))
    if ranks_answers or is_unpaired(row):
        return _labelled(place, row)
    for name in ("completion", "answer"):
        if row.get(name) is not None:
            return _unlabelled(place, row, [row[name]])
    raise EvidenceError(f"{place}: no completions.")


def unused_columns(row: Mapping[str, Any]) -> list[str]:
    """Columns of a row that are filled in, but say nothing of its prompt, answers or labels."""
    asked = next((name for name in (*PROMPTS, "messages") if row.get(name)), "prompt")
    used = {asked, *SYSTEMS, "tools", "chat_template_kwargs"}
    if row.get("completions") is not None and _has_labels(row):
        used |= {"completions", "scores" if row.get("scores") is not None else "ranks"}
    elif row.get("tree") is not None:
        used.add("tree")
    elif row.get("chosen") is not None:
        used |= {"chosen", "rejected", "margin"}
    else:
        used |= {"completion", "label"}
    return [name for name, value in row.items() if name not in used and value is not None]


def read_asked(place: str, row: Mapping[str, Any]) -> Prompt:
    """The prompt that is answered anew: the one that training on the row would read.

    Raises
    ------
    EvidenceError
        When there is none, or it cannot be understood.
    """
    kept = {name: value for name, value in row.items() if name not in ("scores", "ranks", "margin")}
    if row.get("completions") not in (None, []):
        return read_candidates(place, kept).prompt
    if row.get("chosen") is not None and row.get("rejected") is not None:
        return _pair(place, kept).prompt
    return read_prompt(place, row)


def _labelled(place: str, row: Mapping[str, Any]) -> Row:
    """A row with its labels, NaN where a score or rank is null."""
    if not isinstance(row, Mapping):
        raise EvidenceError(f"{place}: no row with columns ({str(row)[:60]!r}).")
    if row.get("completions") is not None and _has_labels(row):
        return _scored(place, row)
    if row.get("tree") is not None:
        paths = list(_leaves(place, row["tree"], ()))
        scores = _numbers(place, [score for _, score in paths])
        return _listed(place, row, [steps for steps, _ in paths], scores)
    if row.get("completions") is not None:
        raise EvidenceError(
            f"{place}: completions have neither scores (higher is better) nor ranks (1 is best)."
        )
    if row.get("chosen") is not None and row.get("rejected") is not None:
        return _pair(place, row)
    if is_unpaired(row):
        return _listed(place, row, [row["completion"]], [_desirable(place, row["label"])])
    for name in ("chosen", "rejected"):
        if name in row and row[name] is None:
            raise EvidenceError(
                f"{place}: {name} is null. Fill it in, or remove the row: a pair has both answers."
            )
    raise EvidenceError(
        f"{place}: no completions. A row has prompt and completions with scores or ranks, or"
        " chosen and rejected, or completion and label, or a tree."
    )


def _has_labels(row: Mapping[str, Any]) -> bool:
    return row.get("scores") is not None or row.get("ranks") is not None


def _scored(place: str, row: Mapping[str, Any]) -> Row:
    """Completions with scores, or else with ranks."""
    completions = _as_list(place, "completions", row["completions"])
    name = "ranks" if row.get("scores") is None else "scores"
    given = _as_list(place, name, row[name])
    if len(given) != len(completions):
        raise EvidenceError(
            f"{place}: {len(completions)} completions, but {len(given)} scores or ranks."
        )
    found = _listed(place, row, completions, _numbers(place, given, known_only=False))
    return replace(found, ranked=name == "ranks")


def _unlabelled(place: str, row: Mapping[str, Any], completions: Sequence[Any]) -> Row:
    return _listed(place, row, completions, [math.nan] * len(completions))


def is_unpaired(row: Mapping[str, Any]) -> bool:
    """Whether a row is a single answer with its label (KTO's shape)."""
    lists = any(row.get(name) is not None for name in ("tree", "completions", "chosen"))
    return not lists and row.get("completion") is not None and row.get("label") is not None


def _listed(
    place: str,
    row: Mapping[str, Any],
    completions: Sequence[Any],
    labels: Sequence[float],
    names: Sequence[str] = (),
) -> Row:
    """Prompt and answers; what answers that are whole chats share is the prompt."""
    named = list(names) or [f"completion {k}" for k in range(1, len(completions) + 1)]
    chats = {}
    for k, completion in enumerate(completions):
        if _is_whole(row, completion):
            chats[k] = read_chat(place, named[k], completion)
    if not chats or (len(chats) < len(completions) and not has_prompt(row)):
        return _answers(place, read_prompt(place, row), completions, labels, named)
    words = " and ".join(names) or "completions"
    cut = _shared(list(chats.values()))
    note = None
    if has_prompt(row) or len(chats) == 1:
        cut = _after_prompt(place, row, list(chats.values()), words)
        note = f"{{}} rows: {words} are whole chats; the messages that they share are the prompt"
    if not cut:
        raise EvidenceError(f"{place}: no prompt, and the chats share no message.")
    alone = list(completions)
    for k, chat in chats.items():
        alone[k] = chat[cut:]
    prompt = with_context(place, row, next(iter(chats.values()))[:cut])
    return replace(_answers(place, prompt, alone, labels, named), note=note)


def _answers(
    place: str,
    prompt: Prompt,
    completions: Sequence[Any],
    labels: Sequence[float],
    names: Sequence[str],
) -> Row:
    answers, steps = [], []
    for name, completion in zip(names, completions, strict=True):
        answers.append(read_completion(f"{place}: {name}", completion))
        steps.append(_steps(completion))
    cut = tuple(steps) if all(steps) else None
    return Row(prompt, tuple(answers), tuple(labels), cut)


def _is_whole(row: Mapping[str, Any], completion: Any) -> bool:
    """Whether an answer is a chat from its beginning on: nobody answers as user or system."""
    if not is_chat(completion):
        return False
    first = next(iter(completion))
    if first.get("role", first.get("from")) in ("user", "system", "human"):
        return True
    return not (has_prompt(row) or row.get("messages"))


def _after_prompt(
    place: str, row: Mapping[str, Any], chats: Sequence[Sequence[Message]], words: str
) -> int:
    """How many first messages of whole chats are the prompt that stands beside them."""
    bare = {name: value for name, value in row.items() if name not in SYSTEMS}
    own = as_messages(read_prompt(place, bare))
    asked = _said(own[-1])
    cut = _shared(chats)
    if len(chats) == 1:
        said = [_said(message) for message in chats[0][:-1]]
        cut = said.index(asked) + 1 if asked in said else 0
        if list(chats[0][: len(own)]) == own and len(chats[0]) > len(own):
            cut = len(own)
    said = [_said(message) for message in chats[0][:cut]]
    begins = asked in said or asked == "\n\n".join(said)
    if own[0]["role"] == "system" and chats[0][0] != own[0]:
        begins = False
    if not said or not begins:
        raise EvidenceError(
            f"{place}: {words} are whole chats, but do not begin with the prompt"
            f" ({asked[:40]!r} beside {_said(chats[0][0])[:40]!r}). Remove the prompt, or give"
            " answers alone."
        )
    return cut


def _said(message: Message) -> str:
    return str(message.get("content")).strip()


def _numbers(place: str, labels: Sequence[Any], *, known_only: bool = True) -> list[float]:
    """Labels as numbers; NaN where one is null and that may be."""
    values = []
    for number, label in enumerate(labels, 1):
        if label is None and not known_only:
            values.append(math.nan)
            continue
        if not is_finite(label):
            raise EvidenceError(
                f"{place}: completion {number} has the score {label!r}. Give a finite number, or"
                " leave the completion out."
            )
        values.append(float(label))
    return values


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
    """Whether a label is a number that a trainer can hold: not NaN, within 32-bit floats."""
    try:
        return isinstance(label, (Real, Decimal)) and abs(float(label)) <= LARGEST
    except (OverflowError, ValueError):
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
        return _dialogues(place, row, read_transcript(chosen), read_transcript(rejected), labels)
    texts = isinstance(chosen, str) and isinstance(rejected, str)
    if texts and not has_prompt(row):
        return _texts_that_share(place, row, chosen, rejected, labels)
    return _listed(place, row, [chosen, rejected], labels, ("chosen", "rejected"))


def _margin(place: str, margin: Any) -> float:
    if margin is None:
        return 1.0
    if not is_finite(margin) or margin < 0:
        raise EvidenceError(
            f"{place}: margin is {margin!r}. It is how much better chosen is, 0 or more."
        )
    return float(margin)


def _dialogues(
    place: str,
    row: Mapping[str, Any],
    chosen: tuple[Message, ...],
    rejected: tuple[Message, ...],
    labels: Sequence[float],
) -> Row:
    """Two dialogues ``Human: ... Assistant: ...`` that share all but their ends."""
    shared = _shared([chosen, rejected])
    if not shared:
        raise EvidenceError(f"{place}: the two dialogues share no turn.")
    while shared > 1 and chosen[shared - 1]["role"] == "assistant":
        shared -= 1
    if has_prompt(row):
        asked = as_messages(read_prompt(place, row))[-1]
        if asked.get("content") not in [turn["content"] for turn in chosen[:shared]]:
            raise EvidenceError(
                f"{place}: the two dialogues do not begin with the prompt"
                f" ({str(asked.get('content'))[:40]!r}). Remove it, or give answers alone."
            )
    note = "{} rows: dialogues of Human and Assistant were read as messages"
    prompt = of_transcript(place, row, chosen[:shared])
    answers = (_plain(chosen[shared:]), _plain(rejected[shared:]))
    return Row(prompt, answers, tuple(labels), note=note)


def _texts_that_share(
    place: str, row: Mapping[str, Any], chosen: str, rejected: str, labels: Sequence[float]
) -> Row:
    """Two texts without a prompt: what they share, up to the end of a word, is the prompt."""
    start = _last_space(_beginning(chosen, rejected))
    if not chosen[:start].strip():
        raise EvidenceError(f"{place}: no prompt, and the two texts share no beginning.")
    note = "{} rows have no prompt: what both texts share is taken as it"
    asked = {**row, "prompt": chosen[:start]}
    answers = [chosen[start:], rejected[start:]]
    found = _listed(place, asked, answers, labels, ("chosen", "rejected"))
    return replace(found, note=note)


def _beginning(one: str, other: str) -> str:
    """What two texts share from their first characters on."""
    for k, (mine, its) in enumerate(zip(one, other, strict=False)):
        if mine != its:
            return one[:k]
    return min(one, other, key=len)


def _last_space(text: str) -> int:
    """Place of the last white space of any kind; 0: none."""
    left = text.rstrip()
    if left != text:
        return max(len(text) - 1, 0)
    words = left.rsplit(maxsplit=1)
    return len(left) - len(words[-1]) - 1 if len(words) > 1 else 0


def _shared(chats: Sequence[Sequence[Message]]) -> int:
    """How many first messages chats share, leaving at least one of each."""
    longest = min(map(len, chats)) - 1
    for k in range(longest):
        if any(chat[k] != chats[0][k] for chat in chats):
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
