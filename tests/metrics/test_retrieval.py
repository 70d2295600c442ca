"""Retrieval metrics against trec_eval (through ir-measures), card values and scikit-learn; TREC
files; runs ranked.
"""

import json

import numpy as np
import polars as pl
import pytest

from generators import runs_and_judgements
from policyrank.errors import EvidenceError
from policyrank.evidence import Scores
from policyrank.evidence.trec import read_qrels, read_run, write_qrels, write_run
from policyrank.metrics.overlap import rank_biased_overlap
from policyrank.metrics.retrieval import (
    Judged,
    ndcg,
    normalised_ndcg,
    random_ndcg,
    worst_ndcg,
)
from policyrank.metrics.retrieval_names import MEASURES, measure
from policyrank.ranking.runs import fuse_runs, judged, paired_tests, score_runs


@pytest.mark.parametrize("seed", range(3))
def test_measures_equal_trec_eval(seed):
    ir = pytest.importorskip("ir_measures")
    run, qrels = runs_and_judgements(seed)
    peers = {
        "nDCG@10": ir.nDCG @ 10,
        "nDCG": ir.nDCG,
        "AP": ir.AP,
        "AP@20": ir.AP @ 20,
        "RR": ir.RR,
        "P@5": ir.P @ 5,
        "R@20": ir.R @ 20,
        "AP(least=2)": ir.AP(rel=2),
        "P(least=3)@10": ir.P(rel=3) @ 10,
        "Success@1": ir.Success @ 1,
        "Success(least=3)@5": ir.Success(rel=3) @ 5,
        "Rprec": ir.Rprec,
        "Rprec(least=2)": ir.Rprec(rel=2),
        "Bpref": ir.Bpref,
        "Bpref(least=2)": ir.Bpref(rel=2),
        "Bpref(least=3)": ir.Bpref(rel=3),
        "SetP": ir.SetP,
        "SetP(relative=true)": ir.SetP(relative=True),
        "SetP(relative=true, least=3)": ir.SetP(relative=True, rel=3),
        "SetR": ir.SetR,
        "SetR(least=2)": ir.SetR(rel=2),
        "SetP(least=2)": ir.SetP(rel=2),
        "SetF(least=2)": ir.SetF(rel=2),
        "SetAP(least=2)": ir.SetAP(rel=2),
        "RR(least=2)": ir.RR(rel=2),
        "R(least=2)@20": ir.R(rel=2) @ 20,
        "AP(least=3)@20": ir.AP(rel=3) @ 20,
        "SetF": ir.SetF,
        "SetF(beta=2)": ir.SetF(beta=4.0),  # what is called beta there is its square
        "SetAP": ir.SetAP,
        "nDCG(judged_only=true)@10": ir.nDCG(judged_only=True) @ 10,
        "AP(judged_only=true)": ir.AP(judged_only=True),
        "AP(judged_only=true, least=2)": ir.AP(judged_only=True, rel=2),
        "RR(judged_only=true)": ir.RR(judged_only=True),
        "P(judged_only=true)@5": ir.P(judged_only=True) @ 5,
        "Rprec(judged_only=true)": ir.Rprec(judged_only=True),
        "SetP(judged_only=true)": ir.SetP(judged_only=True),
        "Success(judged_only=true)@1": ir.Success(judged_only=True) @ 1,
    }
    q = [ir.Qrel(a, b, int(g)) for a, b, g in qrels.iter_rows()]
    r = [ir.ScoredDoc(*row) for row in run.iter_rows()]
    want = {(m.measure, m.query_id): m.value for m in ir.iter_calc(list(peers.values()), q, r)}
    names = sorted(qrels["query"].unique().to_list())
    found = judged(run, qrels, names)
    for name, peer in peers.items():
        got = measure(name)(found)
        assert got == pytest.approx([want[peer, n] for n in names], abs=1e-6), name


