"""Ranking policies for the real system from simulation and unlabelled real observations."""

import numpy as np
import pytest
from scipy.stats import t

from policyrank.errors import EvidenceError
from policyrank.evaluation.simulation import (
    COMBINERS,
    OOD_SCORES,
    agreement,
    in_distribution,
    knn,
    likelihood,
    mahalanobis,
    p_values,
    sim_to_real,
)


def test_values_by_hand():
    assert p_values([1, 2, 3, 4], [2.5, 5, 0, 2]).tolist() == [0.5, 0, 1, 0.75]
    board = sim_to_real({"a": [0.9], "b": [0.8]}, {"a": [0.5], "b": [0.9]})
    assert (board.policies, board.method) == (("b", "a"), "sim-to-real")
    assert board.rating.tolist() == pytest.approx([0.72, 0.45])
    assert sim_to_real({"a": [0.9], "b": [0.8]}, {"a": [0.7], "b": [0.7]}).policies == ("a", "b")
    assert sim_to_real(
        {"a": [0.9], "b": [0.8]}, {"a": [], "b": []}
    ).rating.tolist() == pytest.approx([0.9, 0.8])
    three = {"a": [0.9], "b": [0.9], "c": [0.1]}
    board = sim_to_real(three, {name: [0.5] for name in three}, combine="rank-sum")
    assert board.rating.tolist() == [1.5 + 1, 1.5 + 1, 0 + 1]  # equal ones share their places
    assert knn(np.array([[0.0], [1.0], [3.0]]), np.array([[0.0], [2.0]]), k=2).tolist() == [1, 1]
    x = np.random.default_rng(0).normal(size=(500, 3)) @ np.diag([1.0, 2.0, 3.0])
    direct = np.einsum(
        "ni,ij,nj->n", x - x.mean(0), np.linalg.inv(np.cov(x, rowvar=False)), x - x.mean(0)
    )
    assert mahalanobis(x, x, shrink=0) == pytest.approx(direct)
    few, at = x[:20, :1], np.array([[0.5], [3.0]])
    apart = (at - few.T) / few.std() / 20 ** (-1 / 5)
    by_hand = -np.log(np.exp(-(apart**2) / 2).sum(axis=1))
    assert likelihood(few, at) == pytest.approx(by_hand)
    dead = np.column_stack([x, np.zeros(500)])
    assert np.isfinite(mahalanobis(dead, dead)).all()


@pytest.mark.parametrize("score", ["knn", "mahalanobis", "likelihood"])
def test_shifted_observations_are_out_and_others_are_uniform(score):
    rng = np.random.default_rng(0)
    seen, held, same = (rng.normal(size=(n, 4)) for n in (400, 400, 2000))
    p = in_distribution(seen, held, same, score)
    assert p.mean() == pytest.approx(0.5, abs=0.04)
    assert (p < 0.1).mean() == pytest.approx(0.1, abs=0.04)
    assert in_distribution(seen, held, same + 3, score).mean() < 0.05


def test_scores_of_outputs():
    logits = np.array([[5.0, 0, 0], [0.1, 0, 0]])
    for name in ("max-softmax", "entropy", "energy"):
        sure, unsure = OOD_SCORES[name](logits, logits)
        assert sure < unsure
    assert OOD_SCORES["ensemble"](logits, np.array([[1.0, 1.0], [0.0, 2.0]])).tolist() == [0, 1]


@pytest.mark.parametrize("combine", ["product", "z-sum", "rank-sum", "logs"])
def test_a_policy_good_in_simulation_alone_falls_back(combine):
    rng = np.random.default_rng(0)
    sim = {
        "narrow": rng.random(500) < 0.95,
        "wide": rng.random(500) < 0.85,
        "bad": rng.random(500) < 0.3,
    }
    real = {
        "narrow": rng.uniform(0, 0.05, 200),
        "wide": rng.uniform(0, 1, 200),
        "bad": rng.uniform(0, 0.9, 200),
    }
    board = sim_to_real(sim, real, combine=combine)
    assert board.policies[0] == "wide"
    assert board.rank_lower[0] == 1
    # A rank that never changed in the resamples shows no error: it has no interval.
    assert not (board.lower > board.rating).any()
    assert np.isfinite(board.lower).sum() >= 2
    again = sim_to_real(sim, real, combine=combine)
    assert np.array_equal(board.lower, again.lower, equal_nan=True)
    found = agreement({"wide": 0.8, "bad": 0.2, "narrow": 0.1}, board)
    assert found["regret@1"] == 0
    assert set(found) == {"spearman", "kendall", "MMRV", "regret@1"}


