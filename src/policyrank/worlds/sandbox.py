"""Run programs that a model wrote, and test them: no network, no other processes, limits on time,
memory and disk. Linux on x86-64 or arm64.

A program runs in its own user, mount, network, process and IPC namespaces: it sees the file system
read-only but for an empty folder in memory, no network device, and no process but itself; it has no
capabilities, and system calls that would start processes, open sockets or build namespaces fail.
What is not guarded against is an attack on the kernel itself, and a program that forges the results
of its tests from within.
"""

from __future__ import annotations

import ast
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
from typing import Literal

from policyrank.errors import EvidenceError

Status = Literal["ok", "error", "timeout", "memory", "output"]

_LAUNCHER = r"""
import ctypes, json, os, platform, resource, signal, struct, sys
given = json.loads(sys.stdin.buffer.readline())
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *args):
    if getattr(libc, name)(*args) != 0:
        sys.stderr.write("SANDBOX " + name + ": " + os.strerror(ctypes.get_errno())); sys.stderr.flush(); os._exit(125)
uid, gid = os.getuid(), os.getgid()
call("unshare", 0x10000000 | 0x00020000 | 0x40000000 | 0x08000000 | 0x20000000)  # user, mount, network, IPC, process
for name, text in (("setgroups", "deny"), ("uid_map", "0 %d 1" % uid), ("gid_map", "0 %d 1" % gid)):
    with open("/proc/self/" + name, "w") as file: file.write(text)
call("mount", b"none", b"/", None, 0x4000 | 0x40000, None)  # private, recursive
attributes = struct.pack("QQQQ", 1, 0, 0, 0)  # read-only
if libc.syscall(442, -100, b"/", 0x8000, attributes, ctypes.c_size_t(32)) != 0:  # mount_setattr, recursive
    sys.stderr.write("SANDBOX mount_setattr: " + os.strerror(ctypes.get_errno())); sys.stderr.flush(); os._exit(125)
call("mount", b"tmpfs", b"/tmp", b"tmpfs", 0x2 | 0x4, ("size=%d,nr_inodes=%d" % (given["disk"], given["files"])).encode())
parent = os.fork()  # the child is the first process of its namespace: all others end with it
if parent:
    _, status = os.waitpid(parent, 0)
    if os.WIFSIGNALED(status):
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL) if os.WTERMSIG(status) != 9 else None
        os._exit(128 + os.WTERMSIG(status))
    os._exit(os.WEXITSTATUS(status))
call("prctl", 1, 9, 0, 0, 0)  # die with the launcher
os.chdir("/tmp")
for which, limit in ((resource.RLIMIT_AS, given["memory"]), (resource.RLIMIT_FSIZE, given["disk"]), (resource.RLIMIT_NOFILE, 64),
                     (resource.RLIMIT_CPU, int(given["seconds"]) + 2), (resource.RLIMIT_CORE, 0)):
    resource.setrlimit(which, (limit, limit))
for capability in range(64):
    libc.prctl(24, capability, 0, 0, 0)
call("prctl", 38, 1, 0, 0, 0)  # no new privileges
header, data = struct.pack("Ii", 0x20080522, 0), bytes(24)
call("capset", header, data)
arm = platform.machine() == "aarch64"
# clone, then what fails with EPERM (fork, vfork, socket, socketpair, ptrace, unshare, setns, mount, umount2, bpf, io_uring_setup, keyctl, kill family stays)
clone = 220 if arm else 56
denied = [198, 199, 117, 97, 268, 40, 39, 280, 425, 219, 442, 428, 429] if arm else [57, 58, 41, 53, 101, 272, 308, 165, 166, 321, 425, 250, 442, 428, 429]
def op(code, jt, jf, k): return struct.pack("HBBI", code, jt, jf, k)
program = [op(0x20, 0, 0, 4), op(0x15, 1, 0, 0xC00000B7 if arm else 0xC000003E), op(0x06, 0, 0, 0x80000000), op(0x20, 0, 0, 0)]
if not arm: program += [op(0x35, 0, 1, 0x40000000), op(0x06, 0, 0, 0x80000000)]  # the x32 calls
program += [op(0x15, 0, 1, 435), op(0x06, 0, 0, 0x00050000 | 38)]  # clone3: not there, so that clone is used
for number in denied: program += [op(0x15, 0, 1, number), op(0x06, 0, 0, 0x00050000 | 1)]
program += [op(0x15, 0, 4, clone), op(0x20, 0, 0, 16), op(0x45, 1, 0, 0x00010000), op(0x06, 0, 0, 0x00050000 | 1), op(0x06, 0, 0, 0x7FFF0000), op(0x06, 0, 0, 0x7FFF0000)]
raw = ctypes.create_string_buffer(b"".join(program))
class Filter(ctypes.Structure): _fields_ = [("n", ctypes.c_ushort), ("at", ctypes.c_void_p)]
call("prctl", 22, 2, ctypes.byref(Filter(len(program), ctypes.cast(raw, ctypes.c_void_p))), 0, 0)
code, sys.stdin = given["code"], open(os.devnull)
sys.argv = ["program"]
scope = {"__name__": "__main__", "__builtins__": __builtins__}
del given
try:
    exec(compile(code, "program", "exec"), scope)
finally:
    sys.stdout.flush()
"""

