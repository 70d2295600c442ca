"""What a board says with confidence: dependence, few units, bounded scores, shares of counts."""

import numpy as np
import pytest

from policyrank.evidence import Comparisons, Rankings, Scores
from policyrank.evidence.comparisons import Games
from policyrank.ranking import (
    aggregate,
    borda,
    bradley_terry,
    copeland,
    elo,
    kemeny,
    minimax,
    plackett_luce,
    plurality,
    soft_condorcet,
    thurstone,
)
from policyrank.ranking.cells import Cells
from policyrank.ranking.likelihood import newton
from policyrank.ranking.links import LINKS
from policyrank.ranking.majorities import dominated, holm, of_majorities
from policyrank.ranking.robust_errors import sandwich
from policyrank.ranking.score_errors import inside_tasks, over_units

GAMES = [[4, 2, 2], [2, 2, 1], [1, 3, 2], [6, 5, 8]]
WINS = [[3, 1, 1], [2, 1, 0], [1, 2, 1], [3, 4, 5]]


def four_raters():
    rows = []
    for rater in range(4):
        pairs = zip(("ab", "ac", "bc"), GAMES[rater], WINS[rater], strict=True)
        for (first, second), games, won in pairs:
            rows += [(first, second, 1.0, won, rater), (first, second, 0.0, games - won, rater)]
    a, b, y, count, rater = zip(*rows, strict=True)
    return Comparisons.of(a, b, y, count=np.array(count), rater=[f"r{k}" for k in rater])


def tables(seed, sets, tasks, policies):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(tasks, policies)) for _ in range(sets)]


def as_scores(table):
    policies = [f"p{k}" for k in range(table.shape[1])]
    return Scores.from_table(table, [f"t{k}" for k in range(len(table))], policies)


def test_bradley_terry_over_four_unequal_raters():
    cells = Cells.of(four_raters(), cluster="rater")
    fit = newton(cells, LINKS["half"])
    found, centre = sandwich(cells, LINKS["half"], fit), np.eye(3) - 1 / 3
    floor = centre @ fit.inverse[:3, :3] @ centre / 4
    covariance = centre @ found.covariance[:3, :3] @ centre - floor
    assert fit.theta - fit.theta.mean() == pytest.approx([0.503662, -0.214918, -0.288744], abs=1e-6)
    assert np.sqrt(covariance.diagonal()) == pytest.approx([0.086497, 0.339176, 0.259846], abs=1e-6)
    assert found.df.diagonal() == pytest.approx([2.45016, 2.00825, 2.15810], abs=1e-5)
    assert found.df[0, 1] == pytest.approx(2.219439, abs=1e-6)
    gap = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert np.sqrt(gap) == pytest.approx(0.421336, abs=1e-6)


def test_raters_are_whole_in_any_order_and_however_counted():
    c = four_raters()
    board = bradley_terry(c, cluster="rater")
    rng, single = np.random.default_rng(0), np.repeat(np.arange(len(c.a)), c.count)
    for rows in (rng.permutation(len(c.a)), rng.permutation(single)):
        count = c.count[rows] if len(rows) == len(c.a) else None
        again = Comparisons(
            c.policies, c.a[rows], c.b[rows], c.outcome[rows], count=count, rater=c.rater.take(rows)
        )
        other = bradley_terry(again, cluster="rater")
        assert other.lower == pytest.approx(board.lower, abs=1e-6)
        assert other.upper == pytest.approx(board.upper, abs=1e-6)


def test_three_tied_games_are_no_certainty():
    board = bradley_terry(Comparisons.of(["x"] * 3, ["y"] * 3, [0.5] * 3))
    assert board.lower == pytest.approx([1250.85, 1250.85], abs=0.01)
    assert board.upper == pytest.approx([1749.15, 1749.15], abs=0.01)
    assert board.may_be_best == ("x", "y")


