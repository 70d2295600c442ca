"""Studies: the frame judges claims as it says, and every study runs small with its invariants."""

import math
from pathlib import Path

import numpy as np
import pytest

from policyrank.errors import EvidenceError, OptionError
from policyrank.evidence import Scores, data_files, datasets
from policyrank.ranking.majorities import holm
from policyrank.studies import STUDIES, Claim, Health, Unit, judge, page, run_study, table, tune
from policyrank.studies.frame import Measured, boards, measure, module_of

WORLD = Unit("world")


def scores(ours, theirs, lower=False):
    n = len(ours)
    return Scores.of(
        ["ours"] * n + ["theirs"] * n,
        ["t"] * 2 * n,
        [*ours, *theirs],
        metric=["m"] * 2 * n,
        replicate=[str(k) for k in range(n)] * 2,
        lower_is_better={"m"} if lower else set(),
    )


def rows_of(values, lower=False, metric="m"):
    """Scores of {method: (tasks, replicates)}, and of nobody, for a board needs two."""
    values = {**values, "nobody": np.zeros_like(next(iter(values.values())))}
    rows = [
        (method, f"task {i}", value, str(k))
        for method, table in values.items()
        for i, row in enumerate(table)
        for k, value in enumerate(row)
    ]
    methods, tasks, numbers, replicates = zip(*rows, strict=True)
    return Scores.of(
        methods,
        tasks,
        numbers,
        metric=[metric] * len(rows),
        replicate=replicates,
        lower_is_better={metric} if lower else set(),
    )


def one(claim, found, unit=WORLD, **options):
    return judge([claim], found, unit, **options)[0]


def test_verdicts():
    rng = np.random.default_rng(0)
    base, noise = rng.normal(size=30), rng.normal(0, 0.1, size=30)
    claim = Claim("ours is better", "ours", "theirs", "m")
    assert one(claim, scores(base + 1 + noise, base)).verdict == "holds"
    assert one(claim, scores(base + noise, base)).verdict == "not shown"
    assert one(claim, scores(base - 1 + noise, base)).verdict == "contradicted"
    assert one(claim, scores(base + 1 + noise, base, lower=True)).verdict == "contradicted"
    big = Claim("ours is better by two", "ours", "theirs", "m", smallest=2.0)
    assert one(big, scores(base + 1 + noise, base)).verdict == "not shown"
    no_worse = Claim("ours is no worse than by a half", "ours", "theirs", "m", smallest=-0.5)
    assert one(no_worse, scores(base - 0.1 + noise, base)).verdict == "holds"
    assert one(claim, scores([1.0], [0.0])).verdict == "not shown"
    against = Claim("ours is above 3", "ours", 3.0, "m")
    assert one(against, scores(noise + 4, base)).verdict == "holds"
    assert one(against, scores(noise + 4, base, lower=True)).verdict == "contradicted"


def test_paired_interval_is_students():
    ours, theirs = [1.0, 2.0, 4.0], [0.5, 1.0, 2.0]
    v = one(Claim("", "ours", "theirs", "m"), scores(ours, theirs))
    gap = np.array(ours) - theirs
    half = 4.302653 * gap.std(ddof=1) / math.sqrt(3)
    assert (v.effect, v.lower, v.upper) == pytest.approx(
        (gap.mean(), gap.mean() - half, gap.mean() + half), abs=1e-5
    )
    assert (v.units, v.unit) == (3, "world")
    from scipy.stats import ttest_rel

    assert v.p == pytest.approx(ttest_rel(ours, theirs).pvalue)


def test_claims_of_a_study_are_adjusted_together():
    rng = np.random.default_rng(1)
    table = {"a": rng.normal(0.5, 1, (1, 20)), "b": rng.normal(size=(1, 20))}
    table["c"] = rng.normal(0.3, 1, (1, 20))
    found = rows_of(table)
    claims = [Claim("", x, y, "m") for x, y in (("a", "b"), ("a", "c"), ("c", "b"))]
    sanity = Claim("", "a", "b", "m", kind="sanity")
    verdicts = judge([*claims, sanity], found, WORLD)
    raw = np.array([v.p for v in verdicts[:3]])
    assert [v.p_holm for v in verdicts[:3]] == pytest.approx(holm(raw).tolist())
    assert np.isnan(verdicts[3].p_holm)
    # Alone the same effect would do that is not enough among twenty claims.
    strong = rows_of({"a": [[1.1, 0.9, 1.0, 1.4, -0.1, 0.6]], "b": [[0.0] * 6]})
    claim = Claim("", "a", "b", "m")
    assert one(claim, strong).verdict == "holds"
    assert {v.verdict for v in judge([claim] * 20, strong, WORLD)} == {"not shown"}


