"""Performance profiles and the optimality gap: rliable's definitions, written out."""

import json
from dataclasses import replace

import numpy as np
import pytest

import policyrank as pr
from policyrank.errors import EvidenceError
from policyrank.evidence import Scores


def runs_of(seed=0, tasks=4, runs=6, policies=("x", "y", "z")):
    """(policies, tasks, runs) of scores in [0, 1], and the same as evidence."""
    rng = np.random.default_rng(seed)
    table = rng.beta(2, 2, size=(len(policies), tasks, runs)).round(2)
    return table, scores_of(table, policies)


def scores_of(table, policies, **options):
    policy, task, run = np.indices(table.shape).reshape(3, -1)
    names = np.array(policies)
    return Scores.of(names[policy], task, table.ravel(), replicate=run, **options)


def of(found, name):
    return found.policies.index(name)


def test_profiles_are_rliables():
    """run_score_deviation: the mean of scores > tau, of each algorithm."""
    table, scores = runs_of()
    taus = [0.0, 0.13, 0.5, 0.77, 1.0]
    found = pr.performance_profiles(scores, taus)
    for place, name in enumerate("xyz"):
        expected = [(table[place] > tau).mean() for tau in taus]
        assert found.share[of(found, name)] == pytest.approx(expected)
    assert found.thresholds.tolist() == taus
    assert len(pr.performance_profiles(scores, interval="none").thresholds) == 101


def test_a_score_at_the_threshold_is_not_above_it():
    table = [[0.5, 0.9], [0.6, 0.9]]
    scores = Scores.from_table(table, ["go", "chess"], ["x", "y"])
    assert pr.performance_profiles(scores, [0.5]).share.tolist() == [[1.0], [0.5]]
    lower = Scores.from_table(table, ["go", "chess"], ["x", "y"], lower_is_better=["*"])
    found = pr.performance_profiles(lower, [0.5, 0.55])
    assert (found.better, found.share.tolist()) == ("below", [[0.0, 0.5], [0.0, 0.0]])


def test_bands_of_the_bootstrap_are_those_of_runs_inside_tasks():
    """Of one task the drawn share is binomial, of several their mean."""
    table = np.array([[[0.1] * 3 + [0.9] * 5]] * 2)
    found = pr.performance_profiles(
        scores_of(table, ["x", "y"]), [0.5], interval="bootstrap", resamples=20_000
    )
    from scipy.stats import binom

    ends = binom.ppf([0.025, 0.975], 8, 5 / 8) / 8
    assert found.lower[0, 0] == pytest.approx(ends[0], abs=1e-9)
    assert found.upper[0, 0] == pytest.approx(ends[1], abs=1e-9)
    # Tasks are strata: a task above and a task below never vary: the closed ends stand.
    halves = np.array([[[0.1] * 4, [0.9] * 4]] * 2)
    found = pr.performance_profiles(scores_of(halves, ["x", "y"]), [0.5], interval="bootstrap")
    closed = pr.performance_profiles(scores_of(halves, ["x", "y"]), [0.5])
    assert closed.lower[0, 0] < 0.5 < closed.upper[0, 0]
    assert (found.lower[0, 0], found.upper[0, 0]) == (closed.lower[0, 0], closed.upper[0, 0])


def test_closed_bands_cover_and_have_width():
    rng, inside, total = np.random.default_rng(0), 0, 0
    for _ in range(150):
        table = rng.random((2, 3, 8)) ** np.array([0.5, 1, 2])[:, None]
        found = pr.performance_profiles(scores_of(table, ["x", "y"]), [0.2, 0.5, 0.8])
        truth = np.mean([1 - np.array([0.2, 0.5, 0.8]) ** (1 / k) for k in (0.5, 1, 2)], axis=0)
        inside += ((found.lower[0] <= truth) & (truth <= found.upper[0])).sum()
        total += 3
        assert (found.upper > found.lower).all()
        assert (found.lower >= 0).all()
        assert (found.upper <= 1).all()
    assert inside / total > 0.92


def test_names_and_rows_change_only_labels():
    _, scores = runs_of(3)
    found = pr.performance_profiles(scores, [0.3, 0.6])
    order = np.random.default_rng(0).permutation(len(scores))
    frame = scores.to_frame()[order]
    turned = Scores.of(
        frame["policy"].replace({"x": "w", "z": "a"}),
        frame["task"],
        frame["score"].to_numpy(),
        replicate=frame["replicate"],
    )
    again = pr.performance_profiles(turned, [0.3, 0.6])
    for old, new in (("x", "w"), ("y", "y"), ("z", "a")):
        for field in ("share", "lower", "upper"):
            ours, theirs = getattr(found, field), getattr(again, field)
            assert theirs[of(again, new)] == pytest.approx(ours[of(found, old)])


def test_missing_runs_count_in_no_share():
    scores = Scores.of(["x"] * 3 + ["y"], ["go", "go", "chess", "go"], [0.1, 0.9, 0.9, 0.2])
    assert pr.performance_profiles(scores, [0.5]).share.tolist() == [[0.75], [0.0]]


