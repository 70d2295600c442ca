"""Evaluations in processes of their own.

A hung or crashing one is ended, with all that it started, without harm to the rest.
"""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing as mp
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any
from weakref import WeakSet

from policyrank.errors import EvidenceError
from policyrank.evaluation.attempts import LONGEST, Ended, Job, attempt, told
from policyrank.evaluation.processes import PATIENCE, keep

_OURS: WeakSet[Connection] = WeakSet()
"""Ends of connections that only this process may hold: a worker lives until they close."""


def _work(connection: Connection, function: Callable[..., Any], output: Path) -> None:
    """A worker, below its keeper."""
    for other in list(_OURS):
        other.close()
    serve = partial(_serve, connection, function, output)
    if hasattr(os, "fork"):
        keep(connection, serve)
    else:
        serve()


def _serve(connection: Connection, function: Callable[..., Any], output: Path) -> None:
    """Evaluate what comes; each answer says which job it is of, and who sends it."""
    mp.current_process().daemon = False  # policies may start processes: the keeper ends them
    _print_to(output)
    own = os.getpid()
    connection.send_bytes(json.dumps([0, own]).encode())
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        if message is None:
            return
        number, call = message
        try:
            found = attempt(function, call)
        except KeyboardInterrupt as problem:  # of the policy: a terminal's does not come here
            found = math.nan, told(problem), 0.0, socket.gethostname()
        if os.getpid() != own:
            os._exit(0)  # a policy forked, and both came back
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        connection.send_bytes(json.dumps([number, own, *found]).encode())


def _print_to(path: Path) -> None:
    """Let all that this process and its children print go to a file."""
    with path.open("ab", buffering=0) as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    sys.stdout = sys.stderr = os.fdopen(1, "w", encoding="utf-8", errors="replace", closefd=False)


