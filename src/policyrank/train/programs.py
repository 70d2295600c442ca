"""Rerankers of programs that train themselves: sample solutions, test them, learn to rank them,
improve the generator against that, and mine what fooled it (RewardRanker).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence import RankedAnswers
from policyrank.evidence.answers import read_rows
from policyrank.metrics.programs import oracle_at_n, pass_at_k
from policyrank.train.judges import Generator, Scorer

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
    """Problems from JSONL or parquet: ``prompt``, ``tests`` (a list of statements, MBPP's
    ``test_list`` too) or ``test`` with ``entry_point`` (HumanEval's ``check``, cut by
    ``statements``).

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
        if not prompt or not tests:
            raise EvidenceError(
                f"{place}: a problem has a prompt and tests (a list of statements, or HumanEval's"
                " test with entry_point)."
            )
        out.append(
            Problem(
                str(prompt), tuple(map(str, tests)), entry, str(row.get("task_id", len(out) + 1))
            )
        )
    if not out:
        raise EvidenceError("no problems.")
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
    raise ValueError(f"rule={rule!r}: use hard, passed and hard, or all.")


@dataclass
class SelfTraining:
    """What self-training left: the last reranker and generator, the lists it learned from, and a
    record of each iteration.
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
        again

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
    prompts = [p.prompt for p in problems]
    pool: list[dict[str, float]] = [{} for _ in problems]
    current, scorer = generator, None
    done: SelfTraining | None = None
    for number in range(1, iterations + 1):
        say(
            f"iteration {number} of {iterations}: sampling and testing {samples} solutions of"
            f" {len(problems)} problems"
        )
        answers, shares = _tested(folder, number, problems, samples, current, test)
        record: dict[str, float] = {
            "iteration": number,
            "pass@1": float(
                np.mean([pass_at_k(len(s), sum(x == 1 for x in s), 1) for s in shares if s])
            ),
            "oracle": oracle_at_n(shares),
        }
        if scorer is None:
            chosen = [np.ones(len(a), dtype=bool) for a in answers]
        else:
            scores = [np.asarray(s) for s in scorer(prompts, answers)]
            passed = [np.asarray(s) == 1 for s in shares]
            chosen = [mine(s, p, rule) for s, p in zip(scores, passed, strict=True)]
            right = [p[np.argmax(s)] for s, p in zip(scores, passed, strict=True) if len(s)]
            record |= {
                "reranked pass@1": float(np.mean(right)),
                "mean score": float(np.mean(np.concatenate(scores))),
            }
        for own, made, share, keep in zip(pool, answers, shares, chosen, strict=True):
            own |= {a: s for a, s, k in zip(made, share, keep, strict=True) if k}
        lists = [
            RankedAnswers(p, tuple(own), tuple(own.values()))
            for p, own in zip(prompts, pool, strict=True)
            if len(set(own.values())) > 1
        ]
        if not lists:
            raise EvidenceError(
                f"no problem has both a better and a worse solution among {samples}: take more"
                " samples, a better generator, or easier problems."
            )
        record |= {"lists": len(lists), "solutions": sum(len(x.completions) for x in lists)}
        say(
            f"iteration {number} of {iterations}: learning to rank {record['solutions']:.0f}"
            f" solutions of {len(lists)} problems"
        )
        scorer = fit(lists)
        done = SelfTraining(scorer, current, lists, [*(done.history if done else []), record])
        if number < iterations and improve is not None:
            say(f"iteration {number} of {iterations}: improving the generator")
            current = improve(scorer, number)
    assert done is not None
    return done


def _tested(
    folder: str | Path | None,
    number: int,
    problems: Sequence[Problem],
    samples: int,
    generator: Generator,
    test: Tester,
) -> tuple[list[list[str]], list[list[float]]]:
    path = None if folder is None else Path(folder) / f"tested-{number}.json"
    if path is not None and path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        return kept["answers"], kept["shares"]
    answers = [
        [a for a in dict.fromkeys(made) if a.strip()]
        for made in generator([p.prompt for p in problems], samples)
    ]
    shares = test(problems, answers)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(
            json.dumps({"answers": answers, "shares": shares}, ensure_ascii=False), encoding="utf-8"
        )
        part.replace(path)
    return answers, shares
