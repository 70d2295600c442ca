"""Intervals for bounded values, means over clusters, rank sets: exact values and properties."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import beta, binomtest, norm, t

from policyrank.board import clustered_mean, rank_confidence_sets, rank_probabilities, rank_sets
from policyrank.board.bounded import (
    bounded_errors,
    clopper_pearson,
    dispersion,
    far_from_half,
    gaffke,
    q_wilson,
    share_interval,
    tango,
    wilson,
)
from policyrank.board.clusters import satterthwaite
from policyrank.board.intervals import as_normal, error_draws
from policyrank.errors import EvidenceError

UNIT = st.lists(st.floats(0, 1), min_size=2, max_size=12)


def of_values(values, prior, level=0.95):
    x = np.asarray(values, dtype=float)
    psi = dispersion(x.mean(), x.var(ddof=1) / len(x), prior / (4 * len(x)), len(x) - 1)
    return tuple(float(end) for end in q_wilson(x.mean(), psi, len(x) - 1, level))


@pytest.mark.parametrize(
    ("values", "prior", "level", "ends"),
    [
        ((1, 1, 1), 2 / 3, 0.95, (0.19554, 1)),
        ((1, 1, 1), 1 / 2, 0.95, (0.24477, 1)),
        ((1, 1, 1), 1, 0.95, (0.13945, 1)),
        ((1, 1, 1), 1 / 2, 0.8, (0.62791, 1)),
        ((1, 1, 1), 1 / 2, 0.99, (0.05741, 1)),
        ((0.5, 0.5, 0.5), 2 / 3, 0.95, (0.11977, 0.88023)),
        ((1, 0.75, 1, 0.5, 1), 1 / 2, 0.95, (0.44636, 0.97551)),
        ((1,) * 8 + (0,) * 2, 1, 0.95, (0.42951, 0.95506)),
    ],
)
def test_q_wilson_values(values, prior, level, ends):
    assert of_values(values, prior, level) == pytest.approx(ends, abs=1e-5)


@given(UNIT, st.sampled_from([1 / 3, 2 / 3, 1.0]), st.sampled_from([0.8, 0.95, 0.99]))
@settings(max_examples=100, deadline=None)
def test_q_wilson_is_symmetric_within_its_range_and_never_empty(values, prior, level):
    low, high = of_values(values, prior, level)
    assert 0 <= low < high <= 1
    assert low - 1e-12 <= np.mean(values) <= high + 1e-12
    mirrored = of_values([1 - x for x in values], prior, level)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)
    assert of_values(values[::-1], prior, level) == pytest.approx((low, high), abs=1e-12)


@given(st.integers(0, 30), st.integers(1, 30), st.sampled_from([0.8, 0.95, 0.99]))
@settings(max_examples=60, deadline=None)
def test_pass_rates_against_scipy(passed, failed, level):
    n = passed + failed
    theirs = binomtest(passed, n).proportion_ci(level, method="wilson")
    assert wilson(passed / n, n, level) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    exact = binomtest(passed, n).proportion_ci(level, method="exact")
    assert clopper_pearson(passed / n, n, level) == pytest.approx((exact.low, exact.high))


def test_gaffke_is_clopper_pearson_of_pass_or_fail():
    assert gaffke([1, 1, 1]) == pytest.approx((0.025 ** (1 / 3), 1), abs=0.012)
    assert gaffke([0.5] * 3) == pytest.approx((0.146201, 0.853799), abs=0.012)
    assert gaffke([1, 0.75, 1, 0.5, 1]) == pytest.approx((0.3927, 0.9813), abs=0.012)
    low, high = gaffke([1] * 7 + [0] * 3, 0.9)
    assert low == pytest.approx(beta.ppf(0.05, 7, 4), abs=0.012)
    assert high == pytest.approx(beta.ppf(0.95, 8, 3), abs=0.012)


@pytest.mark.parametrize(
    ("table", "ends"),
    [
        ((36, 12, 2, 0), (0.06111, 0.34471)),
        ((20, 9, 1, 10), (0.05514, 0.35707)),
        ((54, 0, 0, 0), (-0.06641, 0.06641)),
        ((10, 0, 0, 0), (-0.27753, 0.27753)),
        ((0, 30, 0, 0), (0.77297, 1)),
        ((2, 1, 0, 0), (-0.41533, 0.79234)),
    ],
)
def test_tango_values(table, ends):
    assert tango(*table) == pytest.approx(ends, abs=1e-5)
    both, first, second, neither = table
    low, high = tango(both, second, first, neither)
    assert (-high, -low) == pytest.approx(ends, abs=1e-5)


def test_means_over_unequal_clusters():
    found = clustered_mean([[1], [2], [3], [4], [10], [12]], list("aaaabc"))
    assert found.mean[0] == pytest.approx(5.333333)
    assert np.sqrt(found.covariance[0, 0]) == pytest.approx(3.593203, abs=1e-6)
    assert found.df == pytest.approx(25 / 17)
    assert (found.clusters, found.effective) == (3, pytest.approx(2.0))
    assert satterthwaite([60, 20, 10, 5, 5]) == pytest.approx(1.864830, abs=1e-6)
    assert satterthwaite([96, 1, 1, 1, 1]) == pytest.approx(1.063130, abs=1e-6)
    alone = clustered_mean([[1.0], [2.0]], ["x", "x"])
    assert np.isnan(alone.df)
    assert np.isnan(alone.covariance).all()


def test_t_as_a_normal_deviate():
    assert as_normal(2.5, np.inf) == 2.5
    assert as_normal(-2.5, 4) == -as_normal(2.5, 4)
    assert as_normal(9.0, np.nan) == 0
    assert np.isfinite(as_normal(1e9, 50.0))
    assert as_normal(12.706204736, 1) == pytest.approx(1.959963985)


def test_step_down_of_marginal_sets():
    """The first critical value rejects one order, the second, without it, one more."""
    x, options = [0, 3.05, 3.25], {"size": 200_000, "simultaneous": False}
    single = rank_confidence_sets(x, np.eye(3), stepdown=False, **options)
    sharper = rank_confidence_sets(x, np.eye(3), **options)
    assert (single.lower[0], single.upper[0]) == (2, 3)
    assert (sharper.lower[0], sharper.upper[0]) == (3, 3)


def test_of_too_many_the_best_are_those_whose_set_starts_at_one(monkeypatch):
    monkeypatch.setattr(rank_sets, "MANY", 2)
    for simultaneous in (True, False):
        sets = rank_confidence_sets([3.0, 1.0, 3.1], np.eye(3) * 0.01, simultaneous=simultaneous)
        assert sets.best.tolist() == [True, False, True]


def test_one_policy_alone_is_the_best():
    sets = rank_confidence_sets([1.0], [[0.1]])
    assert (sets.lower.tolist(), sets.upper.tolist(), sets.best.tolist()) == ([1], [1], [True])
    assert sets.better.tolist() == [[False]]


def test_critical_values_of_equal_variances():
    """A gap just above the all-pairs critical value is told apart, one just below is not."""
    for n, critical in ((2, 1.9600), (3, 2.3437), (5, 2.7278), (10, 3.1637)):
        for gap, told in ((critical * 1.02, True), (critical * 0.98, False)):
            x = np.zeros(n)
            x[0] = gap * np.sqrt(2)
            sets = rank_confidence_sets(x, np.eye(n), size=200_000, stepdown=False)
            assert sets.better[0, 1] == told


def test_policies_that_may_be_best_are_fewer_than_the_sets_say():
    rng = np.random.default_rng(0)
    sharp = wide = held = 0
    for trial in range(200):
        x = rng.normal(size=5) + np.array([1.0, 0, 0, 0, 0])
        sets = rank_confidence_sets(x, np.eye(5), size=2000, seed=trial)
        assert not (sets.best & (sets.lower > 1)).any()
        sharp, wide = sharp + sets.best.sum(), wide + (sets.lower == 1).sum()
        held += sets.best[0]
    assert sharp < wide
    assert held >= 183


def test_ties_share_their_ranks_in_draws():
    found = rank_probabilities([1.0, 1.0, 0.0], np.zeros((7, 3)))
    assert found.tolist() == [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]]
    draws = error_draws(np.eye(4), 500).round(0)
    shares = rank_probabilities(np.zeros(4), draws)
    assert shares.sum(axis=0) == pytest.approx(np.ones(4))
    assert shares.sum(axis=1) == pytest.approx(np.ones(4))
    order = [2, 0, 3, 1]
    assert rank_probabilities(np.zeros(4), draws[:, order]) == pytest.approx(shares[order])


def test_few_degrees_of_freedom_by_pair():
    x, cov = [3.0, 0.0, -3.0], np.eye(3) * 0.5
    df = np.full((3, 3), np.inf)
    df[0, 1] = df[1, 0] = 1.0
    sure = rank_confidence_sets(x, cov)
    doubted = rank_confidence_sets(x, cov, df=df)
    assert sure.better[0, 1]
    assert not doubted.better[0, 1]
    assert doubted.better[0, 2]
    df[0, 2] = df[2, 0] = np.nan
    assert not rank_confidence_sets(x, cov, df=df).better[0, 2]


def test_the_best_alone_has_the_one_sided_critical_value():
    for gap, may in ((1.58, True), (1.72, False)):
        sets = rank_confidence_sets([0.0, gap * np.sqrt(2)], np.eye(2), size=200_000)
        assert sets.best.tolist() == [may, True]
        assert sets.lower.tolist() == [1, 1]


def slow_wilson(mean, q):
    """The means m within q m (1 - m) of the squared distance: ends by bisection."""

    def inside(m):
        return (m - mean) ** 2 <= q * m * (1 - m) + 1e-15

    ends = []
    for end in (0.0, 1.0):
        near, far = mean, end
        for _ in range(200):
            middle = (near + far) / 2
            near, far = (middle, far) if inside(middle) else (near, middle)
        ends.append(near)
    return ends


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_ends_solve_their_equation(level):
    mean, psi = np.array([0.1, 0.5, 0.93, 0.5]), np.array([0.05, 0.3, 0.01, 2.0])
    df = np.array([2.0, 9.0, np.inf, 1.0])
    quantiles = t.ppf((1 + level) / 2, df)
    quantiles[2] = norm.ppf((1 + level) / 2)
    low, high = q_wilson(mean, psi, df, level)
    for k in range(4):
        slow = slow_wilson(mean[k], quantiles[k] ** 2 * psi[k])
        assert (low[k], high[k]) == pytest.approx(tuple(slow), abs=1e-9)
    assert (q_wilson(mean, psi, df)[0] == q_wilson(mean, psi, df, 0.95)[0]).all()
    assert wilson(0.3, 9) == wilson(0.3, 9, 0.95)
    assert clopper_pearson(0.3, 9) == clopper_pearson(0.3, 9, 0.95)
    assert gaffke([0.2, 0.6]) == gaffke([0.2, 0.6], 0.95)
    assert tango(3, 4, 1, 2) == tango(3, 4, 1, 2, 0.95)
    low, high = q_wilson([0.0, 1.0], [0.1, 0.1], 5)
    assert (low[0], high[1]) == (0, 1)
    assert 0 < high[0] < 1
    assert 0 < low[1] < 1


def test_dispersion_has_one_pseudo_unit_of_prior():
    for m, variance, null, df in ((0.3, 0.02, 0.05, 7.0), (1.0, 0.0, 0.1, 2.0)):
        slow = (df * variance + null) / (df * m * (1 - m) + 1 / 4)
        assert dispersion(m, variance, null, df) == pytest.approx(slow)


def test_errors_of_bounded_means_pair_by_pair():
    rng = np.random.default_rng(0)
    values = rng.random((9, 3)) * [1, 0.5, 0.8]
    mean, covariance = values.mean(axis=0), np.cov(values, rowvar=False) / 9
    null = np.eye(3) / 36 + 0.002
    df = np.array([[8.0, 7, 6], [7, 5, 4], [6, 4, np.nan]])
    found = bounded_errors(mean, covariance, null, df, 0.9)
    for j in range(3):
        for k in range(3):
            if j == k:
                psi = dispersion(mean[j], covariance[j, j], null[j, j], df[j, j])
                ends = q_wilson(mean[j], psi, df[j, j], 0.9)
                assert found.ends[j] == pytest.approx(np.array(ends), nan_ok=True)
                assert found.z[j, j] == 0
            else:
                variance = covariance[j, j] + covariance[k, k] - 2 * covariance[j, k]
                prior = null[j, j] + null[k, k] - 2 * null[j, k]
                half = 0.5 + (mean[j] - mean[k]) / 2
                psi = dispersion(half, variance / 4, prior / 4, df[j, k])
                z = as_normal((half - 0.5) / np.sqrt(psi / 4), df[j, k])
                assert found.z[j, k] == pytest.approx(z)
                assert far_from_half(half, psi, df[j, k]) == pytest.approx(z)
            known = 1.0 if np.isnan(df[j, k]) else df[j, k]
            slow = (known * covariance[j, k] + null[j, k]) / (known + 1)
            assert found.covariance[j, k] == pytest.approx(slow)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_shares_of_clusters(level):
    x, cluster = np.array([1, 1, 0, 1, 0.5, 1, 0, 1]), list("aabbbcdd")
    mean = clustered_mean(x[:, None], cluster)
    null = (0.25 + 0.75 * mean.effective / 8) / (4 * mean.effective)
    psi = dispersion(x.mean(), mean.covariance[0, 0], null, mean.df)
    ends = np.array(q_wilson(x.mean(), psi, mean.df, level))
    assert share_interval(x, cluster, level) == pytest.approx(ends)
    if level == 0.95:
        assert share_interval(x, cluster) == share_interval(x, cluster, 0.95)
    assert share_interval([1, 1], ["a", "a"]) == (0, 1)
    alone = share_interval(x)
    assert alone == share_interval(x, list(range(8)))


def test_gaffke_by_its_own_draws():
    values = [0.9, 0.1, 0.4]
    share = np.random.default_rng(0).dirichlet(np.ones(4), 20_000)
    inner = share[:, :3] @ np.sort(values)
    low, high = gaffke(values, 0.8)
    assert low == pytest.approx(np.quantile(inner, 0.1))
    assert high == pytest.approx(np.quantile(inner + share[:, 3], 0.9))
    assert gaffke([1, 1])[1] == 1
    for wrong in ([-0.1, 0.5], [0.5, 1.1]):
        with pytest.raises(EvidenceError, match="gaffke: values lie in"):
            gaffke(wrong)
    assert gaffke([0, 0])[0] == 0


def slow_share(counts, difference):
    """The likeliest share that only the second passes, given the difference of the rates."""
    both, first, second, neither = counts

    def unlikely(p):
        probabilities = np.clip([p + difference, p, 1 - 2 * p - difference], 1e-12, None)
        return -np.dot([first, second, both + neither], np.log(probabilities))

    reach = (max(0, -difference), (1 - difference) / 2)
    return minimize_scalar(unlikely, bounds=reach, options={"xatol": 1e-12}).x


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_tango_solves_its_score_equation(level):
    """At the ends the score statistic is the quantile, its variance by the restricted maximum."""
    z = norm.ppf((1 + level) / 2)
    for counts in ((5, 4, 1, 3), (0, 6, 5, 0), (9, 1, 3, 2)):
        both, first, second, neither = counts
        n = both + first + second + neither
        for end in tango(both, first, second, neither, level):
            p = slow_share(counts, end)
            spread = np.sqrt(n * (2 * p + end * (1 - end)))
            assert abs(first - second - n * end) == pytest.approx(z * spread, rel=1e-3)
    with pytest.raises(EvidenceError, match="there is no task"):
        tango(0, 0, 0, 0)
    assert tango(0, 1, 0, 0)[1] == 1
