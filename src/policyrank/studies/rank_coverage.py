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
from policyrank.evidence.base import Labels
from policyrank.ranking import aggregate, bradley_terry, rank
from policyrank.studies.frame import Claim, Report, Row, Scale, quiet, scores_of

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


def names_of(policies: int) -> list[str]:
    """p00, p01, ..."""
    return [f"p{k:02d}" for k in range(policies)]


def spread(policies: int, sd: float) -> Float:
    """True ratings: quantiles of a normal with this spread, mean 0."""
    from scipy.special import ndtri

    return np.asarray(sd * ndtri((np.arange(policies, 0, -1) - 0.5) / policies))


def battles(
    rng: np.random.Generator,
    theta: Float,
    *,
    size: int,
    nu: float = 0.0,
    popularity: Float | None = None,
    raters: Float | None = None,
    taste: float = 0.0,
) -> Comparisons:
    """Battles of random pairs, by Bradley-Terry or with Davidson's ties.

    ``popularity``: (policies,) of sampling. ``raters``: (raters,) shares of the battles; each
    shifts every policy by a draw with standard deviation ``taste``.
    """
    n = len(theta)
    chance = np.full(n, 1 / n) if popularity is None else popularity
    i = rng.choice(n, size, p=chance)
    j = (i + rng.integers(1, n, size)) % n
    gap, rater = theta[i] - theta[j], None
    if raters is not None:
        by = rng.choice(len(raters), size, p=raters)
        own = rng.normal(0, taste, (len(raters), n))
        gap = gap + own[by, i] - own[by, j]
        rater = Labels(by.astype(np.int32), tuple(f"r{k}" for k in range(len(raters))))
    win, tie = np.exp(gap / 2), 2 * nu
    u = rng.random(size) * (win + 1 / win + tie)
    outcome = np.where(u < win, 1.0, np.where(u < win + 1 / win, 0.0, 0.5))
    first, second = i.astype(np.int32), j.astype(np.int32)
    return Comparisons(tuple(names_of(n)), first, second, outcome, rater=rater)


def unequal_raters(
    rng: np.random.Generator, theta: Float, *, raters: int, each: int, alpha: float, taste: float
) -> Comparisons:
    """Battles by raters whose shares are Dirichlet(alpha); infinite alpha: equal ones."""
    share = np.full(raters, 1 / raters)
    if np.isfinite(alpha):
        share = rng.dirichlet(np.full(raters, alpha))
    return battles(rng, theta, size=raters * each, raters=share, taste=taste)


@cache
def pooled(sd: float, policies: int, taste: float) -> tuple[float, ...]:
    """What Bradley-Terry estimates when raters differ: fitted to win rates averaged over them."""
    theta = spread(policies, sd)
    z, w = np.polynomial.hermite_e.hermegauss(41)
    gap = theta[:, None] - theta
    shifted = gap[..., None] + taste * np.sqrt(2) * z
    rate = (1 / (1 + np.exp(-shifted)) * w).sum(axis=-1) / w.sum()
    i, j = np.triu_indices(policies, 1)
    first, second = i.astype(np.int32), j.astype(np.int32)
    rates = Comparisons(tuple(names_of(policies)), first, second, rate[i, j])
    board = bradley_terry(rates, scale="natural", interval="none")
    return tuple(in_order(board, board.rating))


def in_order(board: Leaderboard, values: NDArray[Any]) -> Float:
    """Values of a board by the names of the policies."""
    return np.asarray(values[np.argsort(board.policies)], dtype=float)


def ballots(rng: np.random.Generator, utility: Float, *, size: int, law: str) -> Rankings:
    """Complete ballots by utilities with Gumbel or normal noise; "rounded": with ties."""
    noise = rng.gumbel if law == "gumbel" else rng.normal
    found = utility + noise(size=(size, len(utility)))
    if law == "rounded":
        found = np.round(found)
    return Rankings.of_scores(found, names_of(len(utility)))


