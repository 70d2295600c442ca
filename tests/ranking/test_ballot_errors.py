"""Errors of Borda shares, and tests of majorities: a ballot, a game, a cluster at a time."""

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from policyrank.board.bounded import bounded_errors, wilson
from policyrank.board.clusters import clustered_mean, satterthwaite
from policyrank.board.intervals import as_normal
from policyrank.evidence import Comparisons, Labels, Rankings
from policyrank.ranking.ballot_errors import borda_errors, over_groups, share_errors
from policyrank.ranking.majorities import (
    Projection,
    binomial_tests,
    certain,
    dominated,
    holm,
    of_dominance,
    of_majorities,
    of_winner,
    sign_tests,
    without_ends,
)

NAMES = ["a", "b", "c", "d"]
N = len(NAMES)


def some_places(seed, ballots):
    """Each ballot's place of each policy, from the best, 0 where it is not on the ballot."""
    rng = np.random.default_rng(seed)
    places = rng.integers(1, 4, (ballots, N))
    places[rng.random((ballots, N)) < 0.15] = 0
    places[:, :2] = np.maximum(places[:, :2], 1)
    places[0] = 1, 2, 3, 4
    return places


def as_rankings(places, weight=None, group=None):
    rows = []
    for own in places:
        levels = sorted(set(own[own > 0]))
        rows.append([[NAMES[p] for p in np.flatnonzero(own == level)] for level in levels])
    options = {} if group is None else {"group": Labels.of(group)}
    return Rankings.of(rows, policies=NAMES, weight=weight, **options)


def above(own, j, k):
    """Whether j stands above k on a ballot, ties half; None where one is missing."""
    if j == k or not own[j] or not own[k]:
        return None
    return 0.5 + 0.5 * np.sign(own[k] - own[j])


def rates_of(places, weight):
    wins = np.zeros((N, N))
    for own, w in zip(places, weight, strict=True):
        for j in range(N):
            for k in range(N):
                wins[j, k] += w * (above(own, j, k) or 0)
    total = wins + wins.T
    return np.divide(wins, total, out=np.zeros_like(wins), where=total > 0), total


def influence_of(own, rate, total):
    """What a ballot of weight one adds to each policy's sum of win rates."""
    out = np.zeros(N)
    for j in range(N):
        for k in range(N):
            y = above(own, j, k)
            if y is not None:
                out[j] += (y - rate[j, k]) / total[j, k]
    return out


def null_of_ballots(length, number):
    """Points of L - 1 others in random order, over L - 1: their covariance a ballot."""
    null = np.empty((N, N))
    for j in range(N):
        for k in range(N):
            points = (length**2 - 1) / 12 if j == k else -(length + 1) / 12
            null[j, k] = points / (length - 1) ** 2 / np.sqrt(number[j] * number[k])
    return null


@pytest.mark.parametrize("kind", ["plain", "voters", "importance"])
def test_borda_over_ballots_as_a_slow_twin_has_it(kind):
    places = some_places(0, 12)
    weight = np.ones(12)
    if kind == "voters":
        weight = np.random.default_rng(0).integers(1, 4, 12).astype(float)
    if kind == "importance":
        weight = np.random.default_rng(0).uniform(0.2, 1.7, 12)
    evidence = as_rankings(places, weight)
    assert evidence.counts_voters == (kind != "importance")
    rate, total = rates_of(places, weight)
    held = places > 0
    number = weight @ held
    if kind == "importance":
        number = number**2 / (weight**2 @ held)
    covariance = np.zeros((N, N))
    for own, w in zip(places, weight, strict=True):
        influence = influence_of(own, rate, total)
        times = w**2 if kind == "importance" else w
        covariance += times * np.outer(influence, influence)
    grown = np.sqrt(number / (number - 1))
    found = borda_errors(evidence, rate, total, 0.9)
    assert found.mean == pytest.approx(rate.sum(axis=1) / 3)
    assert found.covariance == pytest.approx(covariance * np.outer(grown, grown) / 9)
    assert found.df == pytest.approx(np.minimum(number[:, None], number) - 1)
    length = weight @ held.sum(axis=1) / weight.sum()
    assert found.null == pytest.approx(null_of_ballots(length, number))
    assert found.level == 0.9


