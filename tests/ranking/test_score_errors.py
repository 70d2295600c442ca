"""Errors of mean scores: against slow twins, a policy, a task and a replicate at a time."""

import numpy as np
import pytest
from scipy.stats import norm

from policyrank.board.bounded import clopper_pearson, dispersion, gaffke, q_wilson
from policyrank.board.clusters import satterthwaite
from policyrank.board.intervals import as_normal
from policyrank.errors import EvidenceError
from policyrank.evidence import Scores
from policyrank.ranking.ballot_errors import share_errors
from policyrank.ranking.score_errors import (
    MeanErrors,
    exact_ends,
    inside_tasks,
    known,
    mean_errors,
    over_units,
)


def slow_clustered(influence, share, cluster):
    """CR2 over clusters: each policy's sums are inflated by its own shares."""
    n = len(influence[0])
    sums, shares = {}, {}
    for row, name in enumerate(cluster):
        sums[name] = sums.get(name, np.zeros(n)) + influence[row]
        shares[name] = shares.get(name, np.zeros(n)) + share[row]
    covariance, df = np.zeros((n, n)), np.empty((n, n))
    for j in range(n):
        for k in range(n):
            for name, total in sums.items():
                q = shares[name]
                covariance[j, k] += total[j] * total[k] / np.sqrt((1 - q[j]) * (1 - q[k]))
            freedom = [satterthwaite([q[p] for q in shares.values()]) for p in (j, k)]
            df[j, k] = min(freedom)
    units = [1 / sum(q[p] ** 2 for q in shares.values()) for p in range(n)]
    return covariance, df, units


def holed(rng, shape, missing):
    table = rng.normal(size=shape)
    table[rng.random(shape) < missing] = np.nan
    return table


@pytest.mark.parametrize("seed", range(4))
def test_means_over_units_as_a_slow_twin_has_them(seed):
    rng = np.random.default_rng(seed)
    table = holed(rng, (13, 4), 0.2)
    cluster = np.r_[rng.integers(0, 5, 11), 5, 5] if seed else None
    found = over_units(table, cluster)
    there = ~np.isnan(table)
    rows = there.sum(axis=0)
    mean = np.nanmean(table, axis=0)
    influence = np.where(there, table - mean, 0) / rows
    names = np.arange(13) if cluster is None else cluster
    covariance, df, units = slow_clustered(influence, there / rows, names)
    assert found.mean == pytest.approx(mean)
    assert found.covariance == pytest.approx(covariance)
    assert found.df == pytest.approx(df)
    assert found.units == pytest.approx(units)
    assert found.rows.tolist() == rows.tolist()


def test_who_was_measured_in_one_unit_alone_has_no_error():
    table = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, np.nan]])
    found = over_units(table)
    assert np.isnan(found.df).tolist() == [[False, True], [True, True]]
    assert found.mean.tolist() == [3, 2]
    assert found.covariance == pytest.approx(np.diag([4 / 3, 0]))
    assert found.rows.tolist() == [3, 1]
    whole = over_units(table[:, :1], np.zeros(3, dtype=int))
    assert np.isnan(whole.df).all()


def slow_inside(cube):
    """Mean, variance of each mean and its degrees of freedom, from each task's replicates."""
    means, variances, freedoms, units = [], [], [], []
    for p in range(cube.shape[1]):
        tasks = [task[p][~np.isnan(task[p])] for task in cube]
        tasks = [runs for runs in tasks if len(runs)]
        several = [runs for runs in tasks if len(runs) > 1]
        squares = sum(((runs - runs.mean()) ** 2).sum() for runs in several)
        freedom = sum(len(runs) - 1 for runs in several)
        pooled = squares / max(freedom, 1)
        parts = []
        for runs in tasks:
            spread = runs.var(ddof=1) if len(runs) > 1 else pooled
            parts.append((spread / len(runs) / len(tasks) ** 2, max(len(runs) - 1, 1)))
        variance = sum(part for part, _ in parts)
        below = sum(part**2 / own for part, own in parts)
        df = variance**2 / below if variance > 0 else freedom
        means.append(np.mean([runs.mean() for runs in tasks]))
        variances.append(variance)
        freedoms.append(max(df, 1) if freedom else np.nan)
        units.append(1 / sum(1 / (len(runs) * len(tasks) ** 2) for runs in tasks))
    return np.array(means), np.array(variances), np.array(freedoms), np.array(units)


