"""Rank sets, boards, scores, Elo, tasks, diagnostics, the default."""

import csv

import evalica
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import kendalltau, spearmanr, trim_mean

import policyrank as pr
from policyrank.board import rank_confidence_sets, rank_probabilities
from policyrank.board.intervals import error_draws
from policyrank.errors import EvidenceError, OptionError
from policyrank.evidence import Comparisons, Rankings, Scores
from policyrank.metrics import kendall_distance, kendall_tau, mmrv, pearson, regret_at_1, spearman
from policyrank.ranking import (
    aggregate,
    bradley_terry_by_task,
    connectivity,
    cyclicity,
    default_method,
    elo,
    task_mixture,
)
from policyrank.ranking.hidden_tasks import _mixture_loss
from twins import slow_rank_sets


def test_rank_sets_against_loops():
    rng = np.random.default_rng(0)
    for _ in range(5):
        a = rng.normal(size=(5, 5))
        cov, x = a @ a.T / 20, rng.normal(size=5)
        z = error_draws(cov, 400, seed=1)
        sets = rank_confidence_sets(x, cov, draws=z, stepdown=False)
        lower, upper = slow_rank_sets(x, cov, z, 0.95)
        assert sets.lower.tolist() == lower
        assert sets.upper.tolist() == upper


def test_step_down_only_sharpens_and_marginal_is_narrower():
    rng = np.random.default_rng(1)
    x, cov = np.sort(rng.normal(size=12))[::-1], np.eye(12) * 0.05
    plain, sharp = (rank_confidence_sets(x, cov, stepdown=s) for s in (False, True))
    assert (sharp.better >= plain.better).all()
    single = rank_confidence_sets(x, cov, simultaneous=False)
    assert (single.upper - single.lower).sum() <= (plain.upper - plain.lower).sum()


def test_rank_sets_cover_all_ranks_together():
    """Equal and unequal means, 300 data sets: the sets hold all true ranks in 95 of 100."""
    rng = np.random.default_rng(0)
    cov = 0.1 * (np.eye(6) + 0.3)
    for theta in (np.arange(6.0)[::-1] / 2, np.array([1, 1, 0.5, 0.5, 0, 0])):
        hold = 0
        for s in range(300):
            x = rng.multivariate_normal(theta, cov)
            sets = rank_confidence_sets(x, cov, size=400, seed=s)
            best, worst = (
                1 + (theta[None] > theta[:, None]).sum(1),
                (theta[None] >= theta[:, None]).sum(1),
            )
            hold += bool((sets.lower <= best).all() and (sets.upper >= worst).all())
        assert hold / 300 > 0.92


def test_certain_differences_need_no_draws():
    sets = rank_confidence_sets([3.0, 2.0, 2.0], np.zeros((3, 3)))
    assert sets.lower.tolist() == [1, 2, 2]
    assert sets.upper.tolist() == [1, 3, 3]
    with pytest.raises(ValueError, match="level"):
        rank_confidence_sets([1.0, 2.0], np.eye(2), level=95)


def test_rank_probabilities():
    p = rank_probabilities([1.0, 0.0], error_draws(np.eye(2) * 0.5, 40_000))
    assert p[0, 0] == pytest.approx(0.8413, abs=0.01)  # P(N(1, 1) > 0)
    assert p.sum(axis=0) == pytest.approx([1, 1])


def test_board_surface(battles):
    board = pr.rank(battles())
    assert board.frame.columns == [
        "policy",
        "rating",
        "lower",
        "upper",
        "rank",
        "rank_lower",
        "rank_upper",
        "n",
    ]
    assert board.frame["rank"].is_sorted()
    assert "p00" in board.may_be_best
    assert len(board.separable) == 5
    assert board.probability_best.sum() == pytest.approx(1)
    assert "Bradley-Terry" in board.notes[0].text
    with pytest.raises(KeyError):
        board.position("nobody")
    bare = pr.rank(battles(), interval="none")
    assert bare.frame["lower"].null_count() == 6
    assert bare.frame["rank_lower"].null_count() == 6
    with pytest.raises(ValueError, match="level"):
        pr.rank(battles(), level=95)