def test_policies_on_one_ballot_have_no_degrees_of_freedom():
    places = np.array([[1, 2, 3, 0], [2, 1, 3, 4], [1, 2, 3, 0]])
    rate, total = rates_of(places, np.ones(3))
    found = borda_errors(as_rankings(places), rate, total, 0.9)
    assert np.isnan(found.df).tolist() == [[False] * 3 + [True]] * 3 + [[True] * 4]
    assert found.df[0, 0] == 2
    assert borda_errors(as_rankings(places[:1]), rate, total, 0.9) is None
    assert borda_errors(as_rankings(places[1:2], [2]), *rates_of(places[1:2], [2]), 0.9)


def slow_clusters(influence, share, cluster):
    """CR2 over clusters of their influence; None where one holds all."""
    names = sorted(set(cluster))
    sums = [sum(i for i, c in zip(influence, cluster, strict=True) if c == name) for name in names]
    q = [sum(s for s, c in zip(share, cluster, strict=True) if c == name) for name in names]
    covariance = sum(np.outer(s, s) / (1 - own) for s, own in zip(sums, q, strict=True))
    return covariance, satterthwaite(q), 1 / sum(own**2 for own in q)


def test_borda_over_groups_of_ballots():
    places = some_places(1, 40)
    group = [f"g{k}" for k in np.r_[np.arange(20) % 20, np.arange(20) % 7]]
    weight = np.random.default_rng(1).integers(1, 3, 40).astype(float)
    evidence = as_rankings(places, weight, group)
    assert evidence.unit == "group"
    rate, total = rates_of(places, weight)
    pairs = np.array([(own > 0).sum() * ((own > 0).sum() - 1) / 2 for own in places]) * weight
    influence = [w * influence_of(own, rate, total) for own, w in zip(places, weight, strict=True)]
    covariance, df, effective = slow_clusters(influence, pairs / pairs.sum(), group)
    found = borda_errors(evidence, rate, total, 0.9)
    assert found.covariance == pytest.approx(covariance / 9)
    assert found.df == pytest.approx(np.full((N, N), df))
    number = weight @ (places > 0)
    length = weight @ (places > 0).sum(axis=1) / weight.sum()
    clumped = 0.25 * weight.sum() / effective + 0.75
    assert found.null == pytest.approx(null_of_ballots(length, number) * clumped)
    assert found.mean == pytest.approx(rate.sum(axis=1) / 3)


def some_games(seed, size, raters=0, weighted=False, ballots=False):
    rng = np.random.default_rng(seed)
    i = rng.integers(N, size=size)
    j = (i + rng.integers(1, N, size)) % N
    y = rng.choice([0, 0.5, 1.0], size)
    rater = [f"r{k}" for k in rng.integers(raters, size=size)] if raters else None
    weight = rng.uniform(0.5, 2, size) if weighted else None
    count = rng.integers(1, 4, size)
    names = np.array(NAMES)
    return Comparisons.of(
        names[i], names[j], y, policies=NAMES, rater=rater, weight=weight, count=count
    )


def rates_of_games(c):
    wins = c.preferences()
    total = wins + wins.T
    return np.divide(wins, total, out=np.zeros_like(wins), where=total > 0), total


def influence_of_game(c, row, rate, total):
    out, a, b = np.zeros(N), c.a[row], c.b[row]
    off = (c.outcome[row] - rate[a, b]) / total[a, b]
    out[a], out[b] = off, -off
    return out


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("raters", [0, 6])
def test_borda_over_games_as_a_slow_twin_has_it(raters, weighted):
    c = some_games(2, 60, raters, weighted)
    rate, total = rates_of_games(c)
    weight = np.ones(60) if c.weight is None else c.weight
    null, covariance = np.zeros((N, N)), np.zeros((N, N))
    for row in range(60):
        a, b = c.a[row], c.b[row]
        apart = np.zeros(N)
        apart[a], apart[b] = 1, -1
        square = c.count[row] * weight[row] ** 2 * np.outer(apart, apart)
        null += square / total[a, b] ** 2 / 4
        covariance += square * ((c.outcome[row] - rate[a, b]) / total[a, b]) ** 2
    found = borda_errors(c, rate, total, 0.9)
    assert found.mean == pytest.approx(rate.sum(axis=1) / 3)
    assert found.level == 0.9
    if raters:
        mass = c.count * weight
        influence = [mass[row] * influence_of_game(c, row, rate, total) for row in range(60)]
        covariance, df, effective = slow_clusters(influence, mass / mass.sum(), c.rater.codes)
        assert found.covariance == pytest.approx(covariance / 9)
        assert found.df == pytest.approx(np.full((N, N), df))
        clumped = 0.25 * c.count.sum() / effective + 0.75
        assert found.null == pytest.approx(null * clumped / 9)
        return
    number = total.sum(axis=1)
    grown = np.sqrt(number / (number - 1))
    assert found.covariance == pytest.approx(covariance * np.outer(grown, grown) / 9)
    assert found.df == pytest.approx(np.minimum(number[:, None], number) - 1)
    assert found.null == pytest.approx(null / 9)


