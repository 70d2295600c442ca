"""Policies that match arrivals as they come, by simulation and exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence import Scores
from policyrank.worlds.matching.instances import Float, Matching

Item = TypeVar("Item")


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
    offline, arrivals = instance.p.shape
    shape = (runs, offline)
    threshold = rng.exponential(size=shape)
    rank, lots = rng.random(shape), np.random.default_rng([seed, 1])
    with np.errstate(divide="ignore"):
        hazard = -np.log1p(-instance.p)
    load, faced, waiting = np.zeros(shape), np.zeros(shape), np.ones(shape, dtype=bool)
    total = np.zeros(runs)
    for arrival in range(arrivals):
        near = np.flatnonzero(instance.p[:, arrival])
        if not len(near):
            continue
        p = instance.p[near, arrival]
        offer = Offer(p, instance.weights[near], near, load[:, near], rank[:, near])
        tied = _best(choose(offer), waiting[:, near])
        pick = np.where(tied, lots.random(tied.shape), -1.0).argmax(axis=1)
        row = np.flatnonzero(tied.any(axis=1))
        vertex, chance = near[pick[row]], p[pick[row]]
        load[row, vertex] += chance
        faced[row, vertex] += hazard[vertex, arrival]
        won = faced[row, vertex] > threshold[row, vertex]
        waiting[row[won], vertex[won]] = False
        gained = chance if expected else won
        total[row] += instance.weights[vertex] * gained
    return total


def _best(scores: Float, waiting: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(runs, k): those of the highest score among the waiting ones."""
    score = np.where(waiting, np.broadcast_to(scores, waiting.shape), -np.inf)
    highest = score.max(axis=1, keepdims=True)
    return (score >= highest - 1e-12) & (score > -np.inf)


def evidence(
    instances: Mapping[str, Matching],
    rules: Sequence[str] | Mapping[str, str | Rule] = tuple(RULES),
    *,
    runs: int = 1000,
    seed: int = 0,
) -> Scores:
    """Policies on instances with common fortune: instances are tasks, runs replicates."""
    if not isinstance(rules, Mapping):
        rules = dict(zip(rules, rules, strict=True))
    policies: list[str] = []
    tasks: list[str] = []
    values: list[Float] = []
    for task, instance in instances.items():
        for name, rule in rules.items():
            policies += [name] * runs
            tasks += [task] * runs
            values.append(simulate(instance, rule, runs=runs, seed=seed))
    runs_of_each = np.tile(np.arange(runs), len(values))
    return Scores.of(policies, tasks, np.concatenate(values), replicate=runs_of_each)


def exact_value(instance: Matching, rule: str | Rule) -> float:
    """Expected value of a policy that draws no ranks, over all coins and ties.

    For a few vertices: states are successes and loads.

    Raises
    ------
    EvidenceError
        For ``"ranking"``, whose ranks are continuous.
    """
    if rule == "ranking":
        raise EvidenceError("ranking draws continuous ranks: simulate() it.")
    choose = _rule(rule)
    p, weights = instance.p, instance.weights

    @cache
    def value(arrival: int, waiting: tuple[bool, ...], load: tuple[float, ...]) -> float:
        if arrival == p.shape[1]:
            return 0.0
        near = np.flatnonzero((p[:, arrival] > 0) & np.array(waiting))
        if not len(near):
            return value(arrival + 1, waiting, load)
        no_rank = np.zeros((1, len(near)))
        offer = Offer(p[near, arrival], weights[near], near, np.array(load)[near][None], no_rank)
        tied = near[_best(choose(offer), np.ones((1, len(near)), dtype=bool))[0]]
        total = 0.0
        for vertex in tied:
            chance = p[vertex, arrival]
            heavier = _with(load, vertex, round(load[vertex] + chance, 12))
            won = weights[vertex] + value(arrival + 1, _with(waiting, vertex, False), heavier)
            lost = value(arrival + 1, waiting, heavier)
            total += chance * won + (1 - chance) * lost
        return total / len(tied)

    found = value(0, (True,) * len(p), (0.0,) * len(p))
    value.cache_clear()
    return float(found)


def _with(row: tuple[Item, ...], place: int, item: Item) -> tuple[Item, ...]:
    """The row with one of its items replaced."""
    return (*row[:place], item, *row[place + 1 :])
