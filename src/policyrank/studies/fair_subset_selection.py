"""Choosing a committee from biased rankings: do group quotas undo the bias, and how many rankings
does a rule need?

Boehmer, Celis, Huang, Mehrotra and Vishnoi (2023), "Subset Selection Based On Multiple Rankings in
the Presence of Bias", arXiv 2306.09835.

**The claim**: quotas improve the committee with respect to unbiased rankings; for some scores
near-optimal committees need exponentially many biased rankings, for others polynomially many
suffice.

**What is done here**: 40 items, half of them in a disadvantaged group; an item's quality is U(0,
1), a ranking orders quality plus N(0, .3), and biased rankings halve the utilities of the
disadvantaged (negative ones are doubled). Ten items are chosen from n biased rankings, with and
without the quota of five from the disadvantaged group; the score is the committee's score on 2,000
fresh unbiased rankings divided by the best possible (Chamberlin-Courant and proportional approval:
by the greedy best). Differences from the paper: only its abstract could be read, so the bias model
and sizes are ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from policyrank.evidence import Rankings, Scores
from policyrank.ranking import committee_score, select
from policyrank.studies.frame import Claim, Report, Scale, quiet

TITLE = "Fair subset selection"
PAPER = "arXiv 2306.09835"
ABOUT = "committees from biased rankings, with and without quotas"
QUALITY = "quality on unbiased rankings"
ITEMS, SEATS, QUOTA, THETA, SIGMA = 40, 10, 5, 0.5, 0.3
RULES = {
    "SNTV": "sntv",
    "Bloc": "bloc",
    "k-Borda": "borda",
    "Chamberlin-Courant": "chamberlin-courant",
    "PAV": "pav",
}
NUMBERS = (10, 50, 200, 1000)
LATE = tuple(f"{n:,} rankings" for n in NUMBERS[1:])
LAST = LATE[-1:]

CLAIMS = (
    *(
        Claim(
            f"With the quota {rule} chooses better committees from 50 rankings on",
            f"{rule}, quota",
            rule,
            QUALITY,
            tasks=LATE,
        )
        for rule in RULES
    ),
    Claim(
        "From 50 biased rankings, Bloc with the quota is better (.1) than SNTV with it from 1,000",
        "Bloc, quota, 50",
        "SNTV, quota, 1,000",
        QUALITY,
        0.1,
        ("few against many",),
    ),
    Claim(
        "... and k-Borda",
        "k-Borda, quota, 50",
        "SNTV, quota, 1,000",
        QUALITY,
        0.1,
        ("few against many",),
    ),
    Claim(
        "More rankings do not replace the quota: k-Borda with it from 50 beats k-Borda without it"
        " from 1,000",
        "k-Borda, quota, 50",
        "k-Borda, 1,000",
        QUALITY,
        tasks=("few against many",),
    ),
    Claim(
        "Without bias the quota costs next to nothing (k-Borda, .01)",
        "k-Borda, quota",
        "k-Borda",
        QUALITY,
        -0.01,
        ("1,000 unbiased rankings",),
    ),
)


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is one world (qualities and rankings drawn anew)."""
    seeds, fresh, numbers = {
        "smoke": (2, 200, (50, 1000)),
        "small": (15, 2000, NUMBERS),
        "full": (100, 5000, (*NUMBERS, 10_000)),
    }[scale]
    rows: list[tuple[str, str, str, int, float]] = []
    for r in range(seeds):
        rng = np.random.default_rng([seed, r])
        quality = rng.uniform(size=ITEMS)
        disadvantaged = np.arange(ITEMS) >= ITEMS // 2
        groups = {
            f"item {k:02d}": "disadvantaged" if d else "favoured"
            for k, d in enumerate(disadvantaged)
        }

        def draw(n: int, theta: float) -> Rankings:
            u = quality + SIGMA * rng.standard_normal((n, ITEMS))  # noqa: B023
            return Rankings.of_scores(
                np.where(disadvantaged, np.where(u > 0, u * theta, u / theta), u),  # noqa: B023
                list(groups),  # noqa: B023
            )

        truth = draw(fresh, 1.0)
        best = {
            rule: select(truth, SEATS, rule=code, method="greedy").score
            for rule, code in RULES.items()
        }
        for n in numbers:
            report(f"world {r + 1} of {seeds}, {n:,} rankings")
            for setting, seen in (
                (f"{n:,} rankings", draw(n, THETA)),
                (f"{n:,} unbiased rankings", draw(n, 1.0)),
            ):
                for rule, code in RULES.items():
                    quotas: dict[str, dict[str, Any]] = {
                        rule: {},
                        f"{rule}, quota": {"groups": groups, "at_least": {"disadvantaged": QUOTA}},
                    }
                    for method, quota in quotas.items():
                        chosen = select(seen, SEATS, rule=code, method="greedy", **quota)
                        value = committee_score(truth, chosen.members, code) / best[rule]
                        rows.append((method, setting, QUALITY, r, value))
                        if "unbiased" not in setting and ((n == 50 and quota) or n == 1000):
                            rows.append((f"{method}, {n:,}", "few against many", QUALITY, r, value))
    methods, tasks, metrics, replicates, values = zip(*rows, strict=True)
    return Scores.of(methods, tasks, values, metric=metrics, replicate=replicates)