def test_borda_of_one_rater_has_no_errors():
    c = some_games(3, 20, raters=1)
    alone = Comparisons(c.policies, c.a, c.b, c.outcome, ballot=c.rater)
    assert alone.unit == "ballot"
    rate, total = rates_of_games(alone)
    assert borda_errors(alone, rate, total, 0.9) is None


def test_borda_over_pairs_of_ballots_is_that_over_counted_ballots():
    """Ballots that several voters cast are as many clusters."""
    places = some_places(4, 9)
    weight = np.array([1, 2, 3, 1, 1, 2, 1, 1, 4])
    heavy = Comparisons.of_rankings(as_rankings(places, weight))
    many = Comparisons.of_rankings(as_rankings(np.repeat(places, weight, axis=0)))
    assert (heavy.unit, heavy.count is None) == ("ballot", False)
    rate, total = rates_of_games(heavy)
    found, single = (borda_errors(c, rate, total, 0.9) for c in (heavy, many))
    assert found.covariance == pytest.approx(single.covariance)
    assert found.df == pytest.approx(single.df)
    assert found.null == pytest.approx(single.null)
    pairs = np.array([(own > 0).sum() * ((own > 0).sum() - 1) / 2 for own in places])
    q = np.repeat(pairs, weight) / (pairs @ weight)
    assert found.df[0, 0] == pytest.approx(satterthwaite(q))


def test_what_a_board_takes_of_shares():
    places = some_places(5, 15)
    rate, total = rates_of(places, np.ones(15))
    errors = borda_errors(as_rankings(places), rate, total, 0.9)
    scaled = errors.scaled(3)
    own = bounded_errors(errors.mean, errors.covariance, errors.null, errors.df, 0.9)
    assert scaled["covariance"] == pytest.approx(9 * own.covariance)
    assert scaled["ends"] == pytest.approx(3 * own.ends)
    assert scaled["z"] == pytest.approx(own.z)
    assert scaled["df"] is errors.df


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("binary", [True, False])
def test_shares_of_rows_as_a_slow_twin_has_them(counted, binary):
    rng = np.random.default_rng(0)
    points = rng.random((30, 3))
    if binary:
        points = (points < [0.9, 0.5, 0.2]).astype(float)
    weight = rng.integers(1, 4, 30).astype(float) if counted else rng.uniform(0.5, 2, 30)
    units = weight.sum() if counted else weight.sum() ** 2 / (weight**2).sum()
    total = weight.sum()
    mean = weight @ points / total
    covariance = np.zeros((3, 3))
    for w, row in zip(weight, points, strict=True):
        covariance += (w if counted else w**2) * np.outer(row - mean, row - mean)
    covariance *= units / (units - 1) / total**2
    own = bounded_errors(mean, covariance, np.eye(3) / (4 * units), units - 1, 0.9)
    found = share_errors(points, weight, units=units, counted=counted, level=0.9)
    assert found["covariance"] == pytest.approx(own.covariance)
    ends = np.stack(wilson(mean, units, 0.9), axis=1) if binary else own.ends
    assert found["ends"] == pytest.approx(ends)
    assert ("z" in found, "sets" in found) == (not counted, counted)
    if not counted:
        assert found["z"] == pytest.approx(own.z)
        return
    p = np.ones((3, 3))
    for j in range(3):
        for k in range(3):
            more = int(weight[points[:, j] > points[:, k]].sum())
            less = int(weight[points[:, j] < points[:, k]].sum())
            if more > less:
                p[j, k] = binomtest(more, more + less).pvalue
    assert found["sets"].better.any() == binary
    assert found["sets"].better.tolist() == certain(p, 0.9).tolist()


