"""Ranking by equilibria of zero-sum games: Nash averaging, maximal lotteries."""

from __future__ import annotations

from typing import Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.optimize import linprog, minimize
from scipy.special import logsumexp, softmax

from policyrank.board.assembly import make_leaderboard
from policyrank.board.leaderboard import Leaderboard
from policyrank.errors import EvidenceError
from policyrank.evidence import Comparisons, Rankings, Scores
from policyrank.ranking.conventions import check_interval, checks_options, need
from policyrank.ranking.diagnostics import input_notes
from policyrank.ranking.games import win_rates
from policyrank.ranking.majorities import of_winner
from policyrank.ranking.rules import IntervalOptions, Preferences, rule_board

Float = NDArray[np.float64]


def max_entropy_equilibrium(payoffs: ArrayLike) -> tuple[Float, float]:
    """The row player's optimal strategy of largest entropy in a zero-sum game, and the game's
    value.

    One linear program gives the value, a second the largest support of an optimal strategy and the
    columns that may be slack; the entropy is then maximised over the rest by its dual.

    Parameters
    ----------
    payoffs
        (rows, columns), what the column player pays to the row player

    Examples
    --------
    >>> p, value = max_entropy_equilibrium([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    >>> p.round(4), round(value, 6) + 0.0
    (array([0.3333, 0.3333, 0.3333]), 0.0)
    """
    a = np.asarray(payoffs, dtype=float)
    rows, columns = a.shape
    size = max(float(np.abs(a).max()), 1e-300)
    a = a / size
    best = linprog(
        np.r_[np.zeros(rows), -1.0],
        A_ub=np.c_[-a.T, np.ones(columns)],
        b_ub=np.zeros(columns),
        A_eq=np.r_[np.ones(rows), 0.0][None],
        b_eq=[1.0],
        bounds=[(0, None)] * rows + [(None, None)],
    )
    value = float(best.x[-1])
    off = a - value
    # p may be scaled up at will, so every row that can be positive and every column that can be
    # slack reaches 1 at once.
    reached = sparse.eye(rows)
    wide = linprog(
        np.r_[np.zeros(rows), -np.ones(rows + columns)],
        A_ub=sparse.block_array(
            [[-reached, reached, None], [-off.T - 1e-10, None, sparse.eye(columns)]]
        ),
        b_ub=np.zeros(rows + columns),
        bounds=[(0, 1e7)] * rows + [(0, 1)] * (rows + columns),
    )
    support, slack = wide.x[rows : 2 * rows] > 0.5, wide.x[2 * rows :] > 0.5
    inner = off[support]

    def dual(lam: Float) -> tuple[float, Float]:
        score = inner @ lam
        return float(logsumexp(score)), softmax(score) @ inner

    bounds = [(0, None) if s else (None, None) for s in slack]
    found = minimize(
        dual,
        np.zeros(columns),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 5000, "ftol": 1e-15, "gtol": 1e-10},
    )
    p = np.zeros(rows)
    p[support] = softmax(inner @ found.x)
    p[p < 1e-9] = 0.0
    return p / p.sum(), value * size


@checks_options
def maximal_lotteries(
    evidence: Preferences, *, resamples: int = 200, **options: Unpack[IntervalOptions]
) -> Leaderboard:
    """Maximal lotteries: the optimal mixed strategy of the game whose payoffs are majority margins
    (of largest entropy).

    The rating is the probability with which the lottery picks a policy.

    References
    ----------
    Fishburn (1984); Brandl, Brandt and Seedig (2016).

    Examples
    --------
    >>> circle = Rankings.of([["x", "y", "z"], ["y", "z", "x"], ["z", "x", "y"]])
    >>> maximal_lotteries(circle, interval="none").rating.round(3)
    array([0.333, 0.333, 0.333])
    """

    def rule(wins: Float) -> Float:
        return max_entropy_equilibrium(wins - wins.T)[0]

    return rule_board(
        evidence,
        rule,
        method="maximal-lotteries",
        unit="probability",
        project=of_winner,
        batched=False,
        resamples=resamples,
        **options,
    )


@checks_options
def nash_averaging(
    evidence: Preferences | Scores, *, resamples: int = 200, **options: Unpack[IntervalOptions]
) -> Leaderboard:
    """Nash averaging: expected result against the maximum-entropy equilibrium.

    Comparisons or Rankings: payoffs are win rates minus 1/2, and the rating is a policy's mean
    result against the equilibrium of policies: redundant opponents do not count twice. Scores: each
    task is scaled to [0, 1], policies play against tasks, and the rating is the mean over the
    equilibrium of tasks (the hardest mixture; no intervals).

    References
    ----------
    Balduzzi, Tuyls, Perolat and Graepel (2018), "Re-evaluating Evaluation", arXiv 1806.02643.

    Examples
    --------
    >>> winners = ["rock", "paper", "scissors", "copy of paper", "scissors"]
    >>> losers = ["scissors", "rock", "paper", "rock", "copy of paper"]
    >>> board = nash_averaging(Comparisons.of(winners, losers, [1] * 5), interval="none")
    >>> abs(board.rating).tolist()
    [0.0, 0.0, 0.0, 0.0]
    """
    need(evidence, (Comparisons, Rankings, Scores), "nash-averaging")
    if not isinstance(evidence, Scores):

        def rule(wins: Float) -> Float:
            payoff = win_rates(wins) - 0.5
            # Members of the equilibrium are exactly level; rounding keeps the solver's error from
            # ordering them.
            return np.round(payoff @ max_entropy_equilibrium(payoff)[0], 7)

        return rule_board(
            evidence,
            rule,
            method="nash-averaging",
            unit="mean result against the equilibrium",
            project=of_winner,
            batched=False,
            resamples=resamples,
            **options,
        )
    check_interval(options.get("interval", "none"), ("auto", "none"), "nash-averaging of scores")
    table = evidence.table()
    if np.isnan(table).any():
        raise EvidenceError(
            "nash-averaging of scores needs a score of every policy on every task. Filter, or use"
            " comparisons."
        )
    low, high = table.min(axis=1, keepdims=True), table.max(axis=1, keepdims=True)
    scaled = np.divide(table - low, high - low, out=np.full_like(table, 0.5), where=high > low)
    tasks, _ = max_entropy_equilibrium(-scaled)
    return make_leaderboard(
        evidence.policies,
        np.round(tasks @ scaled, 7),
        method="nash-averaging",
        n=evidence.seen(),
        notes=input_notes(evidence.notes),
        unit="mean scaled score over the equilibrium of tasks",
        source=evidence.summary,
        settings={"scaling": "min-max"},
        extras={"tasks": dict(zip(evidence.columns, tasks.tolist(), strict=True))},
        level=options.get("level", 0.95),
        simultaneous=options.get("simultaneous", True),
    )