def test_default_method_and_conversions(battles):
    c = battles()
    assert default_method(c)[0] == "bradley-terry"
    assert default_method(Rankings.of([["x", "y"], ["y", "x"]]))[0] == "borda"
    assert default_method(Rankings.of([["x", "y"], ["y", "z"]]))[0] == "plackett-luce"
    table = [[1.0, 2, 3], [3, 2, 1.5]]
    assert default_method(Scores.from_table(table, ["s", "t"], list("xyz")))[0] == "borda"
    assert default_method(Scores.from_table([[1.0, 2, 3]], ["s"], list("xyz")))[0] == "mean"
    assert (
        default_method(Scores.from_table([[1.0, 2, np.nan], [3, 2, 1]], ["s", "t"], list("xyz")))[0]
        == "plackett-luce"
    )
    board = pr.rank(Scores.from_table(table, ["s", "t"], list("xyz")), method="kemeny")
    assert any("ballot" in n.text for n in board.notes if n.kind == "conversion")
    with pytest.raises(OptionError, match="no method is called"):
        pr.rank(c, method="magic")
    with pytest.raises(OptionError, match="has no option"):
        pr.rank(c, colour="blue")
    with pytest.raises(EvidenceError, match="cannot be turned"):
        pr.rank(c, method="mean")


def test_compare_lists_every_method_once(battles):
    found = pr.compare(battles())
    assert len(set(found.methods)) == len(found.methods) > 10
    assert found.frame.shape == (6, 1 + len(found.methods))
    assert np.nan_to_num(found.agreement.diagonal(), nan=1.0) == pytest.approx(
        np.ones(len(found.methods))
    )
    assert not found.failed


def test_elo_by_hand_and_against_evalica(battles):
    c = battles(size=500)
    winners = [
        {1.0: evalica.Winner.X, 0.0: evalica.Winner.Y, 0.5: evalica.Winner.Draw}[y]
        for y in c.outcome
    ]
    theirs = evalica.elo(
        [c.policies[a] for a in c.a], [c.policies[b] for b in c.b], winners, initial=1500.0, k=32.0
    ).scores
    board = elo(c, orders=0, interval="none")
    assert dict(zip(board.policies, board.rating, strict=True)) == pytest.approx(
        {p: theirs[p] for p in board.policies}
    )
    later = Comparisons(
        c.policies, c.a[::-1], c.b[::-1], c.outcome[::-1], time=np.arange(500)[::-1]
    )
    assert elo(later, interval="none").rating == pytest.approx(board.rating)
    averaged = elo(c, orders=200, k=4, interval="none")
    bt = pr.bradley_terry(c)
    assert (
        kendall_tau(
            averaged.rating[[averaged.position(p) for p in c.policies]],
            bt.rating[[bt.position(p) for p in c.policies]],
        )
        == 1
    )
    assert averaged.rating == pytest.approx(
        elo(c.counted(), orders=200, k=4, interval="none").rating
    )
    with pytest.raises(EvidenceError, match="no weights"):
        elo(Comparisons.of(["x"], ["y"], [1], weight=[2.0]))


def test_evalica_golden_files(data):
    """Elo and Bradley-Terry (logarithm, centred) equal evalica's committed outputs on real crowd
    votes.
    """
    from policyrank.evidence import datasets

    c = data("llmfao")
    path = datasets.FILES["crowd-comparisons.csv"].fetch().parent / "evalica-llmfao-golden.csv"
    golden = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            golden.setdefault(row["algorithm"], {})[row["item"]] = float(row["score"])
    board = elo(c, orders=0, k=4.0, start=1000.0, interval="none")
    assert dict(zip(board.policies, board.rating, strict=True)) == pytest.approx(
        golden["elo"], abs=1e-9
    )
    bt = pr.bradley_terry(c, scale="natural", interval="none")
    theirs = np.log([golden["bradley_terry"][p] for p in bt.policies])
    assert bt.rating == pytest.approx(theirs - theirs.mean(), abs=1e-9)


