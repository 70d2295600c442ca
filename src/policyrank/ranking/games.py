"""alpha-Rank: policies by how much time evolution spends at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.special import logsumexp

from policyrank.board.leaderboard import Leaderboard
from policyrank.errors import EvidenceError
from policyrank.ranking.conventions import checks_options
from policyrank.ranking.majorities import of_winner
from policyrank.ranking.markov import stationary
from policyrank.ranking.rules import IntervalOptions, Preferences, rule_board

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AlphaRank:
    """Stationary distribution of alpha-Rank's evolutionary chain.

    Attributes
    ----------
    mass
        probability of each profile; shape (strategies,) for one population, else (strategies of 1,
        ..., of K)
    alpha, epsilon, population
        the settings; alpha is infinite when the response graph was used

    Examples
    --------
    >>> found = alpharank([[[1, 0], [2, 1]], [[1, 2], [0, 1]]])
    >>> found.mass.round(2).tolist(), found.strategies(0).round(2).tolist()
    ([[0.0, 0.01], [0.01, 0.98]], [0.01, 0.99])
    """

    mass: Float
    alpha: float
    epsilon: float
    population: int

    def strategies(self, player: int = 0) -> Float:
        """Mass of each strategy of one player."""
        others = [axis for axis in range(self.mass.ndim) if axis != player]
        return self.mass.sum(axis=tuple(others))


def alpharank(
    payoffs: ArrayLike | Sequence[ArrayLike],
    *,
    alpha: float = np.inf,
    population: int = 50,
    epsilon: float = 0.01,
    selection: Literal["local", "constant-sum", "general-sum"] = "local",
    total: float = 0.0,
) -> AlphaRank:
    """alpha-Rank of a meta-game.

    Parameters
    ----------
    payoffs
        (n, n), row's payoff against column: one population of a symmetric game; or K arrays of
        shape (S_1, ..., S_K), one a player: K populations. Games with 100,000 profiles are solved
        sparsely.
    alpha
        selection intensity > 0; infinite: the response graph, in which a gain is taken with
        probability 1 - epsilon
    population
        m >= 2, individuals (finite alpha)
    epsilon
        in (0, 1/2), chance of a losing deviation (infinite alpha)
    selection
        for one population and finite alpha: compare M[r, s] with M[s, r] (``"local"``), with
        ``total`` / 2 (``"constant-sum"``), or play in the whole population (``"general-sum"``)

    Raises
    ------
    EvidenceError
        For shapes that do not fit, values that are not finite, or an alpha so large that the chain
        falls apart.

    References
    ----------
    Omidshafiei et al. (2019), "alpha-Rank: Multi-Agent Evaluation by Evolution", arXiv 1903.01373.

    Examples
    --------
    >>> alpharank([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]).mass.round(4)
    array([0.3333, 0.3333, 0.3333])
    """
    if not (alpha > 0 and 0 < epsilon < 0.5 and population >= 2):
        raise EvidenceError("alpha must be > 0, epsilon between 0 and 1/2, population at least 2")
    tables = [np.asarray(table, dtype=float) for table in payoffs]  # type: ignore[union-attr]
    if tables[0].ndim == 1:
        matrix = _square(tables)
        chain = _single_population(matrix, alpha, population, epsilon, selection, total)
        mass = stationary(chain)
    else:
        _check_players(tables)
        chain = _several_populations(tables, alpha, population, epsilon)
        mass = stationary(chain).reshape(tables[0].shape)
    return AlphaRank(mass, alpha, epsilon, population)


def _square(rows: list[Float]) -> Float:
    """The matrix of one population's game."""
    matrix = np.array(rows)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise EvidenceError(
            f"one population needs a square matrix, not {matrix.shape}; give a list of arrays"
            " for several players"
        )
    _check_finite(matrix)
    return matrix


def _check_players(tables: list[Float]) -> None:
    """Refuse payoffs that are not one array a player, with one axis a player."""
    players = len(tables)
    one_shape = all(table.shape == tables[0].shape for table in tables)
    if not one_shape or tables[0].ndim != players:
        raise EvidenceError(
            f"{players} players need {players} arrays of one shape with {players} axes"
        )
    _check_finite(np.array(tables))


def _check_finite(payoffs: Float) -> None:
    if not np.isfinite(payoffs).all():
        raise EvidenceError("a payoff is not finite")


def _takeover(gain: Float, alpha: float, m: int, epsilon: float) -> Float:
    """Probability that a deviation with this gain takes over a population of m."""
    if np.isinf(alpha):
        return np.select([gain > 0, gain < 0], [1 - epsilon, epsilon], 0.5)
    return _fixation(alpha * gain, m)


def _fixation(u: Float, m: int) -> Float:
    """(1 - exp(-u)) / (1 - exp(-m u)), 1 / m where u is 0."""
    size = np.abs(u)
    with np.errstate(divide="ignore", invalid="ignore"):
        of_gain = -np.expm1(-size) / -np.expm1(-m * size)
        of_loss = of_gain * np.exp(-(m - 1) * size)
    return np.select([size < 1e-14, u > 0], [1 / m, of_gain], of_loss)


