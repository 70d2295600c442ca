"""Studentised differences, rank sets and shares of ranks: as slow twins have them."""

import numpy as np
import pytest

from policyrank.board import pair_gaps, rank_confidence_sets, rank_probabilities
from policyrank.board.intervals import as_normal, error_draws
from policyrank.board.pair_gaps import (
    Blocks,
    Gaps,
    extremes,
    largest_difference,
    largest_of_all,
)
from policyrank.board.rank_sets import draws_for
from policyrank.errors import EvidenceError


def some_ratings(seed, n, apart=1.0):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, n)) * rng.uniform(0.1, 1.5, (n, 1))
    return apart * rng.normal(size=n), root @ root.T


def slow_scales(covariance):
    """One over the standard deviation of each difference, 0 of none."""
    n = len(covariance)
    scale = np.zeros((n, n))
    for j in range(n):
        for k in range(n):
            variance = covariance[j, j] + covariance[k, k] - 2 * covariance[j, k]
            if variance > 1e-12:
                scale[j, k] = 1 / np.sqrt(variance)
    return scale


def slow_statistics(x, scale):
    return np.array(
        [
            [(a - b) * s for b, s in zip(x, row, strict=True)]
            for a, row in zip(x, scale, strict=True)
        ]
    )


def critical_value(draws, scale, pairs, level, method="linear"):
    """The quantile over draws of the largest studentised d_j - d_k among these pairs."""
    largest = [max((d[j] - d[k]) * scale[j, k] for j, k in pairs) for d in draws]
    return np.quantile(largest, level, method=method)


def slow_joint(z, scale, draws, level, *, stepdown):
    """Which pairs are told apart together."""
    n = len(z)
    everything = [(j, k) for j in range(n) for k in range(n) if j != k]
    better = z > critical_value(draws, scale, everything, level)
    while stepdown:
        left = [pair for pair in everything if not better[pair]]
        sharper = better | (z > critical_value(draws, scale, left, level, "higher"))
        if (sharper == better).all():
            break
        better = sharper
    return better


def slow_own(z, scale, draws, level, j, *, stepdown):
    """Who is below and who above one policy, in its own set."""
    others = [k for k in range(len(z)) if k != j]
    pairs = [(j, k) for k in others] + [(k, j) for k in others]
    won = lost = np.zeros(len(z), dtype=bool)
    critical = np.inf
    while pairs:
        critical = min(critical, critical_value(draws, scale, pairs, level))
        before = won.sum() + lost.sum()
        won, lost = z[j] > critical, -z[j] > critical
        if won.sum() + lost.sum() == before or not stepdown:
            break
        pairs = [(j, k) for k in others if not won[k]] + [(k, j) for k in others if not lost[k]]
    return won, lost


def slow_best(z, scale, draws, level):
    n = len(z)
    found = []
    for j in range(n):
        pairs = [(k, j) for k in range(n) if k != j]
        worst = max(-z[j, k] for k in range(n) if k != j)
        found.append(worst <= critical_value(draws, scale, pairs, level))
    return found


@pytest.mark.parametrize("stepdown", [True, False])
@pytest.mark.parametrize(("seed", "level"), [(0, 0.95), (1, 0.8), (2, 0.95), (3, 0.6), (4, 0.9)])
def test_sets_are_those_of_the_slow_twin(seed, level, stepdown):
    x, covariance = some_ratings(seed, 5, apart=4.0)
    draws = error_draws(covariance, 300, seed=seed)
    options = {"draws": draws, "level": level, "stepdown": stepdown}
    scale = slow_scales(covariance)
    z = slow_statistics(x, scale)

    sets = rank_confidence_sets(x, covariance, **options)
    better = slow_joint(z, scale, draws, level, stepdown=stepdown)
    assert (sets.better == better).all()
    assert sets.lower.tolist() == (1 + better.sum(axis=0)).tolist()
    assert sets.upper.tolist() == (5 - better.sum(axis=1)).tolist()
    assert sets.best.tolist() == slow_best(z, scale, draws, level)

    own = rank_confidence_sets(x, covariance, simultaneous=False, **options)
    for j in range(5):
        won, lost = slow_own(z, scale, draws, level, j, stepdown=stepdown)
        assert own.better[j].tolist() == won.tolist()
        assert (own.lower[j], own.upper[j]) == (1 + lost.sum(), 5 - won.sum())
    assert own.best.tolist() == sets.best.tolist()


def test_the_covariance_is_that_of_the_draws_where_none_is_given():
    x, covariance = some_ratings(5, 4, apart=9.0)
    draws = error_draws(covariance, 500, seed=1)
    found = rank_confidence_sets(x, draws=draws)
    same = rank_confidence_sets(x, np.cov(draws, rowvar=False), draws=draws)
    assert found.better.any()
    assert (found.better == same.better).all()
    given = np.diag([1.0, 9.0, 25.0, 0.1])
    scale = slow_scales(given)
    told = slow_joint(slow_statistics(x, scale), scale, draws, 0.95, stepdown=True)
    assert (rank_confidence_sets(x, given, draws=draws).better == told).all()
    assert (told != found.better).any()
    alone = rank_confidence_sets([1.0], draws=draws[:, :1])
    assert (alone.lower.tolist(), alone.upper.tolist()) == ([1], [1])


