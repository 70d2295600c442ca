"""Runs against judgements, paired tests and fusions: a query and a document at a time."""

from itertools import combinations, product

import numpy as np
import polars as pl
import pytest
from scipy import stats

from policyrank.errors import EvidenceError
from policyrank.evidence import Scores
from policyrank.metrics.retrieval_names import measure
from policyrank.ranking.runs import (
    fuse_runs,
    judged,
    paired_tests,
    run_means,
    score_runs,
    unanswered,
)

QUERIES = ["q0", "q1", "q2", "q3"]
DOCUMENTS = ["d0", "d1", "d2", "d3", "d4", "d5"]


def some_run(seed, queries=QUERIES, ties=True):
    rng = np.random.default_rng(seed)
    rows = []
    for query in queries:
        for document in rng.permutation(DOCUMENTS)[:4]:
            score = float(rng.integers(0, 3)) if ties else float(rng.random())
            rows.append((query, str(document), score))
    return pl.DataFrame(rows, schema=["query", "document", "score"], orient="row")


def some_qrels(seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for query in QUERIES:
        for document in rng.permutation(DOCUMENTS)[:4]:
            rows.append((query, str(document), int(rng.integers(0, 3))))
    rows = [(q, d, 0 if q == "q3" else g) for q, d, g in rows]
    rows += [("q0", "d9", 2), ("q1", "d9", 1), ("q2", "d9", 2)]
    return pl.DataFrame(rows, schema=["query", "document", "grade"], orient="row")


def listed(run, query):
    """Documents of a query, best first; ties by document, descending."""
    own = [(score, document) for q, document, score in run.rows() if q == query]
    return [(document, score) for score, document in sorted(own, reverse=True)]


def grades_of(qrels, query):
    return {document: grade for q, document, grade in qrels.rows() if q == query}


def precision_and_rank(run, qrels, query, k, least=1):
    grades = grades_of(qrels, query)
    right = [grades.get(document, -1) >= least for document, _ in listed(run, query)]
    place = next((p for p, hit in enumerate(right, 1) if hit), None)
    return sum(right[:k]) / k, 0.0 if place is None else 1 / place


@pytest.mark.parametrize("seed", range(4))
def test_what_is_judged_query_by_query(seed):
    run, qrels = some_run(seed), some_qrels()
    queries = ["q2", "q0", "q3"]
    found = judged(run, qrels, queries)
    precision, rank = measure("P@3")(found), measure("RR")(found)
    for k, query in enumerate(queries):
        slow = precision_and_rank(run, qrels, query, 3)
        assert (precision[k], rank[k]) == pytest.approx(slow)


def test_scores_of_runs_query_by_query():
    qrels = some_qrels()
    runs = {"full": some_run(1), "short": some_run(2, ["q0", "q2", "q3"])}
    scores = score_runs(runs, qrels, ["P@3", "RR", "LastRelevant"])
    assert list(scores.task.names) == ["q0", "q1", "q2"]
    assert scores.lower_is_better == {"LastRelevant"}
    assert scores.notes == (
        "1 queries without a relevant document are left out",
        "short lacks 1 of 3 queries: they score 0",
    )
    columns = (scores.policy, scores.task, scores.metric)
    keys = zip(*(column.values().to_list() for column in columns), strict=True)
    value = dict(zip(keys, scores.score, strict=True))
    for name, run in runs.items():
        for query in ("q0", "q1", "q2"):
            slow = precision_and_rank(run, qrels, query, 3)
            found = value[name, query, "P@3"], value[name, query, "RR"]
            assert found == pytest.approx(slow)
    means = run_means(runs["full"], qrels, ["P@3", "RR"])
    slow = [precision_and_rank(runs["full"], qrels, q, 3) for q in ("q0", "q1", "q2")]
    assert means == pytest.approx(dict(zip(("P@3", "RR"), np.mean(slow, axis=0), strict=True)))
    default = score_runs(runs, qrels)
    assert set(default.metric.names) == {"nDCG@10", "AP", "RR", "R@100"}
    assert list(run_means(runs["full"], qrels)) == ["nDCG@10", "AP", "RR", "R@100"]


def test_queries_that_no_run_answers_may_be_left_out():
    """Of four judged queries two runs answer one and two: two are left, and one is missed."""
    named = [f"q{k}" for k in range(4)]
    qrels = pl.DataFrame({"query": named, "document": ["d"] * 4, "grade": [1] * 4})
    one = pl.DataFrame({"query": ["q1"], "document": ["d"], "score": [1.0]})
    two = pl.DataFrame({"query": ["q1", "q3"], "document": ["d", "e"], "score": [1.0, 1.0]})
    runs = {"one": one, "two": two}
    every, some = (score_runs(runs, qrels, ["RR"], answered=own) for own in (False, True))
    assert (every.task.names, some.task.names) == (tuple(named), ("q1", "q3"))
    assert some.table().tolist() == [[1.0, 1.0], [0.0, 0.0]]
    assert some.notes == (
        "2 judged queries that no run answers are left out",
        "one lacks 1 of 2 queries: they score 0",
    )
    assert run_means(two, qrels, ["RR"]) == {"RR": 0.25}
    assert run_means(two, qrels, ["RR"], answered=True) == {"RR": 0.5}
    assert unanswered(two, qrels) == (2, 4)
    with pytest.raises(EvidenceError, match="none of its queries is judged"):
        score_runs({"x": one.with_columns(query=pl.lit("z"))}, qrels, ["RR"], answered=True)


def test_queries_need_a_document_of_the_least_grade():
    qrels = pl.DataFrame({"query": ["q0", "q1"], "document": ["d0", "d1"], "grade": [1, 2]})
    run = pl.DataFrame({"query": ["q0", "q1"], "document": ["d0", "d0"], "score": [1.0, 1.0]})
    both = {"x": run, "y": run}
    assert score_runs(both, qrels, ["RR"]).task.names == ("q0", "q1")
    assert score_runs(both, qrels, ["RR"], least=2).task.names == ("q1",)
    assert run_means(run, qrels, ["RR"]) == {"RR": 0.5}
    assert run_means(run, qrels, ["RR"], least=2) == {"RR": 0}
    with pytest.raises(EvidenceError, match="hold no relevant document"):
        score_runs(both, qrels, ["RR"], least=3)
    other = run.with_columns(query=pl.lit("z"))
    with pytest.raises(EvidenceError, match="run x: none of its queries is judged"):
        score_runs({"x": other, "y": run}, qrels, ["RR"])
    with pytest.raises(EvidenceError, match="none of the run's queries is judged"):
        run_means(other, qrels, ["RR"])
    with pytest.raises(EvidenceError, match="best"):
        run_means(run, qrels, ["best"])


def table_of(seed, policies=3, tasks=9):
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(tasks, policies)) + np.arange(policies)[::-1] * 0.7
    table[0, 0] = np.nan
    names = [f"p{k}" for k in range(policies)]
    return table, names, Scores.from_table(table, [f"t{k}" for k in range(tasks)], names)


