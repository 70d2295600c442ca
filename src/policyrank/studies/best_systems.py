"""Best systems: rank aggregation instead of the mean score.

Colombo, Noiry, Irurozki and Clémençon (2022), "What are the best systems? New perspectives on NLP
benchmarking", arXiv 2202.03799.

**The claim**: ordering systems by Borda's rank aggregation is more reliable than ordering them by
their mean score, and with instance-level scores a two-level aggregation (first inside each task,
then over tasks) is best.

**What is done here**: on the paper's own tables, an order computed from a part of the tasks
(metrics, instances) is compared by Kendall's tau with the order that the same method gives on all
of them; and on synthetic data, metrics are replaced by the reversed order and the distance to the
true order is measured. Differences from the paper: ties get average ranks (the released code breaks
them by row order, which favours the rows as sorted by their mean), the leaderboard's own mean is
not counted as one more task, and the swapped id columns of the instance-level files are put right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from policyrank.evidence import Labels, Rankings, Scores, datasets
from policyrank.metrics import kendall_tau
from policyrank.ranking.consensus import kemeny_order
from policyrank.ranking.kemeny_search import kemeny_cost
from policyrank.ranking.voting import group_points
from policyrank.studies.claims import Claim, Unit
from policyrank.studies.frame import Report, Row, Scale, by_method, quiet, scores_of

TITLE = "Best systems"
PAPER = "arXiv 2202.03799"
ABOUT = "rank aggregation against the mean score on NLP benchmarks"
Float = NDArray[np.float64]
TAU, ERROR, COST = (
    "tau with the full ranking",
    "distance from the true order",
    "disagreements above the optimum (%)",
)
TASK_SETS = ("glue", "superglue", "xtreme")
INSTANCE_SETS = (
    *("tac08", "tac09", "tac11", "realsumm", "summeval"),
    *("personachat", "topicalchat", "flickr", "mlqe"),
)

FRACTIONS, PHI, REVERSED = (0.25, 0.5, 0.75), (0.1, 0.5), (1, 2, 3, 5)
METRICS, INSTANCES = "a third of metrics", "a tenth of instances"


def _over(pattern: str, *values: Iterable[object]) -> tuple[str, ...]:
    """The setting that each combination of values makes."""
    return tuple(pattern.format(*chosen) for chosen in product(*values))


REVERSALS = "phi {}, {} of 11 metrics reversed"
UNIT = Unit("data set", "task", of=lambda task: task.partition(",")[0])
CLAIMS = (
    Claim(
        "Borda keeps its order better than the mean when tasks are left out",
        "borda",
        "mean",
        TAU,
        tasks=_over("{}, {:.0%} of tasks", TASK_SETS, FRACTIONS),
    ),
    Claim(
        "Two-level Borda keeps its order better than the mean when two thirds of the metrics are"
        " left out",
        "two-level",
        "mean",
        TAU,
        tasks=_over("{}, {}", INSTANCE_SETS, [METRICS]),
    ),
    Claim(
        "Two-level Borda keeps its order better than the mean on a tenth of the instances",
        "two-level",
        "mean",
        TAU,
        tasks=_over("{}, {}", INSTANCE_SETS, [INSTANCES]),
    ),
    Claim(
        "Two-level Borda beats one-level Borda on clean data",
        "two-level",
        "borda",
        TAU,
        tasks=_over("{}, {}", INSTANCE_SETS, [METRICS, INSTANCES]),
    ),
    Claim(
        "Two-level Borda is closer to the truth than one-level Borda when metrics are reversed",
        "two-level",
        "borda",
        ERROR,
        tasks=_over(REVERSALS, PHI, REVERSED),
        unit=Unit("draw of votes"),
    ),
    Claim(
        "Borda disagrees with fewer votes than the mean's order (against Kemeny's optimum)",
        "borda",
        "mean",
        COST,
    ),
)


def ranks(values: Float) -> Float:
    """Points of each system in each row: others beaten, ties half; NaN has none and gives none."""
    own, other = values[..., None], values[..., None, :]
    points = (own > other) + 0.5 * (own == other)
    return np.where(np.isnan(values), 0.0, points.sum(axis=-1) - 0.5)


def mean(cube: Float) -> Float:
    """Mean over tasks of the mean over instances: (tasks, systems, instances) -> (systems,)."""
    return np.nanmean(np.nanmean(cube, axis=2), axis=0)


def borda(cube: Float) -> Float:
    """Borda over all (task, instance) rankings."""
    return ranks(np.swapaxes(cube, 1, 2)).sum(axis=(0, 1))


def two_level(cube: Float) -> Float:
    """Borda inside each task, then over the tasks' rankings."""
    return ranks(ranks(np.swapaxes(cube, 1, 2)).sum(axis=1)).sum(axis=0)


