"""DeepEval test runs."""

import pytest

from policyrank.errors import EvidenceError


def metric(name, score, success):
    return {"name": name, "score": score, "threshold": 0.5, "success": success}


def test_run(model, *cases):
    rows = [{"name": f"case_{i}", "order": i, "metricsData": c} for i, c in enumerate(cases)]
    given = {"model": model} if model else None
    return {"testCases": rows, "metricsScores": [], "hyperparameters": given}


test_run.__test__ = False

ANT = [
    [metric("Relevancy", 0.9, True), metric("Hallucination", 0.1, True)],
    [metric("Relevancy", 0.4, False), metric("Hallucination", 0.7, False)],
]
BEE = [
    [metric("Relevancy", 0.6, True), metric("Hallucination", 0.5, True)],
    [metric("Relevancy", 0.8, True), metric("Hallucination", None, None)],
]


@pytest.fixture
def runs(folder):
    folder.write("test_run_1.json", test_run("ant", *ANT))
    folder.write("test_run_2.json", test_run("bee", *BEE))
    return folder


def test_directions_are_told_by_the_verdicts(runs, values, noted):
    scores = runs.read()
    assert values(scores)["ant"] == {
        "case_0 (Relevancy)": 0.9,
        "case_0 (Hallucination)": 0.1,
        "case_1 (Relevancy)": 0.4,
        "case_1 (Hallucination)": 0.7,
    }
    assert "case_1 (Hallucination)" not in values(scores)["bee"]
    assert scores.lower_is_better == {"Hallucination"}
    assert "bee on case_1, Hallucination" in noted(scores, "the metric failed")
    assert noted(scores, "smaller is better: Hallucination")


def test_one_metric(runs, values):
    scores = runs.read(metric="Relevancy")
    assert values(scores)["bee"] == {"case_0 (Relevancy)": 0.6, "case_1 (Relevancy)": 0.8}
    with pytest.raises(EvidenceError, match="no metric 'Taste'"):
        runs.read(metric="Taste")


def test_a_run_without_a_model_is_named_by_its_file(runs, values):
    runs.write("test_run_3.json", test_run(None, *ANT))
    assert "test_run_3" in values(runs.read())
    with pytest.raises(EvidenceError, match="names no model"):
        runs.read(strict=True)
