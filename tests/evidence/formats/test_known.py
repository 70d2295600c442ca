"""What is told, and what not: broken files end in one line, never in a traceback."""

import json

import pytest

from policyrank.errors import EvidenceError
from policyrank.evidence.formats.known import FORMATS, recognise
from policyrank.evidence.sources import open_source


def test_every_reader_is_there():
    from importlib import import_module

    for form in FORMATS:
        module, _, function = form.reader.partition(":")
        assert callable(getattr(import_module(f"policyrank.evidence.formats.{module}"), function))
    assert len({form.name for form in FORMATS}) == len(FORMATS)


@pytest.mark.parametrize(
    "text",
    [
        "model,task,score\nant,t,1\n",
        '{"a": 1}',
        "[1, 2]",
        "[]",
        "null",
        '{"results": []}',
        "a,b,outcome\nx,y,1\n",
        '{"policy": "x", "task": "y", "score": 1}\n',
        "# a heading\n",
        "PK\x03\x04",
        "[" * 100_000,
    ],
)
def test_other_files_are_no_known_format(folder, text):
    path = folder.write("x.json", text)
    assert recognise(open_source(path)) is None


HALF_RIGHT = {
    "HELM runs": [{"name": {"name": 3}, "count": 1}],
    "HELM tables": {"header": [1], "rows": []},
    "inspect_ai logs": {"version": 2, "status": "success", "eval": {"model": 3}},
    "MTEB results": {"task_name": "T", "scores": {"test": 3}},
    "AlpacaEval annotations": [{"generator_1": 1, "generator_2": 2, "preference": "x"}],
    "Arena-Hard judgments": [{"uid": 1, "model": "a", "games": 3}],
    "MT-bench pairs": [dict.fromkeys(("model_1", "model_2", "g1_winner", "g2_winner"))],
    "FastChat's conversation logs": {"tstamp": 1, "type": "leftvote", "states": 3},
    "compar:IA votes": [dict.fromkeys(("model_a_name", "model_b_name", "chosen_model_name"))],
    "LMArena ratings": {"full": {"ant": {"rating": "x", "rating_q025": 1}}},
    "WildBench boards": {"ant": {"win_much": "x", "lose_much": 1}, "bee": 3},
    "RewardBench results by item": {"model": 3, "results": [1], "id": 3},
    "RewardBench results": {"model": None, "model_type": 1},
    "EvalPlus results": {"eval": {"H/0": [{"base_status": "pass"}], "H/1": 3}},
    "SWE-bench reports": {"resolved_ids": 3, "schema_version": 2},
    "SWE-bench submissions": {"resolved": [3], "no_logs": 1},
    "openai/evals logs": {"spec": {"completion_fns": [3]}},
    "simple-evals results": {"score": 1, "htmls": 1, "convos": 1},
    "promptfoo results": {"evalId": 1, "results": {"results": [3]}},
    "DeepEval test runs": {"testCases": 3, "testPassed": 1},
    "BigCode harness results": {"config": {"model": "x", "n_samples": "y"}, "t": {}},
    "rliable's data": [{"run_number": "x", "iteration": 1, "eval_average_return": 1}],
    "Dopamine's baselines": [{"Iteration": None, "Value": 1, "Agent": 1}],
}


@pytest.mark.parametrize("name", HALF_RIGHT)
def test_a_format_with_wrong_values_inside_names_the_file(folder, name):
    path = folder.write("broken.json", json.dumps(HALF_RIGHT[name]))
    form = recognise(open_source(path))
    assert form is not None
    assert form.name == name
    with pytest.raises(EvidenceError) as error:
        folder.read("broken.json")
    assert "\n" not in str(error.value)


def test_files_of_several_tools_are_refused(folder):
    folder.write("a.json", {"full": {"ant": {"rating": 1, "rating_q025": 1}}})
    folder.write("b.json", {"resolved_ids": [], "schema_version": 2})
    with pytest.raises(EvidenceError, match="several tools' results lie together"):
        folder.read()


