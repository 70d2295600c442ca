"""Conversations: prompts and answers as messages, read as they are or refused, never reworded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from policyrank.errors import EvidenceError

Message = Mapping[str, Any]
"""``role``, ``content`` (a text; None beside ``tool_calls``) and what else a template reads."""

SHAREGPT = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
_TURN = re.compile(r"\n\n(Human|Assistant):")


@dataclass(frozen=True)
class Conversation(Sequence[Message]):
    """Messages, with what a chat template is given beside them.

    Attributes
    ----------
    messages
        ``{"role", "content", ...}``
    tools
        schemas of the functions that may be called
    options
        further variables of the template, such as ``enable_thinking``
    transcript
        the same as a text, for tokenizers without a chat template; an answer follows after a space
    """

    messages: tuple[Message, ...]
    tools: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    transcript: str | None = None

    def __len__(self) -> int:
        return len(self.messages)

    def __getitem__(self, k: Any) -> Any:
        return self.messages[k]

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages)


Prompt = str | Conversation | Sequence[Message]
"""A text, or messages of a chat."""
Answer = str | Sequence[Message]
"""A text, or the messages that follow a prompt."""


def text_of(value: Prompt | Answer) -> str:
    """A text, or the contents of chat messages, a blank line between them.

    Raises
    ------
    EvidenceError
        For messages that are more than texts, such as calls of tools: as one text they would be
        something else.

    Examples
    --------
    >>> text_of([{"role": "user", "content": "Hi."}])
    'Hi.'
    """
    if isinstance(value, str):
        return value
    texts = []
    for message in value:
        content = message.get("content")
        if not isinstance(content, str) or message.get("tool_calls"):
            raise EvidenceError(
                f"a message of {message.get('role')} is no plain text ({str(message)[:60]!r}): it"
                " can be read by a chat template only."
            )
        texts.append(content)
    return "\n\n".join(texts)


def as_messages(prompt: Prompt) -> list[Message]:
    """The prompt as messages; a text is what the user says."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return list(prompt)


def is_chat(value: Any) -> bool:
    """Whether a value is a list of messages."""
    if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
        return False
    messages = list(value)
    return bool(messages) and all(isinstance(message, Mapping) for message in messages)


def read_chat(place: str, what: str, value: Any) -> tuple[Message, ...]:
    """Messages as a chat template takes them.

    Parts of a content that are all text become one text, keys without a value are dropped (tables
    fill them in), and ``{"from": "human", "value": ...}`` is read as role and content.

    Raises
    ------
    EvidenceError
        Naming the place and the message that is none, or holds something else than text.
    """
    if isinstance(value, Mapping):
        value = [value]
    if not is_chat(value):
        raise EvidenceError(
            f"{place}: {what} is neither a text nor a list of messages with role and content"
            f" ({str(value)[:60]!r})."
        )
    messages = []
    for number, message in enumerate(value, 1):
        messages.append(_message(f"{place}: message {number} of {what}", message))
    return tuple(messages)


def _message(where: str, given: Mapping[str, Any]) -> Message:
    message = {str(name): value for name, value in given.items() if value is not None}
    if "role" not in message and "from" in message:
        speaker = str(message.pop("from"))
        message = {"role": SHAREGPT.get(speaker, speaker), "content": message.pop("value", None)}
    if not isinstance(message.get("role"), str):
        raise EvidenceError(f"{where} has no role ({str(given)[:60]!r}).")
    content = message.get("content")
    if content is None and not message.get("tool_calls"):
        raise EvidenceError(f"{where} has neither content nor tool calls ({str(given)[:60]!r}).")
    if content is not None:
        message["content"] = _content(where, content)
    if "tool_calls" in message:
        message["tool_calls"] = _calls(where, message["tool_calls"])
    for name, value in message.items():
        if isinstance(value, str):
            check_characters(f"{where}, its {name}", value)
    return message


def _content(where: str, content: Any) -> str:
    """A text, from a text or from parts that are texts."""
    if isinstance(content, str):
        return content
    parts = []
    for part in _listed(content):
        if isinstance(part, str):
            parts.append(part)
        elif isinstance(part, Mapping) and isinstance(part.get("text"), str):
            parts.append(part["text"])
        else:
            kind = part.get("type", "thing") if isinstance(part, Mapping) else type(part).__name__
            raise EvidenceError(
                f"{where} holds a part that is no text ({kind}): language models here read texts"
                " only. Leave the row out."
            )
    if not parts:
        raise EvidenceError(f"{where}: content is no text ({str(content)[:60]!r}).")
    return "".join(parts)


def _listed(value: Any) -> list[Any]:
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        return []
    return list(value)


def _calls(where: str, calls: Any) -> list[Mapping[str, Any]]:
    if isinstance(calls, (str, Mapping)) or not isinstance(calls, Iterable):
        raise EvidenceError(
            f"{where}: tool_calls is no list of calls ({str(calls)[:60]!r}). Mend or remove it."
        )
    return [_call(where, call) for call in calls]


