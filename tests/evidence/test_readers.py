"""Readers: usual names, labels, formats, and one clear error for bad input."""

import gzip
import json

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from policyrank.errors import EvidenceError
from policyrank.evidence import (
    Comparisons,
    Rankings,
    Scores,
    detect,
    read,
    read_comparisons,
    read_rankings,
    read_scores,
)


def rows(text, **options):
    return read_comparisons(text.encode(), **options)


@pytest.mark.parametrize(
    "text",
    [
        "model_a,model_b,winner\nx,y,model_a\ny,x,model_a\nx,y,tie\nx,y,tie (bothbad)\n",
        "left,right,winner\nx,y,left\ny,x,left\nx,y,tie\nx,y,Draw\n",
        "player1,player2,result\nx,y,1-0\ny,x,1-0\nx,y,1/2-1/2\nx,y,0.5-0.5\n",
        "a,b,outcome\nx,y,1\ny,x,1.0\nx,y,0.5\nx,y,.5\n",
        "Model A;Model B;Winner\nx;y;x\ny;x;y\nx;y;tie\nx;y;TIE\n",
        "home\taway\tresult\nx\ty\twin\ny\tx\t3-1\nx\ty\tdraw\nx\ty\t2:2\n",
        "a,b,wins,losses,ties\nx,y,1,1,2\n",
        (
            '{"model_a":"x","model_b":"y","winner":"model_a"}\n{"model_a":"y","model_b":"x","winner":"model_a"}\n'
            '{"model_a":"x","model_b":"y","winner":"tie"}\n{"model_a":"x","model_b":"y","winner":"both_bad"}\n'
        ),
        "\ufeffmodel_a,model_b,winner\nx,y,model_a\nx,y,model_b\nx,y,tie\nx,y,tie\n",
    ],
)
def test_usual_names_and_labels(text):
    c = rows(text)
    assert c.policies == ("x", "y")
    assert c.preferences().tolist() == [[0, 2], [2, 0]]
    assert c.preferences(ties=0).tolist() == [[0, 1], [1, 0]]


def test_winner_and_loser_columns():
    assert rows("winner,loser\nx,y\nx,y\ny,x\n").preferences().tolist() == [[0, 2], [1, 0]]
    assert rows("chosen,rejected\nx,y\n").preferences().tolist() == [[0, 1], [0, 0]]


def test_numbers_in_an_open_column_must_be_explained():
    text = "A,B,preference\nx,y,0\nx,y,1\nx,y,0.5\nx,y,0\n"
    with pytest.raises(EvidenceError, match="first_wins"):
        rows(text)
    assert rows(text, first_wins=0).preferences()[0, 1] == 2.5
    assert rows(text, first_wins=1).preferences()[0, 1] == 1.5


def test_a_name_that_is_also_a_label_is_refused():
    with pytest.raises(EvidenceError, match="also"):
        rows("a,b,winner\nb,a,b\na,b,a\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,winner\nx,y,a\nx,y,maybe\n", r"row 3|row 2 .*'maybe'"),
        ("a,b,winner\nx,y,a\nx,,a\n", "row 2 .*without a name"),
        ("a,b,winner\nx,y,a\nx,y,\n", "row 2 .*missing outcome"),
        ("a,b,winner\nx,y,a\ny,y,a\n", "row 2 .*itself"),
        ("a,b,outcome\nx,y,1\nx,y,7\n", "row 2 .*outside"),
        ("a,b,outcome\nx,y,1\nx,y,nan\n", "row 2 .*missing outcome"),
        ("a,b\nx,y\n", "no column with the outcome"),
        ("foo,bar\nx,y\n", "no pair of columns"),
        ("a,b,winner\n", "no rows"),
        ("a,b,winner\nx,y,a,extra,fields\n", "line 2 has 5 fields"),
    ],
)
@pytest.mark.parametrize("counted", [False, True])
def test_bad_rows_are_named(text, message, counted):
    with pytest.raises(EvidenceError, match=message):
        rows(text, counted=counted)


def test_skipped_rows_are_counted():
    c = rows("a,b,winner\nx,y,a\ny,y,a\nx,y,huh\nx,,a\n", bad="skip")
    assert c.total == 1
    assert sum("left out" in n for n in c.notes) == 3
    with pytest.raises(EvidenceError, match="no usable row"):
        rows("a,b,winner\nx,x,a\n", bad="skip")


