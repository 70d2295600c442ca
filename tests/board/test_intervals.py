"""Quantiles, draws of errors, means over clusters: against scipy and slow twins."""

import numpy as np
import pytest
from scipy import stats

from policyrank.board import clustered_mean, intervals
from policyrank.board.clusters import satterthwaite
from policyrank.board.intervals import (
    as_normal,
    error_draws,
    generator,
    percentile_interval,
    quantile,
)
from policyrank.errors import EvidenceError


def some_covariance(seed, n):
    root = np.random.default_rng(seed).normal(size=(n, n))
    return root @ root.T


def test_a_seed_starts_a_generator_and_a_generator_goes_on():
    assert generator(3).random() == np.random.default_rng(3).random()
    rng = np.random.default_rng(0)
    assert generator(rng) is rng


@pytest.mark.parametrize("p", [0.025, 0.5, 0.9, 0.975])
def test_quantiles_are_scipys(p):
    freedom = np.array([0.5, 1, 3, 1e6, np.inf])
    theirs = [*stats.t.ppf(p, freedom[:-1]), stats.norm.ppf(p)]
    assert quantile(p, freedom) == pytest.approx(theirs, rel=1e-9, abs=1e-12)
    assert quantile(p, None) == pytest.approx(stats.norm.ppf(p))
    assert isinstance(quantile(p, 3), float)
    assert quantile(p, [[2]]).shape == (1, 1)


def test_normal_deviates_are_as_rare_as_t():
    t = np.array([-8.0, -1.0, -0.0, 0.3, 2.0, 40.0])
    freedom = np.array([[1.0], [2.5], [30.0]])
    theirs = np.sign(t) * stats.norm.isf(stats.t.sf(np.abs(t), freedom))
    assert as_normal(t, freedom) == pytest.approx(theirs, rel=1e-6, abs=1e-12)
    assert as_normal([3, -3, 3], [np.inf, np.inf, np.nan]).tolist() == [3, -3, 0]
    # Beyond what doubles hold all is as rare as 1e-300.
    assert as_normal(-1e300, 100) == pytest.approx(stats.norm.ppf(1e-300))


def test_percentiles_are_widened_by_t():
    rng = np.random.default_rng(0)
    draws, rating = rng.normal(size=(400, 3)) ** 3, np.array([5.0, 0.0, -1.0])
    freedom = np.array([2.0, 7.0, np.inf])
    low, high = percentile_interval(rating, draws, freedom, 0.8)
    for k in range(3):
        wider = stats.t.ppf(0.9, freedom[k]) / stats.norm.ppf(0.9)
        assert low[k] == pytest.approx(rating[k] + wider * np.quantile(draws[:, k], 0.1))
        assert high[k] == pytest.approx(rating[k] + wider * np.quantile(draws[:, k], 0.9))
    low, high = percentile_interval(rating, draws, None, 0.5)
    assert low == pytest.approx(rating + np.quantile(draws, 0.25, axis=0))
    assert high == pytest.approx(rating + np.quantile(draws, 0.75, axis=0))


@pytest.mark.parametrize("many", [1000, 3])
def test_draws_of_errors_have_the_covariance(many, monkeypatch):
    """By eigenvectors, and by Cholesky's root where there are many policies."""
    monkeypatch.setattr(intervals, "MANY", many)
    covariance = some_covariance(1, 4)
    kept = covariance.copy()
    draws = error_draws(covariance, 200_000)
    assert draws.shape == (200_000, 4)
    assert (covariance == kept).all()
    assert draws.mean(axis=0) == pytest.approx(np.zeros(4), abs=0.02)
    assert np.cov(draws, rowvar=False) == pytest.approx(covariance, abs=0.05)
    again = error_draws(covariance, 200_000, seed=0)
    assert (draws == again).all()
    assert (draws != error_draws(covariance, 200_000, seed=1)).all()


