"""The room: walls, doorway, common random numbers, and a log of mixed quality."""

import numpy as np
import pytest

from policyrank.errors import OptionError
from policyrank.worlds.control.room import Room, logged, rolled

STILL = Room(noise=0.0)
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("start", "move", "end"),
    [
        ((-0.04, 0.0), (1, 0), (-0.04, 0.0)),  # the wall
        ((-0.04, 0.6), (1, 0), (0.04, 0.6)),  # the doorway
        ((0.04, 0.6), (-1, 0), (-0.04, 0.6)),
        ((0.04, 0.0), (-1, 0), (0.04, 0.0)),
        ((-0.04, 0.43), (1, 1), (0.04, 0.51)),  # crosses at .47
        ((-0.04, 0.40), (1, 1), (-0.04, 0.40)),  # crosses at .44
        ((0.96, 0.0), (9, 0), (1.0, 0.0)),  # moves are cut, and the room ends
    ],
)
def test_walls(start, move, end):
    found = STILL.step(np.array([start]), np.array([move], dtype=float), RNG)
    assert found.positions[0].tolist() == pytest.approx(list(end))
    assert found.rewards.tolist() == [-1]
    assert not found.terminated[0]


def test_the_goal_ends_an_episode():
    found = STILL.step(np.array([[0.65, 0.0], [0.5, 0.0]]), np.array([[1.0, 0.0]] * 2), RNG)
    assert found.terminated.tolist() == [True, False]
    assert found.rewards.tolist() == [0, -1]


def test_episodes_are_rows_one_after_the_other():
    room = Room()
    log = logged(room, 80, 3)
    assert 0.1 < log.success.mean() < 0.45
    new = np.flatnonzero(np.diff(log.episode, prepend=-1))
    assert log.episode[new].tolist() == list(range(80))
    last = np.append(new[1:], len(log.episode)) - 1
    assert (log.terminated[last] == log.success).all()
    assert log.terminated.sum() == log.success.sum()
    assert (log.following[:-1] == log.observations[1:])[np.diff(log.episode) == 0].all()
    failed = np.flatnonzero(~log.success)
    assert (np.bincount(log.episode)[failed] == room.horizon).all()
    again = logged(room, 80, 3)
    assert (again.actions == log.actions).all()


def test_policies_of_one_seed_meet_the_same_noise():
    """Where two act alike they see the same, whoever has ended before."""
    room = Room()
    right = np.array([1.0, 0.0])

    def all_right(at, rng):
        return np.tile(right, (len(at), 1))

    def mostly_right(at, rng):
        moves = all_right(at, rng)
        moves[0] = [0.0, 1.0]
        return moves

    one, other = rolled(room, all_right, 6, 4), rolled(room, mostly_right, 6, 4)
    for episode in range(1, 6):
        mine, theirs = (own.following[own.episode == episode] for own in (one, other))
        assert (mine == theirs).all()
    with pytest.raises(OptionError, match="finite"):
        rolled(room, lambda at, rng: at * np.nan, 2, 0)
    with pytest.raises(OptionError, match="finite"):
        rolled(room, lambda at, rng: at[:, :1], 2, 0)
