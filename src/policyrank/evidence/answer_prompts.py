"""The prompt of a row of answers: as it is read, and as it is written again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from policyrank.errors import EvidenceError
from policyrank.evidence.conversations import (
    Conversation,
    Message,
    Prompt,
    check_characters,
    is_transcript,
    read_chat,
    read_options,
    read_tools,
    transcript_prompt,
)

PROMPTS = ("prompt", "instruction", "question")
"""Columns that may hold the prompt."""
SYSTEMS = ("system", "system_prompt")
"""Columns that may hold the system message, whichever is filled first."""


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
            return of_transcript(place, row, given)
    return with_context(place, row, given)


def has_prompt(row: Mapping[str, Any]) -> bool:
    """Whether a column of the row is its prompt."""
    return any(row.get(name) for name in PROMPTS)


def of_transcript(place: str, row: Mapping[str, Any], given: str | Sequence[Message]) -> Prompt:
    """Turns of a dialogue; with a system message or tools they are no text any more."""
    prompt = transcript_prompt(given)
    if any(row.get(name) for name in (*SYSTEMS, "tools", "chat_template_kwargs")):
        return with_context(place, row, prompt.messages)
    return prompt


def with_context(place: str, row: Mapping[str, Any], given: Any) -> Prompt:
    """A text or messages, with the system message, tools and options that the row has.

    Raises
    ------
    EvidenceError
        When one of them cannot be understood.
    """
    tools = read_tools(place, row.get("tools"))
    options = read_options(place, row.get("chat_template_kwargs"))
    name, system = _system(place, row)
    if isinstance(given, str):
        if not (tools or options or system):
            return given
        given = [{"role": "user", "content": given}]
    messages = read_chat(place, "the prompt", given)
    if system and messages[0]["role"] == "system":
        raise EvidenceError(
            f"{place}: a column {name} beside messages that begin with a system turn. Remove the"
            f" column {name}, or that turn."
        )
    if system:
        messages = ({"role": "system", "content": system}, *messages)
    return Conversation(messages, tools, options)


def _system(place: str, row: Mapping[str, Any]) -> tuple[str, str]:
    """The column of the system message, and its text, which is empty where there is none."""
    for name in SYSTEMS:
        value = row.get(name)
        if value is None or value == "":
            continue
        if not isinstance(value, str):
            raise EvidenceError(f"{place}: {name} is no text ({str(value)[:60]!r}).")
        check_characters(f"{place}: {name}", value)
        return name, value
    return SYSTEMS[0], ""


def with_prompt(place: str, row: Mapping[str, Any], prompt: Prompt) -> dict[str, Any]:
    """A row with its prompt as it was read, where its columns say another.

    Its own prompt and the system message that went into it are kept as ``given_...``.
    """
    try:
        own: Prompt | None = read_prompt(place, row)
    except EvidenceError:
        own = None
    if own == prompt:
        return dict(row)
    written: Any = prompt
    if isinstance(prompt, Conversation):
        written = prompt.transcript or list(prompt.messages)
    there = {name: value for name, value in row.items() if name != "prompt" or value is not None}
    return {"prompt": written} | renamed(there, ("prompt", *SYSTEMS))


def renamed(row: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The row, its columns of these names as ``given_...``, none of which writes over another.

    Examples
    --------
    >>> renamed({"scores": [1], "given_scores": [2]}, ["scores"])
    {'given_given_scores': [1], 'given_scores': [2]}
    """
    changed = set(names)
    found = {}
    for name, value in row.items():
        told = name
        if name in changed:
            told = f"given_{name}"
            while told in row:
                told = f"given_{told}"
        found[told] = value
    return found
