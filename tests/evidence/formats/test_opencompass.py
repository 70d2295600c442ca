"""OpenCompass summaries."""

import pytest

from policyrank.errors import EvidenceError

SUMMARY = """dataset,version,metric,mode,ant,bee,cat
mmlu_anatomy,2db373,accuracy,ppl,60.00,70.00,-
mmlu_law,2db373,accuracy,ppl,80.00,50.00,55.00
mmlu,-,naive_average,ppl,70.00,60.00,-
wikibench,-,-,-,-,-,-
humaneval,8e312c,humaneval_pass@1,gen,30.49,28.05,31.10
humaneval,8e312c,humaneval_timeout,gen,2.00,5.00,1.00
"""


def test_datasets_are_rows(folder, values, noted):
    folder.write("summary_20250101_101010.csv", SUMMARY)
    scores = folder.read("summary_20250101_101010.csv")
    assert values(scores) == {
        "ant": {"mmlu_anatomy": 60, "mmlu_law": 80, "humaneval": 30.49},
        "bee": {"mmlu_anatomy": 70, "mmlu_law": 50, "humaneval": 28.05},
        "cat": {"mmlu_law": 55, "humaneval": 31.1},
    }
    assert noted(scores, "groups left out because their datasets count: mmlu")
    assert "humaneval_timeout" in noted(scores, "other metrics not used")


def test_a_summary_of_groups_alone_is_read(folder, values):
    rows = [row for row in SUMMARY.splitlines(True) if row.startswith(("dataset", "mmlu,"))]
    folder.write("s.csv", "".join(rows))
    assert values(folder.read("s.csv")) == {"ant": {"mmlu": 70}, "bee": {"mmlu": 60}}


def test_a_named_metric(folder, values):
    folder.write("s.csv", SUMMARY)
    found = values(folder.read("s.csv", metric="humaneval_timeout"))
    assert found["cat"] == {"humaneval": 1}
    with pytest.raises(EvidenceError, match="no metric 'x'"):
        folder.read("s.csv", metric="x")


def test_prompts_of_another_version_are_not_compared(folder, values, noted):
    folder.write("summary_20250101_101010.csv", SUMMARY)
    other = "dataset,version,metric,mode,dog\nmmlu_law,ffffff,accuracy,ppl,99.0\n"
    folder.write("summary_20250102_101010.csv", other)
    scores = folder.read()
    assert "dog" not in values(scores)
    assert "dog on mmlu_law" in noted(scores, "under other settings")


def test_text_in_a_cell_is_refused(folder):
    folder.write("s.csv", SUMMARY + "x,1,acc,gen,a lot,1,2\n")
    with pytest.raises(EvidenceError, match="line 8: 'a lot' is no number"):
        folder.read("s.csv")