def test_worst_cases_are_not_judged_by_means():
    values = np.linspace(0.6, 0.99, 100)
    found = rows_of({"rule": [values]})
    mean = Claim("", "rule", 0.611, "m")
    worst = Claim("", "rule", 0.611, "m", kind="worst")
    assert one(mean, found).verdict == "holds"
    assert one(worst, found).verdict == "contradicted"
    assert one(worst, found).effect == pytest.approx(0.6 - 0.611)
    assert one(worst, rows_of({"rule": [values + 0.1]})).verdict == "none found"


def test_everywhere_means_in_each_setting():
    rng = np.random.default_rng(0)
    good, bad = rng.normal(1, 0.1, (3, 20)), rng.normal(-1, 0.1, (1, 20))
    claim = Claim("", "a", 0.0, "m", kind="everywhere")
    assert one(claim, rows_of({"a": good})).verdict == "holds"
    mixed = one(claim, rows_of({"a": np.vstack([good, bad])}))
    assert (mixed.verdict, mixed.unit) == ("contradicted", "world, least of 4")
    assert mixed.effect == pytest.approx(bad.mean())
    assert one(Claim("", "a", 0.0, "m"), rows_of({"a": np.vstack([good, bad])})).verdict == "holds"


@pytest.mark.parametrize(
    ("lower", "share", "answer"),
    [
        (False, 0.97, "holds"),
        (False, 0.80, "contradicted"),
        (False, 0.94, "not shown"),
        (True, 0.03, "holds"),
        (True, 0.20, "contradicted"),
        (True, 0.06, "not shown"),
    ],
)
def test_rates_keep_their_bounds(lower, share, answer):
    events = (np.arange(1000) < 1000 * share).astype(float)
    claim = Claim("", "a", 0.05 if lower else 0.94, "m", kind="rate")
    found = one(claim, rows_of({"a": [events]}, lower=lower))
    assert found.verdict == answer
    from scipy.stats import binomtest

    if answer == "holds":
        side = "less" if lower else "greater"
        p = binomtest(int(events.sum()), 1000, claim.than, side).pvalue
        assert found.p == pytest.approx(2 * p)
    both = rows_of({"a": [events, (np.arange(1000) < 500).astype(float)]}, lower=lower)
    assert one(claim, both).verdict == "contradicted"


def test_identities_have_an_error_bound():
    claim = Claim("", "a", "b", "m", 1e-6, kind="identity")
    same = rows_of({"a": [[1.0, 2.0]], "b": [[1.0, 2.0 + 1e-9]]})
    other = rows_of({"a": [[1.0, 2.0]], "b": [[1.0, 2.1]]})
    assert (one(claim, same).verdict, one(claim, other).verdict) == ("exact", "broken")
    computed = Claim("", "a", 1.5, "m", kind="computed")
    assert one(computed, rows_of({"a": [[2.0]]})).verdict == "holds"
    assert one(computed, rows_of({"a": [[1.0]]})).verdict == "contradicted"
    assert one(computed, rows_of({"a": [[1.0, 2.0]]})).verdict == "not shown"


def test_published_numbers_agree_or_differ():
    rng = np.random.default_rng(0)
    found = rows_of({"a": rng.normal(0.9, 0.01, (1, 30))})
    for number, answer in ((0.9, "agrees"), (0.8, "differs"), (0.95, "not shown")):
        claim = Claim("", "a", number, "m", 0.05, kind="published")
        assert one(claim, found).verdict == answer


