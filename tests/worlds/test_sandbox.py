"""Programs of models: what they must not do fails inside, ends in time, and leaves no trace
outside.
"""

import time
from pathlib import Path

import pytest

from policyrank.worlds import sandbox
from policyrank.worlds.sandbox import check_statements, code_of, run_all, run_program, run_tests

pytestmark = pytest.mark.skipif(
    bool(sandbox.unavailable()), reason=f"no sandbox here: {sandbox.unavailable()}"
)


def test_programs_run_and_say_how_they_ended():
    assert run_program("print(6 * 7)").stdout == "42\n"
    assert run_program("import sys; sys.exit(3)").status == "error"
    found = run_program("1 / 0")
    assert (found.status, "ZeroDivisionError" in found.stderr) == ("error", True)
    assert (
        run_program(
            "import threading as t; x = t.Thread(target=print, args=('hi',)); x.start(); x.join()"
        ).stdout
        == "hi\n"
    )


@pytest.mark.parametrize(
    ("code", "status", "says"),
    [
        ("import os\nwhile True:\n    os.fork()", "error", "PermissionError"),
        ("import subprocess; subprocess.run(['true'])", "error", "PermissionError"),
        (
            "import multiprocessing as m; m.Process(target=print).start()",
            "error",
            "PermissionError",
        ),
        ("import socket; socket.socket()", "error", "PermissionError"),
        (
            "import urllib.request as u; u.urlopen('http://127.0.0.1:1')",
            "error",
            "Operation not permitted",
        ),
        ("f = open('/tmp/x', 'wb')\nwhile True: f.write(b'x' * 100000)", "error", "OSError"),
        (
            (
                "import itertools\nfor i in itertools.count(): open(f'/tmp/{i}', 'wb').write(b'x' *"
                " 100000)"
            ),
            "error",
            "OSError",
        ),
        (
            "import itertools\nfor i in itertools.count(): open(f'/tmp/{i}', 'wb')",
            "error",
            "OSError",
        ),
        ("x = [0] * 10**10", "memory", "MemoryError"),
        ("while True: print('x' * 1000)", "output", ""),
        (
            (
                "import ctypes; c = ctypes.CDLL(None); print(c.unshare(0x10000000),"
                " c.mount(b'none', b'/', None, 36, None)); raise SystemExit(c.mount(b'n', b'/',"
                " None, 36, None) + 2)"
            ),
            "error",
            "",
        ),
    ],
)
def test_harm_fails(code, status, says):
    found = run_program(code, seconds=10)
    assert found.status == status
    assert says in found.stderr
    assert found.seconds < 9


def test_endless_loops_end():
    start = time.monotonic()
    assert run_program("while True: pass", seconds=0.7).status == "timeout"
    assert run_program("import time; time.sleep(100)", seconds=0.7).status == "timeout"
    assert time.monotonic() - start < 5


def test_nothing_outside_can_be_written():
    mine = Path(__file__)
    before = mine.read_bytes()
    # A checkout in /tmp is not even seen: an empty folder lies over it.
    why = "No such file" if mine.is_relative_to("/tmp") else "Read-only"
    assert why in run_program(f"open({str(mine)!r}, 'a').write('#')").stderr
    assert run_program(f"import os; os.remove({str(mine)!r})").status == "error"
    assert mine.read_bytes() == before
    assert run_program("import os; print(os.listdir('/tmp'))").stdout == "[]\n"
    assert (
        run_program("open('/tmp/made', 'w').write('x'); print(open('/tmp/made').read())").stdout
        == "x\n"
    )
    assert not Path("/tmp/made").exists()
    assert run_program("import os; print(len(os.environ))").stdout == "2\n"


def test_tests_one_by_one():
    found = run_tests(
        "def f(x): return x + 1",
        ["assert f(1) == 2", "assert f(1) == 3", "while True: pass", "assert f(0) == 1"],
        seconds=0.5,
    )
    assert [bool(e) for e in found.errors] == [False, True, True, False]
    assert (found.passed, found.share) == (2, 0.5)
    assert run_tests("def f(x: return", ["assert 1"]).errors[0].startswith("SyntaxError")
    assert (
        run_tests("import os; os._exit(0)", ["assert 1"]).passed == 0
    )  # an exit code of 0 proves nothing
    assert run_tests("print('[\"\"]')\nraise SystemExit", ["assert 1"]).passed == 0
    assert run_tests("while True: pass", ["assert 1"], seconds=0.3).passed == 0
    seen = []
    many = run_all(
        [(f"def f(): return {k}", ["assert f() % 2 == 0"]) for k in range(6)],
        report=lambda *x: seen.append(x),
    )
    assert [m.passed for m in many] == [1, 0] * 3
    assert seen[-1] == (6, 6)


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
    looked_up = "import typing, pickle\nassert typing.get_type_hints(Point)['x'] is int"
    copied = "assert pickle.loads(pickle.dumps(Point(1))) == Point(1)"
    shown = "assert [field.name for field in fields(Point)] == ['x']"
    assert run_tests(STRING_ANNOTATIONS, [shown, looked_up, copied]).errors == ("", "", "")
    program = [STRING_ANNOTATIONS, shown, looked_up, copied, "print(__name__)"]
    alone = run_program("\n".join(program))
    assert (alone.stdout, alone.stderr) == ("__main__\n", "")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import numpy", "standard library alone"),
        ("import asyncio; asyncio.run(asyncio.sleep(0))", "no asyncio"),
        ("import os; os.fork()", "no other processes"),
    ],
)
def test_what_is_not_there_is_said(code, why):
    assert why in run_program(code).stderr
    assert why in run_tests(code, ["assert True"]).errors[0]
    assert "standard library" not in run_tests("raise ImportError('mine')", ["1"]).errors[0]


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
