"""AlpacaEval and Arena-Hard: pairs against a baseline."""

import json

import pytest

from policyrank.errors import EvidenceError


def annotation(model, instruction, preference, **more):
    return {
        "dataset": "helpful",
        "instruction": instruction,
        "generator_1": "base",
        "generator_2": model,
        "preference": preference,
        **more,
    }


def test_alpaca_preferences_lean_to_the_second(folder, duels, noted):
    ant = [annotation("ant", f"i{i}", p) for i, p in enumerate([1.75, 1.1, 1.5, None])]
    bee = [annotation("bee", f"i{i}", p) for i, p in enumerate([2.0, 1.0, 0.0, 2.0])]
    folder.write("ant/judge/annotations.json", ant)
    folder.write("bee/judge/annotations.json", bee)
    found = folder.read()
    assert duels(found) == [
        ["ant", "base", 0.75],
        ["ant", "base", 0.1],
        ["ant", "base", 0.5],
        ["bee", "base", 1],
        ["bee", "base", 0],
        ["bee", "base", 0.5],
        ["bee", "base", 1],
    ]
    assert found.task.names == ("helpful:0", "helpful:1", "helpful:2", "helpful:3")
    assert found.rater is None
    assert noted(found, "1 annotation left out")


def test_alpaca_annotations_of_two_judges_in_one_file(folder, duels):
    rows = [annotation("ant", "i0", 2, annotator=judge) for judge in ("j1", "j2")]
    folder.write("annotations.json", rows)
    found = folder.read("annotations.json")
    assert duels(found) == [["ant", "base", 1], ["ant", "base", 1]]
    assert found.rater.names == ("j1", "j2")
    assert len(found.task.names) == 1


def test_impossible_preferences_are_refused_or_counted(folder, duels, noted):
    rows = [annotation("ant", "i0", 3), annotation("ant", "i1", 2), annotation("base", "i1", 2)]
    folder.write("annotations.json", rows)
    with pytest.raises(EvidenceError, match="entry 1: no usable outcome"):
        folder.read("annotations.json")
    found = folder.read("annotations.json", bad="skip")
    assert duels(found) == [["ant", "base", 1]]
    assert noted(found, "base against itself")


def judgment(model, uid, *labels, **more):
    games = [None if label is None else {"score": label, "judgment": {}} for label in labels]
    about = {"uid": uid, "category": "hard", "judge": "judge-1", "baseline": "base"}
    return {**about, "model": model, "games": games, **more}


def test_both_orders_of_a_prompt_are_one_result(folder, duels, noted):
    ant = [
        judgment("ant", "u1", "B>>A", "A>B"),
        judgment("ant", "u2", "A>B", "B>A"),
        judgment("ant", "u3", "A=B", "B=A"),
        judgment("ant", "u4", None, "A>>B"),
        judgment("ant", "u5", "B>A", "B<A", category="writing", baseline="base2"),
    ]
    folder.lines("judge-1/ant.jsonl", ant)
    folder.lines("judge-1/bee.jsonl", [judgment("bee", "u2", "A<<B", "B>A")])
    found = folder.read()
    assert duels(found) == [
        ["ant", "base", 1],
        ["ant", "base", 0],
        ["ant", "base", 0.5],
        ["ant", "base2", 1],
        ["bee", "base", 0.5],
    ]
    assert found.task.names == ("hard:u1", "hard:u2", "hard:u3", "writing:u5")
    assert noted(found, "1 prompt left out")


def test_judgments_of_the_first_version_name_no_baseline(folder, duels):
    old = {"question_id": "x1", "model": "ant", "judge": "judge-1"}
    games = [{"judgment": "[[B>A]]", "score": "B>A"}, {"judgment": "[[A>>B]]", "score": "A>>B"}]
    half = [games[0], {"judgment": "?", "score": None}]
    folder.lines("ant.jsonl", [{**old, "games": games}, {**old, "games": half}])
    assert duels(folder.read("ant.jsonl")) == [["ant", "gpt-4-0314", 1]]
    with pytest.raises(EvidenceError, match="name no baseline"):
        folder.read("ant.jsonl", strict=True)


def test_an_unknown_verdict_is_refused(folder):
    folder.lines("ant.jsonl", [judgment("ant", "u1", "A>B", "C>A")])
    with pytest.raises(EvidenceError, match="line 1: no usable outcome"):
        folder.read("ant.jsonl")


def test_repeated_lines_of_a_prompt_are_one_result(folder, duels, noted):
    def line(question, winner):
        battle = {"question_id": question, "model_a": "base", "model_b": "ant"}
        return {**battle, "winner": winner}

    lines = [line(0, "model_b")] * 4 + [line(1, "model_a"), line(1, "tie")]
    lines += [line(2, "model_a")] * 3 + [line(2, "model_b")]
    folder.lines("battles.jsonl", lines)
    found = folder.read("battles.jsonl")
    assert duels(found) == [["base", "ant", 0], ["base", "ant", 0.75], ["base", "ant", 0.5]]
    assert noted(found, "10 lines are 3 prompts")


def test_separators_inside_texts_end_no_line(folder, duels):
    one = judgment("ant", "u1", "B>A", "A>B", note="a\u2028b\x85c")
    folder.write("ant.jsonl", json.dumps(one, ensure_ascii=False) + "\r\n\n")
    assert duels(folder.read("ant.jsonl")) == [["ant", "base", 1]]
