"""Evaluations in processes of their own.

A hung or crashing one is ended without harm to the rest.
"""

from __future__ import annotations

import math
import multiprocessing as mp
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol


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
    """How an attempt at a job ended: its value, or why there is none; how long, and where."""

    job: Job
    value: float
    error: str | None
    seconds: float
    host: str


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
        value, error = math.nan, f"{type(problem).__name__}: {problem}"[:1000]
    return value, error, time.perf_counter() - start, socket.gethostname()


class Inline:
    """Evaluations in this process, one at a time, without time limits."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
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
        self.done.append(Ended(job, *attempt(self.function, job.call)))

    def collect(self) -> list[Ended]:
        ended, self.done = self.done, []
        return ended

    def close(self) -> None:
        pass


def _serve(connection: Connection, function: Callable[..., Any]) -> None:
    while True:
        try:
            call = connection.recv()
            if call is None:
                return
            connection.send(attempt(function, call))
        except (EOFError, KeyboardInterrupt):
            return


class Pool:
    """A fixed number of worker processes.

    Parameters
    ----------
    function
        called with a job's ``call``; returns a number
    workers
        processes, >= 1
    timeout
        seconds an evaluation may take; then its process is ended and a new one started
    """

    def __init__(self, function: Callable[..., Any], workers: int, timeout: float | None) -> None:
        self.function, self.timeout, self.host = function, timeout, socket.gethostname()
        # Forked workers inherit the policies, so that these need not be picklable.
        method = "spawn"
        if "fork" in mp.get_all_start_methods():
            method = "fork"
        self.context: Any = mp.get_context(method)
        self.idle: list[tuple[Any, Connection]] = []
        self.busy: dict[Connection, tuple[Any, Job]] = {}
        for _ in range(workers):
            self._start()

    def _start(self) -> None:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=_serve, args=(theirs, self.function), daemon=True)
        process.start()
        theirs.close()
        self.idle.append((process, ours))

    @property
    def free(self) -> int:
        return len(self.idle)

    @property
    def under_way(self) -> int:
        return len(self.busy)

    def submit(self, job: Job) -> None:
        job.attempts += 1
        job.started = time.time()
        process, connection = self.idle.pop()
        job.deadline = math.inf
        if self.timeout:
            job.deadline = time.monotonic() + self.timeout
        self.busy[connection] = (process, job)
        connection.send(job.call)

    def collect(self) -> list[Ended]:
        out: list[Ended] = []
        while not out and self.busy:
            for connection in wait(list(self.busy), timeout=self._patience()):
                assert isinstance(connection, Connection)
                out.append(self._received(connection))
            for connection, (_, job) in list(self.busy.items()):
                if job.deadline <= time.monotonic():
                    out.append(self._ended(connection))
        return out

    def _patience(self) -> float | None:
        """Seconds until the nearest deadline; None: there is none."""
        nearest = min(job.deadline for _, job in self.busy.values())
        if nearest == math.inf:
            return None
        return max(nearest - time.monotonic(), 0)

    def _received(self, connection: Connection) -> Ended:
        """What a worker sent, or that it died."""
        process, job = self.busy.pop(connection)
        try:
            ended = Ended(job, *connection.recv())
        except (EOFError, OSError):
            process.join()
            self._start()
            error = f"the process died (exit code {process.exitcode})"
            return Ended(job, math.nan, error, time.time() - job.started, self.host)
        self.idle.append((process, connection))
        return ended

    def _ended(self, connection: Connection) -> Ended:
        """A worker that took too long is killed, and another one started."""
        process, job = self.busy.pop(connection)
        process.kill()
        process.join()
        self._start()
        error = f"took longer than {self.timeout:g} s"
        return Ended(job, math.nan, error, float(self.timeout or 0), self.host)

    def close(self) -> None:
        for process, connection in self.idle:
            connection.send(None)
            process.join(timeout=1)
        for process, _ in [*self.busy.values(), *self.idle]:
            if process.is_alive():
                process.kill()
