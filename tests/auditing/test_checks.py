"""Audit: exact values and simulations of the leaderboard-illusion card, checks that find what was
planted.
"""

import json

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.special import expit

import policyrank as pr
from generators import planted
from policyrank.auditing import (
    audit,
    best_of_n_bias,
    deflate,
    effective_resistance,
    expected_max_normal,
    fewest_battles,
    gini,
    hhi,
    leave_out,
    rating_sd,
    simulate_drift_with_removal,
    simulate_private_testing,
    variants_to_explain,
)
from policyrank.errors import EvidenceError, OptionError
from policyrank.evidence import Comparisons, Rankings, Scores
from policyrank.ranking.conventions import ELO


def test_card_constants():
    for n, c in {2: 0.564, 3: 0.846, 5: 1.163, 10: 1.539, 20: 1.867}.items():
        assert expected_max_normal(n) == pytest.approx(c, abs=6e-4)
    assert expected_max_normal(2) == pytest.approx(1 / np.sqrt(np.pi), abs=1e-9)
    assert expected_max_normal(27) == pytest.approx(2.0, abs=0.02)
    assert rating_sd(1) == pytest.approx(347.4, abs=0.1)
    assert gini([1, 1, 1, 1]) == 0
    assert gini([0, 0, 0, 4]) == 0.75
    assert hhi([0.5, 0.5]) == 0.5
    assert deflate(1100, 10, 20) == pytest.approx(1100 - 20 * expected_max_normal(10))
    assert best_of_n_bias(1000, 1) == pytest.approx(0)
    # True variety is real gain: the overrating shrinks.
    assert best_of_n_bias(1000, 10, variety=65) < best_of_n_bias(1000, 10)
    with pytest.raises(EvidenceError, match="at least one"):
        expected_max_normal(0)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 100), st.floats(0.5, 50))
def test_variants_to_explain_is_the_smallest(gain, sd):
    n = variants_to_explain(gain, sd)
    if np.isfinite(n):
        assert expected_max_normal(n) * sd >= gain
        assert n == 1 or expected_max_normal(n - 1) * sd < gain


@pytest.mark.parametrize(
    ("battles", "sd", "excess"),
    [
        (100, 36, {3: 31, 5: 43, 10: 55, 27: 72}),
        (300, 21, {3: 17, 5: 24, 10: 31, 27: 41}),
        (1000, 12, {3: 10, 5: 14, 10: 18, 27: 24}),
    ],
)
def test_private_testing_of_the_card(data, battles, sd, excess):
    """Simulated excess against the fitted pool of 59 real models, and within 10% of the formula."""
    board = pr.bradley_terry(data("llmfao"), scale="natural", interval="none")
    for n, points in excess.items():
        found = simulate_private_testing(board.rating, 0.0, battles, n, trials=2000, seed=n)
        assert found.mean == pytest.approx(points, rel=0.1)
        assert found.sd == pytest.approx(sd, rel=0.1)
        assert found.mean == pytest.approx(best_of_n_bias(battles, n), rel=0.12)
    assert abs(simulate_private_testing(board.rating, 0.0, battles, 1, trials=4000).mean) < 2


def test_drift_and_removal_of_the_card():
    """More removals after the mix of prompts turned over: the order agrees less with the truth."""
    taus = {
        r: np.mean([simulate_drift_with_removal(r, seed=s) for s in range(20)])
        for r in (0, 2, 4, 6)
    }
    for r, tau in {0: 0.96, 2: 0.83, 4: 0.71, 6: 0.68}.items():
        assert taus[r] == pytest.approx(tau, abs=0.07)
    assert taus[0] > taus[2] > taus[4]


