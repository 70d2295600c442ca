"""Ranking policies for the real system from simulation and unlabelled real observations."""

import numpy as np
import pytest

from policyrank.errors import EvidenceError
from policyrank.evaluation.simulation import (
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