def some_cube(seed):
    """Tasks with several replicates, with one, and with none for some policy."""
    rng = np.random.default_rng(seed)
    cube = holed(rng, (6, 3, 5), 0.2)
    cube[0, 1] = np.nan
    cube[1, 0, 1:] = np.nan
    cube[1, 0, 0] = 4.0
    cube[2] += 3
    return cube


@pytest.mark.parametrize("seed", range(4))
def test_means_inside_tasks_as_a_slow_twin_has_them(seed):
    cube = some_cube(seed)
    mean, variance, df, units = slow_inside(cube)
    found = inside_tasks(cube, paired=False)
    assert found.mean == pytest.approx(mean)
    assert found.covariance == pytest.approx(np.diag(variance))
    assert found.units == pytest.approx(units)
    assert found.rows.tolist() == (~np.isnan(cube)).sum(axis=(0, 2)).tolist()
    for j in range(3):
        assert found.df[j, j] == pytest.approx(df[j])
        for k in range(3):
            if j != k:  # Welch
                both = (variance[j] + variance[k]) ** 2
                below = variance[j] ** 2 / df[j] + variance[k] ** 2 / df[k]
                assert found.df[j, k] == pytest.approx(both / below)


@pytest.mark.parametrize("seed", range(3))
def test_paired_replicates_covary_inside_their_tasks(seed):
    cube = some_cube(seed)
    _, variance, df, _ = slow_inside(cube)
    number = (~np.isnan(cube)).sum(axis=2)
    tasks = (number > 0).sum(axis=0)
    covariance = np.zeros((3, 3))
    for t, task in enumerate(cube):
        for j in range(3):
            for k in range(3):
                off = [0.0 if np.isnan(x) else x - np.nanmean(task[j]) for x in task[j]]
                other = [0.0 if np.isnan(x) else x - np.nanmean(task[k]) for x in task[k]]
                product = float(np.dot(off, other))
                for p in (j, k):
                    m = number[t, p]
                    product *= np.sqrt(m / max(m - 1, 1)) / max(m * tasks[p], 1)
                covariance[j, k] += product
    np.fill_diagonal(covariance, variance)
    found = inside_tasks(cube, paired=True)
    assert found.covariance == pytest.approx(covariance)
    assert found.df == pytest.approx(np.minimum(df[:, None], df))
    # Every task measured whole: the covariance of means over replicates.
    whole = np.random.default_rng(seed).normal(size=(4, 3, 6))
    of_means = np.mean([np.cov(task) / 6 for task in whole], axis=0) / 4
    assert inside_tasks(whole, paired=True).covariance == pytest.approx(of_means)


@pytest.mark.parametrize("paired", [True, False])
def test_replicates_that_share_a_unit(paired):
    cube = np.random.default_rng(5).normal(size=(3, 2, 4))
    cube[0, 1, 3] = np.nan
    cluster = np.array([0, 1, 2, 3, 0, 1, 2, 3, 4, 4, 1, 0])
    found = inside_tasks(cube, paired=paired, cluster=cluster)
    influence, share = np.zeros((12, 2)), np.zeros((12, 2))
    for t in range(3):
        for p in range(2):
            runs = cube[t, p]
            m = (~np.isnan(runs)).sum()
            for r in np.flatnonzero(~np.isnan(runs)):
                off = runs[r] - np.nanmean(runs)
                influence[4 * t + r, p] = off * np.sqrt(m / (m - 1)) / (3 * m)
                share[4 * t + r, p] = 1 / (3 * m)
    covariance, df, units = slow_clustered(influence, share, cluster)
    assert found.covariance == pytest.approx(covariance)
    assert found.df == pytest.approx(df)
    assert found.units == pytest.approx(units)
    assert found.rows.tolist() == [12, 11]