def test_input_that_cannot_be_used():
    ok = np.zeros((10, 2))
    for trained, held, real, message in (
        (ok, ok, np.zeros((3, 3)), "2, 2 and 3 columns"),
        (ok, np.full((3, 2), np.nan), ok, "held_out: row 1"),
        (ok[:3], ok, ok, "5-th nearest"),
        (ok, ok[:0], ok, "no reference scores"),
    ):
        with pytest.raises(EvidenceError, match=message):
            in_distribution(trained, held, real)
    with pytest.raises(EvidenceError, match="use knn"):
        in_distribution(ok, ok, ok, "x")
    for sim, real, options, message in (
        ({"a": [1]}, {"a": [1]}, {}, "two policies"),
        ({"a": [1], "b": [1]}, {"a": [1]}, {}, "b has only one"),
        ({"a": [1], "b": [1]}, {"a": [1], "b": [1, 0]}, {}, "different numbers"),
        ({"a": [1], "b": [-1]}, {"a": [1], "b": [1]}, {}, "b: simulated scores"),
        ({"a": [1], "b": [1]}, {"a": [1], "b": [1]}, {"combine": "x"}, "use product"),
        ({"a": [1], "b": [np.nan]}, {"a": [1], "b": [1]}, {}, "b: simulated scores"),
        ({"a": [1], "b": [1]}, {"a": [1, 1], "b": [1, np.nan]}, {}, "b: real observation 2 .* nan"),
        ({"a": [1], "b": [1]}, {"a": [1.5], "b": [1]}, {}, "a: real observation 1 .* 1.5"),
        ({"a": [1], "b": [1]}, {"a": [1], "b": [-0.1]}, {}, "b: real observation 1 .* -0.1"),
    ):
        with pytest.raises(EvidenceError, match=message):
            sim_to_real(sim, real, **options)


def test_distances_to_references_one_by_one():
    rng = np.random.default_rng(1)
    reference, observed = (rng.normal(size=(n, 3)) * [1, 5, 0.1] for n in (12, 4))
    apart = [[np.sqrt(((o - r) ** 2).sum()) for r in reference] for o in observed]
    assert knn(reference, observed) == pytest.approx(np.sort(apart, axis=1)[:, 4])
    covariance = np.cov(reference, rowvar=False)
    shrunk = 0.99 * covariance + 0.01 * np.trace(covariance) / 3 * np.eye(3)
    off = observed - reference.mean(axis=0)
    direct = [row @ np.linalg.inv(shrunk) @ row for row in off]
    assert mahalanobis(reference, observed) == pytest.approx(direct)
    sd = reference.std(axis=0)
    for width in (None, 0.3):
        h = width or 12 ** (-1 / 7)
        density = [
            sum(np.exp(-(((o - r) / sd / h) ** 2).sum() / 2) for r in reference) for o in observed
        ]
        assert likelihood(reference, observed, width) == pytest.approx(-np.log(density))
    flat = reference * [1, 1, 0]
    away = observed + np.array([0, 0, 7])
    assert likelihood(flat, away)[0] > likelihood(flat, observed)[0] + 40
    assert mahalanobis(np.ones((4, 2)), np.array([[1.0, 2.0]])) == pytest.approx([1e14])


def test_many_observations_are_taken_in_parts():
    rng = np.random.default_rng(2)
    reference, observed = rng.normal(size=(2500, 1)), rng.normal(size=(5000, 1))
    whole = knn(reference, observed, k=1)
    assert whole[[0, 2400, 4999]] == pytest.approx(
        np.abs(observed[[0, 2400, 4999]] - reference.T).min(axis=1), abs=1e-6
    )
    assert len(whole) == 5000


def test_scores_of_logits_by_hand():
    logits = np.array([[2.0, 0.0, -1.0], [0.5, 0.5, 0.0]])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = {name: score(logits, logits) for name, score in OOD_SCORES.items() if name != "knn"}
    assert found["max-softmax"] == pytest.approx(-p.max(axis=1))
    assert found["entropy"] == pytest.approx(-(p * np.log(p)).sum(axis=1))
    assert found["energy"] == pytest.approx(-np.log(np.exp(logits).sum(axis=1)))
    assert found["ensemble"] == pytest.approx(logits.var(axis=1))


