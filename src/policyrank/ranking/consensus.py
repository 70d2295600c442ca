"""Kemeny's order: the one that disagrees least with the ballots, exactly or by local search with a
bound.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Unpack

import numpy as np

from policyrank.board.assembly import CoverageOptions
from policyrank.board.intervals import Seed, generator
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.errors import EvidenceError
from policyrank.evidence import Comparisons, Rankings
from policyrank.ranking.connected import components
from policyrank.ranking.conventions import checks_options, need
from policyrank.ranking.kemeny_search import (
    MOST_COUNTED,
    Float,
    Order,
    cutting_planes,
    improve,
    kemeny_cost,
    local_search,
    optimal_orders,
)
from policyrank.ranking.majorities import of_dominance
from policyrank.ranking.rules import Preferences, rule_board


@dataclass(frozen=True, eq=False)
class KemenyOrder:
    """An order with its cost and a proven lower bound on any order's cost.

    Attributes
    ----------
    order
        int (n,), best first: one of the best
    below
        float (n,), how many policies stand below each, the mean over all orders of least cost
        where they were counted
    orders
        how many orders cost the least; None: not counted (components of more than
        ``MOST_COUNTED`` policies)
    cost
        votes that disagree, summed over pairs
    bound
        no order costs less

    Examples
    --------
    >>> below = np.array([0.0, 1.0])
    >>> found = KemenyOrder(np.array([1, 0]), 3.0, 2.0, below, orders=None)
    >>> found.optimal
    False
    """

    order: Order
    cost: float
    bound: float
    below: Float
    orders: int | None

    @property
    def optimal(self) -> bool:
        return self.cost <= self.bound + 1e-6 * max(1.0, abs(self.cost))


def kemeny_order(
    wins: Float,
    *,
    exact: bool = True,
    time_limit: float = 60.0,
    seed: Seed = 0,
    report: Callable[[str], None] | None = None,
) -> KemenyOrder:
    """The Kemeny order of a preference matrix.

    The strong components of the majority graph are solved apart (an optimal order follows their
    order). Each is an integer program over pairs whose triangle constraints are added when
    violated; the linear relaxation is warm-started after every round and mostly settles it,
    otherwise branch and bound starts from the local search's order.

    Parameters
    ----------
    wins
        (n, n) votes for row over column
    exact
        False: local search only, with the pairwise bound
    time_limit
        seconds, then the best order so far and its bound
    report
        called with a line about progress

    References
    ----------
    Kemeny (1959); Conitzer, Davenport and Kalagnanam (2006); Ali and Meila (2012).

    Examples
    --------
    >>> from policyrank.evidence import Rankings
    >>> votes = Rankings.of([list("abc"), list("acb"), list("cab"), list("cab"), list("bca")])
    >>> found = kemeny_order(votes.preferences())
    >>> [votes.policies[i] for i in found.order], found.cost, found.optimal
    (['c', 'a', 'b'], 5.0, True)
    """
    until = time.monotonic() + time_limit
    part, best_first = _components(wins)
    found: list[int] = []
    bound, orders = 0.0, 1
    counted, below = exact, np.zeros(len(wins))
    for component in best_first:
        inside = np.flatnonzero(part == component)
        among = wins[np.ix_(inside, inside)]
        best = local_search(among, seed=seed)
        low = _pairwise_bound(among)
        if exact and len(inside) > 2 and kemeny_cost(among, best) > low + 1e-9:
            best, low = cutting_planes(among, best, until, report)
        below[inside[best]] = np.arange(len(inside) - 1, -1, -1)
        if len(inside) > MOST_COUNTED:
            counted = False
        elif exact and len(inside) > 1:
            of_component = optimal_orders(among)
            below[inside], orders = of_component.below, orders * of_component.number
        below[found] += len(inside)
        found += inside[best].tolist()
        bound += low
    order = np.array(found, dtype=np.int64)
    cost, least = kemeny_cost(wins, order), bound + _cost_across(wins, order, part)
    return KemenyOrder(order, cost, least, below, orders if counted else None)


def _components(wins: Float) -> tuple[Order, Order]:
    """The strong component of the majority graph that each policy is in, and the components from
    the best down.
    """
    policies = len(wins)
    not_beaten = wins >= wins.T
    part = components(np.nonzero(not_beaten), policies, strong=True)
    member = np.zeros((part.max(initial=-1) + 1, policies))
    member[part, np.arange(policies)] = 1
    ahead = (member @ not_beaten @ member.T > 0).sum(axis=1)
    return part, np.argsort(-ahead, kind="stable")


def _pairwise_bound(wins: Float) -> float:
    """No order costs less than the smaller side of each pair."""
    pair = np.triu_indices(len(wins), 1)
    return float(np.minimum(wins, wins.T)[pair].sum())


def _cost_across(wins: Float, order: Order, part: Order) -> float:
    """Votes against the order between policies of different components."""
    within = []
    for component in range(part.max() + 1):
        within.append(kemeny_cost(wins, order[part[order] == component]))
    return kemeny_cost(wins, order) - sum(within)


@checks_options
def kemeny(
    evidence: Preferences,
    *,
    solver: Literal["exact", "local"] = "exact",
    time_limit: float = 60.0,
    interval: str = "auto",
    resamples: int = 200,
    seed: Seed = 0,
    report: Callable[[str], None] | None = None,
    **options: Unpack[CoverageOptions],
) -> Leaderboard:
    """Kemeny-Young: the order that disagrees with the fewest votes, summed over pairs.

    Parameters
    ----------
    solver
        ``"exact"``: integer programming (100 and more policies; stops at ``time_limit`` with a
        proven gap); ``"local"``: local search with the pairwise lower bound
    time_limit
        seconds
    interval, resamples, seed
        as for the other rules of majorities; the bootstrap ranks each resample by local search

    Returns
    -------
    Leaderboard
        Rating: how many policies stand below, the mean over all orders that are equally good.
        ``extras``: cost, bound, optimal, orders (how many are equally good, where counted).

    References
    ----------
    Kemeny (1959); Young and Levenglick (1978).

    Examples
    --------
    >>> votes = Rankings.of([["x", "y", "z"], ["x", "z", "y"], ["y", "z", "x"]])
    >>> kemeny(votes, interval="none").policies
    ('x', 'y', 'z')
    """
    need(evidence, (Comparisons, Rankings), "kemeny")
    if solver not in ("exact", "local"):
        raise EvidenceError(f"solver={solver!r}: use 'exact' or 'local'.")
    found = kemeny_order(
        evidence.preferences(ties=0.0),
        exact=solver == "exact",
        time_limit=time_limit,
        seed=seed,
        report=report,
    )
    notes: tuple[Note, ...] = ()
    if not found.optimal:
        gap = (found.cost - found.bound) / max(found.cost, 1e-9)
        text = (
            f"The order costs {found.cost:g}; no order costs less than {found.bound:g} (gap"
            f" {gap:.2%})."
        )
        notes = (Note("gap", text, "warning"),)
    elif found.orders is not None and found.orders > 1:
        text = f"{found.orders:,} orders are equally good: places are the mean over all of them."
        notes = (Note("tied optimum", text, "warning"),)
    elif found.orders is None:
        text = "Whether other orders are equally good was not counted: policies close by may tie."
        notes = (Note("tied optimum", text),)

    def rule(_: Float) -> Float:
        return found.below

    again = _resampled_rule(found.below, generator(seed))
    return rule_board(
        evidence,
        rule,
        method="kemeny",
        unit="policies below",
        interval=interval,
        resamples=resamples,
        seed=seed,
        notes=notes,
        settings={"solver": solver, "time_limit": time_limit},
        project=of_dominance,
        batched=False,
        resample_rule=again,
        extras=_extras(found),
        **options,
    )


def _resampled_rule(below: Float, rng: np.random.Generator) -> Callable[[Float], Float]:
    """Ratings of a resample: exactly for few policies, else by local search, ties by lot."""

    def rating(wins: Float) -> Float:
        if len(wins) <= 6:
            return optimal_orders(wins).below
        start = np.argsort(-(below + 1e-6 * rng.random(len(below))), kind="stable")
        lot = 1e-9 * max(float(wins.max()), 1e-300) * rng.random(wins.shape)
        return _policies_below(improve(wins + lot, start))

    return rating


def _extras(found: KemenyOrder) -> dict[str, Any]:
    extras: dict[str, Any] = {"cost": found.cost, "bound": found.bound, "optimal": found.optimal}
    if found.orders is not None:
        extras["orders"] = found.orders
    return extras


def _policies_below(order: Order) -> Float:
    rating = np.empty(len(order))
    rating[order] = np.arange(len(order) - 1, -1, -1)
    return rating