def test_llmfao_card_values(data):
    c = data("llmfao")
    assert (c.total, len(c.policies), len(c.rater.names)) == (8931, 59, 124)
    assert (c.outcome == 0.5).mean() == pytest.approx(0.39, abs=0.005)
    assert (c.seen().min(), c.seen().max()) == (121, 2762)
    met = c.preferences() + c.preferences().T > 0
    assert met[np.triu_indices(59, 1)].mean() == pytest.approx(0.54, abs=0.005)
    found = connectivity(c.policies, c.preferences())
    assert found.connected
    assert found.strongly_connected
    assert pr.bradley_terry(c).policies[0] == "GPT 4"


def test_score_statistics_by_hand():
    rng = np.random.default_rng(0)
    cube = rng.normal(size=(7, 4, 5))
    t, p, r = np.indices(cube.shape)
    s = Scores.of(
        np.array(list("wxyz"))[p.ravel()],
        [f"t{k}" for k in t.ravel()],
        cube.ravel(),
        replicate=[str(k) for k in r.ravel()],
    )

    def ours(name):
        board = aggregate(s, statistic=name, interval="none")
        return np.array([board.rating[board.position(q)] for q in "wxyz"])

    assert ours("mean") == pytest.approx(cube.mean(axis=(0, 2)))
    assert ours("median") == pytest.approx(np.median(cube.mean(axis=2), axis=0))
    assert ours("interquartile-mean") == pytest.approx(
        [trim_mean(cube[:, k].ravel(), 0.25) for k in range(4)]
    )
    # 5% of 35 runs are the lowest one and three quarters of the next.
    lowest = np.sort(np.moveaxis(cube, 1, 0).reshape(4, -1), axis=1)
    assert ours("cvar") == pytest.approx((lowest[:, 0] + 0.75 * lowest[:, 1]) / 1.75)
    assert ours("mean-rank") == pytest.approx(
        -(1 + (cube.mean(2)[:, None] > cube.mean(2)[:, :, None]).sum(-1)).mean(0)
    )
    win = [
        np.mean(
            [
                np.mean(cube[k, i][:, None] > cube[k, j])
                for k in range(7)
                for j in range(4)
                if j != i
            ]
        )
        for i in range(4)
    ]
    assert ours("win-rate") == pytest.approx(win)
    z = (cube.mean(2) - cube.mean(2).mean(1, keepdims=True)) / cube.mean(2).std(1, keepdims=True)
    assert ours("z-score") == pytest.approx(z.mean(0))


@pytest.mark.parametrize("draw", ["replicates", "tasks"])
def test_stratified_bootstrap_has_the_right_width(draw):
    """Standard errors of the mean: over replicates inside tasks, or over tasks, against the closed
    form.
    """
    rng = np.random.default_rng(0)
    cube = rng.normal(size=(20, 3, 10)) + np.arange(3)[:, None]
    t, p, r = np.indices(cube.shape)
    s = Scores.of(
        np.array(list("xyz"))[p.ravel()],
        [f"t{k}" for k in t.ravel()],
        cube.ravel(),
        replicate=[str(k) for k in r.ravel()],
    )
    board = aggregate(s, resample=draw, resamples=4000)
    table = cube.mean(axis=2)
    exact = (
        np.sqrt((cube.var(axis=2, ddof=1) / 10).sum(0)) / 20
        if draw == "replicates"
        else table.std(axis=0, ddof=1) / np.sqrt(20)
    )
    got = (board.upper - board.lower)[[board.position(q) for q in "xyz"]] / 2
    factor = 2.093 if draw == "tasks" else 1.973
    assert got == pytest.approx(factor * exact, rel=0.06)


