"""Prompts and answers within so many tokens: what is too long is cut or left out, and counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from policyrank.errors import EvidenceError
from policyrank.evidence.conversations import Answer, Prompt
from policyrank.models.tokens import AnswerTokens, answer_tokens, ask

LongPrompts = Literal["leave out", "cut"]


@dataclass
class Seen:
    """What encoding met: long prompts; answers that were cut, became the same, cannot be read."""

    long: int = 0
    cut: int = 0
    same: int = 0
    alike: int = 0
    unread: int = 0
    why: str = ""

    def skip(self, error: Exception) -> None:
        """Count an answer that cannot be read; the first reason is told."""
        self.unread += 1
        self.why = self.why or str(error).rstrip(".")

    def notes(self, max_length: int, long_prompts: LongPrompts) -> list[str]:
        """What is told of it."""
        done = {"leave out": "left out", "cut": "cut at their beginning"}[long_prompts]
        room = f"that leave an answer neither its own length nor half of {max_length} tokens"
        told = {
            f"{done}: {self.long:,} prompts {room}": self.long,
            f"cut: {self.cut:,} completions at {max_length} tokens": self.cut,
            f"left out: {self.same:,} completions equal to another once they are tokens": self.same,
            f"left out: {self.alike:,} lists of which nothing else is left": self.alike,
            f"left out: {self.unread:,} answers that cannot be read ({self.why})": self.unread,
        }
        return [note for note, count in told.items() if count]


def fitted(
    head: list[int],
    tails: Sequence[AnswerTokens],
    max_length: int,
    long_prompts: LongPrompts,
    seen: Seen,
    *,
    keep_end: bool = False,
) -> tuple[list[int], list[AnswerTokens]] | None:
    """Prompt and answers within so many tokens each; None: the prompt is too long.

    It is where it leaves the longest answer neither its own length nor half of ``max_length``.
    Longer answers are cut at their end; ``seen`` counts. With ``keep_end`` their last token stays,
    which a reward is read from.
    """
    longest = max((len(tail.ids) for tail in tails), default=0)
    room = min(longest, max_length - max_length // 2)
    if len(head) > max_length - room:
        seen.long += 1
        if long_prompts == "leave out":
            return None
        head = head[len(head) - (max_length - room) :]
    left = max_length - len(head)
    kept = []
    for tail in tails:
        if len(tail.ids) <= left:
            kept.append(tail)
            continue
        seen.cut += 1
        end = left - 1 if keep_end else left
        ids, steps = tail.ids[:end], tail.steps[:end]
        if keep_end:
            ids, steps = [*ids, tail.ids[-1]], [*steps, tail.steps[-1]]
        kept.append(AnswerTokens(ids, steps))
    return head, kept


def encode(
    tokenizer: Any,
    prompt: Prompt,
    answer: Answer,
    max_length: int,
    *,
    chat: bool | None = None,
    end: bool = True,
) -> tuple[list[int], list[int], bool]:
    """Token ids of prompt and answer, and whether the answer had to be cut.

    Raises
    ------
    EvidenceError
        When the prompt is too long; see ``fitted``.
    """
    asked, seen = ask(tokenizer, prompt, chat=chat), Seen()
    tail = answer_tokens(tokenizer, asked, answer, end=end)
    found = fitted(asked.ids, [tail], max_length, "leave out", seen)
    if found is None:
        raise EvidenceError(
            f"a prompt of {len(asked.ids)} tokens leaves no room for an answer within {max_length}:"
            f" {str(prompt)[:60]!r}. Raise the limit or leave it out."
        )
    head, (kept,) = found
    return head, kept.ids, seen.cut > 0
