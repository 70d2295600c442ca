"""What a ranking policy does to the people who are shown what it ranks: Monte Carlo over long exposures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from policyrank.evidence import EvidenceError, Scores
from policyrank.worlds.exposure.claims import Float

Int = NDArray[np.int64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Personas:
    """P people who judge items: P(accept) = sigmoid(accept[model, item] + offset + susceptibility[framing] if the item is false).

    Attributes
    ----------
    accept
        (K, items) log-odds of K models (trained classifiers, language models)
    model
        (P,) which one each person is
    offset
        (P,) how much more readily they accept anything, in log-odds
    susceptibility
        (P, F) how much more readily they accept what is false in a framing
    sampled
        judgements are drawn with P(accept); otherwise they are the likelier one, as of a model that decodes greedily
    """

    accept: Float
    model: Int
    offset: Float
    susceptibility: Float
    sampled: bool = False

    @classmethod
    def of(
        cls,
        probability: ArrayLike,
        people: int,
        framings: int,
        *,
        spread: float = 0.0,
        susceptibility: ArrayLike = 0.0,
        sampled: bool = False,
        seed: int = 0,
    ) -> Personas:
        """People shared out evenly among models.

        Parameters
        ----------
        probability
            (K, items) or (items,): P(accept)
        spread
            standard deviation of the offsets
        susceptibility
            number, (F,) or (P, F)

        Raises
        ------
        EvidenceError
            For probabilities outside [0, 1], or items that are no multiple of the framings.
        """
        p = np.atleast_2d(np.asarray(probability, dtype=float))
        if not ((p >= 0) & (p <= 1)).all():
            k, j = np.argwhere(~((p >= 0) & (p <= 1)))[0]
            raise EvidenceError(f"P(accept) of item {j} by model {k} is {p[k, j]}: probabilities lie in [0, 1].")
        if p.shape[1] % framings:
            raise EvidenceError(f"{p.shape[1]} items are no multiple of {framings} framings.")
        if people < 1 or spread < 0:
            raise EvidenceError(f"people={people}, spread={spread}: at least one person, and a spread of at least 0.")
        own = np.random.default_rng(seed).normal(size=people) * spread
        return cls(logit(np.clip(p, 1e-9, 1 - 1e-9)), np.arange(people) % len(p), own, np.broadcast_to(np.asarray(susceptibility, dtype=float), (people, framings)).copy(), sampled)  # fmt: skip

    @classmethod
    def mechanical(
        cls,
        true: ArrayLike,
        people: int,
        framings: int,
        *,
        accept: float = 0.5,
        discern: float = 0.0,
        extra: ArrayLike = 0.0,
        sampled: bool = True,
    ) -> Personas:
        """People without a model: P(accept) is ``accept`` + ``discern`` for what is true, ``accept`` - ``discern`` + ``extra`` of its framing for what is false: an exact testbed."""
        more = np.broadcast_to(np.asarray(extra, dtype=float), (framings,))
        p = np.where(np.asarray(true, dtype=bool)[:, None], accept + discern, accept - discern + more)
        return cls.of(p.ravel(), people, framings, sampled=sampled)

    def __len__(self) -> int:
        return len(self.model)

    def probability(self, item: Int, framing: Int, true: Bool) -> Float:
        """P(accept) of one item for each person, (P,)."""
        odds = self.accept[self.model, item] + self.offset
        return np.asarray(expit(odds + np.where(true, 0.0, self.susceptibility[np.arange(len(self)), framing])))


@dataclass(frozen=True)
class Policy:
    """A ranking policy that is linear in what it knows: the score of a claim is similarity x cosine to what was last accepted + engagement x P(accept) + truth x credibility + framing's bonus.

    It shows one of the ``top`` best, drawn by softmax(score / temperature).

    Attributes
    ----------
    similarity, engagement, truth
        weights
    framing
        framing -> bonus; negative ones demote
    history
        claims that the similarity looks back on
    explore
        share of steps at which any unseen claim is shown
    lock
        after an accepted false claim only false ones follow, while there are any: the published environment's assumption
    reset
        a rejection clears the history, and the next claim is any: as published. False: the history is what was shown
    """

    similarity: float = 0.0
    engagement: float = 0.0
    truth: float = 0.0
    framing: Mapping[str, float] = field(default_factory=dict)
    top: int = 5
    temperature: float = 0.1
    history: int = 3
    explore: float = 0.0
    lock: bool = False
    reset: bool = True

    def __post_init__(self) -> None:
        if self.top < 1 or self.history < 1 or not self.temperature > 0 or not 0 <= self.explore <= 1:
            raise EvidenceError(f"{self}: top and history are at least 1, temperature is positive, explore lies in [0, 1].")  # fmt: skip


POLICIES: dict[str, Policy] = {
    "random": Policy(explore=1.0),
    "similarity": Policy(similarity=1.0),
    "similarity, locked": Policy(similarity=1.0, lock=True),
    "engagement": Policy(engagement=1.0),
    "similarity + engagement": Policy(similarity=1.0, engagement=1.0),
    "similarity + credibility": Policy(similarity=1.0, truth=1.0),
    "similarity, framings demoted": Policy(similarity=1.0, framing=dict.fromkeys(("authoritative", "consensus", "emotional", "prestige", "sensationalist"), -1.0)),
    "similarity, one in three explored": Policy(similarity=1.0, explore=1 / 3),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class World:
    """What can be shown.

    Attributes
    ----------
    true
        (n,) of the claims
    similarity
        (n, n) cosines of the claims
    framings
        (F,) names; items are claim * F + framing
    credibility
        (n,) in [0, 1]: what the platform believes of a claim; by default the truth
    mix
        (F,) how often a claim comes in each framing
    """

    true: Bool
    similarity: NDArray[np.float32]
    framings: tuple[str, ...]
    credibility: Float
    mix: Float

    @classmethod
    def of(
        cls,
        true: ArrayLike,
        embeddings: ArrayLike,
        framings: Sequence[str] = ("original",),
        *,
        credibility: ArrayLike | None = None,
        mix: ArrayLike | None = None,
    ) -> World:
        """Checked; embeddings (n, d) of the claims are normalised.

        Raises
        ------
        EvidenceError
            For shapes that do not fit, shares that are negative, credibilities outside [0, 1], or vectors of zero length.
        """
        label, e = np.asarray(true, dtype=bool), np.asarray(embeddings, dtype=np.float32)
        if e.ndim != 2 or len(e) != len(label) or len(label) < 2:
            raise EvidenceError(f"embeddings of shape {e.shape} for {len(label)} claims: they are (claims, d), of at least two.")  # fmt: skip
        length = np.linalg.norm(e, axis=1, keepdims=True)
        if not (np.isfinite(length) & (length > 0)).all():
            raise EvidenceError(f"embedding {int((~(length > 0)).argmax())} has no direction.")
        believed = label.astype(float) if credibility is None else np.asarray(credibility, dtype=float)
        share = np.full(len(framings), 1 / len(framings)) if mix is None else np.asarray(mix, dtype=float)
        if believed.shape != label.shape or not ((believed >= 0) & (believed <= 1)).all():
            raise EvidenceError(f"credibility is one number in [0, 1] for each of {len(label)} claims.")
        if share.shape != (len(framings),) or (share < 0).any() or not share.sum() > 0:
            raise EvidenceError(f"mix is one share of at least 0 for each of {len(framings)} framings.")
        unit = e / length
        return cls(label, unit @ unit.T, tuple(framings), believed, share / share.sum())


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
        """(P,) each: ``information health`` a step, ``false shown`` and ``false accepted`` (shares of steps), ``longest false run``, ``accuracy``."""
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
def _chosen(scores: Any, similarity: Any, recent: Any, weight: Any, seen: Any, only_false: Any, free: Any, true: Any, u: Any, top: Any, temperature: Any) -> Any:  # pragma: no cover # fmt: skip
    """Of each person's scores + weight x similarity to what is recent, one of the best unseen; any where free."""
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


