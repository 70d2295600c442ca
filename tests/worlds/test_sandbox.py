"""Programs of models: what they must not do fails inside, ends in time, and leaves no trace
outside. Each way out is tried as root and as nobody.
"""

import os
import platform
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from policyrank.errors import EvidenceError
from policyrank.worlds import isolation, sandbox, system_calls
from policyrank.worlds.isolation import Isolation
from policyrank.worlds.problem_texts import check_statements, code_of
from policyrank.worlds.sandbox import run_all, run_program, run_tests

pytestmark = pytest.mark.skipif(
    bool(sandbox.unavailable()),
    reason=f"THE SANDBOX IS NOT TESTED, and refuses to run here: {sandbox.unavailable()}",
)

SYSTEM = Path("/usr/bin/python3").resolve()


def way(name):
    """Who starts the sandbox: root, or nobody, who has the system's Python only."""
    if name == "here":
        return Isolation()
    if os.geteuid() != 0:
        pytest.skip("both ways are tried where root runs the tests")
    if name == "root":
        return Isolation()
    if not SYSTEM.exists():
        pytest.skip(f"nobody's way is not tested: there is no {SYSTEM}")
    return Isolation(root=False, user=65534, interpreter=SYSTEM)


@pytest.fixture(params=["root", "nobody"] if os.geteuid() == 0 else ["here"])
def apart(request):
    found = way(request.param)
    if why := sandbox.unavailable(found):
        pytest.skip(f"not tested as {request.param}: {why}")
    return found


def test_programs_run_and_say_how_they_ended(apart):
    def run(code, **more):
        return run_program(code, isolation=apart, **more)

    assert run("print(6 * 7)").stdout == "42\n"
    assert run("import sys; sys.exit(3)").status == "error"
    found = run("1 / 0")
    assert (found.status, "ZeroDivisionError" in found.stderr) == ("error", True)
    assert 'File "/program.py", line 1' in found.stderr
    assert run("print(input() + input())", stdin="a\nb\n").stdout == "ab\n"
    assert run("import sys; print(len(sys.stdin.read()))", stdin="x" * 10**6).stdout == "1000000\n"
    assert run("import os; print(sorted(os.environ)[0], os.getcwd())").stdout.endswith("/tmp\n")


WORKS = {
    "threads": (
        "import threading as t; x = t.Thread(target=print, args=('ok',)); x.start(); x.join()"
    ),
    "dataclasses": (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass A:\n    x: int = 3\nassert A() == A(3)\nprint('ok')"
    ),
    "asyncio": (
        "import asyncio\nasync def f():\n    await asyncio.sleep(.01)\n    return 'ok'\n"
        "async def g(): return (await asyncio.gather(f(), f()))[1]\nprint(asyncio.run(g()))"
    ),
    "processes": (
        "import subprocess, sys\n"
        "print(subprocess.check_output([sys.executable, '-c', 'print(\"ok\")'], text=True))"
    ),
    "multiprocessing": (
        "import multiprocessing as m\ndef f(x): return x * 2\n"
        "if __name__ == '__main__':\n"
        "    with m.get_context('fork').Pool(2) as p:\n"
        "        assert p.map(f, [1, 2]) == [2, 4]\n    print('ok')"
    ),
    "files": "open('/tmp/a', 'w').write('ok'); print(open('a').read())",
    "unix sockets": (
        "import socket; a, b = socket.socketpair(); a.send(b'ok'); print(b.recv(9).decode())"
    ),
}


@pytest.mark.parametrize("name", WORKS)
def test_what_programs_may_do(apart, name):
    found = run_program(WORKS[name], isolation=apart, seconds=20)
    assert (found.stdout.strip(), found.status) == ("ok", "ok"), found.stderr


def test_packages_by_name():
    pytest.importorskip("numpy")
    code = "import numpy; print(int(numpy.ones((200, 200)).sum()))"
    assert "ModuleNotFoundError" in run_program(code).stderr
    assert run_program(code, packages=["numpy"], seconds=20).stdout == "40000\n"
    tests = ["import numpy; assert numpy.linalg.inv(numpy.eye(3)).sum() == 3"]
    assert run_tests("", tests, packages=["numpy"], seconds=10).passed == 1
    assert "standard library alone" in run_tests("import numpy", tests).errors[0]
    with pytest.raises(EvidenceError, match="nowhere"):
        run_program("", packages=["nowhere"])
    with pytest.raises(EvidenceError, match="not installed"):
        run_program("", packages=["../../etc"])


