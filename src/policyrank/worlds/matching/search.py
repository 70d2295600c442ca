"""Competitive ratios, and a search for instances on which they are low."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from policyrank.errors import EvidenceError
from policyrank.worlds.matching.bounds import Benchmark, bound
from policyrank.worlds.matching.instances import Matching
from policyrank.worlds.matching.rules import Rule, exact_value


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
    """The lowest competitive ratio that random starts and local search find, and its instance.

    A search proves nothing: the true ratio may be lower.

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
            if not other.any():
                continue
            ratio = competitive_ratio(Matching.of(other), rule, benchmark)
            if ratio <= now:
                p, now = other, ratio
        if worst is None or now < worst[1]:
            worst = Matching.of(p), now
    if worst is None:
        raise EvidenceError("no start had an edge: give chances above 0.")
    return worst
