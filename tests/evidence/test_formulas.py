"""Texts that a spreadsheet would run: neutral in CSV, and read back as they were."""

import polars as pl
import pytest

from policyrank.evidence import Comparisons, Scores, read
from policyrank.evidence.formulas import without_formulas

HOSTILE = ["=1+1", "+x", "-x", "@x", "'=x", "''+x", "＝1", "'x", "a=b", 'x,"=1"', "ant"]


def hostile_scores():
    return Scores.of(HOSTILE * 2, ["=sum(a)"] * 11 + ["go"] * 11, list(range(22)))


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_written_names_are_no_formulas_and_are_read_back(ending, tmp_path):
    path = tmp_path / f"scores{ending}"
    hostile_scores().write(path)
    cells = pl.read_csv(path, separator="\t" if ending == ".tsv" else ",", infer_schema=False)
    for column in ("policy", "task"):
        assert not cells[column].str.contains(r"^[=+\-@＝\t\r\n]").any()
    found = read(path)
    assert sorted(found.policies) == sorted(HOSTILE)
    assert sorted(found.task.names) == ["=sum(a)", "go"]
    assert any("without the apostrophe" in note for note in found.notes)


def test_comparisons_are_read_back(tmp_path):
    path = tmp_path / "battles.csv"
    Comparisons.of(["=a", "b"], ["b", "@c"], [1, 0]).write(path)
    assert sorted(read(path).policies) == ["=a", "@c", "b"]


def test_names_of_columns_are_read_back():
    found = read(b"policy,'=go,chess\nant,1,2\nbee,3,4\n")
    assert sorted(found.task.names) == ["=go", "chess"]


def test_files_in_which_formulas_stand_bare_are_read_as_they_are():
    found = read(b"policy,task,score\n'=x,go,1\n=x,go,2\nant,go,3\n")
    assert sorted(found.policies) == ["'=x", "=x", "ant"]
    assert not any("apostrophe" in note for note in found.notes)


def test_columns_of_negative_numbers_do_not_hide_names():
    found = read(b"policy,task,score\n'=x,go,-1\nant,go,-2\n")
    assert sorted(found.policies) == ["=x", "ant"]


def test_parquet_keeps_texts_as_they_are(tmp_path):
    path = tmp_path / "scores.parquet"
    hostile_scores().write(path)
    assert sorted(pl.read_parquet(path)["policy"].unique()) == sorted(HOSTILE)
    assert sorted(read(path).policies) == sorted(HOSTILE)


def test_all_that_is_changed_is_counted():
    frame = pl.DataFrame({"=a": ["=1", "b", None], "c": [-1.0, 2.0, 3.0]})
    texts, changed = without_formulas(frame)
    assert changed == 2
    assert texts.columns == ["'=a", "c"]
    assert texts["c"].to_list() == [-1.0, 2.0, 3.0]
