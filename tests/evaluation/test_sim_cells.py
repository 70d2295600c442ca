"""Simulated against real results: published values, intervals that are none, corrections."""

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from policyrank.errors import EvidenceError
from policyrank.evaluation.prediction_powered import prediction_powered_mean
from policyrank.evaluation.sim_cells import Cells, cells_of_scores, cells_of_table
from policyrank.evaluation.sim_measures import sim_agreement
from policyrank.evidence import Scores

SIMPLER = {
    "google_robot_pick_coke_can": (0.0313, 0.9754),
    "google_robot_move_near": (0.1110, 0.8561),
    "google_robot_open_drawer": (0, 0.9832),
    "google_robot_close_drawer": (0.1233, 0.7712),
    "google_robot_place_apple_in_closed_top_drawer": (0, 0.9692),
    "widowx_spoon_on_towel": (0, 0.8269),
    "widowx_carrot_on_plate": (0.1113, 0.5714),
    "widowx_stack_cube": (0, 1.0),
    "widowx_put_eggplant_in_basket": (0, 0.9894),
}


def value(found, measure, scope):
    return found.frame.filter(measure=measure, scope=scope).row(0, named=True)


def cells(simulated, real, trials=None):
    sim, true = np.atleast_2d(simulated).T, np.atleast_2d(real).T
    names = tuple(f"p{k}" for k in range(len(sim)))
    tasks = tuple(f"t{k}" for k in range(sim.shape[1]))
    counts = None if trials is None else np.full(sim.shape, float(trials))
    return Cells(names, tasks, sim, true, counts, counts)


def test_the_published_table():
    """Real and simulated success of SIMPLER's policies, task by task."""
    path = Path(os.environ.get("POLICYRANK_DATA", "")) / "video-world-model-evaluation"
    if not (path / "simpler_real_vs_sim.csv").is_file():
        pytest.skip("POLICYRANK_DATA names no folder with video-world-model-evaluation")
    table = pl.read_csv(path / "simpler_real_vs_sim.csv")
    found = sim_agreement(
        cells_of_table(table, simulated="sim_success", real="real_success"), draws=50
    )
    for task, (violation, correlation) in SIMPLER.items():
        assert value(found, "MMRV", task)["value"] == pytest.approx(violation, abs=6e-5)
        assert value(found, "Pearson", task)["value"] == pytest.approx(correlation, abs=6e-5)
    assert found.best_real == ()
    assert any("no task has all policies" in note for note in found.notes)


def test_values_of_the_card():
    found = sim_agreement(cells([0.9, 0.5, 0.1], [0.6, 0.8, 0.1]), draws=20)
    assert value(found, "MMRV", "all cells")["value"] == pytest.approx(0.4 / 3)
    assert value(found, "regret@1", "all cells")["value"] == pytest.approx(0.2)
    assert (found.best_simulated, found.best_real) == (("p0",), ("p1",))
    assert found.gap == pytest.approx(0.0)
    told = found.to_dict()["findings"]
    assert "p0 first, reality p1: 0.20 of the real result is lost" in told[0]["what"]


def test_few_policies_have_no_interval_and_perfect_order_is_no_certainty():
    few = sim_agreement(cells([0.1, 0.2, 0.3], [0.1, 0.2, 0.3]), draws=50)
    assert few.frame["lower"].is_nan().all()
    x = np.linspace(0.1, 0.9, 8)
    exact = sim_agreement(cells(x, x), draws=50)
    assert value(exact, "Kendall", "all cells")["value"] == pytest.approx(1)
    assert np.isnan(value(exact, "Kendall", "all cells")["lower"])
    noisy = sim_agreement(cells(x, x, trials=20), draws=200)
    row = value(noisy, "Kendall", "all cells")
    assert row["lower"] < 0.95
    assert noisy.ceiling == pytest.approx(0.92, abs=0.05)
    assert np.isnan(exact.ceiling)


def test_a_blind_simulation_is_not_shown_to_say_anything():
    rng = np.random.default_rng(0)
    found = sim_agreement(cells(rng.random(9), rng.random(9), trials=50), draws=200)
    order = next(own for own in found.to_dict()["findings"] if own["check"] == "order")
    assert order["verdict"] == "concern"
    good = rng.random(9)
    sure = sim_agreement(cells(0.8 * good, good, trials=200), draws=200)
    order = next(own for own in sure.to_dict()["findings"] if own["check"] == "order")
    assert order["verdict"] == "fine"
    assert sure.gap_upper < 0


def test_what_is_left_out_moves_what_is_told():
    """The one policy that makes the correlation is seen."""
    sim = [0.1, 0.11, 0.12, 0.13, 0.14, 0.9]
    real = [0.14, 0.1, 0.13, 0.11, 0.12, 0.9]
    row = value(sim_agreement(cells(sim, real), draws=50), "Pearson", "all cells")
    assert row["value"] > 0.99
    assert row["least_left_out"] < 0


def test_means_are_over_tasks_that_all_have():
    sim = np.array([[0.9, 0.5, 0.1], [0.8, 0.4, np.nan]])
    real = np.array([[0.6, 0.5, 0.1], [0.1, 0.7, np.nan]])
    found = sim_agreement(cells(sim, real), draws=20)
    means = value(found, "Pearson", "policies' means")
    assert means["value"] == pytest.approx(np.corrcoef(sim[0], real[0])[0, 1])
    assert any("leave out tasks that some policies have not: t1" in own for own in found.notes)
    assert (found.frame["scope"] == "t1").sum() == 0


