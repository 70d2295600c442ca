"""SWE-bench: submissions and reports."""

import pytest

from policyrank.errors import EvidenceError


def submit(folder, name, resolved, split="verified", **lists):
    content = {"no_generation": [], "no_logs": [], "resolved": resolved, **lists}
    folder.write(f"evaluation/{split}/{name}/results/results.json", content)


def details(folder, name, split="bash-only", **resolved):
    content = {key: {"cost": 0.7, "resolved": value} for key, value in resolved.items()}
    folder.write(f"evaluation/{split}/{name}/per_instance_details.json", content)


def test_details_of_all_instances_give_the_split(folder, values):
    submit(folder, "20240101_ant", ["a", "b"], no_generation=["d"])
    submit(folder, "20240601_bee", ["a"], no_logs=["c"])
    details(folder, "20250101_cat", a=True, b=True, c=True, d=False)
    assert values(folder.read("evaluation")) == {
        "20240101_ant": {"a": 1, "b": 1, "c": 0, "d": 0},
        "20240601_bee": {"a": 1, "b": 0, "c": 0, "d": 0},
        "20250101_cat": {"a": 1, "b": 1, "c": 1, "d": 0},
    }


def test_what_no_list_names_is_resolved_by_none(folder, values, noted):
    submit(folder, "ant", ["a", "b"], split="lite")
    submit(folder, "bee", ["a"], split="lite", no_logs=["c"])
    scores = folder.read("evaluation")
    found = values(scores)
    assert len(found["ant"]) == 300
    assert sum(found["ant"].values()) == 2
    assert sum(found["bee"].values()) == 1
    assert noted(scores, "297 instances of the 300 of SWE-bench lite")


def test_an_unknown_split_is_asked_for(folder):
    for name in ("ant", "bee"):
        submit(folder, name, ["a"], split="mine")
    with pytest.raises(EvidenceError, match="Give the folder of one split"):
        folder.read("evaluation")


def test_instances_outside_the_split_are_refused(folder):
    submit(folder, "ant", ["a", "z"])
    details(folder, "cat", a=True)
    with pytest.raises(EvidenceError, match="outside the split"):
        folder.read("evaluation")


def test_details_beside_a_list_are_used(folder, values):
    submit(folder, "cat", ["a"], split="bash-only")
    details(folder, "cat", a=True, b=False)
    details(folder, "dog", a=False, b=True)
    assert values(folder.read("evaluation"))["cat"] == {"a": 1, "b": 0}


def report(total, **ids):
    lists = dict.fromkeys(
        ("resolved", "unresolved", "error", "empty_patch", "incomplete", "completed"), ()
    )
    lists.update(ids)
    named = {f"{name}_ids": [*several] for name, several in lists.items()}
    return {"total_instances": total, "schema_version": 2, **named}


def test_reports_count_what_was_not_completed_as_failed(folder, values):
    ant = report(4, resolved="a", unresolved="b", empty_patch="c", incomplete="d", completed="ab")
    bee = report(4, resolved="bc", error="ad")
    folder.write("org__ant.run1.json", ant)
    folder.write("gpt-4.1.run1.json", bee)
    assert values(folder.read()) == {
        "org/ant": {"a": 1, "b": 0, "c": 0, "d": 0},
        "gpt-4.1": {"a": 0, "b": 1, "c": 1, "d": 0},
    }


def test_runs_of_a_model_are_told_apart(folder, values, noted):
    folder.write("ant.run1.json", report(2, resolved="a", unresolved="b"))
    folder.write("ant.run2.json", report(2, resolved="a"))
    scores = folder.read()
    assert values(scores) == {"ant (run1)": {"a": 1, "b": 0}, "ant (run2)": {"a": 1, "b": 0}}
    assert noted(scores, "1 instance that a report does not name failed")


def test_logs_by_instance_are_no_submissions(folder, values, noted):
    def write(place, instance, resolved):
        detail = {"patch_exists": True, "resolved": resolved, "tests_status": {}}
        folder.write(f"{place}/{instance}/report.json", {instance: detail})

    write("logs/run_evaluation/run1/org__ant", "a", True)
    write("logs/run_evaluation/run1/org__ant", "b", False)
    write("verified/20240101_bee/logs", "b", True)
    scores = folder.read()
    assert values(scores) == {"org/ant": {"a": 1, "b": 0}, "20240101_bee": {"a": 0, "b": 1}}
    assert noted(scores, "1 instance without a report")
    submit(folder, "20240101_bee", ["b"])
    submit(folder, "20240101_cat", ["a"])
    assert set(values(folder.read("evaluation"))) == {"20240101_bee", "20240101_cat"}
