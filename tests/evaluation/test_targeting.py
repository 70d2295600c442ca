"""Estimates of effects, ranked by what treating by them brings."""

import numpy as np
import pytest

from policyrank.errors import EvidenceError
from policyrank.evaluation.cross_fitting import pseudo_outcomes
from policyrank.evaluation.targeting import STATISTICS, rank_effects
from policyrank.metrics.effects import autoc, treatment_regret


def test_effects_are_ranked_by_what_treating_by_them_brings():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(3000, 2))
    effect = x[:, 0]
    treated = rng.integers(2, size=3000)
    outcome = x[:, 1] + treated * effect + rng.normal(size=3000)
    scores = pseudo_outcomes(outcome, treated, x[:, 1] + effect, x[:, 1], np.full(3000, 0.5))
    estimates = {
        "true": effect,
        "noisy": effect + rng.normal(size=3000),
        "random": rng.normal(size=3000),
        "reversed": -effect,
    }
    for statistic, number in (("autoc", autoc), ("value", None), ("qini", None)):
        board = rank_effects(estimates, scores, statistic)
        assert board.policies == ("true", "noisy", "random", "reversed")
        assert board.rank_upper.tolist() == [1, 2, 3, 4]
        if number is not None:
            assert board.rating[1] == pytest.approx(number(estimates["noisy"], scores))
    value = rank_effects(estimates, effect, "value")
    regret = value.rating[0] - value.rating[1]
    assert regret == pytest.approx(treatment_regret(estimates["noisy"], effect))
    # Of a normal effect: E[max(effect, 0)] = 1 / sqrt(2 pi)
    assert value.rating[0] == pytest.approx(1 / np.sqrt(2 * np.pi), abs=0.03)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_influence_is_the_derivative_by_weights(statistic):
    rng = np.random.default_rng(0)
    t, y, w = rng.normal(size=12), rng.normal(size=12), rng.random(12) + 0.5
    function, _ = STATISTICS[statistic]
    _, influence = function(t, y, w)
    for row in range(12):
        step = np.zeros(12)
        step[row] = 1e-6
        slope = (function(t, y, w + step)[0] - function(t, y, w - step)[0]) / 2e-6
        assert influence[row] == pytest.approx(slope * w.sum(), abs=1e-6)
    tied = np.round(t)
    _, influence = function(tied, y, w)
    assert w @ influence == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("statistic", ["autoc", "qini"])
def test_a_constant_orders_nothing_whatever_the_rows(statistic):
    rng = np.random.default_rng(3)
    first, constant = 0, np.zeros(200)
    for _ in range(60):
        y = rng.normal(size=200)
        estimates = {"constant": constant, "lot": rng.normal(size=200)}
        board = rank_effects(estimates, y, statistic)
        assert board.rating[board.policies.index("constant")] == pytest.approx(0, abs=1e-12)
        first += board.better.any()
        order = rng.permutation(200)
        moved = rank_effects({k: v[order] for k, v in estimates.items()}, y[order], statistic)
        assert np.allclose(board.rating, moved.rating)
        assert np.array_equal(board.better, moved.better)
    assert first <= 8
    assert any("constant: the same estimate" in str(note) for note in board.notes)


def test_autoc_intervals_cover():
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(100):
        x = rng.normal(size=400)
        board = rank_effects({"a": x, "b": rng.normal(size=400)}, x + rng.normal(size=400))
        k = board.policies.index("a")
        hits += board.lower[k] <= 0.9032 <= board.upper[k]  # E[phi(Z) / (1 - Phi(Z))]
    assert hits >= 89


def test_clusters_of_unequal_size_cover():
    """Ten clusters with a level of their own: errors of rows alone hold a third."""
    inside, alone = 0, 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        cluster = rng.choice(10, 300, p=rng.dirichlet(np.full(10, 0.5)))
        y = rng.normal(size=10)[cluster] + rng.normal(size=300)
        estimates = {"all": np.ones(300), "none": -np.ones(300)}
        board = rank_effects(estimates, y, "value", cluster=cluster)
        k = board.policies.index("all")
        inside += board.lower[k] <= 0 <= board.upper[k]
        loose = rank_effects(estimates, y, "value")
        k = loose.policies.index("all")
        alone += loose.lower[k] <= 0 <= loose.upper[k]
    assert inside >= 88
    assert alone < 50


def test_weights_count_as_repeated_rows_and_one_cluster_gives_no_interval():
    rng = np.random.default_rng(0)
    y, t, times = rng.normal(size=40), rng.normal(size=40), rng.integers(1, 4, size=40)
    rows = np.repeat(np.arange(40), times)
    estimates = {"x": t, "y": -t}
    weighted = rank_effects(estimates, y, "value", weight=times, cluster=np.arange(40))
    repeated = rank_effects(
        {k: v[rows] for k, v in estimates.items()}, y[rows], "value", cluster=rows
    )
    assert np.allclose(weighted.rating, repeated.rating)
    assert np.allclose(weighted.lower, repeated.lower)
    assert "few" in {note.kind for note in rank_effects(estimates, y).notes}
    one = rank_effects(estimates, y, cluster=np.zeros(40))
    assert np.isnan(one.lower).all()
    assert one.better is None
    assert any("one cluster" in str(note) for note in one.notes)


def test_input_that_cannot_be_used():
    y = np.arange(4.0)
    for estimates, options, message in (
        ({"a": y}, {}, "two estimates"),
        ({"a": y, "short": y[1:]}, {}, "short: 4 finite"),
        ({"a": y, "b": np.full(4, np.nan)}, {}, "b: 4 finite estimates"),
        ({"a": y, "b": -y}, {"statistic": "x"}, "use one of autoc"),
        ({"a": y, "b": -y}, {"weight": [1, 1, 1, -1]}, "weight is one number a row"),
    ):
        with pytest.raises(EvidenceError, match=message):
            rank_effects(estimates, y, **options)
    with pytest.raises(EvidenceError, match="one finite number"):
        rank_effects({"a": y, "b": y}, [1, 2, np.nan, 3])
