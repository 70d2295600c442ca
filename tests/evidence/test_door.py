"""What people have, and what is right of it: roles, outcomes, directions, units."""

import gzip
import json
import os
import subprocess
import sys
import threading

import numpy as np
import polars as pl
import pytest

import policyrank as pr
from policyrank.errors import EvidenceError, PolicyrankError
from policyrank.evidence import Comparisons, Query, Rankings, Scores, detect, read


def scores(text: str, **options) -> Scores:
    found = read(text.encode(), **options)
    assert isinstance(found, Scores)
    return found


def battles(text: str, **options) -> list[tuple]:
    found = read(text.encode(), **options)
    assert isinstance(found, Comparisons)
    count = found.count if found.count is not None else np.ones(len(found), dtype=int)
    names = found.policies
    rows = zip(found.a, found.b, found.outcome.tolist(), count.tolist(), strict=True)
    return [(names[a], names[b], y, n) for a, b, y, n in rows]


# Roles.


def test_a_board_is_its_score_with_its_interval():
    board = scores(
        "Rank* (UB),Model,Arena Score,95% CI,Votes\n"
        "1,ant,1287,+4/-4,32181\n2,bee,1267,+4/-3,41731\n"
    )
    assert board.columns == ("Arena Score",)
    assert board.interval.tolist() == [[1283, 1291], [1264, 1271]]
    assert "2 columns left out (Rank* (UB): a rank, Votes: a count or a size)" in board.notes[0]
    ranked = pr.rank(board)
    assert ranked.lower.tolist() == [1283, 1264]
    assert ranked.rank_upper.tolist() == [1, 2]


@pytest.mark.parametrize(
    "text",
    [
        ",model,mmlu,gsm8k\n0,ant,0.8,0.7\n1,bee,0.7,0.6\n2,cat,0.5,0.4\n",
        "no,model_name,mmlu,gsm8k\n1,ant,.8,.7\n2,bee,.7,.6\n3,cat,.5,.4\n",
        "Unnamed: 0,mmlu,gsm8k,run_name\n0,.8,.7,ant\n1,.7,.6,bee\n2,.5,.4,cat\n",
        "id,checkpoint,mmlu,gsm8k,date\n7,ant,.8,.7,2024-01-02\n9,bee,.7,.6,2024-01-03\n8,cat,.5,.4,2024-01-04\n",
        "team,mmlu,gsm8k,n,mmlu_stderr\nant,.8,.7,100,.01\nbee,.7,.6,100,.02\ncat,.5,.4,100,.02\n",
        "submission;mmlu;gsm8k;tokens\nant;0,8;0,7;1000\nbee;0,7;0,6;900\ncat;0,5;0,4;800\n",
        "agent,mmlu,gsm8k,Average,#Params (B),likes\n"
        "ant,.8,.7,.75,7,3\nbee,.7,.6,.65,8,2\ncat,.5,.4,.45,9,9\n",
        "system|mmlu|gsm8k|rank|comment\nant|.8|.7|1|good\nbee|.7|.6|2|fine\ncat|.5|.4|3|poor\n",
        "model,mmlu,gsm8k,mmlu_pct\nant,.8,.7,80\nbee,.7,.6,70\ncat,.5,.4,50\n",
    ],
)
def test_only_scores_are_tasks(text):
    found = scores(text)
    assert found.policies == ("ant", "bee", "cat")
    assert found.columns == ("gsm8k", "mmlu")
    assert np.allclose(found.table(), [[0.7, 0.6, 0.4], [0.8, 0.7, 0.5]])


def test_a_row_a_question_and_a_column_a_model():
    found = scores("question_id,ant,bee\nq1,1,0\nq2,1,1\nq3,0,1\n")
    assert found.policies == ("ant", "bee")
    assert found.columns == ("q1", "q2", "q3")


