"""Do the intervals cover? Ratings, means and rank sets on simulated evidence of every kind.

Mogstad, Romano, Shaikh and Wilhelm (2024), "Inference for Ranks", Review of Economic Studies 91(1),
on sets for ranks; Bell and McCaffrey (2002) and Pustejovsky and Tipton (2018) on few and unequal
clusters. The intervals of means within bounds are this library's own.

**The claim**: a 95% interval holds the true value in at least 93 of 100 data sets, and a board
calls one of two equal policies better in at most 6 of 100: with few battles, ballots, raters and
tasks, with ties, unequal sampling, raters of very unequal size, scores within bounds, and at other
levels.

**What is done here**: each setting has a fixed truth; data sets are drawn from it and the board is
computed as a user would, beside what users could do instead (comparisons taken as independent, the
bootstrap, exact intervals). A replicate is one data set. *intervals that cover* is the share of the
policies whose interval holds the truth; *the worst policy* is the coverage of the one that is
covered least; *a false "better"*: some policy is called better than one that is at least as good;
*rank sets cover together*: all true ranks lie in their sets; *the best is named*: the best policy
(of several the share of them) is among those that may be the best; *policies without an interval*
claim nothing. Raters have tastes of their own: there the truth is what Bradley-Terry fits to win
rates averaged over them.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyrank.board import Leaderboard
from policyrank.evidence import Comparisons, Rankings, Scores
from policyrank.ranking import aggregate, rank
from policyrank.studies.claims import Claim, Unit
from policyrank.studies.coverage_draws import (
    PASS,
    ballots,
    battles,
    beta_scores,
    beta_truth,
    borda_truth,
    documents,
    in_order,
    pass_scores,
    pooled,
    rare_failures,
    runs,
    spread,
    table_scores,
    unequal_raters,
)
from policyrank.studies.frame import Report, Row, Scale, quiet, scores_of

TITLE = "Coverage"
PAPER = ""
ABOUT = "coverage of our own intervals and rank sets on simulated evidence of every kind"
COVER, WORST, FALSE = "intervals that cover", "coverage of the worst policy", 'a false "better"'
RANKS, BEST = "rank sets cover together", "the best is named"
LEAST, WRONG = "coverage in the worst setting", 'a false "better" in the worst setting'
SIZE, NONE = "mean size of a rank set", "policies without an interval"

MOST_SETTINGS = 60
"""All are listed on the page."""

Float = NDArray[np.float64]
Draw = Callable[[np.random.Generator], Any]


@dataclass(frozen=True, eq=False)
class Setting:
    """What is drawn, and what is true.

    Attributes
    ----------
    draw
        generator -> evidence
    truth
        (policies,) that orders them; ``value``: method -> what its rating estimates (in log-odds,
        points or means), where intervals are judged
    methods
        name -> options of ``rank`` (``method`` among them); the first is the default
    level
        of the intervals
    """

    draw: Draw
    truth: Float
    methods: dict[str, dict[str, Any]]
    value: dict[str, Float] = field(default_factory=dict)
    level: float = 0.95


NATURAL: dict[str, Any] = {"method": "bradley-terry", "scale": "natural"}
DAVIDSON: dict[str, Any] = {"method": "davidson", "scale": "natural"}
APART: dict[str, Any] = {**NATURAL, "cluster": "none"}
LUCE: dict[str, Any] = {"method": "plackett-luce", "scale": "natural"}


def _of_battles() -> Iterator[tuple[str, Setting]]:
    for policies, size, nu in (
        (5, 50, 0.0),
        (5, 50, 0.5),
        (10, 200, 0.0),
        (10, 200, 0.5),
        (30, 3000, 0.0),
    ):
        theta = spread(policies, 1.0)
        name = f"{policies} policies, {size:,} battles" + (", ties" if nu else "")
        own = DAVIDSON if nu else NATURAL
        methods = {"default": own, "fisher": {**own, "interval": "fisher"}}
        if size < 3000:
            methods["bootstrap"] = {**own, "interval": "bootstrap", "resamples": 200}
        draw = partial(battles, theta=theta, size=size, nu=nu)
        yield name, Setting(draw, theta, methods, dict.fromkeys(methods, theta))
    theta = spread(10, 1.0)
    weight = 1 / np.arange(1, 11)
    draw = partial(battles, theta=theta, size=600, popularity=(weight / weight.sum())[::-1])
    methods = {"default": NATURAL}
    yield (
        "10 policies, 600 battles, unequal sampling",
        Setting(draw, theta, methods, {"default": theta}),
    )
    draw = partial(battles, theta=np.zeros(10), size=200)
    yield (
        "10 equal policies, 200 battles",
        Setting(draw, np.zeros(10), methods, {"default": np.zeros(10)}),
    )


def _of_raters() -> Iterator[tuple[str, Setting]]:
    for policies, raters, each, alpha, taste, sd in (
        (5, 5, 30, 0.3, 0.7, 0.0),
        (5, 10, 30, 0.3, 0.7, 0.0),
        (5, 30, 30, 0.3, 0.7, 0.0),
        (5, 10, 30, np.inf, 0.7, 1.0),
        (8, 15, 40, 0.5, 1.0, 1.0),
        (4, 7, 60, 1.0, 0.4, 0.5),
    ):
        sizes = "equal" if np.isinf(alpha) else f"Dirichlet({alpha:g})"
        name = f"{policies} policies, {raters} raters {sizes}, tastes {taste:g}, spread {sd:g}"
        truth = np.array(pooled(sd, policies, taste))
        draw = partial(
            unequal_raters,
            theta=spread(policies, sd),
            raters=raters,
            each=each,
            alpha=alpha,
            taste=taste,
        )
        methods = {"default": NATURAL, "independent": APART}
        yield name, Setting(draw, truth, methods, dict.fromkeys(methods, truth))


def _of_ballots() -> Iterator[tuple[str, Setting]]:
    for policies, size, law, step in (
        (5, 3, "gumbel", 0.0),
        (5, 5, "gumbel", 0.0),
        (5, 10, "gumbel", 0.0),
        (5, 10, "gumbel", 0.5),
        (5, 30, "gumbel", 0.5),
        (10, 30, "gumbel", 0.0),
        (6, 20, "rounded", 0.5),
        (4, 8, "normal", 0.8),
    ):
        utility = step * np.arange(policies - 1, -1, -1, dtype=np.float64)
        points = np.array(borda_truth(tuple(utility), law))
        methods: dict[str, dict[str, Any]] = {"borda": {"method": "borda"}}
        value = {"borda": points}
        if law == "gumbel":
            methods |= {"plackett-luce": LUCE, "bradley-terry": NATURAL, "pairs apart": APART}
            centred = utility - utility.mean()
            value |= dict.fromkeys(("plackett-luce", "bradley-terry", "pairs apart"), centred)
        methods |= {"copeland": {"method": "copeland", "resamples": 20}}
        methods |= {"kemeny": {"method": "kemeny", "resamples": 20}}
        methods |= {"plurality": {"method": "plurality"}}
        name = f"{size} ballots of {policies}, {law}, steps of {step:g}"
        draw = partial(ballots, utility=utility, size=size, law=law)
        yield name, Setting(draw, points.round(3), methods, value)


def _of_means() -> Iterator[tuple[str, Setting]]:
    laws: tuple[tuple[str, Any, Float], ...] = (
        ("graded", beta_scores, np.array(beta_truth())),
        ("pass or fail", pass_scores, PASS),
        ("rare failures", rare_failures, np.full(3, 0.855)),
    )
    both = {"default": {"method": "mean"}, "exact": {"method": "mean", "interval": "exact"}}
    for law, function, truth in laws:
        for tasks in (3, 5, 10, 30):
            draw = partial(table_scores, tasks=tasks, law=function)
            yield f"{tasks} tasks, {law}", Setting(draw, truth, both, dict.fromkeys(both, truth))
    mean = {"default": {"method": "mean"}}
    for number, alpha in ((5, 1.0), (10, 0.3), (30, 0.3)):
        truth = np.array([0.5, 0.5, 0.8])
        draw = partial(documents, number=number, alpha=alpha)
        name = f"{number} documents, Dirichlet({alpha:g}), 20 questions each"
        yield name, Setting(draw, truth, mean, {"default": truth})
    truth = np.array([0.5, 0.0, 0.0])
    seeds = mean | {"bootstrap": {"method": "mean", "interval": "bootstrap", "resamples": 200}}
    for number in (3, 10):
        draw = partial(runs, tasks=6, number=number)
        name = f"6 tasks of unequal noise, {number} seeds"
        yield name, Setting(draw, truth, seeds, dict.fromkeys(seeds, truth))


def _of_levels() -> Iterator[tuple[str, Setting]]:
    theta = spread(10, 1.0)
    truth = np.array(pooled(0.0, 5, 0.7))
    points = np.array(borda_truth((0.0,) * 5, "gumbel"))
    graded = np.array(beta_truth())
    for level in (0.8, 0.99):
        said = f", level {level:g}"
        yield (
            "10 policies, 200 battles" + said,
            Setting(
                partial(battles, theta=theta, size=200),
                theta,
                {"default": NATURAL},
                {"default": theta},
                level,
            ),
        )
        yield (
            "5 policies, 10 raters Dirichlet(0.3)" + said,
            Setting(
                partial(
                    unequal_raters, theta=np.zeros(5), raters=10, each=30, alpha=0.3, taste=0.7
                ),
                truth,
                {"default": NATURAL},
                {"default": truth},
                level,
            ),
        )
        yield (
            "10 ballots of 5, equal" + said,
            Setting(
                partial(ballots, utility=np.zeros(5), size=10, law="gumbel"),
                points.round(3),
                {"borda": {"method": "borda"}, "copeland": {"method": "copeland", "resamples": 20}},
                {"borda": points},
                level,
            ),
        )
        yield (
            "10 tasks, graded" + said,
            Setting(
                partial(table_scores, tasks=10, law=beta_scores),
                graded,
                {"default": {"method": "mean"}},
                {"default": graded},
                level,
            ),
        )


@cache
def settings() -> dict[str, Setting]:
    """All of them by name."""
    parts = (_of_battles, _of_raters, _of_ballots, _of_means, _of_levels)
    return {name: setting for part in parts for name, setting in part()}


def _named(part: Callable[[], Iterator[tuple[str, Setting]]]) -> tuple[str, ...]:
    return tuple(name for name, _ in part())


_MARGIN, _ALLOWED = -0.02, -0.01
"""Coverage of 93% where 95% is nominal counts; false claims of 6% where 5% is."""


def _claims() -> Iterator[Claim]:
    battle, rater, ballot = _named(_of_battles), _named(_of_raters), _named(_of_ballots)
    mean, level = _named(_of_means), _named(_of_levels)
    gumbel = tuple(name for name in ballot if "gumbel" in name)
    plain = tuple(name for name in mean if "rare" not in name)
    rare = tuple(name for name in mean if "rare" in name)
    for text, method, tasks in (
        ("Ratings of independent battles cover", "default", battle),
        ("Ratings of few and unequal raters cover", "default", rater),
        ("The same, battles taken as independent, cover", "independent", rater),
        ("Borda of few ballots covers", "borda", ballot),
        ("Plackett-Luce of few ballots covers", "plackett-luce", gumbel),
        ("Bradley-Terry of pairs of ballots covers", "bradley-terry", gumbel),
        ("The same, pairs taken as independent, covers", "pairs apart", gumbel),
        ("Copeland covers", "copeland", ballot),
        ("Means of few tasks, of documents and of seeds cover", "default", plain),
        ("Means with rare failures cover", "default", rare),
        ("Exact intervals of means with rare failures cover", "exact", rare),
        ("Other levels cover", "default", tuple(name for name in level if "ballots" not in name)),
        ("Borda covers at other levels", "borda", tuple(n for n in level if "ballots" in n)),
    ):
        metric = RANKS if method == "copeland" else COVER
        yield Claim(text, method, "nominal", metric, _MARGIN, tasks, kind="rate")
    for text, method, tasks in (
        ("Independent battles call one of equals better in at most 6%", "default", battle),
        ("Few and unequal raters do so in at most 6%", "default", rater),
        ("The same, battles taken as independent, do", "independent", rater),
        ("Borda does", "borda", ballot),
        ("Plackett-Luce does", "plackett-luce", gumbel),
        ("Bradley-Terry of pairs of ballots does", "bradley-terry", gumbel),
        ("The same, pairs taken as independent, does", "pairs apart", gumbel),
        ("Copeland does", "copeland", ballot),
        ("Kemeny does", "kemeny", ballot),
        ("Plurality does", "plurality", ballot),
        ("Means do", "default", plain),
    ):
        yield Claim(text, method, "nominal", FALSE, _ALLOWED, tasks, kind="rate")


UNIT = Unit("data set")
CONSTANTS = ("nominal",)
CLAIMS = tuple(_claims())


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is one simulated data set."""
    number = {"smoke": 3, "small": 1000, "full": 10_000}[scale]
    names = list(settings())
    jobs = [(name, k, number, seed) for k, name in enumerate(names)]
    rows: list[Row] = []
    if scale == "smoke":
        for job in jobs:
            rows += _measured(job)
        return scores_of([*rows, *_worst(rows)], lower_is_better=LOWER)
    # Forked processes would wait for ever for the threads of polars.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=spawn) as pool:
        for name, found in zip(names, pool.map(_measured, jobs), strict=True):
            report(f"{name}: {number:,} data sets")
            rows += found
    return scores_of([*rows, *_worst(rows)], lower_is_better=LOWER)


