"""Run programs that a model wrote, and test them, where they can do no harm.

No network, no file of yours, limits on time, memory, disk, processes and output that the kernel
holds; whatever a program has started ends with it. bubblewrap builds the place (Linux on x86-64 or
arm64); where it cannot, nothing is run. A program has the standard library, and packages that are
named, such as numpy. What is not guarded against is an attack on the kernel itself, and a program
that forges the results of its own tests from within the process in which they run.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import IO, Literal, Unpack

from policyrank.errors import EvidenceError
from policyrank.worlds.isolation import (
    OVERHEAD,
    Isolation,
    Limits,
    Packages,
    Room,
    memory_group,
    ran_out,
    user_of_its_own,
)
from policyrank.worlds.sandbox_programs import HARNESS
from policyrank.worlds.system_calls import seccomp_filter

LONGEST = 200
"""Characters of a test's message that are kept."""
Status = Literal["ok", "error", "timeout", "memory", "output"]


class _NotBuiltError(Exception):
    """The place was not built, so that the program was never begun."""


@dataclass(frozen=True)
class Outcome:
    """How a program ended.

    Attributes
    ----------
    status
        ``ok``: exit code 0; ``error``: any other, or an exception; ``timeout``; ``memory``: it
        asked for more than it may; ``output``: it wrote more than it may
    stdout, stderr
        what it wrote
    seconds
        it took
    """

    status: Status
    stdout: str
    stderr: str
    seconds: float


@dataclass(frozen=True)
class TestOutcome:
    """Tests of a program: what went wrong in each, and how the program ended.

    ``errors`` is "" for each test that passed.
    """

    errors: tuple[str, ...]
    status: Status

    @property
    def passed(self) -> int:
        return self.errors.count("")

    @property
    def share(self) -> float:
        """Of the tests that passed; 0 without tests."""
        return self.passed / max(len(self.errors), 1)


def run_program(
    code: str,
    *,
    stdin: str = "",
    packages: Sequence[str] = (),
    isolation: Isolation | None = None,
    seconds: float = 5.0,
    memory: int = 512 * 2**20,
    disk: int = 16 * 2**20,
    files: int = 256,
    output: int = 2**16,
) -> Outcome:
    """Run Python code where it can do no harm.

    Parameters
    ----------
    stdin
        what it reads from standard input
    packages
        installed packages that it may import, such as numpy, with what these import
    isolation
        how it is kept apart; None: as this machine and user allow
    seconds
        wall time
    memory, disk, output
        bytes: of memory (each process's address space; as root with a memory cgroup also of all
        processes together), in /tmp and /dev/shm, and that it prints
    files
        it may make

    Raises
    ------
    EvidenceError
        Where programs cannot be kept apart: what is missing. Nothing is run there.

    Examples
    --------
    >>> run_program("print(6 * 7)").stdout  # doctest: +SKIP
    '42\\n'
    """
    apart = isolation or Isolation()
    _refuse_without(apart)
    limits = Limits(seconds, memory, disk, files, output)
    try:
        return _run(code, stdin, limits, apart, Packages(tuple(packages)))
    except _NotBuiltError as error:
        raise EvidenceError(f"a program could not be run apart ({error}).") from None


@cache
def unavailable(isolation: Isolation | None = None) -> str:
    """Why programs cannot be run here; empty where they can."""
    apart = isolation or Isolation()
    if why := apart.missing():
        return why
    try:
        found = _run("print(1)", "", Limits(seconds=20.0), apart, Packages())
    except _NotBuiltError as error:
        return f"bubblewrap cannot build a place for them ({error})"
    if found.stdout == "1\n":
        return ""
    said = found.stderr.strip().splitlines()[-1:] or [found.status]
    return f"bubblewrap cannot build a place for them ({said[0][:200]})"


def _refuse_without(isolation: Isolation) -> None:
    if why := unavailable(isolation):
        raise EvidenceError(f"programs cannot be run apart here: {why}.")


