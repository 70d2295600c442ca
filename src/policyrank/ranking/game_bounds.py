"""Bounds on alpha-Rank when payoffs are known only within intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyrank.board.intervals import Seed, generator
from policyrank.errors import EvidenceError
from policyrank.ranking.games import deviations
from policyrank.ranking.markov import gth_batch

Float = NDArray[np.float64]
Directions = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class AlphaRankBounds:
    """What is known of alpha-Rank's masses when payoffs are known only within intervals.

    Attributes
    ----------
    lower, upper
        (n,) or (S_1, ..., S_K), smallest and largest mass of each strategy or profile over the
        directions that open pairs may have
    open_pairs
        pairs of strategies, or of profiles (flat indices), whose direction the intervals leave open
    exact
        whether all directions were tried; otherwise the true bounds may be wider (inner bounds)
    """

    lower: Float
    upper: Float
    open_pairs: tuple[tuple[int, int], ...]
    exact: bool


def alpha_rank_bounds(
    lower: ArrayLike | Sequence[ArrayLike],
    upper: ArrayLike | Sequence[ArrayLike],
    *,
    epsilon: float = 1e-4,
    enumerate_up_to: int = 12,
    samples: int = 2000,
    seed: Seed = 0,
) -> AlphaRankBounds:
    """Bounds on alpha-Rank (infinite alpha) from intervals of win rates or payoffs.

    Deviations whose intervals are disjoint have a fixed direction, each other one may point either
    way. Up to ``enumerate_up_to`` open ones all directions are tried; beyond, random ones, each
    improved by flipping single deviations while that widens a bound.

    Parameters
    ----------
    lower, upper
        one population: (n, n) bounds of the win rate of row against column, lower_ij = 1 -
        upper_ji; K players: K arrays each of shape (S_1, ..., S_K), bounds of their payoffs
    epsilon
        chance of a losing deviation

    References
    ----------
    Rowland et al. (2019), "Multiagent Evaluation under Incomplete Information", arXiv 1909.09849.

    Examples
    --------
    >>> low = np.array([[0.5, 0.6, 0.3], [0.2, 0.5, 0.6], [0.3, 0.2, 0.5]])
    >>> found = alpha_rank_bounds(low, 1 - low.T)
    >>> found.lower.round(2), found.upper.round(2), found.open_pairs
    (array([0.33, 0.  , 0.  ]), array([1.  , 0.33, 0.33]), ((0, 2),))
    """
    low, high = np.array(lower, dtype=float), np.array(upper, dtype=float)
    if low.shape != high.shape or (low > high + 1e-12).any():
        raise EvidenceError("lower and upper must have one shape, and lower <= upper.")
    if low.ndim == 2:
        graph = _of_one_population(low, high, epsilon)
    else:
        graph = _of_several_populations(low, high, epsilon)
    exact = len(graph.open) <= enumerate_up_to
    if exact:
        masses = graph.masses(graph.all_directions())
        least, most = masses.min(axis=0), masses.max(axis=0)
    else:
        tries = np.tile(graph.likely, (samples, 1))
        tries[:, graph.open] = generator(seed).integers(2, size=(samples, len(graph.open)))
        least, most = _searched(graph, tries)
    shape = graph.shape
    return AlphaRankBounds(least.reshape(shape), most.reshape(shape), graph.open_pairs, exact)


@dataclass(frozen=True, eq=False)
class _ResponseGraph:
    """Deviations between profiles, some of them of unknown direction.

    Attributes
    ----------
    shape
        how many strategies each player has
    first, second
        profiles (flat indices) of each deviation
    likely
        1 where the first profile is the better one, as far as is known
    open
        which deviations may point either way
    epsilon
        chance of a losing deviation
    """

    shape: tuple[int, ...]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    likely: Directions
    open: NDArray[np.int64]
    epsilon: float

    @property
    def profiles(self) -> int:
        return int(np.prod(self.shape))

    @property
    def open_pairs(self) -> tuple[tuple[int, int], ...]:
        first, second = self.first[self.open].tolist(), self.second[self.open].tolist()
        return tuple(zip(first, second, strict=True))

    def all_directions(self) -> Directions:
        """(2^open, deviations), every way in which the open ones may point."""
        ways = 2 ** len(self.open)
        directions = np.tile(self.likely, (ways, 1))
        directions[:, self.open] = np.arange(ways)[:, None] >> np.arange(len(self.open)) & 1
        return directions

    def masses(self, directions: Directions) -> Float:
        """Stationary distributions (batch, profiles) of directions (batch, deviations)."""
        profiles = self.profiles
        moves = max(sum(self.shape) - len(self.shape), 1)
        batches = max(1, len(directions) * profiles * profiles // 4_000_000)
        found = []
        for part in np.array_split(directions, batches):
            chains = np.zeros((len(part), profiles, profiles))
            to_second = np.where(part > 0, self.epsilon, 1 - self.epsilon)
            to_first = np.where(part > 0, 1 - self.epsilon, self.epsilon)
            chains[:, self.first, self.second] = to_second / moves
            chains[:, self.second, self.first] = to_first / moves
            found.append(gth_batch(chains))
        return np.concatenate(found)


def _of_one_population(low: Float, high: Float, epsilon: float) -> _ResponseGraph:
    """From bounds of win rates (n, n)."""
    strategies = len(low)
    if low.shape != (strategies, strategies):
        raise EvidenceError(f"one population needs square matrices, not {low.shape}.")
    pair = np.triu_indices(strategies, 1)
    is_open = (low[pair] <= 0.5) & (high[pair] >= 0.5)
    likely = (low[pair] + high[pair] > 1).astype(np.int64)
    return _ResponseGraph((strategies,), *pair, likely, np.flatnonzero(is_open), epsilon)


def _of_several_populations(low: Float, high: Float, epsilon: float) -> _ResponseGraph:
    """From bounds of payoffs (players, S_1, ..., S_K)."""
    players, shape = len(low), low.shape[1:]
    if low.ndim != players + 1:
        raise EvidenceError(
            f"{players} players need {players} arrays with {players} axes, not {low.shape}."
        )
    low, high = low.reshape(players, -1), high.reshape(players, -1)
    player, first, second = deviations(shape)
    first_low, first_high = low[player, first], high[player, first]
    second_low, second_high = low[player, second], high[player, second]
    is_open = (first_low <= second_high) & (second_low <= first_high)
    likely = (first_low > second_high).astype(np.int64)
    return _ResponseGraph(shape, first, second, likely, np.flatnonzero(is_open), epsilon)


def _searched(graph: _ResponseGraph, tries: Directions) -> tuple[Float, Float]:
    """Least and largest masses (profiles,) that these directions lead to, each climbed from the
    best of them.
    """
    masses = graph.masses(tries)
    least, most = masses.min(axis=0), masses.max(axis=0)
    for profile in range(graph.profiles):
        for sign, ends in ((-1, least), (1, most)):
            start = int(np.argmax(sign * masses[:, profile]))
            ends[profile] = _climbed(graph, tries[start], ends[profile], profile, sign)
    return least, most


def _climbed(
    graph: _ResponseGraph, directions: Directions, mass: float, profile: int, sign: int
) -> float:
    """A profile's mass after flipping single open deviations while that helps."""
    each = np.arange(len(graph.open))
    while True:
        flipped = np.tile(directions, (len(each), 1))
        flipped[each, graph.open] ^= 1
        near = graph.masses(flipped)[:, profile]
        best = int(np.argmax(sign * near))
        if sign * near[best] <= sign * mass + 1e-12:
            return mass
        directions, mass = flipped[best], float(near[best])
