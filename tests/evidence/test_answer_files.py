"""Files and frames of ranked answers: every kind gives the same lists."""

import json

import polars as pl
import pytest

from policyrank.errors import EvidenceError
from policyrank.evidence import read_answers
from policyrank.evidence.answers import read_rows

CALL = {"function": {"name": "f", "arguments": {"x": "1"}}, "type": "function"}
ROWS = [
    {
        "prompt": [{"role": "user", "content": "hi"}],
        "completions": [
            [{"role": "assistant", "content": "go"}],
            [{"role": "assistant", "content": "ah", "tool_calls": [CALL]}],
        ],
        "scores": [1.0, 0.5],
    },
    {
        "prompt": [{"role": "user", "content": "ho"}],
        "completions": [
            [{"role": "assistant", "content": "x"}],
            [{"role": "assistant", "content": "y"}],
        ],
        "scores": [0.0, 2.0],
    },
]


@pytest.fixture
def lists():
    return read_answers(ROWS).lists


def test_frames_of_all_kinds(tmp_path, lists):
    frame = pl.DataFrame(ROWS)
    path = tmp_path / "rows.parquet"
    frame.write_parquet(path)
    assert read_answers(frame).lists == lists
    assert read_answers(frame.lazy()).lists == lists
    assert read_answers(path).lists == lists
    pyarrow = pytest.importorskip("pyarrow.parquet")
    assert read_answers(pyarrow.read_table(path)).lists == lists
    pandas = pytest.importorskip("pandas")
    assert read_answers(pandas.read_parquet(path)).lists == lists
    assert read_answers(pandas.DataFrame(ROWS)).lists == lists
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_list(ROWS)
    assert read_answers(table).lists == lists
    assert read_answers(table.with_format("numpy")).lists == lists


def test_an_array_of_rows_is_a_file(tmp_path, lists):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS, indent=1))
    assert read_answers(path).lists == lists
    path.write_text('[{"prompt": "p"}, 3]')
    with pytest.raises(EvidenceError, match=r"rows.json, entry 2: expected `object`"):
        read_answers(path)


def test_cells_of_csv_are_read_as_what_they_stand_for(tmp_path, lists):
    texts = []
    for row in ROWS:
        texts.append({name: json.dumps(value) for name, value in row.items()})
    path = tmp_path / "rows.csv"
    pl.DataFrame(texts).write_csv(path)
    assert read_answers(path).lists == lists
    path.write_text("prompt,chosen,rejected,margin\np,[a],b,0.5\nq,a,b,\n")
    assert [one.labels for one in read_answers(path)] == [(0.5, 0.0), (1.0, 0.0)]
    path.write_text("prompt,completion,label\np,a,0\np,b,1\np,c,true\np,d,False\n")
    assert [one.labels for one in read_answers(path)] == [(0.0,), (1.0,), (1.0,), (0.0,)]
    path.write_text("prompt,completions,scores\np,\"['a', 'b']\",\"[1, 0]\"\n")
    with pytest.raises(EvidenceError, match=r"row 1: completions is no JSON .*double quotes"):
        read_answers(path)


@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_half_characters_are_refused_with_their_row(tmp_path, ending):
    rows = [{"prompt": "p \\ud800"}, {"prompt": "p", "chosen": "a", "rejected": "\ud83d\ude00"}]
    path = tmp_path / f"rows.{ending}"

    def write():
        text = "\n".join(map(json.dumps, rows))
        path.write_text(json.dumps(rows) if ending == "json" else text)

    write()
    assert [row for _, row in read_rows(path)] == [rows[0], rows[1] | {"rejected": "\U0001f600"}]
    rows[1]["rejected"] = "b\ud83d"
    write()
    with pytest.raises(EvidenceError, match=rf"rows.{ending}, (row|line) 2: .*lone surrogate"):
        list(read_rows(path))