def test_named_columns_and_unknown_ones():
    assert rows("who,whom,y\nx,y,1\n", a="who", b="whom", outcome="y").total == 1
    with pytest.raises(EvidenceError, match="no column 'nope'"):
        rows("a,b,winner\nx,y,a\n", outcome="nope")
    with pytest.raises(EvidenceError, match="both"):
        rows("a,b,winner\nx,y,a\n", a="a")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"   \n",
        b"PAR1 broken parquet file",
        b"\x00\x01\x02\x03" * 50,
        b"ARROW1 nonsense",
        b"\xff\xfe\x00a",
        b"{broken json\n",
    ],
)
@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl", ".arrow", ".json", ".txt", ""])
def test_broken_files_give_one_error(tmp_path, content, ending):
    path = tmp_path / f"file{ending}"
    path.write_bytes(content)
    with pytest.raises(EvidenceError):
        read(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(EvidenceError, match="no such file"):
        read(tmp_path / "nothing.csv")
    with pytest.raises(EvidenceError, match="no files there"):
        read(tmp_path)


def test_gzip(tmp_path):
    path = tmp_path / "battles.csv.gz"
    path.write_bytes(gzip.compress(b"a,b,winner\nx,y,a\n"))
    assert read(path).total == 1
    path.write_bytes(gzip.compress(b"a,b,winner\nx,y,a\n")[:-9])
    with pytest.raises(EvidenceError, match="damaged or cut off"):
        read(path)


def test_wide_scores_both_ways_round():
    by_policy = read_scores(b'model,Average,go,chess\nx,9.9,1,"1,000"\ny,9.9,2.5\xc2\xb10.1,3\n')
    assert by_policy.columns == ("chess", "go")
    assert by_policy.table().tolist() == [[1000, 3], [1, 2.5]]
    assert any("sums up the others" in n for n in by_policy.notes)
    assert any("±" in n for n in by_policy.notes)
    by_task = read_scores(b"game,x,y\ngo,1,2\nchess,3,-\n")
    assert by_task.policies == ("x", "y")
    assert np.isnan(by_task.table()[0, 1])
    assert any("not measured" in n for n in by_task.notes)


def test_lower_is_better_by_name_and_told():
    text = b"model,task,metric,score\nx,a,wer,1\ny,a,wer,2\n"
    assert read_scores(text).table().tolist() == [[-1, -2]]
    assert any("lower is better" in n for n in read_scores(text).notes)
    assert read_scores(text, lower_is_better=False).table().tolist() == [[1, 2]]
    assert read_scores(
        b"model,task,score\nx,a,1\ny,a,2\n", lower_is_better=True
    ).table().tolist() == [[-1, -2]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"model,task,score\nx,a,1\ny,a,good\n", "row 2 .*'good'"),
        (b"model,task,score\nx,a,1\ny,a,\n", "row 2 .*missing score"),
        (b"model,task,score\nx,a,1\ny,,2\n", "row 2 .*missing task"),
        (b"model,go,chess\nx,1,2\nx,3,4\n", "twice"),
        (b"model,go,chess\nx,1,2\ny,3,four\nz,5,6\n", "row 2, column 'chess'"),
        (b"model,go,chess\nx,1,2\n,3,4\n", "row 2"),
        (b"model,comment\nx,nice\ny,good\n", "no column of scores"),
    ],
)
def test_bad_scores_are_named(text, message):
    with pytest.raises(EvidenceError, match=message):
        read_scores(text)


def test_ballots_in_all_their_forms(tmp_path):
    lines = tmp_path / "votes.txt"
    lines.write_text("3: x > y = z\n# a comment\nz > x\n")
    expected = Rankings.of([["x", ["y", "z"]], ["z", "x"]], weight=[3, 1])
    prefs = expected.preferences()
    assert detect(lines) == "rankings"
    assert np.array_equal(read(lines).preferences(), prefs)
    preflib = tmp_path / "votes.toi"
    preflib.write_text(
        "# ALTERNATIVE NAME 1: x\n# ALTERNATIVE NAME 2: y\n# ALTERNATIVE NAME 3: z\n3: 1,{2,3}\n1:"
        " 3,1\n"
    )
    assert np.array_equal(read(preflib).preferences(), prefs)
    long = b"ballot,policy,rank,weight\n1,x,1,3\n1,y,2,3\n1,z,2,3\n2,z,1,1\n2,x,2,1\n"
    assert detect(long) == "rankings"
    assert np.array_equal(read(long).preferences(), prefs)
    column = b"ranking,count\nx > y = z,3\nz > x,1\n"
    assert np.array_equal(read_rankings(column).preferences(), prefs)
    listed = (json.dumps({"ranking": ["x", "y", "z"]}) + "\n").encode()
    assert read_rankings(listed).policies == ("x", "y", "z")
    with pytest.raises(EvidenceError, match="row 1"):
        read_rankings(b"ranking\nx > > y\n")