def test_rates_of_real_observations_are_shares_of_those_held_out():
    rng = np.random.default_rng(3)
    trained, held, real = (rng.normal(size=(n, 2)) for n in (30, 20, 10))
    for name in ("knn", "mahalanobis", "energy"):
        score = OOD_SCORES[name]
        theirs, ours = score(trained, held), score(trained, real)
        shares = [(theirs >= one).mean() for one in ours]
        assert in_distribution(trained, held, real, name) == pytest.approx(shares)
    assert in_distribution(trained, held, real) == pytest.approx(
        in_distribution(trained, held, real, "knn")
    )


@pytest.mark.parametrize("combine", COMBINERS)
def test_how_scores_and_rates_are_combined(combine):
    s, q = np.array([0.2, 0.9, 0.9, 0.0]), np.array([0.5, 0.1, 0.0, 1.0])
    ranks = [np.array([1, 2.5, 2.5, 0]), np.array([2, 1, 0, 3])]
    by_hand = {
        "product": s * q,
        "z-sum": (s - s.mean()) / s.std() + (q - q.mean()) / q.std(),
        "rank-sum": ranks[0] + ranks[1],
        "logs": np.log([0.2, 0.9, 0.9, 1e-6]) + np.log([0.5, 0.1, 1e-6, 1]) / 2,
    }
    assert COMBINERS[combine](s, q) == pytest.approx(by_hand[combine])
    both = COMBINERS[combine](np.stack([s, s[::-1]]), np.stack([q, q[::-1]]))
    assert both == pytest.approx(np.stack([by_hand[combine], by_hand[combine][::-1]]))
    if combine == "z-sum":
        assert COMBINERS[combine](s, np.ones(4)) == pytest.approx((s - s.mean()) / s.std())


def test_simulation_alone_has_the_intervals_of_means():
    """Student's t with the episodes of the policy that has the fewest."""
    rng = np.random.default_rng(4)
    simulated = {"a": rng.random(9), "b": rng.random(30)}
    empty = {"a": [], "b": []}
    board = sim_to_real(simulated, empty, resamples=40_000, level=0.9)
    for k, name in enumerate(board.policies):
        own = simulated[name]
        error = own.std() / np.sqrt(len(own)) * np.sqrt(9 / 8)
        half = t.ppf(0.95, 8) * error
        assert board.rating[k] == pytest.approx(own.mean())
        assert board.upper[k] - board.lower[k] == pytest.approx(2 * half, rel=0.05)
        assert board.n[k] == len(own)
    assert board.source == "1 real observations"
    assert board.settings["combine"] == "product"
    assert board.unit == "product of simulated score and in-distribution rate"
    assert board.level == 0.9


def test_real_observations_are_drawn_for_all_policies_at_once():
    """Episodes that never vary: the error is that of the rates; equal rates move together."""
    rates = np.random.default_rng(5).random(12)
    simulated = {"a": [0.8] * 40, "b": [0.4] * 40}
    board = sim_to_real(simulated, {"a": rates, "b": rates}, resamples=40_000)
    half = t.ppf(0.975, 11) * rates.std(ddof=1) / np.sqrt(12)
    for k, own in enumerate((0.8, 0.4)):
        assert board.upper[k] - board.lower[k] == pytest.approx(2 * own * half, rel=0.05)
    assert board.better[0, 1]
    assert board.source == "12 real observations"
    single = sim_to_real({"a": [0.8] * 40, "b": [0.4] * 3}, {"a": [1, 0.5], "b": [0, 1]})
    assert np.isfinite(single.rating).all()
    default = sim_to_real(simulated, {"a": rates, "b": rates})
    same = sim_to_real(simulated, {"a": rates, "b": rates}, resamples=1000, level=0.95, seed=0)
    assert (default.lower == same.lower).all()
    other = sim_to_real(simulated, {"a": rates, "b": rates}, seed=1)
    assert (default.lower != other.lower).all()


def test_agreement_by_hand():
    found = agreement({"x": 0.9, "y": 0.5, "z": 0.1, "w": 0.3}, {"w": 9, "x": 3, "y": 2, "z": 1})
    # The guess puts w first: x, y and w are violated by .6 at most.
    assert found["spearman"] == pytest.approx(1 - 6 * (1 + 1 + 0 + 4) / (4 * 15))
    assert found["kendall"] == pytest.approx((4 - 2) / 6)
    assert found["MMRV"] == pytest.approx((0.6 + 0.2 + 0 + 0.6) / 4)
    assert found["regret@1"] == pytest.approx(0.6)
