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
