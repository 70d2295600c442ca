"""Prompts and answers as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from policyrank.errors import EvidenceError
from policyrank.evidence.answers import Prompt


def padding(tokenizer: Any) -> Any:
    """The id that pads: the tokenizer's own, or else its end token."""
    if tokenizer.pad_token_id is not None:
        return tokenizer.pad_token_id
    return tokenizer.eos_token_id


def encode_prompt(tokenizer: Any, prompt: Prompt, *, chat: bool | None = None) -> list[int]:
    """Token ids of a prompt.

    ``chat``: through the tokenizer's chat template (None: when it has one); messages always are.

    Raises
    ------
    EvidenceError
        When messages are given to a tokenizer without a chat template, or nothing is left of the
        prompt.
    """
    template = bool(getattr(tokenizer, "chat_template", None))
    if chat is None:
        chat = template
    messages = messages_of(prompt)
    if not isinstance(prompt, str):
        chat = True
        if not template:
            raise EvidenceError(
                "the prompt is a chat, but the tokenizer has no chat template. Give texts, or a"
                " tokenizer with one."
            )
    if chat:
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        head = tokenizer(text, add_special_tokens=False)["input_ids"]
    else:
        head = tokenizer(prompt)["input_ids"]
    if not head and tokenizer.bos_token_id is not None:
        head = [tokenizer.bos_token_id]
    if not head:
        raise EvidenceError(
            "a prompt without a token: nothing predicts the answer's first one. Give a text."
        )
    return list(head)


def messages_of(prompt: Prompt) -> list[Any]:
    """The prompt as messages of a chat."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return list(prompt)


def encode_answer(
    tokenizer: Any, answer: str | Sequence[str], *, end: bool = True
) -> tuple[list[int], list[int]]:
    """Token ids of an answer, and the step of each (1, 2, ...).

    An answer may be given as steps, which follow one another. ``end``: with the end token, so that
    it is a whole answer.
    """
    if isinstance(answer, str):
        answer = [answer]
    ids: list[int] = []
    steps: list[int] = []
    for number, text in enumerate(answer, 1):
        own = tokenizer(text, add_special_tokens=False)["input_ids"]
        ids += own
        steps += [number] * len(own)
    if end and tokenizer.eos_token_id is not None:
        ids.append(tokenizer.eos_token_id)
        steps.append(steps[-1] if steps else 1)
    return ids, steps


def encode(
    tokenizer: Any,
    prompt: Prompt,
    answer: str,
    max_length: int,
    *,
    chat: bool | None = None,
    end: bool = True,
) -> tuple[list[int], list[int], bool]:
    """Token ids of prompt and answer, and whether the answer had to be cut.

    The two are tokenised apart, so that all answers of a prompt see the same one.

    Raises
    ------
    EvidenceError
        When the prompt alone is longer than the limit.
    """
    head = encode_prompt(tokenizer, prompt, chat=chat)
    tail, _ = encode_answer(tokenizer, answer, end=end)
    room = max_length - len(head)
    if room <= 0:
        raise EvidenceError(
            f"a prompt of {len(head)} tokens leaves no room for an answer within {max_length}:"
            f" {prompt[:60]!r}. Raise the limit or leave it out."
        )
    return head, tail[:room], len(tail) > room
