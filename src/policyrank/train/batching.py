"""Requests that come at the same time, scored together by one thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

from policyrank.errors import EvidenceError
from policyrank.train.served import Answered, Asked, Served


class BusyError(EvidenceError):
    """More requests wait than may."""


class Batches:
    """Scores requests that wait together; those that fail together are scored one by one.

    Parameters
    ----------
    ranker
        what scores
    documents
        of a batch, at most; a request is never divided
    waiting
        requests that may wait; more are refused
    report
        told of what failed
    """

    def __init__(
        self,
        ranker: Served,
        *,
        documents: int = 1000,
        waiting: int = 256,
        report: Callable[[str], Any] | None = None,
    ) -> None:
        self.ranker, self.documents, self.waiting = ranker, documents, waiting
        self.report = report
        self._queue: deque[_Waiting] = deque()
        self._came = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "ranker")

    async def score(self, asked: Sequence[Asked]) -> list[Answered]:
        """The scores of a request, which may ask about several lists.

        Raises
        ------
        BusyError
            When too many wait.
        Exception
            What the ranker raised on this request alone.
        """
        if self.queued >= self.waiting:
            raise BusyError(f"{self.queued:,} requests wait already. Come again later.")
        answer: asyncio.Future[list[Answered]] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(asked, answer))
        self._came.set()
        return await answer

    @property
    def queued(self) -> int:
        """Requests that wait."""
        return len(self._queue)

    async def run(self) -> None:
        """Score what comes, until it is cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._came.wait()
                group = self._next()
                if not group:
                    self._came.clear()
                    continue
                lists = [own.asked for own in group]
                found = await loop.run_in_executor(self._thread, self._answers, lists)
                for own, answers in zip(group, found, strict=True):
                    own.give(answers)
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _next(self) -> list[_Waiting]:
        """What is scored next: at least one request, where any waits."""
        group: list[_Waiting] = []
        documents = 0
        while self._queue:
            documents += self._queue[0].documents
            if group and documents > self.documents:
                break
            first = self._queue.popleft()
            if first.answer.done():  # cancelled by who asked
                documents -= first.documents
            else:
                group.append(first)
        return group

    def _answers(self, requests: Sequence[Sequence[Asked]]) -> list[list[Answered] | Exception]:
        """Answers to each request, or why there are none."""
        try:
            rest = iter(self.ranker([own for asked in requests for own in asked]))
            return [list(islice(rest, len(asked))) for asked in requests]
        except Exception as error:
            if self.report is not None:
                self.report(f"! {type(error).__name__}: {error}")
            _free_memory()
            if len(requests) == 1:
                return [error]
        return [self._answers([asked])[0] for asked in requests]


@dataclass(frozen=True)
class _Waiting:
    """A request that waits for its answer."""

    asked: Sequence[Asked]
    answer: asyncio.Future[list[Answered]]

    @property
    def documents(self) -> int:
        return sum(len(own.documents) for own in self.asked)

    def give(self, found: list[Answered] | Exception) -> None:
        """The answer, unless nobody waits for it any more."""
        if self.answer.done():
            return
        if isinstance(found, Exception):
            self.answer.set_exception(found)
        else:
            self.answer.set_result(found)


def _free_memory() -> None:
    """Give back what a failed batch holds of an accelerator's memory."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
