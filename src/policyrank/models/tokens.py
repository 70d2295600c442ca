"""Prompts and answers as token ids: an answer is what the chat template adds to its prompt."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from policyrank.errors import EvidenceError, OptionError
from policyrank.evidence.conversations import Answer, Prompt, text_of
from policyrank.models.chat import AskedPrompt, answer_tail, answer_turns, rendered_prompt


def padding(tokenizer: Any) -> Any:
    """The id that pads: the tokenizer's own, or else its end token."""
    if tokenizer.pad_token_id is not None:
        return tokenizer.pad_token_id
    return tokenizer.eos_token_id


def pad_apart(tokenizer: Any) -> int:
    """An id to pad with that ends no answer: a head that reads the last token finds the end.

    The tokenizer's own where it is none of ``stop_ids``; else its token for unknown words, of the
    beginning, another special one, or the last of the vocabulary, which then is what it pads with.
    """
    stop = stop_ids(tokenizer)
    ids = [tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id]
    for found in [*ids, *tokenizer.all_special_ids, *range(len(tokenizer) - 1, -1, -1)]:
        if found is not None and found not in stop:
            tokenizer.pad_token = tokenizer.convert_ids_to_tokens(found)
            return int(found)
    raise EvidenceError("a tokenizer of end tokens only: nothing is left to pad with.")


def refuse_other_tokens(tokenizer: Any, other: Any, what: str) -> None:
    """Refuse a model that would read ids of this tokenizer as other tokens.

    Special tokens may have other names: models add some of their own.

    Raises
    ------
    OptionError
        Naming the first token that is another one.
    """
    theirs = {number: token for token, number in other.get_vocab().items()}
    special = {*tokenizer.all_special_ids, *other.all_special_ids}
    for token, number in sorted(tokenizer.get_vocab().items(), key=lambda own: own[1]):
        if number not in special and theirs.get(number, token) != token:
            raise OptionError(
                f"{what} has another tokenizer: it reads {token!r} as {theirs[number]!r} (id"
                f" {number}). Name a model of the policy's own tokens."
            )


def refuse_fewer_tokens(tokenizer: Any, policy: Any, other: Any, what: str) -> None:
    """Refuse a model that has no embedding of some tokens that a policy has and writes.

    Raises
    ------
    OptionError
        Naming how many there are.
    """
    written, there = (len(own.get_input_embeddings().weight) for own in (policy, other))
    needed = min(written, max(tokenizer.get_vocab().values()) + 1)
    if needed > there:
        raise OptionError(
            f"{what} knows {there:,} tokens, and the policy {needed:,}. Name a model of the"
            " policy's own tokens."
        )


@dataclass(frozen=True)
class AnswerTokens:
    """An answer as token ids.

    Attributes
    ----------
    ids
        its tokens
    steps
        of each token, its step (1, 2, ...); 0 for what the policy did not write, such as what a
        tool answered
    """

    ids: list[int]
    steps: list[int]


def encode_prompt(tokenizer: Any, prompt: Prompt, *, chat: bool | None = None) -> list[int]:
    """Token ids of a prompt that answers are sampled for; see ``ask``."""
    return ask(tokenizer, prompt, chat=chat, answered=False).ids


def ask(
    tokenizer: Any, prompt: Prompt, *, chat: bool | None = None, answered: bool = True
) -> AskedPrompt:
    """A prompt as token ids, ready for answers.

    Parameters
    ----------
    chat
        through the tokenizer's chat template (None: when it has one); messages always are, but for
        dialogues that were read from a text
    answered
        whether answers are given; False: they are to be sampled

    Raises
    ------
    EvidenceError
        When messages are given to a tokenizer without a chat template, the template refuses them
        or leaves something out, or nothing is left of the prompt.
    """
    template = bool(getattr(tokenizer, "chat_template", None))
    if chat is None:
        chat = template
    transcript = getattr(prompt, "transcript", None)
    if isinstance(prompt, str) or (transcript is not None and not chat):
        chat = chat and isinstance(prompt, str)
    else:
        chat = True
    if chat and not template:
        raise EvidenceError(
            "the prompt is a chat, but the tokenizer has no chat template. Give texts, or a"
            " tokenizer with one."
        )
    if chat:
        text = rendered_prompt(tokenizer, prompt, answered=answered)
    else:
        text = transcript or text_of(prompt)
    ids = list(tokenizer(text, add_special_tokens=not chat)["input_ids"])
    if not ids and tokenizer.bos_token_id is not None:
        ids = [tokenizer.bos_token_id]
    if not ids:
        raise EvidenceError(
            "a prompt without a token: nothing predicts the answer's first one. Give a text."
        )
    return AskedPrompt(prompt, ids, text, chat)


