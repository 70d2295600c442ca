"""What `score` and `generate` write: read again it is the same prompts, answers and labels."""

import json
import math

import pytest

from policyrank.evidence import read_answers

DIALOGUE = "\n\nHuman: hi\n\nAssistant: yes?\n\nHuman: go\n\nAssistant: "
CHATS = {
    "chosen": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "good"}],
    "rejected": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "no"}],
}
TREE = {"text": "a", "children": [{"text": "bb", "score": 1}, {"text": "c", "score": 0}]}
ROWS = [
    {"prompt": "hi", **CHATS},
    {"system": "be kind", **CHATS},
    {"chosen": DIALOGUE + "okay", "rejected": DIALOGUE + "no"},
    {"chosen": "the sky is blue now", "rejected": "the sky is red"},
    {"prompt": "sum", "tree": TREE},
    {"prompt": "x", "completions": ["aa", "b"], "scores": [1, None], "chosen": None},
]
PROGRAM = """
def length(prompt, answer):
    return len(answer) + len(prompt) / 100

def odd(prompt, answer):
    found = {"a": 1.0, "b": None, "c": "0.5", "d": float("inf"), "e": True}
    return found[answer]

def none(prompt, answer):
    raise RuntimeError("no idea")
"""


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def lines(path):
    def refuse(name):
        raise AssertionError(f"{name} in {path}")

    text = path.read_text(encoding="utf-8")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


@pytest.fixture
def run(ran, tmp_path, monkeypatch):
    """Run a verb beside a file of programs; its output, where it ended as it should."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "by.py").write_text(PROGRAM)

    return ran


def test_scored_rows_are_scored_and_learned_from_again(run, tmp_path):
    given = written(tmp_path / "rows.jsonl", ROWS)
    run("score", given, "--program", "by.py:length", "--out", "one.jsonl")
    run("score", "one.jsonl", "--program", "by.py:length", "--out", "two.jsonl")
    one, two = lines(tmp_path / "one.jsonl"), lines(tmp_path / "two.jsonl")
    assert [row["scores"] for row in one] == [row["scores"] for row in two]
    assert [row["prompt"] for row in one] == [row["prompt"] for row in two]
    assert one[0]["given_prompt"] == "hi"
    assert one[0]["prompt"] == CHATS["chosen"][:1]
    assert one[1]["given_system"] == "be kind"
    assert one[1]["prompt"][0] == {"role": "system", "content": "be kind"}
    assert one[2]["prompt"] == DIALOGUE.rstrip()
    assert one[4]["completions"] == [["a", "bb"], ["a", "c"]]
    before, after = read_answers(ROWS[:5]), read_answers(tmp_path / "two.jsonl")
    for own, other in zip(before, after, strict=False):
        assert (own.prompt, own.completions) == (other.prompt, other.completions)
        assert own.steps == other.steps
    assert len(after) == 6
    assert after[5].completions == ("aa", "b")


def test_generated_rows_may_keep_pairs_and_labels(run, lm, tmp_path):
    rows = [*ROWS[2:4], {"prompt": "x", "completion": "y", "label": True}]
    given = written(tmp_path / "rows.jsonl", rows)
    made = ["--samples", 2, "--tokens", 3, "--out", "made.jsonl", "--plain"]
    run("generate", given, "--model", lm, *made)
    before = lines(tmp_path / "made.jsonl")
    assert all(len(row["completions"]) == 2 for row in before)
    said = run("score", "made.jsonl", "--program", "by.py:length", "--out", "scored.jsonl")
    assert "in the order of the file" not in said.err
    scored = lines(tmp_path / "scored.jsonl")
    assert [row["prompt"] for row in scored] == [row["prompt"] for row in before]
    run("generate", "scored.jsonl", "--model", lm, *made)
    again = lines(tmp_path / "made.jsonl")
    assert [row["completions"] for row in again] == [row["completions"] for row in before]


def test_what_a_program_does_not_score_is_null_and_told(run, tmp_path):
    row = {"prompt": "p", "completions": list("abcdez"), "noise": math.inf}
    given = written(tmp_path / "rows.jsonl", [row])
    said = run("score", given, "--program", "by.py:odd", "--out", "out.jsonl")
    (found,) = lines(tmp_path / "out.jsonl")
    assert found["scores"] == [1.0, None, None, None, 1.0, None]
    assert found["ranks"] == [1, None, None, None, 1, None]
    assert found["noise"] is None
    told = "! 4 answers were not scored by by.py:odd: TypeError: it returned None"
    assert told in said.err
    said = run("score", given, "--program", "by.py:none", code=1)
    assert "no answer was scored by by.py:none: RuntimeError: no idea" in said.err


def test_what_cannot_be_scored_is_told_with_its_place(run, lm, tmp_path):
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}
    rows = [{"prompt": "p", "completions": ["a"]}, {"prompt": "p", "completions": [[call]]}]
    given = written(tmp_path / "rows.jsonl", rows)
    said = run("score", given, "--judge", lm, code=1)
    assert "rows.jsonl, line 2: a message of assistant is no plain text" in said.err


def test_infinite_scores_are_null(monkeypatch, run, tmp_path):
    from policyrank.cli.answer_options import Judging

    def scorer(prompts, answers):
        return [[math.inf, 1.0] for _ in prompts]

    monkeypatch.setattr(Judging, "scorer", lambda *_: scorer)
    given = written(tmp_path / "rows.jsonl", [{"prompt": "p", "completions": ["a", "b"]}])
    said = run("score", given, "--program", "by.py:odd", "--out", "out.jsonl")
    assert "! 1 infinite scores are written as null" in said.err
    (found,) = lines(tmp_path / "out.jsonl")
    assert (found["scores"], found["ranks"]) == ([None, 1.0], [None, 1])


def test_references_are_read_or_refused(tmp_path):
    from policyrank.cli.answer_options import read_references
    from policyrank.errors import EvidenceError

    place = tmp_path / "known.jsonl"
    written(place, [{"prompt": "p", "answer": "a"}, {**CHATS, "answer": "b"}])
    assert read_references(place) == {"p": "a", "hi": "b"}
    written(place, [{"prompt": "p", "answer": 3}])
    with pytest.raises(EvidenceError, match="line 1: the answer is neither a text"):
        read_references(place)


def test_a_file_of_which_nothing_is_scored_is_not_written(monkeypatch, run, tmp_path):
    from policyrank.cli.answer_options import Judging

    monkeypatch.setattr(Judging, "scorer", lambda *_: lambda prompts, answers: [[math.nan]])
    given = written(tmp_path / "rows.jsonl", [{"prompt": "p", "completions": ["a"]}])
    said = run("score", given, "--program", "by.py:odd", "--out", "out.jsonl", code=1)
    assert "rows.jsonl: none of its 1 answers could be scored" in said.err
    assert not (tmp_path / "out.jsonl").exists()
