"""EvalPlus and the BigCode harness."""

import pytest

from policyrank.errors import EvidenceError


def sample(base, plus):
    return {"solution": "def f(): ...", "base_status": base, "plus_status": plus}


def test_plus_counts_only_with_base(folder, values, noted):
    ant = {"H/0": [sample("pass", "pass")], "H/1": [sample("fail", "pass")]}
    bee = {
        "H/0": [sample("pass", "pass"), sample("pass", "fail")],
        "H/1": [sample("timeout", "timeout"), sample("pass", "pass")],
    }
    folder.write("org--ant_hf_temp_0.0.eval_results.json", {"eval": ant, "pass_at_k": {}})
    folder.write("org--bee_vllm_temp_0.8_eval_results.json", {"eval": bee, "pass_at_k": {}})
    scores = folder.read()
    assert values(scores) == {
        "org--ant": {"H/0": 1, "H/1": 0},
        "org--bee": {"H/0": 0.5, "H/1": 0.5},
    }
    assert "metric plus" in noted(scores, "metric")
    assert values(folder.read(metric="base"))["org--bee"] == {"H/0": 1, "H/1": 0.5}


def test_base_only_and_temperatures(folder, values, noted):
    for temperature, verdict in (("0.0", "pass"), ("0.8", "fail")):
        name = f"ant_hf_temp_{temperature}.eval_results.json"
        folder.write(name, {"eval": {"H/0": [sample(verdict, None)]}})
    scores = folder.read()
    assert values(scores) == {
        "ant (temperature 0.0)": {"H/0": 1},
        "ant (temperature 0.8)": {"H/0": 0},
    }
    assert noted(scores, "plus tests were not run")


def test_the_first_layout_of_evalplus(folder, values):
    entry = {"nfiles": 2, "base": [["success", []], ["failed", []]], "plus": [["success", []]] * 2}
    for name in ("ant", "bee"):
        folder.write(f"{name}_temp_0.8/eval_results.json", {"eval": {"H/0": entry}})
    assert values(folder.read()) == {"ant": {"H/0": 0.5}, "bee": {"H/0": 0.5}}


@pytest.mark.parametrize(
    ("entry", "message"),
    [([sample("maybe", "pass")], "neither pass nor fail"), ([{"base_status": "pass"}, 3], "holds")],
)
def test_broken_verdicts(folder, entry, message):
    folder.write("ant.eval_results.json", {"eval": {"H/0": entry}})
    folder.write("bee.eval_results.json", {"eval": {"H/0": [sample("pass", "pass")]}})
    with pytest.raises(EvidenceError, match=message):
        folder.read()


def bigcode(model, humaneval, **config):
    about = {"model": model, "n_samples": 50, "temperature": 0.2, **config}
    return {"humaneval": {"pass@1": humaneval, "pass@10": 0.9}, "config": about}


def test_both_kinds_of_bigcode_files(folder, values, noted):
    for model, value, other in (("org/ant", 0.3, 0.25), ("org/bee", 0.4, None)):
        name = model.replace("/", "_")
        folder.write(f"{name}.json", bigcode(model, value))
        results = [{"task": "multiple-js", "pass@1": other}, {"task": "humaneval", "pass@1": value}]
        folder.write(f"{name}_user.json", {"results": results, "meta": {"model": model}})
    scores = folder.read()
    assert values(scores) == {
        "org/ant": {"humaneval": 0.3, "multiple-js": 0.25},
        "org/bee": {"humaneval": 0.4},
    }
    assert noted(scores, "2 results that stand in both kinds")
    assert "org/bee on multiple-js" in noted(scores, "without a value")


def test_other_settings_of_bigcode_are_left_out(folder, values, noted):
    folder.write("a.json", bigcode("ant", 0.3))
    folder.write("b.json", bigcode("bee", 0.4, peft_model="bee-lora"))
    folder.write("c.json", bigcode("cat", 0.9, n_samples=1))
    scores = folder.read()
    assert set(values(scores)) == {"ant", "bee-lora"}
    assert "cat on humaneval" in noted(scores, "under other settings")
