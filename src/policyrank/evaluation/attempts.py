"""One evaluation: what is asked, how it ended, and how it is done in this process."""

from __future__ import annotations

import contextlib
import io
import math
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

LONGEST = 2**16
"""Bytes of a message of a worker, and of what is kept of a policy's output."""


@dataclass
class Job:
    """One evaluation under way."""

    key: Any
    call: tuple[Any, ...]
    attempts: int = 0
    started: float = 0.0
    deadline: float = math.inf


@dataclass(frozen=True)
class Ended:
    """How an attempt at a job ended: its value, or why there is none; how long, and where.

    ``output``: what was printed meanwhile.
    """

    job: Job
    value: float
    error: str | None
    seconds: float
    host: str
    output: str = ""


class Workers(Protocol):
    """What the runner needs: room for jobs, jobs in, ended jobs out."""

    @property
    def free(self) -> int:
        """How many more jobs can start now."""
        ...

    @property
    def under_way(self) -> int:
        """How many jobs have not ended."""
        ...

    def submit(self, job: Job) -> None:
        """Start a job."""
        ...

    def collect(self) -> list[Ended]:
        """Wait until a job has ended or a worker has become free."""
        ...

    def close(self) -> None:
        """End all workers."""
        ...


def attempt(
    function: Callable[..., Any], call: tuple[Any, ...]
) -> tuple[float, str | None, float, str]:
    """Call; value, error or None, seconds, host.

    A policy may raise anything, SystemExit included.
    """
    start = time.perf_counter()
    error = None
    try:
        value = float(function(*call))
        if not math.isfinite(value):
            error = f"returned {value}"
    except KeyboardInterrupt:
        raise
    except BaseException as problem:
        value, error = math.nan, told(problem)
    return value, error, time.perf_counter() - start, socket.gethostname()


def told(problem: BaseException) -> str:
    """What an exception of others says, whatever it does when it is asked; of plain characters.

    Examples
    --------
    >>> told(ValueError("a\\0b"))
    'ValueError: a\\\\x00b'
    """
    try:
        text = f"{type(problem).__name__}: {problem}"[:1000]
    except BaseException:
        text = "an error whose text cannot be had"
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


class Inline:
    """Evaluations in this process, one at a time, without time limits.

    ``quiet``: standard output is taken as the output of the policies.
    """

    def __init__(self, function: Callable[..., Any], *, quiet: bool = False) -> None:
        self.function, self.quiet = function, quiet
        self.done: list[Ended] = []

    @property
    def free(self) -> int:
        return 1 - len(self.done)

    @property
    def under_way(self) -> int:
        return len(self.done)

    def submit(self, job: Job) -> None:
        job.attempts += 1
        job.started = time.time()
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed) if self.quiet else contextlib.nullcontext():
            found = attempt(self.function, job.call)
        self.done.append(Ended(job, *found, output=printed.getvalue()[-LONGEST:]))

    def collect(self) -> list[Ended]:
        ended, self.done = self.done, []
        return ended

    def close(self) -> None:
        pass
