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
for it; the stochastic configuration LP is reconstructed from the abstract.
"""

from __future__ import annotations

import numpy as np

from policyrank.evidence import Scores
from policyrank.studies.frame import Claim, Report, Scale, quiet
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
TRIANGLES = tuple(f"thick triangles, mass {k}" for k in (1, 2, 3))
CLAIMS = (
    *(
        Claim(
            f"{rule} stays above .611 of the optimum on small instances",
            rule,
            "611",
            RATIO,
            tasks=(SMALL,),
        )
        for rule in ("balance", "greedy")
    ),
    Claim(
        "No instance that the search finds brings balance below .611",
        "balance",
        "611",
        RATIO,
        tasks=(WORST,),
    ),
    Claim(
        "The search brings the adversarial rule lower than balance",
        "balance",
        "last",
        RATIO,
        tasks=(WORST,),
    ),
    Claim("Balance beats greedy on small instances", "balance", "greedy", RATIO, tasks=(SMALL,)),
    Claim(
        "Balance beats least load where chances differ",
        "balance",
        "least load",
        RATIO,
        tasks=(SMALL,),
    ),
    *(
        Claim(
            f"Balance beats the adversarial rule on thick triangles by .05 (mass {k})",
            "balance",
            "last",
            RATIO,
            0.05,
            (f"thick triangles, mass {k}",),
        )
        for k in (1, 2, 3)
    ),
    Claim("Balance beats ranking on thick triangles", "balance", "ranking", RATIO, tasks=TRIANGLES),
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


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is an instance, a run or a search."""
    small, runs, many, searches = {
        "smoke": (6, 10, 1, 2),
        "small": (200, 200, 5, 10),
        "full": (2000, 1000, 20, 50),
    }[scale]
    rng = np.random.default_rng(seed)
    rows: list[tuple[str, str, str, int, float]] = []
    for k in range(small):
        report(f"small instance {k + 1} of {small}")
        p = rng.uniform(0.05, 0.6, (3, 6)) if k % 2 else rng.choice([0.1, 0.2, 0.3], (3, 6))
        x = m.Matching.of(p)
        best = m.optimum(x)
        rows += [(rule, SMALL, RATIO, k, m.exact_value(x, rule) / best) for rule in RULES]
        rows.append(("611", SMALL, RATIO, k, 0.611))
        bounds: tuple[m.Benchmark, ...] = ("stochastic configuration", "configuration", "matching")
        rows += [(lp, LP, "optimum over bound", k, best / m.bound(x, lp)) for lp in bounds]
    n = 6 if scale == "smoke" else 20
    for mass, task in zip((1, 2, 3), TRIANGLES, strict=True):
        report(task)
        x = m.upper_triangular(n, mass, 50)
        for rule in ("balance", "ranking", "random", "last"):
            values = m.simulate(x, rule, runs=runs, seed=seed) / (n * (1 - np.exp(-mass)))
            rows += [(rule, task, RATIO, k, float(v)) for k, v in enumerate(values)]
    for k in range(many):
        report(f"many vertices, instance {k + 1} of {many}")
        x = m.random_bipartite(
            *((20, 60) if scale == "smoke" else (300, 1500)), degree=4, seed=seed * 1000 + k
        )
        bound = m.bound(x, tolerance=1e-4)
        rows += [
            (rule, MANY, RATIO, k, float(m.simulate(x, rule, runs=runs, seed=seed).mean() / bound))
            for rule in m.RULES
        ]
    for k in range(searches):
        report(f"search {k + 1} of {searches}")
        for rule in ("balance", "last"):
            _, ratio = m.worst_instance(
                rule,
                3,
                6,
                chances=(0.0, 0.1),
                starts=1 if scale == "smoke" else 4,
                steps=5 if scale == "smoke" else 120,
                seed=seed * 1000 + k,
            )
            rows.append((rule, WORST, RATIO, k, ratio))
        rows.append(("611", WORST, RATIO, k, 0.611))
    methods, tasks, metrics, replicates, values = zip(*rows, strict=True)
    return Scores.of(methods, tasks, values, metric=metrics, replicate=replicates)