def test_connection_of_the_card():
    """Top five and bottom five that never meet: the order falls apart; one bridge mends much."""
    from policyrank.auditing.illusion import simulate_battles
    from policyrank.metrics import kendall_tau

    theta = np.linspace(1, -1, 10)

    def tau(bridges, seed):
        rng = np.random.default_rng(seed)
        inside = [(a, b) for a in range(10) for b in range(a) if (a < 5) == (b < 5)]
        pairs = [inside[k] for k in rng.integers(len(inside), size=880)] + bridges * 20
        a, b = np.array(pairs).T
        data = simulate_battles(theta, a, b, seed=rng)
        board = pr.bradley_terry(data, interval="none")
        return (
            kendall_tau(
                theta, [board.rating[board.position(f"policy {k + 1:02d}")] for k in range(10)]
            ),
            data,
        )

    apart, joined = (
        np.mean([tau([], s)[0] for s in range(20)]),
        np.mean([tau([(9, 0)], s)[0] for s in range(20)]),
    )
    assert apart < 0.6 < 0.85 < joined
    finding = audit(tau([], 0)[1]).finding("connection")
    assert finding.verdict == "concern"
    assert finding.numbers["components"] == 2


def test_effective_resistance_by_hand():
    # A path of single comparisons: resistances add up; two in parallel halve.
    wins = np.array([[0, 1.0, 0], [0, 0, 2], [0, 0, 0]])
    assert effective_resistance(wins) == pytest.approx(
        np.array([[0, 1, 1.5], [1, 0, 0.5], [1.5, 0.5, 0]])
    )
    apart = effective_resistance(np.array([[0, 1.0, 0], [1, 0, 0], [0, 0, 0]]))
    assert np.isinf(apart[0, 2])


def test_clean_data_raise_no_concern():
    rng, theta, i, j = planted()
    y = (rng.random(3000) < expit(theta[i] - theta[j])).astype(float)
    c = Comparisons(
        [f"p{k}" for k in range(6)],
        i,
        j,
        y,
        time=rng.permutation(3000).astype(float),
        rater=Comparisons.of(
            ["a"] * 3000, ["b"] * 3000, y, rater=[f"r{k}" for k in rng.integers(60, size=3000)]
        ).rater,
    )
    found = audit(c)
    assert {f.check for f in found.concerns} <= {"few battles"}
    assert found.finding("drift").verdict == "fine"
    assert found.finding("order").verdict == "fine"
    assert found.finding("retirement").verdict == "fine"


def test_planted_faults_are_found():
    rng, theta, i, j = planted(6000)
    time = np.arange(6000.0)
    skill = np.tile(theta, (6000, 1))
    skill[3000:, 5] += 2.0  # p5 became much better
    gap = skill[np.arange(6000), i] - skill[np.arange(6000), j] + 0.4  # listed first helps
    rater = rng.integers(40, size=6000)
    y = (rng.random(6000) < expit(gap)).astype(float)
    fans = (rater < 3) & ((i == 2) | (j == 2))
    y[fans] = (i[fans] == 2).astype(float)  # three raters always vote for p2
    keep = ~((time > 4000) & ((i == 1) | (j == 1)))  # p1 is taken off
    rows = np.flatnonzero(keep)
    c = Comparisons.of(
        [f"p{k}" for k in i[rows]],
        [f"p{k}" for k in j[rows]],
        y[rows],
        rater=[f"r{k}" for k in rater[rows]],
        time=time[rows],
    )
    found = audit(c, owners={"p0": "big", "p1": "big", "p2": "big"})
    assert found.finding("drift").verdict == "concern"
    assert found.finding("drift").policies == ("p5",)
    assert found.finding("order").verdict == "concern"
    assert found.finding("order").numbers["Elo points"] == pytest.approx(0.4 * ELO, abs=25)
    assert found.finding("retirement").policies == ("p1",)
    raters = found.finding("raters")
    assert {f["rater"] for f in raters.numbers["flagged"]} >= {"r0", "r1", "r2"}
    assert raters.numbers["pushing together"]["policy"] == "p2"
    assert "big" in found.finding("sampling").what
    assert json.loads(found.to_json())["findings"][0]["verdict"] == "concern"
    assert "p5" in str(found)


def test_duplicates_are_counted():
    c = Comparisons.of(
        ["x", "x", "y"] * 2,
        ["y", "y", "x"] * 2,
        [1, 0, 1] * 2,
        rater=["r"] * 3 + ["r"] * 3,
        time=[1, 2, 3] * 2,
    )
    assert audit(c).finding("duplicates").numbers["repeated rows"] == 3
    assert audit(c.counted()).finding("duplicates").verdict == "unchecked"


