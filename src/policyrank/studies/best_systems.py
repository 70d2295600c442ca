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

import numpy as np
from numpy.typing import NDArray

from policyrank.evidence import Labels, Rankings, Scores, datasets
from policyrank.metrics import kendall_tau
from policyrank.ranking.consensus import kemeny_cost, kemeny_order
from policyrank.ranking.voting import group_points
from policyrank.studies.frame import Claim, Report, Scale, quiet

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
INSTANCE_SETS = ("tac08", "tac09", "tac11", "realsumm", "summeval")

CLAIMS = (
    Claim(
        "Borda keeps its order better than the mean when tasks are left out",
        "borda",
        "mean",
        TAU,
        tasks=tuple(f"{d}, {f:.0%} of tasks" for d in TASK_SETS for f in (0.25, 0.5, 0.75)),
    ),
    Claim(
        "Two-level Borda keeps its order better than the mean when two thirds of the metrics are"
        " left out",
        "two-level",
        "mean",
        TAU,
        tasks=tuple(f"{d}, a third of metrics" for d in INSTANCE_SETS),
    ),
    Claim(
        "Two-level Borda keeps its order better than the mean on a tenth of the instances",
        "two-level",
        "mean",
        TAU,
        tasks=tuple(f"{d}, a tenth of instances" for d in INSTANCE_SETS),
    ),
    Claim(
        "Two-level Borda beats one-level Borda on clean data",
        "two-level",
        "borda",
        TAU,
        tasks=tuple(
            f"{d}, {w}"
            for d in INSTANCE_SETS
            for w in ("a third of metrics", "a tenth of instances")
        ),
    ),
    Claim(
        "Two-level Borda is closer to the truth than one-level Borda when metrics are reversed",
        "two-level",
        "borda",
        ERROR,
        tasks=tuple(
            f"phi {phi}, {c} of 11 metrics reversed" for phi in (0.1, 0.5) for c in (1, 2, 3, 5)
        ),
    ),
    Claim(
        "Borda disagrees with fewer votes than the mean's order (against Kemeny's optimum)",
        "borda",
        "mean",
        COST,
    ),
)


def ranks(values: Float) -> Float:
    """Points of each system in each row: others beaten, ties half; NaN takes no part."""
    above = (values[..., None] > values[..., None, :]) + 0.5 * (
        values[..., None] == values[..., None, :]
    )
    return above.sum(axis=-1) - 0.5


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
    rows: list[tuple[str, str, str, int, float]] = []

    def subsample(
        name: str,
        what: str,
        cube: Float,
        axis: int,
        size: int,
        times: int,
        methods: tuple[str, ...],
    ) -> None:
        full = {m: METHODS[m](cube) for m in methods}
        for r in range(times):
            part = np.take(
                cube, rng.choice(cube.shape[axis], size=max(1, size), replace=False), axis=axis
            )
            rows.extend(
                (m, f"{name}, {what}", TAU, r, kendall_tau(METHODS[m](part), full[m]))
                for m in methods
            )

    for name in TASK_SETS:
        report(f"{name}: parts of the tasks")
        cube = datasets.load(name).cube()
        for fraction in (0.25, 0.5, 0.75):
            subsample(
                name,
                f"{fraction:.0%} of tasks",
                cube,
                0,
                round(fraction * len(cube)),
                draws,
                ("mean", "borda"),
            )
    for name in INSTANCE_SETS:
        report(f"{name}: parts of the metrics and instances")
        scores = datasets.load(name)
        cube = scores.cube()[[i for i, c in enumerate(scores.columns) if not c.startswith("H:")]]
        some = max(2, draws // 10)
        subsample(name, "a third of metrics", cube, 0, len(cube) // 3, some, tuple(METHODS))
        subsample(name, "a tenth of instances", cube, 2, cube.shape[2] // 10, some, tuple(METHODS))
    for phi in (0.1, 0.5):
        report(f"reversed metrics, phi {phi}")
        for reversed_metrics in (0, 1, 2, 3, 5):
            for r in range(repeats):
                for method, error in _corrupted(phi, reversed_metrics, rng).items():
                    rows.append(
                        (
                            method,
                            f"phi {phi}, {reversed_metrics} of 11 metrics reversed",
                            ERROR,
                            r,
                            error,
                        )
                    )
    for name in TASK_SETS:
        report(f"{name}: Kemeny's optimum")
        scores = datasets.load(name)
        votes = scores.to_rankings()
        wins = votes.preferences(ties=0.0)
        optimum = kemeny_order(wins, time_limit=60)
        for method, rating in (("mean", mean(scores.cube())), ("borda", borda(scores.cube()))):
            cost = kemeny_cost(wins, np.argsort(-rating, kind="stable"))
            rows.append(
                (method, f"{name}, {len(wins)} systems", COST, 0, 100 * (cost / optimum.cost - 1))
            )
    methods, tasks, metrics, replicates, values = zip(*rows, strict=True)
    return Scores.of(
        methods,
        tasks,
        values,
        metric=metrics,
        replicate=replicates,
        lower_is_better=frozenset({ERROR, COST}),
    )


def _corrupted(
    phi: float,
    reversed_metrics: int,
    rng: np.random.Generator,
    systems: int = 10,
    metrics: int = 11,
    instances: int = 12,
) -> dict[str, float]:
    """Normalised Kendall distance from the truth with Plackett-Luce votes of weights exp(phi
    (systems - i)).

    Every instance of a reversed metric shows exactly the reversed order: low noise, wrong
    direction.
    """
    utility = phi * np.arange(systems, 0, -1)
    scores = utility + rng.gumbel(size=(metrics, instances, systems))
    scores[:reversed_metrics] = -np.arange(systems, 0, -1)
    votes = Rankings.of_scores(scores.reshape(-1, systems), [f"s{i:02d}" for i in range(systems)])
    grouped = Rankings.of_scores(
        scores.reshape(-1, systems),
        votes.policies,
        group=Labels.of(np.repeat([f"m{m:02d}" for m in range(metrics)], instances).tolist()),
    )
    one = votes.preferences().sum(axis=1)
    two = ranks(group_points(grouped)).sum(axis=0)
    return {
        name: (1 - kendall_tau(rating, utility)) / 2
        for name, rating in (("borda", one), ("two-level", two))
    }