def test_optimality_gap_is_rliables():
    """gamma - mean(min(scores, gamma)); the board's rating is minus that."""
    table, scores = runs_of(1)
    for target in (0.5, 1.0, 0.2):
        board = pr.optimality_gap(scores, target=target)
        for place, name in enumerate("xyz"):
            gap = target - np.minimum(table[place], target).mean()
            assert -board.rating[board.position(name)] == pytest.approx(gap)
        assert (board.upper <= 0).all()
        assert (board.lower < board.rating).all()
    # Twice the target in one task makes up for nothing in another.
    uneven = Scores.from_table([[2.0, 0.0], [0.5, 0.0]], ["go", "chess"], ["x", "y"])
    assert pr.optimality_gap(uneven, interval="none").rating == pytest.approx([-0.25, -1])


def test_optimality_gap_where_lower_is_better():
    errors = Scores.from_table(
        [[0.1, 0.5], [0.3, 0.0]], ["go", "chess"], ["x", "y"], lower_is_better=["*"]
    )
    board = pr.optimality_gap(errors, target=0.2, interval="none")
    found = dict(zip(board.policies, board.rating, strict=True))
    assert found == {"x": pytest.approx(-0.05), "y": pytest.approx(-0.15)}
    assert pr.rank(errors, method="optimality-gap", target=0.2).method == "optimality-gap"


def test_what_cannot_be_compared_with_one_threshold_is_refused():
    metric = ["acc", "loss", "acc", "loss"]
    both = Scores.of(list("xxyy"), ["t"] * 4, [0.5, 0.6, 0.7, 0.8], metric=metric)
    assert len(pr.performance_profiles(both, [0.5], interval="none").policies) == 2
    both = replace(both, lower_is_better=frozenset(["loss"]))
    for refused in (pr.performance_profiles, pr.optimality_gap):
        with pytest.raises(EvidenceError, match="smaller by others"):
            refused(both)
    _, scores = runs_of()
    single = Scores.from_table([[0.5, 0.2]], ["t"], ["x", "y"])
    for options, message in (
        ({"thresholds": [np.nan]}, "finite"),
        ({"level": 1}, "level=1"),
        ({"interval": "wide"}, "interval='wide'"),
    ):
        with pytest.raises(ValueError, match=message):
            pr.performance_profiles(scores, **options)
    with pytest.raises(EvidenceError, match="several scores a task"):
        pr.performance_profiles(single, interval="bootstrap")
    assert np.isnan(pr.performance_profiles(single).lower).all()
    weighted = Scores.of(["x", "y"], ["s", "s"], [0.5, 0.6], weight=[1.0, 2.0])
    with pytest.raises(EvidenceError, match="no weights"):
        pr.performance_profiles(weighted)


def test_tasks_on_different_scales_are_said(tmp_path, command):
    """A share above 0.5 means little where one task is in percent."""
    table = np.random.default_rng(2).random((2, 3, 4)) * np.array([1.0, 1.0, 100.0])[:, None]
    scores = scores_of(table, ["x", "y"])
    found = pr.performance_profiles(scores, [0.5])
    assert any(note.kind == "scale" for note in found.notes)
    same = pr.performance_profiles(scores_of(np.minimum(table, 1), ["x", "y"]), [0.5])
    assert not any(note.kind == "scale" for note in same.notes)
    file = tmp_path / "runs.csv"
    scores.write(file)
    code, said = command("profile", file, "--threshold", 0.5)
    assert (code, "times as" in " ".join(said.out.split())) == (0, True), said
    code, said = command("profile", file, "--threshold", 0.5, "--json")
    assert any("times as" in text for text in json.loads(said.out)["notes"])


def test_command(tmp_path, command):
    _, scores = runs_of()
    file, plot = tmp_path / "runs.csv", tmp_path / "p.png"
    scores.write(file)
    code, said = command("profile", file, "--threshold", 0.5, "--plot", plot)
    assert code == 0, said.err
    assert "above 0.5" in said.out
    assert plot.stat().st_size > 1000
    code, said = command("profile", file, "--threshold", 0.5, "--json")
    printed = json.loads(said.out)
    assert printed["better"] == "above"
    assert {row["policy"] for row in printed["profiles"]} == {"x", "y", "z"}
    code, said = command("profile", file, "--csv")
    assert said.out.startswith("policy,threshold,share,lower,upper")
    assert command("profile", file)[0] == 0
    code, said = command("rank", file, "-m", "optimality-gap", "-o", "target=0.9")
    assert code == 0, said.err
    votes = tmp_path / "votes.csv"
    votes.write_text("model_a,model_b,winner\nx,y,model_a\ny,x,model_b\n")
    code, said = command("profile", votes)
    assert (code, "profiles are of scores" in said.err) == (1, True)


def test_bounds_of_a_gap_are_those_of_the_scores():
    """Scores of 2 to 8, all beyond the target: nothing says how low a score can be."""
    table = [[2.0, 0.5], [8.0, 0.9], [5.0, 0.2]]
    scores = Scores.from_table(table, ["s", "t", "u"], ["x", "y"])
    board = pr.optimality_gap(scores, target=1.0)
    assert np.isnan(board.lower[board.position("x")])
    assert board.lower[board.position("y")] < board.rating[board.position("y")]
    known = pr.optimality_gap(scores, target=1.0, bounds=(0.0, 10.0))
    assert (known.lower < known.upper).all()
    assert (known.upper <= 0).all()
