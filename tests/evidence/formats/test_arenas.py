"""Arenas: logs, battles, votes and ratings."""

import pytest

from policyrank.errors import EvidenceError


def log_line(kind, a, b, shown=("", ""), ip="0.0.0.1"):
    states = [{"model_name": a, "messages": []}, {"model_name": b, "messages": []}]
    return {"tstamp": 1.5, "type": kind, "models": list(shown), "states": states, "ip": ip}


CHAT = {"tstamp": 1.5, "type": "chat", "model": "ant", "state": {}}


def test_logs_give_their_anonymous_votes(folder, duels, noted):
    lines = [
        CHAT,
        log_line("leftvote", "ant", "bee"),
        log_line("bothbad_vote", "cat", "ant", shown=("cat", "ant")),
        log_line("rightvote", "ant", "cat", shown=("Model A", "Model B"), ip="0.0.0.2"),
        log_line("bothbadvote", "bee", "cat", ip="0.0.0.2"),
    ]
    folder.lines("log.json", lines)
    found = folder.read("log.json")
    assert duels(found) == [["ant", "bee", 1], ["ant", "cat", 0], ["bee", "cat", 0.5]]
    assert len(found.rater.names) == 2
    assert noted(found, "1 vote left out: not anonymous")
    assert noted(found, "1 line that are no votes")


def test_logs_without_an_anonymous_vote_are_refused(folder):
    folder.lines("log.json", [log_line("leftvote", "ant", "bee", shown=("ant", "bee"))])
    with pytest.raises(EvidenceError, match="names were known"):
        folder.read("log.json")


def battle(a, b, winner, **more):
    return {"model_a": a, "model_b": b, "winner": winner, **more}


def test_battles_that_are_not_anonymous_are_counted(folder, duels, noted):
    rows = [
        battle("ant", "bee", "model_a", judge="u1", anony=True),
        battle("bee", "cat", "model_b", judge="u2", anony=True),
        battle("cat", "ant", "tie (bothbad)", judge="u1", anony=True),
        battle("ant", "bee", "model_b", judge="u4", anony=False),
    ]
    folder.write("clean_battle.json", rows)
    found = folder.read("clean_battle.json")
    assert duels(found) == [["ant", "bee", 1], ["bee", "cat", 0], ["cat", "ant", 0.5]]
    assert found.rater.names == ("u1", "u2")
    assert noted(found, "1 vote left out: not anonymous")


def test_battles_as_a_table_of_text(folder, duels):
    text = "model_a,model_b,winner,anony\nant,bee,model_a,True\nant,bee,model_b,False\n"
    folder.write("battles.csv", text)
    assert duels(folder.read("battles.csv")) == [["ant", "bee", 1]]


def test_sessions_are_the_raters_of_the_newer_releases(folder, duels):
    rows = [
        battle("ant", "bee", "model_a", evaluation_session_id="s1", conversation_a=[{}]),
        battle("ant", "bee", "both_bad", evaluation_session_id="s1"),
        battle("cat", "ant", "model_b", evaluation_session_id="s3"),
    ]
    folder.lines("x.jsonl", rows)
    found = folder.read("x.jsonl")
    assert duels(found) == [["ant", "bee", 1], ["ant", "bee", 0.5], ["cat", "ant", 0]]
    assert found.rater.values().to_list() == ["s1", "s1", "s3"]


def test_a_winner_of_another_name_is_refused_or_counted(folder, noted):
    rows = [
        battle("ant", "bee", "model_a", anony=True),
        battle("ant", "bee", "x", anony=True),
        battle("ant", "bee", None, anony=True),
    ]
    folder.write("b.json", rows)
    with pytest.raises(EvidenceError, match=r"row 2 .*'x'.*2 such rows"):
        folder.read("b.json")
    assert noted(folder.read("b.json", bad="skip"), "2 rows left out")


def comparia(a, b, chosen, equal, session):
    names = {"model_a_name": a, "model_b_name": b, "chosen_model_name": chosen}
    return {**names, "both_equal": equal, "session_hash": session, "visitor_id": "v"}


def test_comparia_votes(folder, duels, noted):
    rows = [
        comparia("ant", "bee", "bee", False, "h1"),
        comparia("cat", "ant", None, True, "h1"),
        comparia("bee", "cat", "bee", False, "h2"),
        comparia("ant", "cat", None, False, "h3"),
    ]
    folder.lines("votes.jsonl", rows)
    found = folder.read("votes.jsonl")
    assert duels(found) == [["ant", "bee", 0], ["cat", "ant", 0.5], ["bee", "cat", 1]]
    assert found.rater.values().to_list() == ["h1", "h1", "h2"]
    assert noted(found, "1 row left out: no vote")


def test_comparia_votes_in_a_table_of_text(folder, duels):
    header = "model_a_name\tmodel_b_name\tchosen_model_name\tboth_equal\tsession_hash\n"
    folder.write("votes.tsv", header + "ant\tbee\tant\tf\th1\nant\tbee\t\tt\th2\n")
    assert duels(folder.read("votes.tsv")) == [["ant", "bee", 1], ["ant", "bee", 0.5]]


def test_ratings_of_one_category_with_their_intervals(folder, values, noted):
    def entry(rating, low, high):
        return {"rating": rating, "rating_q025": low, "rating_q975": high}

    board = {
        "full": {"ant": entry(1286.4, 1282.7, 1290.1), "bee": entry(1267, 1264, 1270)},
        "coding": {"ant": entry(1250, 1240, 1260), "bee": entry(1275, 1266, 1284)},
    }
    folder.write("leaderboard-text.json", board)
    scores = folder.read("leaderboard-text.json")
    assert values(scores) == {"ant": {"full": 1286.4}, "bee": {"full": 1267}}
    assert scores.interval.tolist() == [[1282.7, 1290.1], [1264, 1270]]
    assert "coding" in noted(scores, "other categories")
    coding = folder.read("leaderboard-text.json", metric="coding")
    assert values(coding) == {"ant": {"coding": 1250}, "bee": {"coding": 1275}}
    with pytest.raises(EvidenceError, match="no category 'chess'"):
        folder.read("leaderboard-text.json", metric="chess")


def test_one_category_in_two_files_is_refused(folder):
    board = {"full": {name: {"rating": 1, "rating_q025": 1} for name in ("ant", "bee")}}
    folder.write("text.json", board)
    folder.write("vision.json", board)
    with pytest.raises(EvidenceError, match="several files hold the category 'full'"):
        folder.read()


def test_broken_lines_are_refused_or_counted(folder, duels, noted):
    path = folder.lines("log.json", [log_line("leftvote", "ant", "bee"), {"type": "leftvote"}])
    path.write_text(path.read_text() + '{"tstamp": 1, "type"')
    with pytest.raises(EvidenceError, match=r"log\.json, line 2"):
        folder.read("log.json")
    found = folder.read("log.json", bad="skip")
    assert duels(found) == [["ant", "bee", 1]]
    assert "log.json, line 2" in noted(found, "2 entries left out")
