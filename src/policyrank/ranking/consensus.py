"""Kemeny's order: the one that disagrees least with the ballots, exactly or by local search with a
bound.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Unpack

import highspy
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from policyrank.board.assembly import CoverageOptions
from policyrank.board.intervals import Seed, generator
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.errors import EvidenceError
from policyrank.evidence import Comparisons, Rankings
from policyrank.ranking.conventions import RESAMPLED, check_interval, checks_options, need
from policyrank.ranking.rules import Preferences, rule_board

Float = NDArray[np.float64]
Order = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class KemenyOrder:
    """An order with its cost and a proven lower bound on any order's cost.

    Attributes
    ----------
    order
        int (n,), best first
    cost
        votes that disagree, summed over pairs
    bound
        no order costs less
    """

    order: Order
    cost: float
    bound: float

    @property
    def optimal(self) -> bool:
        return self.cost <= self.bound + 1e-6 * max(1.0, abs(self.cost))


def kemeny_cost(wins: Float, order: Order) -> float:
    """Votes against ``order``: the wins of later over earlier policies."""
    return float(np.tril(wins[np.ix_(order, order)], -1).sum())


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
    n = len(wins)
    graph = sparse.csr_matrix(((wins >= wins.T) & ~np.eye(n, dtype=bool)).astype(np.int8))
    count, part = sparse.csgraph.connected_components(graph, directed=True, connection="strong")
    member = np.zeros((count, n))
    member[part, np.arange(n)] = 1
    ahead = (member @ (wins >= wins.T) @ member.T > 0).sum(axis=1)
    order, bound = [], 0.0
    for c in np.argsort(-ahead, kind="stable"):
        inside = np.flatnonzero(part == c)
        sub = wins[np.ix_(inside, inside)]
        best = local_search(sub, seed=seed)
        low = float(np.minimum(sub, sub.T)[np.triu_indices(len(inside), 1)].sum())
        if exact and len(inside) > 2 and kemeny_cost(sub, best) > low + 1e-9:
            best, low = _cutting_planes(sub, best, until, report)
        order += inside[best].tolist()
        bound += low
    final = np.array(order, dtype=np.int64)
    across = kemeny_cost(wins, final) - sum(
        kemeny_cost(wins[np.ix_(x, x)], np.arange(len(x)))
        for c in range(count)
        if len(x := final[part[final] == c]) > 1
    )
    return KemenyOrder(final, kemeny_cost(wins, final), bound + across)


def local_search(wins: Float, *, starts: int = 8, seed: Seed = 0) -> Order:
    """A locally best order under moves of one policy to any place, from Borda's order and shuffles
    of it.
    """
    rng, n = generator(seed), len(wins)
    margin = wins - wins.T
    borda = np.argsort(-margin.sum(axis=1), kind="stable")
    best, best_cost = borda, np.inf
    for start in range(starts if n > 3 else 2):
        order = borda.copy() if start == 0 else best.copy()
        if start:
            for _ in range(max(2, n // 8)):
                a, b = rng.integers(n, size=2)
                item = order[a]
                order = np.insert(np.delete(order, a), b, item)
        order = _improve(wins, order)
        cost = kemeny_cost(wins, order)
        if cost < best_cost - 1e-9:
            best, best_cost = order, cost
    return best


def _cutting_planes(
    wins: Float, start: Order, until: float, report: Callable[[str], None] | None
) -> tuple[Order, float]:
    n = len(wins)
    i, j = np.triu_indices(n, 1)
    index = np.zeros((n, n), dtype=np.int64)
    index[i, j] = np.arange(len(i))
    best, best_cost = start, kemeny_cost(wins, start)
    whole = bool((wins == np.round(wins)).all() or (2 * wins == np.round(2 * wins)).all())
    step = 1.0 if (wins == np.round(wins)).all() else 0.5
    solver = highspy.Highs()
    solver.silent()
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("mip_rel_gap", 0.0)
    solver.setOptionValue("mip_abs_gap", 0.99 * step if whole else 1e-6)
    solver.addVars(len(i), np.zeros(len(i)), np.ones(len(i)))
    solver.changeColsCost(len(i), np.arange(len(i), dtype=np.int32), wins[j, i] - wins[i, j])
    constant, bound, integer = float(wins[i, j].sum()), -np.inf, False
    seen: set[int] = set()
    while True:
        left = until - time.monotonic()
        if left <= 0:
            break
        solver.setOptionValue("time_limit", solver.getRunTime() + left)
        if integer:
            solution = highspy.HighsSolution()
            rank = np.argsort(best)
            solution.col_value = (rank[i] < rank[j]).astype(float).tolist()
            solver.setSolution(solution)
        solver.run()
        finished = solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
        info = solver.getInfo()
        if integer:
            bound = max(bound, info.mip_dual_bound + constant)
        elif finished:
            bound = max(bound, info.objective_function_value + constant)
        if whole:
            bound = np.ceil(bound / step - 1e-6) * step if np.isfinite(bound) else bound
        values = np.array(solver.getSolution().col_value)
        if len(values) == len(i):
            x = np.zeros((n, n))
            x[i, j], x[j, i] = values, 1 - values
            rounded = _improve(wins, np.argsort(-x.sum(axis=1), kind="stable"))
            if (cost := kemeny_cost(wins, rounded)) < best_cost - 1e-9:
                best, best_cost = rounded, cost
        if report is not None:
            report(
                f"Kemeny: {n} policies, {len(seen):,} triangles, best {best_cost:g}, bound"
                f" {bound:g}"
            )
        if best_cost <= bound + 1e-6 or not finished:
            break
        rows = _violated(x, index, seen)
        if len(rows):
            k = len(rows)
            solver.addRows(
                k,
                np.zeros(k),
                np.ones(k),
                3 * k,
                np.arange(0, 3 * k, 3, dtype=np.int32),
                rows.astype(np.int32).ravel(),
                np.tile([1.0, 1.0, -1.0], k),
            )
        elif integer:
            break
        else:
            integer = True
            solver.changeColsIntegrality(
                len(i), np.arange(len(i), dtype=np.int32), np.ones(len(i), dtype=np.uint8)
            )
    return best, float(bound)


def _improve(wins: Float, order: Order) -> Order:
    """One descent of the local search from ``order``."""
    margin, n = wins - wins.T, len(wins)
    while True:
        m = margin[np.ix_(order, order)]
        right = np.cumsum(np.triu(m, 1), axis=1)
        left = np.cumsum(np.tril(m, -1)[:, ::-1], axis=1)[:, ::-1]
        gain = np.where(np.tri(n, n, -1, dtype=bool), left, -right)
        p, q = np.unravel_index(int(np.argmax(gain)), gain.shape)
        if gain[p, q] <= 1e-9:
            return order
        item = order[p]
        order = np.insert(np.delete(order, p), q, item)


def _violated(x: Float, index: Order, seen: set[int], most: int = 4000) -> Order:
    """The most violated new triangles as rows of variables (ij, jk, ik) with 0 <= x_ij + x_jk -
    x_ik <= 1.
    """
    n = len(x)
    found, size = [], []
    for i in range(n - 2):
        inner = x[i, i + 1 :, None] + x[i + 1 :, i + 1 :] - x[None, i, i + 1 :]
        off = np.maximum(inner - 1, -inner)
        off[np.tril_indices(len(off))] = 0
        a, b = np.nonzero(off > 1e-6)
        found.append(np.column_stack([np.full(len(a), i), a + i + 1, b + i + 1]))
        size.append(off[a, b])
    triples, amount = np.concatenate(found), np.concatenate(size)
    code = (triples[:, 0] * n + triples[:, 1]) * n + triples[:, 2]
    order = [r for r in np.argsort(-amount, kind="stable")[:most] if int(code[r]) not in seen]
    seen.update(int(code[r]) for r in order)
    t = triples[order]
    return np.column_stack(
        [index[t[:, 0], t[:, 1]], index[t[:, 1], t[:, 2]], index[t[:, 0], t[:, 2]]]
    )


@checks_options
def kemeny(
    evidence: Preferences,
    *,
    solver: Literal["exact", "local"] = "exact",
    time_limit: float = 60.0,
    interval: str = "bootstrap",
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
        the bootstrap ranks each resample by local search

    Returns
    -------
    Leaderboard
        Rating: how many policies stand below. ``extras``: cost, bound, optimal.

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
    check_interval(interval, RESAMPLED, "kemeny")
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
        notes = (
            Note(
                "gap",
                f"The order costs {found.cost:g}; no order costs less than {found.bound:g} (gap"
                f" {gap:.2%}).",
                "warning",
            ),
        )
    n = len(found.order)

    def rule(_: Float) -> Float:
        rating = np.empty(n)
        rating[found.order] = np.arange(n - 1, -1, -1)
        return rating

    def again(wins: Float) -> Float:
        rating = np.empty(n)
        rating[_improve(wins, found.order)] = np.arange(n - 1, -1, -1)
        return rating

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
        batched=False,
        resample_rule=again,
        extras={"cost": found.cost, "bound": found.bound, "optimal": found.optimal},
        **options,
    )