def test_replicates_that_all_agree_have_their_degrees_of_freedom():
    cube = np.ones((3, 2, 4))
    found = inside_tasks(cube, paired=False)
    assert (found.covariance == 0).all()
    assert found.df.tolist() == [[9, 18], [18, 9]]
    assert inside_tasks(cube, paired=True).df.tolist() == [[9, 9], [9, 9]]


def test_two_replicates_of_one_task_have_one_degree_of_freedom():
    cube = np.array([[[1.0, 3.0], [2.0, np.nan]]])
    found = inside_tasks(cube, paired=False)
    assert found.df[0, 0] == 1
    assert np.isnan(found.df[1, 1])
    assert found.units.tolist() == [2, 1]
    assert found.covariance.tolist() == [[1, 0], [0, 0]]


def slow_z(errors):
    """Differences by t, with one pseudo-unit of the typical pair's variance."""
    n, own = len(errors.mean), errors.covariance.diagonal()
    gaps = [[own[j] + own[k] - 2 * errors.covariance[j, k] for k in range(n)] for j in range(n)]
    typical = np.mean([gaps[j][k] for j in range(n) for k in range(n) if j != k])
    z = np.zeros((n, n))
    for j in range(n):
        for k in range(n):
            df = errors.df[j, k]
            spread = np.sqrt((df * gaps[j][k] + typical) / (df + 1))
            if j != k:
                z[j, k] = as_normal((errors.mean[j] - errors.mean[k]) / spread, df)
    return z


def some_errors(seed=0):
    rng = np.random.default_rng(seed)
    return over_units(rng.random((8, 3)), rng.integers(0, 4, 8))


def test_differences_bear_a_pseudo_unit_of_the_typical_pair():
    errors = some_errors()
    found = known(errors, None, 0.95)
    assert set(found) == {"covariance", "df", "z"}
    assert found["covariance"] == pytest.approx(errors.covariance)
    assert found["df"] is errors.df
    assert found["z"] == pytest.approx(slow_z(errors))


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-2.0, 3.0)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_intervals_within_bounds_are_q_wilsons(bounds, level):
    errors = some_errors(1)
    low, scale = bounds[0], bounds[1] - bounds[0]
    ends = known(errors, bounds, level)["ends"]
    for p in range(3):
        m, variance = (errors.mean[p] - low) / scale, errors.covariance[p, p] / scale**2
        # Eight values in about three units: a quarter counts as units, the rest as values.
        clumped = 0.25 + 0.75 * errors.units[p] / 8
        psi = dispersion(m, variance, clumped / (4 * errors.units[p]), errors.df[p, p])
        by_hand = q_wilson(m, psi, errors.df[p, p], level)
        assert ends[p] == pytest.approx(low + scale * np.array(by_hand))


def test_whose_error_is_not_known_is_drawn_as_widely_as_the_widest():
    table = np.array([[1.0, 2.0, 9.0], [3.0, 2.5, np.nan], [5.0, 4.0, np.nan]])
    errors = over_units(table)
    found = known(errors, None, 0.95)
    assert found["covariance"][2, 2] == pytest.approx(4 / 3)  # that of the first
    assert found["covariance"][:2, :2] == pytest.approx(errors.covariance[:2, :2])
    assert found["covariance"][2, 0] == 0
    assert found["z"][2].tolist() == [0, 0, 0]
    alone = known(over_units(np.array([[1.0, 2.0]])), None, 0.95)
    assert (alone["z"] == 0).all()
    assert (alone["covariance"] == 0).all()


def test_units_that_all_agree_are_so_many_equal_signs():
    """5 units of which all say the same: the deviate of 1 / 2^5, at most of 1 / 2^100."""
    for units, powers in ((np.array([5.0, 7, 5]), [5, 5]), (np.full(3, 300.0), [100, 100])):
        errors = MeanErrors(
            np.array([1.0, 0.5, 1.0]), np.zeros((3, 3)), np.full((3, 3), 4.0), units, units
        )
        z = known(errors, None, 0.95)["z"]
        assert z[0, 1] == pytest.approx(norm.isf(0.5 ** powers[0]))
        assert z[1, 2] == pytest.approx(-norm.isf(0.5 ** powers[1]))
        assert z[0, 2] == 0
        assert z[0, 0] == 0