def test_judged_share_without_ties():
    """Where scores tie, ir-measures' own measures take another order than trec_eval's."""
    ir = pytest.importorskip("ir_measures")
    run, qrels = runs_and_judgements(5, ties=False)
    names = sorted(qrels["query"].unique().to_list())
    q = [ir.Qrel(a, b, int(g)) for a, b, g in qrels.iter_rows()]
    r = [ir.ScoredDoc(*row) for row in run.iter_rows()]
    want = {m.query_id: m.value for m in ir.iter_calc([ir.Judged @ 10], q, r)}
    got = measure("Judged@10")(judged(run, qrels, names))
    assert got == pytest.approx([want[name] for name in names])


def test_rbp_and_err_without_ties():
    run, qrels = runs_and_judgements(5, ties=False)
    names = sorted(qrels["query"].unique().to_list())
    found = judged(run, qrels, names)
    rows = run.join(qrels, on=["query", "document"], how="left").sort(
        "query", "score", descending=[False, True]
    )
    for k, name in enumerate(names):
        grade = rows.filter(pl.col("query") == name)["grade"].fill_null(0).to_numpy()
        stop = (2.0**grade - 1) / 8
        err = sum(s * np.prod(1 - stop[:i]) / (i + 1) for i, s in enumerate(stop[:20]))
        assert measure("ERR@20")(found)[k] == pytest.approx(err)
        rbp = 0.2 * sum(0.8**i * (g >= 1) for i, g in enumerate(grade))
        assert measure("RBP(p=0.8)")(found)[k] == pytest.approx(rbp)


def test_card_values():
    found = Judged.of([0] * 10, range(10, 0, -1), [1, 0, 1, 0, 0, 0, 0, 0, 0, 0])
    values = {
        "AP": 5 / 6,
        "LastRelevant": 0.3,
        "WSS@100": 0.7,
        "WSS@95": 0.65,
        "R%@10": 0.5,
        "R%@20": 0.5,
        "R%@30": 1.0,
    }
    for name, value in values.items():
        assert measure(name)(found)[0] == pytest.approx(value), name
    last = Judged.of([0] * 10, range(10, 0, -1), [0] * 8 + [1, 1])
    assert measure("AP")(last)[0] == pytest.approx((1 / 9 + 2 / 10) / 2)
    assert measure("WSS@100")(last)[0] == pytest.approx(0)
    three = Judged.of([0] * 3, [1, 2, 3], [3, 2, 1])
    assert ndcg(three)[0] == pytest.approx(0.789998, abs=1e-6)
    assert random_ndcg(three)[0] == pytest.approx(0.894999, abs=1e-6)
    assert normalised_ndcg(three)[0] == pytest.approx(-1, abs=1e-5)
    assert worst_ndcg(three)[0] == pytest.approx(ndcg(three)[0])
    two = Judged.of([0] * 2, [2, 1], [2, 1])
    assert (random_ndcg(two)[0], worst_ndcg(two)[0]) == (
        pytest.approx(0.930, abs=1e-3),
        pytest.approx(0.860, abs=1e-3),
    )
    for n, value in ((5, (0.861, 0.722)), (20, (0.825, 0.650)), (81, (0.841, 0.682))):
        many = Judged.of([0] * n, range(n), range(1, n + 1))
        assert (random_ndcg(many)[0], worst_ndcg(many)[0]) == (
            pytest.approx(value[0], abs=6e-4),
            pytest.approx(value[1], abs=6e-4),
        )
    returns = 1 + np.linspace(-0.05, 0.05, 81)
    assert random_ndcg(Judged.of([0] * 81, range(81), returns))[0] == pytest.approx(0.990, abs=6e-4)


def test_few_or_no_judgements():
    """By hand: bpref without irrelevant documents counts what was found; nothing relevant is 0."""
    found = Judged.of([0, 0, 1, 1], [2, 1, 2, 1], [-1, 1, 0, -1], ideal=[[1, 1], [0]])
    values = {
        "Bpref": [0.5, 0],
        "Rprec": [0.5, 0],
        "Success@1": [0, 0],
        "Success@2": [1, 0],
        "SetP": [0.5, 0],
        "SetP(relative=true)": [0.5, 0],
        "SetR": [0.5, 0],
        "SetF(beta=3)": [0.5, 0],
        "Judged@1": [0, 1],
        "RR(judged_only=true)": [1, 0],
        "Judged(judged_only=true)@2": [0.5, 0.5],
    }
    for name, expected in values.items():
        assert measure(name)(found).tolist() == pytest.approx(expected), name


