"""Stochastic Balance and configuration LPs: online matching with stochastic rewards.

Huang, Jiang, Shen, Song, Wu and Zhang (2023), "Online Matching with Stochastic Rewards: Advanced
Analyses Using Configuration Linear Programs", arXiv 2309.10289.

**The claim**: Stochastic Balance has a competitive ratio of at least .611 against the best adaptive
policy that knows the arrivals (vanishing chances), and the stochastic configuration LP bounds that
policy more tightly than the configuration and the matching LP.

**What is done here**: *Small instances*, 3 offline vertices and 6 arrivals, chances uniform in
[.05, .6] or out of {.1, .2, .3}: exact values of policies over the exact optimum (dynamic
programming), and the optimum over each LP; an instance is a replicate. *Thick triangles*, n = 20
types, arrivals of chance 1/50 with total mass 1, 2, 3 a type: simulated value over n (1 -
exp(-mass)), what arrivals spread evenly over the vertices without looking back would give; runs
(common fortune) are replicates. *Many vertices*: 300 offline, 1,500 arrivals, value over the
stochastic configuration LP; a replicate is an instance. *Worst instances*: the lowest ratio that
random and local search finds for 3 offline vertices and 6 arrivals of equal chance .1 (a search
proves nothing; chances do not vanish); a replicate is a search. Differences from the paper: a
theory is not proved by measuring; its optimal g could not be read, g(l) = exp(min(l, 1) - 1) stands
for it; the stochastic configuration LP is reconstructed from the abstract. The configuration LP is
a bound only as chances vanish: its tightness is that of its value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from policyrank.evidence import Scores
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.frame import Report, Row, Scale, quiet, scores_of
from policyrank.worlds import matching as m

TITLE = "Online matching"
PAPER = "arXiv 2309.10289"
ABOUT = "policies and bounds for matches that may fail"
RULES = ("balance", "least load", "greedy", "random", "last")
SMALL, MANY, WORST, LP = (
    "small instances",
    "many vertices",
    "worst instances",
    "tightness of bounds",
)
RATIO = "ratio"
EVEN = (0.1, 0.2, 0.3)
TRIANGLES = tuple(f"thick triangles, mass {k}" for k in (1, 2, 3))
PROGRAMMES = ("stochastic configuration", "configuration", "matching")
UNIT, RUN = Unit("instance"), Unit("run")
CLAIMS = (
    *for_each(
        ("balance", "greedy"),
        Claim(
            "{} has a mean of more than .611 of the optimum on small instances",
            "{}",
            0.611,
            RATIO,
            tasks=(SMALL,),
        ),
    ),
    *for_each(
        ("balance", "greedy"),
        Claim(
            "No small instance has {} below .611",
            "{}",
            0.611,
            RATIO,
            tasks=(SMALL,),
            kind="worst",
            seen=(0,),
        ),
    ),
    Claim(
        "No instance that the search finds brings balance below .611",
        "balance",
        0.611,
        RATIO,
        tasks=(WORST,),
        kind="worst",
        unit=Unit("search"),
    ),
    Claim(
        "The search brings the adversarial rule lower than balance",
        "balance",
        "last",
        RATIO,
        tasks=(WORST,),
        unit=Unit("search"),
    ),
    Claim("Balance beats greedy on small instances", "balance", "greedy", RATIO, tasks=(SMALL,)),
    Claim(
        "Balance beats least load where chances differ",
        "balance",
        "least load",
        RATIO,
        tasks=(SMALL,),
    ),
    *for_each(
        (1, 2, 3),
        Claim(
            "Balance beats the adversarial rule on thick triangles by .05 (mass {})",
            "balance",
            "last",
            RATIO,
            0.05,
            ("thick triangles, mass {}",),
            unit=RUN,
        ),
    ),
    Claim(
        "Balance beats ranking on thick triangles",
        "balance",
        "ranking",
        RATIO,
        tasks=TRIANGLES,
        unit=RUN,
    ),
    Claim(
        "The stochastic configuration LP is tighter than the configuration LP by .02",
        "stochastic configuration",
        "configuration",
        "optimum over bound",
        0.02,
    ),
    Claim(
        "The configuration LP is tighter than the matching LP",
        "configuration",
        "matching",
        "optimum over bound",
    ),
    Claim("Balance beats greedy with many vertices", "balance", "greedy", RATIO, tasks=(MANY,)),
)


@dataclass(frozen=True)
class Size:
    """``small``, ``many``: instances; ``types`` of triangles; ``starts``, ``steps`` of a search."""

    small: int
    runs: int
    many: int
    searches: int
    types: int = 20
    vertices: tuple[int, int] = (300, 1500)
    starts: int = 4
    steps: int = 120


SCALES: dict[Scale, Size] = {
    "smoke": Size(6, 10, 1, 2, types=6, vertices=(20, 60), starts=1, steps=5),
    "small": Size(small=200, runs=200, many=5, searches=10),
    "full": Size(small=2000, runs=1000, many=20, searches=50),
}


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is an instance, a run or a search."""
    size = SCALES[scale]
    rows = list(_small(size, seed, report))
    rows += _triangles(size, seed, report)
    rows += _many(size, seed, report)
    rows += _worst(size, seed, report)
    return scores_of(rows)


def _small(size: Size, seed: int, report: Report) -> Iterator[Row]:
    """Exact values over the exact optimum, and that over each bound."""
    rng = np.random.default_rng(seed)
    for k in range(size.small):
        report(f"small instance {k + 1} of {size.small}")
        chances = rng.uniform(0.05, 0.6, (3, 6)) if k % 2 else rng.choice(EVEN, (3, 6))
        x = m.Matching.of(chances)
        best = m.optimum(x)
        for rule in RULES:
            yield rule, SMALL, RATIO, k, m.exact_value(x, rule) / best
        for name in PROGRAMMES:
            yield name, LP, "optimum over bound", k, best / _value_of(x, name)


def _value_of(instance: m.Matching, programme: str) -> float:
    if programme == "configuration":
        return m.configuration_lp(instance)
    return m.bound(instance, programme)


def _triangles(size: Size, seed: int, report: Report) -> Iterator[Row]:
    """Simulated values over what arrivals spread evenly would give."""
    n = size.types
    for mass, task in zip((1, 2, 3), TRIANGLES, strict=True):
        report(task)
        x = m.upper_triangular(n, mass, 50)
        for rule in ("balance", "ranking", "random", "last"):
            values = m.simulate(x, rule, runs=size.runs, seed=seed) / (n * (1 - np.exp(-mass)))
            for k, value in enumerate(values.tolist()):
                yield rule, task, RATIO, k, value


def _many(size: Size, seed: int, report: Report) -> Iterator[Row]:
    """Simulated values over the stochastic configuration LP."""
    for k in range(size.many):
        report(f"many vertices, instance {k + 1} of {size.many}")
        x = m.random_bipartite(*size.vertices, degree=4, seed=seed * 1000 + k)
        bound = m.bound(x)
        for rule in m.RULES:
            value = m.simulate(x, rule, runs=size.runs, seed=seed).mean()
            yield rule, MANY, RATIO, k, float(value / bound)


def _worst(size: Size, seed: int, report: Report) -> Iterator[Row]:
    """The lowest ratios that searches find."""
    for k in range(size.searches):
        report(f"search {k + 1} of {size.searches}")
        for rule in ("balance", "last"):
            _, ratio = m.worst_instance(
                rule,
                3,
                6,
                chances=(0.0, 0.1),
                starts=size.starts,
                steps=size.steps,
                seed=seed * 1000 + k,
            )
            yield rule, WORST, RATIO, k, ratio
