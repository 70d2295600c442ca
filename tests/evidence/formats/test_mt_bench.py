"""MT-bench: ratings and pairs."""

import pytest

from policyrank.errors import EvidenceError


def rating(model, question, turn, score, judge="judge-1"):
    about = {"question_id": question, "model": model, "judge": [judge, "single-v1"]}
    return {**about, "score": score, "turn": turn, "tstamp": 1.5}


def test_turns_are_tasks_and_minus_one_is_no_rating(folder, values, noted):
    lines = [
        rating("ant", 81, 1, 8),
        rating("ant", 81, 2, 7),
        rating("ant", 82, 1, -1),
        rating("bee", 81, 1, 10),
        rating("bee", 81, 2, 6.5),
        rating("bee", 82, 1, 4),
    ]
    folder.lines("judge-1_single.jsonl", lines)
    scores = folder.read("judge-1_single.jsonl")
    assert values(scores) == {
        "ant": {"81:1": 8, "81:2": 7},
        "bee": {"81:1": 10, "81:2": 6.5, "82:1": 4},
    }
    assert scores.replicate is None
    assert "ant on 82:1" in noted(scores, "no rating")


def test_answers_rated_by_two_judges_are_averaged(folder, values, noted):
    for judge, score in (("j1", 4), ("j2", 8)):
        lines = [rating(model, 81, 1, score, judge) for model in ("ant", "bee")]
        folder.lines(f"{judge}_single.jsonl", lines)
    scores = folder.read()
    assert values(scores)["ant"] == {"81:1": 6}
    assert noted(scores, "several ratings of an answer (by j1, j2), averaged")


def pair(a, b, question, first, second, turn=1):
    about = {"question_id": question, "model_1": a, "model_2": b, "turn": turn}
    return {**about, "judge": ["j", "p"], "g1_winner": first, "g2_winner": second}


def test_games_that_differ_are_a_tie_and_errors_are_left_out(folder, duels, noted):
    lines = [
        pair("ant", "bee", 81, "model_1", "model_1"),
        pair("ant", "bee", 82, "model_1", "model_2"),
        pair("ant", "bee", 83, "tie", "model_2"),
        pair("ant", "bee", 84, "error", "model_2"),
        pair("ant", "cat", 81, "model_2", "model_2"),
        pair("bee", "cat", 81, "tie", "tie", turn=2),
    ]
    folder.lines("judge-1_pair.jsonl", lines)
    found = folder.read("judge-1_pair.jsonl")
    assert duels(found) == [
        ["ant", "bee", 1],
        ["ant", "bee", 0.5],
        ["ant", "bee", 0.5],
        ["ant", "cat", 0],
        ["bee", "cat", 0.5],
    ]
    assert "81:2" in found.task.names
    assert noted(found, "1 pair left out")
    assert noted(found, "2 pairs whose two games differ")


def test_a_line_of_another_shape_names_its_place(folder):
    folder.lines("x.jsonl", [rating("ant", 81, 1, 8), {**rating("bee", 81, 1, 8), "model": 3}])
    with pytest.raises(EvidenceError, match=r"x\.jsonl, line 2"):
        folder.read("x.jsonl")
