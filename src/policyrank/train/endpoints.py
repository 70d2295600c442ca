"""Answers of models that others serve: an OpenAI-compatible endpoint, each asked for once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec

from policyrank.errors import EvidenceError
from policyrank.evidence.answers import Prompt
from policyrank.evidence.conversations import as_messages
from policyrank.evidence.json_schema import parse_json
from policyrank.evidence.kept_lines import read_kept_lines
from policyrank.files import append_lines
from policyrank.train.posting import check_key, post
from policyrank.train.spent import Spent


@dataclass(frozen=True)
class Endpoint:
    """Answers of an OpenAI-compatible chat endpoint, each asked for once: they are kept in a file.

    Parameters
    ----------
    url
        base, such as http://localhost:8000/v1
    model
        its name there
    key
        name of the environment variable with the API key (None: no key)
    temperature, max_tokens
        of the request
    cache
        JSONL file of answers (None: not kept)
    workers, retries, timeout
        requests at once; tries after a failure (429, 5xx, no connection), waiting longer each time;
        seconds
    report
        told what is left out of the file
    spent
        counts tokens, as far as the server tells them, answers that were cut, and those that the
        file had
    """

    url: str
    model: str
    key: str | None = None
    temperature: float = 0.7
    max_tokens: int = 512
    cache: str | Path | None = None
    workers: int = 8
    retries: int = 5
    timeout: float = 120.0
    report: Callable[[str], Any] | None = None
    spent: Spent = field(default_factory=Spent, repr=False, compare=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def __call__(self, prompts: Sequence[Prompt], n: int = 1) -> list[list[str]]:
        """``n`` answers of each prompt.

        Raises
        ------
        EvidenceError
            When the key is missing, or a request fails for good.
        """
        check_key(self.url, self.key)
        keys = [self._key(prompt, n) for prompt in prompts]
        with self._lock:
            found = {key: self._kept[key] for key in keys if key in self._kept}
        todo = {key: own for key, own in zip(keys, prompts, strict=True) if key not in found}
        self.spent.add(kept=n * len(found))
        with ThreadPoolExecutor(self.workers) as pool:
            asked = pool.map(self._ask, todo, todo.values(), repeat(n))
            found.update(zip(todo, asked, strict=True))
        return [found[key] for key in keys]

    def _key(self, prompt: Prompt, n: int) -> str:
        """What an answer is kept under."""
        asked = as_messages(prompt)
        return json.dumps([self.url, self.model, self.temperature, self.max_tokens, asked, n])

    @cached_property
    def _kept(self) -> dict[str, list[str]]:
        """Answers in the file, which is read once."""
        if self.cache is None:
            return {}
        return {row.key: row.answers for row in read_kept_lines(self.cache, _Kept, self.report)}

    def _keep(self, key: str, answers: list[str]) -> None:
        if self.cache is None:
            return
        with self._lock:
            self._kept[key] = answers
            append_lines(self.cache, [json.dumps({"key": key, "answers": answers})])

    def _ask(self, key: str, prompt: Prompt, n: int) -> list[str]:
        """Answers of the endpoint, which are kept; some servers give one a request."""
        answers = self._reply(prompt, n)
        while len(answers) < n:
            answers += self._reply(prompt, 1)
        self._keep(key, answers[:n])
        return answers[:n]

    def _reply(self, prompt: Prompt, n: int) -> list[str]:
        """Answers of one request, at least one, asked for again after failures that may pass."""
        body = {
            "model": self.model,
            "messages": as_messages(prompt),
            "n": n,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }
        address = self.url.rstrip("/") + "/chat/completions"
        told: dict[str, Any] = {"retries": self.retries, "timeout": self.timeout}
        return self._count(post(address, body, _whole, key=self.key, **told))

    def _count(self, reply: _Reply) -> list[str]:
        """The answers of a reply, which are counted."""
        usage = reply.usage
        self.spent.add(
            answers=len(reply.choices),
            told=0 if usage is None else len(reply.choices),
            read=0 if usage is None else usage.prompt_tokens,
            written=0 if usage is None else usage.completion_tokens,
            cut=sum(choice.finish_reason == "length" for choice in reply.choices),
        )
        return [choice.message.content or "" for choice in reply.choices]


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Reply(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


class _Kept(msgspec.Struct):
    """A line of the file of answers."""

    key: str
    answers: list[str]


def _whole(reply: bytes) -> _Reply:
    """A reply with at least one answer."""
    found = parse_json(reply, _Reply, "the reply")
    if not found.choices:
        raise EvidenceError("the reply holds no answer (choices is empty)")
    return found