def _lasting(world: World, people: Personas, rule: Policy, presented: NDArray[np.int8]) -> NDArray[np.float32]:
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


def simulate(world: World, people: Personas, policy: Policy | Ranker, *, steps: int = 100, seed: int = 0) -> Exposure:
    """Show each person ``steps`` claims, one by one; no claim twice, in whatever framing.

    Parameters
    ----------
    policy
        a ``Policy``, or a function State -> (P, n) scores, of which one of the five best is shown by softmax(score / .1)
    seed
        the same seed gives every policy the same people in the same mood: first claim, framings, draws of choice and of judgement

    Raises
    ------
    EvidenceError
        When there are not so many claims, personas judge other items, or scores have the wrong shape.
    """
    n, f, p = len(world.true), len(world.framings), len(people)
    if steps > n or steps < 1:
        raise EvidenceError(f"steps={steps}: {n} claims, none shown twice, make between 1 and {n} steps.")
    if people.accept.shape[1] != n * f:
        raise EvidenceError(f"personas judge {people.accept.shape[1]} items, the world has {n} claims x {f} framings.")
    rule = policy if isinstance(policy, Policy) else Policy()
    if unknown := set(rule.framing) - set(world.framings) - {"authoritative", "consensus", "emotional", "prestige", "sensationalist"}:  # fmt: skip
        raise EvidenceError(f"bonus for framing {sorted(unknown)[0]!r}: the world has {', '.join(world.framings)}.")
    rng = np.random.default_rng(seed)
    presented = np.searchsorted(np.cumsum(world.mix)[:-1], rng.random((p, n))).astype(np.int8)
    u_choice, u_free, u_judge = rng.random((3, steps, p))
    seen = np.zeros((p, n), dtype=bool)
    recent = np.full((p, rule.history), -1, dtype=np.int64)
    locked, start = np.zeros(p, dtype=bool), np.ones(p, dtype=bool)
    everyone = np.arange(p)
    shown, framed = np.zeros((2, steps, p), dtype=np.int64)
    accepted, true, reward = np.zeros((steps, p), bool), np.zeros((steps, p), bool), np.zeros((steps, p))
    scores = _lasting(world, people, rule, presented)
    for t in range(steps):
        free = start | (u_free[t] < rule.explore)
        if not isinstance(policy, Policy):
            scores = np.asarray(policy(State(world, people, t, recent, seen, presented)), dtype=np.float32)
            if scores.shape != (p, n) or not np.isfinite(scores).all():
                raise EvidenceError(f"the policy's scores have shape {scores.shape}: one finite number for each of {p} people and {n} claims.")  # fmt: skip
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
        if rule.similarity == 0:  # only a policy that looks at the history has something to begin anew
            start = np.zeros(p, dtype=bool)
    return Exposure(shown, framed, accepted, true, reward)


def evidence(worlds: Mapping[str, tuple[World, Personas]], policies: Mapping[str, Policy | Ranker] = POLICIES, *, steps: int = 100, metrics: Sequence[str] = ("information health",),
             seed: int = 0, report: Callable[[str], None] | None = None) -> Scores:  # fmt: skip
    """Ranking policies by what they do to people: worlds with their people are tasks, people replicates, the same for every policy."""
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
    policy_of, task_of, metric_of = ([x for row, r in zip(column, repeat, strict=True) for x in [row] * r] for column in zip(*rows, strict=True))  # fmt: skip
    return Scores.of(policy_of, task_of, np.concatenate(values), metric=metric_of, replicate=np.concatenate([np.arange(r) for r in repeat]),
                     lower_is_better=[m for m in metrics if m not in ("information health", "accuracy")])  # fmt: skip