METHODS = {"mean": mean, "borda": borda, "two-level": two_level}


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is one draw of tasks, metrics, instances or synthetic votes."""
    draws, repeats = {"smoke": (3, 2), "small": (300, 20), "full": (2000, 200)}[scale]
    rng = np.random.default_rng(seed)
    rows = list(_parts(draws, rng, report))
    for phi in PHI:
        report(f"reversed metrics, phi {phi}")
        for number in (0, *REVERSED):
            for r in range(repeats):
                errors = _corrupted(phi, number, rng)
                rows += by_method(REVERSALS.format(phi, number), ERROR, r, errors)
    for name in TASK_SETS:
        report(f"{name}: Kemeny's optimum")
        rows += _above_optimum(name)
    return scores_of(rows, lower_is_better=[ERROR, COST])


def _parts(draws: int, rng: np.random.Generator, report: Report) -> Iterator[Row]:
    """Orders on parts of the tasks, metrics and instances."""
    for name in TASK_SETS:
        report(f"{name}: parts of the tasks")
        cube = datasets.load(name).cube()
        for fraction in FRACTIONS:
            setting, size = f"{name}, {fraction:.0%} of tasks", round(fraction * len(cube))
            yield from _subsampled(setting, cube, 0, size, draws, ("mean", "borda"), rng)
    for name in INSTANCE_SETS:
        report(f"{name}: parts of the metrics and instances")
        scores = datasets.load(name)
        automatic = [i for i, c in enumerate(scores.columns) if not c.startswith("H:")]
        cube = scores.cube()[automatic]
        some, methods = max(2, draws // 10), tuple(METHODS)
        tenth = cube.shape[2] // 10
        yield from _subsampled(f"{name}, {METRICS}", cube, 0, len(cube) // 3, some, methods, rng)
        yield from _subsampled(f"{name}, {INSTANCES}", cube, 2, tenth, some, methods, rng)


def _subsampled(
    setting: str,
    cube: Float,
    axis: int,
    size: int,
    times: int,
    methods: tuple[str, ...],
    rng: np.random.Generator,
) -> Iterator[Row]:
    """How each method's order on ``size`` slices agrees with its own on all of them."""
    full = {method: METHODS[method](cube) for method in methods}
    for r in range(times):
        chosen = rng.choice(cube.shape[axis], size=max(1, size), replace=False)
        part = np.take(cube, chosen, axis=axis)
        for method in methods:
            yield method, setting, TAU, r, kendall_tau(METHODS[method](part), full[method])


def _above_optimum(name: str) -> Iterator[Row]:
    """How many more votes an order disagrees with than Kemeny's does, in percent."""
    scores = datasets.load(name)
    wins = scores.to_rankings().preferences(ties=0.0)
    optimum = kemeny_order(wins, time_limit=60)
    for method in ("mean", "borda"):
        rating = METHODS[method](scores.cube())
        cost = kemeny_cost(wins, np.argsort(-rating, kind="stable"))
        yield method, f"{name}, {len(wins)} systems", COST, 0, 100 * (cost / optimum.cost - 1)


def _corrupted(
    phi: float,
    reversed_metrics: int,
    rng: np.random.Generator,
    systems: int = 10,
    metrics: int = 11,
    instances: int = 12,
) -> dict[str, float]:
    """Normalised Kendall distance from the truth with Plackett-Luce votes.

    Their weights are exp(phi (systems - i)). Every instance of a reversed metric shows exactly the
    reversed order: low noise, wrong direction.
    """
    utility = phi * np.arange(systems, 0, -1)
    scores = utility + rng.gumbel(size=(metrics, instances, systems))
    scores[:reversed_metrics] = -np.arange(systems, 0, -1)
    flat, names = scores.reshape(-1, systems), [f"s{i:02d}" for i in range(systems)]
    votes = Rankings.of_scores(flat, names)
    metric = np.repeat(np.char.mod("m%02d", np.arange(metrics)), instances)
    grouped = Rankings.of_scores(flat, names, group=Labels.of(metric.tolist()))
    ratings = {
        "borda": votes.preferences().sum(axis=1),
        "two-level": ranks(group_points(grouped)).sum(axis=0),
    }
    return {name: (1 - kendall_tau(own, utility)) / 2 for name, own in ratings.items()}
