"""Programs that an agent writes and mends, by what their tests say, in the sandbox."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from policyrank.errors import EvidenceError, OptionError
from policyrank.worlds import problem_texts, sandbox
from policyrank.worlds.agents.stepping import Observation, Step
from policyrank.worlds.agents.tool_calls import spoken

REPAIR = """Write a Python program that does what is asked, in a block that begins with ```python \
and ends with ```. It is tested; where tests fail you are told how, and may write it anew.

"""
Tested = Callable[[str, Sequence[str]], sandbox.TestOutcome]
"""A program and tests -> what became of each test."""


@dataclass
class ProgramRepair:
    """A program is written, tested in the sandbox, and mended until its tests pass.

    Rows are those of ``train.programs.read_problems``: ``prompt`` (``text``), ``tests`` (a list of
    statements, ``test_list``) or HumanEval's ``test`` with ``entry_point``. A turn earns by how
    much it raised the best share of tests passed so far, so that a trajectory's rewards add up to
    its best program; a share of the tests may be held back, which the agent is not told of.

    Parameters
    ----------
    shown
        failures that are told of
    hidden
        tests at the end of the list that are judged by but not told of; one stays to be told of
    seconds
        of each test
    packages
        that programs may import beside the standard library
    tested
        runs a program's tests; None: the sandbox

    Raises
    ------
    EvidenceError
        When programs cannot be run apart here.
    """

    shown: int = 3
    hidden: int = 0
    seconds: float = 2.0
    packages: tuple[str, ...] = ()
    tested: Tested | None = None
    _tests: list[str] = field(default_factory=list, init=False, repr=False)
    _row: Mapping[str, Any] = field(default_factory=dict, init=False, repr=False)
    _best: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.shown < 1 or self.hidden < 0:
            raise OptionError(f"shown={self.shown}, hidden={self.hidden}: 1 or more, 0 or more.")
        if self.tested is None:
            if why := sandbox.unavailable():
                raise EvidenceError(f"programs cannot be run apart here: {why}.")
            self.tested = self._in_sandbox

    def reset(self, row: Mapping[str, Any], /) -> Observation:
        """The problem.

        Raises
        ------
        EvidenceError
            For a row without a problem or tests.
        """
        asked = row.get("prompt") or row.get("text")
        tests, entry = row.get("tests") or row.get("test_list"), row.get("entry_point")
        if tests is None and row.get("test") and entry:
            tests = problem_texts.check_statements(str(row["test"]), str(entry))
        if not isinstance(asked, str) or not tests or not all(isinstance(t, str) for t in tests):
            raise EvidenceError("a problem has a prompt and tests (a list of statements).")
        self._row, self._tests, self._best = row, list(tests), 0.0
        return asked

    def step(self, action: str, /) -> Step:
        """Test the program in what was written."""
        said = spoken(action)
        entry = self._row.get("entry_point")
        code = problem_texts.code_of(said, entry if isinstance(entry, str) else None)
        if not code.strip() or not _is_program(code):
            told = "There is no Python program in that: write one between ```python and ```."
            return Step(told, 0.0, False, {"troubles": ("bad action",)})
        imports = problem_texts.imports_of(str(self._row.get("prompt") or ""))
        assert self.tested is not None
        found = self.tested(imports + code, self._tests)
        gained = max(found.share - self._best, 0.0)
        self._best = max(self._best, found.share)
        passed = found.passed == len(self._tests)
        result = f"{found.passed} of {len(self._tests)} passed ({found.status})"
        log = {"name": "tests", "arguments": {"program": code}, "result": result}
        info: dict[str, Any] = {"calls": (log,), "share": found.share}
        if passed:
            return Step("", gained, True, {**info, "answer": code})
        return Step(self._told(found), gained, False, info)

    def _told(self, found: sandbox.TestOutcome) -> str:
        known = max(len(self._tests) - self.hidden, 1)
        failures = []
        for test, error in zip(self._tests[:known], found.errors[:known], strict=False):
            if error:
                failures.append(f"{test.strip()}\n  {error}")
        told = [f"{len(failures)} of {known} tests fail."]
        if not failures:
            told = ["These tests pass, but others that are not shown fail."]
        return "\n".join([*told, *failures[: self.shown]])

    def _in_sandbox(self, code: str, tests: Sequence[str]) -> sandbox.TestOutcome:
        return sandbox.run_tests(code, tests, seconds=self.seconds, packages=self.packages)


def _is_program(code: str) -> bool:
    """Whether a text may be a program: broken ones are tested, so that the error is told."""
    try:
        nodes = ast.parse(code).body
    except (SyntaxError, ValueError):
        return any(word in code for word in ("def ", "import ", "=", "return"))
    except (RecursionError, MemoryError):
        return False
    return any(not isinstance(node, ast.Expr) for node in nodes)