def test_defaults_are_ten_thousand_draws_of_seed_zero_at_95():
    """Ratings near the critical value, where another draw would tell another story."""
    draws = error_draws(np.eye(6), 10_000, seed=0)
    columns, gaps = draws.T.astype(np.float32), Gaps(np.zeros(6), np.eye(6), None, None, True)
    largest = largest_of_all(Blocks(columns, gaps), extremes(columns, gaps).value)
    critical = np.quantile(largest, 0.95)
    for by, told in ((1 + 1e-6, True), (1 - 1e-6, False)):
        x = np.zeros(6)
        x[2] = by * critical * np.sqrt(2)
        assert rank_confidence_sets(x, np.eye(6), stepdown=False).better[2, 0] == told
    assert [draws_for(n) for n in (1, 50, 51, 300, 301)] == [10_000, 10_000, 2000, 2000, 1000]


def test_statistics_may_be_given():
    x, draws = [2.0, 1.0, 0.0], error_draws(np.eye(3), 2000)
    z = np.zeros((3, 3))
    z[1, 0], z[0, 1] = 9, -9
    for simultaneous in (True, False):
        sets = rank_confidence_sets(x, np.eye(3), draws=draws, z=z, simultaneous=simultaneous)
        assert np.argwhere(sets.better).tolist() == [[1, 0]]
        assert sets.lower.tolist() == [2, 1, 1]
        assert sets.upper.tolist() == [3, 2, 3]
        assert sets.best.tolist() == [False, True, True]


def test_what_sets_cannot_be_made_of_is_named():
    for level in (0, 1, -0.1, 95):
        with pytest.raises(EvidenceError, match="level is"):
            rank_confidence_sets([1.0, 0.0], np.eye(2), level=level)
    with pytest.raises(EvidenceError, match="covariance or draws"):
        rank_confidence_sets([1.0, 0.0])


def test_sets_in_another_order():
    x, covariance = some_ratings(6, 4, apart=3.0)
    sets = rank_confidence_sets(x, covariance)
    order = np.array([2, 0, 3, 1])
    taken = sets.taken(order)
    for j, k in enumerate(order):
        assert (taken.lower[j], taken.upper[j]) == (sets.lower[k], sets.upper[k])
        assert taken.best[j] == sets.best[k]
        assert taken.better[j].tolist() == sets.better[k, order].tolist()
    assert sets.among_first(2).tolist() == [low in (1, 2) for low in sets.lower]


def test_a_difference_without_variance_is_known_or_says_nothing():
    x = np.array([3.0, 1.0, 1.0, 2.0])
    covariance = np.zeros((4, 4))
    covariance[3, 3] = 4.0
    known = Gaps(x, covariance, None, None, exact=True)
    silent = Gaps(x, covariance, None, None, exact=False)
    assert known.statistic(0).tolist() == [0, np.inf, np.inf, 0.5]
    assert known.statistic(1).tolist() == [-np.inf, 0, 0, -0.5]
    assert silent.statistic(0).tolist() == [0, 0, 0, 0.5]
    assert known.scale(3).tolist() == [0.5, 0.5, 0.5, 0]
    assert known.z is None
    assert known.beyond(0.4).sum(axis=1).tolist() == [3, 0, 0, 2]
    assert silent.beyond(0.5).sum() == 0


def test_what_rounding_leaves_is_no_variance():
    """Of ratings near 1000 a variance of 1e-7 is nothing, of ratings near 1 it is something."""
    covariance = np.diag([1e-7, 0.0])
    for size, told in ((1000.0, 0), (1.0, 1 / np.sqrt(1e-7))):
        gaps = Gaps(np.array([size, 0.0]), covariance, None, None, exact=False)
        assert gaps.scale(0)[1] == pytest.approx(told)
        assert gaps.statistic(0)[1] == pytest.approx(size * told)
        assert gaps.floor == pytest.approx(1e-12 * size**2)
    level = Gaps(np.array([1000.0, 1000.0 + 1e-5]), np.zeros((2, 2)), None, None, exact=True)
    assert level.statistic(0).tolist() == [0, 0]


def test_t_statistics_become_deviates_by_pair():
    x, covariance = some_ratings(7, 4)
    df = np.random.default_rng(0).uniform(1, 9, (4, 4))
    gaps = Gaps(x, covariance, None, df, exact=True)
    t = slow_statistics(x, slow_scales(covariance))
    assert gaps.z == pytest.approx(as_normal(t, df))
    assert gaps.statistic(2) == pytest.approx(gaps.z[2])
    given = Gaps(x, covariance, np.eye(4), df, exact=True)
    assert given.statistic(2).tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("block", [128, 7])
