"""Rerankers of programs that train themselves (RewardRanker).

Sample solutions, test them, learn to rank them, improve the generator against that, and mine what
fooled it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import EvidenceError, OptionError
from policyrank.evidence import RankedAnswers
from policyrank.evidence.answers import read_rows
from policyrank.fingerprints import Fingerprint, hashed
from policyrank.metrics.programs import best_of_n, oracle_at_n, pass_at_k
from policyrank.train.judges import Generator, Scorer
from policyrank.train.kept_files import keep, read_kept
from policyrank.train.samples import ranked_lists, usable_answers

Mining = Literal["hard", "passed and hard", "all"]
Tester = Callable[[Sequence["Problem"], Sequence[Sequence[str]]], list[list[float]]]
"""(problems, answers of each) -> share of the tests that each passes."""


@dataclass(frozen=True)
class Problem:
    """What is asked for, and statements that raise when an answer fails."""

    prompt: str
    tests: tuple[str, ...]
    entry_point: str | None = None
    name: str = ""


def read_problems(
    source: str | Path | Sequence[Mapping[str, Any]], statements: Callable[[str, str], list[str]]
) -> list[Problem]:
    """Problems from JSONL or parquet.

    ``prompt``, ``tests`` (a list of statements, MBPP's ``test_list`` too) or ``test`` with
    ``entry_point`` (HumanEval's ``check``, cut by ``statements``). MBPP's ``test_imports`` and
    ``test_setup_code`` stand before each.

    Raises
    ------
    EvidenceError
        Naming the row without a prompt or tests.
    """
    out: list[Problem] = []
    for place, row in read_rows(source):
        prompt, entry = row.get("prompt") or row.get("text"), row.get("entry_point")
        tests = row.get("tests") or row.get("test_list")
        if tests is None and row.get("test") and entry:
            tests = statements(str(row["test"]), str(entry))
        if not isinstance(tests, list) or not all(isinstance(test, str) for test in tests):
            tests = None
        if not isinstance(prompt, str) or not prompt.strip() or not tests:
            raise EvidenceError(
                f"{place}: a problem has a prompt and tests (a list of statements, or HumanEval's"
                " test with entry_point)."
            )
        name = str(row.get("task_id", len(out) + 1))
        if entry is not None and not isinstance(entry, str):
            raise EvidenceError(f"{place}: entry_point is {str(entry)[:60]!r}, and it is a name.")
        imports = row.get("test_imports") or []
        if not isinstance(imports, list):
            raise EvidenceError(f"{place}: test_imports is no list of statements.")
        before = [*imports, row.get("test_setup_code") or ""]
        first = "\n".join(filter(None, map(str, before)))
        whole = (f"{first}\n{test}".lstrip("\n") for test in tests)
        out.append(Problem(prompt, tuple(whole), entry, name))
    if not out:
        place = str(source) if isinstance(source, (str, Path)) else "the rows"
        raise EvidenceError(f"{place}: no problems.")
    return out


def mine(
    scores: NDArray[np.float64], passed: NDArray[np.bool_], rule: Mining = "passed and hard"
) -> NDArray[np.bool_]:
    """Which samples of one problem are kept for the next reranker: (samples,).

    ``"hard"``: failures that score above the median; ``"passed and hard"``: those and what passes;
    ``"all"``.

    Examples
    --------
    >>> mine(np.array([3.0, 1.0, 2.0, 0.0]), np.array([True, False, False, False]), "hard")
    array([False, False,  True, False])
    """
    if rule == "all":
        return np.ones(len(scores), dtype=bool)
    hard = ~passed & (scores > np.median(scores))
    if rule == "hard":
        return hard
    if rule == "passed and hard":
        return hard | passed
    raise OptionError(f"rule={rule!r}: use hard, passed and hard, or all.")


@dataclass
class SelfTraining:
    """What self-training left.

    The last reranker and generator, the lists it learned from, and a record of each iteration.
    """

    scorer: Scorer
    generator: Generator
    lists: list[RankedAnswers]
    history: list[dict[str, float]] = field(default_factory=list)


def self_train(
    problems: Sequence[Problem],
    generator: Generator,
    fit: Callable[[Sequence[RankedAnswers]], Scorer],
    test: Tester,
    *,
    improve: Callable[[Scorer, int], Generator] | None = None,
    iterations: int = 2,
    samples: int = 8,
    rule: Mining = "passed and hard",
    folder: str | Path | None = None,
    depends: Mapping[str, Mapping[str, Any]] | None = None,
    report: Callable[[str], None] | None = None,
) -> SelfTraining:
    """Sample, test, rank, improve, mine, and again.

    Parameters
    ----------
    generator
        the one that the first solutions come from
    fit
        lists of answers labelled by the share of tests passed -> scorer; called anew on all lists
        each iteration
    test
        runs the answers
    improve
        (scorer, iteration) -> a generator trained from the first one to please the scorer; None:
        the first one is sampled again (rejection sampling)
    iterations
        1 trains the reranker once
    folder
        where tested samples are kept as they come; an interrupted run does not sample and test them
        again, damaged ones aside
    depends
        what they depend on beside problems, ``samples`` and ``rule``, such as what the generator
        is: part -> name -> value. What was kept with others is refused, with what differs

    Raises
    ------
    EvidenceError
        When the first samples hold no problem with both a better and a worse one.

    References
    ----------
    "Iterative Self-Training for Code Generation via Reinforced Re-Ranking" (2025), arXiv
    2504.09643; how failures are chosen is a reconstruction.
    """
    say = report or (lambda text: None)
    prompts = [problem.prompt for problem in problems]
    pool: list[dict[str, float]] = [{} for _ in problems]
    current, scorer = generator, None
    history: list[dict[str, float]] = []
    if iterations < 1:
        raise OptionError(f"iterations={iterations}: at least one.")
    tested = None
    if folder is not None:
        parts: dict[str, Any] = {
            "settings": {"samples": samples, "rule": rule},
            "problems": {"problems": len(problems), "texts and tests": hashed(list(problems))},
        }
        tested = _Tested(Path(folder), Fingerprint(parts | dict(depends or {})), say)
    for number in range(1, iterations + 1):
        at = f"iteration {number} of {iterations}"
        say(f"{at}: sampling and testing {samples} solutions of {len(problems)} problems")
        make = partial(_samples, problems, samples, current, test)
        answers, shares = make() if tested is None else tested.made(number, make)
        record = {"iteration": number, **_rates(shares)}
        if scorer is None:
            chosen = [np.ones(len(own), dtype=bool) for own in answers]
        else:
            chosen, found = _mined(scorer(prompts, answers), shares, rule)
            record |= found
        for known, made, share, which in zip(pool, answers, shares, chosen, strict=True):
            known.update(compress(zip(made, share, strict=True), which))
        lists = ranked_lists(prompts, list(map(list, pool)), [[*own.values()] for own in pool])
        if not lists:
            raise EvidenceError(
                f"no problem has both a better and a worse solution among {samples}: take more"
                " samples, a better generator, or easier problems."
            )
        solutions = sum(len(own.completions) for own in lists)
        history.append(record | {"lists": len(lists), "solutions": solutions})
        say(f"{at}: learning to rank {solutions} solutions of {len(lists)} problems")
        scorer = fit(lists)
        done = SelfTraining(scorer, current, lists, list(history))
        if number < iterations and improve is not None:
            say(f"{at}: improving the generator")
            current = improve(scorer, number)
    return done


def _rates(shares: Sequence[Sequence[float]]) -> dict[str, float]:
    """Share of solutions that pass, and of problems with one that does."""
    passing = []
    for own in shares:
        if own:
            passing.append(pass_at_k(len(own), list(own).count(1), 1))
    return {"pass@1": float(np.mean(passing)), "oracle": oracle_at_n(shares)}


def _mined(
    scores: Sequence[Sequence[float]], shares: Sequence[Sequence[float]], rule: Mining
) -> tuple[list[NDArray[np.bool_]], dict[str, float]]:
    """Which samples are kept, and how well the reranker did."""
    chosen, right = [], []
    for own, share in zip(scores, shares, strict=True):
        score, passed = np.asarray(own), np.asarray(share) == 1
        chosen.append(mine(score, passed, rule))
        if len(score):
            right.append(best_of_n([own], [share]))
    flat = np.concatenate(list(map(np.asarray, scores)))
    return chosen, {
        "reranked pass@1": float(np.mean(right)),
        "mean score": float(np.mean(flat)),
    }


def _samples(
    problems: Sequence[Problem], samples: int, generator: Generator, test: Tester
) -> tuple[list[list[str]], list[list[float]]]:
    """Answers and the shares of tests that they pass."""
    answers = usable_answers(generator([problem.prompt for problem in problems], samples))
    return answers, test(problems, answers)


@dataclass(frozen=True)
class _Tested:
    """Tested samples that are kept in a folder."""

    folder: Path
    fingerprint: Fingerprint
    say: Callable[[str], None]

    def made(
        self, number: int, make: Callable[[], tuple[list[list[str]], list[list[float]]]]
    ) -> tuple[list[list[str]], list[list[float]]]:
        """Those of an iteration; made and kept where they are not there."""
        path = self.folder / f"tested-{number}.json"
        found = read_kept(path, self.fingerprint, self.say)
        if found is not None:
            return found["answers"], found["shares"]
        answers, shares = make()
        keep(path, self.fingerprint, {"answers": answers, "shares": shares})
        return answers, shares