OPEN_V1 = "Model,Average,Parameters,HellaSwag,ARC\nant,60.5,7,70.5,50.5\nbee,50.5,7,60.5,40.5\n"
ASR = "Model,RTFx,Model size (B),Avg. WER,AMI WER\nant,100,1,5.5,16.5\nbee,90,2,6.5,11.5\n"


@pytest.mark.parametrize("text", [OPEN_V1, ASR])
def test_published_boards_with_other_separators(folder, values, text):
    folder.write("board.csv", text)
    folder.write("semicolons.csv", text.replace(",", ";"))
    assert values(folder.read("semicolons.csv")) == values(folder.read("board.csv"))


def test_published_boards_in_json_are_plain_tables(folder):
    header, *rows = (line.split(",") for line in OPEN_V1.splitlines())
    folder.write("board.json", [dict(zip(header, row, strict=True)) for row in rows])
    assert recognise(open_source(folder.root / "board.json")) is None
    assert folder.read("board.json").policies == ("ant", "bee")


def test_rows_and_cells_of_boards_that_are_not_used_are_counted(folder, noted):
    folder.write("asr.csv", ASR + ",1,1,1,1\ncat,80,2,7.5,-1\n")
    with pytest.raises(EvidenceError, match=r"row 3: a row without a model"):
        folder.read("asr.csv")
    found = folder.read("asr.csv", bad="skip")
    assert noted(found, "1 row left out")
    assert noted(found, "1 cell of -1 or no number")


def test_lines_of_games_that_break_off_inside(folder):
    clubs = "Rank,Club,Country,Level,Elo,From,To\n1,Ant,ENG,1,2000.5,2024,2025\n"
    folder.write("clubs.csv", clubs + '2,Bee,ENG,1,1900.5,2024,"20\r25"\n3,Cat,E,1,1,2024,2\r025\n')
    with pytest.raises(EvidenceError, match=r"clubs\.csv, row 4"):
        folder.read("clubs.csv")


def test_samples_and_tasks_without_their_metric_are_counted(folder, noted):
    for name, score in (("ant", None), ("bee", 1.0)):
        rows = [{"doc_id": i, "arguments": [], "acc": s} for i, s in ((0, 1.0), (1, score))]
        folder.lines(f"{name}/samples_go.jsonl", rows)
    with pytest.raises(EvidenceError, match="ant on 1: the metric is no number"):
        folder.read()
    assert noted(folder.read(bad="skip"), "1 sample left out")
    results = {"harness|drop|3": {"acc": 0.5}, "harness|gsm8k|5": {"f1": 0.5}}
    for name in ("ant", "bee"):
        about = {"config_general": {"model_name": name}, "results": results}
        folder.write(f"board/{name}.json", about)
    assert noted(folder.read("board"), "2 results left out, without the board's metric")


@pytest.mark.parametrize("huge", [10**400, -(10**400)])
def test_numbers_beyond_floats_are_not_finite(folder, huge):
    for name in ("ant", "bee"):
        about = {"config_general": {"model_name": name}, "results": {"go|5": {"acc": huge}}}
        folder.write(f"lighteval/{name}.json", about)
        folder.lines(f"lm/{name}/samples_go.jsonl", [{"doc_id": 1, "arguments": [], "acc": huge}])
    for place in ("lighteval", "lm"):
        with pytest.raises(EvidenceError, match="finite"):
            folder.read(place)


def test_counts_of_documents_that_are_no_numbers(folder, values):
    for name in ("ant", "bee"):
        counts = {"go": {"original": 9, "effective": "9"}}
        about = {"results": {"go": {"acc,none": 0.5}}, "model_name": name, "n-samples": counts}
        folder.write(f"{name}.json", about)
    assert values(folder.read()) == {"ant": {"go": 0.5}, "bee": {"go": 0.5}}


def test_a_count_without_an_order(folder):
    for name in ("x.soi", "x.cat"):
        folder.write(name, "# FILE NAME: x\n# NUMBER CATEGORIES: 2\n2: 1,2\n1:\n")
        with pytest.raises(EvidenceError, match="line 4: no order"):
            folder.read(name)
