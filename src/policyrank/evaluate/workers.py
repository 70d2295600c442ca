"""Evaluations in processes of their own: a hung or crashing one is ended without harm to the rest."""

from __future__ import annotations

import math
import multiprocessing as mp
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any


@dataclass
class Job:
    """One evaluation under way."""

    key: Any
    call: tuple[Any, ...]
    attempts: int = 0
    started: float = 0.0
    deadline: float = math.inf


def _serve(connection: Connection, function: Callable[..., Any]) -> None:
    while True:
        try:
            call = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        if call is None:
            return
        start = time.perf_counter()
        try:
            value = float(function(*call))
            error = None if math.isfinite(value) else f"returned {value}"
        except KeyboardInterrupt:
            return
        except BaseException as problem:  # a policy may raise anything, SystemExit included
            value, error = math.nan, f"{type(problem).__name__}: {problem}"[:1000]
        connection.send((value, error, time.perf_counter() - start))


class Pool:
    """A fixed number of worker processes; ``workers=0`` evaluates in this process (then without time limits).

    Parameters
    ----------
    function
        called with a job's ``call``; returns a number
    workers
        processes
    timeout
        seconds an evaluation may take; then its process is ended and a new one started
    """

    def __init__(self, function: Callable[..., Any], workers: int, timeout: float | None) -> None:
        self.function, self.timeout = function, timeout
        # Forked workers inherit the policies, so that these need not be picklable.
        self.context: Any = mp.get_context("fork" if "fork" in mp.get_all_start_methods() else "spawn")
        self.inline = workers == 0
        self.idle: list[tuple[Any, Connection]] = []
        self.busy: dict[Connection, tuple[Any, Job]] = {}
        self.done: list[tuple[Job, float, str | None, float]] = []
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
        """How many more jobs can start now."""
        return 1 - len(self.done) if self.inline else len(self.idle)

    def submit(self, job: Job) -> None:
        job.attempts += 1
        job.started = time.time()
        if self.inline:
            start = time.perf_counter()
            try:
                value = float(self.function(*job.call))
                error = None if math.isfinite(value) else f"returned {value}"
            except Exception as problem:
                value, error = math.nan, f"{type(problem).__name__}: {problem}"[:1000]
            self.done.append((job, value, error, time.perf_counter() - start))
            return
        process, connection = self.idle.pop()
        job.deadline = time.monotonic() + self.timeout if self.timeout else math.inf
        self.busy[connection] = (process, job)
        connection.send(job.call)

    def collect(self) -> list[tuple[Job, float, str | None, float]]:
        """Wait for at least one job to end: (job, value, error or None, seconds)."""
        if self.inline:
            ended, self.done = self.done, []
            return ended
        out: list[tuple[Job, float, str | None, float]] = []
        while not out and self.busy:
            nearest = min(job.deadline for _, job in self.busy.values())
            ready = wait(list(self.busy), timeout=None if nearest == math.inf else max(nearest - time.monotonic(), 0))
            for connection in ready:
                assert isinstance(connection, Connection)
                process, job = self.busy.pop(connection)
                try:
                    value, error, seconds = connection.recv()
                    self.idle.append((process, connection))
                except (EOFError, OSError):
                    process.join()
                    value, error, seconds = (
                        math.nan,
                        f"the process died (exit code {process.exitcode})",
                        time.time() - job.started,
                    )
                    self._start()
                out.append((job, value, error, seconds))
            for connection in [c for c, (_, job) in self.busy.items() if job.deadline <= time.monotonic()]:
                process, job = self.busy.pop(connection)
                process.kill()
                process.join()
                self._start()
                out.append((job, math.nan, f"took longer than {self.timeout:g} s", float(self.timeout or 0)))
        return out

    def close(self) -> None:
        for process, connection in self.idle:
            connection.send(None)
            process.join(timeout=1)
        for process, _ in [*self.busy.values(), *self.idle]:
            if process.is_alive():
                process.kill()