def test_lm_eval_folder(tmp_path):
    def result(model, date, **tasks):
        folder = tmp_path / model.replace("/", "__")
        folder.mkdir(exist_ok=True)
        body = {
            "results": {
                k: {
                    "alias": k,
                    "acc,none": v,
                    "acc_stderr,none": 0.01,
                    **({"acc_norm,none": v + 0.1} if k == "arc" else {}),
                }
                for k, v in tasks.items()
            },
            "group_subtasks": {"mmlu": ["mmlu_law"]},
            "higher_is_better": {k: {"acc": True, "acc_norm": True} for k in tasks},
            "config": {"model_args": f"pretrained={model},dtype=float16"},
            "date": date,
        }
        (folder / f"results_{date}.json").write_text(json.dumps(body))

    result("org/one", 1.0, arc=0.5, mmlu=0.4, mmlu_law=0.4)
    result("org/two", 1.0, arc=0.1, mmlu=0.3, mmlu_law=0.3)
    result("org/two", 2.0, arc=0.7)
    s = read_scores(tmp_path)
    assert isinstance(read(tmp_path), Scores)
    assert s.policies == ("org/one", "org/two")
    assert s.task.names == ("arc", "mmlu_law")
    assert s.filter(tasks="arc").table().ravel() == pytest.approx([0.6, 0.8])
    assert any("newer run" in n for n in s.notes)
    assert any("mmlu" in n for n in s.notes if "groups" in n)
    assert read_scores(tmp_path, metric="acc").filter(tasks="arc").table().ravel() == pytest.approx(
        [0.5, 0.7]
    )


def test_nested_arena_logs_read_only_what_is_needed(tmp_path):
    rows = [
        {
            "model_a": "x",
            "model_b": "y",
            "winner": "model_a",
            "judge": f"u{i}",
            "tstamp": 1.0 + i,
            "conversation_a": [{"role": "user", "content": "hi"}],
        }
        for i in range(4)
    ]
    path = tmp_path / "arena.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    c = read(path)
    assert isinstance(c, Comparisons)
    assert len(c.rater.names) == 4
    assert c.time.tolist() == [1, 2, 3, 4]


text = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=12)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(text, text, st.one_of(text, st.sampled_from(["model_a", "model_b", "tie"]))),
        min_size=1,
        max_size=6,
    )
)
def test_fuzz_names_in_tables(table):
    """Whatever the cells hold: a board's evidence that counts every row, or one clear error."""
    a, b, winner = zip(*table, strict=True)
    frame = pl.DataFrame(
        {"model_a": a, "model_b": b, "winner": winner},
        schema=dict.fromkeys(["model_a", "model_b", "winner"], pl.String),
    )
    try:
        c = read_comparisons(frame, bad="skip")
    except EvidenceError:
        return
    skipped = sum(int(n.split(" row")[0].replace(",", "")) for n in c.notes if "left out" in n)
    assert c.total + skipped == len(table)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_fuzz_bytes(tmp_path_factory, content):
    """Arbitrary bytes under every ending: evidence or an EvidenceError, never another exception."""
    folder = tmp_path_factory.mktemp("fuzz")
    for ending in (".csv", ".jsonl", ".parquet", ".txt"):
        path = folder / f"file{ending}"
        path.write_bytes(content)
        try:
            read(path, bad="skip")
        except EvidenceError:
            continue


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "model",
                "task",
                "score",
                "x",
                ",",
                "\n",
                '"',
                "1",
                "-",
                "nan",
                "1e5",
                "±",
                "a,b,winner\n",
                " ",
            ]
        ),
        max_size=40,
    )
)
def test_fuzz_csv_like(parts):
    try:
        read("".join(parts).encode(), bad="skip")
    except EvidenceError:
        return


def test_files_that_may_not_be_opened_are_one_line(tmp_path, monkeypatch):
    path = tmp_path / "scores.csv"
    path.write_text("model,go,chess\nant,1,2\nbee,3,4\n")

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refused)
    with pytest.raises(EvidenceError, match=r"scores\.csv: cannot be read \(Permission denied\)"):
        read(path)
