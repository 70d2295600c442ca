"""Comparisons, Scores and Rankings: construction, conversion, filters, round trips, refusals."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, strategies as st

from policyrank.errors import EvidenceError
from policyrank.evidence import (
    Comparisons,
    Rankings,
    Scores,
    read_comparisons,
    read_rankings,
    read_scores,
)
from twins import slow_preferences

NASTY = [
    "a,b",
    'say "hi"',
    "two\nlines",
    "<b>bold</b>",
    "שלום",
    "مرحبا",
    "émile",
    "x|y",
    "  spaced",
]
FORMATS = [".csv", ".tsv", ".parquet", ".jsonl", ".arrow"]


def test_preferences_against_a_loop(battles):
    c = battles()
    assert np.allclose(c.preferences(), slow_preferences(c))
    assert np.allclose(c.counted().preferences(), slow_preferences(c))
    assert c.counted().total == c.total == 400
    assert c.seen().sum() == 800


def test_weights_go_along_to_the_pairs():
    ballots = [["x", "y"], ["y", "x"]]
    voters = Comparisons.of_rankings(Rankings.of(ballots, weight=[3, 1]))
    assert (voters.total, voters.preferences().tolist()) == (4, [[0, 3], [1, 0]])
    important = Comparisons.of_rankings(Rankings.of(ballots, weight=[1.5, 0.5]))
    assert (important.total, important.preferences().tolist()) == (2, [[0, 1.5], [0.5, 0]])
    tasks = Scores.of(["x", "y"] * 2, ["a", "a", "b", "b"], [1, 0, 0, 1], weight=[3, 3, 1, 1])
    assert tasks.to_comparisons().preferences().tolist() == [[0, 1.5], [0.5, 0]]


def test_arrays_are_immutable(battles):
    c = battles()
    with pytest.raises(ValueError, match="read-only"):
        c.outcome[0] = 1


@pytest.mark.parametrize("ending", FORMATS)
def test_comparisons_round_trip(tmp_path, ending):
    names = [n.strip() for n in NASTY]
    c = Comparisons.of(
        names,
        names[1:] + names[:1],
        np.tile([1, 0, 0.5], 3),
        task=["t1", "t,2", "t\n3"] * 3,
        rater=list("uvwuvwuvw"),
        weight=np.arange(1.0, 10),
        time=np.arange(9.0),
        covariates=np.arange(9.0)[:, None],
        covariate_names=("length",),
    )
    c.write(tmp_path / f"battles{ending}")
    back = read_comparisons(tmp_path / f"battles{ending}")
    assert back.to_frame().equals(c.to_frame())
    assert back.covariate_names == ("length",)


@pytest.mark.parametrize("ending", FORMATS)
def test_scores_round_trip(tmp_path, ending):
    s = Scores.of(
        ["x", "y", "x", "y"],
        ["go", "go", "chess", "chess"],
        [1.5, 2, -3, 4e9],
        metric=["wer", "wer", "acc", "acc"],
        replicate=["1", "1", "2", "2"],
        lower_is_better={"wer"},
    )
    s.write(tmp_path / f"scores{ending}")
    back = read_scores(tmp_path / f"scores{ending}")
    assert back.to_frame().equals(s.to_frame())
    assert back.lower_is_better == {"wer"}


@pytest.mark.parametrize("ending", FORMATS)
def test_rankings_round_trip(tmp_path, ending):
    r = Rankings.of([["x", ["y", "z"]], ["z", "x"]], weight=[3, 1])
    r.write(tmp_path / f"votes{ending}")
    back = read_rankings(tmp_path / f"votes{ending}")
    assert np.array_equal(back.matrix(), r.matrix())
    assert back.policies == r.policies
    assert back.weight.tolist() == [3, 1]


def test_pandas_and_arrow_frames(battles):
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    c = battles()
    frame = c.to_frame()
    assert Comparisons.from_frame(frame.to_pandas()).to_frame().equals(frame)
    assert Comparisons.from_frame(frame.to_arrow()).to_frame().equals(frame)
    assert Comparisons.from_frame(frame.lazy()).to_frame().equals(frame)


def test_filter_merge_take(battles):
    c = Comparisons.of(
        list("xyzx"), list("yzxz"), [1, 0, 1, 0.5], task=list("ttuu"), time=np.arange(4.0)
    )
    assert c.filter(tasks="t").total == 2
    assert c.filter(policies=["x", "y"]).policies == ("x", "y")
    assert c.filter(since=1, until=3).total == 2
    both = c.merge(c)
    assert both.total == 8
    assert np.array_equal(both.preferences(), 2 * c.preferences())
    with pytest.raises(EvidenceError, match="Did you mean"):
        c.filter(tasks="T")
    with pytest.raises(EvidenceError, match="no column 'rater'"):
        c.filter(raters="r")


def test_merge_keeps_names_apart():
    one, two = Comparisons.of(["b"], ["a"], [1]), Comparisons.of(["c"], ["b"], [1])
    both = one.merge(two)
    assert both.policies == ("a", "b", "c")
    assert both.preferences()[1, 0] == 1
    assert both.preferences()[2, 1] == 1


def test_scores_table_direction_and_cube():
    s = Scores.of(
        ["x", "y", "x", "y", "x"],
        ["a", "a", "b", "b", "b"],
        [1, 2, 3, 4, 5],
        lower_is_better={"b"},
        replicate=list("11112"),
    )
    assert s.table().tolist() == [[1, 2], [-4, -4]]
    assert s.table(oriented=False).tolist() == [[1, 2], [4, 4]]
    assert s.cube().shape == (2, 2, 2)
    assert np.isnan(s.cube()[1, 1, 1])
    assert s.to_rankings().preferences().tolist() == [[0, 0.5], [1.5, 0]]
    assert len(s.to_rankings(by="replicate")) == 3


def test_same_replicate_twice_is_refused():
    s = Scores.of(["x", "y", "x"], ["a"] * 3, [1, 2, 3], replicate=["1"] * 3)
    with pytest.raises(EvidenceError, match="two scores"):
        s.cube()


@given(
    st.lists(
        st.lists(st.integers(0, 5), min_size=1, max_size=6, unique=True), min_size=1, max_size=8
    )
)
def test_ballots_against_loops(ballots):
    names = [f"p{k}" for k in range(6)]
    r = Rankings.of([[names[i] for i in b] for b in ballots] + [names], policies=names)
    wins = np.zeros((6, 6))
    for b in [*ballots, list(range(6))]:
        for k, i in enumerate(b):
            for j in b[k + 1 :]:
                wins[i, j] += 1
    assert np.array_equal(r.preferences(), wins)
    assert np.array_equal(Comparisons.of_rankings(r).preferences(), wins)
    assert r.complete().is_complete


def test_ties_in_ballots_and_completion():
    r = Rankings.of([["x", ["y", "z"]], ["z"]])
    assert r.preferences()[1, 2] == r.preferences()[2, 1] == 0.5
    assert r.preferences(ties=0.0)[1, 2] == 0
    assert r.complete().preferences()[2].tolist() == [1, 1.5, 0]
    assert Comparisons.of(["x"], ["y"], [0.5]).to_rankings().preferences().tolist() == [
        [0, 0.5],
        [0.5, 0],
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Comparisons.of([], [], []), "row|empty|two policies"),
        (lambda: Comparisons.of(["x"], ["y"], [1.5]), "outside"),
        (lambda: Comparisons.of(["x"], ["y"], [float("nan")]), "nan"),
        (lambda: Comparisons.of(["x", "x"], ["x", "y"], [1, 1]), "itself"),
        (lambda: Comparisons.of(["x", None], ["y", "z"], [1, 1]), "row 2"),
        (lambda: Comparisons.of(["x"], ["y"], [1], weight=[-1]), "negative"),
        (lambda: Comparisons.of(["x"], ["y"], [1, 0]), "length"),
        (lambda: Scores.of(["x", "y"], ["t", "t"], [1, np.inf]), "inf"),
        (lambda: Scores.of(["x"], ["t"], [1]), "two policies"),
        (lambda: Scores.of(["x", "y"], ["t", "t"], [1, 2], lower_is_better={"T"}), "Did you mean"),
        (lambda: Rankings.of([["x", "y", "x"]]), "twice"),
        (lambda: Rankings.of([["x", "y"]], weight=[-1]), "negative"),
        (lambda: Rankings.of([["x"]]), "two policies"),
    ],
)
def test_bad_evidence_is_refused(make, message):
    with pytest.raises(EvidenceError, match=message):
        make()


def test_ten_million_rows_are_counted_in_little_memory(tmp_path):
    """Reading counts while streaming: the process stays within a few hundred MB (measured in a
    process of its own).
    """
    import subprocess
    import sys

    rng = np.random.default_rng(0)
    n, size = 50, 3_000_000
    i = rng.integers(n, size=size)
    names = pl.Series([f"model-{k}" for k in range(n)])
    pl.DataFrame(
        {
            "model_a": names[i],
            "model_b": names[(i + rng.integers(1, n, size)) % n],
            "winner": pl.Series(["model_a", "model_b", "tie"])[rng.integers(3, size=size)],
        }
    ).write_parquet(tmp_path / "big.parquet")
    code = (
        "import re, sys; from policyrank.evidence import read_comparisons; c ="
        " read_comparisons(sys.argv[1], counted=True, keep=());print(c.total,"
        " re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read()).group(1))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "big.parquet")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    total, peak = map(int, out.split())
    assert total == size
    assert peak < 500 * 1024