SAYS = {
    "a fork bomb": ("import os\nwhile True: os.fork()", "Resource temporarily unavailable"),
    "network": (
        "import urllib.request as u; u.urlopen('http://127.0.0.1:%(port)d', timeout=3)",
        "urlopen error",
    ),
    "names": ("import socket; socket.getaddrinfo('example.org', 80)", "gaierror"),
    "virtual machine sockets": ("import socket; socket.socket(40, 1)", "not supported"),
    "netlink": ("import socket; socket.socket(16, 3)", "not supported"),
    "kernel cryptography": ("import socket; socket.socket(38, 5)", "not supported"),
    "raw packets": ("import socket; socket.socket(17, 3)", "not supported"),
    "raw internet": ("import socket; socket.socket(2, 3, 1)", "not permitted"),
    "a big file": ("f = open('/tmp/x', 'wb')\nwhile True: f.write(b'x' * 10**6)", "OSError"),
    "big files": (
        "import itertools\nfor i in itertools.count(): open(f'/tmp/{i}', 'wb').write(b'x' * 10**5)",
        "No space left",
    ),
    "many files": (
        "import itertools\nfor i in itertools.count(): open(f'/tmp/{i}', 'wb')",
        "No space left",
    ),
    "many links": (
        "import os, itertools\nopen('/tmp/x', 'w')\n"
        "for i in itertools.count(): os.link('/tmp/x', f'/tmp/{i}')",
        "No space left",
    ),
    "many folders": ("import os, itertools\nfor i in itertools.count(): os.mkdir(f'{i}')", "space"),
    "files in shared memory": (
        "for i in range(99): open(f'/dev/shm/{i}', 'wb').write(b'x' * 10**6)",
        "No space left",
    ),
    "memory": ("x = [0] * 10**10", "MemoryError"),
    "shared memory of its own": (
        "import mmap\nx = [mmap.mmap(-1, 10**8) for _ in range(9)]",
        "OSError",
    ),
    "higher limits": (
        "import resource as r; r.setrlimit(r.RLIMIT_AS, (r.RLIM_INFINITY, r.RLIM_INFINITY))",
        "not allowed to raise",
    ),
    "more processes": (
        "import resource as r; r.setrlimit(r.RLIMIT_NPROC, (999, 999))",
        "not allowed to raise",
    ),
    "being root": ("import os; os.setuid(0 if os.getuid() else 1)", "Error"),
    "a device": ("import os; os.mknod('/tmp/d', 0o60666, os.makedev(7, 0))", "not permitted"),
    "block devices": ("open('/dev/loop0', 'rb')", "No such file"),
    "virtual machines": ("open('/dev/kvm', 'rb')", "No such file"),
    "the terminal": ("open('/dev/tty')", "No such"),
    "secrets of the machine": ("open('/etc/shadow').read()", "No such file"),
    "users": ("open('/etc/passwd').read()", "No such file"),
    "processes of others": ("import os; os.listdir('/proc')", "No such file"),
    "the kernel's files": ("import os; os.listdir('/sys')", "No such file"),
    "a shell": ("import subprocess; subprocess.run(['/bin/sh', '-c', 'true'])", "No such file"),
    "the library": ("import os; open(os.__file__, 'w')", "Read-only"),
    "the root": ("open('/x', 'w')", ""),
    "devices' folder": ("open('/dev/x', 'w')", ""),
    "a process outside": ("import os; os.kill(%(pid)d, 0)", "ProcessLookupError"),
    "what it is given": ("import os; os.write(0, b'x')", "not permitted"),
    "the interpreter's death": ("import ctypes; ctypes.string_at(0)", ""),
}


