"""Answers of models that others serve: an OpenAI-compatible endpoint, each asked for once."""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
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
    _lock: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def __call__(self, prompts: Sequence[Prompt], n: int = 1) -> list[list[str]]:
        """``n`` answers of each prompt.

        Raises
        ------
        EvidenceError
            When the key is missing, or a request fails for good.
        """
        if self.key is not None and self.key not in os.environ:
            raise EvidenceError(
                f"{self.url}: the environment variable {self.key} with the key is not set."
            )
        keys = [self._key(prompt, n) for prompt in prompts]
        with self._lock:
            found = {key: self._kept[key] for key in keys if key in self._kept}
        todo = {key: own for key, own in zip(keys, prompts, strict=True) if key not in found}
        with ThreadPoolExecutor(self.workers) as pool:
            asked = pool.map(self._ask, todo.values(), repeat(n))
            for key, answers in zip(todo, asked, strict=True):
                found[key] = answers
                self._keep(key, answers)
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

    def _ask(self, prompt: Prompt, n: int) -> list[str]:
        """Answers of the endpoint; some servers give one a request."""
        answers = self._reply(prompt, n)
        while len(answers) < n:
            answers += self._reply(prompt, 1)
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
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {os.environ[self.key]}"
        address = self.url.rstrip("/") + "/chat/completions"
        for attempt in range(self.retries + 1):
            try:
                request = urllib.request.Request(address, json.dumps(body).encode(), headers)
                with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                    return _answers(answer.read())
            except urllib.error.HTTPError as error:
                why = _told_by(error)
                if error.code not in (408, 409, 429) and error.code < 500:
                    break
            except EvidenceError as error:
                why = str(error)
            except (OSError, http.client.HTTPException) as error:
                why = str(error) or type(error).__name__
            except ValueError as error:  # an address, or a key, that cannot be one
                why = str(error)
                break
            if attempt < self.retries:
                time.sleep(min(2.0**attempt, 30.0))
        raise EvidenceError(
            f"{address}: {why}. Answers had so far are kept where a cache is named; run it again."
        )


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Reply(msgspec.Struct):
    choices: list[_Choice]


class _Kept(msgspec.Struct):
    """A line of the file of answers."""

    key: str
    answers: list[str]


def _answers(reply: bytes) -> list[str]:
    """Answers in a reply, at least one."""
    choices = parse_json(reply, _Reply, "the reply").choices
    if not choices:
        raise EvidenceError("the reply holds no answer (choices is empty)")
    return [choice.message.content or "" for choice in choices]


def _told_by(error: urllib.error.HTTPError) -> str:
    """The code of a failure, and the beginning of what the server says."""
    try:
        said = error.read()[:200].decode(errors="replace")
    except (OSError, http.client.HTTPException):
        said = ""
    return f"{error.code} {said}"
