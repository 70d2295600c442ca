"""HELM: runs and tables of groups."""

import pytest

from policyrank.errors import EvidenceError


def stat(name, mean, split="test", **more):
    return {"name": {"name": name, "split": split, **more}, "count": 1, "mean": mean}


def run(folder, name, model, stats, shots=5):
    place = f"runs/v1/{name},model={model}".replace("/org/", "/org_")
    spec = {
        "name": f"{name},model={model.replace('/', '_')}",
        "scenario_spec": {},
        "adapter_spec": {"model": model, "max_train_instances": shots},
    }
    folder.write(f"{place}/run_spec.json", spec)
    folder.write(f"{place}/stats.json", stats)


def boolq(mean, split="valid"):
    worst = {"perturbation": {"name": "robustness", "computed_on": "worst"}}
    return [
        stat("num_references", 2, split),
        stat("exact_match", 0.1, split, **worst),
        stat("exact_match", mean, split),
        stat("quasi_exact_match", mean + 0.05, split),
        {"name": {"name": "f1_score", "split": split}, "count": 0},
    ]


@pytest.fixture
def runs(folder):
    run(folder, "boolq:x=1", "org_ant", boolq(0.6))
    run(folder, "boolq:x=1", "org_bee", boolq(0.8))
    name = "mmlu:subject=anatomy,method=joint"
    run(folder, name, "org_ant", [stat("exact_match", 0.5)])
    run(folder, name, "org_bee", [stat("exact_match", 0.3)])
    return folder


def test_plain_metric_of_each_run(runs, values, noted):
    scores = runs.read()
    assert values(scores) == {
        "org_ant": {"boolq:x=1": 0.6, "mmlu:subject=anatomy": 0.5},
        "org_bee": {"boolq:x=1": 0.8, "mmlu:subject=anatomy": 0.3},
    }
    assert "HELM runs" in scores.notes[0]
    assert "quasi_exact_match" in noted(scores, "other metrics there")
    assert "num_references" not in noted(scores, "other metrics there")


def test_another_metric_leaves_out_tasks_without_it(runs, values, noted):
    scores = runs.read(metric="quasi_exact_match")
    assert values(scores) == {"org_ant": {"boolq:x=1": 0.65}, "org_bee": {"boolq:x=1": 0.85}}
    assert "mmlu:subject=anatomy" in noted(scores, "no metric quasi_exact_match")
    with pytest.raises(EvidenceError, match="no metric rouge"):
        runs.read(metric="rouge")


def test_other_numbers_of_shots_are_named(runs, values, noted):
    run(runs, "boolq:x=1", "org_cat", boolq(0.9), shots=0)
    scores = runs.read()
    assert "org_cat" not in values(scores)
    assert "org_cat on boolq" in noted(scores, "0-shot")


def test_method_stays_where_it_tells_runs_apart(folder, values):
    for model in ("org_ant", "org_bee"):
        for method, mean in (("joint", 0.5), ("separate", 0.25)):
            run(folder, f"mmlu:method={method}", model, [stat("exact_match", mean)])
    assert values(folder.read())["org_ant"] == {
        "mmlu:method=joint": 0.5,
        "mmlu:method=separate": 0.25,
    }


def test_half_a_run_and_results_by_instance_are_refused(folder, runs, noted):
    runs.write("runs/v1/half/stats.json", [stat("exact_match", 1)])
    assert "stats.json" in noted(runs.read(), "run_spec.json or stats.json is missing")
    with pytest.raises(EvidenceError, match="Give the folder"):
        runs.read("runs/v1/half/stats.json")
    runs.write("x.json", [{"instance_id": "id1", "train_trial_index": 0, "stats": []}])
    with pytest.raises(EvidenceError, match="by instance"):
        runs.read("x.json")


def table(title, header, *rows):
    heads = [{"value": name, "lower_is_better": lower} for name, lower in header]
    cells = [[{"value": value} if value is not None else {} for value in row] for row in rows]
    return {"title": title, "header": [{"value": "Model"}, *heads], "rows": cells}


def test_tables_keep_columns_with_a_direction(folder, values, noted):
    accuracy = table(
        "Accuracy",
        [("Mean win rate", False), ("BoolQ - EM", False), ("MMLU - EM", False)],
        ["Ant (7B)", 0.5, 0.6, 0.5],
        ["Bee (7B)", 0.5, 0.8, None],
    )
    errors = table(
        "Calibration",
        [("BoolQ - ECE", True), ("BoolQ - # eval", None)],
        ["Ant (7B)", 0.1, 1000],
        ["Bee (7B)", 0.2, 1000],
    )
    folder.write("core.json", [accuracy, errors])
    scores = folder.read("core.json")
    assert values(scores) == {
        "Ant (7B)": {"BoolQ - EM": 0.6, "MMLU - EM": 0.5, "BoolQ - ECE": 0.1},
        "Bee (7B)": {"BoolQ - EM": 0.8, "BoolQ - ECE": 0.2},
    }
    assert scores.lower_is_better == {"BoolQ - ECE"}
    assert "Mean win rate" in noted(scores, "aggregates left out")
    assert "# eval" in noted(scores, "without a direction")


def test_equal_headers_of_tables_are_told_by_their_titles(folder, values):
    tables = [
        table("anatomy", [("EM", False)], ["ant", 0.1], ["bee", 0.2]),
        table("law", [("EM", False)], ["ant", 0.3], ["bee", 0.4]),
    ]
    folder.write("mmlu.json", tables)
    assert values(folder.read("mmlu.json"))["ant"] == {"anatomy: EM": 0.1, "law: EM": 0.3}
    folder.write("mmlu.json", [tables[0], table("anatomy", [("EM", False)], ["ant", 0.9])])
    with pytest.raises(EvidenceError, match="stands twice"):
        folder.read("mmlu.json")


def test_tables_that_are_written_twice_are_read_once(folder, values):
    one = table("Accuracy", [("EM", False)], ["ant", 0.1], ["bee", 0.2])
    folder.write("groups/core.json", [one])
    folder.write("groups/json/core_accuracy.json", one)
    assert values(folder.read())["ant"] == {"EM": 0.1}


def test_runs_are_read_before_the_tables_beside_them(runs, values, noted):
    runs.write("runs/v1/groups/core.json", [table("A", [("EM", False)], ["ant", 0.1])])
    scores = runs.read()
    assert "org_ant" in values(scores)
    assert "core.json" in noted(scores, "not read")
