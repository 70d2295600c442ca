"""ResponseGraphUCB: play profiles of a game until the direction of every deviation that matters is
known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyrank.errors import EvidenceError
from policyrank.evaluation.rules import INTERVALS
from policyrank.ranking.game_bounds import AlphaRankBounds, alpha_rank_bounds
from policyrank.ranking.games import AlphaRank, alpharank, deviations

Float = NDArray[np.float64]
Selection = Literal["uniform", "uniform-exhaustive", "valence-weighted", "count-weighted"]
SELECTIONS: tuple[Selection, ...] = (
    "uniform",
    "uniform-exhaustive",
    "valence-weighted",
    "count-weighted",
)


class ResponseGraph:
    """The sampler of Rowland et al. (2019), arXiv 1909.09849: ``propose`` a profile, ``observe``
    its payoffs, until ``settled``.

    Parameters
    ----------
    shape
        number of strategies of each of the K players, each >= 2
    selection
        which profile is played next: an endpoint of a random open deviation; of the first open one
        in a random order that stays; a profile by its number of open deviations squared; the least
        played one with an open deviation
    interval
        ``"clopper-pearson"`` (exact for outcomes that are 0 or 1) or ``"hoeffding"`` (any payoffs
        in [0, 1])
    delta
        chance that one payoff lies outside its interval, in (0, 1)
    relaxed
        intervals are cut by this much on both sides: gaps below about twice that are given up on
    anytime
        delta 6 / (pi^2 n^2) after n plays, so that looking after every play is allowed
    together
        delta is the chance that any payoff lies outside (a union bound over profiles and players)
    seed
        of the order of deviations

    Attributes
    ----------
    count
        (profiles,), plays of each profile
    player, first, second
        (deviations,), who deviates, and between which two profiles (flat indices)
    direction
        (deviations,), 1: towards ``second``, -1: towards ``first``, 0: open

    Examples
    --------
    >>> rng, graph = np.random.default_rng(0), ResponseGraph((2, 2))
    >>> while not graph.settled:
    ...     row, column = profile = graph.propose(rng)
    ...     won = float(rng.random() < [[0.9, 0.6], [0.5, 0.1]][row][column])
    ...     graph.observe(profile, [won, 1 - won])
    >>> int(graph.ranking().mass.argmax())
    1
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        selection: Selection = "count-weighted",
        interval: str = "clopper-pearson",
        delta: float = 0.05,
        relaxed: float = 0.0,
        anytime: bool = False,
        together: bool = False,
        seed: int | np.random.Generator = 0,
    ) -> None:
        if any(s < 2 for s in shape) or not shape:
            raise EvidenceError(
                f"shape={tuple(shape)}: every player needs at least two strategies."
            )
        if selection not in SELECTIONS:
            raise EvidenceError(f"selection={selection!r}: use one of {', '.join(SELECTIONS)}.")
        if interval not in INTERVALS:
            raise EvidenceError(f"interval={interval!r}: use one of {', '.join(INTERVALS)}.")
        if not 0 < delta < 1 or not 0 <= relaxed < 0.5:
            raise EvidenceError("delta lies in (0, 1), relaxed in [0, 0.5).")
        self.shape, self.selection, self.relaxed, self.anytime = (
            tuple(shape),
            selection,
            relaxed,
            anytime,
        )
        self.interval: Callable[..., tuple[Float, Float]] = INTERVALS[interval]
        players, size = len(self.shape), math.prod(self.shape)
        self.delta = delta / (players * size) if together else delta
        self.count, self.total = np.zeros(size, dtype=np.int64), np.zeros((players, size))
        self.lower, self.upper = np.full((players, size), -np.inf), np.full((players, size), np.inf)
        self.player, self.first, self.second = deviations(self.shape)
        self.direction = np.zeros(len(self.player), dtype=np.int64)
        ends = np.concatenate([self.first, self.second])
        at = np.argsort(ends, kind="stable") % len(self.player)
        self._touching = np.split(at, np.cumsum(np.bincount(ends, minlength=size))[:-1])
        self._valence = np.bincount(ends, minlength=size)
        self._order = np.random.default_rng(seed).permutation(len(self.player))
        self._next = 0

    @property
    def settled(self) -> bool:
        """Whether the direction of every deviation is known."""
        return not self._valence.any()

    def propose(self, rng: np.random.Generator) -> tuple[int, ...]:
        """The profile to play next: profiles that were never played first, then by the rule."""
        return tuple(map(int, np.unravel_index(self._next_profile(rng), self.shape)))

    def _next_profile(self, rng: np.random.Generator) -> int:
        """Flat index of the profile to play next."""
        if not self.count.all():
            return int(np.argmin(self.count))
        if self.settled:
            return int(rng.integers(len(self.count)))
        if self.selection == "count-weighted":
            never = np.iinfo(np.int64).max
            return int(np.argmin(np.where(self._valence > 0, self.count, never)))
        if self.selection == "valence-weighted":
            weight = np.cumsum(self._valence.astype(float) ** 2)
            return int(np.searchsorted(weight, rng.random() * weight[-1], side="right"))
        if self.selection == "uniform":
            edge = int(rng.choice(np.flatnonzero(self.direction == 0)))
        else:
            while self.direction[self._order[self._next]]:
                self._next += 1
            edge = int(self._order[self._next])
        return int((self.first, self.second)[rng.integers(2)][edge])

    def observe(self, profile: Sequence[int], payoffs: ArrayLike) -> None:
        """Payoffs of all players, each in [0, 1], of one play of a profile."""
        played = int(np.ravel_multi_index(tuple(profile), self.shape))
        got = np.asarray(payoffs, dtype=float)
        if got.shape != (len(self.shape),) or not ((got >= 0) & (got <= 1)).all():
            raise EvidenceError(
                f"payoffs={got}: one number in [0, 1] for each of {len(self.shape)} players."
            )
        self.count[played] += 1
        self.total[:, played] += got
        plays = float(self.count[played])
        delta = self.delta
        if self.anytime:
            delta = self.delta * 6 / (np.pi**2 * plays**2)
        low, high = self.interval(self.total[:, played], np.full(len(got), plays), delta)
        self.lower[:, played], self.upper[:, played] = low, high
        self._settle(self._touching[played])

    def _settle(self, edges: NDArray[np.int64]) -> None:
        """Note the direction of deviations whose intervals have come apart."""
        edges = edges[self.direction[edges] == 0]
        player, first, second = self.player[edges], self.first[edges], self.second[edges]
        give = 2 * self.relaxed
        up = self.upper[player, first] < self.lower[player, second] + give
        down = self.upper[player, second] < self.lower[player, first] + give
        new = edges[up | down]
        if len(new):
            # Cut intervals may be disjoint both ways: the means decide.
            gain = self._gains(self.total / np.maximum(self.count, 1), new)
            self.direction[new] = np.where(gain == 0, 1, gain)
            np.subtract.at(self._valence, np.concatenate([self.first[new], self.second[new]]), 1)

    def _gains(
        self, payoffs: Float, edges: NDArray[np.int64] | slice = slice(None)
    ) -> NDArray[np.int64]:
        """Sign of what the deviation to ``second`` brings, under payoffs (players, profiles)."""
        player, first, second = self.player[edges], self.first[edges], self.second[edges]
        return np.sign(payoffs[player, second] - payoffs[player, first]).astype(np.int64)

    def means(self) -> Float:
        """Mean payoffs, (players, *shape); NaN before a profile's first play."""
        with np.errstate(invalid="ignore"):
            return (self.total / np.where(self.count > 0, self.count, np.nan)).reshape(
                len(self.shape), *self.shape
            )

    def directions(self) -> NDArray[np.int64]:
        """Directions of all deviations, the open ones by their means (0 where these are level):
        (deviations,).
        """
        return np.where(
            self.direction != 0, self.direction, self._gains(self.total / np.maximum(self.count, 1))
        )

    def errors(self, payoffs: ArrayLike) -> int:
        """Deviations whose direction differs from that under the true payoffs, (players, *shape);
        those that change nothing do not count.
        """
        true = self._gains(
            np.round(np.asarray(payoffs, dtype=float), 12).reshape(len(self.shape), -1)
        )
        return int(((self.directions() != true) & (true != 0)).sum())

    def ranking(self, epsilon: float = 0.01) -> AlphaRank:
        """alpha-Rank of the response graph as it is known."""
        if not self.count.all():
            raise EvidenceError("some profiles were never played. Go on until each was.")
        return alpharank(list(self.means()), epsilon=epsilon)

    def bounds(self, **options: float) -> AlphaRankBounds:
        """Bounds on alpha-Rank's masses over the directions that open deviations may have
        (``rank.alpha_rank_bounds``).
        """
        full = (len(self.shape), *self.shape)
        return alpha_rank_bounds(
            list(self.lower.reshape(full)),
            list(self.upper.reshape(full)),
            **options,  # type: ignore[arg-type]
        )


def plays_needed(gap: float, delta: float, shape: Sequence[int], payoff: float = 1.0) -> int:
    """Plays of each profile after which the whole response graph is right with probability at least
    1 - delta.

    Parameters
    ----------
    gap
        smallest difference of payoffs that a deviation makes, > 0
    delta
        in (0, 1)
    shape
        strategies of each player
    payoff
        payoffs lie in [-payoff, payoff]

    References
    ----------
    Hoeffding's inequality and a union bound (Rowland et al. 2019, Theorem 3.2): N > 8 M^2 log(2 |S|
    K / delta) / gap^2.

    Examples
    --------
    >>> plays_needed(0.1, 0.1, (2, 2))
    4061
    """
    size = math.prod(shape) * len(shape)
    return math.floor(8 * payoff**2 * math.log(2 * size / delta) / gap**2) + 1