def test_random_ndcg_is_the_mean_over_orders():
    rng, grade = np.random.default_rng(0), np.array([3.0, 0, 1, 2, 0, 1])
    orders = np.concatenate([rng.permutation(6) for _ in range(20_000)])
    found = Judged.of(np.repeat(np.arange(20_000), 6), orders, np.tile(grade, 20_000))
    assert ndcg(found, 3).mean() == pytest.approx(random_ndcg(found, 3)[0], abs=0.003)


def test_ndcg_is_scikit_learns():
    from sklearn.metrics import ndcg_score

    rng = np.random.default_rng(0)
    grade, score = rng.integers(0, 4, size=(20, 15)).astype(float), rng.normal(size=(20, 15))
    found = Judged.of(np.repeat(np.arange(20), 15), score.ravel(), grade.ravel())
    assert ndcg(found, 7) == pytest.approx(
        [ndcg_score(g[None], s[None], k=7) for g, s in zip(grade, score, strict=True)]
    )
    exp = [ndcg_score(2 ** g[None] - 1, s[None]) for g, s in zip(grade, score, strict=True)]
    assert ndcg(found, gain="exp2") == pytest.approx(exp)


def test_queries_without_judgements_of_their_own_gain_nothing():
    found = Judged.of([0, 1, 2], [1.0, 1.0, 1.0], [1, 0, 0], ideal=[[1]])
    assert ndcg(found).tolist() == [1, 0, 0]
    assert len(found.ideal_offsets) == 3 + 1
    more = Judged.of([0], [1.0], [1], ideal=[[1], [2], [3]])
    assert ndcg(more).tolist() == [1, 0, 0]


def test_rank_biased_overlap():
    assert rank_biased_overlap([1, 2, 3], [1, 3, 2], 0.7, extrapolate=False) == pytest.approx(
        0.552, abs=1e-3
    )
    assert rank_biased_overlap([1, 2, 3], [1, 2, 3], 0.7, extrapolate=False) == pytest.approx(
        1 - 0.7**3
    )
    assert rank_biased_overlap([1, 2, 3], [1, 2, 3], 0.7) == pytest.approx(1)
    assert rank_biased_overlap("abc", "def", 0.9) == 0
    assert rank_biased_overlap(list("ab"), list("abcde"), 0.9) == pytest.approx(
        rank_biased_overlap(list("abcde"), list("ab"), 0.9)
    )
    assert rank_biased_overlap([], [1]) == 0
    # Equation 32, overlaps 1, 1, 2: the shorter one's agreement goes on at depth 3.
    depths = 1 * 0.5 + 1 / 2 * 0.25 + 2 / 3 * 0.125 + (3 - 2) / (2 * 3) * 0.125
    expected = depths + ((2 - 1) / 3 + 1 / 2) * 0.125
    assert rank_biased_overlap("ab", "acb", 0.5) == pytest.approx(expected)


def test_every_named_measure_reads():
    found = Judged.of([0, 0, 1], [1.0, 2.0, 1.0], [1, 0, 0])
    for name in (*MEASURES, *(f"{kind}(judged_only=true)" for kind in ("AP", "Bpref", "SetF"))):
        value = measure(name.replace("@k", "@2").replace("@p", "@50"))(found)
        assert value.shape == (2,)
        assert np.isfinite(value).all(), name
    bad_names = ("nope", "P@x", "nDCG(gain", "WSS", "", "Rprec@5", "SetP@3")
    for bad in (*bad_names, "P(lest=2)@5", "AP(least=two)", "P(k=3)@5", "AP(judged=1)"):
        with pytest.raises(ValueError, match="measure"):
            measure(bad)
    with pytest.raises(ValueError, match="not finite"):
        Judged.of([0], [np.nan], [1])
    empty = Judged.of([], [], [], ideal=[[], [1.0]])
    assert measure("nDCG@10")(empty).tolist() == [0, 0]