def _single_population(
    matrix: Float, alpha: float, m: int, epsilon: float, selection: str, total: float
) -> sparse.csr_matrix:
    """Moves from the row's strategy to the column's."""
    if np.isinf(alpha) or selection == "local":
        rho = _takeover(matrix.T - matrix, alpha, m, epsilon)
    elif selection == "constant-sum":
        rho = _fixation(alpha * m / (m - 1) * (matrix.T - total / 2), m)
    elif selection == "general-sum":
        rho = _whole_population(matrix, alpha, m)
    else:
        raise EvidenceError(
            f"selection={selection!r}: use 'local', 'constant-sum' or 'general-sum'"
        )
    np.fill_diagonal(rho, 0)
    return sparse.csr_matrix(rho / max(len(matrix) - 1, 1))


def _whole_population(matrix: Float, alpha: float, m: int) -> Float:
    """Fixation where p mutants (columns) and m - p residents (rows) all play each other."""
    p = np.arange(1, m)[:, None, None]
    own = np.diag(matrix)
    mutant = (p - 1) / (m - 1) * own[None, None, :] + (m - p) / (m - 1) * matrix.T
    resident = p / (m - 1) * matrix[None] + (m - p - 1) / (m - 1) * own[None, :, None]
    log_odds = np.cumsum(-alpha * (mutant - resident), axis=0)
    log_terms = np.concatenate([np.zeros((1, *matrix.shape)), log_odds])
    return np.exp(-logsumexp(log_terms, axis=0))


def _several_populations(
    tables: list[Float], alpha: float, m: int, epsilon: float
) -> sparse.csr_matrix:
    """Moves between profiles that differ in one player's strategy."""
    shape, size = tables[0].shape, tables[0].size
    eta = 1 / max(sum(shape) - len(shape), 1)
    player, first, second = deviations(shape)
    payoff = np.stack([table.ravel() for table in tables])
    gain = payoff[player, second] - payoff[player, first]
    there = eta * _takeover(gain, alpha, m, epsilon)
    back = eta * _takeover(-gain, alpha, m, epsilon)
    rows, columns = np.concatenate([first, second]), np.concatenate([second, first])
    return sparse.csr_matrix((np.concatenate([there, back]), (rows, columns)), shape=(size, size))


def deviations(
    shape: Sequence[int],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """All pairs of profiles that differ in one player's strategy: that player, first and second
    profile (flat indices).

    Examples
    --------
    >>> deviations((2, 2))
    (array([0, 0, 1, 1]), array([0, 1, 0, 2]), array([2, 3, 1, 3]))
    """
    profile = np.arange(int(np.prod(shape))).reshape(shape)
    player, first, second = [], [], []
    for axis, strategies in enumerate(shape):
        lines = np.moveaxis(profile, axis, -1).reshape(-1, strategies)
        one, other = np.triu_indices(strategies, 1)
        first.append(lines[:, one].ravel())
        second.append(lines[:, other].ravel())
        player.append(np.full(len(first[-1]), axis))
    return np.concatenate(player), np.concatenate(first), np.concatenate(second)


@checks_options
def alpha_rank(
    evidence: Preferences,
    *,
    alpha: float = np.inf,
    population: int = 50,
    epsilon: float = 0.01,
    resamples: int = 200,
    **options: Unpack[IntervalOptions],
) -> Leaderboard:
    """alpha-Rank of policies by their win rates against each other, as one population.

    Parameters are those of ``alpharank``; the payoff of i against j is its win rate (ties half; 1/2
    for pairs that never met). The rating is the share of time that evolution spends at a policy.
    Intervals: a bootstrap's for finite alpha; for the response graph, a step function of the
    majorities, what follows from those that are certain.

    Examples
    --------
    >>> from policyrank.evidence import Comparisons
    >>> winners = ["rock", "paper", "scissors"] * 2
    >>> losers = ["scissors", "rock", "paper"] + ["sponge"] * 3
    >>> board = alpha_rank(Comparisons.of(winners, losers, [1] * 6), interval="none")
    >>> board.frame.select("policy", rating=board.frame["rating"].round(2)).rows()
    [('paper', 0.33), ('rock', 0.33), ('scissors', 0.33), ('sponge', 0.0)]
    """

    def rule(wins: Float) -> Float:
        return alpharank(win_rates(wins), alpha=alpha, population=population, epsilon=epsilon).mass

    settings = {"alpha": alpha, "population": population, "epsilon": epsilon}
    return rule_board(
        evidence,
        rule,
        method="alpha-rank",
        unit="share of time",
        project=of_winner if np.isinf(alpha) else None,
        batched=False,
        resamples=resamples,
        settings=settings,
        **options,
    )


def win_rates(wins: Float) -> Float:
    """Win rate of row against column, ties half, 1/2 where they never met.

    Examples
    --------
    >>> win_rates(np.array([[0.0, 3.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    array([[0.5 , 0.75, 0.5 ],
           [0.25, 0.5 , 0.5 ],
           [0.5 , 0.5 , 0.5 ]])
    """
    total = wins + wins.T
    rate = np.divide(wins, total, out=np.full_like(wins, 0.5), where=total > 0)
    np.fill_diagonal(rate, 0.5)
    return rate
