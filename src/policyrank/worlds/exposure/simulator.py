"""What a ranking policy does to the people who are shown what it ranks.

Monte Carlo over long exposures.
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
from policyrank.worlds.exposure.model import (
    POLICIES,
    REWRITTEN,
    Bool,
    Int,
    Personas,
    Policy,
    World,
)


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
HIGHER = ("information health", "accuracy")

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
    """Of each person's scores + weight x similarity to what is recent, one of the best unseen.

    Any unseen one where free.
    """
    people = len(seen)
    out = np.empty(people, dtype=np.int64)
    for b in numba.prange(people):
        if free[b]:
            out[b] = _any_unseen(seen[b], u[b])
            continue
        near = _nearness(scores[b], similarity, recent[b], weight)
        locked = only_false[b] and _false_left(seen[b], true)
        best, value = _best(near, seen[b], true, locked, top)
        out[b] = best[_drawn(value, u[b], temperature)]
    return out


@numba.njit(cache=True)
def _any_unseen(seen: Any, u: Any) -> Any:  # pragma: no cover
    left = (~seen).sum()
    skip = min(int(u * left), left - 1)
    for claim in range(len(seen)):
        if not seen[claim]:
            if skip == 0:
                return claim
            skip -= 1
    return -1


@numba.njit(cache=True)
def _false_left(seen: Any, true: Any) -> Any:  # pragma: no cover
    return (~seen & ~true).any()


@numba.njit(cache=True)
def _nearness(scores: Any, similarity: Any, recent: Any, weight: Any) -> Any:  # pragma: no cover
    """Scores + weight x cosine to the sum of what is recent."""
    near = scores.copy()
    if weight == 0.0:
        return near
    square = 0.0
    for x in recent:
        for y in recent:
            if x >= 0 and y >= 0:
                square += similarity[x, y]
    factor = np.float32(weight / np.sqrt(max(square, 1e-12)))
    for x in recent:
        if x >= 0:
            near += factor * similarity[x]
    return near


@numba.njit(cache=True)
def _best(near: Any, seen: Any, true: Any, locked: Any, top: Any) -> Any:  # pragma: no cover
    """The best unseen claims (false ones where locked) and their scores, best first."""
    best, value, count = np.empty(top, dtype=np.int64), np.empty(top), 0
    for claim in range(len(near)):
        score = near[claim]
        if seen[claim] or (locked and true[claim]):
            continue
        if count == top and score <= value[count - 1]:
            continue
        at = min(count, top - 1)
        while at > 0 and value[at - 1] < score:
            best[at], value[at] = best[at - 1], value[at - 1]
            at -= 1
        best[at], value[at] = claim, score
        count = min(count + 1, top)
    return best[:count], value[:count]


@numba.njit(cache=True)
def _drawn(value: Any, u: Any, temperature: Any) -> Any:  # pragma: no cover
    """Place drawn by softmax(value / temperature), best first."""
    total = 0.0
    for place in range(len(value)):
        total += np.exp((value[place] - value[0]) / temperature)
    target, run = u * total, 0.0
    for place in range(len(value)):
        run += np.exp((value[place] - value[0]) / temperature)
        if run >= target:
            return place
    return len(value) - 1


def _lasting(
    world: World, people: Personas, rule: Policy, presented: NDArray[np.int8]
) -> NDArray[np.float32]:
    """(P, n) part of the scores that no step changes."""
    framings = len(world.framings)
    bonus = np.array([rule.framing.get(name, 0.0) for name in world.framings], dtype=np.float32)
    found = bonus[presented] + (rule.truth * world.credibility).astype(np.float32)
    if rule.engagement:
        columns = np.arange(len(world.true)) * framings
        for person, shown in enumerate(presented):
            odds = people.accept[people.model[person], columns + shown] + people.offset[person]
            odds += np.where(world.true, 0.0, people.susceptibility[person, shown])
            found[person] += (rule.engagement * expit(odds)).astype(np.float32)
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
    rule = policy if isinstance(policy, Policy) else Policy()
    _check(world, people, rule, steps)
    rng = np.random.default_rng(seed)
    size, everyone = (len(people), len(world.true)), np.arange(len(people))
    presented = np.searchsorted(np.cumsum(world.mix)[:-1], rng.random(size)).astype(np.int8)
    u_choice, u_free, u_judge = rng.random((3, steps, len(people)))
    seen = np.zeros(size, dtype=bool)
    recent = np.full((len(people), rule.history), -1, dtype=np.int64)
    locked, start = np.zeros(len(people), dtype=bool), np.ones(len(people), dtype=bool)
    shown, framed = np.zeros((2, steps, len(people)), dtype=np.int64)
    accepted, true = np.zeros((2, steps, len(people)), dtype=bool)
    reward = np.zeros((steps, len(people)))
    scores, weight = _lasting(world, people, rule, presented), rule.similarity
    for t in range(steps):
        if not isinstance(policy, Policy):
            state = State(world, people, t, recent, seen, presented)
            scores, weight = _scored(policy, state), 0.0
        claim = _chosen(
            scores,
            world.similarity,
            recent,
            weight,
            seen,
            locked & rule.lock,
            start | (u_free[t] < rule.explore),
            world.true,
            u_choice[t],
            rule.top,
            rule.temperature,
        )
        seen[everyone, claim] = True
        framing = presented[everyone, claim].astype(np.int64)
        is_true = world.true[claim]
        item = claim * len(world.framings) + framing
        chance = people.probability(item, framing, is_true)
        yes = u_judge[t] < chance if people.sampled else chance >= 0.5
        sure = np.where(yes, chance, 1 - chance)
        shown[t], framed[t], accepted[t], true[t] = claim, framing, yes, is_true
        reward[t] = np.where(yes == is_true, sure, -sure)
        keep = yes | (not rule.reset)
        moved = np.concatenate([recent[:, 1:], claim[:, None]], axis=1)
        recent = np.where(keep[:, None], moved, -1)
        locked = yes & ~is_true
        # Only a policy that looks at the history has something to begin anew.
        start = ~keep & (rule.similarity != 0)
    return Exposure(shown, framed, accepted, true, reward)


def _check(world: World, people: Personas, rule: Policy, steps: int) -> None:
    claims, framings = len(world.true), len(world.framings)
    if steps > claims or steps < 1:
        raise EvidenceError(
            f"steps={steps}: {claims} claims, none shown twice, make between 1 and {claims} steps."
        )
    if people.accept.shape[1] != claims * framings:
        raise EvidenceError(
            f"personas judge {people.accept.shape[1]} items, the world has {claims} claims x"
            f" {framings} framings."
        )
    unknown = set(rule.framing) - {*world.framings, *REWRITTEN}
    if unknown:
        raise EvidenceError(
            f"bonus for framing {min(unknown)!r}: the world has {', '.join(world.framings)}."
        )


def _scored(policy: Ranker, state: State) -> NDArray[np.float32]:
    """(P, n): a policy's own scores."""
    scores = np.asarray(policy(state), dtype=np.float32)
    people, claims = state.seen.shape
    if scores.shape != (people, claims) or not np.isfinite(scores).all():
        raise EvidenceError(
            f"the policy's scores have shape {scores.shape}: one finite number for each of"
            f" {people} people and {claims} claims."
        )
    return scores