@pytest.mark.parametrize("name", SAYS)
def test_harm_fails(apart, name):
    code, says = SAYS[name]
    with socket.create_server(("127.0.0.1", 0)) as server:
        given = {"port": server.getsockname()[1], "pid": os.getpid()}
        found = run_program(code % given if "%(" in code else code, isolation=apart, seconds=10)
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert found.status == ("memory" if says == "MemoryError" else "error")
    assert says in found.stderr
    assert found.seconds < 9


def test_much_output_ends_it(apart):
    found = run_program("while True: print('x' * 1000)", isolation=apart, output=10_000)
    assert (found.status, len(found.stdout)) == ("output", 10_000)


CALLS = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
for name, number in CALLS.items():
    ctypes.set_errno(0)
    libc.syscall(number, 0, 0, 0, 0, 0, 0)
    print(name, errno.errorcode.get(ctypes.get_errno(), "none"))
"""


def test_calls_of_the_system_that_are_denied(apart):
    column = {"x86_64": 0, "aarch64": 1}[platform.machine()]
    calls = {name: own[column] for name, own in system_calls._NUMBERS.items()}
    calls = {name: number for name, number in calls.items() if number is not None}
    found = run_program(f"CALLS = {calls!r}\n{CALLS}", isolation=apart)
    answers = dict(line.split() for line in found.stdout.splitlines())
    assert answers == dict.fromkeys(calls, "EPERM")
    clone3 = run_program(f"CALLS = {{'clone3': 435}}\n{CALLS}", isolation=apart)
    assert clone3.stdout.split() == ["clone3", "ENOSYS"]
    flags = (0x10000000, 0x00020000, 0x40000000, 0x20000000)
    for flag in flags:
        code = CALLS.replace("number, 0,", f"number, {flag | 17},")
        number = system_calls._CLONE[column]
        said = run_program(f"CALLS = {{'clone': {number}}}\n{code}", isolation=apart)
        assert said.stdout.split() == ["clone", "EPERM"]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_filters_of_other_machines_are_whole(machine):
    """Jumps stay within the filter, and every path ends."""
    import struct

    words = list(struct.iter_unpack("HBBI", system_calls.seccomp_filter(machine)))
    for place, (code, if_true, if_false, _) in enumerate(words):
        if code in (0x15, 0x35, 0x45):
            assert place + 1 + max(if_true, if_false) < len(words)
    assert words[-1][0] == 0x06
    assert not system_calls.is_known("sparc")


def test_only_three_descriptors_are_open(apart):
    code = (
        "import os\nfor k in range(64):\n    try: os.fstat(k); print(k)\n    except OSError: pass"
    )
    assert run_program(code, isolation=apart).stdout.split() == ["0", "1", "2"]


@pytest.fixture
def tokens():
    """Names by which processes of a test are found, and whether they are gone."""
    made = f"token{os.getpid()}x{time.monotonic_ns()}"

    def living():
        found = []
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if made.encode() in line.read_bytes() and line.parent.name != str(os.getpid()):
                    found.append(line.parent)
            except OSError:
                continue
        return found

    return made, living


OUTLIVES = """
import ctypes, os, subprocess, sys, time
ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(300)", TOKEN])
    os._exit(0)
