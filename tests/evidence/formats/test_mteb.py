"""MTEB results of both layouts."""

import json

import pytest

from policyrank.errors import EvidenceError


def new(task, **splits):
    scores = {}
    for split, subsets in splits.items():
        scores[split] = [
            {"hf_subset": name, "main_score": value, "accuracy": value / 2, "x": float("nan")}
            for name, value in subsets.items()
        ]
    return {"task_name": task, "mteb_version": "1.18.0", "scores": scores, "evaluation_time": 7.7}


def old(task, **splits):
    return {"mteb_dataset_name": task, "mteb_version": "1.0.2", "dataset_revision": None, **splits}


@pytest.fixture
def results(folder):
    folder.write("r/org__ant/89d0/Banking77.json", new("Banking77", test={"default": 0.8}))
    folder.write("r/org__ant/external/Banking77.json", new("Banking77", test={"default": 0.95}))
    folder.write("r/org__ant/89d0/XQuAD.json", new("XQuAD", validation={"en": 0.9, "de": 0.5}))
    folder.write("r/org__bee/45e4/Banking77.json", new("Banking77", test={"default": 0.7}))
    folder.write("r/org__bee/45e4/XQuAD.json", new("XQuAD", validation={"en": 0.8, "de": 0.7}))
    meta = {"name": "org/Bee", "revision": "45e4", "n_parameters": 137}
    folder.write("r/org__bee/45e4/model_meta.json", meta)
    first = {"accuracy": 0.1, "f1": 0.2, "main_score": 0.75, "evaluation_time": 8.1}
    none = "r/org__cat/no_revision_available"
    folder.write(f"{none}/Banking77.json", old("Banking77", test=first))
    second = {"ndcg_at_10": 0.42, "ndcg_at_1": 0.37, "evaluation_time": 179.6}
    folder.write(f"{none}/T2Retrieval.json", old("T2Retrieval", dev=second))
    return folder


def test_both_layouts(results, values, noted):
    scores = results.read()
    assert values(scores) == {
        "org/Bee": {"Banking77": 0.7, "XQuAD": 0.75},
        "org/ant": {"Banking77": 0.8, "XQuAD": 0.7},
        "org/cat": {"Banking77": 0.75, "T2Retrieval": 0.42},
    }
    assert "org/ant on Banking77 (external)" in noted(scores, "without a revision not used")
    assert noted(scores, "XQuAD: the mean over 2 subsets")


def test_external_counts_where_there_is_no_revision(results, values, noted):
    results.write("r/org__dog/external/Banking77.json", new("Banking77", test={"default": 0.6}))
    scores = results.read()
    assert values(scores)["org/dog"] == {"Banking77": 0.6}
    assert "org/dog" in noted(scores, "self-reported")


def test_languages_and_similarities_of_the_first_layout(folder, values):
    for name, value in (("ant", 0.8), ("bee", 0.6)):
        place = f"org__{name}/no_revision_available"
        correlation = {"cos_sim": {"spearman": value, "pearson": 0.1}}
        folder.write(f"{place}/STS.json", old("STS", test=correlation))
        bitext = {"precision": 0.1, "recall": 0.1, "f1": value, "accuracy": 0.3}
        languages = {"zh-en": bitext, "fr-en": {**bitext, "f1": 0.0}, "evaluation_time": 3}
        folder.write(f"{place}/BUCC.json", old("BUCC", test=languages))
    assert values(folder.read())["org/ant"] == {"STS": 0.8, "BUCC": 0.4}


def test_a_task_with_several_splits_is_a_guess(folder, values):
    for name in ("ant", "bee"):
        one = new("STS", dev={"default": 0.1}, test={"default": 0.5})
        folder.write(f"org__{name}/r1/STS.json", one)
    assert values(folder.read())["org/ant"] == {"STS": 0.5}
    with pytest.raises(EvidenceError, match="split 'test' is used"):
        folder.read(strict=True)


def test_other_subsets_are_not_compared(results, values, noted):
    results.write("r/org__dog/1/XQuAD.json", new("XQuAD", validation={"en": 0.99}))
    scores = results.read()
    assert "org/dog" not in values(scores)
    assert "org/dog on XQuAD" in noted(scores, "under other settings")


def test_revisions_that_share_a_task_are_policies(results, values):
    results.write("r/org__ant/ffff/Banking77.json", new("Banking77", test={"default": 0.1}))
    found = values(results.read())
    assert found["org/ant (89d0)"]["Banking77"] == 0.8
    assert found["org/ant (ffff)"] == {"Banking77": 0.1}


def test_another_metric(results, values):
    text = json.dumps(new("T", test={"default": 0.8}))
    results.write("m/org__ant/1/T.json", text)
    results.write("m/org__bee/1/T.json", text)
    assert values(results.read("m", metric="accuracy"))["org/ant"] == {"T": 0.4}
    with pytest.raises(EvidenceError, match="no recall in subset"):
        results.read("m", metric="recall")


def test_a_bare_nan_as_main_score_is_refused_or_counted(results, noted):
    results.write("r/org__eel/1/Banking77.json", new("Banking77", test={"default": float("nan")}))
    with pytest.raises(EvidenceError, match="not finite"):
        results.read()
    assert "org/eel" in noted(results.read(bad="skip"), "not finite")


def test_a_folder_of_descriptions_is_refused(folder):
    folder.write("org__ant/1/model_meta.json", {"name": "ant", "revision": "1"})
    with pytest.raises(EvidenceError, match="without results"):
        folder.read()


def test_files_of_one_task_with_other_metrics(folder, values):
    for name, key in (("ant", "extra"), ("bee", "more")):
        one = new("STS", test={"default": 0.5})
        one["scores"]["test"][0][key] = 1
        folder.write(f"org__{name}/r1/STS.json", one)
    assert values(folder.read())["org/bee"] == {"STS": 0.5}