def test_what_cannot_be_decided_is_refused_with_the_option():
    with pytest.raises(EvidenceError, match="tasks=") as refused:
        scores("model,votes,rank\nant,3,1\nbee,2,2\n")
    assert "votes: a count" in str(refused.value)
    with pytest.raises(EvidenceError, match="outcome="):
        read(b"model_a,model_b,tokens\n1,2,3\n2,1,4\n")
    with pytest.raises(EvidenceError, match="rows="):
        scores(",alpha,beta\nPong,20,19\nBreakout,400,390\n")
    with pytest.raises(EvidenceError, match="policy="):
        scores("period,demand\n1,183\n2,186\n")


def test_ranks_and_sizes_are_read_when_asked_for():
    found = scores("model,votes,rank\nant,3,1\nbee,2,2\n", tasks=["rank"])
    assert found.lower_is_better == {"rank"}
    assert found.oriented.tolist() == [-1, -2]


def test_strict_refuses_guesses():
    text = "contender,go\nant,1\nbee,2\n"
    assert scores(text).policies == ("ant", "bee")
    with pytest.raises(EvidenceError, match=r"strict.*policy="):
        scores(text, strict=True)
    assert scores(text, strict=True, policy="contender").policies == ("ant", "bee")
    with pytest.raises(EvidenceError, match="replicate="):
        scores("model,score\nant,1\nant,2\nbee,1\n", strict=True)


def test_a_square_table_of_the_same_names_is_a_matrix_of_wins():
    text = "model,ant,bee,cat\nant,,3,3\nbee,0,,60\ncat,0,40,\n"
    assert detect(text.encode()) == "comparisons"
    assert battles(text) == [
        ("ant", "bee", 1, 3),
        ("ant", "cat", 1, 3),
        ("bee", "cat", 1, 60),
        ("cat", "bee", 1, 40),
    ]
    with pytest.raises(EvidenceError, match="counts"):
        read(b"model,ant,bee\nant,,0.6\nbee,0.4,\n")
    with pytest.raises(EvidenceError, match="over itself"):
        read(b"model,ant,bee\nant,2,3\nbee,4,\n")


def test_nested_columns_are_left_out_and_named(tmp_path):
    rows = [
        {"model": "ant", "score_x": 1, "tags": ["a"], "judge": {"name": "j"}},
        {"model": "bee", "score_x": 2, "tags": ["b"], "judge": {"name": "j"}},
    ]
    frame = pl.DataFrame(rows)
    frame.write_parquet(tmp_path / "x.parquet")
    frame.write_ipc(tmp_path / "x.arrow")
    (tmp_path / "x.json").write_text(json.dumps(rows))
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for file in ("x.parquet", "x.arrow", "x.json", "x.jsonl"):
        found = read(tmp_path / file)
        assert found.table().tolist() == [[1, 2]]
        assert "tags: nested, judge: nested" in found.notes[0]


