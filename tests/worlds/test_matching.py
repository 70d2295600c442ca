"""Online matching with stochastic rewards: exact values, bounds in their order, simulation against
both.
"""

import itertools

import numpy as np
import pytest

from generators import matchings
from policyrank.errors import EvidenceError
from policyrank.worlds import matching as m

P = m.Matching.of
LPS = ("stochastic configuration", "configuration", "matching")


def value_of(instance, programme):
    if programme == "configuration":
        return m.configuration_lp(instance)
    return m.bound(instance, programme)


def test_bounds_hold_for_chances_up_to_one():
    rng = np.random.default_rng(11)
    for _ in range(60):
        chance = rng.choice([0.0, 0.25, 0.5, 0.9, 1.0], size=(3, 4))
        chance[rng.integers(3)] *= rng.integers(2)  # often a vertex without an edge
        x = P(chance)
        best = m.optimum(x)
        for name in ("stochastic configuration", "matching"):
            assert m.bound(x, name) >= best - 1e-6
        for rule in sorted({*m.RULES} - {"ranking"}):
            assert m.exact_value(x, rule) <= best + 1e-9
        assert np.isfinite(m.configuration_lp(x))


def test_the_configuration_lp_is_no_bound():
    x = P([[0.5, 1.0], [0.0, 0.5]])
    assert m.optimum(x) == pytest.approx(1.25)
    assert m.configuration_lp(x) == pytest.approx(1)
    with pytest.raises(EvidenceError, match="bounds no policy"):
        m.bound(x, "configuration")


def test_one_vertex():
    x = P([[0.25] * 4])
    for rule in ("balance", "greedy", "random", "last", "least load"):
        assert m.exact_value(x, rule) == pytest.approx(1 - 0.75**4)
    assert m.optimum(x) == pytest.approx(0.68359375)
    assert [value_of(x, lp) for lp in LPS] == pytest.approx([0.68359375, 1, 1])


def test_two_vertices():
    x = P([[0.5, 0.5], [0.5, 0.0]])
    assert [value_of(x, b) for b in ("optimum", *LPS)] == pytest.approx([1, 1, 1, 1])
    assert m.exact_value(x, "least load") == pytest.approx(0.875)
    assert m.exact_value(x, lambda o: -o.index.astype(float)) == pytest.approx(0.75)
    assert m.exact_value(x, "last") == pytest.approx(1)
    y = P(np.full((2, 3), 0.5))
    assert m.optimum(y) == pytest.approx(1.375)
    assert m.exact_value(y, "least load") == pytest.approx(1.375)
    assert [value_of(y, lp) for lp in LPS] == pytest.approx([1.5, 1.5, 1.5])


def test_bounds_stand_in_their_order():
    for x in matchings(40):
        values = [value_of(x, b) for b in ("optimum", *LPS)]
        assert all(a <= b + 1e-6 for a, b in itertools.pairwise(values))
        for rule in ("balance", "greedy", "random", "last"):
            assert m.exact_value(x, rule) <= values[0] + 1e-9


@pytest.mark.parametrize("stochastic", [True, False])
def test_column_generation_equals_all_columns(stochastic):
    from scipy.optimize import linprog

    for x in matchings(12, seed=3):
        n, arrivals = x.p.shape
        values, columns = [], []
        for u in range(n):
            near = np.flatnonzero(x.p[u]).tolist()
            for size in range(1, len(near) + 1):
                for members in itertools.combinations(near, size):
                    column, before = np.zeros(n + arrivals), 1.0
                    column[u] = 1
                    for v in members:
                        column[n + v] = before if stochastic else 1
                        before *= 1 - x.p[u, v]
                    values.append(
                        x.weights[u]
                        * ((1 - before) if stochastic else min(1, x.p[u, list(members)].sum()))
                    )
                    columns.append(column)
        full = -linprog(-np.array(values), A_ub=np.array(columns).T, b_ub=np.ones(n + arrivals)).fun
        assert value_of(x, LPS[0] if stochastic else LPS[1]) == pytest.approx(full, abs=1e-5)


@pytest.mark.parametrize("rule", ["balance", "least load", "greedy", "random", "last"])
def test_simulation_agrees_with_the_exact_value(rule):
    for x in matchings(3, seed=5):
        for expected in (True, False):
            found = m.simulate(x, rule, runs=20_000, seed=1, expected=expected)
            assert (
                abs(found.mean() - m.exact_value(x, rule))
                < 4 * found.std() / np.sqrt(len(found)) + 1e-9
            )


