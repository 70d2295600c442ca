"""Run programs that a model wrote, and test them.

No network, no other processes, limits on time, memory and disk. Linux on x86-64 or arm64. A program
runs in its own user, mount, network, process and IPC namespaces: it sees the file system read-only
but for an empty folder in memory, no network device, and no process but itself; it has no
capabilities, and system calls that would start processes, open sockets or build namespaces fail.
It has the standard library alone, so no numpy, and nothing that needs sockets or processes: no
asyncio, no subprocess, no multiprocessing; an error for want of them says so. What is not guarded
against is an attack on the kernel itself, and a program that forges the results of its tests from
within.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import secrets
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import IO, Literal

from policyrank.errors import EvidenceError
from policyrank.worlds.sandbox_programs import HARNESS, LAUNCHER

Status = Literal["ok", "error", "timeout", "memory", "output"]


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
    seconds: float = 5.0,
    memory: int = 512 * 2**20,
    disk: int = 16 * 2**20,
    files: int = 256,
    output: int = 2**16,
) -> Outcome:
    """Run Python code where it can do no harm.

    Parameters
    ----------
    seconds
        wall time
    memory, disk, output
        bytes it may use, write (into its folder, /tmp), and print
    files
        it may make

    Raises
    ------
    EvidenceError
        On systems without the namespaces that this needs; nothing is run there.

    Examples
    --------
    >>> run_program("print(6 * 7)").stdout  # doctest: +SKIP
    '42\\n'
    """
    if why := unavailable():
        raise EvidenceError(f"programs cannot be run apart here: {why}.")
    return _run(code, seconds, memory, disk, files, output)


@cache
def unavailable() -> str:
    """Why programs cannot be run here; empty where they can."""
    if sys.platform != "linux":
        return f"this needs Linux, not {sys.platform}"
    found = _run("print(1)", 20.0, 512 * 2**20, 2**20, 16, 1000)
    if found.stdout == "1\n":
        return ""
    return f"the system allows no namespaces ({found.stderr.strip()[:200] or found.status})"


def _run(code: str, seconds: float, memory: int, disk: int, files: int, output: int) -> Outcome:
    given = {"code": code, "seconds": seconds, "memory": memory, "disk": disk, "files": files}
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", "-c", LAUNCHER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"},
        start_new_session=True,
        cwd="/",
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    kept = {process.stdout: bytearray(), process.stderr: bytearray()}
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(given).encode() + b"\n")
            process.stdin.close()
        status = _listen(kept, start + seconds, output)
        if status is None:
            try:
                process.wait(max(start + seconds - time.monotonic(), 0.01))
            except subprocess.TimeoutExpired:
                status = "timeout"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in kept:
            pipe.close()
    out, err = (bytes(text[:output]).decode("utf-8", errors="replace") for text in kept.values())
    if status is None:
        status = _ended(process.returncode, err)
    return Outcome(status, out, err, time.monotonic() - start)


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
    code: str, tests: Sequence[str], *, seconds: float = 2.0, **limits: int
) -> TestOutcome:
    """Run code, then each test: statements that raise when they fail.

    Parameters
    ----------
    seconds
        of the code and of each test
    limits
        of ``run_program``
    """
    nonce = secrets.token_hex(16)
    program = f"{HARNESS}\n_run({code!r}, {list(tests)!r}, {seconds}, {nonce!r})"
    found = run_program(program, seconds=seconds * (len(tests) + 1) + 5, **limits)
    for line in found.stdout.splitlines():
        if line.startswith(nonce):
            errors = tuple(json.loads(line[len(nonce) :]))
            return TestOutcome(errors, "error" if any(errors) else "ok")
    if found.status == "ok":
        return TestOutcome(("ended before its tests did",) * len(tests), "error")
    return TestOutcome((found.status,) * len(tests), found.status)


def run_all(
    programs: Sequence[tuple[str, Sequence[str]]],
    *,
    workers: int | None = None,
    report: Callable[[int, int], None] | None = None,
    seconds: float = 2.0,
    **limits: int,
) -> list[TestOutcome]:
    """Test many programs (code, tests) at once; ``report`` is called with those done and in all."""
    if why := unavailable():
        raise EvidenceError(f"programs cannot be run apart here: {why}.")

    def tested(program: tuple[str, Sequence[str]]) -> TestOutcome:
        code, tests = program
        return run_tests(code, tests, seconds=seconds, **limits)

    out = []
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        for found in pool.map(tested, programs):
            out.append(found)
            if report is not None:
                report(len(out), len(programs))
    return out


def check_statements(test: str, entry_point: str) -> list[str]:
    """The statements of HumanEval's ``check(candidate)`` as tests of their own.

    What stands before it goes with each of them.

    Raises
    ------
    EvidenceError
        When there is no such function.
    """
    check, setup = None, []
    for node in ast.parse(test).body:
        if check is None and isinstance(node, ast.FunctionDef) and node.name == "check":
            check = node
        elif not isinstance(node, ast.Expr):
            setup.append(ast.unparse(node))
    if check is None:
        raise EvidenceError("the test has no function check(candidate).")
    setup.append(f"{check.args.args[0].arg} = {entry_point}")
    out = []
    for node in check.body:
        text = ast.unparse(node)
        if any(isinstance(inner, ast.Assert) for inner in ast.walk(node)):
            out.append("\n".join([*setup, text]))
        else:
            setup.append(text)
    return out


def imports_of(prompt: str) -> str:
    """The import lines of a problem's text, on which answers rely."""
    found = ""
    for line in prompt.splitlines():
        if re.match(r"(from|import) \w", line):
            found += line + "\n"
    return found


