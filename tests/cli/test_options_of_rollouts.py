"""Trajectories in a terminal and on a page: which ones, and how."""

import json

import pytest

TURNS = [
    {"action": "<search>Ulm</search>", "observation": "Ulm is a town. " * 40, "tokens": 7,
     "read": 9, "cut": 3,
     "calls": [{"name": "search", "arguments": {"query": "Ulm"}, "result": "x"}]},
    {"action": "a\x1b[31mred <b>bold</b>", "troubles": ["no call"], "reward": -0.5},
]  # fmt: skip


def record(step, group, sample, reward, **more):
    return {
        "step": step, "group": group, "sample": sample, "reward": reward, "prompt": "Where is Ulm?",
        "stopped": "done", "answer": None, "turns": TURNS[:1], "parts": {"turns": 1.0}, **more,
    }  # fmt: skip


@pytest.fixture
def log(tmp_path):
    records = [
        record(0, 0, 0, 0.25),
        record(0, 0, 1, 1.0, answer="Germany"),
        record(0, 1, 0, None, stopped="environment hung", why="no answer within 3 s", turns=[]),
        record(1, 0, 0, -0.5, stopped="turn limit", turns=TURNS[1:]),
    ]
    path = tmp_path / "rollouts.jsonl"
    path.write_text("".join(json.dumps(own) + "\n" for own in records) + '{"turns": [{"act')
    return path


def keys(ran, log, *options):
    return [
        f"{own['step']}.{own['group']}.{own['sample']}"
        for own in json.loads(ran("rollouts", "show", log, *options, "--json").out)
    ]


def test_trajectories_are_chosen(ran, command, log):
    assert keys(ran, log) == ["0.0.0", "0.0.1", "0.1.0", "1.0.0"]
    assert keys(ran, log, "--worst", 2) == ["1.0.0", "0.0.0"]
    assert keys(ran, log, "--best", 1) == ["0.0.1"]
    assert keys(ran, log, "--group", "0.0") == ["0.0.0", "0.0.1"]
    assert keys(ran, log, "--group", "0.0.1") == ["0.0.1"]
    assert keys(ran, log, "--step", 1) == ["1.0.0"]
    assert keys(ran, log, "--stopped", "environment hung") == ["0.1.0"]
    assert keys(ran, log, "--trouble", "no call") == ["1.0.0"]
    assert keys(ran, log, "--tool", "search", "--step", 0) == ["0.0.0", "0.0.1"]
    code, said = command("rollouts", "show", log, "--tool", "serach")
    assert code == 1
    assert "tools 'search' (2)" in said.err
    code, said = command("rollouts", "show", log, "--worst", 1, "--best", 1)
    assert (code, "one of them" in said.err) == (2, True)
    assert "half a line" in ran("rollouts", "show", log).err


def test_how_they_are_shown(ran, command, log, tmp_path):
    said = ran("rollouts", "show", log).out
    assert "rollouts.jsonl: 4 of 3 groups, reward .250, 0.8 turns" in said
    assert "stopped: done 2, environment hung 1, turn limit 1" in said
    assert "troubles: no call 1" in said
    assert "calls: search 2" in said
    assert "not rewarded: 1" in said
    assert "tokens of observations cut: 6" in said
    assert "environment hung (no answer within 3 s)" in said
    assert 'search {"query": "Ulm"}' in said
    assert "\x1b" not in said
    assert "answer  Germany" in said
    first = ran("rollouts", "show", log, "--top", 1, "--characters", 50).out
    assert "and 3 more" in first
    assert "characters]" in first
    assert "0.0.1" not in first
    assert len(json.loads(ran("rollouts", "show", log, "--top", 1, "--json").out)) == 4
    page = tmp_path / "page.html"
    ran("rollouts", "show", log, "--html", page, "--title", "What they did")
    text = page.read_text()
    assert "<h1>What they did</h1>" in text
    assert "&lt;b&gt;bold" in text
    assert "<script" not in text
    assert "\x1b" not in text
    assert text.count("<h2>") == 4
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    for path, told in ((empty, "no trajectory"), (tmp_path / "no.jsonl", "no such file")):
        code, said = command("rollouts", "show", path)
        assert (code, told in said.err) == (1, True)
    log.write_text('{"turns": 3}\n')
    code, said = command("rollouts", "show", log)
    assert code == 1
    assert "line 1" in said.err
