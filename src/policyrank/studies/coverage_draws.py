"""Evidence with a known truth, drawn for the coverage study: battles, ballots, scores."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyrank.board import Leaderboard
from policyrank.evidence import Comparisons, Rankings, Scores
from policyrank.evidence.base import Labels
from policyrank.ranking import bradley_terry

Float = NDArray[np.float64]


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