def test_three_ballots_that_agree_are_no_certainty():
    board = borda(Rankings.of([list("abc")] * 3))
    assert board.lower == pytest.approx([0.39108, 0.23954, 0], abs=1e-5)
    assert board.upper == pytest.approx([2, 1.76046, 1.60891], abs=1e-4)
    assert board.rank_lower.tolist() == [1, 1, 1]
    assert (board.probability_best < 1).all()


def test_a_prior_of_ballots_keeps_its_variance():
    """Ten ballots that agree: only the prior says how far a policy stands apart."""
    pairs = Comparisons.of_rankings(Rankings.of([list("abc")] * 10))
    board = bradley_terry(pairs, scale="natural")
    assert board.settings["cluster"] == "ballot"
    assert (board.upper - board.lower > 1).all()


@pytest.mark.parametrize("method", [bradley_terry, thurstone, "davidson"])
def test_pairs_of_one_ballot_are_one_observation(method):
    """All policies equal, 30 tasks, 10 policies: a false "better" is rare."""
    false = 0
    for table in tables(0, 60, 30, 10):
        pairs = as_scores(table.round(1)).to_comparisons()
        board = bradley_terry(pairs, ties="davidson") if method == "davidson" else method(pairs)
        false += bool(board.better.any())
    assert false <= 9


@pytest.mark.parametrize("method", [plackett_luce, borda, copeland, plurality, kemeny])
def test_equal_policies_are_rarely_told_apart(method):
    false = 0
    for table in tables(1, 40, 30, 5):
        false += bool(method(as_scores(table).to_rankings(), seed=0).better.any())
    assert false <= 6


def test_whole_weights_are_voters_in_every_conversion():
    """A ballot of weight 4 is four ballots."""
    rng = np.random.default_rng(2)
    rows = [[f"p{k}" for k in rng.permutation(4)] for _ in range(12)]
    weight = rng.integers(1, 5, 12)
    heavy = Rankings.of(rows, weight=weight)
    many = Rankings.of([row for row, w in zip(rows, weight, strict=True) for _ in range(w)])
    for method in (borda, plackett_luce, copeland, plurality):
        one, other = method(heavy), method(many)
        assert one.lower == pytest.approx(other.lower, abs=1e-7)
        assert one.rank_lower.tolist() == other.rank_lower.tolist()
    one = bradley_terry(Comparisons.of_rankings(heavy))
    other = bradley_terry(Comparisons.of_rankings(many))
    assert one.lower == pytest.approx(other.lower, abs=1e-6)
    assert one.upper == pytest.approx(other.upper, abs=1e-6)


def test_replicates_of_a_task_are_one_unit():
    """Ten tasks of fifty replicates each are ten tasks to whoever asks for others."""
    rng = np.random.default_rng(3)
    cube = rng.normal(size=(10, 4, 1)) + 0.01 * rng.normal(size=(10, 4, 50))
    rows = [
        (f"p{p}", f"t{t}", f"r{r}", cube[t, p, r])
        for t in range(10)
        for p in range(4)
        for r in range(50)
    ]
    policy, task, replicate, score = zip(*rows, strict=True)
    scores = Scores.of(policy, task, score, replicate=replicate)
    many, few = scores.to_rankings(by="replicate"), scores.to_rankings()
    assert (many.unit, few.unit) == ("group", "ballot")
    for method in (borda, plackett_luce, copeland, plurality):
        wide, narrow = method(many), method(few)
        assert not wide.better.any()
        assert (wide.upper - wide.lower).mean() > 0.6 * (narrow.upper - narrow.lower).mean()
    pairs = bradley_terry(Comparisons.of_rankings(many))
    assert not pairs.better.any()