def code_of(answer: str, entry_point: str | None = None) -> str:
    """The program in an answer: its fenced block, or the whole text.

    Of several blocks the last one that defines ``entry_point``, else the first.
    """
    # What stands behind the fence names the language.
    blocks = [block.partition("\n")[2] for block in answer.split("```")[1::2]]
    if entry_point is not None:
        for block in reversed(blocks):
            if f"def {entry_point}" in block:
                return block
    return (blocks or [answer])[0]


def docstring_examples(prompt: str, entry_point: str) -> list[tuple[str, str]]:
    """Calls of a function and what they give, as a problem's text shows them.

    ``>>> f(1)`` and the line after, ``f(1) == 2``, ``f(1) -> 2``.

    Examples
    --------
    >>> docstring_examples("Doubles. f(1) => 2\\n    >>> f(2)\\n    4\\n", "f")
    [('f(1)', '2'), ('f(2)', '4')]
    """
    out = []
    lines = prompt.splitlines()
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        call, wanted = _shown(line, after, entry_point)
        try:
            ast.parse(call, mode="eval")
            ast.literal_eval(wanted)
        except (SyntaxError, ValueError):
            continue
        if call.startswith(entry_point + "("):
            out.append((call, wanted))
    return out


def _shown(line: str, after: str, entry_point: str) -> tuple[str, str]:
    """A call and what it gives; empty where a line shows none."""
    text = line.strip().removeprefix(">>>").strip()
    if ">>>" in line and text:
        return text, after.strip()
    call = rf"({re.escape(entry_point)}\(.*?\))"
    found = re.search(rf"{call}\s*(?:==|=>|->|➞|returns|=)\s*(.+)", text)
    if found is None:
        return "", ""
    return found[1], found[2].rstrip(" .,;")


def outputs(
    code: str, expressions: Sequence[str], *, seconds: float = 2.0, **limits: int
) -> list[str]:
    """What expressions come to after the code, as text; or the error."""
    asked = [f"raise AssertionError('value ' + repr({one}))" for one in expressions]
    errors = run_tests(code, asked, seconds=seconds, **limits).errors
    return [error.removeprefix("AssertionError: ") for error in errors]