def test_fewest_battles_against_brute_force():
    """Small data: no smaller set of battles changes the leader, by trying all of them."""
    from itertools import combinations

    from policyrank.auditing.sensitivity import fit
    from policyrank.ranking.cells import Cells

    checked = 0
    for seed in range(6):
        rng, _, i, j = planted(14, seed, n=3)
        y = rng.choice([0.0, 1.0], p=[0.35, 0.65], size=14)
        c = Comparisons.of([f"p{k}" for k in i], [f"p{k}" for k in j], y)
        names = c.policies
        leader = names[int(np.argmax(fit(Cells.of(c)).theta))]

        def changes(removed, c=c, leader=leader):
            left = np.ones(len(c), bool)
            left[list(removed)] = False
            part = Comparisons(c.policies, c.a[left], c.b[left], c.outcome[left])
            theta = fit(Cells.of(part)).theta
            return (
                theta.max() >= theta[c.policies.index(leader)]
                and c.policies[int(np.argmax(theta))] != leader
            )

        exact = next(
            (k for k in range(1, 5) if any(changes(r) for r in combinations(range(14), k))), None
        )
        found = fewest_battles(c)
        if exact is not None and found is not None:
            assert exact <= found.battles <= exact + 2
            checked += 1
    assert checked >= 3


def test_fewest_battles_of_a_lone_upset():
    c = Comparisons.of(["x"] * 10 + ["y"] * 9, ["y"] * 10 + ["x"] * 9, [1.0] * 19)
    found = fewest_battles(c)
    assert (found.leader, found.challenger, found.battles) == ("x", "y", 1)
    assert found.described == (("x", "y", 1.0, 1),)


def test_leave_out_finds_the_task_that_decides():
    rows = [("x", "y", 1.0, "odd")] * 30 + [
        ("x", "y", y, t) for t in ("s", "t", "u") for y in (0, 0, 0, 1, 1)
    ] * 1
    a, b, y, t = zip(*rows, strict=True)
    c = Comparisons.of([*a, "x", "y"], [*b, "z", "z"], [*y, 1, 1], task=[*t, "s", "s"])
    assert leave_out(c, "task").changes == {"odd": "y"}
    assert audit(c).finding("without one task").verdict == "concern"


def test_audit_of_scores_and_rankings(data):
    found = audit(pr.evidence.datasets.atari())
    assert found.finding("scale").verdict == "concern"
    assert found.finding("completeness").verdict == "fine"
    holes = Scores.from_table([[1.0, 2, np.nan], [3, 2, 1], [1, 5, 2]], list("stu"), list("xyz"))
    assert audit(holes).finding("completeness").policies == ("z",)
    votes = Rankings.of([list("ab"), list("ab"), list("ba"), list("ab"), list("ab")])
    assert audit(votes).finding("without one ballot").verdict == "fine"
    real = audit(data("llmfao"))
    assert real.finding("connection").numbers["pair density"] == pytest.approx(0.54, abs=0.005)
    assert real.finding("connection").numbers["components"] == 1
    with pytest.raises(KeyError, match="no check"):
        real.finding("nothing")
    with pytest.raises(EvidenceError, match="level"):
        audit(votes, level=95)


def test_options_of_checks_are_refused_where_they_do_not_exist():
    rng, theta, i, j = planted(400)
    y = (rng.random(400) < expit(theta[i] - theta[j])).astype(float)
    time = np.arange(400.0)
    kept = ~((time > 350) & ((i == 1) | (j == 1)))  # p1 is missing in the last eighth
    c = Comparisons([f"p{k}" for k in range(6)], i[kept], j[kept], y[kept], time=time[kept])
    assert audit(c).finding("retirement").verdict == "fine"
    assert audit(c, window=0.1).finding("retirement").policies == ("p1",)
    with pytest.raises(OptionError, match=r"'owner'.* Did you mean 'owners'"):
        audit(c, owner={"p0": "big"})
    with pytest.raises(OptionError, match="window=2"):
        audit(c, window=2.0)