def answer_tokens(
    tokenizer: Any,
    asked: AskedPrompt,
    answer: Answer,
    *,
    steps: Sequence[str] | None = None,
    end: bool = True,
) -> AnswerTokens:
    """Token ids of an answer to a prompt.

    With a chat template: what it writes of prompt and answer, less what it writes of the prompt;
    so an answer ends with the template's own end of turn. Plain: the text and the end token.

    Parameters
    ----------
    answer
        a text, or messages
    steps
        texts that together are the answer: each token belongs to the step in which it ends
    end
        with its end, so that it is a whole answer

    Raises
    ------
    EvidenceError
        When the template refuses the answer, leaves something out of it, or writes the prompt
        otherwise once an answer follows.
    """
    if not asked.chat:
        return _plain_tokens(tokenizer, asked, answer, steps, end)
    if isinstance(answer, str):
        parts = [(answer_tail(tokenizer, asked, answer), 1)]
        last = answer
    else:
        parts = answer_turns(tokenizer, asked, answer)
        last = str(answer[-1].get("content") or "")
    tail, after = parts[-1]
    if not end or steps is not None:
        start = tail.rfind(last.strip())
        written = tail[: start + len(last.strip())]
        if steps is not None:
            parts = _by_step(tail, start, last, steps)
        if not end:
            parts = [*parts[:-1], (written, after)]
    return _tokens(tokenizer, asked, parts)


def _plain_tokens(
    tokenizer: Any,
    asked: AskedPrompt,
    answer: Answer,
    steps: Sequence[str] | None,
    end: bool,
) -> AnswerTokens:
    if not isinstance(answer, str):
        raise EvidenceError(
            "the answer is messages, but the prompt is read without a chat template. Give texts, or"
            " read it as a chat."
        )
    space = " " if getattr(asked.prompt, "transcript", None) else ""
    parts = [(space + answer, 1)]
    if steps is not None:
        parts = _by_step(space + answer, len(space), answer, steps)
    found = _tokens(tokenizer, asked, parts)
    if end and tokenizer.eos_token_id is not None:
        last = found.steps[-1] if found.steps else 1
        return AnswerTokens([*found.ids, tokenizer.eos_token_id], [*found.steps, last])
    return found


def _by_step(tail: str, start: int, answer: str, steps: Sequence[str]) -> list[tuple[str, int]]:
    """A text cut where the steps of the answer end; what follows is of the last step."""
    at = start - (len(answer) - len(answer.lstrip()))
    cuts = [0]
    for text in steps:
        at += len(text)
        cuts.append(max(at, cuts[-1]))
    cuts[-1] = len(tail)
    parts = []
    for number, (left, right) in enumerate(pairwise(cuts), 1):
        parts.append((tail[left:right], number))
    return parts


def _tokens(tokenizer: Any, asked: AskedPrompt, parts: Sequence[tuple[str, int]]) -> AnswerTokens:
    """Ids of texts that follow the prompt and one another, and the step of each token.

    They are read together with the prompt, since some tokenizers begin every text of its own with a
    space; alone where a token would reach from the one into the other.
    """
    text = "".join(part for part, _ in parts)
    if len(parts) > 1 and not getattr(tokenizer, "is_fast", False):
        return _part_by_part(tokenizer, parts)
    options: dict[str, Any] = {"return_offsets_mapping": len(parts) > 1}
    if len(parts) == 1:
        options = {}
    n, before = len(asked.ids), len(asked.text)
    found = tokenizer(asked.text + text, add_special_tokens=not asked.chat, **options)
    if list(found["input_ids"][:n]) != asked.ids:
        n = before = 0
        found = tokenizer(text, add_special_tokens=False, **options)
    ids = list(found["input_ids"][n:])
    if len(parts) == 1:
        return AnswerTokens(ids, [parts[0][1]] * len(ids))
    stops: list[int] = []
    for part, _ in parts:
        stops.append(len(part) + (stops[-1] if stops else before))
    steps = []
    for start, stop in found["offset_mapping"][n:]:
        place = bisect_right(stops, max(stop - 1, start))
        steps.append(parts[min(place, len(parts) - 1)][1])
    return AnswerTokens(ids, steps)


def _part_by_part(tokenizer: Any, parts: Sequence[tuple[str, int]]) -> AnswerTokens:
    """For tokenizers that do not say where their tokens stand."""
    ids: list[int] = []
    steps: list[int] = []
    for part, step in parts:
        own = tokenizer(part, add_special_tokens=False)["input_ids"]
        ids += own
        steps += [step] * len(own)
    return AnswerTokens(ids, steps)


def option_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text that stands alone, without an end."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def stop_ids(tokenizer: Any, chat: bool | None = None) -> list[int]:
    """Ids that end an answer: the end token, and what the chat template ends a turn with."""
    ids = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    template = getattr(tokenizer, "chat_template", None)
    if template and chat is not False:
        turn = _end_of_turn(tokenizer, str(template))
        if turn is not None and turn not in ids:
            ids.append(turn)
    return ids


@lru_cache(maxsize=32)
def _end_of_turn(tokenizer: Any, template: str) -> int | None:
    """The first token after an answer, where it is one of the tokenizer's special ones."""
    try:
        asked = ask(tokenizer, "a", chat=True)
        tail = answer_tail(tokenizer, asked, "b")
    except EvidenceError:
        return None
    after = option_ids(tokenizer, tail[tail.rfind("b") + 1 :])
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    if after and after[0] in special:
        return after[0]
    return None