def test_questions_that_share_a_document():
    rng = np.random.default_rng(4)
    document = np.repeat(np.arange(12), 20)
    passed = np.repeat(rng.random((12, 2)), 20, axis=0) > rng.random((240, 2))
    table = passed.astype(float)
    rows = [(f"p{p}", f"q{q}", table[q, p], f"d{document[q]}") for q in range(240) for p in (0, 1)]
    policy, task, score, unit = zip(*rows, strict=True)
    apart = aggregate(Scores.of(policy, task, score))
    whole = aggregate(Scores.of(policy, task, score, unit=unit))
    assert (whole.upper - whole.lower > 1.8 * (apart.upper - apart.lower)).all()
    assert "12 units" in next(note.text for note in whole.notes if note.kind == "units")
    pairs = Scores.of(policy, task, score, unit=unit).to_rankings()
    assert pairs.unit == "group"


def test_tasks_pair_the_policies():
    """Two policies whose scores differ by little on every task are told apart by their gaps."""
    rng = np.random.default_rng(5)
    level = rng.normal(size=(30, 1)) * 10
    table = level + [0.0, 1.0] + 0.5 * rng.normal(size=(30, 2))
    board = aggregate(as_scores(table))
    assert board.better[0, 1]
    assert board.lower[0] < board.upper[1]


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_means_cover_at_the_level_asked_for(level):
    held = total = 0
    for table in tables(6, 300, 5, 2):
        board = aggregate(as_scores(table), level=level)
        held += int(((board.lower <= 0) & (board.upper >= 0)).sum())
        total += 2
    assert held / total == pytest.approx(level, abs=3.5 * np.sqrt(level * (1 - level) / total))


@pytest.mark.parametrize("interval", ["closed", "exact"])
def test_bounded_means_stay_within_their_bounds(interval):
    table = np.ones((6, 3))
    table[0, 1] = 0.5
    table[:, 2] = 0
    board = aggregate(as_scores(table), interval=interval)
    assert (board.lower >= 0).all()
    assert (board.upper <= 1).all()
    assert (board.upper > board.lower).all()
    percent = aggregate(as_scores(100 * table), bounds=(0, 100), interval=interval)
    assert percent.lower == pytest.approx(100 * board.lower)
    assert np.isnan(aggregate(as_scores(7 + 0 * table)).lower).all()


def test_pass_rates_are_wilsons_and_pairs_sign_tests():
    table = np.zeros((10, 2))
    table[:9, 0] = 1
    table[:3, 1] = 1
    board = aggregate(as_scores(table))
    assert (board.lower[0], board.upper[0]) == pytest.approx((0.59585, 0.98212), abs=1e-5)
    assert board.better[0, 1]  # 6 of 6 discordant tasks: p = 2 / 64
    table[8, 0] = 0
    assert not aggregate(as_scores(table)).better.any()  # 5 of 5: p = 2 / 32


def test_errors_of_means_by_hand():
    values = np.array([[1.0, 2.0], [2.0, np.nan], [6.0, 6.0]])
    found = over_units(values)
    assert found.mean == pytest.approx([3, 4])
    assert found.covariance[0, 0] == pytest.approx(7 / 3)
    assert found.covariance[1, 1] == pytest.approx(4)
    clustered = over_units(values[:, :1], np.array([0, 0, 1]))
    # Cluster sums of residuals -3 and 3, shares 2/3 and 1/3.
    assert clustered.covariance[0, 0] == pytest.approx((9 / (1 / 3) + 9 / (2 / 3)) / 9)
    assert found.units == pytest.approx([3, 2])
    assert clustered.units == pytest.approx(1 / (4 / 9 + 1 / 9))
    cube = np.array([[[1.0, 3.0]], [[5.0, 9.0]]])
    inside = inside_tasks(cube, paired=False)
    assert inside.mean == pytest.approx([4.5])
    assert inside.covariance[0, 0] == pytest.approx((2 / 2 + 8 / 2) / 4)
    assert inside.df[0, 0] == pytest.approx((1 + 4) ** 2 / (1 + 16))
    assert np.isnan(inside_tasks(cube[..., :1], paired=False).df).all()  # one value tells no spread
    # Replicates 1 and 2 are a cluster each: residuals -1 - 2 and 1 + 2, times sqrt(2) / 4.
    shared = inside_tasks(cube, paired=False, cluster=np.array([0, 1, 0, 1]))
    assert shared.covariance[0, 0] == pytest.approx(2 * (3 * np.sqrt(2) / 4) ** 2 / (1 / 2))
    assert shared.units == pytest.approx([2])