def _run(
    code: str, stdin: str, limits: Limits, isolation: Isolation, packages: Packages
) -> Outcome:
    words = ("-P", "-s", "-S", "-B", "/program.py")
    start = time.monotonic()
    with contextlib.ExitStack() as held:
        program, filtered, typed = (
            held.enter_context(_in_memory(content))
            for content in (
                code.encode("utf-8", "backslashreplace"),
                seccomp_filter(),
                stdin.encode("utf-8", "surrogateescape"),
            )
        )
        uid = held.enter_context(user_of_its_own()) if isolation.root else 0
        bound = limits.memory + limits.disk + OVERHEAD
        group = held.enter_context(memory_group(bound)) if isolation.root else None
        told, tells = os.pipe()
        held.callback(os.close, told)
        process = subprocess.Popen(
            isolation.command(words, limits, uid, (program, filtered, tells), packages),
            stdin=typed,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(program, filtered, tells),
            env={
                "PATH": os.defpath + ":/usr/sbin:/sbin",
                "GROUP": str(group or ""),
                "ROOM": f"size={limits.disk},nr_inodes={limits.files}",
            },
            start_new_session=True,
            cwd="/",
            user=isolation.user,
            group=isolation.user,
            extra_groups=None if isolation.user is None else [],
        )
        os.close(tells)
        status, out, err = _watched(process, start + limits.seconds, limits.output)
        if status is None and b"child-pid" not in os.read(told, 4096):
            why = err.strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
            raise _NotBuiltError(why[0][:200])
        if status is None:
            status = "memory" if ran_out(group) else _ended(process.returncode, err)
    return Outcome(status, out, err, time.monotonic() - start)


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[int]:
    """A descriptor that content can be read from, and nothing can be written to."""
    import fcntl  # Linux only, as all that is run here

    descriptor = os.memfd_create("policyrank", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        yield descriptor
    finally:
        os.close(descriptor)


_RUNNING: dict[int, subprocess.Popen[bytes]] = {}
"""Thread -> the program that it waits for."""


def _watched(
    process: subprocess.Popen[bytes], until: float, output: int
) -> tuple[Status | None, str, str]:
    """What a program writes until it ends, or has had enough time or room and is killed."""
    assert process.stdout is not None
    assert process.stderr is not None
    kept = {process.stdout: bytearray(), process.stderr: bytearray()}
    _RUNNING[threading.get_ident()] = process
    try:
        status = _listen(kept, until, output)
        if status is None:
            try:
                process.wait(max(until - time.monotonic(), 0.01))
            except subprocess.TimeoutExpired:
                status = "timeout"
    finally:
        _RUNNING.pop(threading.get_ident(), None)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in kept:
            pipe.close()
    out, err = (bytes(text[:output]).decode("utf-8", errors="replace") for text in kept.values())
    return status, out, err


def _listen(kept: dict[IO[bytes], bytearray], until: float, output: int) -> Status | None:
    """Read what a program writes, until it closes its pipes or has had enough time or room."""
    with selectors.DefaultSelector() as waiting:
        for pipe, text in kept.items():
            waiting.register(pipe, selectors.EVENT_READ, text)
        while waiting.get_map():
            left = until - time.monotonic()
            if left <= 0:
                return "timeout"
            for key, _ in waiting.select(left):
                chunk = os.read(key.fd, 2**16)
                if not chunk:
                    waiting.unregister(key.fileobj)
                key.data.extend(chunk)
            if sum(map(len, kept.values())) > output:
                return "output"
    return None


def _ended(code: int, stderr: str) -> Status:
    if code == 0:
        return "ok"
    lines = stderr.strip().splitlines()
    if lines and lines[-1].startswith("MemoryError"):
        return "memory"
    return "error"


def run_tests(
    code: str,
    tests: Sequence[str],
    *,
    seconds: float = 2.0,
    packages: Sequence[str] = (),
    isolation: Isolation | None = None,
    **room: Unpack[Room],
) -> TestOutcome:
    """Run code, then each test: statements that raise when they fail.

    Each test runs after the code in a process of its own, so that none sees what another one did.

    Parameters
    ----------
    seconds
        of the code and of each test
    packages, isolation
        as of ``run_program``
    room
        limits of ``run_program``
    """
    return _tested(code, tests, seconds, tuple(packages), isolation, LONGEST, room)


def _tested(
    code: str,
    tests: Sequence[str],
    seconds: float,
    packages: tuple[str, ...],
    isolation: Isolation | None,
    longest: int,
    room: Room,
) -> TestOutcome:
    """Tests of a program; ``longest``: characters of a message that are kept."""
    what = "the standard library" + (f" and {', '.join(packages)}" if packages else " alone")
    given = {
        "code": code,
        "tests": list(tests),
        "seconds": seconds,
        "with": what,
        "longest": longest,
    }
    # What tests print goes nowhere: the output is the report, of so much at most.
    report: Room = {"output": 4096 + (len(tests) + 1) * (6 * longest + 1500)}
    found = run_program(
        f"GIVEN = {json.dumps(given)!r}\n{HARNESS}",
        packages=packages,
        isolation=isolation,
        seconds=seconds * (2 * len(tests) + 1) + 5,
        **(room | report),
    )
    with contextlib.suppress(ValueError):
        first, errors = json.loads(found.stdout)
        return TestOutcome(tuple(errors), "error" if first or any(errors) else "ok")
    status = "error" if found.status == "ok" else found.status
    why = "ended before its tests did" if status == "error" else status
    return TestOutcome((why,) * len(tests), status)


def run_all(
    programs: Sequence[tuple[str, Sequence[str]]],
    *,
    workers: int | None = None,
    report: Callable[[int, int], None] | None = None,
    seconds: float = 2.0,
    packages: Sequence[str] = (),
    isolation: Isolation | None = None,
    **room: Unpack[Room],
) -> list[TestOutcome]:
    """Test many programs (code, tests) at once; ``report`` is called with those done and in all.

    An interruption ends those under way.
    """
    _refuse_without(isolation or Isolation())
    own: set[int] = set()

    def tested(program: tuple[str, Sequence[str]]) -> TestOutcome:
        code, tests = program
        return run_tests(
            code, tests, seconds=seconds, packages=packages, isolation=isolation, **room
        )

    out = []
    most = workers or os.cpu_count() or 1
    with ThreadPoolExecutor(most, initializer=lambda: own.add(threading.get_ident())) as pool:
        under_way = [pool.submit(tested, program) for program in programs]
        try:
            for future in under_way:
                out.append(future.result())
                if report is not None:
                    report(len(out), len(programs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(future.done() for future in under_way):
                _kill_those_of(own)
                time.sleep(0.02)
            raise
    return out


def _kill_those_of(threads: set[int]) -> None:
    for process in filter(None, map(_RUNNING.get, threads)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def outputs(
    code: str, expressions: Sequence[str], *, seconds: float = 2.0, **room: Unpack[Room]
) -> list[str]:
    """What expressions come to after the code, as text; or the error."""
    asked = [f"raise AssertionError('value ' + repr({one}))" for one in expressions]
    errors = _tested(code, asked, seconds, (), None, 100_000, room).errors
    return [error.removeprefix("AssertionError: ") for error in errors]
