"""RoboArena: robot policies ranked by distributed pairwise comparisons.

Atreya et al. (2025), "RoboArena: Distributed Real-World Evaluation of Generalist Robot Policies",
arXiv 2506.18123.

**The claim**: many blind pairwise comparisons on freely chosen tasks, put together by a task-aware
rating model, rank policies more accurately than the usual mean score of one evaluation site with
few tasks.

**What is done here**: on 737 real comparisons among seven policies (August 2025 dump), the oracle
is each policy's mean progress over the 599 trials that ran all seven. Orders from a budget of 2K
policy runs are compared with it: K random preferences under Davidson's model; the mean progress of
2K/7 complete trials drawn from all; and the same number drawn from one narrow site, stood for by 15
random trials. The task-aware mixture (exact gradients, normalised; as published) is compared with
Davidson's model on resamples of all preferences. Differences from the paper: the dump holds no task
labels or sites, so sites are simulated; the published training loop, whose gradients are not those
of its own model, is not used. Pearson's correlation rests on one policy that is far worse than the
rest; the mean maximum rank violation (MMRV) does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from policyrank.board import Leaderboard
from policyrank.evidence import Comparisons, Scores, datasets
from policyrank.metrics import kendall_tau, mmrv, pearson
from policyrank.ranking import bradley_terry, task_mixture
from policyrank.studies.claims import Claim, Unit
from policyrank.studies.frame import Report, Row, Scale, by_metric, quiet, scores_of

TITLE = "RoboArena"
PAPER = "arXiv 2506.18123"
ABOUT = "distributed preferences against one site's averages for robot policies"
PEARSON, VIOLATION, TAU = "Pearson's r with the oracle", "MMRV", "Kendall's tau with the oracle"
BUDGETS = (25, 100, 400)
AT = tuple(f"{2 * k} policy runs" for k in BUDGETS)
ALL = ("all preferences, resampled",)

UNIT = Unit("resample of trials", "resample")
CLAIMS = (
    Claim(
        "Distributed preferences correlate better with the oracle than one site's mean progress",
        "davidson",
        "one site",
        PEARSON,
        tasks=AT,
    ),
    Claim(
        "Distributed preferences violate the oracle's order less than one site's mean progress",
        "davidson",
        "one site",
        VIOLATION,
        tasks=AT,
    ),
    Claim(
        "Preferences beat the mean progress of diverse trials at the same number of runs",
        "davidson",
        "diverse trials",
        VIOLATION,
        tasks=AT,
    ),
    Claim(
        "The task-aware mixture orders better than Davidson's model",
        "task-aware mixture",
        "davidson",
        TAU,
        tasks=ALL,
    ),
    Claim(
        "The mixture, not normalised orders better than Davidson's model",
        "mixture, not normalised",
        "davidson",
        TAU,
        tasks=ALL,
    ),
    Claim(
        "The mixture, not normalised gains by its buckets (against one bucket)",
        "mixture, not normalised",
        "one bucket",
        TAU,
        tasks=ALL,
    ),
)


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is one resample."""
    draws, mixtures, buckets = {
        "smoke": (3, 1, 3),
        "small": (200, 40, 20),
        "full": (1000, 100, 100),
    }[scale]
    rng = np.random.default_rng(seed)
    progress = datasets.load("roboarena-progress")
    assert isinstance(progress, Scores)
    table = progress.table()
    trials = table[~np.isnan(table).any(axis=1)]
    oracle, policies = trials.mean(axis=0), progress.policies
    everything = datasets.load("roboarena")
    assert isinstance(everything, Comparisons)
    preferences = everything.filter(policies=policies)
    rows: list[Row] = []
    for budget, setting in zip(BUDGETS, AT, strict=True):
        report(f"budget: {setting}")
        count = max(1, round(2 * budget / len(policies)))
        for r in range(draws):
            drawn = preferences.take(rng.integers(len(preferences), size=budget))
            diverse = trials[rng.integers(len(trials), size=count)]
            site = trials[rng.choice(len(trials), size=15, replace=False)]
            narrow = site[rng.integers(len(site), size=count)]
            found = {
                "davidson": _davidson(drawn, policies),
                "diverse trials": diverse.mean(axis=0),
                "one site": narrow.mean(axis=0),
            }
            for method, estimate in found.items():
                rows += by_metric(method, setting, r, _agreement(oracle, estimate))
    for r in range(mixtures):
        report(f"mixtures: resample {r + 1} of {mixtures}")
        drawn = preferences.take(rng.integers(len(preferences), size=len(preferences)))
        found = {"davidson": _davidson(drawn, policies)}
        mixture = partial(task_mixture, drawn, restarts=2, scale="natural", seed=r)
        for name, number, normalise in (
            ("task-aware mixture", buckets, True),
            ("mixture, not normalised", buckets, False),
            ("one bucket", 1, False),
        ):
            found[name] = _rated(mixture(buckets=number, normalise=normalise), policies)
        for method, estimate in found.items():
            rows += by_metric(method, ALL[0], r, _agreement(oracle, estimate))
    return scores_of(rows, lower_is_better=[VIOLATION])


def _davidson(preferences: Comparisons, policies: Sequence[str]) -> NDArray[np.float64]:
    board = bradley_terry(preferences, ties="davidson", interval="none", scale="natural")
    return _rated(board, policies)


def _rated(board: Leaderboard, policies: Sequence[str]) -> NDArray[np.float64]:
    """Ratings in the oracle's order; a policy that a small draw misses gets the mean."""
    ratings = dict.fromkeys(policies, board.rating.mean())
    ratings.update(zip(board.policies, board.rating, strict=True))
    return np.array([ratings[policy] for policy in policies])


def _agreement(oracle: NDArray[np.float64], estimate: NDArray[np.float64]) -> dict[str, float]:
    """With the oracle, by metric; 0 where there is none."""
    values = {
        PEARSON: pearson(oracle, estimate),
        VIOLATION: mmrv(oracle, estimate),
        TAU: kendall_tau(oracle, estimate),
    }
    return {metric: float(np.nan_to_num(value)) for metric, value in values.items()}
