"""The loop of a run: what was proposed, what is under way, what came back."""

from __future__ import annotations

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata

import numpy as np

from policyrank.evaluation.attempts import Ended, Job, Workers
from policyrank.evaluation.rules import SamplingRule
from policyrank.evaluation.state import State
from policyrank.evaluation.stopping import Stop
from policyrank.evaluation.store import Result, Store

GIVE_UP = 5
"""Failures after which a policy that never worked is set aside."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Evaluations ended, of how many, failures, the leader, how often it leads in posterior draws, and
    seconds left.

    Examples
    --------
    >>> print(Progress(12, 100, 1, leader="new", certainty=0.8, seconds_left=30.0))
    12 of 100 evaluations, 1 failed, new leads (80%), about 30 s left
    """

    done: int
    budget: int
    failed: int
    leader: str | None
    certainty: float | None
    seconds_left: float | None

    def __str__(self) -> str:
        text = f"{self.done:,} of {self.budget:,} evaluations"
        if self.failed:
            text += f", {self.failed} failed"
        if self.leader is not None:
            text += f", {self.leader} leads"
            if self.certainty is not None:
                text += f" ({self.certainty:.0%})"
        if self.seconds_left is not None:
            text += f", about {self.seconds_left:.0f} s left"
        return text


def seed_of(base: int, *parts: object) -> int:
    """A seed in [0, 2^63) that depends on all parts and on nothing else.

    Examples
    --------
    >>> [seed_of(0, "fold", other) == seed_of(0, "fold", 1) for other in (1, 2)]
    [True, False]
    """
    text = "\x1f".join(map(str, (base, *parts)))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@dataclass(frozen=True)
class Slot:
    """One evaluation of a proposal: who plays whom on what, how often before, with which seed.

    ``mate``: the other policy of the proposal where both are scored alone, else empty.
    """

    proposal: int
    policy: str
    opponent: str
    task: str
    replicate: int
    mate: str
    seed: int


def printed(slot: Slot, output: str) -> str:
    """What was printed in an evaluation, under a line that says in which."""
    against = f" against {slot.opponent}" if slot.opponent else ""
    head = f"== {slot.policy}{against} on {slot.task}, replicate {slot.replicate}"
    return f"{head}, seed {slot.seed}\n{output.rstrip()}\n"


@dataclass
class Replicates:
    """Which replicates of a task a policy has had: each of them once."""

    had: set[int] = field(default_factory=set)
    first_free: int = 0

    def add(self, replicate: int) -> None:
        self.had.add(replicate)
        while self.first_free in self.had:
            self.first_free += 1


def shared_replicate(several: list[Replicates]) -> int:
    """The first replicate that none of them has had.

    Examples
    --------
    >>> seen, new = Replicates(), Replicates()
    >>> for replicate in (0, 2):
    ...     seen.add(replicate)
    >>> new.add(1)
    >>> shared_replicate([seen]), shared_replicate([seen, new])
    (1, 3)
    """
    replicate = max(own.first_free for own in several)
    while any(replicate in own.had for own in several):
        replicate += 1
    return replicate


