"""Do the intervals of off-policy values cover where the log overlaps badly?

Dudik, Langford and Li (2011), "Doubly Robust Policy Evaluation and Learning", arXiv 1103.4601;
Chernozhukov et al. (2018), "Double/debiased machine learning", arXiv 1608.00060.

**The claim**: a 95% interval of a policy's value, and of the difference of two, holds the truth in
at least 93 of 100 logs, also where the log hardly ever did what the policy does and the outcome
model is wrong just there.

**What is done here**: logs with three features and two actions, treated with chance 1 / (1 +
exp(-c x1)): the larger c, the worse the overlap. *Easy*: outcomes are linear, as the ridge assumes;
*hard*: the treated outcome bends by .4 (x1^2 - 1), which the ridge misses just where treatment is
rare. Policies: treat all; treat where x1 < 0, against the log; and their difference. *Three
actions*: chances by a softmax, skewed noise that grows with x2, an interaction that the ridge
misses. *Clusters*: sites of unequal size, each with its own level and effect. A replicate is one
log. "Default" is `off_policy_value`'s: chances raised to .05, the larger of the foretold and the
seen variance, Student's t, a band for the bias; "clip .01, normal" the doubly robust mean and its
sampling error, as is usual; "clip 0" the default without raising chances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats.qmc import Sobol

from policyrank.board.intervals import quantile
from policyrank.evaluation.cross_fitting import outcome_models
from policyrank.evaluation.importance import Contrasts, contrasts, weights_of
from policyrank.evaluation.logged import Log, read_log
from policyrank.evidence import Scores
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.frame import Report, Row, Scale, quiet, scores_of

TITLE = "Off-policy coverage"
PAPER = "arXiv 1103.4601"
ABOUT = "coverage of off-policy values at poor overlap"
COVER, WIDTH = "intervals that cover, {}", "width, {}"
DEFAULT, USUAL, UNCLIPPED, NOMINAL = "default", "clip .01, normal", "clip 0", "at least"
LEAST = 0.93
TARGETS = ("treat all", "treat x1 < 0", "difference")
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Design:
    """How logs come about.

    ``means``: features -> (rows, actions), outcomes expected; ``logits``: features -> (rows,
    actions), of the log. ``noise``: of outcomes, given features. ``binary``: outcomes are 0 or 1.
    """

    rows: int
    logits: Callable[[Float], Float]
    means: Callable[[Float], Float]
    noise: Callable[[np.random.Generator, Float], Float]
    binary: bool = False
    sites: int = 0


def _even(rng: np.random.Generator, x: Float) -> Float:
    return rng.normal(size=len(x))


def _skewed(rng: np.random.Generator, x: Float) -> Float:
    return (rng.exponential(size=len(x)) - 1) * (0.5 + np.abs(x[:, 1]))


def _two(rows: int, c: float, bend: float, *, binary: bool = False, sites: int = 0) -> Design:
    """Two actions, treatment by a logit of slope ``c``."""

    def logits(x: Float) -> Float:
        return np.column_stack([np.zeros(len(x)), c * x[:, 0]])

    def means(x: Float) -> Float:
        control = 0.5 * x[:, 0] + 0.5 * x[:, 1]
        treated = control + 0.3 * x[:, 2] + bend * (x[:, 0] ** 2 - 1)
        table = np.column_stack([control, treated])
        return 1 / (1 + np.exp(-table)) if binary else table

    return Design(rows, logits, means, _even, binary, sites)


def _three(rows: int, c: float) -> Design:
    """Three actions by a softmax, an interaction that no ridge sees, skewed noise."""

    def logits(x: Float) -> Float:
        return c * np.column_stack([x[:, 0], np.zeros(len(x)), -x[:, 0]])

    def means(x: Float) -> Float:
        last = 0.5 * x[:, 0] * x[:, 1] + 0.3 * np.abs(x[:, 0])
        return np.column_stack([0.5 * x[:, 0], 0.5 * x[:, 1], last])

    return Design(rows, logits, means, _skewed)


def _designs() -> dict[str, Design]:
    found = {}
    for word, bend in (("easy", 0.0), ("hard", 0.4)):
        for c in (0.5, 1, 1.5, 2, 3):
            found[f"500 rows, logits x{c:g}, {word}"] = _two(500, c, bend)
    found["2,000 rows, logits x2, hard"] = _two(2000, 2, 0.4)
    found["150 rows, logits x2, hard"] = _two(150, 2, 0.4)
    found["500 rows, logits x2, hard, pass/fail"] = _two(500, 2, 0.4, binary=True)
    found["500 rows, three actions x1"] = _three(500, 1)
    found["500 rows, three actions x2"] = _three(500, 2)
    found["600 rows in 12 unequal sites, logits x1, hard"] = _two(600, 1, 0.4, sites=12)
    return found


DESIGNS = _designs()
UNIT = Unit("log")
CONSTANTS = (NOMINAL,)
CLAIMS = (
    *for_each(
        [(name, target) for name in DESIGNS for target in TARGETS],
        Claim(
            "The default covers: {0}, {1}",
            DEFAULT,
            NOMINAL,
            COVER.replace("{}", "{1}"),
            tasks=("{0}",),
            kind="rate",
        ),
    ),
    *for_each(
        TARGETS,
        Claim("The usual interval covers in every design: {0}", USUAL, NOMINAL, COVER, kind="rate"),
    ),
    *for_each(
        TARGETS,
        Claim(
            "Without raised chances intervals cover in every design: {0}",
            UNCLIPPED,
            NOMINAL,
            COVER,
            kind="rate",
        ),
    ),
)


def policies_on(x: Float, actions: int) -> Float:
    """Chances of both policies: (2, rows, actions)."""
    always, where = np.zeros((2, len(x), actions))
    always[:, -1] = 1.0
    where[:, -1] = x[:, 0] < 0
    where[:, 0] = x[:, 0] >= 0
    return np.stack([always, where])


def logged(design: Design, rng: np.random.Generator) -> tuple[Log, NDArray[np.int64] | None]:
    """One log, and the site of each row."""
    x = rng.normal(size=(design.rows, 3))
    chances = _softmax(design.logits(x))
    actions = (rng.random((len(x), 1)) > chances.cumsum(axis=1)).sum(axis=1)
    actions = np.minimum(actions, chances.shape[1] - 1)
    outcome = design.means(x)[np.arange(len(x)), actions]
    site = None
    if design.sites:
        site = rng.choice(design.sites, len(x), p=rng.dirichlet(np.full(design.sites, 1.0)))
        own = rng.normal(0, 0.4, (design.sites, 2))
        outcome = outcome + own[site, actions]
    if design.binary:
        outcome = (rng.random(len(x)) < outcome).astype(float)
    else:
        outcome = outcome + design.noise(rng, x)
    return read_log(actions, outcome, x, chances), site


def _softmax(logits: Float) -> Float:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


@cache
def truth(name: str) -> tuple[float, float, float]:
    """Values of both policies and their difference, over a Sobol sequence of features."""
    x = ndtri(Sobol(3, scramble=False).random_base2(17) + 2.0**-18)
    means = DESIGNS[name].means(x)
    always, where = (policies_on(x, means.shape[1]) * means).sum(axis=2).mean(axis=1)
    return float(always), float(where), float(always - where)


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is one log."""
    number = {"smoke": 4, "small": 3000, "full": 4000}[scale]
    rows: list[Row] = []
    for k, name in enumerate(DESIGNS):
        for r in range(number):
            if r % 100 == 0:
                report(f"{name}: log {r + 1} of {number}")
            rng = np.random.default_rng([seed, k, r])
            rows += measured(name, r, rng)
    return scores_of(rows, lower_is_better=[WIDTH.format(target) for target in TARGETS])


