"""Studies: the frame judges claims as it says, and every study runs small with its invariants."""

import math

import numpy as np
import pytest

from policyrank.evidence import Scores, data_files, datasets
from policyrank.studies import STUDIES, Claim, judge, page, run_study, table


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


def test_verdicts():
    rng = np.random.default_rng(0)
    base, noise = rng.normal(size=30), rng.normal(0, 0.1, size=30)
    claim = Claim("ours is better", "ours", "theirs", "m")
    assert judge(claim, scores(base + 1 + noise, base)).verdict == "holds"
    assert judge(claim, scores(base + noise, base)).verdict == "not shown"
    assert judge(claim, scores(base - 1 + noise, base)).verdict == "contradicted"
    assert judge(claim, scores(base + 1 + noise, base, lower=True)).verdict == "contradicted"
    big = Claim("ours is better by two", "ours", "theirs", "m", smallest=2.0)
    assert judge(big, scores(base + 1 + noise, base)).verdict == "not shown"
    no_worse = Claim("ours is no worse than by a half", "ours", "theirs", "m", smallest=-0.5)
    assert judge(no_worse, scores(base - 0.1 + noise, base)).verdict == "holds"
    assert judge(claim, scores([1.0], [0.0])).verdict == "not shown"


def test_paired_interval_is_students():
    ours, theirs = [1.0, 2.0, 4.0], [0.5, 1.0, 2.0]
    v = judge(Claim("", "ours", "theirs", "m"), scores(ours, theirs))
    gap = np.array(ours) - theirs
    half = 4.302653 * gap.std(ddof=1) / math.sqrt(3)
    assert (v.effect, v.lower, v.upper) == pytest.approx(
        (gap.mean(), gap.mean() - half, gap.mean() + half), abs=1e-5
    )
    assert (v.units, v.unit) == (3, "replicates")


@pytest.mark.parametrize("slug", STUDIES)
@pytest.mark.slow
def test_study_runs_small(slug, data):
    if slug != "rank-coverage":
        data("roboarena")
    done = run_study(slug, "smoke", 0, lambda line: None)
    again = run_study(slug, "smoke", 0, lambda line: None)
    assert done.scores.to_frame().equals(again.scores.to_frame())
    assert np.isfinite(done.scores.score).all()
    assert all(math.isfinite(v.effect) or v.units == 0 for v in done.verdicts)
    assert sum(v.units > 0 for v in done.verdicts) >= len(done.verdicts) / 2
    text = page(done, f"policyrank study run {slug}")
    for v in done.verdicts:
        assert v.claim.text in text
    assert table(done).height > 0
    assert "numpy" in text


def test_data_sets_are_checked(tmp_path, monkeypatch):
    from policyrank.errors import EvidenceError

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


def test_every_named_data_set_loads(data):
    for name in datasets.DATASETS:
        found = data(name)
        found = found[0] if isinstance(found, tuple) else found
        assert (
            len(
                next(
                    (getattr(found, k) for k in ("policies", "images") if hasattr(found, k)), found
                )
            )
            >= 4
        )