def test_score_notes_and_refusals():
    s = Scores.from_table([[1.0, 2, np.nan], [1, 2, 3]], ["s", "t"], list("xyz"))
    assert any(n.kind == "incomplete" for n in aggregate(s).notes)
    wide = Scores.from_table([[1.0, 2], [1, 2], [1, 2000]], list("stu"), list("xy"))
    assert any(n.kind == "scale" for n in aggregate(wide).notes)
    with pytest.raises(EvidenceError, match="several scores"):
        aggregate(wide, resample="replicates")
    with pytest.raises(EvidenceError, match="statistic"):
        aggregate(wide, statistic="mode")


def test_tasks_are_pooled_and_the_spread_recovered():
    rng = np.random.default_rng(0)
    n, tasks, size = 6, 12, 30_000
    theta, psi = np.linspace(1, -1, n), rng.normal(0, 0.6, size=(n, tasks))
    i, t = rng.integers(n, size=size), rng.integers(tasks, size=size)
    j = (i + rng.integers(1, n, size)) % n
    d = theta[i] + psi[i, t] - theta[j] - psi[j, t]
    win = (rng.random(size) < 1 / (1 + np.exp(-d))).astype(float)
    c = Comparisons.of(
        [f"p{k}" for k in i], [f"p{k}" for k in j], win, task=[f"t{k:02d}" for k in t]
    )
    board = bradley_terry_by_task(c, scale="natural")
    assert board.extras["between_task_sd"] == pytest.approx(0.6, abs=0.1)
    table = board.extras["by_task"].sort("task", "policy")
    truth = (theta[:, None] + psi - (theta[:, None] + psi).mean(0)).T.ravel()
    got = table["rating"].to_numpy().reshape(tasks, n)
    assert pearson(got.ravel() - np.repeat(got.mean(1), n), truth) > 0.98
    # Overall ratings allow for tasks not seen: much wider than without tasks, and they cover the
    # population's ratings.
    plain = pr.bradley_terry(c, scale="natural")
    assert np.median(board.upper - board.lower) > 3 * np.median(plain.upper - plain.lower)
    values = np.array([theta[int(p[1])] for p in board.policies])
    assert ((board.lower <= values) & (values <= board.upper)).mean() >= 5 / 6
    alike = bradley_terry_by_task(c, pooling=1e-3, scale="natural")
    assert alike.rating == pytest.approx(plain.rating, abs=0.02)
    with pytest.raises(EvidenceError, match="no column 'task'"):
        bradley_terry_by_task(Comparisons.of(["x"], ["y"], [1]))


def test_mixture_gradient_and_special_cases(battles):
    from policyrank.ranking.cells import Cells

    c = battles(n=4, size=200)
    cells, rng = Cells.of(c), np.random.default_rng(0)
    for normalise in (True, False):
        p = rng.normal(0, 0.5, 4 + 4 * 3 + 3 + 3 + 1)
        value, gradient = _mixture_loss(p, cells, 3, normalise, 0.01)
        step = 1e-6
        numeric = np.array(
            [
                (
                    _mixture_loss(p + step * e, cells, 3, normalise, 0.01)[0]
                    - _mixture_loss(p - step * e, cells, 3, normalise, 0.01)[0]
                )
                / (2 * step)
                for e in np.eye(len(p))
            ]
        )
        free = (
            slice(None) if normalise else slice(None, -1)
        )  # as published nu moves the likelihood but is not fitted by it
        assert gradient[free] == pytest.approx(numeric[free], abs=1e-3)
        assert np.isfinite(value)
    one = task_mixture(c, buckets=1, l2=0.0, scale="natural")
    davidson = pr.bradley_terry(c, ties="davidson", scale="natural", interval="none")
    assert one.rating == pytest.approx(davidson.rating, abs=1e-3)
    assert one.extras["nu"] == pytest.approx(davidson.extras["tie_parameter"], abs=1e-3)
    published = task_mixture(c, buckets=1, l2=0.0, normalise=False, scale="natural")
    share = c.preferences().sum(1) / c.seen()
    assert published.policies == tuple(c.policies[k] for k in np.argsort(-share))


