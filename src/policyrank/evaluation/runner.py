"""Run evaluations: a rule proposes, workers play, the store keeps, a stopping rule ends it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from policyrank.board import Leaderboard
from policyrank.errors import EvidenceError
from policyrank.evaluation.attempts import Inline, Workers
from policyrank.evaluation.cluster import RayPool
from policyrank.evaluation.loop import Loop, Progress
from policyrank.evaluation.rules import RULES, SamplingRule
from policyrank.evaluation.state import State
from policyrank.evaluation.stopping import Stop
from policyrank.evaluation.store import Result, Store
from policyrank.evaluation.workers import Pool
from policyrank.evidence import Comparisons, Labels, Scores
from policyrank.fingerprints import Fingerprint
from policyrank.ranking import rank as rank_evidence

Play = Callable[[Any, Any, Any, int], float]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a run of evaluations has brought.

    Attributes
    ----------
    evidence
        Scores, or Comparisons where policies played each other
    board
        its leaderboard; None before enough is known
    results
        everything that was recorded, failures included
    reason
        why it stopped
    set_aside
        policies that failed five times and never worked, so that they were not tried on
    """

    evidence: Scores | Comparisons | None
    board: Leaderboard | None
    results: tuple[Result, ...]
    reason: str
    set_aside: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[Result, ...]:
        """Evaluations that failed after all attempts."""
        return tuple(result for result in self.results if result.status == "failed")


def evaluate(
    policies: Mapping[str, Any],
    tasks: Mapping[str, Any] | list[str] | tuple[str, ...],
    *,
    play: Play | None = None,
    sampler: str | SamplingRule = "uniform",
    budget: int = 1000,
    stop: Stop | None = None,
    store: str | Path | None = None,
    run: str = "run",
    workers: int | None = None,
    ray: str | None = None,
    common_random_numbers: bool = True,
    timeout: float | None = None,
    retries: int = 1,
    seed: int = 0,
    log: str | Path | None = None,
    depends: Mapping[str, Mapping[str, Any]] | None = None,
    report: Callable[[Progress], None] | None = None,
) -> Evaluation:
    """Evaluate policies on tasks, choosing what to run next, and rank them.

    Parameters
    ----------
    policies
        name -> callable(task, seed) that returns a score, higher is better; with ``play`` any
        objects
    tasks
        name -> task as given to the policies, or a list of names
    play
        callable(policy, opponent, task, seed) that returns the first one's outcome in [0, 1]:
        policies then play each other
    sampler
        a name in ``RULES``, or a rule
    budget
        evaluations, failures included (a proposal of two scores is two)
    stop
        a stopping rule, for example ``best_known(0.05)``, asked after every result
    store
        path (SQLite) or SQLAlchemy URL; a run that was interrupted goes on where it stood. None: in
        memory
    run
        name of the run in the store
    workers
        processes; None: one a core (of the cluster, with ``ray``); 0: in this process, without time
        limits
    ray
        address of a Ray cluster to evaluate on ("auto": the one that runs on this machine); needs
        the extra ``ray``
    common_random_numbers
        the same seed for every policy in the same replicate of a task; otherwise each has its own.
        The two policies of a proposal are evaluated in the same replicate
    timeout, retries
        seconds an evaluation may take, and how often it is tried again before it counts as failed
    seed
        of everything that is drawn
    log
        file for what policies print, each evaluation's under a line that names it; a run that goes
        on adds to it. None: standard error
    depends
        what results depend on beside these options, such as hashes of the policies' files: part ->
        name -> value. A store of others is refused, with what differs
    report
        called with the progress, at most ten times a second

    Returns
    -------
    Evaluation

    Raises
    ------
    EvidenceError
        For an unknown sampler, a store that cannot be used, or one of a run with other settings,
        with what differs.

    Notes
    -----
    With one worker an interrupted run goes on exactly as if it had not been: each proposal is drawn
    from the seed and its number, given the results so far. With several, which results are in when
    a proposal is made depends on timing.

    Examples
    --------
    >>> policies = {"low": lambda task, seed: 1.0, "high": lambda task, seed: 2.0}
    >>> found = evaluate(policies, ["a", "b"], budget=20, workers=0)
    >>> found.board.policies, len(found.results)
    (('high', 'low'), 20)
    """
    names, task_names = tuple(map(str, policies)), tuple(map(str, tasks))
    task_of: dict[str, Any] = dict(zip(task_names, task_names, strict=True))
    if isinstance(tasks, Mapping):
        task_of = dict(tasks)
    for name in (*names, *task_names):
        if len(name) > 400 or not name.isprintable():
            raise EvidenceError(
                f"{name[:60]!r}: names of policies and tasks have at most 400 characters, all of"
                " them printable."
            )
    rule, rule_name = _rule(sampler)
    if budget < 1:
        raise EvidenceError(f"budget={budget}: allow at least one evaluation.")
    state = State(names, task_names)
    settings = {
        "policies": names,
        "tasks": task_names,
        "sampler": rule_name,
        "seed": seed,
        "pairs": play is not None,
        "common random numbers": common_random_numbers,
    }
    kept = Store(store, run, Fingerprint({"settings": settings, **(depends or {})}))
    call = partial(_call, dict(policies), task_of, play)
    loop = Loop(
        state,
        rule,
        kept,
        seed=seed,
        pairs=play is not None,
        shared_seeds=common_random_numbers,
        retries=retries,
    )
    pool: Workers | None = None
    try:
        for result in kept.results():
            loop.take(result)
        loop.log = _log_to(log, anew=not loop.results)
        pool = _pool(call, workers, ray, timeout, quiet=log is not None)
        reason = loop.go(pool, budget, stop, report)
    finally:
        if pool is not None:
            pool.close()
        kept.close()
    evidence = evidence_of(loop.results, pairs=play is not None)
    board = None
    if evidence is not None and min(evidence.seen()) > 0:
        board = rank_evidence(evidence)
    set_aside = tuple(sorted(loop.set_aside))
    return Evaluation(evidence, board, tuple(loop.results), reason, set_aside)


