"""From what is known of errors to a board: widths, what says nothing, shares of draws."""

import numpy as np
import pytest
from scipy.stats import norm, t

from policyrank.board import RankSets, make_leaderboard

TWO = {"policies": ["a", "b"], "method": "made", "n": np.array([9, 9])}


def test_what_never_varied_says_nothing():
    board = make_leaderboard(rating=np.array([1.0, 2.0]), covariance=np.zeros((2, 2)), **TWO)
    assert not board.better.any()
    assert np.isnan(board.lower).all()
    assert "no intervals" in {note.kind for note in board.notes}


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_percentiles_are_widened_at_the_level_asked_for(level):
    draws = np.random.default_rng(0).normal(size=(4000, 2))
    ends = []
    for df in (None, 4.0):
        board = make_leaderboard(rating=np.zeros(2), draws=draws, df=df, level=level, **TWO)
        ends.append(board.upper)
    p = (1 + level) / 2
    assert ends[1] / ends[0] == pytest.approx(np.full(2, t.ppf(p, 4) / norm.ppf(p)))


def test_each_rating_has_its_own_degrees_of_freedom():
    df = np.array([[2.0, 3.0], [3.0, 50.0]])
    board = make_leaderboard(rating=np.array([0.0, 0.0]), covariance=np.eye(2), df=df, **TWO)
    half = dict(zip(board.policies, board.upper, strict=True))
    assert half["a"] == pytest.approx(t.ppf(0.975, 2))
    assert half["b"] == pytest.approx(t.ppf(0.975, 50))


def test_shares_are_never_none_or_all():
    board = make_leaderboard(rating=np.array([9.0, 0.0]), covariance=np.eye(2) * 1e-6, **TWO)
    assert board.probability_best[0] == pytest.approx((board.draws + 0.5) / (board.draws + 1))
    assert (board.rank_probability > 0).all()
    assert board.rank_probability.sum(axis=0) == pytest.approx(np.ones(2))


def test_given_sets_and_ends_follow_their_policies():
    sets = RankSets(
        np.array([2, 1]),
        np.array([2, 1]),
        np.array([[False, False], [True, False]]),
        np.array([False, True]),
    )
    ends = np.array([[0.5, 1.5], [2.0, 4.0]])
    board = make_leaderboard(rating=np.array([1.0, 3.0]), sets=sets, ends=ends, **TWO)
    assert board.policies == ("b", "a")
    assert (board.lower.tolist(), board.upper.tolist()) == ([2.0, 0.5], [4.0, 1.5])
    assert (board.may_be_best, board.may_be_among(1)) == (("b",), ("b",))
    assert board.may_be_among(2) == ("b", "a")
    assert board.better.tolist() == [[False, True], [False, False]]
    with pytest.raises(ValueError, match="k=0"):
        board.may_be_among(0)