@dataclass(eq=False)
class _Worker:
    """A process, our end of the connection to it, and where it prints."""

    process: Any
    connection: Connection
    output: Path
    sender: int | None = None
    job: Job | None = None
    number: int = 0

    def message(self) -> list[Any]:
        """What it sent: number of the job, who sends, what came of it.

        What cannot be read is of the job under way, and of nobody.

        Raises
        ------
        EOFError, ConnectionError
            When it has died.
        """
        if not self.connection.poll():
            raise EOFError
        try:
            found = json.loads(self.connection.recv_bytes(LONGEST))
        except (EOFError, ConnectionError):
            raise
        except (OSError, ValueError):
            return [self.number, None]
        return found if isinstance(found, list) and len(found) in (2, 6) else [self.number, None]

    def printed(self) -> str:
        """What it printed since this was last asked; the beginning only of very much."""
        with contextlib.suppress(OSError), self.output.open("r+b") as file:
            text = file.read(LONGEST).decode("utf-8", errors="replace")
            more = os.fstat(file.fileno()).st_size - LONGEST
            file.truncate(0)
            return text + (f"\n... {more:,} bytes more\n" if more > 0 else "")
        return ""

    def end(self) -> None:
        """End it, with all that it started.

        Its keeper is told too: what was forked meanwhile may hold our end of the connection open.
        """
        self.connection.close()
        self.process.terminate()
        self.process.join(timeout=2 * PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.output.unlink(missing_ok=True)


class Pool:
    """A fixed number of worker processes.

    Parameters
    ----------
    function
        called with a job's ``call``; returns a number
    workers
        processes, >= 1
    timeout
        seconds an evaluation may take; then its process is ended, with all that it started, and a
        new one started
    method
        how processes start: ``"fork"``, where policies need not be picklable, or ``"spawn"``; None:
        fork where there is one
    """

    def __init__(
        self,
        function: Callable[..., Any],
        workers: int,
        timeout: float | None,
        method: str | None = None,
    ) -> None:
        if mp.current_process().daemon:
            raise EvidenceError(
                "this is a daemonic process, which may start none: evaluate in it (workers=0)."
            )
        self.function, self.timeout, self.host = function, timeout, socket.gethostname()
        if method is None:
            method = "fork" if "fork" in mp.get_all_start_methods() else "spawn"
        self.context: Any = mp.get_context(method)
        self.folder = tempfile.TemporaryDirectory(prefix="policyrank-", ignore_cleanup_errors=True)
        self.started, self.sent = 0, 0
        self.idle: list[_Worker] = []
        self.busy: list[_Worker] = []
        for _ in range(workers):
            self._start()

    def _start(self) -> None:
        ours, theirs = self.context.Pipe()
        _OURS.add(ours)
        output = Path(self.folder.name) / str(self.started)
        self.started += 1
        process = self.context.Process(
            target=_work, args=(theirs, self.function, output), daemon=True
        )
        process.start()
        theirs.close()
        self.idle.append(_Worker(process, ours, output))

    @property
    def free(self) -> int:
        return len(self.idle)

    @property
    def under_way(self) -> int:
        return len(self.busy)

    def submit(self, job: Job) -> None:
        job.attempts += 1
        job.started = time.time()
        worker = self._lively()
        job.deadline = math.inf
        if self.timeout:
            job.deadline = time.monotonic() + self.timeout
        self.sent += 1
        worker.job, worker.number = job, self.sent
        self.busy.append(worker)
        with contextlib.suppress(OSError):  # it has just died, which is told by its connection
            worker.connection.send((worker.number, job.call))

    def _lively(self) -> _Worker:
        """An idle worker; one that has died since its last job is replaced."""
        worker = self.idle.pop()
        if worker.process.is_alive():
            return worker
        worker.end()
        self._start()
        return self.idle.pop()

    def collect(self) -> list[Ended]:
        out: list[Ended] = []
        while not out and self.busy:
            for worker in self._speaking():
                out += self._received(worker)
            for worker in list(self.busy):
                assert worker.job is not None
                if worker.job.deadline <= time.monotonic():
                    out.append(self._failed(worker, f"took longer than {self.timeout:g} s"))
        return out

    def _speaking(self) -> list[_Worker]:
        """Workers that have said something or died, once there is one, or time is up."""
        told = wait(
            [own for worker in self.busy for own in (worker.connection, worker.process.sentinel)],
            timeout=self._patience(),
        )
        return [
            worker
            for worker in self.busy
            if worker.connection in told or worker.process.sentinel in told
        ]

    def _patience(self) -> float | None:
        """Seconds until the nearest deadline; None: there is none."""
        nearest = min(worker.job.deadline for worker in self.busy if worker.job is not None)
        if nearest == math.inf:
            return None
        return max(nearest - time.monotonic(), 0)

    def _received(self, worker: _Worker) -> list[Ended]:
        """What a worker sent, or that it died; none where another process spoke for it."""
        job = worker.job
        assert job is not None
        try:
            message = worker.message()
        except (EOFError, ConnectionError):
            worker.process.join()
            died = f"the process died (exit code {worker.process.exitcode})"
            return [self._failed(worker, died)]
        number, sender, *found = message
        if worker.sender is None:  # the first message, before any policy: who the worker is
            worker.sender = sender
            return []
        if (number, sender) == (worker.number, worker.sender):
            value, error, seconds, host = found
            self.busy.remove(worker)
            self.idle.append(worker)
            return [Ended(job, value, error, seconds, host, worker.printed())]
        if number == worker.number:
            return [self._failed(worker, "a process that the policy started spoke in its place")]
        # What an earlier policy left behind spoke: this job did nothing wrong, and starts anew.
        self._replace(worker)
        job.attempts -= 1
        self.submit(job)
        return []

    def _failed(self, worker: _Worker, error: str) -> Ended:
        """A worker is ended, and another one started."""
        job = worker.job
        assert job is not None
        seconds, output = time.time() - job.started, worker.printed()
        self._replace(worker)
        return Ended(job, math.nan, error, seconds, self.host, output)

    def _replace(self, worker: _Worker) -> None:
        self.busy.remove(worker)
        worker.end()
        self._start()

    def close(self) -> None:
        for worker in self.idle:
            with contextlib.suppress(OSError):
                worker.connection.send(None)
        for worker in self.idle:
            worker.process.join(timeout=1)
        for worker in [*self.busy, *self.idle]:
            worker.end()
        self.folder.cleanup()