def _call(where: str, call: Any) -> Mapping[str, Any]:
    """A call of a tool; arguments as JSON are read, of others keys without a value dropped."""
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise EvidenceError(f"{where}: a call of a tool has no function name ({str(call)[:60]!r}).")
    function = dict(function)
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            function["arguments"] = json.loads(arguments)
        except json.JSONDecodeError:
            raise EvidenceError(
                f"{where}: arguments of {function['name']} are not JSON ({arguments[:60]!r})."
            ) from None
    else:
        function = without_nulls(function)
    check_inside(f"{where}: a call of {function['name']}", function)
    named = {name: value for name, value in call.items() if value is not None}
    return {"type": "function", **named, "function": function}


def without_nulls(value: Any) -> Any:
    """Objects without their keys that have no value, at any depth: tables fill such keys in.

    Examples
    --------
    >>> without_nulls({"city": "Ulm", "day": None, "of": [{"x": None}, None]})
    {'city': 'Ulm', 'of': [{}, None]}
    """
    if isinstance(value, Mapping):
        return {name: without_nulls(of) for name, of in value.items() if of is not None}
    if isinstance(value, (list, tuple)):
        return [without_nulls(of) for of in value]
    return value


def check_characters(where: str, text: str) -> None:
    """Refuse a text that cannot be written: half of a pair of surrogates.

    Raises
    ------
    EvidenceError
        Naming the place in the text.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise EvidenceError(
            f"{where}: character {error.start + 1} is half a character (a lone surrogate,"
            f" {text[error.start]!r}). Repair the text."
        ) from None


def check_inside(where: str, value: Any) -> None:
    """Refuse texts that cannot be written, within lists and objects too.

    Raises
    ------
    EvidenceError
        Naming the place.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, TypeError, RecursionError):
        raise EvidenceError(f"{where} cannot be written as JSON.") from None
    check_characters(where, text)


def read_tools(place: str, value: Any) -> tuple[Any, ...]:
    """Schemas of tools: a list, or one written as JSON.

    Raises
    ------
    EvidenceError
        When it is neither.
    """
    if value is None:
        return ()
    if isinstance(value, str):
        value = _json(f"{place}: tools are", value or "[]")
    elif not isinstance(value, Mapping) and isinstance(value, Iterable):
        value = without_nulls(list(value))
    if not isinstance(value, list):
        raise EvidenceError(f"{place}: tools is no list ({str(value)[:60]!r}).")
    check_inside(f"{place}: tools", value)
    return tuple(value)


def read_options(place: str, value: Any) -> dict[str, Any]:
    """Variables of the chat template: an object, or one written as JSON.

    Raises
    ------
    EvidenceError
        When it is neither.
    """
    if value is None:
        return {}
    if isinstance(value, str):
        value = _json(f"{place}: chat_template_kwargs are", value.strip() or "{}")
    elif isinstance(value, Mapping):
        value = without_nulls(value)
    if not isinstance(value, dict):
        raise EvidenceError(
            f"{place}: chat_template_kwargs is no object ({str(value)[:60]!r}). Give names with"
            ' values, such as {"enable_thinking": false}.'
        )
    check_inside(f"{place}: chat_template_kwargs", value)
    return value


def _json(what: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise EvidenceError(f"{what} not JSON ({text[:60]!r}).") from None


def is_transcript(text: Any) -> bool:
    """Whether a text is a dialogue as in HH-RLHF, ``Human: ...`` and ``Assistant: ...``."""
    return isinstance(text, str) and text.lstrip().startswith("Human:") and "Assistant:" in text


def read_transcript(text: str) -> tuple[Message, ...]:
    r"""Messages of a dialogue as in HH-RLHF.

    Examples
    --------
    >>> [own["role"] for own in read_transcript("\n\nHuman: Hi.\n\nAssistant: Hello.")]
    ['user', 'assistant']
    """
    pieces = _TURN.split("\n\n" + text.lstrip())[1:]
    messages = []
    for speaker, said in zip(pieces[::2], pieces[1::2], strict=True):
        role = "user" if speaker == "Human" else "assistant"
        messages.append({"role": role, "content": said.strip()})
    return tuple(messages)


def transcript_prompt(given: str | Sequence[Message]) -> Conversation:
    r"""The turns of a dialogue before an answer, as messages and as the text that they were.

    Examples
    --------
    >>> transcript_prompt("Human: Hi.\n\nAssistant:").transcript
    '\n\nHuman: Hi.\n\nAssistant:'
    """
    messages = list(read_transcript(given) if isinstance(given, str) else given)
    if messages and messages[-1] == {"role": "assistant", "content": ""}:
        messages.pop()
    parts = []
    for message in messages:
        speaker = "Human" if message["role"] == "user" else "Assistant"
        parts.append(f"\n\n{speaker}: {message['content']}")
    return Conversation(tuple(messages), transcript="".join(parts) + "\n\nAssistant:")
