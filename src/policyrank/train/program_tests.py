"""Programs that models write, run against the tests of their problems in the sandbox."""

from __future__ import annotations

from collections.abc import Sequence

from policyrank.train.programs import Problem
from policyrank.worlds import problem_texts, sandbox


def shares_passed(
    problems: Sequence[Problem],
    answers: Sequence[Sequence[str]],
    *,
    seconds: float = 2.0,
    packages: Sequence[str] = (),
) -> list[list[float]]:
    """The share of its problem's tests that each answer passes.

    Parameters
    ----------
    answers
        of each problem, texts with a program in them
    seconds
        of each test
    packages
        that programs may import beside the standard library
    """
    runs = []
    for problem, own in zip(problems, answers, strict=True):
        imports = problem_texts.imports_of(problem.prompt)
        for answer in own:
            code = problem_texts.code_of(answer, problem.entry_point)
            runs.append((imports + code, problem.tests))
    results = iter(sandbox.run_all(runs, seconds=seconds, packages=packages))
    return [[next(results).share for _ in own] for own in answers]
