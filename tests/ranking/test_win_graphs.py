"""Eigenvector, PageRank and Newman's model: by hand, by numpy, and as evalica has them."""

from functools import partial

import evalica
import numpy as np
import pytest

import policyrank as pr
from policyrank.errors import EvidenceError
from policyrank.evidence import Comparisons, Rankings
from policyrank.ranking.win_graphs import (
    _of_eigenvector,
    _of_walk,
    principal_eigenvector,
    walk_shares,
)

WON = {1.0: evalica.Winner.X, 0.0: evalica.Winner.Y, 0.5: evalica.Winner.Draw}
EXACT = {"tolerance": 1e-13, "limit": 100_000}


def columns(comparisons):
    """First, second and winner, as evalica takes them."""
    names = comparisons.policies
    return (
        [names[a] for a in comparisons.a],
        [names[b] for b in comparisons.b],
        [WON[y] for y in comparisons.outcome],
    )


def of_names(board, names):
    return board.rating[[board.position(name) for name in names]]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("damping", [0.85, 0.5])
def test_pagerank_is_evalicas(battles, seed, damping):
    games = battles(n=12, size=60 + 300 * seed, seed=seed)
    theirs = evalica.pagerank(*columns(games), damping=damping, **EXACT).scores
    board = pr.pagerank(games, damping=damping, interval="none")
    assert of_names(board, games.policies) == pytest.approx(theirs[[*games.policies]], abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_eigenvector_is_evalicas_with_wins_and_losses_swapped(battles, seed):
    """evalica 0.4.2 multiplies by the transpose, so that losers score highest."""
    games = battles(n=8, size=400, seed=seed)
    first, second, winners = columns(games)
    theirs = evalica.eigen(second, first, winners, **EXACT).scores
    board = pr.eigenvector(games, interval="none")
    assert of_names(board, games.policies) == pytest.approx(theirs[[*games.policies]], abs=1e-6)
    assert board.position("p00") < board.position("p07")


@pytest.mark.parametrize("seed", range(3))
def test_newmans_model_is_davidsons(battles, seed):
    games = battles(seed=seed, ties=0.3)
    theirs = evalica.newman(*columns(games), **EXACT)
    board = pr.rank(games, method="newman", scale="natural", interval="none")
    strength = np.log(theirs.scores[[*games.policies]])
    assert of_names(board, games.policies) == pytest.approx(strength - strength.mean(), abs=1e-6)
    assert board.extras["tie_parameter"] == pytest.approx(theirs.v, abs=1e-6)


def test_values_by_hand():
    # r = (a, b): 4 b = lambda a, a = lambda b; lambda = 2.
    assert principal_eigenvector(np.array([[0.0, 4.0], [1.0, 0.0]])) == pytest.approx(
        np.array([2, 1]) / 5**0.5
    )
    # The loser hands all on, the winner goes anywhere: x = .075 + .425 x + .85 y, x + y = 1.
    assert walk_shares(np.array([[0.0, 1.0], [0.0, 0.0]]))[0] == pytest.approx(0.925 / 1.425)


def test_principal_eigenvector_of_any_graph():
    rng = np.random.default_rng(0)
    for _ in range(40):
        wins = rng.poisson(1.5, (9, 9)).astype(float)
        np.fill_diagonal(wins, 0)
        value, vector = np.linalg.eig(wins)
        of_largest = np.abs(vector[:, np.argmax(value.real)])
        assert principal_eigenvector(wins) == pytest.approx(of_largest, abs=1e-6)
    chain = np.diag(np.ones(3), 1)
    assert (np.diff(principal_eigenvector(chain)) < 0).all()
    assert principal_eigenvector(np.zeros((3, 3))) == pytest.approx(np.full(3, 3**-0.5))


@pytest.mark.parametrize(
    ("found", "rate"),
    [
        (_of_eigenvector, principal_eigenvector),
        (partial(_of_walk, damping=0.8), partial(walk_shares, damping=0.8)),
    ],
)
def test_derivatives_are_those_of_the_rating(found, rate):
    rng = np.random.default_rng(1)
    wins = rng.uniform(1, 9, (4, 4))
    np.fill_diagonal(wins, 0)
    known = found(wins)
    for i, j in ((0, 1), (3, 2), (2, 0)):
        more = wins.copy()
        more[i, j] += 1e-3
        moved = known.value[j] * (known.won[:, i] - known.lost[:, j])
        assert (rate(more) - rate(wins)) / 1e-3 == pytest.approx(moved, rel=2e-3, abs=1e-6)


def test_errors_are_the_jackknifes(battles):
    """Leaving out one ballot at a time moves the rating as its influence says."""
    rng = np.random.default_rng(2)
    votes = Rankings.of([[f"p{k}" for k in rng.permutation(4)] for _ in range(200)])
    for method, rate in (("pagerank", walk_shares), ("eigenvector", principal_eigenvector)):
        board = pr.rank(votes, method=method)
        without = [rate(votes.preferences(np.arange(200) != k)) for k in range(200)]
        spread = np.cov(np.array(without).T) * 199**2 / 200
        order = [board.position(name) for name in votes.policies]
        assert board.covariance[np.ix_(order, order)] == pytest.approx(spread, rel=0.05, abs=2e-6)


@pytest.mark.parametrize("method", ["eigenvector", "pagerank"])
def test_boards_say_what_they_take_as_given(method):
    circle = Rankings.of([list("abc"), list("bca"), list("cab")], weight=[10, 10, 10])
    board = pr.rank(circle, method=method)
    assert board.rank.tolist() == [1, 1, 1]
    assert not {"unequal sampling", "disconnected"} & {note.kind for note in board.notes}
    uneven = Comparisons.of(["a", "a", "b"], ["b", "b", "c"], [1, 0, 1])
    kinds = {note.kind for note in pr.rank(uneven, method=method, interval="none").notes}
    assert {"unequal sampling", "disconnected"} <= kinds


def test_intervals_stay_within_the_range():
    votes = Rankings.of([list("abc")] * 9 + [list("cab")])
    for board in (pr.pagerank(votes), pr.eigenvector(votes)):
        assert (board.lower >= 0).all()
        assert (board.upper <= 1).all()
    # Wins that agree say nothing of their error; a chain has no eigenvector of its own.
    same = Rankings.of([list("abc")] * 10)
    for board in (pr.pagerank(same), pr.eigenvector(same)):
        assert np.isnan(board.lower).all()
        assert "no intervals" in {note.kind for note in board.notes}
    assert pr.pagerank(same).rank_upper.tolist() == [3, 3, 3]
    with pytest.raises(EvidenceError, match="damping=1"):
        pr.pagerank(votes, damping=1)
