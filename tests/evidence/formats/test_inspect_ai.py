"""inspect_ai: logs in JSON and as zips."""

import io
import json
import zipfile

import pytest

from policyrank.errors import EvidenceError


def log(model, samples=None, status="success", created="2025-05-11T20:28:13-04:00", **config):
    found = {
        "version": 2,
        "status": status,
        "eval": {"model": model, "task": "popularity", "created": created, "config": config},
        "results": {
            "scores": [
                {
                    "name": "match",
                    "metrics": {"accuracy": {"value": 0.5}, "stderr": {"value": 0.1}},
                }
            ]
        },
    }
    if samples is not None:
        found["samples"] = [sample(*one) for one in samples]
    return found


def sample(name, epoch, value, scorer="match"):
    return {"id": name, "epoch": epoch, "scores": {scorer: {"value": value}}}


def zipped(**parts):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in parts.items():
            archive.writestr(name, json.dumps(value))
    return data.getvalue()


ANT = [(1, 1, "C"), (2, 1, "C"), (3, 1, "P"), (1, 2, "I"), (2, 2, "C"), (3, 2, "N")]


@pytest.fixture
def logs(folder):
    folder.write("a.json", log("org/ant", ANT))
    bee = log("org/bee")
    parts = {f"samples/{n}_epoch_1.json": sample(n, 1, v) for n, v in ((1, "C"), (2, 1), (3, "I"))}
    folder.write("b.eval", zipped(**{"_journal/start.json": {}, "header.json": bee, **parts}))
    folder.write("c.json", log("org/cat", [(1, 1, "C")], status="error"))
    return folder


def test_samples_are_tasks_and_epochs_replicates(logs, values, noted):
    scores = logs.read()
    assert values(scores) == {
        "org/ant": {"1": 0.5, "2": 1, "3": 0.25},
        "org/bee": {"1": 1, "2": 1, "3": 0},
    }
    assert "org/cat on popularity (error)" in noted(scores, "not finished")


def test_a_zip_without_header_is_not_finished(logs, noted):
    start = log("org/dog")
    del start["status"]
    logs.write("d.eval", zipped(**{"_journal/start.json": start}))
    assert "org/dog on popularity (started)" in noted(logs.read(), "not finished")
    logs.write("e.eval", b"PK\x03\x04 cut off")
    with pytest.raises(EvidenceError, match="damaged"):
        logs.read()


def test_only_unfinished_logs_are_refused(folder):
    folder.write("c.json", log("org/cat", [(1, 1, "C")], status="cancelled"))
    with pytest.raises(EvidenceError, match="cancelled"):
        folder.read("c.json")


def test_the_newest_log_of_a_task_counts(logs, values, noted):
    newer = log("org/ant", [(n, 1, 0) for n in (1, 2, 3)], created="2025-06-01T10:00:00+00:00")
    logs.write("later.json", newer)
    scores = logs.read()
    assert values(scores)["org/ant"] == {"1": 0, "2": 0, "3": 0}
    assert "a.json" in noted(scores, "replaced by a newer one")


def test_logs_without_samples_give_their_metrics(folder, values, noted):
    folder.write("a.json", log("org/ant"))
    folder.write("b.json", log("org/bee", [(1, 1, "C")]))
    scores = folder.read()
    assert values(scores) == {"org/ant": {"popularity": 0.5}, "org/bee": {"popularity": 0.5}}
    assert scores.stderr.tolist() == [0.1, 0.1]
    assert noted(scores, "no samples")


def test_settings_of_a_model_make_another_policy(folder, values):
    for effort in ("low", "high"):
        one = log("org/ant", [(1, 1, "C")])
        one["eval"]["model_generate_config"] = {"reasoning_effort": effort, "max_retries": 3}
        folder.write(f"{effort}.json", one)
    names = {"org/ant (reasoning_effort=high)", "org/ant (reasoning_effort=low)"}
    assert set(values(folder.read())) == names


def test_several_scorers_are_a_guess_and_can_be_named(folder, values):
    for name in ("ant", "bee"):
        one = log(name, [(1, 1, "C")])
        one["samples"][0]["scores"]["quality"] = {"value": {"style": 3, "tone": 4}}
        folder.write(f"{name}.json", one)
    assert values(folder.read())["ant"] == {"1": 1}
    assert values(folder.read(metric="quality:tone"))["ant"] == {"1": 4}
    with pytest.raises(EvidenceError, match="strict"):
        folder.read(strict=True)
    with pytest.raises(EvidenceError, match="no scorer 'taste'"):
        folder.read(metric="taste")


def test_epochs_reduced_otherwise_are_taken_from_the_log(folder, values):
    for name in ("ant", "bee"):
        one = log(name, [(1, 1, "C"), (1, 2, "I")], epochs=2, epochs_reducer=["max"])
        one["reductions"] = [{"scorer": "match", "samples": [{"sample_id": 1, "value": 1.0}]}]
        folder.write(f"{name}.json", one)
    assert values(folder.read())["ant"] == {"1": 1}


def test_samples_without_a_score_are_counted(folder, values, noted):
    folder.write("a.json", log("ant", [(1, 1, "C"), (2, 1, [1, 2])]))
    folder.write("b.json", log("bee", [(1, 1, "I"), (2, 1, float("nan"))]))
    scores = folder.read()
    assert values(scores) == {"ant": {"1": 1}, "bee": {"1": 0}}
    assert noted(scores, "2 samples without a score")


def test_reductions_stand_in_for_samples(folder, values, noted):
    for name in ("ant", "bee"):
        one = log(name, [])
        samples = [{"sample_id": 1, "value": 1.0}, {"sample_id": 2, "value": 0.5}]
        one["reductions"] = [{"scorer": "match", "samples": samples}]
        folder.write(f"{name}.json", one)
    scores = folder.read()
    assert values(scores)["ant"] == {"1": 1, "2": 0.5}
    assert noted(scores, "epochs reduced by mean, as in the log")