def _rule(sampler: str | SamplingRule) -> tuple[SamplingRule, str]:
    """The rule, and what it is called in the store."""
    if not isinstance(sampler, str):
        return sampler, getattr(sampler, "__name__", type(sampler).__name__)
    if sampler not in RULES:
        raise EvidenceError(f"sampler={sampler!r}: use one of {', '.join(RULES)}, or a function.")
    return RULES[sampler], sampler


def _log_to(path: str | Path | None, *, anew: bool) -> Callable[[str], None]:
    """What takes the output of policies; a file is made when there is some."""
    if path is None:
        return lambda text: print(text, end="", file=sys.stderr)
    file, seen = Path(path), not anew

    def add(text: str) -> None:
        nonlocal seen
        try:
            with file.open(
                "a" if seen else "w", encoding="utf-8", errors="backslashreplace"
            ) as out:
                out.write(text)
        except OSError as error:
            raise EvidenceError(
                f"{file}: what policies print cannot be written ({error.strerror}); results are"
                " kept. Make room, or name another file (log)."
            ) from None
        seen = True

    return add


def _pool(
    call: Callable[..., float],
    workers: int | None,
    ray: str | None,
    timeout: float | None,
    *,
    quiet: bool,
) -> Workers:
    """Workers on a cluster, in this process, or in processes of their own."""
    if ray is not None:
        return RayPool(call, ray, workers or None, timeout)
    if workers == 0:
        return Inline(call, quiet=quiet)
    return Pool(call, workers or os.cpu_count() or 1, timeout)


def _call(
    policies: dict[str, Any],
    tasks: dict[str, Any],
    play: Play | None,
    policy: str,
    opponent: str,
    task: str,
    seed: int,
) -> float:
    if play is None:
        return float(policies[policy](tasks[task], seed))
    outcome = float(play(policies[policy], policies[opponent], tasks[task], seed))
    if not 0 <= outcome <= 1:
        raise ValueError(f"an outcome lies in [0, 1], not {outcome}")
    return outcome


def evidence_of(results: list[Result], *, pairs: bool) -> Scores | Comparisons | None:
    """What the evaluations that succeeded say; None while fewer than two policies have.

    ``pairs``: results are outcomes of one policy against another.
    """
    done = [result for result in results if result.value is not None]
    policies = {*_column(done, "policy"), *_column(done, "opponent")} - {""}
    if len(policies) < 2:
        return None
    values = np.array(_column(done, "value"), dtype=float)
    note = f"evaluated here, {len(done):,} results"
    versions = sorted(set(_column(done, "version")))
    if len(versions) > 1:
        note += f" by policyrank {', '.join(versions)}"
    if len(done) < len(results):
        note += f", {len(results) - len(done):,} failures not counted"
    if pairs:
        return Comparisons.of(
            _column(done, "policy"),
            _column(done, "opponent"),
            values,
            task=_column(done, "task"),
            time=np.array(_column(done, "started")),
            notes=(note,),
        )
    return Scores(
        Labels.of(_column(done, "policy")),
        Labels.of(_column(done, "task")),
        values,
        replicate=Labels.of(map(str, _column(done, "replicate"))),
        notes=(note,),
    )


def _column(results: list[Result], field: str) -> list[Any]:
    return [getattr(result, field) for result in results]
