"""openai/evals logs and simple-evals files."""

import pytest

from policyrank.errors import EvidenceError


def events(model, correct, report=True, kind="match", created="2024-01-01 10:00:00.000000"):
    spec = {"completion_fns": [model], "eval_name": "arith.dev.v0", "created_at": created}
    lines = [{"spec": spec}]
    if report:
        final = {"accuracy": 0.75, "boostrap_std": 0.2}
        lines.append({"final_report": final, "run_id": "R"})
    for i, value in enumerate(correct):
        data = {"correct": value} if kind == "match" else {"score": value, "loss": 1 - value}
        lines.append({"sample_id": f"s{i}", "type": "sampling", "data": {"sampled": ["4"]}})
        lines.append({"sample_id": f"s{i}", "type": kind, "data": data})
    return lines


def test_samples_are_tasks_and_unfinished_runs_are_named(folder, values, noted):
    folder.lines("R1_ant.jsonl", events("ant", [True, False]))
    folder.lines("R2_bee.jsonl", events("bee", [True, True]))
    folder.lines("R3_cat.jsonl", events("cat", [True], report=False))
    scores = folder.read()
    assert values(scores) == {"ant": {"s0": 1, "s1": 0}, "bee": {"s0": 1, "s1": 1}}
    assert "cat on arith.dev.v0" in noted(scores, "unfinished")


def test_evals_that_write_metrics(folder, values):
    for name in ("ant", "bee"):
        folder.lines(f"{name}.jsonl", events(name, [0.25], kind="metrics"))
    assert values(folder.read())["ant"] == {"s0": 0.25}
    scores = folder.read(metric="loss")
    assert values(scores)["ant"] == {"s0": 0.75}
    assert scores.lower_is_better == {"s0"}


def test_final_reports_where_samples_are_missing(folder, values, noted):
    for name in ("ant", "bee"):
        folder.lines(f"{name}.jsonl", events(name, []))
    scores = folder.read()
    assert values(scores)["ant"] == {"arith.dev.v0": 0.75}
    assert scores.stderr.tolist() == [0.2, 0.2]
    assert noted(scores, "final reports")


def test_the_newest_of_several_runs(folder, values, noted):
    folder.lines("1.jsonl", events("ant", [False]))
    folder.lines("2.jsonl", events("ant", [True], created="2024-01-02 10:00:00.000000"))
    folder.lines("3.jsonl", events("bee", [False]))
    scores = folder.read()
    assert values(scores) == {"ant": {"s0": 1}, "bee": {"s0": 0}}
    assert "1.jsonl" in noted(scores, "replaced by a newer one")


def test_no_finished_run_is_refused(folder):
    folder.lines("1.jsonl", events("ant", [True], report=False))
    with pytest.raises(EvidenceError, match="no log has a final report"):
        folder.read("1.jsonl")


DATE = "20250101_101010"


def test_simple_evals_tell_eval_and_model_by_name(folder, values, noted):
    gpqa = {"chars": 820.5, "chars:std": 35.5, "score": 0.75, "score:std": 0.4}
    folder.write(f"gpqa_ant_high_{DATE}.json", gpqa)
    whole = {"score": 0.75, "metrics": {}, "htmls": [], "convos": []}
    folder.write(f"gpqa_ant_high_{DATE}_allresults.json", whole)
    folder.write(f"gpqa_bee_{DATE}.json", {**gpqa, "score": 0.5})
    folder.write("gpqa_bee_20250102_090000_DEBUG.json", {**gpqa, "score": 1.0})
    health = {"score": 0.35, "score:bootstrap_std": 0.009, "score:n_samples": 1000}
    folder.write(f"healthbench_hard_ant_high_{DATE}.json", health)
    folder.write(f"healthbench_hard_bee_{DATE}.json", {**health, "score": 0.1})
    scores = folder.read()
    assert values(scores) == {
        "ant_high": {"gpqa": 0.75, "healthbench_hard": 0.35},
        "bee": {"gpqa": 0.5, "healthbench_hard": 0.1},
    }
    assert sorted(e for e in scores.stderr if e == e) == [0.009, 0.009]
    assert "DEBUG" in noted(scores, "of a few items")
    assert noted(scores, "1 file _allresults not read")


def test_unknown_names_of_evals_are_a_guess(folder, values):
    for model in ("ant", "bee"):
        folder.write(f"chess_{model}.json", {"score": 0.5, "score:std": 0.1})
    assert values(folder.read())["ant"] == {"chess": 0.5}
    with pytest.raises(EvidenceError, match="strict"):
        folder.read(strict=True)


def test_runs_with_other_metrics_beside_the_score(folder, values):
    folder.write("gpqa_ant.json", {"score": 0.5, "score:std": 0.1, "chars": 3})
    folder.write("gpqa_bee.json", {"score": 0.4, "score:std": 0.1, "taste": 1})
    assert values(folder.read()) == {"ant": {"gpqa": 0.5}, "bee": {"gpqa": 0.4}}


def test_a_line_that_is_cut_off(folder, values, noted):
    for name in ("ant", "bee", "cat"):
        path = folder.lines(f"{name}.jsonl", events(name, [True], report=name != "cat"))
    path.write_text(path.read_text() + '{"sample_id": "s1", "ty')
    assert "cat on arith" in noted(folder.read(), "unfinished")
    path = folder.lines("bee.jsonl", events("bee", [True]))
    path.write_text(path.read_text() + '{"sample_id": "s1", "ty')
    with pytest.raises(EvidenceError, match=r"bee\.jsonl, line 5"):
        folder.read()
    scores = folder.read(bad="skip")
    assert set(values(scores)) == {"ant", "bee"}
    assert noted(scores, "bee.jsonl: 1 broken line left out")


def test_a_match_without_a_verdict_is_refused_or_counted(folder, noted):
    for name in ("ant", "bee"):
        folder.lines(f"{name}.jsonl", events(name, [True, None if name == "ant" else False]))
    with pytest.raises(EvidenceError, match="neither correct nor wrong"):
        folder.read()
    assert noted(folder.read(bad="skip"), "1 line left out")
