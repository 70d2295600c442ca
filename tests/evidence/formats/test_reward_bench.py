"""RewardBench: sections, subsets and items."""

import pytest

from policyrank.errors import EvidenceError


def entry(model, **subsets):
    about = {"model": model, "model_type": "Seq. Classifier", "chat_template": "tokenizer"}
    return {**about, **{name.replace("_", "-"): value for name, value in subsets.items()}}


def test_subsets_are_weighted_into_sections(folder, values, noted):
    ant = entry("org/ant", alpacaeval_easy=0.95, mt_bench_hard=0.8, hep_python=0.9, math_prm=0.7)
    bee = entry("org/bee", alpacaeval_easy=0.9, mt_bench_hard=0.85, hep_python=0.95, math_prm=0.65)
    folder.write("org/ant.json", ant)
    folder.write("org/bee.json", bee)
    scores = folder.read()
    assert values(scores) == {
        "org/ant": {"Chat": 0.95, "Chat Hard": 0.8, "Reasoning": 0.728571},
        "org/bee": {"Chat": 0.9, "Chat Hard": 0.85, "Reasoning": 0.692857},
    }
    assert noted(scores, "weighted into the board's sections")


def test_sections_of_other_subsets_are_not_compared(folder, values, noted):
    for name in ("ant", "bee"):
        folder.write(f"{name}.json", entry(name, hep_python=0.9, math_prm=0.7))
    folder.write("cat.json", entry("cat", hep_python=0.99))
    scores = folder.read()
    assert "cat" not in values(scores)
    assert "cat on Reasoning" in noted(scores, "1 of 7 subsets")


def test_subsets_of_version_two_are_tasks(folder, values):
    folder.write("ant.json", entry("ant", Math=0.6, Ties=0.65))
    folder.write("bee.json", entry([" bee ", "cat"], Math=0.5, Ties=0.7))
    assert values(folder.read()) == {
        "ant": {"Math": 0.6, "Ties": 0.65},
        "bee+cat": {"Math": 0.5, "Ties": 0.7},
    }


def items(model, ids, results, subsets):
    columns = {"id": ids, "results": results, "subset": subsets, "scores_chosen": [1.0] * len(ids)}
    return {"model": model, "model_type": "x", **columns}


def test_items_are_tasks(folder, values, noted):
    folder.write("ant.json", items("ant", [30, 31], [1, 0], ["x", "y"]))
    folder.write("bee.json", items("bee", [30, 31], [True, None], ["x", "y"]))
    scores = folder.read()
    assert values(scores) == {"ant": {"30": 1, "31": 0}, "bee": {"30": 1}}
    assert noted(scores, "1 item without a result")


def test_columns_of_other_lengths_are_refused(folder):
    folder.write("ant.json", items("ant", [30, 31], [1], ["x", "y"]))
    with pytest.raises(EvidenceError, match="2 ids and 1 results"):
        folder.read("ant.json")