@cache
def borda_truth(utility: tuple[float, ...], law: str) -> tuple[float, ...]:
    """Expected Borda points, from two million ballots' worth of pairs."""
    n, rng = len(utility), np.random.default_rng(12345)
    total = np.zeros(n)
    for _ in range(20):
        noise = rng.gumbel if law == "gumbel" else rng.normal
        found = np.asarray(utility) + noise(size=(50_000, n))
        if law == "rounded":
            found = np.round(found)
        gap = found[:, :, None] - found[:, None, :]
        total += (0.5 + 0.5 * np.sign(gap)).mean(axis=0).sum(axis=1) - 0.5
    return tuple(total / 20)


def table_scores(
    rng: np.random.Generator, tasks: int, law: Callable[[np.random.Generator, int], Float]
) -> Scores:
    """Scores of a (tasks, policies) table drawn by ``law``."""
    table = law(rng, tasks)
    return Scores.from_table(table, [f"t{k}" for k in range(tasks)], names_of(table.shape[1]))


def beta_scores(rng: np.random.Generator, tasks: int) -> Float:
    """Graded scores with a hard or an easy task for all: means .5, .5, .625, .75."""
    level = rng.normal(0, 0.5, (tasks, 1))
    odds = np.exp(level + np.array([0.0, 0.0, 0.6, 1.3]))
    return np.asarray(rng.beta(4 * odds / (1 + odds), 4 / (1 + odds)))


@cache
def beta_truth() -> tuple[float, ...]:
    """Mean of ``beta_scores``: the logistic averaged over the levels."""
    z, w = np.polynomial.hermite_e.hermegauss(61)
    at = 0.5 * z[:, None] + np.array([0.0, 0.0, 0.6, 1.3])
    return tuple((w[:, None] / (1 + np.exp(-at))).sum(axis=0) / w.sum())


PASS = np.array([0.5, 0.5, 0.9, 0.98])


def pass_scores(rng: np.random.Generator, tasks: int) -> Float:
    """Passes of independent tasks."""
    return (rng.random((tasks, 4)) < PASS).astype(float)


def rare_failures(rng: np.random.Generator, tasks: int) -> Float:
    """0.9, and in one of twenty tasks 0."""
    return np.where(rng.random((tasks, 3)) < 0.05, 0.0, 0.9)


def documents(rng: np.random.Generator, number: int, alpha: float) -> Scores:
    """Pass or fail of questions that share documents, of Dirichlet(alpha) shares, 20 each."""
    share = rng.dirichlet(np.full(number, alpha))
    size = rng.multinomial(20 * number, share)
    document = np.repeat(np.arange(number), size)
    mean = np.array([0.5, 0.5, 0.8])
    # Chances of a document are Beta with correlation 0.2.
    chance = rng.beta(mean * 4, (1 - mean) * 4, (number, 3))[document]
    passed = (rng.random(chance.shape) < chance).astype(float)
    questions = len(document)
    rows = np.arange(questions).repeat(3)
    return Scores(
        Labels(np.tile(np.arange(3, dtype=np.int32), questions), tuple(names_of(3))),
        Labels(rows.astype(np.int32), tuple(f"q{k}" for k in range(questions))),
        passed.ravel(),
        unit=Labels(document[rows].astype(np.int32), tuple(f"d{k}" for k in range(number))),
    )


def runs(rng: np.random.Generator, tasks: int, number: int) -> Scores:
    """Returns of seeds on tasks of very unequal noise, task means known."""
    noise = np.geomspace(0.3, 3, tasks)[:, None, None]
    cube = np.array([0.5, 0.0, 0.0])[None, :, None] + noise * rng.normal(size=(tasks, 3, number))
    t, p, r = np.indices(cube.shape).reshape(3, -1)
    return Scores(
        Labels(p.astype(np.int32), tuple(names_of(3))),
        Labels(t.astype(np.int32), tuple(f"t{k}" for k in range(tasks))),
        cube.ravel(),
        replicate=Labels(r.astype(np.int32), tuple(f"s{k}" for k in range(number))),
    )


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
        yield Claim(text, method, "nominal", metric, _MARGIN, tasks)
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
        yield Claim(text, method, "nominal", FALSE, _ALLOWED, tasks)


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