def evidence(
    worlds: Mapping[str, tuple[World, Personas]],
    policies: Mapping[str, Policy | Ranker] = POLICIES,
    *,
    steps: int = 100,
    metrics: Sequence[str] = ("information health",),
    seed: int = 0,
    report: Callable[[str], None] | None = None,
) -> Scores:
    """Ranking policies by what they do to people.

    Worlds with their people are tasks, people replicates, the same for every policy.
    """
    for metric in metrics:
        if metric not in METRICS:
            raise EvidenceError(f"metric {metric!r}: use {', '.join(METRICS)}.")
    rows: list[tuple[str, str, str]] = []
    values: list[Float] = []
    for task, (world, people) in worlds.items():
        for name, policy in policies.items():
            if report is not None:
                report(f"{name} in {task}")
            found = simulate(world, people, policy, steps=steps, seed=seed).summary()
            for metric in metrics:
                rows += [(name, task, metric)] * len(people)
                values.append(found[metric])
    if not rows:
        raise EvidenceError("name at least one world, one policy and one metric.")
    policy_of, task_of, metric_of = zip(*rows, strict=True)
    return Scores.of(
        policy_of,
        task_of,
        np.concatenate(values),
        metric=metric_of,
        replicate=np.concatenate([np.arange(len(one)) for one in values]),
        lower_is_better=[metric for metric in metrics if metric not in HIGHER],
    )