def test_connectivity_and_cycles():
    wins = np.array([[0, 3.0, 0], [1, 0, 0], [0, 0, 0]])
    found = connectivity(("x", "y", "z"), wins)
    assert not found.connected
    assert found.undefeated == ()
    rock = np.array([[0, 90.0, 10], [10, 0, 90], [90, 10, 0]])
    c = cyclicity(rock, np.full((3, 3), 0.5))
    assert c.share == pytest.approx(1, abs=0.01)
    assert c.triples == 1
    assert c.p_value < 1e-6
    theta = np.array([1.0, 0, -1])
    fair = 1 / (1 + np.exp(theta[None] - theta[:, None]))
    straight = cyclicity(fair * 1000 * (1 - np.eye(3)), fair)
    assert straight.share == 0
    assert straight.triples == 0
    assert straight.p_value > 0.9


def test_cyclic_note_appears_only_for_cycles(battles):
    rng = np.random.default_rng(0)
    i, size = rng.integers(3, size=3000), 3000
    j = (i + 1) % 3
    cyclic = Comparisons.of(
        np.array(list("rps"))[i], np.array(list("rps"))[j], (rng.random(size) < 0.8).astype(float)
    )
    assert "cyclic" in {n.kind for n in pr.bradley_terry(cyclic).notes}
    assert "cyclic" not in {n.kind for n in pr.bradley_terry(battles(size=5000, ties=0.0)).notes}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=12))
def test_metrics_against_scipy(pairs):
    x, y = np.array(pairs, dtype=float).T
    tau, rho = (
        kendalltau(x, y).statistic,
        spearmanr(x, y).statistic if len(set(x)) > 1 and len(set(y)) > 1 else np.nan,
    )
    assert kendall_tau(x, y) == pytest.approx(tau, nan_ok=True)
    assert spearman(x, y) == pytest.approx(rho, nan_ok=True)


def test_metric_values():
    assert mmrv([1, 2, 3], [1, 3, 2]) == pytest.approx(2 / 3)
    assert regret_at_1([1, 2, 3], [1, 3, 2]) == 1
    assert kendall_distance(list("cba"), list("abc")) == 3
    assert kendall_distance(list("cba"), list("abc"), normalised=True) == 1
    with pytest.raises(ValueError, match="same items"):
        kendall_distance([1, 2], [1, 3])


def test_roboarena_agreement_of_the_card(data):
    c, progress = data("roboarena"), data("roboarena-progress")
    board = pr.bradley_terry(c.filter(policies=progress.policies), ties="davidson", scale="natural")
    table = progress.table()
    oracle = table[~np.isnan(table).any(axis=1)].mean(axis=0)
    theta = np.array([board.rating[board.position(p)] for p in progress.policies])
    assert (~np.isnan(table).any(axis=1)).sum() == 599
    assert pearson(oracle, theta) == pytest.approx(0.9686, abs=5e-4)
    assert kendall_tau(oracle, theta) == pytest.approx(0.429, abs=5e-4)
    assert spearman(oracle, theta) == pytest.approx(0.536, abs=5e-4)
    assert mmrv(oracle, theta) == pytest.approx(0.0360, abs=5e-5)


def test_tiers_start_where_the_first_of_a_tier_is_left_behind():
    theta = np.array([2.0, 1.9, 0.5, 0.45, -5])
    board = pr.rank(Scores.from_table([[1.0, 2, 3]], ["t"], list("xyz")), interval="none")
    assert board.tiers is None
    from policyrank.board.assembly import make_leaderboard

    board = make_leaderboard(
        list("abcde"), theta, method="given", n=np.ones(5), covariance=np.eye(5) * 0.01
    )
    assert board.tiers.tolist() == [1, 1, 2, 2, 3]
    assert board.to_dict()["tiers"] == [1, 1, 2, 2, 3]


def test_notes_on_thin_pairs_and_disagreement(battles):
    ring = [(k, (k + 1) % 12) for k in range(12) for _ in range(20)]
    i, j = np.array(ring).T
    y = np.tile([1, 1, 1, 0], 60)
    c = Comparisons([f"p{k:02d}" for k in range(12)], i, j, y)
    assert "thin pairs" in {n.kind for n in pr.rank(c).notes}
    assert not {"thin pairs", "method disagreement"} & {
        n.kind for n in pr.rank(battles(ties=0.0, size=4000)).notes
    }