# Outcomes.


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (
            "id,model_a,model_b,winner_model_a,winner_model_b,winner_tie\n"
            "301,ant,bee,1,0,0\n302,cat,bee,0,1,0\n303,bee,dog,0,0,1\n",
            [("ant", "bee", 1, 1), ("cat", "bee", 0, 1), ("bee", "dog", 0.5, 1)],
        ),
        (
            "home_team,away_team,result\nRed,Blue,A\nGreen,Blue,H\nRed,Green,D\n",
            [("Red", "Blue", 0, 1), ("Green", "Blue", 1, 1), ("Red", "Green", 0.5, 1)],
        ),
        ("left,right,vote\nx,y,L\ny,x,R\nx,y,T\n".replace("T", "tie"), None),
        (
            "player1,player2,winner\nx,y,2\ny,x,1\n",
            [("x", "y", 0, 1), ("y", "x", 1, 1)],
        ),
        (
            "model_a,model_b,verdict\nx,y,[[A>>B]]\nx,y,[[B>A]]\nx,y,[[A=B]]\nx,y,[[C]]\n",
            [("x", "y", 1, 1), ("x", "y", 0, 1), ("x", "y", 0.5, 1), ("x", "y", 0.5, 1)],
        ),
        (
            "model_a,model_b,winner\n0,1,1\n1,0,1\n1,2,1\n2,1,1\n0,2,0\n",
            [
                ("0", "1", 0, 1),
                ("1", "0", 1, 1),
                ("1", "2", 1, 1),
                ("2", "1", 0, 1),
                ("0", "2", 1, 1),
            ],
        ),
        (
            "model_a,model_b,winner\nx,y,both_bad\nx,y,both good\nx,y,model_b\n",
            [("x", "y", 0.5, 1), ("x", "y", 0.5, 1), ("x", "y", 0, 1)],
        ),
        (
            "winner_name,loser_name,round\nx,y,1\ny,z,2\n",
            [("x", "y", 1, 1), ("y", "z", 1, 1)],
        ),
        (
            "Home,Away,HG,AG\nx,y,2,1\ny,z,0,3\nz,x,1,1\n",
            [("x", "y", 1, 1), ("y", "z", 0, 1), ("z", "x", 0.5, 1)],
        ),
        (
            "system_x,system_y,score_x,score_y\nx,y,.5,.4\ny,x,.5,.5\n",
            [("x", "y", 1, 1), ("y", "x", 0.5, 1)],
        ),
        (
            "model_a_name,model_b_name,chosen_model_name,both_equal\nx,y,y,false\nx,y,,true\n",
            [("x", "y", 0, 1), ("x", "y", 0.5, 1)],
        ),
        (
            "white,black,result\nx,y,1-0\ny,x,1/2-1/2\nx,y,0-1\n",
            [("x", "y", 1, 1), ("y", "x", 0.5, 1), ("x", "y", 0, 1)],
        ),
        (
            "agent 1,agent 2,outcome\nx,y,1\ny,x,-1\nx,y,0\n",
            [("x", "y", 1, 1), ("y", "x", 0, 1), ("x", "y", 0.5, 1)],
        ),
    ],
)
def test_outcomes_are_told_by_their_context(text, right):
    found = battles(text)
    if right is None:
        right = [("x", "y", 1, 1), ("y", "x", 0, 1), ("x", "y", 0.5, 1)]
    assert found == right


def test_codes_one_and_two_and_their_means():
    rows = [
        {"instruction": "i1", "first": "ant", "second": "bee", "preference": 2.0},
        {"instruction": "i2", "first": "ant", "second": "cat", "preference": 1.0},
        {"instruction": "i3", "first": "bee", "second": "cat", "preference": 1.5},
        {"instruction": "i4", "first": "cat", "second": "bee", "preference": 0.0},
        {"instruction": "i5", "first": "cat", "second": "bee", "preference": 1.25},
    ]
    assert [row[2] for row in battles(json.dumps(rows))] == [0, 1, 0.5, 0.5, 0.75]


def test_a_share_with_a_count_is_so_many_wins():
    text = "model_a,model_b,outcome,count\nant,bee,0.7,10\nbee,cat,0.5,10\nant,cat,1,9\n"
    assert battles(text) == [
        ("ant", "bee", 1, 7),
        ("ant", "bee", 0, 3),
        ("bee", "cat", 1, 5),
        ("bee", "cat", 0, 5),
        ("ant", "cat", 1, 9),
    ]
    with pytest.raises(EvidenceError, match=r"row 1 .*0\.75 of 10"):
        battles("model_a,model_b,outcome,count\nant,bee,0.75,10\nbee,ant,0.5,4\n")


def test_counts_of_any_spelling_are_counted(tmp_path):
    text = "model_a,model_b,winner,count\nant,bee,model_a,3.0\nbee,cat,model_a,2\ncat,ant,tie,5.0\n"
    right = [("ant", "bee", 1, 3), ("bee", "cat", 1, 2), ("cat", "ant", 0.5, 5)]
    assert battles(text) == right
    assert sorted(battles(text, counted=True)) == sorted(right)
    mixed = [
        {"a": "ant", "b": "bee", "wins": 3, "losses": "1"},
        {"a": "bee", "b": "cat", "wins": 2, "losses": "2"},
    ]
    assert [row[2:] for row in battles(json.dumps(mixed))] == [(1, 3), (0, 1), (1, 2), (0, 2)]