def test_trec_files(tmp_path):
    run, qrels = runs_and_judgements()
    write_run(run, tmp_path / "run.txt", "my system")
    write_qrels(qrels, tmp_path / "qrels.txt")
    assert (
        read_run(tmp_path / "run.txt")
        .sort("query", "document")
        .equals(run.sort("query", "document"))
    )
    assert (
        read_qrels(tmp_path / "qrels.txt")
        .sort("query", "document")
        .equals(qrels.sort("query", "document"))
    )
    (tmp_path / "tabs").write_text("q1\t0\td1\t2\n\nq1   0 d2   -1\n")
    assert read_qrels(tmp_path / "tabs")["grade"].to_list() == [2, 0]
    for name, text, said in (
        ("a", "q1 Q0 d1 1 0.5\n", "line 1: 6 fields"),
        ("b", "q1 Q0 d1 1 0.5 t\nq1 Q0 d2 2 x t\n", "line 2: the score 'x'"),
        ("c", "q1 Q0 d1 1 nan t\n", "no finite number"),
        ("d", "q1 Q0 d1 1 0.5 t\nq1 Q0 d1 2 0.4 t\n", "stands twice"),
        ("e", "", "empty"),
        ("f", "q1 Q0 d1 1 0.5 t extra\n", "line 1"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(EvidenceError, match=said):
            read_run(tmp_path / name)
    with pytest.raises(EvidenceError, match="no such file"):
        read_qrels(tmp_path / "nothing")


def test_runs_become_scores():
    run, qrels = runs_and_judgements()
    better = (
        run.join(qrels, on=["query", "document"], how="left")
        .with_columns(score=pl.col("score") + pl.col("grade").fill_null(0))
        .drop("grade")
    )
    part = better.filter(pl.col("query") != "q03")
    nothing = pl.concat(
        [qrels, pl.DataFrame({"query": ["q99"], "document": ["d1"], "grade": [0.0]})]
    )
    scores = score_runs(
        {"base": run, "better": better, "part": part}, nothing, ["nDCG@10", "LastRelevant"]
    )
    assert any("1 queries without" in n for n in scores.notes)
    assert any("part lacks 1 of 30" in n for n in scores.notes)
    assert scores.lower_is_better == {"LastRelevant"}
    tests = paired_tests(scores.filter(metrics="nDCG@10"))
    assert (tests[0].better, tests[0].than) == ("better", "base")
    assert tests[0].p < 0.001
    assert tests[0].p <= tests[0].p_holm <= 3 * tests[0].p
    from scipy.stats import ttest_rel

    table = scores.filter(metrics="nDCG@10").table()
    t = paired_tests(scores.filter(metrics="nDCG@10"), method="t")[0]
    peer = ttest_rel(table[:, 1], table[:, 0])
    assert t.p == pytest.approx(peer.pvalue)
    assert (t.lower, t.upper) == pytest.approx(tuple(peer.confidence_interval()))
    with pytest.raises(EvidenceError, match="none of its queries"):
        score_runs({"x": run.with_columns(query=pl.lit("other"))}, qrels)
    with pytest.raises(EvidenceError, match="no relevant"):
        score_runs({"x": run}, qrels.with_columns(grade=pl.lit(0.0)))
    with pytest.raises(EvidenceError, match="measure"):
        score_runs({"x": run}, qrels, ["foo"])


def test_no_smaller_p_value_than_the_draws_can_tell():
    task = [f"t{k}" for k in range(40)]
    scores = Scores.of(["x"] * 40 + ["y"] * 40, task * 2, [1.0] * 40 + [0.0] * 40)
    assert paired_tests(scores, draws=99)[0].p == pytest.approx(1 / 100)


def test_holms_values_never_fall():
    """z is y, a little noisier: three times the smaller p-value is more than twice the other."""
    x, y, z = [1.0, 2.0, 1.5, 0.5, 1.2], [0.1, -0.1, 0, 0, 0], [0.12, -0.1, 0, 0.01, 0]
    scores = Scores.of([*"xxxxxyyyyyzzzzz"], [*"12345"] * 3, [*x, *y, *z])
    tests = sorted(paired_tests(scores, method="t"), key=lambda test: test.p)
    p = [test.p for test in tests]
    assert 3 * p[0] > 2 * p[1] > p[2] / 10
    expected = [3 * p[0], 3 * p[0], max(3 * p[0], p[2])]
    assert [test.p_holm for test in tests] == pytest.approx(expected)


def test_runs_fused_by_hand():
    a = pl.DataFrame({"query": [*"qqr"], "document": [*"xyx"], "score": [1.0, 3.0, 2.0]})
    b = pl.DataFrame({"query": [*"qqr"], "document": [*"xzy"], "score": [5.0, 5.0, 2.0]})

    def fused(how, **options):
        rows = fuse_runs([a, b], how, **options).iter_rows()
        return {query + document: score for query, document, score in rows}

    expected = {"qx": 1.0, "qy": 1, "qz": 1, "rx": 1, "ry": 1}
    assert fused("combsum") == expected
    expected = {"qx": 1 / 3 + 2 / 3, "qy": 1 / 2, "qz": 2 / 2, "rx": 1 / 2, "ry": 2 / 2}
    assert fused("rrf", k=1, weights=[1, 2]) == pytest.approx(expected)
    for runs, weights, message in (([], None, "0 runs"), ([a, b], [1], "2 runs and 1 weights")):
        with pytest.raises(EvidenceError, match=message):
            fuse_runs(runs, weights=weights)


def test_of_equals_none_is_swapped():
    scores = Scores.of([*"xxxyyy"], [*"123123"], [1.0, 2, 3, 3, 2, 1])
    test = paired_tests(scores, draws=9)[0]
    assert (test.better, test.than, test.difference, test.p) == ("x", "y", 0, 1)


def test_permutation_test_has_its_level():
    from policyrank.evidence import Scores

    rng, low = np.random.default_rng(0), 0
    for _ in range(300):
        gap = rng.standard_t(3, size=20)
        scores = Scores.from_table(
            np.column_stack([gap, np.zeros(20)]), [str(k) for k in range(20)], ["a", "b"]
        )
        low += paired_tests(scores, draws=500, seed=rng)[0].p <= 0.05
    assert 4 <= low <= 27


def test_command(tmp_path, capsys, monkeypatch):
    from policyrank.cli import main

    run, qrels = runs_and_judgements()
    write_run(run, tmp_path / "base.run")
    write_run(run.with_columns(score=-pl.col("score")), tmp_path / "other.run")
    write_qrels(qrels, tmp_path / "qrels.txt")

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["policyrank", "eval-run", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main()
        return done.value.code, capsys.readouterr()

    files = [tmp_path / "base.run", tmp_path / "other.run", tmp_path / "qrels.txt"]
    code, said = call(*files, "--out", tmp_path / "scores.csv")
    assert code == 0
    for word in ("base", "other", "nDCG@10", "permutation"):
        assert word in said.out
    assert pl.read_csv(tmp_path / "scores.csv").height == 2 * 30 * 4
    code, said = call(*files, "--json", "-m", "AP")
    assert {"board", "tests"} == json.loads(said.out).keys()
    code, said = call(files[0], files[2])
    assert "R@100" in said.out
    code, said = call(files[0], files[0], files[2])
    assert code == 1
    assert "one file name" in said.err


def test_bm25_reaches_the_known_values_on_cranfield(data):
    """BM25 with these settings and scikit-learn's longer list of stop words reaches MAP .41 and
    nDCG@10 .517 there.
    """
    pytest.importorskip("bm25s")
    from policyrank.ranking.runs import run_means
    from policyrank.train.first_stage import bm25_run

    queries, documents, qrels = data("cranfield")
    assert (len(queries), len(documents)) == (225, 1400)
    found = run_means(bm25_run(queries, documents, depth=1000), qrels, ["AP", "nDCG@10"])
    assert found["AP"] == pytest.approx(0.41, abs=0.03)
    assert found["nDCG@10"] == pytest.approx(0.517, abs=0.03)
    with pytest.raises(EvidenceError, match="at least one"):
        bm25_run({}, documents)