def test_method_disagreement_is_said():
    scores = Scores.from_table([[10, 9, 1.0], [10, 9, 1], [0, 9, 100]], list("stu"), list("abc"))
    board = pr.rank(scores, method="mean")
    assert board.policies[0] == "c"
    assert any("puts a first" in n.text for n in board.notes if n.kind == "method disagreement")


def test_repeated_scores_are_said_to_be_replicates():
    s = pr.read_scores(b"model,task,score\nx,a,1\nx,a,2\ny,a,3\n")
    assert any("taken as replicates" in n for n in s.notes)
    assert s.cube().shape == (1, 2, 2)


@pytest.mark.parametrize(
    "method", ["borda", "kemeny", "copeland", "ranked-pairs", "instant-runoff", "plurality"]
)
def test_few_unanimous_ballots_are_no_certainty(method):
    """One ballot has no intervals; three that agree settle nothing (a sign test over three pairs
    needs six); twenty do.
    """
    for ballots, settled in ((1, None), (3, False), (20, True)):
        board = pr.rank(Rankings.of([list("abc")] * ballots), method=method)
        assert board.policies[0] == "a"
        if settled is None:
            assert board.rank_lower is None
            assert any(n.kind == "no intervals" for n in board.notes)
        else:
            assert (board.may_be_best == ("a",)) is settled


def test_two_resamples_are_refused(battles):
    with pytest.raises(EvidenceError, match="at least 20"):
        pr.bradley_terry(battles(), interval="bootstrap", resamples=2)


def test_paired_replicates_tell_policies_apart():
    rng = np.random.default_rng(0)
    fortune = rng.normal(size=60)
    values = np.concatenate([fortune, fortune + 0.1 + 0.02 * rng.normal(size=60)])
    scores = Scores.of(
        ["a"] * 60 + ["b"] * 60, ["t"] * 120, values, replicate=np.tile(np.arange(60), 2)
    )
    apart, together = (aggregate(scores, resample="replicates", paired=p) for p in (True, False))
    assert apart.rank_upper.tolist() == [1, 2]
    assert together.rank_upper.tolist() == [2, 2]
    np.testing.assert_allclose(
        apart.upper - apart.lower, together.upper - together.lower, rtol=0.15
    )
    with pytest.raises(EvidenceError, match="paired=True"):
        aggregate(
            Scores.of(["a", "a", "b"], ["t"] * 3, [1.0, 2.0, 3.0], replicate=[0, 1, 0]), paired=True
        )


class Untouchable:
    """Evidence that nobody may look at."""

    def __getattribute__(self, name):
        raise AssertionError(f"{name} was looked at")


@pytest.mark.parametrize("name", pr.METHODS)
@pytest.mark.parametrize("call", ["rank", "method", "function"])
def test_a_misspelt_option_is_refused_before_the_evidence_is_looked_at(name, call):
    method = pr.METHODS[name]
    ways = {
        "rank": lambda evidence, **options: pr.rank(evidence, method=name, **options),
        "method": method,
        "function": method.function,
    }
    called = name if call == "rank" else method.function.__name__.replace("_", "-")
    option, misspelt = ("level", "levle") if "level" in method.options else ("scale", "scael")
    there = f"^{called} has no option '{misspelt}'. Did you mean '{option}'"
    with pytest.raises(OptionError, match=there):
        ways[call](Untouchable(), **{misspelt: 0.9})