def test_votes_that_were_not_blind_are_left_out_and_counted():
    text = "model_a,model_b,winner,anony\nx,y,model_a,True\nx,y,model_b,False\n"
    found = read(text.encode())
    assert len(found) == 1
    assert "1 vote left out: not anonymous" in found.notes


def test_texts_are_no_policies():
    rows = [{"prompt": "p", "chosen": "A long answer.\n" * 20, "rejected": "No."}] * 3
    with pytest.raises(EvidenceError, match="hold answers"):
        read(json.dumps(rows).encode())
    text = "Many words of an answer. " * 20
    with pytest.raises(EvidenceError, match="hold texts"):
        read({"a": [text, "x"], "b": ["y", text], "winner": ["a", "b"]})


# Direction.


def test_direction_is_in_the_words_and_never_switched_off_by_another():
    found = scores("model,AMI WER,LS Clean WER\nant,16,11\nbee,10,9\n")
    assert found.lower_is_better == {"AMI WER", "LS Clean WER"}
    assert pr.rank(found, interval="none").policies[0] == "bee"
    text = "model,wer,latency_ms,acc\nant,5,100,.9\nbee,9,90,.8\n"
    assert scores(text).lower_is_better == {"wer", "latency_ms"}
    assert scores(text, lower_is_better=["wer"]).lower_is_better == {"wer", "latency_ms"}
    assert "(lower is better: latency_ms, wer)" in scores(text).notes[0]
    assert scores(text, lower_is_better=["a*"]).lower_is_better == {"wer", "latency_ms", "acc"}
    assert scores(text, higher_is_better=["*ms"]).lower_is_better == {"wer"}
    with pytest.raises(EvidenceError, match=r"'b\*', or fits it"):
        scores(text, lower_is_better=["b*"])


@pytest.mark.parametrize(
    ("name", "lower"),
    [
        *(("Avg. WER", True), ("eval_loss", True), ("word_perplexity,none", True)),
        *(("val/rmse", True), ("Inference time (s)", True), ("cost_usd", True)),
        *(("errorRate", True), ("cumulative regret", True), ("Time", True), ("FID-50k", True)),
        *(("error_reduction", False), ("Time Pilot", False), ("mmlu", False), ("power", False)),
        *(("answers", False), ("f1_error_detection", False), ("win rate", False)),
    ],
)
def test_words_that_say_which_way_is_better(name, lower):
    from policyrank.evidence.directions import usually_lower

    assert usually_lower(name) is lower


# Units.


@pytest.mark.parametrize(
    "text",
    [
        "policy,task,score\nant,t,85%\nbee,t,0.9\ncat,t,0.7\n",
        "policy,task,score\nant,t,85\nbee,t,0.9\ncat,t,70\n",
        "model,mmlu,gsm8k\nant,85,.7\nbee,0.8,.6\ncat,70,.5\n",
        "task,ant,bee,cat\nmmlu,85,.8,70\ngsm8k,.7,.6,.5\n",
        'model,mmlu\nant,"0,85"\nbee,0.9\n',
    ],
)
def test_two_units_in_a_column_are_refused(text):
    with pytest.raises(EvidenceError, match=r"one unit|one way"):
        scores(text)


def test_one_unit_is_told_by_the_column():
    found = scores('model,acc,elo\nant,"85,5%","1.234,5"\nbee,90%,"987,25"\n')
    assert found.table().tolist() == [[85.5, 90.0], [1234.5, 987.25]]
    assert any("percent" in note for note in found.notes)
    grouped = scores('model,return,go\nant,"12,345",1\nbee,"1,234,567",2\n')
    assert grouped.table().tolist() == [[1, 2], [12345, 1234567]]
    assert scores("model,boxing\nant,0.1\nbee,12.1\ncat,71.8\n").table().tolist() == [
        [0.1, 12.1, 71.8]
    ]


def test_one_cell_that_is_no_number():
    text = "model,mmlu,big\nant,.8,OOM\nbee,.7,.5\ncat,.6,.4\n"
    with pytest.raises(EvidenceError, match=r"row 1, column 'big' \('OOM'\)"):
        scores(text)
    assert scores(text, on=["mmlu"]).table().tolist() == [[0.8, 0.7, 0.6]]
    skipped = scores(text, bad="skip")
    assert len(skipped) == 5
    assert any(note.startswith("1 cell left out") for note in skipped.notes)


