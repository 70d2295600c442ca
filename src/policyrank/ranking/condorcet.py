"""Soft Condorcet optimisation: ratings whose order disagrees with few votes."""

from __future__ import annotations

from typing import Literal, Unpack

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from policyrank.board.assembly import CoverageOptions
from policyrank.board.intervals import Seed, generator
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.errors import EvidenceError
from policyrank.ranking.cells import Cells
from policyrank.ranking.conventions import checks_options
from policyrank.ranking.likelihood import newton
from policyrank.ranking.links import LINKS
from policyrank.ranking.rules import Preferences, rule_board

Float = NDArray[np.float64]


@checks_options
def soft_condorcet(
    evidence: Preferences,
    *,
    loss: Literal["sigmoid", "fenchel-young"] = "sigmoid",
    temperature: float = 1.0,
    bound: float = 100.0,
    restarts: int = 4,
    interval: str = "bootstrap",
    resamples: int = 100,
    seed: Seed = 0,
    **options: Unpack[CoverageOptions],
) -> Leaderboard:
    """Soft Condorcet optimisation (SCO).

    ``"sigmoid"`` minimises sum over votes for a above b of sigma((r_b - r_a) / temperature): a
    smooth count of disagreements, which becomes Kemeny's as the temperature falls.
    ``"fenchel-young"`` is the expectation of the perturbed loss with Gumbel noise of scale
    ``temperature``; its gradient is exactly that of Bradley-Terry on all pairs of the votes, so it
    is solved as such. The two are not independent confirmations of Bradley-Terry.

    Parameters
    ----------
    evidence
        Comparisons or Rankings; the loss needs only their preference matrix
    temperature
        > 0, in rating units
    bound
        ratings stay within [-bound, bound]
    restarts
        the sigmoid loss is not convex: starts from equal ratings and from shuffles, each annealed
        from a high temperature down to ``temperature``; the best is kept
    interval, resamples, seed, options
        as for the voting rules; each resample is annealed from its Borda order

    References
    ----------
    Lanctot et al. (2025), "Soft Condorcet Optimization for Ranking of General Agents", arXiv
    2411.00119.

    Examples
    --------
    >>> from policyrank.evidence import Rankings
    >>> votes = Rankings.of([["x", "y", "z"], ["x", "z", "y"], ["y", "z", "x"]])
    >>> soft_condorcet(votes, interval="none").policies
    ('x', 'y', 'z')
    """
    if not temperature > 0:
        raise EvidenceError(f"temperature={temperature}: it must be > 0.")
    if loss not in ("sigmoid", "fenchel-young"):
        raise EvidenceError(f"loss={loss!r}: use 'sigmoid' or 'fenchel-young'.")
    notes: tuple[Note, ...] = ()
    if loss == "fenchel-young":

        def rule(wins: Float) -> Float:
            rating = temperature * _bradley_terry(wins, bound / temperature)
            return np.clip(rating, -bound, bound)

        again = rule
        text = "The Fenchel-Young loss is Bradley-Terry on the votes' pairs: not a second opinion."
        notes = (Note("equivalence", text),)
    else:
        rng = generator(seed)

        def rule(wins: Float) -> Float:
            return _best_of_starts(wins, restarts, temperature, bound, rng)

        def again(wins: Float) -> Float:
            return _anneal(wins, _borda_start(wins, temperature), temperature, bound)[0]

    return rule_board(
        evidence,
        rule,
        method="soft-condorcet",
        unit="rating",
        interval=interval,
        resamples=resamples,
        seed=seed,
        batched=False,
        resample_rule=again,
        notes=notes,
        settings={"loss": loss, "temperature": temperature, "bound": bound},
        **options,
    )


def sigmoid_loss(wins: Float, rating: Float, temperature: float) -> tuple[float, Float]:
    """Smooth disagreements per vote, sum of wins_ab sigma((r_b - r_a) / T) / sum of wins, and its
    gradient.

    Examples
    --------
    >>> wins = np.array([[0.0, 3.0], [1.0, 0.0]])
    >>> loss, slope = sigmoid_loss(wins, np.array([1.0, 0.0]), temperature=0.01)
    >>> loss
    0.25
    """
    disagreement = expit((rating - rating[:, None]) / temperature)
    total = wins.sum()
    loss = float((wins * disagreement).sum() / total)
    slope = wins * disagreement * (1 - disagreement) / temperature / total
    return loss, slope.sum(axis=0) - slope.sum(axis=1)


def _descend(wins: Float, start: Float, temperature: float, bound: float) -> tuple[Float, float]:
    result = minimize(
        lambda r: sigmoid_loss(wins, r, temperature),
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(-bound, bound)] * len(start),
        options={"maxiter": 2000, "ftol": 1e-13, "gtol": 1e-9},
    )
    return result.x - result.x.mean(), float(result.fun)


def _borda_start(wins: Float, temperature: float) -> Float:
    borda = (wins - wins.T).sum(axis=1)
    return temperature * borda / max(float(np.abs(borda).max()), 1e-12)


def _anneal(wins: Float, start: Float, temperature: float, bound: float) -> tuple[Float, float]:
    rating, value = start, np.inf
    for heat in (4.0, 2.0, 1.0):
        rating, value = _descend(wins, rating, temperature * heat, bound)
    return rating, value


def _best_of_starts(
    wins: Float, restarts: int, temperature: float, bound: float, rng: np.random.Generator
) -> Float:
    """From equal ratings, from Borda's order, then from random ratings."""
    starts = [np.zeros(len(wins)), _borda_start(wins, temperature)]
    for _ in range(restarts - 2):
        starts.append(rng.normal(0, 2 * temperature, len(wins)))
    best, least = starts[0], np.inf
    for start in starts[: max(restarts, 1)]:
        rating, loss = _anneal(wins, start, temperature, bound)
        if loss < least:
            best, least = rating, loss
    return best


def _bradley_terry(wins: Float, largest: float) -> Float:
    """Ratings in log-odds, with a prior so weak that only those of undefeated policies need it."""
    policies = len(wins)
    i, j = np.nonzero(np.triu(wins + wins.T, 1))
    total = wins[i, j] + wins[j, i]
    cells = Cells(
        size=policies,
        i=i,
        j=j,
        y=wins[i, j] / total,
        count=total,
        weight=np.ones(len(i)),
        x=np.zeros((len(i), 0)),
    )
    weak = np.full(policies, 1e-6 * total.sum() / policies / max(largest, 1.0) ** 2)
    return newton(cells, LINKS["half"], precision=weak).theta