def test_shares_with_a_count_are_games():
    share = Comparisons.of(["x"], ["y"], [0.7], count=[10])
    games = Comparisons.of(["x"] * 10, ["y"] * 10, [1.0] * 7 + [0.0] * 3)
    assert isinstance(share.games(), Games)
    for method in (bradley_terry, borda, thurstone):
        one, other = method(share), method(games)
        assert one.rating == pytest.approx(other.rating)
        assert one.lower == pytest.approx(other.lower)
    fisher = bradley_terry(share, scale="natural", interval="fisher")
    assert fisher.rating[0] - fisher.rating[1] == pytest.approx(0.847298, abs=1e-6)
    half = (fisher.upper[0] - fisher.lower[0]) / 2
    assert 2 * half / 1.959964 == pytest.approx(0.690066, abs=1e-5)


def test_expected_win_rates_hold_the_order_effect():
    """Position bias that was fitted is no cycle."""
    rng = np.random.default_rng(7)
    i = rng.integers(4, size=12_000)
    j = (i + 1 + (rng.random(12_000) < 0.1) * 2) % 4
    won = rng.random(12_000) < 1 / (1 + np.exp(-1.0))
    names = np.array(list("abcd"))
    c = Comparisons.of(names[i], names[j], won.astype(float))
    assert "cyclic" in {note.kind for note in bradley_terry(c).notes}
    assert "cyclic" not in {note.kind for note in bradley_terry(c, order_effect=True).notes}


def test_ratings_stay_within_their_bounds():
    rows = [list("abcd")] * 9 + [list("abdc")] * 4
    for loss in ("sigmoid", "fenchel-young"):
        board = soft_condorcet(Rankings.of(rows), loss=loss, bound=2.0, interval="none")
        assert np.abs(board.rating).max() <= 2.0 + 1e-9


def test_certain_majorities_alone_make_claims():
    rows = [list("abc")] * 40 + [list("acb")] * 40
    board = copeland(Rankings.of(rows))
    assert board.frame.select("policy", "lower", "upper").rows()[0] == ("a", 2.0, 2.0)
    assert board.rank_lower.tolist() == [1, 2, 2]
    assert board.may_be_best == ("a",)
    worst = minimax(Rankings.of(rows))
    assert worst.may_be_best == ("a",)
    assert np.isnan(worst.lower).all()
    sure = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=bool)
    assert not dominated(sure).any()
    assert not of_majorities(sure).better.any()
    assert holm(np.array([0.001, 0.012, 0.03, 0.2])) == pytest.approx([0.004, 0.036, 0.06, 0.2])


def test_few_raters_are_said():
    c = four_raters()
    board = bradley_terry(c)
    assert board.settings["cluster"] is None
    assert "few raters" in {note.kind for note in board.notes}
    clustered = bradley_terry(c, cluster="rater")
    note = next(note for note in clustered.notes if note.kind == "clusters")
    assert (note.severity, "4 raters" in note.text) == ("warning", True)


def test_elo_draws_raters_whole():
    rng = np.random.default_rng(8)
    rater = np.repeat(np.arange(60), 20)
    taste = np.repeat(rng.random(60) < 0.5, 20)
    won = np.where(taste, rng.random(1200) < 0.95, rng.random(1200) < 0.05).astype(float)
    apart = Comparisons.of(["x"] * 1200, ["y"] * 1200, won)
    whole = Comparisons.of(["x"] * 1200, ["y"] * 1200, won, rater=rater.tolist())
    wide, narrow = elo(whole, k=2.0), elo(apart, k=2.0)
    assert (wide.upper - wide.lower > 1.3 * (narrow.upper - narrow.lower)).all()
