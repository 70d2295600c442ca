"""Prompts that are asked again, with a failed answer in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from policyrank.evidence.conversations import Conversation, Prompt
from policyrank.models.tokens import encode_prompt
from policyrank.train.group_data import PromptRow
from policyrank.train.replay_buffer import KeptOutput

_FIELD = re.compile(r"\{(prompt|answer|reward)\}")


@dataclass(frozen=True)
class ReflectedRow(PromptRow):
    """A prompt with a failed answer to it; its number is that of the prompt."""


def reflected_row(
    row: PromptRow,
    failed: KeptOutput,
    tokenizer: Any,
    template: str,
    *,
    room: int,
    chat: bool | None,
) -> ReflectedRow | None:
    """A prompt asked again; None: it has no room, or no text that could be put into a template.

    Parameters
    ----------
    template
        with ``{prompt}``, ``{answer}``, ``{reward}``
    room
        tokens of a prompt; the answer is cut at its end until all fits
    """
    asked = _text(row.prompt)
    if asked is None:
        return None
    ids = [token for token, own in zip(failed.ids, failed.where, strict=True) if own]
    most = len(ids)
    while True:
        answer = tokenizer.decode(ids[:most], skip_special_tokens=True)
        said = {"prompt": asked, "answer": answer, "reward": f"{failed.reward:g}"}
        prompt = _with_text(row.prompt, _filled(template, said))
        own = encode_prompt(tokenizer, prompt, chat=chat)
        if len(own) <= room:
            return ReflectedRow(row.number, prompt, own, row.columns)
        if not most:
            return None
        most = max(most - (len(own) - room), 0)


def _filled(template: str, said: dict[str, str]) -> str:
    """In one pass: braces in what is filled in stay."""
    return _FIELD.sub(lambda found: said[found[1]], template)


def _text(prompt: Prompt) -> str | None:
    """What is asked: the text, or that of the last message, if the user's."""
    if isinstance(prompt, str):
        return prompt
    last = prompt[-1]
    if getattr(prompt, "transcript", None) is not None or last.get("role") != "user":
        return None
    content = last.get("content")
    return content if isinstance(content, str) else None


def _with_text(prompt: Prompt, text: str) -> Prompt:
    """The same prompt with another text where ``_text`` read it."""
    if isinstance(prompt, str):
        return text
    messages: Sequence[Any] = [*prompt[:-1], {**prompt[-1], "content": text}]
    if isinstance(prompt, Conversation):
        return replace(prompt, messages=tuple(messages))
    return list(messages)
