"""What a ranking policy does to the people who are shown what it ranks: Monte Carlo over long
exposures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from policyrank.errors import EvidenceError
from policyrank.evidence import Scores
from policyrank.worlds.exposure.claims import Float
from policyrank.worlds.exposure.model import POLICIES, Bool, Int, Personas, Policy, World


@dataclass(frozen=True, eq=False)
class Exposure:
    """What people were shown and how they judged it: (steps, P) each.

    Attributes
    ----------
    claim, framing
        numbers of what was shown
    accepted, true
        judged true; is true
    reward
        + confidence where the judgement is right, - confidence where it is wrong
    """

    claim: Int
    framing: Int
    accepted: Bool
    true: Bool
    reward: Float

    @property
    def health(self) -> Float:
        """(steps, P): information health H_t, rewards added up."""
        return np.asarray(self.reward.cumsum(axis=0))

    def summary(self) -> dict[str, Float]:
        """(P,) each: ``information health`` a step, ``false shown`` and ``false accepted`` (shares
        of steps), ``longest false run``, ``accuracy``.
        """
        false = ~self.true
        run, longest = np.zeros(false.shape[1]), np.zeros(false.shape[1])
        for row in false:
            run = np.where(row, run + 1, 0)
            longest = np.maximum(longest, run)
        return {
            "information health": self.reward.mean(axis=0),
            "accuracy": (self.accepted == self.true).mean(axis=0),
            "false shown": false.mean(axis=0),
            "false accepted": (false & self.accepted).mean(axis=0),
            "longest false run": longest,
        }


METRICS = ("information health", "accuracy", "false shown", "false accepted", "longest false run")

Ranker = Callable[["State"], Float]
"""State -> (P, n) scores of the claims; what has been seen is left out for it."""


@dataclass(frozen=True, eq=False)
class State:
    """What a ranking policy sees at a step.

    Attributes
    ----------
    world, people
        of the run
    t
        step
    recent
        (P, h) claims last accepted, oldest first, -1: none
    seen
        (P, n)
    presented
        (P, n) framing in which each claim would be shown
    """

    world: World
    people: Personas
    t: int
    recent: Int
    seen: Bool
    presented: NDArray[np.int8]


@numba.njit(parallel=True, cache=True)
def _chosen(
    scores: Any,
    similarity: Any,
    recent: Any,
    weight: Any,
    seen: Any,
    only_false: Any,
    free: Any,
    true: Any,
    u: Any,
    top: Any,
    temperature: Any,
) -> Any:  # pragma: no cover
    """Of each person's scores + weight x similarity to what is recent, one of the best unseen; any
    where free.
    """
    people, n = seen.shape
    out = np.empty(people, dtype=np.int64)
    for b in numba.prange(people):
        left, false_left = 0, 0
        for j in range(n):
            if not seen[b, j]:
                left += 1
                if not true[j]:
                    false_left += 1
        if free[b]:
            skip = min(int(u[b] * left), left - 1)
            for j in range(n):
                if not seen[b, j]:
                    if skip == 0:
                        out[b] = j
                        break
                    skip -= 1
            continue
        near = scores[b].copy()
        if weight != 0.0:
            square = 0.0
            for x in recent[b]:
                for y in recent[b]:
                    if x >= 0 and y >= 0:
                        square += similarity[x, y]
            factor = np.float32(weight / np.sqrt(max(square, 1e-12)))
            for x in recent[b]:
                if x >= 0:
                    near += factor * similarity[x]
        locked = only_false[b] and false_left > 0
        best, value, k = np.empty(top, dtype=np.int64), np.empty(top), 0
        for j in range(n):
            s = near[j]
            if (k < top or s > value[k - 1]) and not seen[b, j] and not (locked and true[j]):
                at = min(k, top - 1)
                while at > 0 and value[at - 1] < s:
                    best[at], value[at] = best[at - 1], value[at - 1]
                    at -= 1
                best[at], value[at] = j, s
                k = min(k + 1, top)
        total = 0.0
        for i in range(k):
            total += np.exp((value[i] - value[0]) / temperature)
        target, run = u[b] * total, 0.0
        out[b] = best[k - 1]
        for i in range(k):
            run += np.exp((value[i] - value[0]) / temperature)
            if run >= target:
                out[b] = best[i]
                break
    return out


def _lasting(
    world: World, people: Personas, rule: Policy, presented: NDArray[np.int8]
) -> NDArray[np.float32]:
    """(P, n) part of the scores that no step changes."""
    f = len(world.framings)
    bonus = np.array([rule.framing.get(x, 0.0) for x in world.framings], dtype=np.float32)
    found = bonus[presented] + (rule.truth * world.credibility).astype(np.float32)
    if rule.engagement:
        columns = np.arange(len(world.true)) * f
        for b in range(len(people)):
            odds = people.accept[people.model[b], columns + presented[b]] + people.offset[b]
            odds += np.where(world.true, 0.0, people.susceptibility[b, presented[b]])
            found[b] += (rule.engagement * expit(odds)).astype(np.float32)
    return found


def simulate(
    world: World, people: Personas, policy: Policy | Ranker, *, steps: int = 100, seed: int = 0
) -> Exposure:
    """Show each person ``steps`` claims, one by one; no claim twice, in whatever framing.

    Parameters
    ----------
    policy
        a ``Policy``, or a function State -> (P, n) scores, of which one of the five best is shown
        by softmax(score / .1)
    seed
        the same seed gives every policy the same people in the same mood: first claim, framings,
        draws of choice and of judgement

    Raises
    ------
    EvidenceError
        When there are not so many claims, personas judge other items, or scores have the wrong
        shape.
    """
    n, f, p = len(world.true), len(world.framings), len(people)
    if steps > n or steps < 1:
        raise EvidenceError(
            f"steps={steps}: {n} claims, none shown twice, make between 1 and {n} steps."
        )
    if people.accept.shape[1] != n * f:
        raise EvidenceError(
            f"personas judge {people.accept.shape[1]} items, the world has {n} claims x {f}"
            " framings."
        )
    rule = policy if isinstance(policy, Policy) else Policy()
    if (
        unknown := set(rule.framing)
        - set(world.framings)
        - {"authoritative", "consensus", "emotional", "prestige", "sensationalist"}
    ):
        raise EvidenceError(
            f"bonus for framing {sorted(unknown)[0]!r}: the world has {', '.join(world.framings)}."
        )
    rng = np.random.default_rng(seed)
    presented = np.searchsorted(np.cumsum(world.mix)[:-1], rng.random((p, n))).astype(np.int8)
    u_choice, u_free, u_judge = rng.random((3, steps, p))
    seen = np.zeros((p, n), dtype=bool)
    recent = np.full((p, rule.history), -1, dtype=np.int64)
    locked, start = np.zeros(p, dtype=bool), np.ones(p, dtype=bool)
    everyone = np.arange(p)
    shown, framed = np.zeros((2, steps, p), dtype=np.int64)
    accepted, true, reward = (
        np.zeros((steps, p), bool),
        np.zeros((steps, p), bool),
        np.zeros((steps, p)),
    )
    scores = _lasting(world, people, rule, presented)
    for t in range(steps):
        free = start | (u_free[t] < rule.explore)
        if not isinstance(policy, Policy):
            scores = np.asarray(
                policy(State(world, people, t, recent, seen, presented)), dtype=np.float32
            )
            if scores.shape != (p, n) or not np.isfinite(scores).all():
                raise EvidenceError(
                    f"the policy's scores have shape {scores.shape}: one finite number for each of"
                    f" {p} people and {n} claims."
                )
        weight = rule.similarity if isinstance(policy, Policy) else 0.0
        claim = _chosen(
            scores,
            world.similarity,
            recent,
            weight,
            seen,
            locked & rule.lock,
            free,
            world.true,
            u_choice[t],
            rule.top,
            rule.temperature,
        )
        seen[everyone, claim] = True
        framing = presented[everyone, claim].astype(np.int64)
        is_true = world.true[claim]
        chance = people.probability(claim * f + framing, framing, is_true)
        yes = u_judge[t] < chance if people.sampled else chance >= 0.5
        sure = np.where(yes, chance, 1 - chance)
        shown[t], framed[t], accepted[t], true[t] = claim, framing, yes, is_true
        reward[t] = np.where(yes == is_true, sure, -sure)
        keep = yes if rule.reset else np.ones(p, dtype=bool)
        moved = np.concatenate([recent[:, 1:], claim[:, None]], axis=1)
        recent = np.where(keep[:, None], moved, -1)
        start, locked = ~keep, yes & ~is_true
        if (
            rule.similarity == 0
        ):  # only a policy that looks at the history has something to begin anew
            start = np.zeros(p, dtype=bool)
    return Exposure(shown, framed, accepted, true, reward)


def evidence(
    worlds: Mapping[str, tuple[World, Personas]],
    policies: Mapping[str, Policy | Ranker] = POLICIES,
    *,
    steps: int = 100,
    metrics: Sequence[str] = ("information health",),
    seed: int = 0,
    report: Callable[[str], None] | None = None,
) -> Scores:
    """Ranking policies by what they do to people: worlds with their people are tasks, people
    replicates, the same for every policy.
    """
    if unknown := [m for m in metrics if m not in METRICS]:
        raise EvidenceError(f"metric {unknown[0]!r}: use {', '.join(METRICS)}.")
    rows: list[tuple[str, str, str]] = []
    values: list[Float] = []
    for task, (world, people) in worlds.items():
        for name, policy in policies.items():
            if report is not None:
                report(f"{name} in {task}")
            found = simulate(world, people, policy, steps=steps, seed=seed).summary()
            for metric in metrics:
                rows.append((name, task, metric))
                values.append(found[metric])
    if not rows:
        raise EvidenceError("name at least one world, one policy and one metric.")
    repeat = [len(v) for v in values]
    policy_of, task_of, metric_of = (
        [x for row, r in zip(column, repeat, strict=True) for x in [row] * r]
        for column in zip(*rows, strict=True)
    )
    return Scores.of(
        policy_of,
        task_of,
        np.concatenate(values),
        metric=metric_of,
        replicate=np.concatenate([np.arange(r) for r in repeat]),
        lower_is_better=[m for m in metrics if m not in ("information health", "accuracy")],
    )