def some_scores(table, unit=None, replicate=False):
    """(tasks, policies) or, with replicates, (tasks, policies, replicates)."""
    rows = []
    for place in np.ndindex(table.shape):
        name = f"u{unit[place[0]]}" if unit is not None else None
        repeat = f"r{place[2]}" if replicate else None
        rows.append((f"p{place[1]}", f"t{place[0]:02d}", table[place], name, repeat))
    policy, task, score, names, repeats = zip(*rows, strict=True)
    return Scores.of(
        policy,
        task,
        score,
        unit=names if unit is not None else None,
        replicate=repeats if replicate else None,
    )


def same(found, wanted):
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        if name != "sets":
            assert found[name] == pytest.approx(value, nan_ok=True)


def test_over_tasks():
    table = np.random.default_rng(0).random((7, 3))
    notes = []
    found = mean_errors(
        some_scores(table), table[:, :, None], "tasks", False, (0.0, 1.0), 0.9, notes
    )
    same(found, known(over_units(table), (0.0, 1.0), 0.9))
    assert [(note.kind, note.text, note.severity) for note in notes] == [
        (
            "units",
            "Intervals rest on 7 tasks, the same for all policies. Failures that none of them"
            " showed are not in them; interval='exact' holds anyway.",
            "info",
        )
    ]
    notes = []
    found = mean_errors(some_scores(table), table[:, :, None], "tasks", True, None, 0.9, notes)
    same(found, known(over_units(table), None, 0.9))
    assert notes[0].text == "Intervals rest on 7 tasks, the same for all policies."


def test_over_units_of_tasks():
    table, unit = np.random.default_rng(0).random((7, 3)), [0, 0, 0, 0, 1, 2, 1]
    notes = []
    evidence = some_scores(table, unit)
    found = mean_errors(evidence, table[:, :, None], "tasks", False, None, 0.9, notes)
    same(found, known(over_units(table, np.array(unit)), None, 0.9))
    effective = 49 / (16 + 4 + 1)
    text = f"Intervals rest on 3 units, taken whole (as good as {effective:.1f} of one size)."
    assert notes[0].text == text
    balanced = [0, 0, 1, 1, 2, 2]
    notes = []
    mean_errors(
        some_scores(table[:6], balanced), table[:6, :, None], "tasks", False, None, 0.9, notes
    )
    assert notes[0].text == "Intervals rest on 3 units, taken whole."


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 0.0), None, (0.0, 2.0)])
def test_passes_and_failures_are_told_by_counts(bounds):
    table = (np.random.default_rng(1).random((19, 3)) < 0.6).astype(float)
    low = -1.0 if bounds == (-1.0, 0.0) else 0.0
    notes = []
    found = mean_errors(
        some_scores(table), (table + low)[:, :, None], "tasks", False, bounds, 0.9, notes
    )
    assert [note.kind for note in notes] == ["units", "few units"]
    assert "Failures" not in notes[0].text
    assert notes[1].text == (
        "Wilson's intervals of 19 tasks cover as often as said on average over pass rates, less"
        " often for some near 0 or 1; interval='exact' covers at every rate."
    )
    if bounds is None or bounds[1] == 2:
        same(found, known(over_units(table), bounds, 0.9))
        return
    wanted = share_errors(table, np.ones(19), units=19, counted=True, level=0.9)
    same(found, {**wanted, "ends": wanted["ends"] + low})
    assert (found["sets"].better == wanted["sets"].better).all()


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_twenty_passes_are_enough_and_holes_are_none():
    table = (np.random.default_rng(1).random((20, 2)) < 0.5).astype(float)
    notes = []
    mean_errors(some_scores(table), table[:, :, None], "tasks", False, (0.0, 1.0), 0.9, notes)
    assert [note.kind for note in notes] == ["units"]
    table[3, 1] = np.nan
    notes = []
    found = mean_errors(
        some_scores(np.nan_to_num(table)), table[:, :, None], "tasks", False, (0.0, 1.0), 0.9, notes
    )
    assert "sets" not in found
    assert "Failures" in notes[0].text
    notes, unit = [], np.arange(20) // 2
    table = np.nan_to_num(table)
    evidence = some_scores(table, unit)
    found = mean_errors(evidence, table[:, :, None], "tasks", False, (0.0, 1.0), 0.9, notes)
    assert "sets" not in found
    assert "Failures" in notes[0].text