@pytest.mark.parametrize("name", [n for n, m in pr.METHODS.items() if "interval" in m.options])
def test_an_unknown_kind_of_interval_is_refused(name):
    method = pr.METHODS[name]
    votes = Rankings.of([["x", "y", "z"], ["x", "z", "y"], ["y", "z", "x"]])
    forms = {
        Rankings: votes,
        Comparisons: Comparisons.of_rankings(votes),
        Scores: Scores.from_table([[3.0, 2.0, 1.0], [1.0, 2.0, 2.5]], ["s", "t"], list("xyz")),
    }
    for form in method.takes:
        with pytest.raises(OptionError, match="interval='nonsense': use "):
            method(forms[form], interval="nonsense")


def test_compare_refuses_an_option_that_no_method_has(battles):
    with pytest.raises(OptionError, match="compare has no option 'levle'"):
        pr.compare(battles(), levle=0.9)
    board = pr.compare(battles(), methods=["bradley-terry", "borda"], level=0.9).boards[0]
    assert board.level == 0.9


def test_a_short_tail_has_no_interval():
    def board(runs):
        rng = np.random.default_rng(0)
        values = rng.normal(size=2 * runs) + np.repeat([1.0, 0.0], runs)
        names = np.repeat(["a", "b"], runs)
        replicate = [str(k) for k in range(runs)] * 2
        return pr.rank(
            Scores.of(names, ["t"] * 2 * runs, values, replicate=replicate), method="cvar"
        )

    short, long = board(999), board(1000)
    assert np.isnan(short.lower).all()
    assert "no intervals below 1,000 runs" in " ".join(note.text for note in short.notes)
    assert (long.lower < long.rating).all()
    assert long.policies[0] == "a"


def test_progress_tells_of_the_task():
    from scipy.optimize import check_grad

    from policyrank.ranking.hidden_tasks import _mixture_loss, _start, _with_progress

    rng = np.random.default_rng(0)
    names = list("abcd")
    first, second = rng.integers(4, size=(2, 300))
    second = np.where(first == second, (second + 1) % 4, second)
    skill = np.array([1.5, 0.5, -0.5, -1.5])
    solved = rng.random((300, 2)) < 1 / (1 + np.exp(-np.stack([skill[first], skill[second]], 1)))
    outcome = 0.5 + 0.5 * (solved[:, 0].astype(float) - solved[:, 1])
    trials = Comparisons.of([names[k] for k in first], [names[k] for k in second], outcome)
    came = np.clip(solved * 0.8 + 0.1 + rng.normal(0, 0.05, (300, 2)), 0, 1)
    came[rng.random(came.shape) < 0.1] = np.nan
    cells, seen = _with_progress(trials, came, 0.3)
    start = _start(4, 3, rng)
    told = (cells, 3, True, 0.01, seen)

    def value(x):
        return _mixture_loss(x, *told)[0]

    def slope(x):
        return _mixture_loss(x, *told)[1]

    assert check_grad(value, slope, start) < 1e-3
    # One bucket, one trial, by hand: log(s_i (1 - s_j)) less both squares over 2 x .3^2.
    alone = Comparisons.of(["a"], ["b"], [1.0])
    cell, one = _with_progress(alone, np.array([[0.9, 0.2]]), 0.3)
    loss, _ = _mixture_loss(
        np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -9.0]), cell, 1, False, 0.0, one
    )
    assert loss == pytest.approx(-(np.log(0.25) - (0.4**2 + 0.3**2) / 0.18))
    nothing = task_mixture(trials, buckets=1, progress=np.full((300, 2), np.nan), scale="natural")
    plain = task_mixture(trials, buckets=1, scale="natural")
    assert nothing.rating == pytest.approx(plain.rating, abs=1e-3)
    # Progress against the outcomes pulls the ratings its way.
    against = task_mixture(trials, buckets=1, progress=1 - came, scale="natural")
    along = task_mixture(trials, buckets=1, progress=came, scale="natural")
    assert along.policies[0] == "a"
    a = [board.rating[board.position("a")] for board in (against, along)]
    assert a[1] > a[0] + 0.5
    with pytest.raises(EvidenceError, match=r"give \(300, 2\)"):
        task_mixture(trials, progress=came[:10])
    with pytest.raises(EvidenceError, match="between 0 and 1"):
        task_mixture(trials, progress=came + 1)
