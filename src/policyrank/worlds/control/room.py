"""A room with a wall and a doorway: many rollouts at once, with logs of mixed quality.

Positions lie in [-1, 1]^2. A move that crosses the wall at x = 0 elsewhere than by the doorway is
cancelled. The goal is reached within its radius; each step before that costs 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import OptionError

Float = NDArray[np.float64]
Act = Callable[[Float, np.random.Generator], Float]
"""Positions (n, 2) -> moves (n, 2) in [-1, 1]."""


class Stepped(NamedTuple):
    """What came of a move: (n, 2), (n,) and (n,)."""

    positions: Float
    rewards: Float
    terminated: NDArray[np.bool_]


@dataclass(frozen=True)
class Room:
    """The room's measures.

    Parameters
    ----------
    goal, radius
        where, and how near
    doorway
        its lower and upper end, on x = 0
    reach
        of a move of 1
    noise
        standard deviation of where a move ends
    horizon
        steps of an episode
    """

    goal: tuple[float, float] = (0.8, 0.0)
    radius: float = 0.12
    doorway: tuple[float, float] = (0.45, 0.75)
    reach: float = 0.08
    noise: float = 0.005
    horizon: int = 60

    def starts(self, count: int, rng: np.random.Generator) -> Float:
        """Where episodes begin, on the left: (count, 2)."""
        return np.column_stack([rng.uniform(-0.9, -0.6, count), rng.uniform(-0.9, 0.9, count)])

    def step(self, positions: Float, actions: Float, rng: np.random.Generator) -> Stepped:
        """One move of each."""
        drift = rng.normal(0, self.noise, positions.shape)
        ends = np.clip(positions + self.reach * np.clip(actions, -1, 1) + drift, -1, 1)
        blocked = self._blocked(positions, ends)
        ends = np.where(blocked[:, None], positions, ends)
        there = self.reached(ends)
        return Stepped(ends, there.astype(float) - 1, there)

    def reached(self, positions: Float) -> NDArray[np.bool_]:
        """Which are at the goal: (n,)."""
        return np.hypot(*(positions - np.array(self.goal)).T) <= self.radius

    def _blocked(self, before: Float, after: Float) -> NDArray[np.bool_]:
        """Whose way crosses x = 0 beside the doorway."""
        crosses = (before[:, 0] < 0) != (after[:, 0] < 0)
        run = np.where(crosses, after[:, 0] - before[:, 0], 1.0)
        height = before[:, 1] - before[:, 0] / run * (after[:, 1] - before[:, 1])
        return crosses & ~((height > self.doorway[0]) & (height < self.doorway[1]))


class Episodes(NamedTuple):
    """Logged moves, an episode after the other: a row a step.

    Attributes
    ----------
    observations, actions, following
        (rows, 2)
    rewards, terminated, episode
        (rows,); an episode that reached the horizon is truncated, not terminated
    success
        (episodes,)
    """

    observations: Float
    actions: Float
    following: Float
    rewards: Float
    terminated: NDArray[np.bool_]
    episode: NDArray[np.int64]
    success: NDArray[np.bool_]


def rolled(room: Room, act: Act, count: int, seed: int, *, starts: Float | None = None) -> Episodes:
    """Episodes of a policy, all at once; two policies of one seed have the same starts and noise.

    Raises
    ------
    OptionError
        For moves of another shape, or that are not finite.
    """
    rng, own = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
    at = room.starts(count, rng) if starts is None else starts.copy()
    alive = np.ones(len(at), dtype=bool)
    rows: list[tuple[Float, Float, Float, Float, NDArray[np.bool_], NDArray[np.int64]]] = []
    for _ in range(room.horizon):
        moves = np.asarray(act(at, own), dtype=float)
        if moves.shape != at.shape or not np.isfinite(moves).all():
            raise OptionError(f"moves must be finite and {at.shape}, they are {moves.shape}.")
        # Noise is drawn for all, so that it does not depend on who is still under way.
        after, reward, ended = room.step(at, moves, rng)
        here = np.flatnonzero(alive)
        rows.append((at[here], moves[here], after[here], reward[here], ended[here], here))
        at = np.where(alive[:, None], after, at)
        alive &= ~ended
        if not alive.any():
            break
    columns = [np.concatenate(part) for part in zip(*rows, strict=True)]
    order = np.argsort(columns[5], kind="stable")
    seen, moved, after, reward, ended, episode = (part[order] for part in columns)
    return Episodes(seen, moved, after, reward, ended, episode, ~alive)


def behaviour(room: Room, episodes: int, rng: np.random.Generator, noise: float = 0.3) -> Act:
    """Who logs: 45% drive straight at the goal, 25% by the doorway, 30% wander, all with noise.

    Those who drive straight are stuck at the wall, unless they happen to pass the doorway.
    """
    kind = rng.choice(3, episodes, p=[0.45, 0.25, 0.3])
    heading = rng.uniform(-np.pi, np.pi, episodes)
    middle = np.array([0.02, sum(room.doorway) / 2])

    def act(at: Float, own: np.random.Generator) -> Float:
        via = (kind == 1) & (at[:, 0] < 0)
        # First to the doorway's height, then through it.
        level = np.abs(at[:, 1] - middle[1]) < 0.08
        before = np.column_stack([np.where(level, middle[0], -0.12), np.full(len(at), middle[1])])
        aim = np.where(via[:, None], before, np.array(room.goal)) - at
        far = np.maximum(np.abs(aim).max(axis=1, keepdims=True), 1e-9)
        move = np.where(np.abs(aim) > room.reach, aim / far, aim / room.reach)
        turned = own.random(episodes) < 0.1
        heading[turned] = own.uniform(-np.pi, np.pi, int(turned.sum()))
        wander = np.column_stack([np.cos(heading), np.sin(heading)])
        move = np.where((kind == 2)[:, None], wander, move)
        return np.clip(move + own.normal(0, noise, at.shape), -1, 1)

    return act


def logged(room: Room, episodes: int, seed: int) -> Episodes:
    """A log of mixed quality, about a quarter of whose episodes reach the goal."""
    return rolled(room, behaviour(room, episodes, np.random.default_rng([seed, 2])), episodes, seed)