def test_units_are_what_is_independent():
    rng = np.random.default_rng(0)
    by_query = rng.normal(0.2, 1, (12, 1)) + rng.normal(0, 0.01, (12, 50))
    found = rows_of({"a": by_query})
    claim = Claim("", "a", 0.0, "m")
    assert one(claim, found, Unit("seed")).verdict == "holds"  # fifty seeds, the same queries
    queries = one(claim, found, Unit("query", "task"))
    assert (queries.verdict, queries.units) == ("not shown", 12)
    pairs = one(claim, found, Unit("pair", "task", of=lambda name: str(int(name[5:]) // 2)))
    values = by_query.mean(axis=1).reshape(6, 2).mean(axis=1)
    half = 2.570582 * values.std(ddof=1) / math.sqrt(6)
    assert (pairs.units, pairs.upper - pairs.effect) == pytest.approx((6, half), abs=1e-5)
    draws = rng.normal(1, 0.8, (1, 400))
    resampled = one(claim, rows_of({"a": draws}), Unit("resample", "resample"))
    assert resampled.verdict == "not shown"  # their spread is the error, however many there are
    assert (resampled.lower, resampled.upper) == pytest.approx(
        np.quantile(draws, [0.025, 0.975]).tolist()
    )
    assert one(claim, rows_of({"a": draws})).verdict == "holds"
    folds = rows_of({"a": rng.normal(1, 0.8, (1, 5))})
    plain, corrected = one(claim, folds), one(claim, folds, Unit("fold", overlap=0.25))
    ratio = (corrected.upper - corrected.effect) / (plain.upper - plain.effect)
    assert ratio == pytest.approx(math.sqrt((1 / 5 + 0.25) * 5))


def test_claims_after_a_look_and_on_failed_runs():
    rng = np.random.default_rng(0)
    found = scores(rng.normal(2, 0.1, 20), rng.normal(0, 0.1, 20))
    claim = Claim("", "ours", "theirs", "m", seen=(7,))
    assert [one(claim, found, seed=seed).exploratory for seed in (7, 8)] == [True, False]
    assert one(claim, found, unhealthy=["theirs"]).verdict == "failed run"
    assert not Health("theirs", "effective rows", 12, least=50).healthy
    assert Health("theirs", "effective rows", 60, least=50).healthy
    assert not Health("theirs", "effective rows", float("nan"), least=50).healthy


def test_tuning_is_equal():
    def measured(method, settings, world):
        return -((settings["rate"] - (2 if method == "a" else 3)) ** 2)

    grid = [{"rate": rate} for rate in (1, 2, 3)]
    found = tune({"a": grid, "b": grid}, measured, (0, 1), metric="win rate")
    assert [found[name].chosen["rate"] for name in "ab"] == [2, 3]
    assert (found["a"].worlds, len(found["a"].tried)) == (2, 3)
    with pytest.raises(OptionError, match="tuning is unequal: a 3, b 2"):
        tune({"a": grid, "b": grid[:2]}, measured, (0,), metric="win rate")


@pytest.mark.parametrize("slug", STUDIES)
@pytest.mark.slow
def test_study_runs_small(slug, data):
    if slug != "rank-coverage":
        data("roboarena")
    done = run_study(slug, "smoke", 0, lambda line: None)
    again, _ = measure(slug, "smoke", 0, lambda line: None)
    assert done.scores.to_frame().equals(again.scores.to_frame())
    assert np.isfinite(done.scores.score).all()
    assert all(math.isfinite(v.effect) or v.units == 0 for v in done.verdicts)
    assert sum(v.units > 0 for v in done.verdicts) >= len(done.verdicts) / 2
    assert set(boards(done)) or slug in ("off-policy-coverage",)
    assert not set(getattr(module_of(slug), "CONSTANTS", ())) - set(done.scores.policies)
    text = page([done, done], f"policyrank study run {slug}")
    for v in done.verdicts:
        assert v.claim.text in text
    assert table(done).height > 0
    assert "numpy" in text


def test_data_sets_are_checked(tmp_path, monkeypatch):

    (tmp_path / "multiagent-incomplete-information").mkdir()
    (tmp_path / "multiagent-incomplete-information" / "soccer.txt").write_text("0.5")
    monkeypatch.setenv("POLICYRANK_DATA", str(tmp_path))
    with pytest.raises(EvidenceError, match="SHA-256"):
        datasets.load("soccer")
    with pytest.raises(EvidenceError, match="no data set"):
        datasets.load("nothing")
    file = data_files.DataFile("nowhere/x.txt", "file:///nowhere/x.txt", "none", "0")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(EvidenceError, match="Download it by hand"):
        file.fetch()


def size_of(found):
    """Policies or pictures, or entries; of several sets those of the smallest."""
    if isinstance(found, tuple):
        found = found[0]
    for name in ("policies", "images"):
        if hasattr(found, name):
            return len(getattr(found, name))
    if isinstance(found, dict) and all(hasattr(own, "score") for own in found.values()):
        return min(len(own) for own in found.values())
    return len(found)


def test_every_named_data_set_loads(data):
    for name in datasets.DATASETS:
        assert size_of(data(name)) >= 4


def test_human_scores_lie_on_their_scales(data):
    photographs, pictures, videos = data("aadb"), data("kadid"), data("video-quality")
    assert [len(own) for own in (photographs, pictures)] == [9958, 10125]
    assert (pictures.features.sum(axis=1) == 1).all()
    assert len(set(pictures.group.tolist())) == 81
    levels = [
        pictures.score[pictures.features[:, level::5].any(axis=1)].mean() for level in range(5)
    ]
    assert np.round(levels, 2).tolist() == [4.08, 3.52, 3.06, 2.5, 2.01]
    assert {name: len(own) for name, own in videos.items()} == {
        "KoNViD-1k": 1200,
        "LIVE-VQC": 585,
        "YouTube-UGC": 1340,
    }
    for own in videos.values():
        assert np.isfinite(own.features).all()
        assert own.score.min() >= 1
        assert own.score.max() <= 5


def test_kept_measurements_are_of_the_same_code(tmp_path, monkeypatch):
    from policyrank.studies import kept, roboarena

    calls = []

    def measured(slug, scale, seed, report):
        calls.append(seed)
        return Measured(rows_of({"a": [[1.0, 2.0 + seed]]}), (), (Health("a", "KL", 3.0),)), 1.5

    monkeypatch.setattr(kept, "measure", measured)
    first = kept.kept_study("roboarena", tmp_path, "smoke", 1)
    again = kept.kept_study("roboarena", tmp_path, "smoke", 1)
    assert calls == [1]
    assert again.scores.to_frame().equals(first.scores.to_frame())
    assert (again.seconds, again.measured.health) == (1.5, first.measured.health)
    kept.kept_study("roboarena", tmp_path, "smoke", 2)
    assert calls == [1, 2]
    text = Path(roboarena.__file__).read_text()
    for change, new in (
        (lambda source: source.replace("CLAIMS = (", "CLAIMS = (  # other words\n"), 0),
        (lambda source: source.replace("rng.integers", "rng.choice", 1), 1),
    ):
        other = tmp_path / "changed.py"
        other.write_text(change(text))
        monkeypatch.setattr(roboarena, "__file__", str(other))
        before = len(calls)
        kept.kept_study("roboarena", tmp_path, "smoke", 1)
        assert len(calls) - before == new


@pytest.mark.parametrize("ending", ["json", "parquet"])
@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_damaged_measurements_are_named_and_measured_again(tmp_path, monkeypatch, ending, damage):
    from policyrank.studies import kept

    calls, said = [], []

    def measured(slug, scale, seed, report):
        calls.append(seed)
        return Measured(rows_of({"a": [[1.0, 2.0]]})), 1.5

    monkeypatch.setattr(kept, "measure", measured)
    first = kept.kept_study("roboarena", tmp_path, "smoke", 1)
    path = tmp_path / f"roboarena-smoke-1.{ending}"
    content = path.read_bytes()
    middle = len(content) // 2
    damaged = {
        "cut": content[:-9],
        "changed": content[:middle] + bytes(9) + content[middle + 9 :],
        "empty": b"",
    }
    path.write_bytes(damaged[damage])
    again = kept.kept_study("roboarena", tmp_path, "smoke", 1, said.append)
    assert calls == [1, 1]
    assert said[0].startswith("roboarena-smoke-1: what is kept is of other code or damaged")
    assert again.scores.to_frame().equals(first.scores.to_frame())
    kept.kept_study("roboarena", tmp_path, "smoke", 1)
    assert calls == [1, 1]