@pytest.mark.parametrize("paired", [True, False])
def test_over_replicates(paired):
    cube = np.random.default_rng(2).random((3, 2, 5))
    evidence = some_scores(cube, replicate=True)
    notes = []
    found = mean_errors(evidence, cube, "replicates", paired, (0.0, 1.0), 0.9, notes)
    same(found, known(inside_tasks(cube, paired=paired), (0.0, 1.0), 0.9))
    what = "5 replicates a task" + (", the same for all policies" if paired else "")
    assert notes[0].text.startswith(f"Intervals rest on {what}. Failures")


def test_passes_of_one_task_whose_replicates_are_paired_are_counts():
    cube = (np.random.default_rng(3).random((1, 2, 30)) < 0.7).astype(float)
    evidence = some_scores(cube, replicate=True)
    notes = []
    found = mean_errors(evidence, cube, "replicates", True, (0.0, 1.0), 0.95, notes)
    wanted = share_errors(cube[0].T, np.ones(30), units=30, counted=True, level=0.95)
    same(found, wanted)
    assert "sets" not in mean_errors(evidence, cube, "replicates", False, (0.0, 1.0), 0.95, notes)
    two = np.concatenate([cube, cube])
    evidence = some_scores(two, replicate=True)
    assert "sets" not in mean_errors(evidence, two, "replicates", True, (0.0, 1.0), 0.95, notes)


def test_over_units_of_replicates():
    cube = np.random.default_rng(4).random((2, 2, 4))
    rows = [(p, t, r) for t in range(2) for p in range(2) for r in range(4)]
    unit = [f"u{r // 2}" for _, _, r in rows]
    evidence = Scores.of(
        [f"p{p}" for p, _, _ in rows],
        [f"t{t}" for _, t, _ in rows],
        [cube[t, p, r] for p, t, r in rows],
        replicate=[f"r{r}" for _, _, r in rows],
        unit=unit,
    )
    notes = []
    found = mean_errors(evidence, cube, "replicates", True, (0.0, 1.0), 0.9, notes)
    cluster = np.tile([0, 0, 1, 1], 2)
    same(found, known(inside_tasks(cube, paired=True, cluster=cluster), (0.0, 1.0), 0.9))
    assert notes[0].text.startswith("Intervals rest on 2 units, taken whole. Failures")


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_exact_ends_are_gaffkes_and_of_passes_clopper_pearsons():
    table = np.array([[0.0, 1, 0.5], [1, 1, 0.25], [1, np.nan, 1], [0, 1, 0]])
    evidence = some_scores(np.nan_to_num(table))
    for low, scale in ((0.0, 1.0), (-3.0, 5.0)):
        cube = (low + scale * table)[:, :, None]
        ends = exact_ends(evidence, cube, "tasks", (low, low + scale), 0.9)
        assert ends[0] == pytest.approx(low + scale * np.array(clopper_pearson(0.5, 4, 0.9)))
        assert ends[1] == pytest.approx(low + scale * np.array(clopper_pearson(1.0, 3, 0.9)))
        assert ends[2] == pytest.approx(low + scale * np.array(gaffke(table[:, 2], 0.9)))
    several = exact_ends(evidence, np.stack([cube[:, :, 0]] * 2, axis=2), "tasks", (-3.0, 2.0), 0.9)
    assert several == pytest.approx(ends)


def test_exact_ends_need_independent_tasks_and_bounds():
    table = np.random.default_rng(0).random((4, 2))
    cube, evidence = table[:, :, None], some_scores(table)
    grouped = some_scores(table, [0, 0, 1, 1])
    for given, draw, bounds in (
        (evidence, "replicates", (0.0, 1.0)),
        (evidence, "tasks", None),
        (grouped, "tasks", (0.0, 1.0)),
    ):
        with pytest.raises(EvidenceError, match="interval='exact' is of means"):
            exact_ends(given, cube, draw, bounds, 0.9)
