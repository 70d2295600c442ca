"""What stands between two turns of a model: what it reads, as token ids behind those it wrote.

The model's own ids stay as they were sampled; only what it reads is tokenised, once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from policyrank.errors import EvidenceError
from policyrank.evidence.conversations import Conversation, Message
from policyrank.models.chat import rendered
from policyrank.models.tokens import option_ids, stop_ids

Kept = Literal["head", "tail", "ends"]
"""What stays of a text that is too long: its beginning, its end, or both."""
GAP = " [...] "
_MOST = 64
"""Characters for each token of room beyond which a text is not even tokenised."""
_MARK = "zqXanswerXqz"
_CALL_ID = "call0000{}"


class TurnWriter(Protocol):
    """What a model reads between two turns -> token ids.

    ``last`` is the last id that it wrote: where that ends a turn, the end is not written again.
    """

    def __call__(self, read: str | Sequence[Message], /, *, last: int | None) -> list[int]: ...


@dataclass
class PlainTurns:
    """Texts as they are, right behind what the model wrote."""

    tokenizer: Any

    def __call__(self, read: str | Sequence[Message], /, *, last: int | None) -> list[int]:
        """Token ids of a text; of messages their contents, a line each."""
        text = read
        if not isinstance(text, str):
            text = "\n".join(str(message["content"]) for message in text)
        return option_ids(self.tokenizer, text)


@dataclass
class ChatTurns:
    """Messages as the chat template writes them, up to where the model's next turn begins.

    A text is a message of the user. Messages of tools are written as such where the template has a
    place for them, and else as messages of the user, which ``notes`` says.

    Parameters
    ----------
    tokenizer
        with a chat template
    tools, options
        what the template is given beside messages

    Raises
    ------
    EvidenceError
        When the template has no place for messages of the user after those of the model.
    """

    tokenizer: Any
    tools: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = field(default=(), init=False)
    _form: str = field(default="", init=False, repr=False)

    def __post_init__(self) -> None:
        tool = [{"role": "tool", "name": "probe", "content": "seen"}]
        for form in ("tool", "called", "user"):
            if self._tail(tool, form) is not None:
                self._form = form
                break
        if self._tail([{"role": "user", "content": "seen"}], "tool") is None:
            raise EvidenceError(
                "the chat template has no place for what a model reads between its turns. Take"
                " plain turns (a text right behind what it wrote), or another template."
            )
        if self._form == "user":
            self.notes = ("the chat template knows no results of tools: the user says them",)
        self._stop = set(stop_ids(self.tokenizer, chat=True))

    def __call__(self, read: str | Sequence[Message], /, *, last: int | None) -> list[int]:
        """Token ids of the end of the model's turn, what it reads, and the next turn's beginning.

        Raises
        ------
        EvidenceError
            When the template leaves out what is read.
        """
        messages = [{"role": "user", "content": read}] if isinstance(read, str) else list(read)
        mixed = {message["role"] for message in messages} != {"tool"}
        tail = self._tail(messages, "tool" if mixed else self._form)
        if tail is None and mixed:
            tail = self._tail(messages, "user")
        if tail is None:
            raise EvidenceError(
                "the chat template leaves out or rewrites what is read between turns"
                f" ({str(messages)[:80]})."
            )
        ids = option_ids(self.tokenizer, tail)
        if last in self._stop and ids and ids[0] in self._stop:
            return ids[1:]
        return ids

    def _tail(self, read: Sequence[Message], form: str) -> str | None:
        """What the template writes after what the model said; None: it does not write it all."""
        said: dict[str, Any] = {"role": "assistant", "content": _MARK}
        if form == "user":
            read = [{"role": "user", "content": message["content"]} for message in read]
        elif form == "called":
            calls = [_call(message, k) for k, message in enumerate(read)]
            read = [message | _of_call(k) for k, message in enumerate(map(dict, read))]
            return self._after_calls(said | {"tool_calls": calls}, read)
        whole = self._rendered([said, *read], add_generation_prompt=True)
        if whole is None or whole.count(_MARK) != 1:
            return None
        tail = whole.partition(_MARK)[2]
        return tail if _holds(tail, read) else None

    def _after_calls(self, said: Message, read: Sequence[Message]) -> str | None:
        """The same for templates that read results of tools behind calls only."""
        plain = self._rendered([{"role": "assistant", "content": _MARK}])
        called = self._rendered([said])
        whole = self._rendered([said, *read], add_generation_prompt=True)
        if plain is None or called is None or whole is None:
            return None
        end = plain.rpartition(_MARK)[2]
        if not whole.startswith(called) or not called.endswith(end):
            return None
        tail = end + whole[len(called) :]
        return tail if _holds(tail, read) else None

    def _rendered(self, messages: Sequence[Message], **options: Any) -> str | None:
        asked = Conversation(({"role": "user", "content": "a"},), self.tools, self.options)
        try:
            return rendered(self.tokenizer, asked, [*asked.messages, *messages], **options)
        except EvidenceError:
            return None


def _call(message: Message, number: int) -> dict[str, Any]:
    function = {"name": str(message.get("name", "probe")), "arguments": {}}
    return {"id": _CALL_ID.format(number), "type": "function", "function": function}


def _of_call(number: int) -> dict[str, Any]:
    return {"tool_call_id": _CALL_ID.format(number)}


def _holds(tail: str, read: Sequence[Message]) -> bool:
    """Whether a template wrote all that is read, as it is or as JSON."""
    for message in read:
        said = str(message["content"]).strip()
        forms = [said, json.dumps(said)[1:-1], json.dumps(said, ensure_ascii=False)[1:-1]]
        if not any(form in tail for form in forms):
            return False
    return True


def template_call(tokenizer: Any, name: str, arguments: Mapping[str, Any]) -> str | None:
    """How the chat template writes a call of a tool; None: it has no place for it.

    Examples
    --------
    >>> template_call(object(), "search", {"query": "Ulm"}) is None
    True
    """
    function = {"name": name, "arguments": dict(arguments)}
    calls = [{"id": _CALL_ID.format(0), "type": "function", "function": function}]
    said = {"role": "assistant", "content": "", "tool_calls": calls}
    asked = [{"role": "user", "content": "a"}]
    plain = [*asked, {"role": "assistant", "content": _MARK}]
    try:
        opened = rendered(tokenizer, "", asked, add_generation_prompt=True)
        found = rendered(tokenizer, "", [*asked, said])
        end = rendered(tokenizer, "", plain).rpartition(_MARK)[2]
    except EvidenceError:
        return None
    if name not in found:
        return None
    return found.removeprefix(opened).removesuffix(end)


def spoken_text(tokenizer: Any, ids: Sequence[int], *, chat: bool | None = None) -> str:
    """What a model wrote in a turn, special tokens and all, but for its end."""
    own = list(ids)
    if own and own[-1] in stop_ids(tokenizer, chat):
        own.pop()
    return str(tokenizer.decode(own, skip_special_tokens=False, clean_up_tokenization_spaces=False))


@dataclass(frozen=True)
class FittedTurn:
    """What is read between two turns, within its room.

    Attributes
    ----------
    ids
        as they stand behind what the model wrote
    read
        as it was cut
    cut
        tokens that were left out; where a text is so long that it is not tokenised whole, at least
    """

    ids: list[int]
    read: str | Sequence[Message]
    cut: int = 0


def fitted_turn(
    writer: TurnWriter,
    tokenizer: Any,
    read: str | Sequence[Message],
    *,
    room: int,
    last: int | None,
    keep: Kept = "head",
) -> FittedTurn | None:
    """What is read, each text cut to the most tokens with which all fit; None: not even empty ones.

    Parameters
    ----------
    room
        tokens, the template's own among them
    last
        the last id that the model wrote
    keep
        what stays of a text that is too long; where something was left out ``[...]`` stands
    """
    texts = [read] if isinstance(read, str) else [str(message["content"]) for message in read]
    flood = sum(max(len(text) - _MOST * room, 0) for text in texts)
    if flood:
        texts = [_bounded(text, _MOST * room, keep) for text in texts]
        read = _with_texts(read, texts)
    whole = writer(read, last=last)
    if len(whole) <= room:
        return FittedTurn(whole, read, -(-flood // _MOST))
    tokens = [option_ids(tokenizer, text) for text in texts]
    found = None
    low, high = 0, max(map(len, tokens))
    while low <= high:
        most = (low + high) // 2
        shorter = []
        for own, text in zip(tokens, texts, strict=True):
            shorter.append(_cut(tokenizer, own, text, most, keep))
        made = _with_texts(read, shorter)
        ids = writer(made, last=last)
        if len(ids) <= room:
            left = -(-flood // _MOST) + sum(max(len(own) - most, 0) for own in tokens)
            found = FittedTurn(ids, made, left)
            low = most + 1
        else:
            high = most - 1
    return found


def _bounded(text: str, most: int, keep: Kept) -> str:
    """A text of no more characters than could matter."""
    if len(text) <= most:
        return text
    first = {"head": most, "tail": 0, "ends": most - most // 2}[keep]
    return text[:first] + text[len(text) - (most - first) :]


def _cut(tokenizer: Any, ids: Sequence[int], text: str, most: int, keep: Kept) -> str:
    if len(ids) <= most:
        return text
    if not most:
        return ""
    first = {"head": most, "tail": 0, "ends": most - most // 2}[keep]
    options = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
    before = tokenizer.decode(list(ids[:first]), **options)
    after = tokenizer.decode(list(ids[len(ids) - (most - first) :]), **options)
    return f"{before}{GAP}{after if most > first else ''}".strip()


def _with_texts(read: str | Sequence[Message], texts: Sequence[str]) -> str | list[Message]:
    if isinstance(read, str):
        return texts[0]
    return [{**message, "content": text} for message, text in zip(read, texts, strict=True)]
