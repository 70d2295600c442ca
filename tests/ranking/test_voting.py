"""Voting rules, Kemeny, soft Condorcet, games: exact values, independent packages, brute force."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

pytest.importorskip("pref_voting")
from pref_voting import c1_methods, iterative_methods, margin_based_methods, scoring_methods
from pref_voting.other_methods import kemeny_young_rankings
from pref_voting.profiles import Profile

from policyrank.errors import EvidenceError
from policyrank.evidence import Comparisons, Rankings, Scores
from policyrank.ranking import (
    METHODS,
    alpha_rank,
    alpharank,
    approval,
    borda,
    copeland,
    instant_runoff,
    kemeny,
    kemeny_order,
    max_entropy_equilibrium,
    maximal_lotteries,
    minimax,
    nash_averaging,
    plurality,
    ranked_pairs,
    schulze,
    soft_condorcet,
)
from policyrank.ranking.condorcet import sigmoid_loss
from policyrank.ranking.games import win_rates
from policyrank.ranking.kemeny_search import kemeny_cost, local_search
from policyrank.ranking.markov import gth, stationary
from policyrank.ranking.voting import group_points

PENTATHLON = Rankings.of([list("abc"), list("acb"), list("cab"), list("cab"), list("bca")])


def rating(board, names):
    return np.array([board.rating[board.position(n)] for n in names])


def random_votes(seed, voters=9, n=5):
    rng = np.random.default_rng(seed)
    return np.array([rng.permutation(n) for _ in range(voters)])


def test_borda_card_values():
    board = borda(Rankings.of_scores([[3, 2, 1], [3, 1, 2], [1, 3, 2]], list("xyz")))
    assert rating(board, "xyz") * 3 == pytest.approx([4, 3, 2])
    cyclic = borda(Rankings.of([list("abc"), list("bca"), list("cab")]))
    assert cyclic.rating * 3 == pytest.approx([3, 3, 3])
    assert cyclic.rank.tolist() == [1, 1, 1]


def test_two_level_borda_card_example():
    r = Rankings.of(
        [["A", "B"]] * 3 + [["B", "A"]] * 2,
        group=Scores.of(["x", "y"], ["t", "t"], [1, 2]).task.of(["1", "1", "1", "2", "3"]),
    )
    assert borda(r).policies[0] == "A"
    two = borda(r, levels=2)
    assert two.policies[0] == "B"
    assert rating(two, "BA") == pytest.approx([2 / 3, 1 / 3])
    assert group_points(r).tolist() == [[1, 0], [0, 1], [0, 1]]
    with pytest.raises(EvidenceError, match="groups"):
        borda(PENTATHLON, levels=2)


def test_borda_covariance_is_that_of_the_mean():
    rng = np.random.default_rng(0)
    points = np.array([rng.permutation(5) for _ in range(40)]).astype(float)
    board = borda(Rankings.of_scores(points, list("abcde")))
    where = [board.policies.index(p) for p in "abcde"]
    # With one ballot in random order: variance (P^2 - 1) / 12, covariance -(P + 1) / 12.
    random = np.full((5, 5), -0.5) + 2.5 * np.eye(5)
    expected = (39 * np.cov(points, rowvar=False) + random) / 40**2
    assert board.covariance[np.ix_(where, where)] == pytest.approx(expected, abs=1e-12)
    weighted = Rankings.of_scores(points[:20], list("abcde"), weight=np.full(20, 2.0))
    repeated = Rankings.of_scores(np.repeat(points[:20], 2, axis=0), list("abcde"))
    assert borda(weighted).lower == pytest.approx(borda(repeated).lower)


def test_pentathlon_card_values():
    assert PENTATHLON.preferences().tolist() == [[0, 4, 2], [1, 0, 2], [3, 3, 0]]
    board = kemeny(PENTATHLON)
    assert board.policies == ("c", "a", "b")
    assert (board.extras["cost"], board.extras["optimal"]) == (5, True)
    assert soft_condorcet(PENTATHLON, interval="none").policies == ("c", "a", "b")
    same = soft_condorcet(PENTATHLON, loss="fenchel-young", interval="none")
    a, b, c = rating(same, "abc")
    assert a == pytest.approx(c, abs=1e-6)
    assert a - b > 0.5


def test_batch_elo_of_the_card():
    """146.53 points with 0.01 added to every ordered pair."""
    from policyrank.ranking import bradley_terry

    wins = PENTATHLON.preferences() + 0.01 * (1 - np.eye(3))
    i, j = np.nonzero(wins)
    c = Comparisons(PENTATHLON.policies, i, j, np.ones(len(i)), weight=wins[i, j])
    a, b, third = rating(bradley_terry(c), "abc")
    assert a - b == pytest.approx(146.53, abs=0.01)
    assert a == pytest.approx(third, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "cost", "first"),
    [
        (
            "atari-agent57",
            280,
            (
                "r2d2(bandit)",
                "muzero",
                "r2d2",
                "agent57",
                "r2d2(retrace)",
                "ngu",
                "human",
                "random",
            ),
        ),
        (
            "atari-rainbow",
            434,
            (
                "rainbow",
                "distrib-dqn",
                "prior-ddqn",
                "a3c",
                "dueling-ddqn",
                "ddqn",
                "noisy-dqn",
                "dqn",
            ),
        ),
        ("atari-muesli", 38, ("muzero", "muesli", "human", "random")),
    ],
)
def test_atari_card_values(data, name, cost, first):
    votes = data(name).to_rankings()
    board = kemeny(votes)
    assert (board.extras["cost"], board.policies) == (cost, first)
    if name == "atari-agent57":
        assert borda(votes).policies == soft_condorcet(votes, interval="none").policies == first
        from policyrank.ranking import aggregate, bradley_terry

        assert bradley_terry(Comparisons.of_rankings(votes)).policies == first
        means = aggregate(data(name), interval="none").policies
        assert means[0] == "muzero"
        assert means.index("ngu") < means.index("r2d2(retrace)")


@pytest.mark.parametrize(
    ("k", "optimum", "by_borda", "by_mean", "bound"),
    [(15, 260, 264, 271, 257), (25, 533, 556, 605, 530)],
)
def test_glue_card_values(data, k, optimum, by_borda, by_mean, bound):
    from policyrank.evidence import datasets

    scores = data("glue")
    chosen = borda(scores.to_rankings()).policies[:k]
    table = scores.table()[:, [scores.policies.index(p) for p in chosen]]
    votes = Rankings.of_scores(table, chosen)
    wins = votes.preferences(ties=0.0)
    found = kemeny_order(wins)
    assert (found.cost, found.optimal) == (optimum, True)
    by_count = np.argsort(-(wins - wins.T).sum(axis=1), kind="stable")
    assert kemeny_cost(wins, by_count) == by_borda
    # The leaderboard's own order: by its column Score.
    lines = [
        line.split(",") for line in datasets.FILES["glue.csv"].fetch().read_text().splitlines()[1:]
    ]
    published = {
        " ".join(c[0].replace("\t", " ").replace('"', "").split()): float(c[-15]) for c in lines
    }
    assert kemeny_cost(wins, np.argsort([-published[p] for p in chosen], kind="stable")) == by_mean
    assert np.minimum(wins, wins.T)[np.triu_indices(k, 1)].sum() == bound


def test_glue_is_deaf_to_scale(data):
    scores = data("glue")
    wide = scores.score.copy()
    wide[scores.task.codes == scores.task.names.index("AX")] *= 1000
    changed = Scores(scores.policy, scores.task, wide)
    assert borda(changed.to_rankings()).policies == borda(scores.to_rankings()).policies
    from policyrank.metrics import kendall_tau

    assert kendall_tau(scores.table().mean(axis=0), changed.table().mean(axis=0)) == pytest.approx(
        0.666, abs=0.002
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 9))
def test_kemeny_against_brute_force(seed, n, voters):
    wins = Rankings.of_scores(
        -np.argsort(random_votes(seed, voters, n), axis=1), [f"p{k}" for k in range(n)]
    ).preferences()
    best = min(kemeny_cost(wins, np.array(p)) for p in permutations(range(n)))
    found = kemeny_order(wins)
    assert found.cost == pytest.approx(best)
    assert found.optimal
    assert found.bound <= best + 1e-9
    assert kemeny_cost(wins, local_search(wins)) >= best - 1e-9


def test_kemeny_cyclic_votes():
    wins = Rankings.of([list("abc"), list("bca"), list("cab")]).preferences()
    found = kemeny_order(wins)
    assert (found.cost, found.optimal) == (4, True)


def test_kemeny_stopped_early_proves_its_gap():
    rng = np.random.default_rng(1)
    wins = Rankings.of_scores(
        rng.normal(size=(15, 60)), [f"p{k:02d}" for k in range(60)]
    ).preferences()
    start = np.argsort(-wins.sum(axis=1))
    quick = kemeny_order(wins, exact=False)
    assert quick.bound < quick.cost <= kemeny_cost(wins, start)
    board = kemeny(
        Rankings.of_scores(rng.normal(size=(15, 60)), [f"p{k:02d}" for k in range(60)]),
        solver="local",
        interval="none",
    )
    assert any(n.kind == "gap" for n in board.notes)


def test_kemeny_of_fifty_and_a_hundred():
    rng = np.random.default_rng(0)
    for n, voters in ((50, 25), (100, 101)):
        scores = rng.normal(size=(voters, n)) + 0.5 * np.linspace(1, 0, n)
        found = kemeny_order(
            Rankings.of_scores(scores, [f"p{k:03d}" for k in range(n)]).preferences()
        )
        assert found.optimal


@pytest.mark.parametrize("seed", range(12))
def test_rules_agree_with_pref_voting(seed):
    """Winners, and where it is an order the whole order, on odd numbers of voters (no majority
    ties).
    """
    orders = random_votes(seed, voters=9 + 2 * (seed % 3), n=5)
    profile = Profile(orders.tolist())
    r = Rankings.of([[f"p{k}" for k in o] for o in orders])

    def winners(board):
        return sorted(int(p[1:]) for p, k in zip(board.policies, board.rank, strict=True) if k == 1)

    assert winners(borda(r)) == sorted(scoring_methods.borda(profile))
    assert winners(plurality(r)) == sorted(scoring_methods.plurality(profile))
    assert winners(copeland(r, interval="none")) == sorted(c1_methods.copeland(profile))
    assert winners(minimax(r, interval="none")) == sorted(margin_based_methods.minimax(profile))
    assert set(winners(schulze(r, interval="none"))) == set(margin_based_methods.beat_path(profile))
    assert set(winners(ranked_pairs(r, interval="none"))) <= set(
        margin_based_methods.ranked_pairs(profile)
    )
    assert set(winners(instant_runoff(r, interval="none"))) <= set(
        iterative_methods.instant_runoff_put(profile)
    )
    orders_of_theirs, cost = kemeny_young_rankings(profile)
    ours = kemeny(r, interval="none")
    assert ours.extras["cost"] == cost
    assert ours.extras["orders"] == len(orders_of_theirs)
    below = np.zeros(5)
    for order in orders_of_theirs:
        below[list(order)] += np.arange(4, -1, -1) / len(orders_of_theirs)
    assert rating(ours, [f"p{k}" for k in range(5)]) == pytest.approx(below)


def test_rules_put_a_condorcet_winner_first():
    tried = 0
    for seed in range(40):
        r = Rankings.of([[f"p{k}" for k in o] for o in random_votes(seed, 9, 5)])
        beats = r.preferences() > r.preferences().T
        winner = np.flatnonzero(beats.sum(axis=1) == 4)
        if len(winner):
            tried += 1
            for rule in (copeland, schulze, ranked_pairs, minimax, kemeny, maximal_lotteries):
                assert rule(r, interval="none").policies[0] == r.policies[winner[0]]
    assert tried > 10


def test_approval_counts_places():
    board = approval(PENTATHLON, k=2)
    assert rating(board, "abc") == pytest.approx([4 / 5, 2 / 5, 4 / 5])
    with pytest.raises(EvidenceError, match="at least one"):
        approval(PENTATHLON, k=0)


def test_sigmoid_loss_gradient_and_limit():
    wins = PENTATHLON.preferences()
    x, step = np.array([0.3, -0.2, 0.5]), 1e-6
    numeric = [
        (sigmoid_loss(wins, x + step * e, 0.7)[0] - sigmoid_loss(wins, x - step * e, 0.7)[0])
        / (2 * step)
        for e in np.eye(3)
    ]
    assert sigmoid_loss(wins, x, 0.7)[1] == pytest.approx(numeric, abs=1e-7)
    cold = sigmoid_loss(wins, x, 1e-3)[0] * wins.sum()
    assert cold == pytest.approx(kemeny_cost(wins, np.argsort(-x)), abs=1e-9)


def test_alpharank_card_values(data):
    assert alpharank([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], alpha=3.0).mass == pytest.approx(
        [1 / 3] * 3
    )
    two = alpharank([[0, 1], [-1, 0]], alpha=0.1, population=5, selection="constant-sum").mass
    assert two[0] / two[1] == pytest.approx(1.648721, abs=1e-6)
    cyclic = [[0, -0.5, 1], [0.5, 0, -0.1], [-1, 0.1, 0]]
    assert alpharank(
        cyclic, alpha=0.1, population=20, selection="constant-sum"
    ).mass == pytest.approx([0.365938, 0.444385, 0.189677], abs=1e-6)
    assert alpharank(cyclic).mass == pytest.approx([1 / 3] * 3)
    assert alpharank([[0, 1, 1], [-1, 0, 1], [-1, -1, 0]]).mass == pytest.approx(
        [0.980198, 0.014777, 0.005025], abs=1e-6
    )
    assert alpharank(
        [np.diag([3.0, 2]), np.diag([2.0, 3])], epsilon=0.1
    ).mass.ravel() == pytest.approx([0.45, 0.05, 0.05, 0.45])
    pennies = np.array([[1.0, -1], [-1, 1]])
    assert alpharank([pennies, -pennies]).mass.ravel() == pytest.approx([0.25] * 4)
    han = [
        [0.875, 0.75, 0, 2.75, 0.75],
        [1, 1, -1, -1, -1],
        [0, 2, 0, 0, 0],
        [-2, 2, 0, 0, 0],
        [1, 2, 0, 0, 0],
    ]
    expected = [0.40966787, 0.07959841, 0.20506998, 0.08505983, 0.2206039]
    assert alpharank(han, alpha=0.1, population=20, selection="general-sum").mass == pytest.approx(
        expected, abs=1e-8
    )
    soccer = alpharank(data("soccer"), epsilon=1e-4).mass
    assert soccer[[1, 3, 4, 7, 8, 9]] == pytest.approx(
        [0.1704, 0.0408, 0.1371, 0.0704, 0.1629, 0.4184], abs=1e-4
    )


@pytest.mark.parametrize("alpha", [0.5, 5.0])
def test_alpharank_agrees_with_open_spiel(alpha):
    from open_spiel.python.egt import alpharank as theirs

    rng = np.random.default_rng(0)
    for shape in ((3, 4), (2, 3, 2)):
        tables = [rng.normal(size=shape) for _ in shape]
        pi = theirs.compute([t.copy() for t in tables], m=20, alpha=alpha)[2]
        assert alpharank(tables, alpha=alpha, population=20).mass.ravel() == pytest.approx(
            pi, abs=1e-8
        )


def test_large_chains_agree_with_elimination(monkeypatch):
    from policyrank.ranking import games, markov

    rng = np.random.default_rng(0)
    for shape in ((12, 15), (4, 5, 6)):
        tables = [rng.normal(size=shape) for _ in shape]
        chain = games._several_populations(tables, np.inf, 50, 1e-3)
        exact = gth(chain.toarray())
        monkeypatch.setattr(markov, "GTH_LIMIT", 20)
        assert np.abs(stationary(chain) - exact).sum() < 1e-6
        monkeypatch.undo()


def test_alpharank_of_100_000_profiles():
    rng = np.random.default_rng(0)
    mass = alpharank([rng.normal(size=(10,) * 5) for _ in range(5)]).mass
    assert mass.sum() == pytest.approx(1)


def test_alpharank_refuses_nonsense():
    with pytest.raises(ValueError, match="square"):
        alpharank([[0, 1, 2], [0, 1, 2]])
    with pytest.raises(ValueError, match="finite"):
        alpharank([[0, np.nan], [0, 1]])
    with pytest.raises(ValueError, match="never left"):
        alpharank([np.diag([1.0, 1]), np.diag([1.0, 1])], alpha=1e6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 6))
def test_equilibrium_properties(seed, rows, columns):
    """Optimal (no column does better than the value), a distribution, and the most even of its
    kind.
    """
    rng = np.random.default_rng(seed)
    payoff = rng.integers(-3, 4, size=(rows, columns)).astype(float)
    p, value = max_entropy_equilibrium(payoff)
    assert p.sum() == pytest.approx(1)
    assert (p @ payoff).min() >= value - 1e-5
    doubled, same = max_entropy_equilibrium(np.vstack([payoff, payoff]))
    assert same == pytest.approx(value, abs=1e-7)
    assert doubled[:rows] == pytest.approx(doubled[rows:], abs=1e-4)


def test_maximal_lotteries_and_nash_averaging():
    cyclic = Rankings.of([list("abc"), list("bca"), list("cab")])
    assert maximal_lotteries(cyclic, interval="none").rating == pytest.approx([1 / 3] * 3, abs=1e-6)
    # A clone of the loser changes nothing for the others.
    c = Comparisons.of(list("aabbcc"), list("bcacab"), [1, 1, 0, 1, 0, 0])
    with_clone = Comparisons.of(
        list("aaabbbcccddd"), list("bcdacdabdabc"), [1, 1, 1, 0, 1, 1, 0, 0, 0.5, 0, 0, 0.5]
    )
    assert rating(nash_averaging(c, interval="none"), "abc") == pytest.approx(
        rating(nash_averaging(with_clone, interval="none"), "abc"), abs=1e-6
    )
    scores = Scores.from_table([[1.0, 0, 0.5], [0, 1.0, 0.5]], ["s", "t"], list("abc"))
    board = nash_averaging(scores)
    assert board.extras["tasks"] == pytest.approx({"s": 0.5, "t": 0.5}, abs=1e-6)


def test_alpha_rank_of_comparisons(battles):
    board = alpha_rank(battles(ties=0.0, size=3000), resamples=20)
    assert board.policies[0] == "p00"
    assert board.rating.sum() == pytest.approx(1)
    rates = win_rates(battles().preferences())
    assert rates + rates.T == pytest.approx(np.ones((6, 6)))


WITHOUT_INTERVALS = (
    "soft-condorcet",
    "minimax",
    "maximal-lotteries",
    "instant-runoff",
    "alpha-rank",
    "nash-averaging",
)
"""Step functions of the majorities whose ratings count something else."""


AT_THE_TARGET = "optimality-gap"
"""The method by which all scores of a policy may be at the target, so that none varies."""


@pytest.mark.parametrize(
    "name", [m for m in METHODS if m not in ("task-mixture", "bradley-terry-by-task")]
)
def test_every_method_keeps_the_contract(battles, name):
    """Any evidence it takes: a full board, best first, rank sets that hold the rank, the same again
    with the same seed.
    """
    from policyrank.ranking import rank

    rng = np.random.default_rng(0)
    kinds = {
        Comparisons: battles(n=5, size=300),
        Rankings: Rankings.of([[f"p{k}" for k in o] for o in random_votes(0, 15, 5)]),
        Scores: Scores.from_table(
            rng.normal(size=(12, 5)) + np.arange(5), [f"t{k}" for k in range(12)], list("abcde")
        ),
    }
    for kind in METHODS[name].takes:
        evidence = kinds[kind]
        board = rank(evidence, method=name)
        assert sorted(board.policies) == sorted(evidence.policies)
        assert (np.diff(board.rank) >= 0).all()
        assert board.rank[0] == 1
        assert (np.diff(board.rating) <= 1e-9).all()
        assert np.isfinite(board.rating).all()
        assert (
            board.n == evidence.seen()[[evidence.policies.index(p) for p in board.policies]]
        ).all()
        if board.rank_lower is not None:
            assert (board.rank_lower <= board.rank).all()
            assert (board.rank_upper >= board.rank).all()
            assert board.rank_probability.sum(axis=1) == pytest.approx(np.ones(5))
            assert ((board.rank_probability > 0) & (board.rank_probability < 1)).all()
            if name not in (*WITHOUT_INTERVALS, AT_THE_TARGET):
                assert (board.lower < board.upper).all()
                assert (board.lower <= board.rating + 1e-9).all()
                assert (board.upper >= board.rating - 1e-9).all()
        again = rank(evidence, method=name)
        assert again.frame.equals(board.frame)
        assert rank(evidence, method=name, interval="none").rating == pytest.approx(board.rating)
        assert board.method == name


def test_alpha_rank_bounds(data):
    """The card's example; enumeration against alpharank itself; sampling stays inside and comes
    close.
    """
    from policyrank.evaluation import clopper_pearson_interval
    from policyrank.ranking import alpha_rank_bounds

    rates = data("soccer")
    games = np.full_like(rates, 400.0)
    low, high = clopper_pearson_interval(np.round(rates * games), games, 0.05)
    exact = alpha_rank_bounds(low, high, enumerate_up_to=20)
    truth = alpharank(rates, epsilon=1e-4).mass
    assert 0 < len(exact.open_pairs) <= 20
    assert (exact.lower <= truth + 1e-9).all()
    assert (truth <= exact.upper + 1e-9).all()
    sampled = alpha_rank_bounds(low, high, enumerate_up_to=0, samples=300)
    assert not sampled.exact
    assert (sampled.lower >= exact.lower - 1e-9).all()
    assert (sampled.upper <= exact.upper + 1e-9).all()
    assert np.abs(sampled.upper - exact.upper).max() < 0.05
    settled = alpha_rank_bounds(rates, rates)
    assert settled.open_pairs == ()
    assert settled.lower == pytest.approx(truth, abs=1e-9)
    with pytest.raises(EvidenceError, match="one shape"):
        alpha_rank_bounds([[0.5, 0.7]], [[0.5, 0.6]])
