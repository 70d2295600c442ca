"""Run evaluations: a sampling rule proposes, workers play, the store keeps, a stopping rule ends
it.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from policyrank.board import Leaderboard
from policyrank.errors import EvidenceError
from policyrank.evaluation.cluster import RayPool
from policyrank.evaluation.rules import RULES, SamplingRule
from policyrank.evaluation.state import State
from policyrank.evaluation.stopping import Stop
from policyrank.evaluation.store import Result, Store
from policyrank.evaluation.workers import Inline, Job, Pool, Workers
from policyrank.evidence import Comparisons, Labels, Scores
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
        return tuple(r for r in self.results if r.status == "failed")


@dataclass(frozen=True)
class Progress:
    """Where a run stands: evaluations ended, of how many, the leader, how often it leads in
    posterior draws, seconds left.
    """

    done: int
    budget: int
    failed: int
    leader: str | None
    certainty: float | None
    seconds_left: float | None

    def __str__(self) -> str:
        lead = (
            ""
            if self.leader is None
            else f", {self.leader} leads"
            + ("" if self.certainty is None else f" ({self.certainty:.0%})")
        )
        left = "" if self.seconds_left is None else f", about {self.seconds_left:.0f} s left"
        return (
            f"{self.done:,} of {self.budget:,}"
            f" evaluations{f', {self.failed} failed' if self.failed else ''}{lead}{left}"
        )


def seed_of(base: int, *parts: object) -> int:
    """A seed in [0, 2^63) that depends on all parts and on nothing else."""
    digest = hashlib.blake2b("\x1f".join(map(str, (base, *parts))).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


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
        the same seed for every policy in the same replicate of a task; otherwise each has its own
    timeout, retries
        seconds an evaluation may take, and how often it is tried again before it counts as failed
    seed
        of everything that is drawn
    report
        called with the progress, at most ten times a second

    Returns
    -------
    Evaluation

    Raises
    ------
    EvidenceError
        For an unknown sampler, a store that cannot be used, or other settings than the run in the
        store was started with.

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
    task_of = dict(tasks) if isinstance(tasks, Mapping) else {t: t for t in task_names}
    rule = RULES.get(sampler) if isinstance(sampler, str) else sampler
    if rule is None:
        raise EvidenceError(f"sampler={sampler!r}: use one of {', '.join(RULES)}, or a function.")
    if budget < 1:
        raise EvidenceError(f"budget={budget}: allow at least one evaluation.")
    state = State(names, task_names)
    label = (
        sampler
        if isinstance(sampler, str)
        else getattr(sampler, "__name__", type(sampler).__name__)
    )
    settings = {
        "policies": names,
        "tasks": task_names,
        "sampler": label,
        "seed": seed,
        "pairs": play is not None,
        "common random numbers": common_random_numbers,
    }
    kept = Store(store, run, settings)
    call = partial(_call, dict(policies), task_of, play)
    runner = _Runner(state, rule, kept, seed, play is not None, common_random_numbers, retries)
    pool: Workers | None = None
    try:
        for result in kept.results():
            runner.take(result)
        if ray is not None:
            pool = RayPool(call, ray, workers or None, timeout)
        else:
            pool = (
                Inline(call)
                if workers == 0
                else Pool(call, workers or os.cpu_count() or 1, timeout)
            )
        reason = runner.go(pool, budget, stop, report)
    finally:
        if pool is not None:
            pool.close()
        kept.close()
    evidence = runner.evidence()
    board = None
    if evidence is not None and min(evidence.seen()) > 0:
        board = rank_evidence(evidence)
    return Evaluation(
        evidence, board, tuple(runner.results), reason, tuple(sorted(runner.set_aside))
    )


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


class _Runner:
    """The loop's bookkeeping: what was proposed, what is under way, what came back."""

    def __init__(
        self,
        state: State,
        rule: SamplingRule,
        store: Store,
        seed: int,
        pairs: bool,
        shared_seeds: bool,
        retries: int,
    ) -> None:
        self.state, self.rule, self.store, self.seed, self.pairs = state, rule, store, seed, pairs
        self.shared_seeds, self.retries = shared_seeds, retries
        self.results: list[Result] = []
        self.placed: set[int] = set()
        self.failed: dict[str, int] = {}
        self.worked: dict[str, int] = {}
        self.halves: dict[int, tuple[Result, float | None]] = {}
        self.replicates: dict[tuple[str, str, str], int] = {}
        self.proposals = 0
        self.queue: list[Job] = []
        self.version = metadata.version("policyrank")

    def propose(self) -> None:
        """Ask the rule, which sees what is under way. Policies set aside are replaced by a random
        pair of the others.
        """
        rng = np.random.default_rng([self.seed, self.proposals])
        task, i, j = (int(x) for x in self.rule(self.state, 1, rng)[0])
        working = [k for k, p in enumerate(self.state.policies) if p not in self.set_aside]
        if i not in working or j not in working:
            i, j = (int(x) for x in rng.choice(working, size=2, replace=False))
        self.place(self.proposals, task, i, j)
        self.proposals += 1

    @property
    def set_aside(self) -> set[str]:
        """Policies that failed five times and never worked: trying them on would spend the budget
        on nothing.
        """
        return {p for p, failed in self.failed.items() if failed >= 5 and not self.worked.get(p)}

    def place(self, number: int, task_code: int, i: int, j: int) -> None:
        self.state.propose(task_code, i, j)
        self.placed.add(number)
        task, first, second = (
            self.state.tasks[task_code],
            self.state.policies[i],
            self.state.policies[j],
        )
        if self.pairs:
            self.enqueue(number, first, second, task, "")
        else:
            self.enqueue(number, first, "", task, second)
            self.enqueue(number, second, "", task, first)

    def enqueue(self, number: int, policy: str, opponent: str, task: str, mate: str) -> None:
        slot = (policy, opponent, task)
        replicate = self.replicates.get(slot, 0)
        self.replicates[slot] = replicate + 1
        own = () if self.shared_seeds else (policy, opponent)
        seed = seed_of(self.seed, task, replicate, *own)
        self.queue.append(
            Job((number, policy, opponent, task, replicate, mate), (policy, opponent, task, seed))
        )

    def take(self, result: Result) -> None:
        """Learn from a result, new or read from the store."""
        self.results.append(result)
        self.proposals = max(self.proposals, result.proposal + 1)
        slot = (result.policy, result.opponent, result.task)
        self.replicates[slot] = max(self.replicates.get(slot, 0), result.replicate + 1)
        i, value = (
            self.state.policies.index(result.policy),
            result.value if result.status == "done" else None,
        )
        if result.proposal not in self.placed:  # read from the store
            self.placed.add(result.proposal)
            mate = self.state.policies.index(result.mate or result.opponent)
            self.state.propose(self.state.tasks.index(result.task), i, mate)
        tally = self.failed if value is None else self.worked
        for policy in filter(None, (result.policy, result.opponent)):
            tally[policy] = tally.get(policy, 0) + 1
        if self.pairs:
            self.state.ended(i, self.state.policies.index(result.opponent))
            if value is not None:
                self.state.observe_outcome(i, self.state.policies.index(result.opponent), value)
            return
        if value is not None:
            self.state.observe_score(self.state.tasks.index(result.task), i, value)
        if result.proposal not in self.halves:
            self.halves[result.proposal] = (result, value)
            return
        _, other = self.halves.pop(result.proposal)
        self.state.ended(i, self.state.policies.index(result.mate))
        if value is not None and other is not None:
            self.state.observe_outcome(
                i, self.state.policies.index(result.mate), 0.5 + 0.5 * float(np.sign(value - other))
            )

    def go(
        self,
        pool: Workers,
        budget: int,
        stop: Stop | None,
        report: Callable[[Progress], None] | None,
    ) -> str:
        start, before, said = time.monotonic(), len(self.results), 0.0
        self.finish_pairs()
        while True:
            if stop is not None and (reason := stop(self.state)) is not None:
                return reason
            under_way = pool.under_way
            if len(self.state.policies) - len(self.set_aside) < 2 and not under_way:
                return (
                    f"fewer than two policies work ({', '.join(sorted(self.set_aside))} always"
                    " failed)"
                )
            room = budget - len(self.results) - under_way
            if room <= 0 and not under_way:
                return f"the budget of {budget:,} evaluations is spent"
            while room > 0 and pool.free > 0:
                if not self.queue and len(self.state.policies) - len(self.set_aside) < 2:
                    break
                if not self.queue:
                    self.propose()
                job = self.queue.pop(0)
                pool.submit(job)
                room -= 1
            for ended in pool.collect():
                job, error = ended.job, ended.error
                if error is not None and job.attempts <= self.retries:
                    self.queue.insert(0, job)
                    continue
                number, policy, opponent, task, replicate, mate = job.key
                result = Result(
                    policy,
                    opponent,
                    task,
                    replicate,
                    number,
                    mate,
                    "done" if error is None else "failed",
                    None if error else ended.value,
                    error,
                    job.call[3],
                    job.attempts,
                    job.started,
                    ended.seconds,
                    ended.host,
                    self.version,
                )
                self.store.add(result)
                self.take(result)
            if report is not None and time.monotonic() - said > 0.1:
                said = time.monotonic()
                report(self.progress(budget, (said - start) / max(len(self.results) - before, 1)))

    def finish_pairs(self) -> None:
        """An interrupted run may have half of a pair: its other half comes first."""
        for number, (half, _) in sorted(self.halves.items()):
            self.enqueue(number, half.mate, "", half.task, half.policy)

    def progress(self, budget: int, seconds: float) -> Progress:
        failed = sum(r.status == "failed" for r in self.results)
        leader = certainty = None
        if self.state.games.sum() > 0:
            theta, covariance = self.state.posterior()
            leader = self.state.policies[int(np.argmax(theta))]
            if len(theta) <= 100:
                draws = np.random.default_rng(0).multivariate_normal(
                    theta, covariance, size=200, method="eigh"
                )
                certainty = float((np.argmax(draws, axis=1) == int(np.argmax(theta))).mean())
        return Progress(
            len(self.results),
            budget,
            failed,
            leader,
            certainty,
            seconds * max(budget - len(self.results), 0),
        )

    def evidence(self) -> Scores | Comparisons | None:
        done = [r for r in self.results if r.status == "done" and r.value is not None]
        if len({r.policy for r in done} | {r.opponent for r in done if r.opponent}) < 2:
            return None
        values = np.array([r.value for r in done], dtype=float)
        failed = len(self.results) - len(done)
        notes = (
            f"evaluated here, {len(done):,} results"
            + (f", {failed:,} failures not counted" if failed else ""),
        )
        if self.pairs:
            return Comparisons.of(
                [r.policy for r in done],
                [r.opponent for r in done],
                values,
                task=[r.task for r in done],
                time=np.array([r.started for r in done]),
                notes=notes,
            )
        return Scores(
            Labels.of([r.policy for r in done]),
            Labels.of([r.task for r in done]),
            values,
            replicate=Labels.of([str(r.replicate) for r in done]),
            notes=notes,
        )