# Weights.


def test_weights_of_tasks_are_used_or_refused_by_name():
    rows = ["model,task,score,weight"]
    for task, weight in (("t1", 1), ("t2", 1), ("t3", 1), ("t4", 1000)):
        first = int(task != "t4")
        rows += [f"ant,{task},{first},{weight}", f"bee,{task},{1 - first},{weight}"]
    weighed = scores("\n".join(rows))
    board = pr.rank(weighed)
    assert board.policies == ("bee", "ant")
    assert np.isnan(board.lower).all()  # one task in effect shows no variation
    with pytest.raises(EvidenceError, match="weights"):
        pr.rank(weighed, method="mean")
    unlike = scores("model,task,score,weight\nant,t,1,1\nbee,t,0,2\n")
    with pytest.raises(EvidenceError, match="policy to policy"):
        unlike.to_rankings()


# PrefLib.


def ballots(tmp_path, text: str, ending: str) -> Rankings:
    file = tmp_path / f"x{ending}"
    file.write_text(text)
    found = read(file)
    assert isinstance(found, Rankings)
    return found


NAMES = "".join(f"# ALTERNATIVE NAME {i}: {name}\n" for i, name in enumerate("abc", 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "# ALTERNATIVE NAME 1: Same\n# ALTERNATIVE NAME 2: Same\n4: 1,2\n",
            "line 2.*'Same'.*header",
        ),
        (f"# NUMBER VOTERS: 100\n{NAMES}50: 1,2,3\n30: 2,3,1\n", "100 voters, and there are 80"),
        (f"{NAMES}2: 1,2\n1: 2,7\n", "line 5.*7 is not declared"),
        (f"{NAMES}-50: 1,2\n3: 2,1\n", "line 4.*'-50'"),
        (f"{NAMES}2: 1,2,1\n", "line 4.*twice"),
        (f"# NUMBER ALTERNATIVES: 4\n{NAMES}2: 1,2\n", "4 alternatives, and there are 3"),
        (f"{NAMES}2: 1,,2\n", "line 4"),
        ("3\n1,a\n2,b\n3,c\n16,16,2\n9,1,2,3\n", "16 voters, and there are 9|2 different orders"),
    ],
)
def test_ballots_that_contradict_their_header_are_refused(tmp_path, text, message):
    with pytest.raises(EvidenceError, match=message):
        ballots(tmp_path, text, ".soi")


def test_ballots_of_today_and_of_before(tmp_path):
    unranked = ballots(
        tmp_path,
        f"# NUMBER ALTERNATIVES: 4\n{NAMES}# ALTERNATIVE NAME 4: never\n4: 1,2,3\n",
        ".soi",
    )
    assert unranked.policies == ("a", "b", "c", "never")
    assert "on no ballot: never" in unranked.notes
    old = ballots(tmp_path, "3\n1,a\n2,b\n3,c\n16,16,2\n9,1,2,3\n7,{2,1},3\n", ".toc")
    assert old.weight.tolist() == [9, 7]
    assert old.matrix().tolist() == [[1, 2, 3], [1, 1, 2]]
    with pytest.raises(EvidenceError, match="matching"):
        ballots(tmp_path, "3,3\n1,Pair 1\n0,1,1\n", ".wmd")


def test_approvals_are_ballots(tmp_path):
    header = "# NUMBER CATEGORIES: 2\n# CATEGORY NAME 1: yes\n# CATEGORY NAME 2: no\n"
    text = f"# FILE NAME: x.cat\n{header}{NAMES}2: {{1,2}},{{3}}\n1: 3,{{1,2}}\n1: {{}},{{1,2,3}}\n"
    found = ballots(tmp_path, text, ".cat")
    assert found.weight.sum() == 4
    board = pr.rank(found)
    assert board.method == "approval"
    assert dict(zip(board.policies, board.rating, strict=True)) == {"a": 0.5, "b": 0.5, "c": 0.25}


