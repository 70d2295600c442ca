"""WildBench: scores, pairs, boards."""

import pytest

from policyrank.errors import EvidenceError


def answer(session, model, score):
    return {"session_id": session, "model_test": model, "score": score, "model_output": ""}


def test_scores_are_written_as_text(folder, values, noted):
    folder.write("ant.json", [answer("w1", "org/ant", "7"), answer("w2", "org/ant", "1")])
    folder.write("bee.json", [answer("w1", "org/bee", "8"), answer("w2", "org/bee", "N/A")])
    with pytest.raises(EvidenceError, match="no number"):
        folder.read()
    scores = folder.read(bad="skip")
    assert values(scores) == {"org/ant": {"w1": 7, "w2": 1}, "org/bee": {"w1": 8}}
    assert noted(scores, "1 answer left out")


def test_pairs_name_the_winner(folder, duels, noted):
    def pair(session, a, b, winner):
        about = {"session_id": session, "model_A": a, "model_B": b}
        return {**about, "winner": winner, "extent": 2}

    rows = [
        pair("w1", "ant", "base", "ant"),
        pair("w2", "base", "ant", "ant"),
        pair("w3", "ant", "base", "tie"),
        pair("w4", "base", "ant", "base"),
    ]
    folder.write("ant.json", rows)
    found = folder.read("ant.json")
    assert duels(found) == [
        ["ant", "base", 1],
        ["base", "ant", 0],
        ["ant", "base", 0.5],
        ["base", "ant", 1],
    ]
    assert noted(found, "extent")


def test_boards(folder, values):
    counts = {"win_much": 1, "win": 1, "tie": 1, "lose": 1, "lose_much": 0, "total": 4}
    folder.write("pairwise.json", {"ant": counts, "bee": {**counts, "lose_much": 1}})
    assert values(folder.read("pairwise.json")) == {
        "ant": {"pairwise": 0.25},
        "bee": {"pairwise": 0},
    }
    board = {"score": 5.5, "adjusted_score": 1, "task_macro_score": 2, "total": 3}
    folder.write("score.json", {"ant": board, "bee": {**board, "score": 7}})
    assert values(folder.read("score.json"))["bee"] == {"score": 7}
    assert values(folder.read("score.json", metric="adjusted_score"))["bee"] == {"score": 1}
    with pytest.raises(EvidenceError, match="has no taste"):
        folder.read("score.json", metric="taste")


def test_halves_of_surrogate_pairs_do_no_harm(folder, values):
    rows = [answer("w\ud83d", name, "7") for name in ("ant", "bee")]
    folder.write("ant.json", rows)
    assert values(folder.read("ant.json"))["ant"] == {"w?": 7}


def test_ratings_of_several_judges_are_averaged_and_named(folder, values, noted):
    for judge, score in (("eval=j1", "4"), ("eval=j2", "8")):
        for name in ("ant", "bee"):
            folder.write(f"{judge}/{name}.json", [answer("w1", name, score)])
    scores = folder.read()
    assert values(scores)["ant"] == {"w1": 6}
    assert "eval=j2" in noted(scores, "several ratings of an answer")