def measured(name: str, r: int, rng: np.random.Generator) -> Iterator[Row]:
    """Whether each interval holds each target in one log."""
    log, site = logged(DESIGNS[name], rng)
    pi = policies_on(log.features, len(log.names))
    wanted = pi.max(axis=(0, 1)) > 0
    mu = outcome_models(log.features, log.actions, log.outcome, wanted, cluster=site, seed=r)
    mu[:, ~wanted] = 0.0
    intervals = {
        DEFAULT: _ends(contrasts(log, weights_of(log, pi, clip=0.05), mu, site)),
        UNCLIPPED: _ends(contrasts(log, weights_of(log, pi, clip=0.0), mu, site)),
        USUAL: _usual(log, pi, mu),
    }
    for target, true, k in zip(TARGETS, truth(name), range(3), strict=True):
        yield NOMINAL, name, COVER.format(target), r, LEAST
        for method, ends in intervals.items():
            low, high = ends[k]
            yield method, name, COVER.format(target), r, float(low <= true <= high)
            yield method, name, WIDTH.format(target), r, float(high - low)


def _ends(known: Contrasts, level: float = 0.95) -> list[tuple[float, float]]:
    """Intervals of both values and of their difference."""
    half, value = known.half_width(level), known.value
    centres = (value[0], value[1], value[0] - value[1])
    halves = (half[0, 0], half[1, 1], half[0, 1])
    return [(float(c - h), float(c + h)) for c, h in zip(centres, halves, strict=True)]


def _usual(log: Log, pi: Float, mu: Float, level: float = 0.95) -> list[tuple[float, float]]:
    """Doubly robust means, rows independent, normal."""
    residual = log.outcome - log.taken(mu)
    score = []
    for own in pi:
        weight = log.taken(own) / np.maximum(log.taken(log.chances), 0.01)
        score.append((own * mu).sum(axis=1) + weight * residual)
    score.append(score[0] - score[1])
    out = []
    for values in score:
        half = quantile((1 + level) / 2, None) * values.std(ddof=1) / np.sqrt(len(values))
        out.append((float(values.mean() - half), float(values.mean() + half)))
    return out