LOWER = (FALSE, SIZE, NONE, WRONG)


def _worst(rows: list[Row]) -> Iterator[Row]:
    """Each method's least coverage and most false claims over the settings at level .95."""
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for method, setting, metric, _, value in rows:
        if metric in (COVER, FALSE) and settings()[setting].level == 0.95:
            found.setdefault((method, metric), {}).setdefault(setting, []).append(value)
    for (method, metric), by_setting in found.items():
        means = [float(np.mean(values)) for values in by_setting.values()]
        if metric == COVER:
            yield method, "all settings", LEAST, 0, min(means)
        else:
            yield method, "all settings", WRONG, 0, max(means)


def _measured(job: tuple[str, int, int, int]) -> list[Row]:
    """All data sets of one setting."""
    name, place, number, seed = job
    setting = settings()[name]
    rows: list[Row] = []
    held: dict[str, list[Float]] = {}
    for r in range(number):
        rng = np.random.default_rng([seed, place, r])
        evidence = setting.draw(rng)
        for method, options in setting.methods.items():
            board = _board(evidence, options, setting.level, r)
            found = _judged(board, setting, method)
            covers = found.pop("covers")
            if covers is not None:
                held.setdefault(method, []).append(covers)
                rows.append((method, name, COVER, r, float(covers.mean())))
            rows += [(method, name, metric, r, value) for metric, value in found.items()]
        for metric in (COVER, RANKS, BEST):
            rows.append(("nominal", name, metric, r, setting.level))
        rows.append(("nominal", name, FALSE, r, 1 - setting.level))
    for method, covers in held.items():
        rows.append((method, name, WORST, 0, float(np.mean(covers, axis=0).min())))
    return rows