class Loop:
    """What was proposed, what is under way, what came back, until a run is over."""

    def __init__(
        self,
        state: State,
        rule: SamplingRule,
        store: Store,
        *,
        seed: int,
        pairs: bool,
        shared_seeds: bool,
        retries: int,
    ) -> None:
        self.state, self.rule, self.store = state, rule, store
        self.seed, self.pairs = seed, pairs
        self.shared_seeds, self.retries = shared_seeds, retries
        self.log: Callable[[str], None] | None = None
        self.results: list[Result] = []
        self.placed: set[int] = set()
        self.failed: Counter[str] = Counter()
        self.worked: Counter[str] = Counter()
        self.halves: dict[int, Result] = {}
        self.replicates: defaultdict[tuple[str, str, str], Replicates] = defaultdict(Replicates)
        self.proposals = 0
        self.queue: list[Job] = []
        self.version = metadata.version("policyrank")

    def propose(self) -> None:
        """Ask the rule, which sees what is under way.

        Policies set aside are replaced by a random pair of the others.
        """
        rng = np.random.default_rng([self.seed, self.proposals])
        task, i, j = map(int, self.rule(self.state, 1, rng)[0])
        working = self._working()
        if i not in working or j not in working:
            i, j = map(int, rng.choice(working, size=2, replace=False))
        self._place(self.proposals, task, i, j)
        self.proposals += 1

    @property
    def set_aside(self) -> set[str]:
        """Policies that failed five times and never worked.

        Trying them on would spend the budget on nothing.
        """
        hopeless = set()
        for policy, failed in self.failed.items():
            if failed >= GIVE_UP and not self.worked[policy]:
                hopeless.add(policy)
        return hopeless

    def _working(self) -> list[int]:
        """Codes of the policies that are not set aside."""
        aside = self.set_aside
        return [i for i, policy in enumerate(self.state.policies) if policy not in aside]

    def _place(self, number: int, task_code: int, i: int, j: int) -> None:
        self.state.propose(task_code, i, j)
        self.placed.add(number)
        task = self.state.tasks[task_code]
        first, second = self.state.policies[i], self.state.policies[j]
        sides = [(first, "", second), (second, "", first)]
        if self.pairs:
            sides = [(first, second, "")]
        # Mates share a replicate, and so with common random numbers a seed.
        had = [self.replicates[policy, opponent, task] for policy, opponent, _ in sides]
        replicate = shared_replicate(had)
        for policy, opponent, mate in sides:
            self._enqueue(number, policy, opponent, task, mate, replicate)

    def _enqueue(
        self, number: int, policy: str, opponent: str, task: str, mate: str, replicate: int
    ) -> None:
        self.replicates[policy, opponent, task].add(replicate)
        parts: list[object] = [task, replicate]
        if not self.shared_seeds:
            parts += [policy, opponent]
        seed = seed_of(self.seed, *parts)
        slot = Slot(number, policy, opponent, task, replicate, mate, seed)
        self.queue.append(Job(slot, (policy, opponent, task, seed)))

    def take(self, result: Result) -> None:
        """Learn from a result, new or read from the store."""
        self.results.append(result)
        self._count(result)
        if result.proposal not in self.placed:
            self._place_again(result)
        if self.pairs:
            self._take_outcome(result)
        else:
            self._take_score(result)

    def _count(self, result: Result) -> None:
        self.proposals = max(self.proposals, result.proposal + 1)
        self.replicates[result.policy, result.opponent, result.task].add(result.replicate)
        tally = self.worked
        if result.value is None:
            tally = self.failed
        tally[result.policy] += 1
        if result.opponent:
            tally[result.opponent] += 1

    def _place_again(self, result: Result) -> None:
        """A proposal of an earlier process, read from the store."""
        self.placed.add(result.proposal)
        task = self.state.tasks.index(result.task)
        mate = result.mate or result.opponent
        self.state.propose(task, self._code(result.policy), self._code(mate))

    def _code(self, policy: str) -> int:
        return self.state.policies.index(policy)

    def _take_outcome(self, result: Result) -> None:
        i, j = self._code(result.policy), self._code(result.opponent)
        self.state.ended(i, j)
        if result.value is not None:
            self.state.observe_outcome(i, j, result.value)

    def _take_score(self, result: Result) -> None:
        """A score; with the other one of its pair also an outcome."""
        i = self._code(result.policy)
        if result.value is not None:
            self.state.observe_score(self.state.tasks.index(result.task), i, result.value)
        if result.proposal not in self.halves:
            self.halves[result.proposal] = result
            return
        other = self.halves.pop(result.proposal)
        j = self._code(result.mate)
        self.state.ended(i, j)
        if result.value is not None and other.value is not None:
            won = 0.5 + 0.5 * float(np.sign(result.value - other.value))
            self.state.observe_outcome(i, j, won)

    def go(
        self,
        pool: Workers,
        budget: int,
        stop: Stop | None,
        report: Callable[[Progress], None] | None,
    ) -> str:
        """Evaluate until the run is over; why it is."""
        start, before, said = time.monotonic(), len(self.results), 0.0
        self._finish_pairs()
        while True:
            reason = self._over(pool.under_way, budget, stop)
            if reason is not None:
                return reason
            self._fill(pool, budget - len(self.results) - pool.under_way)
            for ended in pool.collect():
                self._end(ended)
            if report is not None and time.monotonic() - said > 0.1:
                said = time.monotonic()
                each = (said - start) / max(len(self.results) - before, 1)
                report(self.progress(budget, each))

    def _over(self, under_way: int, budget: int, stop: Stop | None) -> str | None:
        """Why the run is over; None while it is not."""
        if stop is not None:
            reason = stop(self.state)
            if reason is not None:
                return reason
        if under_way:
            return None
        if len(self._working()) < 2:
            failed = ", ".join(sorted(self.set_aside))
            return f"fewer than two policies work ({failed} always failed)"
        if len(self.results) >= budget:
            return f"the budget of {budget:,} evaluations is spent"
        return None

    def _fill(self, pool: Workers, room: int) -> None:
        """Give free workers something to do, at most ``room`` evaluations."""
        while room > 0 and pool.free > 0:
            if not self.queue:
                if len(self._working()) < 2:
                    return
                self.propose()
            pool.submit(self.queue.pop(0))
            room -= 1

    def _end(self, ended: Ended) -> None:
        """Keep what came of a job, or try it again."""
        job, error = ended.job, ended.error
        if self.log is not None and ended.output:
            self.log(printed(job.key, ended.output))
        if error is not None and job.attempts <= self.retries:
            self.queue.insert(0, job)
            return
        status: str = "done"
        value: float | None = ended.value
        if error is not None:
            status, value = "failed", None
        slot: Slot = job.key
        result = Result(
            policy=slot.policy,
            opponent=slot.opponent,
            task=slot.task,
            replicate=slot.replicate,
            proposal=slot.proposal,
            mate=slot.mate,
            status=status,
            value=value,
            error=error,
            seed=slot.seed,
            attempts=job.attempts,
            started=job.started,
            seconds=ended.seconds,
            host=ended.host,
            version=self.version,
        )
        self.store.add(result)
        self.take(result)

    def _finish_pairs(self) -> None:
        """An interrupted run may have half of a pair: its other half comes first."""
        for number, half in sorted(self.halves.items()):
            replicate, own = half.replicate, self.replicates[half.mate, "", half.task]
            if replicate in own.had:  # of a run whose policies counted each for itself
                replicate = shared_replicate([own])
            self._enqueue(number, half.mate, "", half.task, half.policy, replicate)

    def progress(self, budget: int, seconds: float) -> Progress:
        """Where the run stands, when an evaluation takes so many seconds."""
        done = len(self.results)
        failed = sum(result.status == "failed" for result in self.results)
        leader, certainty = self._leader()
        return Progress(done, budget, failed, leader, certainty, seconds * max(budget - done, 0))

    def _leader(self) -> tuple[str | None, float | None]:
        """The leader, and its share of posterior draws (None where these would take long)."""
        if self.state.games.sum() <= 0:
            return None, None
        theta, covariance = self.state.posterior()
        first = int(np.argmax(theta))
        if len(theta) > 100:
            return self.state.policies[first], None
        rng = np.random.default_rng(0)
        draws = rng.multivariate_normal(theta, covariance, size=200, method="eigh")
        return self.state.policies[first], float((np.argmax(draws, axis=1) == first).mean())