@pytest.mark.parametrize("sign", [None, 1, -1])
def test_largest_differences_in_blocks(sign, block, monkeypatch):
    monkeypatch.setattr(pair_gaps, "BLOCK", block)
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(23, 40)).astype(np.float32)
    scale = rng.random(23).astype(np.float32)
    others = rng.random(23) < 0.8
    found = largest_difference(draws, 4, others, scale[others], sign)
    for draw, top in zip(draws.T, found, strict=True):
        gap = (draw[4] - draw) * (sign or 1)
        if sign is None:
            gap = np.abs(gap)
        assert top == pytest.approx((gap * scale)[others].max(), rel=1e-6)
    nobody = largest_difference(draws, 4, others & False, scale[:0], sign)
    assert (nobody == -np.inf).all()


@pytest.mark.parametrize("others", [None, 0.6])
@pytest.mark.parametrize("sign", [None, 1, -1])
@pytest.mark.parametrize("block", [128, 4])
def test_blocks_lift_to_the_largest_difference(block, sign, others, monkeypatch):
    """Of all draws, of some, from nothing and from what was found before."""
    monkeypatch.setattr(pair_gaps, "BLOCK", block)
    rng = np.random.default_rng(3)
    x, covariance = some_ratings(1, 19)
    draws = error_draws(covariance, 60, seed=1).T.astype(np.float32)
    draws[4, :9] += 9  # above, and below, all others
    draws[4, 9:20] -= 9
    gaps = Gaps(x, covariance, None, None, exact=True)
    counted, asked = np.ones(19, dtype=bool), None
    if others is not None:
        counted = asked = rng.random(19) < others
    chosen = rng.permutation(60)[:25]
    where = np.flatnonzero(counted)
    right = largest_difference(draws, 4, where, gaps.scale(4)[where], sign)
    if others is not None:
        right = np.where(right < 0, -np.inf, right)  # below 0 nothing need be found
    for blocks, there in ((Blocks(draws, gaps), ...), (Blocks(draws, gaps).of(chosen), chosen)):
        for begun in (-np.inf, 0.7):
            top = np.full(right[there].shape, begun, dtype=np.float32)
            blocks.lift(top, 4, sign, asked)
            wanted = np.maximum(right[there], np.float32(begun))
            assert top[wanted >= 0] == pytest.approx(wanted[wanted >= 0])
            assert (top[wanted < 0] <= 0).all()


@pytest.mark.parametrize("block", [128, 4])
@pytest.mark.parametrize("seed", range(3))
def test_largest_differences_of_all_pairs(block, seed, monkeypatch):
    """In blocks some are left out unseen: never one that holds the largest."""
    monkeypatch.setattr(pair_gaps, "BLOCK", block)
    n = 19
    x, covariance = some_ratings(seed, n)
    covariance[3] = covariance[:, 3] = 0  # one that is known
    draws = error_draws(covariance, 60, seed=seed)
    gaps = Gaps(x, covariance, None, None, exact=True)
    columns = draws.T.astype(np.float32)
    first = extremes(columns, gaps)
    found = largest_of_all(Blocks(columns, gaps), first.value)
    scale = slow_scales(covariance)
    for draw, top, upper, lower, begun in zip(draws, found, *first, strict=True):
        gap = (draw[:, None] - draw) * scale
        assert top == pytest.approx(gap.max(), rel=1e-4)
        assert begun == pytest.approx(gap[upper, lower], rel=1e-4)
        assert begun <= top


def slow_shares(x, draws):
    """A draw and a group of equals at a time."""
    n = len(x)
    times = np.zeros((n, n))
    for draw in draws:
        y = x + draw
        order = sorted(range(n), key=lambda k: -y[k])
        reach = 1e-9 * (y.max() - y.min())
        start = 0
        for end in range(1, n + 1):
            if end == n or y[order[end - 1]] - y[order[end]] > reach:
                for policy in order[start:end]:
                    times[policy, start:end] += 1 / (end - start)
                start = end
    return times / len(draws)


@pytest.mark.parametrize(("n", "coarse"), [(4, 0), (5, 1), (1, 0), (2, 0), (7, 0)])
def test_shares_of_ranks_as_a_slow_twin_has_them(n, coarse):
    rng = np.random.default_rng(n)
    x = rng.normal(size=n).round(coarse)
    draws = rng.normal(size=(60, n)).round(coarse)
    draws[:20] += rng.normal(size=(20, n))  # without ties
    assert rank_probabilities(x, draws) == pytest.approx(slow_shares(x, draws))


def test_ties_are_up_to_a_billionth_of_the_range():
    for apart, share in ((0.9e-6, 0.5), (1.1e-6, 1.0)):
        found = rank_probabilities([apart, 0.0, -1000.0], np.zeros((1, 3)))
        assert found[0].tolist() == [share, 1 - share, 0]
