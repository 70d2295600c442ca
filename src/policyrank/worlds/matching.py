"""Online matching with stochastic rewards: which waiting vertex gets each arrival, when a match
succeeds only with a probability.

Offline vertices u wait, online ones arrive in order and are matched to one waiting neighbour or to
none; the match succeeds with probability p_uv, and then u leaves with its weight; if it fails, the
arrival is lost and u stays. Policies see the arrivals one by one; benchmarks know the sequence, not
the coins. Huang et al. (2023), arXiv 2309.10289; Mehta and Panigrahi (2012).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import highspy
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.optimize import linprog

from policyrank.errors import EvidenceError
from policyrank.evidence import Scores
from policyrank.solvers import mixed_integer

Float = NDArray[np.float64]
SMOOTH = 0.6
Benchmark = Literal["optimum", "stochastic configuration", "configuration", "matching"]


@dataclass(frozen=True, eq=False)
class Matching:
    """An instance.

    Attributes
    ----------
    p
        (offline, arrivals), chance that a match succeeds, 0 where there is no edge
    weights
        (offline,), positive
    """

    p: Float
    weights: Float

    @classmethod
    def of(cls, p: ArrayLike, weights: ArrayLike | None = None) -> Matching:
        """Checked.

        Raises
        ------
        EvidenceError
            For chances outside [0, 1], an edgeless graph, or weights that are not positive.
        """
        table = np.asarray(p, dtype=float)
        if table.ndim != 2:
            raise EvidenceError(f"p has {table.ndim} dimensions: it is (offline, arrivals).")
        bad = ~((table >= 0) & (table <= 1))
        if bad.any():
            u, v = np.argwhere(bad)[0]
            raise EvidenceError(f"p[{u}, {v}] is {table[u, v]}: chances lie in [0, 1].")
        if not table.any():
            raise EvidenceError("no edge: every chance is 0.")
        w = np.ones(len(table)) if weights is None else np.asarray(weights, dtype=float)
        if w.shape != (len(table),) or not (np.isfinite(w) & (w > 0)).all():
            raise EvidenceError(
                f"weights are {len(table)} positive numbers, one for each offline vertex."
            )
        return cls(table, w)


@dataclass(frozen=True, eq=False)
class Offer:
    """What a policy sees at an arrival, for its k neighbours in each of several runs.

    Attributes
    ----------
    p, weights, index
        (k,): chance of success, weight, number of the offline vertex
    load
        (runs, k): chances of all earlier matches, added up
    rank
        (runs, k): a number in [0, 1) that each vertex drew once
    """

    p: Float
    weights: Float
    index: NDArray[np.int64]
    load: Float
    rank: Float


Rule = Callable[[Offer], Float]
"""Offer -> (runs, k) or (k,), the highest waiting one is matched; equal ones by lot."""


def balance(offer: Offer) -> Float:
    """Stochastic Balance: w p (1 - g(load)), g(l) = exp(min(l, 1) - 1)."""
    return np.asarray(offer.weights * offer.p * (1 - np.exp(np.minimum(offer.load, 1) - 1)))


def least_load(offer: Offer) -> Float:
    """The least load, whatever the chances: Stochastic Balance where all are equal."""
    return -offer.load


def ranking(offer: Offer) -> Float:
    """Ranking: w p (1 - exp(rank - 1))."""
    return np.asarray(offer.weights * offer.p * (1 - np.exp(offer.rank - 1)))


def greedy(offer: Offer) -> Float:
    """The largest w p."""
    return offer.weights * offer.p


def random(offer: Offer) -> Float:
    """Any."""
    return np.zeros(len(offer.p))


def last(offer: Offer) -> Float:
    """The last neighbour: what an adversary would have an opportunistic policy do."""
    return offer.index.astype(float)


RULES: dict[str, Rule] = {
    "balance": balance,
    "least load": least_load,
    "ranking": ranking,
    "greedy": greedy,
    "random": random,
    "last": last,
}


def _rule(rule: str | Rule) -> Rule:
    if not isinstance(rule, str):
        return rule
    if rule not in RULES:
        raise EvidenceError(f"no rule is called {rule!r}. There are: {', '.join(RULES)}.")
    return RULES[rule]


def simulate(
    instance: Matching, rule: str | Rule, *, runs: int = 1000, seed: int = 0, expected: bool = True
) -> Float:
    """Value of a policy in each run, all runs at once: (runs,).

    Parameters
    ----------
    seed
        the same seed gives every policy the same fortune: vertex u succeeds in a run once the
        hazards -log(1 - p) of its matches exceed its own exponential threshold
    expected
        count w p of each match that is made instead of w where it succeeds: the same mean, less
        noise
    """
    choose = _rule(rule)
    rng = np.random.default_rng(seed)
    n, arrivals = instance.p.shape
    threshold = rng.exponential(size=(runs, n))
    rank, lots = rng.random((runs, n)), np.random.default_rng([seed, 1])
    with np.errstate(divide="ignore"):
        hazard = -np.log1p(-instance.p)
    load, faced, waiting = np.zeros((runs, n)), np.zeros((runs, n)), np.ones((runs, n), dtype=bool)
    total, every = np.zeros(runs), np.arange(runs)
    for v in range(arrivals):
        near = np.flatnonzero(instance.p[:, v])
        if not len(near):
            continue
        p = instance.p[near, v]
        score = np.broadcast_to(
            choose(Offer(p, instance.weights[near], near, load[:, near], rank[:, near])),
            (runs, len(near)),
        )
        score = np.where(waiting[:, near], score, -np.inf)
        best = score.max(axis=1, keepdims=True)
        tied = (score >= best - 1e-12) & (score > -np.inf)
        pick = np.where(tied, lots.random(score.shape), -1.0).argmax(axis=1)
        made = tied.any(axis=1)
        row, u, chance = every[made], near[pick[made]], p[pick[made]]
        load[row, u] += chance
        faced[row, u] += hazard[u, v]
        won = faced[row, u] > threshold[row, u]
        waiting[row[won], u[won]] = False
        total[row] += instance.weights[u] * (chance if expected else won)
    return total


def evidence(
    instances: Mapping[str, Matching],
    rules: Sequence[str] | Mapping[str, str | Rule] = tuple(RULES),
    *,
    runs: int = 1000,
    seed: int = 0,
) -> Scores:
    """Policies on instances with common fortune: instances are tasks, runs replicates."""
    named = rules if isinstance(rules, Mapping) else {r: r for r in rules}
    found = [
        (name, task, simulate(x, rule, runs=runs, seed=seed))
        for task, x in instances.items()
        for name, rule in named.items()
    ]
    policies, tasks = ([row[k] for row in found for _ in range(runs)] for k in (0, 1))
    return Scores.of(
        policies,
        tasks,
        np.concatenate([v for _, _, v in found]),
        replicate=np.tile(np.arange(runs), len(found)),
    )


def exact_value(instance: Matching, rule: str | Rule) -> float:
    """Expected value of a policy that draws no ranks, over all coins and ties; for a few vertices
    (states are successes and loads).

    Raises
    ------
    EvidenceError
        For ``"ranking"``, whose ranks are continuous.
    """
    if rule == "ranking":
        raise EvidenceError("ranking draws continuous ranks: simulate() it.")
    choose = _rule(rule)
    p, w = instance.p, instance.weights

    @cache
    def value(v: int, waiting: tuple[bool, ...], load: tuple[float, ...]) -> float:
        if v == p.shape[1]:
            return 0.0
        near = np.flatnonzero((p[:, v] > 0) & np.array(waiting))
        if not len(near):
            return value(v + 1, waiting, load)
        score = np.broadcast_to(
            choose(
                Offer(
                    p[near, v], w[near], near, np.array(load)[near][None], np.zeros((1, len(near)))
                )
            ),
            (1, len(near)),
        )[0]
        tied = near[score >= score.max() - 1e-12]
        total = 0.0
        for u in tied:
            q = p[u, v]
            heavier = tuple(round(x + q, 12) if k == u else x for k, x in enumerate(load))
            gone = tuple(x and k != u for k, x in enumerate(waiting))
            total += q * (w[u] + value(v + 1, gone, heavier)) + (1 - q) * value(
                v + 1, waiting, heavier
            )
        return total / len(tied)

    found = value(0, (True,) * len(p), (0.0,) * len(p))
    value.cache_clear()
    return float(found)


def optimum(instance: Matching) -> float:
    """S-OPT: the best adaptive policy that knows the arrivals but not the coins, by dynamic
    programming over who waits; up to about 20 offline vertices.
    """
    n, arrivals = instance.p.shape
    if n > 22:
        raise EvidenceError(
            f"{n} offline vertices have 2^{n} states: bound() the optimum by the stochastic"
            " configuration LP instead."
        )
    masks = np.arange(1 << n)
    value = np.zeros(1 << n)
    for v in range(arrivals - 1, -1, -1):
        best = value.copy()
        for u in np.flatnonzero(instance.p[:, v]):
            here = masks[(masks >> u) & 1 == 1]
            q = instance.p[u, v]
            best[here] = np.maximum(
                best[here],
                q * (instance.weights[u] + value[here ^ (1 << u)]) + (1 - q) * value[here],
            )
        value = best
    return float(value[-1])


def bound(
    instance: Matching, benchmark: Benchmark = "stochastic configuration", tolerance: float = 1e-7
) -> float:
    """Upper bound on what any policy can reach: S-OPT itself, or the value of an LP, from tight to
    loose: stochastic configuration, configuration, matching.

    The configuration LP is solved by column generation, the stochastic one in a form without sets.

    References
    ----------
    Huang and Zhang (2020), arXiv 2002.01802 (configuration); arXiv 2309.10289 (stochastic
    configuration, reconstructed from its abstract).
    """
    if benchmark == "optimum":
        return optimum(instance)
    if benchmark == "matching":
        return _matching_lp(instance)
    if benchmark == "stochastic configuration":
        return _stochastic_lp(instance)
    if benchmark != "configuration":
        raise EvidenceError(
            f"benchmark={benchmark!r}: use optimum, stochastic configuration, configuration or"
            " matching."
        )
    return _configuration_lp(instance, tolerance)


def _matching_lp(instance: Matching) -> float:
    u, v = np.nonzero(instance.p)
    q, m = instance.p[u, v], len(u)
    n, arrivals = instance.p.shape
    a = sparse.csr_matrix(
        (np.r_[q, np.ones(m)], (np.r_[u, n + v], np.r_[np.arange(m), np.arange(m)])),
        shape=(n + arrivals, m),
    )
    return float(
        -linprog(-q * instance.weights[u], A_ub=a, b_ub=np.ones(n + arrivals), method="highs").fun
    )


def _stochastic_lp(instance: Matching) -> float:
    """The stochastic configuration LP without its sets: y(u, v), the chance that v is asked of u,
    and s(u, v), that u still waits then; s falls by p y, y <= s, and the y of an arrival add up to
    at most 1.

    A mix of sets gives such y and s, and such y and s are the mix that takes each v with chance y /
    s.
    """
    u, v = np.nonzero(instance.p)
    q, m = instance.p[u, v], len(u)
    edge = np.arange(m)
    later = np.flatnonzero(u[1:] == u[:-1]) + 1  # the previous edge is the same vertex's
    start = np.setdiff1d(edge, later)
    # s(first) = 1; s(later) - s(before) + p y(before) = 0
    rows, columns, data = (
        [edge, later, later],
        [m + edge, m + later - 1, later - 1],
        [np.ones(m), -np.ones(len(later)), q[later - 1]],
    )
    equal = sparse.csr_matrix(
        (np.concatenate(data), (np.concatenate(rows), np.concatenate(columns))), shape=(m, 2 * m)
    )
    right = np.zeros(m)
    right[start] = 1.0
    waits = sparse.csr_matrix(
        (np.r_[np.ones(m), -np.ones(m)], (np.r_[edge, edge], np.r_[edge, m + edge])),
        shape=(m, 2 * m),
    )
    once = sparse.csr_matrix((np.ones(m), (v, edge)), shape=(instance.p.shape[1], 2 * m))
    limit = np.r_[np.zeros(m), np.ones(once.shape[0])]
    found = linprog(
        np.r_[-q * instance.weights[u], np.zeros(m)],
        A_ub=sparse.vstack([waits, once]),
        b_ub=limit,
        A_eq=equal,
        b_eq=right,
        method="highs-ipm",
    )
    return float(-found.fun)


def _plain_column(
    p: Float, many: NDArray[np.int64], w: float, beta: Float
) -> tuple[float, NDArray[np.int64]]:
    """max over S of w min(1, p(S)) - beta(S): the cheapest where chances are equal, else a small
    integer programme.
    """
    near = np.flatnonzero(p)
    q, cost, room = p[near], beta[near], many[near]
    take = np.zeros(len(p), dtype=np.int64)
    if np.ptp(q) < 1e-12:
        order = np.repeat(
            near[np.argsort(cost, kind="stable")], many[near[np.argsort(cost, kind="stable")]]
        )
        size = np.arange(len(order) + 1)
        worth = w * np.minimum(1, size * q[0]) - np.r_[0, np.cumsum(beta[order])]
        k = int(worth.argmax())
        np.add.at(take, order[:k], 1)
        return float(worth[k]), take
    m = len(near)
    found = mixed_integer(
        np.r_[cost, -w],
        sparse.csr_matrix(np.r_[-q, 1.0]),
        [-np.inf],
        [0.0],
        np.r_[room, 1],
        np.r_[np.ones(m), 0],
    )
    take[near] = np.round(found.x[:m]).astype(np.int64) if found.x is not None else 0
    return -found.value, take


def _configuration_lp(instance: Matching, tolerance: float) -> float:
    # Arrivals in a row with the same chances are interchangeable here: one row of the LP, with as
    # much room as there are of them, says the same.
    first = np.r_[True, (instance.p[:, 1:] != instance.p[:, :-1]).any(axis=0)]
    p, w = instance.p[:, first], instance.weights
    many = np.diff(np.r_[np.flatnonzero(first), instance.p.shape[1]])
    n = len(p)
    master = highspy.Highs()
    master.setOptionValue("output_flag", False)
    room = np.r_[np.ones(n), many]
    master.addRows(
        len(room),
        np.full(len(room), -highspy.kHighsInf),
        room,
        0,
        np.zeros(0, dtype=np.int32),
        np.zeros(0, dtype=np.int32),
        np.zeros(0),
    )
    master.changeObjectiveSense(highspy.ObjSense.kMaximize)

    def column(u: int, take: NDArray[np.int64]) -> tuple[float, list[int], list[float]]:
        near = np.flatnonzero(take)
        return (
            w[u] * min(1.0, float(p[u] @ take)),
            [u, *(n + near).tolist()],
            [1.0, *take[near].astype(float).tolist()],
        )

    def add(made: list[tuple[float, list[int], list[float]]]) -> None:
        k, lengths = len(made), [len(rows) for _, rows, _ in made]
        master.addCols(
            k,
            np.array([value for value, _, _ in made]),
            np.zeros(k),
            np.full(k, highspy.kHighsInf),
            sum(lengths),
            np.r_[0, np.cumsum(lengths)[:-1]].astype(np.int32),
            np.concatenate([rows for _, rows, _ in made]).astype(np.int32),
            np.concatenate([data for _, _, data in made]),
        )

    add([(float(w[u] * p[u, v]), [int(u), n + int(v)], [1.0, 1.0]) for u, v in np.argwhere(p)])
    lower, upper = 0.0, math.inf
    centre: Float | None = None
    for _ in range(10_000):
        master.run()  # from the last basis: few steps
        lower = float(master.getInfo().objective_function_value)
        dual = np.array(master.getSolution().row_dual)
        alpha, now = dual[:n], dual[n:]
        # Prices swing from one master to the next: columns are sought at a mix with the best prices
        # so far (Wentges 1997), and at today's where those bring none.
        for share in (SMOOTH, 0.0) if centre is not None else (0.0,):
            beta = now if centre is None or not share else share * centre + (1 - share) * now
            best = [_plain_column(p[u], many, float(w[u]), beta) for u in range(n)]
            # The prices beta with the best columns are feasible for the dual: a bound at any time.
            bound = float(many @ beta + sum(max(0.0, value) for value, _ in best))
            if bound < upper:
                upper, centre = bound, beta
            made = [
                column(u, take) for u, (value, take) in enumerate(best) if value > tolerance / n
            ]
            new = [
                c
                for c in made
                if c[0]
                - alpha[c[1][0]]
                - float(now[np.array(c[1][1:], dtype=int) - n] @ np.array(c[2][1:]))
                > tolerance
            ]
            if new:
                break
        if not new or upper - lower <= tolerance * max(1.0, upper):
            return upper
        add(new)
    raise EvidenceError(f"column generation did not end: the bound lies in [{lower:g}, {upper:g}].")


def competitive_ratio(
    instance: Matching, rule: str | Rule, benchmark: Benchmark = "optimum"
) -> float:
    """Exact value of a policy over a benchmark of the instance."""
    return exact_value(instance, rule) / bound(instance, benchmark)


def worst_instance(
    rule: str | Rule,
    offline: int = 3,
    arrivals: int = 6,
    *,
    chances: Sequence[float] = (0.0, 0.1, 0.3, 0.5),
    benchmark: Benchmark = "optimum",
    starts: int = 20,
    steps: int = 200,
    seed: int = 0,
) -> tuple[Matching, float]:
    """The lowest competitive ratio that random starts and local search find, and its instance. A
    search proves nothing: the true ratio may be lower.

    Parameters
    ----------
    chances
        that edges may have; each step changes one edge and keeps what is not better for the policy
    """
    rng, options = np.random.default_rng(seed), np.array(chances, dtype=float)
    worst: tuple[Matching, float] | None = None
    for _ in range(starts):
        p = rng.choice(options, size=(offline, arrivals))
        if not p.any():
            continue
        now = competitive_ratio(Matching.of(p), rule, benchmark)
        for _ in range(steps):
            other = p.copy()
            other[rng.integers(offline), rng.integers(arrivals)] = rng.choice(options)
            if (
                other.any()
                and (ratio := competitive_ratio(Matching.of(other), rule, benchmark)) <= now
            ):
                p, now = other, ratio
        if worst is None or now < worst[1]:
            worst = Matching.of(p), now
    if worst is None:
        raise EvidenceError("no start had an edge: give chances above 0.")
    return worst


def upper_triangular(n: int, mass: float = 1.0, slices: int = 20) -> Matching:
    """The hard instance: arrivals of type t = 1..n, each as ``mass * slices`` arrivals of chance 1
    / slices, are neighbours of the vertices t, ..., n.
    """
    thick = round(mass * slices)
    kind = np.repeat(np.arange(n), thick)
    return Matching.of(np.where(np.arange(n)[:, None] >= kind[None], 1 / slices, 0.0))


def random_bipartite(
    offline: int,
    arrivals: int,
    degree: float = 3.0,
    low: float = 0.05,
    high: float = 0.6,
    seed: int = 0,
) -> Matching:
    """Each arrival has ``degree`` neighbours on average, chances uniform in [low, high]."""
    rng = np.random.default_rng(seed)
    edge = rng.random((offline, arrivals)) < degree / offline
    edge[rng.integers(offline), 0] = True
    return Matching.of(np.where(edge, rng.uniform(low, high, size=edge.shape), 0.0))
