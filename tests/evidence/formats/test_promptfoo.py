"""promptfoo results."""

import pytest

from policyrank.errors import EvidenceError


def result(provider, test, score, success, reason=0, prompt="cd59", label="Solve", **more):
    about = {"provider": provider, "testIdx": test, "promptId": prompt, "vars": {"riddle": test}}
    verdict = {"score": score, "success": success, "failureReason": reason}
    return {**about, **verdict, "prompt": {"label": label}, **more}


ANT, BEE = {"id": "vendor:ant", "label": ""}, {"id": "x", "label": "bee"}


def write(folder, results, name="r.json"):
    inner = {"version": 3, "prompts": [], "results": results}
    folder.write(name, {"evalId": "eval-1", "results": inner, "config": {}, "version": 1})


def test_errors_are_missing_and_scores_are_shares(folder, values, noted):
    results = [
        result(BEE, 0, 1, True),
        result(ANT, 0, 0.75, False, 1, error="Latency 5794ms"),
        result(BEE, 1, 0, False, 2, error="API error: 429"),
        result(ANT, 1, 0.5, False, 1),
    ]
    write(folder, results)
    scores = folder.read("r.json")
    assert values(scores) == {"vendor:ant": {"0": 0.75, "1": 0.5}, "bee": {"0": 1}}
    assert "bee on 1" in noted(scores, "the call failed")
    assert noted(scores, "metric score")
    assert values(folder.read("r.json", metric="success"))["vendor:ant"] == {"0": 0, "1": 0}


def test_prompts_of_one_provider_are_policies(folder, values):
    results = [result(ANT, 0, 1, True), result(ANT, 0, 0, False, prompt="ef", label="Guess")]
    write(folder, results)
    assert values(folder.read("r.json")) == {
        "vendor:ant (Solve)": {"0": 1},
        "vendor:ant (Guess)": {"0": 0},
    }


def test_older_files_without_reason_or_index(folder, values, noted):
    def old(provider, **more):
        return {"provider": provider, "vars": {"q": 1}, "score": 1, "success": True, **more}

    write(folder, [old("ant"), old("bee"), old("cat", score=0, error="429", gradingResult=None)])
    scores = folder.read("r.json")
    assert set(values(scores)) == {"ant", "bee"}
    assert noted(scores, "the call failed")


def test_a_result_without_score_is_refused_or_counted(folder, values):
    write(folder, [result(ANT, 0, None, True), result(ANT, 1, 1, True), result(BEE, 1, 1, True)])
    with pytest.raises(EvidenceError, match="no score"):
        folder.read("r.json")
    assert values(folder.read("r.json", bad="skip"))["vendor:ant"] == {"1": 1}
