"""Choosing a committee from biased rankings: do quotas undo the bias, how many rankings suffice?

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
by the greedy best). From the last n biased rankings Hoeffding's estimate says how many would order
the group's cut (10^18 where they show no gap). Differences from the paper: only its abstract could
be read, so the bias model, the estimate and sizes are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyrank.evidence import Rankings, Scores
from policyrank.ranking import committee_score, required_rankings, select
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.frame import Report, Row, Scale, by_method, quiet, scores_of

TITLE = "Fair subset selection"
PAPER = "arXiv 2306.09835"
ABOUT = "committees from biased rankings, with and without quotas"
QUALITY = "quality on unbiased rankings"
NEEDED = "log10 of the rankings that order the group's cut"
GROUP = "disadvantaged"
AGAINST = "few against many"
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

UNIT = Unit("world")
CLAIMS = (
    *for_each(
        RULES,
        Claim(
            "With the quota {} chooses better committees from 50 rankings on",
            "{}, quota",
            "{}",
            QUALITY,
            tasks=LATE,
            kind="everywhere",
        ),
    ),
    Claim(
        "From 50 biased rankings, Bloc with the quota is better (.1) than SNTV with it from 1,000",
        "Bloc, quota, 50",
        "SNTV, quota, 1,000",
        QUALITY,
        0.1,
        (AGAINST,),
    ),
    Claim(
        "... and k-Borda",
        "k-Borda, quota, 50",
        "SNTV, quota, 1,000",
        QUALITY,
        0.1,
        (AGAINST,),
    ),
    Claim(
        "More rankings do not replace the quota: k-Borda with it from 50 beats k-Borda without it"
        " from 1,000",
        "k-Borda, quota, 50",
        "k-Borda, 1,000",
        QUALITY,
        tasks=(AGAINST,),
    ),
    *for_each(
        ("Bloc", "k-Borda"),
        Claim(
            "By Hoeffding's estimate {} needs fewer rankings than SNTV for the group's cut",
            "{}",
            "SNTV",
            NEEDED,
        ),
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


@dataclass(frozen=True)
class World:
    """Qualities of the items, half of which are of a disadvantaged group."""

    quality: NDArray[np.float64]
    rng: np.random.Generator

    @property
    def groups(self) -> dict[str, str]:
        """Item -> its group."""
        half = ITEMS // 2
        names = [f"item {k:02d}" for k in range(ITEMS)]
        return dict.fromkeys(names[:half], "favoured") | dict.fromkeys(names[half:], GROUP)

    def draw(self, n: int, theta: float) -> Rankings:
        """So many rankings; utilities of the disadvantaged lose by the factor ``theta``."""
        seen = self.quality + SIGMA * self.rng.standard_normal((n, ITEMS))
        biased = np.where(seen > 0, seen * theta, seen / theta)
        seen[:, ITEMS // 2 :] = biased[:, ITEMS // 2 :]
        return Rankings.of_scores(seen, list(self.groups))


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is one world (qualities and rankings drawn anew)."""
    seeds, fresh, numbers = {
        "smoke": (2, 200, (50, 1000)),
        "small": (60, 2000, NUMBERS),
        "full": (100, 5000, (*NUMBERS, 10_000)),
    }[scale]
    rows: list[Row] = []
    for r in range(seeds):
        rng = np.random.default_rng([seed, r])
        world = World(rng.uniform(size=ITEMS), rng)
        truth = world.draw(fresh, 1.0)
        best = {}
        for rule, code in RULES.items():
            best[rule] = select(truth, SEATS, rule=code, method="greedy").score
        for n in numbers:
            report(f"world {r + 1} of {seeds}, {n:,} rankings")
            biased, unbiased = world.draw(n, THETA), world.draw(n, 1.0)
            found = _qualities(biased, truth, best, world.groups)
            unbiased_found = _qualities(unbiased, truth, best, world.groups)
            for method, value in found.items():
                rows.append((method, f"{n:,} rankings", QUALITY, r, value))
                if n == 1000 or (n == 50 and "quota" in method):
                    rows.append((f"{method}, {n:,}", AGAINST, QUALITY, r, value))
            rows += by_method(f"{n:,} unbiased rankings", QUALITY, r, unbiased_found)
        rows += by_method(f"{n:,} rankings", NEEDED, r, _needed(biased, world.groups))
    return scores_of(rows, lower_is_better=[NEEDED])


def _needed(seen: Rankings, groups: dict[str, str]) -> dict[str, float]:
    """What the estimate says each modular rule needs; without any gap a billion of billions."""
    needed = {}
    for rule in ("SNTV", "Bloc", "k-Borda"):
        found = required_rankings(
            seen, SEATS, rule=RULES[rule], groups=groups, quota={GROUP: QUOTA}
        )
        needed[rule] = float(np.log10(min(max(found[GROUP], 1.0), 1e18)))
    return needed


def _qualities(
    seen: Rankings, truth: Rankings, best: dict[str, float], groups: dict[str, str]
) -> dict[str, float]:
    """Committees of each rule, with and without the quota, over the best possible."""
    quota: dict[str, Any] = {"groups": groups, "at_least": {GROUP: QUOTA}}
    qualities = {}
    for rule, code in RULES.items():
        for method, limits in ((rule, {}), (f"{rule}, quota", quota)):
            chosen = select(seen, SEATS, rule=code, method="greedy", **limits)
            qualities[method] = committee_score(truth, chosen.members, code) / best[rule]
    return qualities