def test_draws_of_many_are_cholesky_of_the_same_normals(monkeypatch):
    monkeypatch.setattr(intervals, "MANY", 4)
    covariance = some_covariance(2, 5)
    normals = np.random.default_rng(7).standard_normal((6, 5))
    by_hand = normals @ np.linalg.cholesky(covariance).T
    assert error_draws(covariance, 6, seed=7) == pytest.approx(by_hand, abs=1e-6)
    # Five places of a centred covariance: it has no root without the ridge.
    centre = np.eye(5) - 0.2
    centred = error_draws(centre, 1000)
    assert np.abs(centred.sum(axis=1)).max() < 1e-3
    with pytest.raises(EvidenceError, match="positive semidefinite"):
        error_draws(np.diag([1.0, 1, 1, 1, -1]), 3)


def test_a_direction_without_variance_is_not_drawn():
    draws = error_draws([[1, -1], [-1, 1]], 100)
    assert draws[:, 0] == pytest.approx(-draws[:, 1], abs=1e-7)
    tiny = error_draws(np.diag([1.0, -1e-17]), 100)
    assert (tiny[:, 1] == 0).all()


def slow_clustered_mean(table, cluster, weight):
    """CR2 of a weighted mean, a cluster at a time."""
    total = sum(weight)
    mean = sum(w * row for w, row in zip(weight, table, strict=True)) / total
    covariance, shares = np.zeros((len(mean),) * 2), []
    for name in sorted(set(cluster)):
        rows = [k for k, own in enumerate(cluster) if own == name]
        share = sum(weight[k] for k in rows) / total
        score = sum(weight[k] * (table[k] - mean) for k in rows) / total
        covariance += np.outer(score, score) / (1 - share)
        shares.append(share)
    q = np.array(shares)
    a = q**2 / (1 - q)
    both = sum(a[j] * a[k] for j in range(len(a)) for k in range(len(a)) if j != k)
    return mean, covariance, max(1.0, 1 / (sum(q**2) + both)), q


@pytest.mark.parametrize("seed", range(6))
def test_means_over_clusters_as_a_slow_twin_has_them(seed):
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(14, 3))
    cluster = rng.choice(list("abcde"), 14)
    weight = rng.integers(0, 4, 14) / 100
    cluster[weight == 0] = "z"
    mean, covariance, df, q = slow_clustered_mean(table, cluster, weight)
    found = clustered_mean(table, cluster, weight)
    assert found.mean == pytest.approx(mean)
    assert found.covariance == pytest.approx(covariance)
    assert found.df == pytest.approx(df)
    assert found.clusters == (q > 0).sum()
    assert found.effective == pytest.approx(1 / (q**2).sum())
    assert found.largest == pytest.approx(q.max())


def test_rows_without_clusters_are_independent():
    table = np.random.default_rng(0).normal(size=(9, 2))
    found = clustered_mean(table)
    assert found.covariance == pytest.approx(np.cov(table, rowvar=False) / 9)
    assert (found.df, found.clusters) == (pytest.approx(8), 9)
    weighed = clustered_mean(table, None, [1, 1, 1, 0, 0, 0, 0, 0, 0])
    assert weighed.mean == pytest.approx(table[:3].mean(axis=0))
    assert weighed.covariance == pytest.approx(np.cov(table[:3], rowvar=False) / 3)


def test_one_cluster_with_all_the_weight_tells_no_error():
    found = clustered_mean(np.ones((3, 2)), ["a", "a", "b"], [1, 2, 0])
    assert found.covariance.shape == (2, 2)
    assert np.isnan(found.covariance).all()
    assert np.isnan(found.df)
    assert (found.clusters, found.effective, found.largest) == (1, 1, 1)
    with pytest.raises(EvidenceError, match="at least one row"):
        clustered_mean([[1.0]], None, [0])


def test_degrees_of_freedom_are_at_least_one():
    assert satterthwaite([1, 1e-9]) == pytest.approx(1)
    assert satterthwaite(np.ones(7)) == pytest.approx(6)
    assert satterthwaite([2, 2, 1]) == pytest.approx(9 / 5)