def test_shares_over_groups_of_ballots():
    places = some_places(6, 40)
    group = [f"g{k}" for k in np.r_[np.arange(20) % 20, np.arange(20) % 7]]
    weight = np.random.default_rng(1).integers(1, 3, 40).astype(float)
    evidence = as_rankings(places, weight, group)
    points = (places == 1).astype(float)
    mean = clustered_mean(points, group, weight)
    clumped = 0.25 * weight.sum() / mean.effective + 0.75
    null = np.eye(N) * clumped / (4 * weight.sum())
    own = bounded_errors(mean.mean, mean.covariance, null, mean.df, 0.9)
    found = over_groups(evidence, points, 0.9)
    assert found["covariance"] == pytest.approx(own.covariance)
    assert found["ends"] == pytest.approx(own.ends)
    assert found["z"] == pytest.approx(own.z)
    assert found["df"] == pytest.approx(np.full((N, N), mean.df))
    assert over_groups(as_rankings(places), points, 0.9) == {}


def test_binomial_tests_are_scipys():
    rng = np.random.default_rng(0)
    wins = rng.integers(0, 15, (5, 5)).astype(float)
    wins[1, 2] = wins[2, 1] = 0
    wins[3, 4] = wins[4, 3] = 3
    found = binomial_tests(wins + 1e-9)
    for j in range(5):
        for k in range(5):
            more, less = int(wins[j, k]), int(wins[k, j])
            p = binomtest(more, more + less).pvalue if more > less and j != k else 1.0
            assert found[j, k] == pytest.approx(p)


def test_majorities_without_clusters_are_counted_without_ties():
    rows = [("a", "b", 1.0, 9), ("b", "a", 0.0, 3), ("b", "a", 1.0, 2), ("a", "b", 0.5, 50)]
    a, b, y, count = zip(*rows, strict=True)
    p = sign_tests(Comparisons.of(a, b, y, count=list(count)))
    assert p[0, 1] == pytest.approx(binomtest(12, 14).pvalue)
    assert p[1, 0] == 1
    ballots = Rankings.of([["a", "b"]] * 7 + [["b", "a"]] + [[["a", "b"]]] * 9)
    p = sign_tests(ballots)
    assert p[0, 1] == pytest.approx(binomtest(7, 8).pvalue)


def slow_majority(vote, weight, cluster):
    """Student's t of the mean vote, with one pseudo-vote for either side."""
    found = clustered_mean(np.array(vote)[:, None], cluster, weight)
    mean, variance = found.mean[0], found.covariance[0, 0]
    spread = (found.df * variance + 1 / found.effective) / (found.df + 1)
    return 2 * norm.sf(abs(as_normal(mean / np.sqrt(spread), found.df)))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("raters", [0, 5])
def test_majorities_of_clustered_or_weighted_votes(raters, weighted):
    if not raters and not weighted:
        return
    c = some_games(7, 90, raters, weighted)
    weight = c.count * (1.0 if c.weight is None else c.weight)
    found = sign_tests(c)
    for j in range(N):
        for k in range(N):
            vote, rows = [], []
            for row in range(90):
                pair = (c.a[row], c.b[row])
                if pair in ((j, k), (k, j)) and c.outcome[row] != 0.5:
                    vote.append(1.0 if (c.outcome[row] > 0.5) == (pair == (j, k)) else -1.0)
                    rows.append(row)
            p = 1.0
            if rows and np.dot(weight[rows], vote) > 1e-12:
                cluster = c.rater.codes[rows] if raters else None
                p = slow_majority(vote, weight[rows], cluster)
            assert found[j, k] == pytest.approx(p)


def test_majorities_that_cannot_be_tested_are_none():
    """One ballot alone, votes that cancel, pairs with ties only."""
    a, b = list("aabbcc"), list("bbccaa")
    one = Comparisons.of(a, b, [1, 1, 1, 0, 0.5, 0.5], ballot=Labels.of(list("xxxyxy")))
    assert (sign_tests(one) == 1).all()
    weightless = Comparisons.of(["a"] * 3, ["b"] * 3, [1, 1, 0], weight=[1, 1, 0])
    p = sign_tests(weightless)
    assert p[0, 1] == pytest.approx(slow_majority([1.0, 1.0], [1, 1], None))


