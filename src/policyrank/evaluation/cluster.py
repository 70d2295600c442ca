"""Evaluations on a Ray cluster, with the same code as on one machine."""

from __future__ import annotations

import logging
import math
import socket
import time
from collections.abc import Callable
from typing import Any

from policyrank.errors import EvidenceError
from policyrank.evaluation.attempts import Ended, Job
from policyrank.evaluation.workers import Pool

PATIENCE = 60.0


class RayPool:
    """Workers that are actors of a Ray cluster, each with a process of its own for the evaluations.

    Parameters
    ----------
    function
        called with a job's ``call``; returns a number; pickled with cloudpickle
    address
        of a running cluster ("auto": the one of this machine; "local": start one here)
    workers
        actors of one CPU each; None: as many as the cluster has CPUs
    timeout
        seconds an evaluation may take

    Raises
    ------
    EvidenceError
        When Ray is not installed, the cluster cannot be reached or gives no worker, or the policies
        cannot be pickled.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        address: str,
        workers: int | None = None,
        timeout: float | None = None,
    ) -> None:
        try:
            import ray
        except ModuleNotFoundError:
            raise EvidenceError(
                "evaluating on a cluster needs Ray: pip install 'policyrank[ray]'"
            ) from None
        self.ray, self.timeout = ray, timeout
        self.ours = not ray.is_initialized()
        if self.ours:
            try:
                _reachable(address)
                ray.init(
                    address=address,
                    namespace="policyrank",
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            except Exception as error:
                raise EvidenceError(
                    f"ray={address!r}: no cluster can be reached"
                    f" ({str(error).splitlines()[0][:200]}). Start one with `ray start --head`, or"
                    " give its address."
                ) from None
        try:
            self.function = ray.put(function)
        except Exception as error:
            self.close()
            raise EvidenceError(
                "a policy or task cannot be sent to other machines"
                f" ({str(error).splitlines()[0][:200]}). Let it open files and connections when it"
                " is called, not before."
            ) from None
        self.worker: Any = ray.remote(num_cpus=1, max_restarts=0)(_Worker)
        self.starting: dict[Any, tuple[Any, float]] = {}
        self.idle: list[tuple[Any, str]] = []
        self.busy: dict[Any, tuple[Any, str, Job]] = {}
        for _ in range(workers or max(int(ray.cluster_resources().get("CPU", 1)), 1)):
            self._start()

    def _start(self) -> None:
        actor = self.worker.remote(self.function, self.timeout)
        self.starting[actor.host.remote()] = (actor, time.monotonic())

    @property
    def free(self) -> int:
        return len(self.idle)

    @property
    def under_way(self) -> int:
        return len(self.busy)

    def submit(self, job: Job) -> None:
        job.attempts += 1
        job.started = time.time()
        actor, host = self.idle.pop()
        self.busy[actor.attempt.remote(job.call)] = (actor, host, job)

    def collect(self) -> list[Ended]:
        while True:
            ready, _ = self.ray.wait([*self.busy, *self.starting], num_returns=1, timeout=1.0)
            for ref in ready:
                if ref in self.starting:
                    self._ready(ref)
                    return []
                actor, host, job = self.busy.pop(ref)
                try:
                    ended = Ended(job, *self.ray.get(ref))
                    self.idle.append((actor, host))
                except self.ray.exceptions.RayError as error:
                    text = f"its machine was lost ({type(error).__name__})"
                    ended = Ended(job, math.nan, text, time.time() - job.started, host)
                    self._start()
                return [ended]
            oldest = min((at for _, at in self.starting.values()), default=math.inf)
            if not self.busy and not self.idle and time.monotonic() - oldest > PATIENCE:
                raise EvidenceError(
                    f"the Ray cluster has given no worker for {PATIENCE:.0f} s: it has no free CPU."
                    " Try again later."
                )

    def _ready(self, ref: Any) -> None:
        actor, _ = self.starting.pop(ref)
        try:
            self.idle.append((actor, self.ray.get(ref)))
        except self.ray.exceptions.RayError as error:
            raise EvidenceError(
                f"a Ray worker could not start: {str(error).strip().splitlines()[-1][:300]}. Every"
                " machine of the cluster needs policyrank and what the policies import."
            ) from None

    def close(self) -> None:
        for actor, *_ in [
            *getattr(self, "busy", {}).values(),
            *getattr(self, "idle", []),
            *getattr(self, "starting", {}).values(),
        ]:
            self.ray.kill(actor)
        if self.ours:
            self.ray.shutdown()


def _reachable(address: str) -> None:
    """Ray itself goes on trying for many minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()


class _Worker:
    """Runs on the cluster: evaluates in a process of its own there, which may hang or die."""

    def __init__(self, function: Callable[..., Any], timeout: float | None) -> None:
        self.pool = Pool(function, 1, timeout)

    def host(self) -> str:
        return socket.gethostname()

    def attempt(self, call: tuple[Any, ...]) -> tuple[float, str | None, float, str, str]:
        self.pool.submit(Job(None, call))
        ended = self.pool.collect()[0]
        return ended.value, ended.error, ended.seconds, ended.host, ended.output