def holm(p):
    order, worst, out = np.argsort(p), 0.0, [0.0] * len(p)
    for place, which in enumerate(order):
        worst = max(worst, min(1.0, (len(p) - place) * p[which]))
        out[which] = worst
    return out


@pytest.mark.parametrize("level", [0.95, 0.8])
def test_paired_t_tests_are_scipys(level):
    table, names, scores = table_of(0)
    given = {} if level == 0.95 else {"level": level}
    tests = paired_tests(scores, method="t", **given)
    assert len(tests) == 3
    for test, (i, j) in zip(tests, combinations(range(3), 2), strict=True):
        gap = table[:, i] - table[:, j]
        gap = gap[~np.isnan(gap)]
        if gap.mean() < 0:
            gap, i, j = -gap, j, i
        theirs = stats.ttest_1samp(gap, 0)
        ends = theirs.confidence_interval(level)
        assert (test.better, test.than, test.tasks) == (names[i], names[j], len(gap))
        assert test.difference == pytest.approx(gap.mean())
        assert (test.lower, test.upper) == pytest.approx((ends.low, ends.high))
        assert test.p == pytest.approx(theirs.pvalue)
    assert [test.p_holm for test in tests] == pytest.approx(holm([test.p for test in tests]))


def test_permutation_tests_are_shares_of_signs():
    table, _, scores = table_of(1, tasks=8)
    tests = paired_tests(scores, draws=40_000)
    for test, (i, j) in zip(tests, combinations(range(3), 2), strict=True):
        gap = table[:, i] - table[:, j]
        gap = gap[~np.isnan(gap)]
        sums = [abs(np.dot(signs, gap)) for signs in product((-1, 1), repeat=len(gap))]
        exact = np.mean(np.array(sums) >= abs(gap.sum()) - 1e-12)
        assert test.p == pytest.approx(exact, abs=0.012)
    default = paired_tests(scores)
    assert default == paired_tests(scores, method="permutation", level=0.95, draws=10_000, seed=0)
    assert default != paired_tests(scores, seed=1)
    with pytest.raises(EvidenceError, match="use 'permutation' or 't'"):
        paired_tests(scores, method="sign")