# Where it comes from.


def test_encodings_and_compression_make_no_difference(tmp_path):
    text = "Modell,mmlu,größe\nÄnt,0.8,3\nBee,0.7,4\n".replace("größe", "gsm8k")
    plain = text.replace("Modell", "model")
    right = scores(plain).to_frame().rows()
    zstandard = pytest.importorskip("zstandard")
    data = {
        "bom.csv": b"\xef\xbb\xbf" + plain.encode(),
        "utf16.csv": plain.encode("utf-16"),
        "utf16be.csv": plain.encode("utf-16-be"),
        "latin.csv": plain.encode("latin-1"),
        "x.csv.gz": gzip.compress(plain.encode()),
        "x.csv.zst": zstandard.compress(plain.encode()),
        "crlf.csv": plain.replace("\n", "\r\n").encode(),
    }
    for name, content in data.items():
        (tmp_path / name).write_bytes(content)
        assert read(tmp_path / name).to_frame().rows() == right, name
    (tmp_path / "cut.csv.gz").write_bytes(data["x.csv.gz"][:-9])
    with pytest.raises(EvidenceError, match="damaged or cut off"):
        read(tmp_path / "cut.csv.gz")


def test_pipes_and_standard_input(tmp_path):
    text = b"model,go\nant,1\nbee,2\n"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(text))
    writer.start()
    assert read(pipe).policies == ("ant", "bee")
    writer.join()
    done = subprocess.run(
        [sys.executable, "-m", "policyrank", "read", "/dev/stdin", "--csv"],
        input=text,
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode().splitlines()[1:] == ["ant,go,1.0", "bee,go,2.0"]


def test_several_files_are_one_table(tmp_path):
    for name, value in (("ant", 1), ("bee", 2)):
        (tmp_path / f"{name}.csv").write_text(f"task,score\ngo,{value}\nchess,3\n")
    found = read(str(tmp_path / "*.csv"))
    assert found.policies == ("ant", "bee")
    assert found.table().tolist() == [[3, 3], [1, 2]]
    both = read([tmp_path / "ant.csv", tmp_path / "bee.csv"])
    assert both.table().tolist() == found.table().tolist()
    (tmp_path / "cat.csv").write_text("model,task,score\ncat,go,1\n")
    with pytest.raises(EvidenceError, match="ant, bee name no policy"):
        read(str(tmp_path / "*.csv"))


def test_a_query_is_counted_by_the_database(tmp_path):
    import sqlite3

    file = tmp_path / "results.db"
    with sqlite3.connect(file) as database:
        database.execute(
            "CREATE TABLE votes (model_a TEXT, model_b TEXT, winner TEXT, prompt TEXT)"
        )
        rows = [("x", "y", "model_a", str(i)) for i in range(50)] + [("x", "y", "tie", "p")]
        database.executemany("INSERT INTO votes VALUES (?, ?, ?, ?)", rows)
    frame = Query(f"sqlite:///{file}", "votes").frame(counted=True)
    assert sorted(frame.rows()) == [("x", "y", "model_a", 50), ("x", "y", "tie", 1)]
    assert read(Query(f"sqlite:///{file}", "SELECT * FROM votes")).total == 51
    with pytest.raises(EvidenceError, match="no such table"):
        Query(f"sqlite:///{file}", "nothing_here").frame()
    with pytest.raises(EvidenceError, match="no such file"):
        Query(f"sqlite:///{tmp_path}/nowhere.db", "votes").frame()
    with pytest.raises(EvidenceError) as hidden:
        Query("postgresql://me:secret@127.0.0.1:1/x", "votes").frame()
    assert "secret" not in str(hidden.value)


def test_a_number_too_large_is_refused_not_wrapped():
    with pytest.raises(PolicyrankError):
        read(f"a,b,winner,count\nx,y,a,{2**62}\nx,y,b,{2**62}\n".encode())


def test_markdown_tables_are_read():
    rows = ("|go|1.5 ± .2|[2](x)|", "|chess|3|4|", "| | | |", "|**average**|1|2|")
    text = "Text.\n\n| **Task**|ant|bee|\n|---|---|---|\n" + "\n".join(rows)
    found = scores(text)
    assert found.policies == ("ant", "bee")
    assert found.table().tolist() == [[3, 4], [1.5, 2]]
    assert any("summing up others" in note for note in found.notes)


# What is said of every input.


def test_errors_of_the_evidence_itself_name_the_input(tmp_path):
    file = tmp_path / "one.csv"
    file.write_text("model,task,score\nant,go,1\n")
    with pytest.raises(EvidenceError, match=r"one\.csv: a ranking needs at least two policies"):
        read(file)
    with pytest.raises(EvidenceError, match="the table: a ranking needs"):
        read({"model": ["ant"], "task": ["go"], "score": [1.0]})


@pytest.mark.parametrize(
    "text",
    [
        "model,task,score\nGPT-4o,t,1\ngpt-4o ,t,2\nbee,t,3\n",
        "model_a,model_b,winner\nGPT-4o,bee,model_a\nbee,gpt-4o ,model_a\n",
        "ranking\nGPT-4o > bee\nbee > gpt-4o \n",
    ],
)
def test_two_spellings_of_one_policy_are_noted_once(text):
    notes = read(text.encode()).notes
    assert notes.count("policies that may be one: 'GPT-4o' and 'gpt-4o'") == 1
    assert not any("may be one" in note for note in read(text.encode().lower()).notes)


def test_messages_and_notes_stay_short_lines(tmp_path):
    file = tmp_path / "new\nline.csv"
    file.write_text(f"model,task,score\nant,go,{'x' * 100_000}\nbee,go,1\ncat,go,2\n")
    with pytest.raises(EvidenceError) as error:
        read(file)
    assert str(error.value).startswith("new?line.csv, row 1")
    notes = read(file, bad="skip").notes
    for text in (str(error.value), *notes):
        assert len(text) < 2000
        assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    "records",
    [
        [{"model": {"a": [[1]]}, "task": "t", "score": 1}, {"model": "b", "task": "t", "score": 2}],
        [{"a": [[1]], "b": "y", "winner": "b"}, {"a": "x", "b": "y", "winner": "a"}],
        [{"ballot": 1, "policy": [1], "rank": 1}, {"ballot": 1, "policy": [2], "rank": 2}],
        [{"a": "x", "b": "y", "wins": [1], "losses": [2]}],
    ],
)
def test_lists_where_one_value_a_cell_is_needed(records):
    with pytest.raises(EvidenceError, match="holds lists or objects"):
        read(json.dumps(records).encode())