def test_raters_who_vote_twice_on_a_pair_are_clusters():
    once = Comparisons.of(["a"] * 6, ["b"] * 6, [1] * 6, rater=list("uvwxyz"))
    assert sign_tests(once)[0, 1] == pytest.approx(2 / 64)
    back = Comparisons.of(
        ["a"] * 6 + ["b"], ["b"] * 6 + ["a"], [1] * 6 + [0], rater=list("uvwxyzu")
    )
    vote, cluster = [1.0] * 7, [0, 1, 2, 3, 4, 5, 0]
    assert sign_tests(back)[0, 1] == pytest.approx(slow_majority(vote, np.ones(7), cluster))
    counted = Comparisons.of(
        ["a"] * 6, ["b"] * 6, [1] * 6, rater=list("uvwxyz"), count=[2] + [1] * 5
    )
    weight = [2, 1, 1, 1, 1, 1]
    by_hand = slow_majority([1.0] * 6, weight, range(6))
    assert sign_tests(counted)[0, 1] == pytest.approx(by_hand)
    other = Comparisons.of(list("aab"), list("bcc"), [1, 1, 1], rater=list("uuu"))
    assert sign_tests(other)[0, 1] == 1.0
    assert sign_tests(other)[0, 2] == 1.0


def test_holm_by_hand():
    assert holm(np.array([0.3, 0.01, 0.02, 0.2])) == pytest.approx([0.4, 0.04, 0.06, 0.4])
    assert holm(np.array([0.9, 0.8])) == pytest.approx([1, 1])
    assert holm(np.array([0.01, 0.02, 0.02])) == pytest.approx([0.03, 0.04, 0.04])


def test_which_majorities_are_certain():
    p = np.ones((3, 3))
    p[0, 1], p[2, 0], p[1, 2] = 0.01, 0.02, 0.2
    assert np.argwhere(certain(p, 0.95)).tolist() == [[0, 1], [2, 0]]
    assert np.argwhere(certain(p, 0.96)).tolist() == [[0, 1], [2, 0]]
    assert np.argwhere(certain(p, 0.965)).tolist() == [[0, 1]]
    assert np.argwhere(certain(p, 0.8)).tolist() == [[0, 1], [1, 2], [2, 0]]
    assert not certain(p, 0.98).any()


def sure_of(n, *pairs):
    sure = np.zeros((n, n), dtype=bool)
    for j, k in pairs:
        sure[j, k] = True
    return sure


CHAIN = sure_of(4, (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
CYCLE = sure_of(4, (0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3))


def slow_dominated(sure):
    """The row is in a set whose members all beat everyone outside, the column is outside."""
    n = len(sure)
    out = np.zeros((n, n), dtype=bool)
    for bits in range(1, 2**n - 1):
        inside = [p for p in range(n) if bits >> p & 1]
        outside = [p for p in range(n) if not bits >> p & 1]
        if sure[np.ix_(inside, outside)].all():
            out[np.ix_(inside, outside)] = True
    return out


def test_what_majorities_say_of_ratings():
    found = of_majorities(CHAIN)
    assert found.ends.tolist() == [[2, 3], [2, 3], [1, 1], [0, 0]]
    assert found.better.tolist() == CHAIN.tolist()
    assert found.ends.dtype == float
    assert of_dominance(CHAIN).ends.tolist() == [[2, 3], [2, 3], [1, 1], [0, 0]]
    assert of_dominance(CYCLE).ends.tolist() == [[1, 3], [1, 3], [1, 3], [0, 0]]
    assert of_dominance(CYCLE).better.tolist() == sure_of(4, (0, 3), (1, 3), (2, 3)).tolist()
    assert of_dominance(CHAIN).ends.dtype == float
    assert without_ends(CYCLE).ends is None
    assert without_ends(CYCLE).better.tolist() == of_dominance(CYCLE).better.tolist()
    sets = of_dominance(CHAIN).sets
    assert sets.lower.tolist() == [1, 1, 3, 4]
    assert sets.upper.tolist() == [2, 2, 3, 4]
    assert sets.best.tolist() == [True, True, False, False]
    assert sets.better.tolist() == CHAIN.tolist()


def test_of_a_winner_alone():
    winner = sure_of(3, (1, 0), (1, 2), (0, 2))
    assert of_winner(winner).better.tolist() == sure_of(3, (1, 0), (1, 2)).tolist()
    assert of_winner(winner).ends is None
    assert not of_winner(sure_of(3, (0, 2), (1, 2))).better.any()
    assert isinstance(of_winner(winner), Projection)


@pytest.mark.parametrize("seed", range(12))
def test_who_is_dominated_by_all_sets(seed):
    rng = np.random.default_rng(seed)
    draw = rng.random((5, 5)) + np.linspace(0.6, 0, 5)[:, None]
    sure = (draw > draw.T) & (rng.random((5, 5)) < 0.9)
    assert dominated(sure).tolist() == slow_dominated(sure).tolist()