def test_pairs_without_two_tasks_or_without_a_difference():
    table = np.array([[1.0, 1.0, np.nan], [2.0, 2.0, np.nan], [3.0, 3.0, 1.0]])
    scores = Scores.from_table(table, list("xyz"), list("abc"))
    (test,) = paired_tests(scores, method="t")
    assert (test.better, test.than, test.p, test.difference) == ("a", "b", 1, 0)
    (test,) = paired_tests(scores)
    assert test.p == 1
    one = Scores.from_table(table[:, :2] + [1, 0], list("xyz"), list("ab"))
    (test,) = paired_tests(one, method="t")
    assert (test.p, test.lower, test.upper) == (0, 1, 1)


def slow_fusion(runs, how, weights, k):
    fused = {}
    for run, weight in zip(runs, weights, strict=True):
        for query in set(run["query"]):
            ranked = listed(run, query)
            scores = [score for _, score in ranked]
            for place, (document, score) in enumerate(ranked, 1):
                apart = max(scores) - min(scores)
                value = (score - min(scores)) / apart if apart else 1.0
                if how == "rrf":
                    value = 1 / (k + place)
                fused[query, document] = fused.get((query, document), 0.0) + weight * value
    return fused


@pytest.mark.parametrize("how", ["combsum", "rrf"])
@pytest.mark.parametrize("weights", [None, [2.0, 0.5, 1.0]])
def test_fused_runs_document_by_document(how, weights):
    runs = [some_run(seed) for seed in range(3)]
    level = pl.DataFrame({"query": ["q9"] * 2, "document": ["d0", "d1"], "score": [3.0, 3.0]})
    runs[0] = pl.concat([runs[0], level])
    for k, given in ((60, {}), (1, {"k": 1})):
        found = fuse_runs(runs, how, weights=weights, **given)
        assert found.columns == ["query", "document", "score"]
        fused = {(q, d): score for q, d, score in found.rows()}
        assert fused == pytest.approx(slow_fusion(runs, how, weights or [1.0] * 3, k))
    if how == "combsum":
        default = fuse_runs(runs, weights=weights)
        assert {(q, d): s for q, d, s in default.rows()} == pytest.approx(fused)
    with pytest.raises(EvidenceError, match="0 runs and 0 weights"):
        fuse_runs([])
    with pytest.raises(EvidenceError, match="3 runs and 2 weights"):
        fuse_runs(runs, weights=[1, 2])