def test_ranking_with_certain_success_is_the_classic_one():
    x = P(np.triu(np.ones((3, 3))).T[::-1, ::-1])  # chances of 1
    values = []
    for order in itertools.permutations(range(3)):
        free, total = set(range(3)), 0
        for v in range(3):
            near = [u for u in order if u in free and x.p[u, v]]
            if near:
                free.remove(near[0])
                total += 1
        values.append(total)
    found = m.simulate(x, "ranking", runs=20_000, seed=0)
    assert found.mean() == pytest.approx(np.mean(values), abs=0.02)


def test_thick_triangles_separate_policies():
    x = m.upper_triangular(20, 1, 20)
    share = {
        r: m.simulate(x, r, runs=150, seed=0).mean() / (20 * (1 - np.exp(-1)))
        for r in ("balance", "ranking", "last")
    }
    assert share["balance"] == pytest.approx(0.97, abs=0.04)
    assert share["ranking"] == pytest.approx(0.97, abs=0.04)
    assert share["last"] == pytest.approx(0.79, abs=0.04)


def test_common_fortune_and_evidence():
    scores = m.evidence(
        {"a": m.upper_triangular(5), "b": m.random_bipartite(5, 20)}, ("balance", "last"), runs=30
    )
    assert len(scores) == 2 * 2 * 30
    again = m.evidence(
        {"a": m.upper_triangular(5), "b": m.random_bipartite(5, 20)}, ("balance", "last"), runs=30
    )
    assert scores.to_frame().equals(again.to_frame())
    big = m.random_bipartite(1000, 2000, seed=1)
    assert m.simulate(big, "balance", runs=10).shape == (10,)


def test_search_finds_what_is_worse_than_chance():
    x, ratio = m.worst_instance("greedy", 2, 3, starts=4, steps=40, seed=0)
    assert ratio == pytest.approx(m.competitive_ratio(x, "greedy"))
    assert ratio < 0.98
    again = m.worst_instance("greedy", 2, 3, starts=4, steps=40, seed=0)[1]
    assert ratio == again


def test_the_worst_instance_is_worse_than_what_chance_finds():
    rng, options = np.random.default_rng(1), (0.0, 0.1, 0.3, 0.5)
    drawn = (P(rng.choice(options, size=(2, 3)) + np.eye(2, 3) * 0.1) for _ in range(40))
    by_chance = min(m.competitive_ratio(x, "greedy") for x in drawn)
    worst = [m.worst_instance("greedy", 2, 3, starts=n, steps=60, seed=2)[1] for n in (1, 2, 8)]
    assert worst == sorted(worst, reverse=True)
    assert worst[-1] < by_chance


def test_bad_instances():
    for p, weights, message in (
        ([[1.2]], None, r"p\[0, 0\] is 1.2"),
        ([[0.0]], None, "no edge"),
        ([0.5], None, "1 dimensions"),
        ([[0.5]], [0], "positive numbers"),
    ):
        with pytest.raises(EvidenceError, match=message):
            P(p, weights)
    with pytest.raises(EvidenceError, match="no rule is called"):
        m.simulate(P([[0.5]]), "x")
    with pytest.raises(EvidenceError, match="continuous ranks"):
        m.exact_value(P([[0.5]]), "ranking")
    with pytest.raises(EvidenceError, match="use optimum"):
        m.bound(P([[0.5]]), "x")
    with pytest.raises(EvidenceError, match="2\\^30 states"):
        m.optimum(P(np.full((30, 2), 0.5)))


def test_bounds_print_nothing(capfd):
    # scipy's HiGHS does, where a programme has whole and other numbers
    assert m.configuration_lp(m.random_bipartite(20, 60, degree=4, seed=0)) > 0
    assert capfd.readouterr().out == ""


def test_bounds_of_interchangeable_arrivals():
    rng = np.random.default_rng(5)
    few = rng.uniform(0.1, 0.6, (3, 3))
    x = P(np.repeat(few, [2, 3, 2], axis=1))
    # The same chances but for a hair, so that no arrivals are alike.
    apart = P(np.clip(x.p * (1 + 1e-9 * np.arange(7)), 0, 1))
    for lp in LPS:
        assert value_of(x, lp) == pytest.approx(value_of(apart, lp), rel=1e-6)