print("started", flush=True)
time.sleep(WAIT)
"""


@pytest.mark.parametrize("wait", [0.3, 300])
def test_nothing_outlives_a_program(apart, tokens, wait):
    token, living = tokens
    code = f"TOKEN, WAIT = {token!r}, {wait}\n{OUTLIVES}"
    found = run_program(code, isolation=apart, seconds=3)
    assert found.stdout == "started\n"
    assert found.status == ("ok" if wait < 1 else "timeout")
    assert found.seconds < 6
    until = time.monotonic() + 5
    while living() and time.monotonic() < until:
        time.sleep(0.02)
    assert living() == []


def test_nothing_outlives_who_started_it(tokens, tmp_path):
    token, living = tokens
    code = f"TOKEN, WAIT = {token!r}, 300\n{OUTLIVES}"
    run = f"from policyrank.worlds.sandbox import run_program; run_program({code!r}, seconds=100)"
    process = subprocess.Popen([sys.executable, "-c", run], cwd=tmp_path)
    until = time.monotonic() + 30
    while len(living()) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert len(living()) >= 2
    process.kill()
    process.wait()
    until = time.monotonic() + 5
    while living() and time.monotonic() < until:
        time.sleep(0.02)
    assert living() == []


def test_who_it_is_outside(apart, tokens):
    """Nobody, without capabilities, filtered, and unable to get more."""
    token, living = tokens
    code = f"import os, sys; os.execv(sys.executable, [sys.executable, '-c', 'input()', {token!r}])"
    stops = "import time; time.sleep(3)"
    code = code.replace("input()", stops)
    thread = threading.Thread(target=run_program, args=(code,), kwargs={"isolation": apart})
    thread.start()
    seen = []
    until = time.monotonic() + 10
    while not seen and time.monotonic() < until:
        for process in living():
            if (process / "cmdline").read_bytes().endswith(token.encode() + b"\0"):
                status = dict(
                    line.split(":", 1) for line in (process / "status").read_text().splitlines()
                )
                if status["Seccomp"].strip() == "2" and "bwrap" not in status["Name"]:
                    seen.append(status)
        time.sleep(0.02)
    thread.join()
    status = seen[-1]
    users = set(map(int, status["Uid"].split()))
    assert 0 not in users
    assert users <= ({65534} if apart.user else {*isolation.USERS, os.getuid()})
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapAmb"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"


def test_all_processes_together_are_bounded():
    with isolation.memory_group(2**20) as group:
        if group is None:
            pytest.skip("memory of all processes together is not bounded here: no memory cgroup")
    code = (
        "import os, time\n"
        "for _ in range(9):\n"
        "    if os.fork() == 0:\n        x = bytearray(40 * 2**20); time.sleep(5); os._exit(0)\n"
        "x = bytearray(40 * 2**20); time.sleep(1); print('all there')"
    )
    small = run_program(code, memory=100 * 2**20, disk=2**20)
    assert "all there" not in small.stdout or small.status == "memory"
    assert run_program(code, memory=600 * 2**20).stdout == "all there\n"


def test_endless_loops_end(apart):
    start = time.monotonic()
    for code in (
        "while True: pass",
        "import time; time.sleep(100)",
        "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
        "import os, time; os.close(1); os.close(2); time.sleep(100)",
        "import signal\nfor s in range(1, 32):\n  try: signal.signal(s, signal.SIG_IGN)\n"
        "  except OSError: pass\nwhile True: pass",
    ):
        assert run_program(code, isolation=apart, seconds=0.8).status == "timeout"
    assert time.monotonic() - start < 15


def test_nothing_outside_can_be_seen_or_written(apart, tmp_path):
    mine = Path(__file__)
    before = mine.read_bytes()
    for place in (mine, tmp_path, Path.home() / "x", Path("/var/lib"), Path("/run"), Path("/home")):
        said = run_program(f"import os; print(os.stat({str(place)!r}))", isolation=apart)
        assert "No such file" in said.stderr
    assert mine.read_bytes() == before
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o666)
    assert "No such file" in run_program(f"open({str(pipe)!r}, 'w')", isolation=apart).stderr
    assert run_program("import os; print(os.listdir('/tmp'))", isolation=apart).stdout == "[]\n"
    made = run_program("open('/tmp/made', 'w').write('x'); print(open('/tmp/made').read())")
    assert made.stdout == "x\n"
    assert not Path("/tmp/made").exists()
    listed = "import os; print(*sorted(os.listdir('/')))"
    there = set(run_program(listed, isolation=apart).stdout.split())
    assert there <= {*"dev etc lib lib64 packages program.py python tmp usr".split()}
    etc = run_program("import os; print(os.listdir('/etc'))", isolation=apart).stdout
    assert etc in ("", "['ld.so.cache']\n")


def test_tests_one_by_one(apart):
    def run(code, tests, **more):
        return run_tests(code, tests, isolation=apart, **more)

    found = run(
        "def f(x): return x + 1",
        ["assert f(1) == 2", "assert f(1) == 3", "while True: pass", "assert f(0) == 1"],
        seconds=0.7,
    )
    assert [bool(e) for e in found.errors] == [False, True, True, False]
    assert (found.passed, found.share, found.status) == (2, 0.5, "error")
    assert run("def f(x: return", ["assert 1"]).errors[0].startswith("SyntaxError")
    assert run("x = []", ["x.append(1); assert x == [1]"] * 2).passed == 2  # none sees another


CHEATS = {
    "an exit code of 0 proves nothing": ("import os; os._exit(0)", "ended before its test did"),
    "nor does an exit in a test": ("raise SystemExit", "SystemExit"),
    "nor what is printed": ("print('[\"\"]'); raise SystemExit", "SystemExit"),
    "time that is not heard": (
        "import signal\nfor s in (14, 15, 24): signal.signal(s, signal.SIG_IGN)\nwhile True: pass",
        "too long",
    ),
    "killing the judge": ("import os; os.kill(os.getppid(), 9); raise ValueError", None),
    "stopping the judge": ("import os; os.kill(os.getppid(), 19); raise ValueError", None),
    "killing all": ("import os; os.kill(-1, 9); raise ValueError", None),
    "its descriptors": (
        "import os\nfor k in range(3, 64):\n  try: os.write(k, b'[\"\"]\\n')\n"
        "  except OSError: pass\nos._exit(0)",
        None,
    ),
    "too much memory": ("x = bytearray(10**10)", "MemoryError"),
    "leaving somebody behind": (
        "import os, time\nif os.fork() == 0:\n  os.setsid(); time.sleep(60)\nraise ValueError",
        "ValueError",
    ),
}


@pytest.mark.parametrize("name", CHEATS)
def test_tests_are_not_passed_otherwise(apart, name):
    code, says = CHEATS[name]
    forms = [(code, ["assert 1"]), ("", [code, "assert 0"])]
    for program, tests in forms[:1] if name == "stopping the judge" else forms:
        found = run_tests(program, tests, isolation=apart, seconds=0.8)
        assert found.passed == 0
        assert found.status != "ok"
        if says:
            assert says in found.errors[0]


def test_what_a_test_leaves_behind_is_gone_before_the_next(apart):
    leaves = "if os.fork() == 0:\n    os.setsid(); time.sleep(60)"
    some = f"import os, time\nfor _ in range(15):\n  {leaves}"
    found = run_tests("", [some, some], isolation=apart, seconds=5)
    assert found.errors == ("", "")
    assert "only so many" in run_tests("", [f"{some}\n{some}"], isolation=apart).errors[0]


def test_the_report_of_many_failures_is_no_output_of_the_program(apart):
    tests = [f"assert f({i}) == {i}" for i in range(40)]
    tests += [f"assert f({i}) == 0, 'é' * 300" for i in range(1, 200)]
    found = run_tests("def f(i): return i", tests, isolation=apart)
    assert (found.passed, len(found.errors)) == (40, 239)
    strange = "class E(Exception):\n  def __str__(self): raise ValueError\nraise E"
    assert "cannot be had" in run_tests(strange, ["1"], isolation=apart).errors[0]
    assert run_tests("1 / 0", [], isolation=apart).status == "error"
    assert sandbox.outputs("x = 'y'", ["x * 300", "x * 299 + 'z'"])[0] == "value " + repr("y" * 300)


def test_no_test_finds_what_another_wrote(apart):
    leaves = "import os; os.makedirs('/tmp/a/b'); open('/dev/shm/c', 'w'); os.chmod('/tmp/a', 0)"
    none = "import os; assert os.listdir('/tmp') == os.listdir('/dev/shm') == []"
    found = run_tests(
        "import os\nos.mkdir('out')\nos.rmdir('out')", [leaves, none], isolation=apart
    )
    assert found.errors == ("", "")
    made = run_tests("import os\nos.mkdir('out')", ["assert os.path.isdir('out')"], isolation=apart)
    assert made.passed == 1


def test_a_place_that_is_not_built_is_no_failure_of_the_program():
    assert run_program("print(1)").status == "ok"
    with pytest.raises(EvidenceError, match="could not be run apart"):
        run_program("print(1)", files=2)
    with pytest.raises(EvidenceError, match="could not be run apart"):
        run_all([("x = 1", ["assert x"])], files=2)


def test_packages_that_were_not_named_are_not_there(apart):
    listed = "import sys, os; print([os.listdir(p) for p in sys.path if p.endswith('-packages')])"
    look = "import os, sys, glob; print(sum((glob.glob(p + '/python3*/*-packages/*') for p in"
    look += " ('/usr/lib', '/python/lib', '/usr/lib64')), []))"
    for code in (listed, look):
        assert run_program(code, isolation=apart).stdout == "[]\n"
    import_one = "import threadpoolctl; print('there')"
    found = run_program(import_one, packages=["threadpoolctl"], isolation=apart)
    assert found.stdout == "there\n"
    with pytest.raises(EvidenceError, match="not installed"):
        run_program("", packages=["__main__"])


def test_many_programs():
    seen = []
    many = run_all(
        [(f"def f(): return {k}", ["assert f() % 2 == 0"]) for k in range(6)],
        report=lambda *x: seen.append(x),
    )
    assert [m.passed for m in many] == [1, 0] * 3
    assert seen[-1] == (6, 6)


def test_an_interruption_ends_what_is_under_way():
    def interrupt(done, of):
        raise KeyboardInterrupt

    slow = ("import time", ["time.sleep(20)"] * 5)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_all([("", ["1"]), slow, slow, slow], workers=3, seconds=30, report=interrupt)
    assert time.monotonic() - start < 15


def test_where_it_cannot_be_it_refuses(monkeypatch):
    def refusal(apart):
        sandbox.unavailable.cache_clear()
        with pytest.raises(EvidenceError) as said:
            run_program("print(1)", isolation=apart)
        sandbox.unavailable.cache_clear()
        return str(said.value)

    here = Isolation()
    which = isolation.shutil.which
    for lacking, says in (("bwrap", "apt install bubblewrap"), ("unshare", "util-linux")):
        with monkeypatch.context() as patched:
            patched.setattr(
                isolation.shutil, "which", lambda n, k=lacking: None if n == k else which(n)
            )
            assert says in refusal(here)
    with monkeypatch.context() as patched:
        patched.setattr(isolation.sys, "platform", "darwin")
        assert "needs Linux" in refusal(here)
    with monkeypatch.context() as patched:
        patched.setattr(isolation, "_PREPARE", "echo no permission >&2; exit 1")
        assert "cannot build a place for them (no permission)" in refusal(here)


STRING_ANNOTATIONS = """
from __future__ import annotations
from dataclasses import dataclass, fields
from typing import ClassVar as Shared