_HARNESS = r"""
def _run(code, tests, seconds, nonce):
    import json, os, signal, sys
    out = os.dup(1)
    class Late(BaseException): pass
    def late(*_): raise Late("too long")
    signal.signal(signal.SIGALRM, late)
    scope, results = {"__name__": "program"}, []
    def attempt(text):
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            exec(compile(text, "program", "exec"), scope)
            return ""
        except BaseException as error:
            return type(error).__name__ + ": " + str(error)[:200]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    first = attempt(code)
    results = [first or attempt(t) for t in tests]
    sys.stdout.flush()
    os.write(out, ("\n" + nonce + json.dumps(results) + "\n").encode())
    os._exit(0)
"""


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
    """Tests of a program: what went wrong in each ("" where it passed), and how the program ended."""

    errors: tuple[str, ...]
    status: Status

    @property
    def passed(self) -> int:
        return sum(not e for e in self.errors)

    @property
    def share(self) -> float:
        """Of the tests that passed; 0 without tests."""
        return self.passed / len(self.errors) if self.errors else 0.0


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
    return (
        ""
        if found.stdout == "1\n"
        else f"the system allows no namespaces ({found.stderr.strip()[:200] or found.status})"
    )


def _run(code: str, seconds: float, memory: int, disk: int, files: int, output: int) -> Outcome:
    given = {"code": code, "seconds": seconds, "memory": memory, "disk": disk, "files": files}
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", "-c", _LAUNCHER],
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
    status: Status | None = None
    kept = {process.stdout: bytearray(), process.stderr: bytearray()}
    try:
        try:
            process.stdin.write(json.dumps(given).encode() + b"\n")
            process.stdin.close()
        except BrokenPipeError:
            pass
        with selectors.DefaultSelector() as waiting:
            for pipe in kept:
                waiting.register(pipe, selectors.EVENT_READ)
            while waiting.get_map() and status is None:
                left = start + seconds - time.monotonic()
                if left <= 0:
                    status = "timeout"
                    break
                for key, _ in waiting.select(left):
                    chunk = os.read(key.fd, 2**16)
                    if not chunk:
                        waiting.unregister(key.fileobj)
                    kept[key.fileobj] += chunk  # type: ignore[index]
                    if sum(map(len, kept.values())) > output:
                        status = "output"
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
    out, err = (bytes(b[:output]).decode("utf-8", errors="replace") for b in kept.values())
    if status is None:
        last = err.strip().splitlines()[-1] if err.strip() else ""
        status = (
            "ok"
            if process.returncode == 0
            else "memory"
            if last.startswith("MemoryError")
            else "error"
        )
    return Outcome(status, out, err, time.monotonic() - start)


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
    program = f"{_HARNESS}\n_run({code!r}, {list(tests)!r}, {seconds}, {nonce!r})"
    found = run_program(program, seconds=seconds * (len(tests) + 1) + 5, **limits)
    for line in found.stdout.splitlines():
        if line.startswith(nonce):
            errors = tuple(json.loads(line[len(nonce) :]))
            return TestOutcome(errors, "ok" if not any(errors) else "error")
    why = found.status if found.status != "ok" else "ended before its tests did"
    return TestOutcome(
        tuple([str(why)] * len(tests)), found.status if found.status != "ok" else "error"
    )


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
    out = []
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        for found in pool.map(lambda p: run_tests(p[0], p[1], seconds=seconds, **limits), programs):
            out.append(found)
            if report is not None:
                report(len(out), len(programs))
    return out