def test_episodes_of_two_files():
    sim = Scores.of(["a", "a", "b", "b", "c", "d"], ["x"] * 6, [1, 0, 1, 1, 0, 1])
    real = Scores.of(["a", "b", "b", "c", "e"], ["x", "x", "x", "x", "y"], [1, 0, 1, 0, 1])
    found = cells_of_scores(sim, real)
    assert found.policies == ("a", "b", "c")
    assert found.tasks == ("x",)
    assert found.simulated[:, 0].tolist() == [0.5, 1, 0]
    assert found.real_trials[:, 0].tolist() == [1, 2, 1]
    assert found.notes == (
        "only simulated, left out: policies d",
        "only real, left out: policies e",
        "only real, left out: tasks y",
    )
    costs = Scores.of(["a", "b"], ["x", "x"], [3.0, 1.0], lower_is_better={"x"})
    assert cells_of_scores(costs, costs).real[:, 0].tolist() == [-3, -1]


def test_neither_the_order_of_rows_nor_a_tie_changes_what_is_told():
    rng = np.random.default_rng(0)
    rows = [(f"p{k}", task, rng.random(), rng.random()) for k in range(7) for task in "xy"]
    table = pl.DataFrame(rows, schema=["policy", "task", "s", "r"], orient="row")
    told = [
        sim_agreement(cells_of_table(own, simulated="s", real="r"), draws=50).to_dict()
        for own in (table, table.reverse(), table.sample(fraction=1.0, shuffle=True, seed=1))
    ]
    assert told[0] == told[1] == told[2]
    tied = sim_agreement(cells([0.9, 0.9, 0.1], [0.7, 0.8, 0.1]), draws=20)
    assert tied.best_simulated == ("p0", "p1")
    what = tied.to_dict()["findings"][0]["what"]
    assert "simulation puts p0, p1 first, reality p1: 0.05 of the real result is lost" in what
    both = sim_agreement(cells([0.9, 0.9, 0.1], [0.8, 0.8, 0.1]), draws=20)
    assert "both put p0, p1 first" in both.to_dict()["findings"][0]["what"]


def test_tables_that_cannot_be_read_are_named():
    table = pl.DataFrame({"policy": ["a", "a"], "task": ["x", "x"], "s": [1, 2], "r": [1, 2]})
    with pytest.raises(EvidenceError, match="'a' on 'x' is there more than once"):
        cells_of_table(table, simulated="s", real="r")
    with pytest.raises(EvidenceError, match="'task': row 2 is empty"):
        cells_of_table(table.with_columns(task=pl.Series(["x", None])), simulated="s", real="r")
    with pytest.raises(EvidenceError, match="no column 'real'"):
        cells_of_table(table, simulated="s")
    words = table[:1].with_columns(r=pl.lit("good"))
    with pytest.raises(EvidenceError, match="no number"):
        cells_of_table(words, simulated="s", real="r")
    with pytest.raises(EvidenceError, match="no policy and task has both"):
        cells_of_table(table[:1].with_columns(r=None), simulated="s", real="r")
    with pytest.raises(EvidenceError, match="2 policies have both"):
        sim_agreement(cells([0.1, 0.2], [0.1, 0.2]))
    one, other = (Scores.of(names, ["x", "x"], [1.0, 0.0]) for names in (["a", "b"], ["y", "z"]))
    with pytest.raises(EvidenceError, match="no policy and task is in both"):
        cells_of_scores(one, other)


# Cheap results corrected by dear ones


def test_weights_one_and_zero_by_hand():
    real, sim, more = [1, 0, 1, 1], [1, 0, 0, 1], [1, 1, 0, 0, 1, 1]
    whole = prediction_powered_mean(real, sim, more, weight=1)
    assert whole.value == pytest.approx(4 / 6 + 0.25)
    alone = prediction_powered_mean(real, sim, more, weight=0)
    assert alone.value == alone.alone == 0.75
    assert alone.worth == pytest.approx(4)
    useless = prediction_powered_mean([0, 1, 0, 1], [1, 1, 0, 0], more)
    assert useless.weight == pytest.approx(0)


@pytest.mark.parametrize("copies", [0.0, 0.9])
def test_intervals_cover_however_wrong_the_cheap_results_are(copies):
    """Cheap results are biased by .2, and copy the dear ones or not."""
    rng = np.random.default_rng(1)
    covered, widths, alone, values = [], [], [], []
    for _ in range(600):
        truth = rng.random(340) < 0.6
        noise = rng.random(340) < 0.8
        cheap = np.where(rng.random(340) < copies, truth, noise).astype(float)
        found = prediction_powered_mean(truth[:40], cheap[:40], cheap[40:])
        covered.append(found.lower <= 0.6 <= found.upper)
        widths.append(found.upper - found.lower)
        base = prediction_powered_mean(truth[:40], cheap[:40], cheap[40:], weight=0)
        alone.append(base.upper - base.lower)
        values.append(found.value)
    assert 0.92 < np.mean(covered) < 0.975
    assert np.mean(values) == pytest.approx(0.6, abs=0.02)
    ratio = np.mean(widths) / np.mean(alone)
    assert ratio < 0.75 if copies else 0.95 < ratio < 1.05


def test_pairs_that_cannot_be_corrected():
    for bad in (([1], [1], [1]), ([1, 0], [1], [1]), ([1, 0], [1, 0], [])):
        with pytest.raises(EvidenceError, match="two pairs"):
            prediction_powered_mean(*bad)
    with pytest.raises(EvidenceError, match="finite"):
        prediction_powered_mean([1, np.nan], [1, 0], [1])