def test_nested_columns_beside_comparisons_are_no_tasks():
    rows = [{"a": "x", "b": "y", "winner": "a", "question": [{"text": "q"}]}]
    assert read(json.dumps(rows).encode()).task is None


def test_cells_of_a_matrix_of_wins_that_are_no_counts():
    for cell in ("x", "1e300"):
        with pytest.raises(EvidenceError, match=r"counts? of wins"):
            read(f"name,ant,bee,cat\nant,,2,3\nbee,{cell},,2\ncat,1,1,\n".encode())


def test_tables_of_a_program_that_are_none():
    with pytest.raises(EvidenceError, match=r"the table: .*as many as the others"):
        read({"model": ["ant", "bee"], "score": [1.0]})
    with pytest.raises(EvidenceError, match=r"the frame: .*one kind"):
        read(pytest.importorskip("pandas").DataFrame({"model": ["ant", 3], "score": [1, 2]}))
    table = {"model": ["ant", "bee"], "go": [1, 2], "chess": [3, 1], "logs": [{"a": {1}}, 3]}
    assert read(table).task.names == ("chess", "go")


def test_addresses_are_shown_without_their_secrets(command):
    for address in (
        "https://me:hush@127.0.0.1:1/x.csv?token=hush",
        "https://me:hush@x.csv",
        "ftp://me:hush@127.0.0.1/x.csv",
    ):
        code, said = command("rank", address)
        assert code == 1
        assert "hush" not in said.err + said.out
        assert "x.csv" in said.err