@dataclass(frozen=True)
class Point:
    x: int
    origin: Shared[int] = 0
"""


def test_a_program_is_a_module():
    """What looks a class's module up by name finds it: dataclasses, type hints, pickle."""
    looked_up = "import typing\nassert typing.get_type_hints(Point)['x'] is int"
    copied = "import pickle\nassert pickle.loads(pickle.dumps(Point(1))) == Point(1)"
    shown = "assert [field.name for field in fields(Point)] == ['x']"
    assert run_tests(STRING_ANNOTATIONS, [shown, looked_up, copied]).errors == ("", "", "")
    program = [STRING_ANNOTATIONS, shown, looked_up, copied, "print(__name__)"]
    alone = run_program("\n".join(program))
    assert (alone.stdout, alone.stderr) == ("__main__\n", "")


def test_humaneval_checks_and_answers():
    test = (
        "METADATA = {}\ndef check(candidate):\n    x = 3\n    assert candidate(x) == 4\n    for k"
        " in range(3):\n        assert candidate(k) == k + 1\n"
    )
    found = check_statements(test, "f")
    assert len(found) == 2
    assert run_tests("def f(x): return x + 1 if x < 3 else 0", found).errors[1] == ""
    assert run_tests("def f(x): return x + 1 if x < 3 else 0", found).passed == 1
    with pytest.raises(ValueError, match="no function check"):
        check_statements("assert 1", "f")
    assert code_of("Sure:\n```python\ndef f(): pass\n```\nDone") == "def f(): pass\n"
    assert code_of("```\nx = 1\n```\n```py\ndef f(): pass\n```", "f") == "def f(): pass\n"
    assert code_of("x = 1") == "x = 1"