def check_statements(test: str, entry_point: str) -> list[str]:
    """The statements of HumanEval's ``check(candidate)`` as tests of their own, what stands before
    it with each of them.

    Raises
    ------
    EvidenceError
        When there is no such function.
    """
    tree = ast.parse(test)
    checks = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "check"]
    if not checks:
        raise EvidenceError("the test has no function check(candidate).")
    before = [
        ast.unparse(n) for n in tree.body if n is not checks[0] and not isinstance(n, ast.Expr)
    ]
    name = checks[0].args.args[0].arg
    setup, out = [*before, f"{name} = {entry_point}"], []
    for node in checks[0].body:
        text = ast.unparse(node)
        if any(isinstance(n, ast.Assert) for n in ast.walk(node)):
            out.append("\n".join([*setup, text]))
        else:
            setup.append(text)
    return out


def imports_of(prompt: str) -> str:
    """The import lines of a problem's text, on which answers rely."""
    return "".join(
        line + "\n" for line in prompt.splitlines() if re.match(r"(from|import) \w", line)
    )


def code_of(answer: str, entry_point: str | None = None) -> str:
    """The program in an answer: its fenced block (the one that defines ``entry_point``, where there
    is one), or the whole text.
    """
    blocks = [
        b.partition("\n")[2] if not b.startswith("\n") else b[1:] for b in answer.split("```")[1::2]
    ]
    named = [b for b in blocks if entry_point is not None and f"def {entry_point}" in b]
    return (named or blocks or [answer])[-1 if named else 0]


def docstring_examples(prompt: str, entry_point: str) -> list[tuple[str, str]]:
    """Calls of a function and what they give, as a problem's text shows them (``>>> f(1)`` and the
    line after, ``f(1) == 2``, ``f(1) -> 2``).

    Examples
    --------
    >>> docstring_examples("def f(x):\\n    '''Doubles. f(1) => 2\\n    >>> f(2)\\n    4\\n    '''", "f")
    [('f(1)', '2'), ('f(2)', '4')]
    """
    out = []
    lines = prompt.splitlines()
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        shown = line.strip().removeprefix(">>>").strip()
        call, wanted = (shown, after.strip()) if ">>>" in line else ("", "")
        if not call and (
            found := re.search(
                rf"({re.escape(entry_point)}\(.*?\))\s*(?:==|=>|->|➞|returns|=)\s*(.+)", shown
            )
        ):
            call, wanted = found[1], found[2].rstrip(" .,;")
        try:
            ast.parse(call, mode="eval")
            ast.literal_eval(wanted)
        except (SyntaxError, ValueError):
            continue
        if call.startswith(entry_point + "("):
            out.append((call, wanted))
    return out


def outputs(
    code: str, expressions: Sequence[str], *, seconds: float = 2.0, **limits: int
) -> list[str]:
    """What expressions come to after the code, as text; or the error."""
    asked = [f"raise AssertionError('value ' + repr({e}))" for e in expressions]
    return [
        e.removeprefix("AssertionError: ")
        for e in run_tests(code, asked, seconds=seconds, **limits).errors
    ]