def _board(evidence: Any, options: dict[str, Any], level: float, seed: int) -> Leaderboard:
    """The board as a user would make it."""
    method = options["method"]
    if isinstance(evidence, Rankings) and method == "bradley-terry":
        evidence = Comparisons.of_rankings(evidence)
    if method == "mean":
        rest = {k: v for k, v in options.items() if k != "method"}
        return aggregate(evidence, level=level, seed=seed, **rest)
    return rank(evidence, level=level, seed=seed, **options)


def _judged(board: Leaderboard, setting: Setting, method: str) -> dict[str, Any]:
    """Whether intervals hold the truth of each policy, and what the sets say."""
    truth = setting.truth
    found: dict[str, Any] = {"covers": None}
    if method in setting.value:
        value = setting.value[method]
        low, high = in_order(board, board.lower), in_order(board, board.upper)
        # Where a board gives no interval it claims nothing: counted apart.
        missed = (value < low - 1e-9) | (value > high + 1e-9)
        found["covers"] = (~missed).astype(float)
        found[NONE] = float(np.isnan(low).mean())
    if board.better is None or board.rank_lower is None or board.rank_upper is None:
        return {**found, FALSE: 0.0, RANKS: 1.0, BEST: 1.0, SIZE: float(len(truth))}
    place = np.argsort(board.policies)
    better = board.better[np.ix_(place, place)]
    ranks = 1 + (truth > truth[:, None]).sum(axis=1)
    lower, upper = in_order(board, board.rank_lower), in_order(board, board.rank_upper)
    found[FALSE] = float((better & (truth[:, None] <= truth)).any())
    found[RANKS] = float(((lower <= ranks) & (ranks <= upper)).all())
    assert board.best is not None
    found[BEST] = float(in_order(board, board.best)[ranks == 1].mean())
    found[SIZE] = float((upper - lower + 1).mean())
    return found
