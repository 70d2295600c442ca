"""What a chat template makes of prompts and answers, and what it leaves out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from policyrank.errors import EvidenceError
from policyrank.evidence.conversations import Conversation, Message, Prompt, as_messages

THOUGHTS = ("reasoning_content", "thinking")
"""Keys of a message that hold what was thought before the content."""
_THOUGHT = re.compile("</?think>")


@dataclass(frozen=True, eq=False)
class AskedPrompt:
    """A prompt as token ids.

    Attributes
    ----------
    prompt
        as it was given
    ids
        its tokens
    text
        what they are the tokens of
    chat
        whether the chat template wrote it
    """

    prompt: Prompt
    ids: list[int]
    text: str
    chat: bool


def rendered_prompt(tokenizer: Any, prompt: Prompt, *, answered: bool) -> str:
    """What the template makes of a prompt: the next turn begun, or the last one left open.

    ``answered``: without what it opens for an answer to be sampled, but does not write before one
    that is given, as some do with thoughts.
    """
    messages = as_messages(prompt)
    if messages[-1].get("role") == "assistant":
        text = rendered(tokenizer, prompt, messages, continue_final_message=True)
    else:
        text = rendered(tokenizer, prompt, messages, add_generation_prompt=True)
        if answered and _opens_more(tokenizer, str(tokenizer.chat_template)):
            given = [*messages, {"role": "assistant", "content": "x"}]
            shared = _shared(tokenizer, text, rendered(tokenizer, prompt, given))
            if shared.startswith(rendered(tokenizer, prompt, messages)):
                text = shared
    if not isinstance(prompt, str):
        _refuse_losses(text, prompt)
    return text


@lru_cache(maxsize=32)
def _opens_more(tokenizer: Any, template: str) -> bool:
    """Whether a template begins answers to be sampled otherwise than those that are given."""
    asked = [{"role": "user", "content": "a"}]
    try:
        text = rendered(tokenizer, "", asked, add_generation_prompt=True)
        given = rendered(tokenizer, "", [*asked, {"role": "assistant", "content": "x"}])
    except EvidenceError:
        return False
    return not given.startswith(text)


def _shared(tokenizer: Any, text: str, other: str) -> str:
    """What two texts begin with, up to the end of a token."""
    same = _same(text, other)
    if not getattr(tokenizer, "is_fast", False):
        return text[:same]
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    stops = [stop for _, stop in found["offset_mapping"] if stop <= same]
    return text[: max(stops, default=0)]


def rendered(tokenizer: Any, prompt: Prompt, messages: Sequence[Message], **options: Any) -> str:
    """Messages as the chat template writes them, with the prompt's tools and variables."""
    if isinstance(prompt, Conversation):
        options |= prompt.options
        if prompt.tools:
            options["tools"] = list(prompt.tools)
    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, **options))
    except Exception as error:  # a template may raise anything
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise EvidenceError(
            f"the chat template refuses the messages ({why[0][:200]}). Give what it takes, or"
            " another tokenizer."
        ) from None


def _same(one: str, other: str) -> int:
    """How many first characters two texts share."""
    shorter = min(len(one), len(other))
    for place in range(shorter):
        if one[place] != other[place]:
            return place
    return shorter


def _refuse_losses(text: str, prompt: Prompt) -> None:
    """Refuse a template that leaves out tools, or what a message says."""
    for tool in getattr(prompt, "tools", ()):
        name = tool.get("function", tool).get("name", "") if isinstance(tool, Mapping) else ""
        if str(name) not in text:
            raise EvidenceError(
                f"the chat template has no place for tools: {name!r} is not in what it writes."
            )
    for message in as_messages(prompt):
        said = str(message.get("content") or "").rpartition("</think>")[2]
        _refuse_loss(text, said, message)
        _refuse_lost_calls(text, message)


def _refuse_loss(text: str, said: str, message: Message) -> None:
    said = said.strip()
    if said in text or json.dumps(said)[1:-1] in text:
        return
    raise EvidenceError(
        f"the chat template leaves out or rewrites what a message of {message.get('role')} says"
        f" ({said[:60]!r})."
    )


def _refuse_lost_calls(text: str, message: Message) -> None:
    for call in message.get("tool_calls") or ():
        if call["function"]["name"] not in text:
            raise EvidenceError(
                "the chat template has no place for calls of tools:"
                f" {call['function']['name']!r} is not in what it writes."
            )


def answer_tail(tokenizer: Any, asked: AskedPrompt, answer: str) -> str:
    """What the template adds for an answer that is a text."""
    messages = as_messages(asked.prompt)
    said = answer
    if messages[-1].get("role") == "assistant":
        begun = messages.pop()
        said = str(begun.get("content") or "") + answer
    tail = _added(tokenizer, asked, [*messages, {"role": "assistant", "content": said}])
    for piece in _THOUGHT.split(answer):
        _refuse_loss(tail, piece, {"role": "assistant"})
    return tail


def _added(tokenizer: Any, asked: AskedPrompt, messages: Sequence[Message]) -> str:
    whole = rendered(tokenizer, asked.prompt, messages)
    text = asked.text
    if not whole.startswith(text):
        same = _same(whole, text)
        raise EvidenceError(
            "the chat template writes the prompt otherwise once an answer follows:"
            f" {text[same : same + 40]!r} becomes {whole[same : same + 40]!r}. Options of the"
            " template (chat_template_kwargs) may end that; or read the texts plain."
        )
    return whole[len(text) :]


def answer_turns(
    tokenizer: Any, asked: AskedPrompt, answer: Sequence[Message]
) -> list[tuple[str, int]]:
    """What the template adds for each message of an answer, and whether the policy wrote it."""
    if not answer or answer[-1].get("role") != "assistant":
        raise EvidenceError("the answer does not end with a message of the assistant.")
    messages = as_messages(asked.prompt)
    start = messages[-1].get("role") == "assistant"
    parts: list[tuple[str, int]] = []
    seen = asked
    for message in answer:
        own = message.get("role") == "assistant"
        if own and (parts or start):
            opened = rendered(tokenizer, asked.prompt, messages, add_generation_prompt=True)
            if not opened.startswith(seen.text):
                raise EvidenceError("the chat template rewrites turns once others follow.")
            parts.append((opened[len(seen.text) :], 0))
            seen = replace(seen, text=opened)
        messages = [*messages, message]
        tail = _added(tokenizer, seen, messages)
        _refuse_loss(tail, str(message.get("content") or ""), message)
        _refuse_lost_calls(tail, message)
        for name in THOUGHTS:
            _refuse_loss(tail, str(message.get(name) or ""), message)
        parts.append((tail, int(own)))
        seen = replace(seen, text=seen.text + tail)
    return parts
