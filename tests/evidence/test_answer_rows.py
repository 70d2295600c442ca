"""Rows of answers in the shapes that people have; what is no text is refused, never reworded."""

import polars as pl
import pytest

from policyrank.errors import EvidenceError
from policyrank.evidence import read_answers
from policyrank.evidence.answers import read_rows, text_of, win_shares


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


CHATS = {
    "chosen": [user("hi there"), assistant("good")],
    "rejected": [user("hi there"), assistant("bad")],
}
TOOL = {"role": "tool", "content": "42"}
CALLS = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}
PARTS = {"role": "assistant", "content": [{"type": "text", "text": "go"}, {"text": "od"}]}
DIALOGUE = "\n\nHuman: hi\n\nAssistant: yes?\n\nHuman: go\n\nAssistant: "


@pytest.mark.parametrize("prompt", [None, "hi there", [user("hi there")]])
def test_whole_chats_do_not_repeat_the_prompt(prompt):
    (found,) = read_answers([{"prompt": prompt, **CHATS}])
    assert list(found.prompt) == [user("hi there")]
    assert found.completions == ("good", "bad")


def test_whole_chats_of_another_prompt_are_refused():
    with pytest.raises(EvidenceError, match="row 1: chosen and rejected are whole chats, but"):
        read_answers([{"prompt": "something else", **CHATS}])


def test_dialogues_are_read_as_messages():
    (found,) = read_answers([{"chosen": DIALOGUE + "ok", "rejected": DIALOGUE + "no way"}])
    assert list(found.prompt) == [user("hi"), assistant("yes?"), user("go")]
    assert found.completions == ("ok", "no way")
    assert found.prompt.transcript == DIALOGUE.rstrip()
    (given,) = read_answers([{"prompt": DIALOGUE, "chosen": "ok", "rejected": "no"}])
    assert given.prompt == found.prompt


def test_texts_without_a_prompt_share_it():
    (found,) = read_answers([{"chosen": "The sky is blue.", "rejected": "The sky is green."}])
    assert (found.prompt, found.completions) == ("The sky is", (" blue.", " green."))
    with pytest.raises(EvidenceError, match="share no beginning"):
        read_answers([{"chosen": "x", "rejected": "y"}])


def test_more_than_a_text_stays_messages():
    for answer in ([assistant("let me look"), TOOL, assistant("it is 42")], [CALLS]):
        (found,) = read_answers([{"prompt": [user("hi")], "chosen": answer, "rejected": "no"}])
        assert [m["role"] for m in found.completions[0]] == [m["role"] for m in answer]
        assert "None" not in str(found.completions[0][0].get("content", ""))
    with pytest.raises(EvidenceError, match="no plain text"):
        text_of([CALLS])
    (found,) = read_answers([{"prompt": [user("hi")], "chosen": [PARTS], "rejected": "no"}])
    assert found.completions == ("good", "no")


def test_prompts_bring_their_system_tools_and_options():
    tool = {"type": "function", "function": {"name": "f"}}
    row = {
        "prompt": "hi",
        "system": "Be kind.",
        "tools": '[{"type": "function", "function": {"name": "f"}}]',
        "chat_template_kwargs": {"enable_thinking": False},
        "chosen": "a",
        "rejected": "b",
    }
    (found,) = read_answers([row])
    assert list(found.prompt) == [{"role": "system", "content": "Be kind."}, user("hi")]
    assert found.prompt.tools == (tool,)
    assert found.prompt.options == {"enable_thinking": False}


def test_sharegpt_and_keys_that_tables_fill_in():
    prompt = [{"from": "human", "value": "hi", "tool_calls": None}]
    (found,) = read_answers([{"prompt": prompt, "chosen": "a", "rejected": "b"}])
    assert list(found.prompt) == [user("hi")]


def test_unpaired_answers():
    rows = [
        {"prompt": "p", "completion": "a", "label": True},
        {"prompt": "p", "completion": [assistant("b")], "label": "False"},
    ]
    found = read_answers(rows)
    assert found.unpaired
    assert [one.labels for one in found] == [(1.0,), (0.0,)]
    with pytest.raises(EvidenceError, match=r"row 3: unpaired answers .* among lists"):
        read_answers([*rows, {"prompt": "p", "chosen": "a", "rejected": "b"}])
    with pytest.raises(EvidenceError, match=r"label is 0\.5"):
        read_answers([{"prompt": "p", "completion": "a", "label": 0.5}])


def test_margins_are_the_gap_of_the_labels():
    (found,) = read_answers([{"prompt": "p", "chosen": "a", "rejected": "b", "margin": 2.5}])
    assert found.labels == (2.5, 0.0)
    with pytest.raises(EvidenceError, match="margin is -1"):
        read_answers([{"prompt": "p", "chosen": "a", "rejected": "b", "margin": -1}])


def test_ranks_become_shares_of_the_others():
    (found,) = read_answers([{"prompt": "p", "completions": list("abcd"), "ranks": [1, 2, 2, 4]}])
    assert found.labels == (1.0, 0.5, 0.5, 0.0)
    assert win_shares([3.0]) == (0.5,)
    assert win_shares([-1, -2, -2, -4]) == win_shares([9, 0.5, 0.5, -7])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "p", "completions": "ab", "scores": [1, 2]}, "completions is no list"),
        ({"prompt": "p", "completions": ["a", "b"], "scores": ["1", "2"]}, "has the score '1'"),
        ({"prompt": "p", "completions": ["a\ud800", "b"], "scores": [1, 2]}, "lone surrogate"),
        (
            {"prompt": [{"role": "user", "content": [{"type": "image"}]}], **CHATS},
            "holds a part that is no text .image.",
        ),
        ({"prompt": [{"content": "x"}], "chosen": "a", "rejected": "b"}, "has no role"),
        ({"prompt": 3, "chosen": "a", "rejected": "b"}, "neither a text nor a list of messages"),
        (
            {"prompt": [{"role": "user", "content": None}], "chosen": "a", "rejected": "b"},
            "neither content nor tool calls",
        ),
        ({"prompt": "p", "tools": "{", "chosen": "a", "rejected": "b"}, "tools are not JSON"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_row(row, message):
    with pytest.raises(EvidenceError, match=f"row 1:.*{message}"):
        read_answers([row])


def test_frames_and_sets(tmp_path):
    rows = {"prompt": ["p", "q"], "chosen": ["a", "b"], "rejected": ["c", "d"]}
    frame = pl.DataFrame(rows)
    assert len(read_answers(frame)) == 2
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(rows | {"margin": [None, 2.0]})
    assert [one.labels for one in read_answers(table)] == [(1.0, 0.0), (2.0, 0.0)]
    with pytest.raises(EvidenceError, match="several sets"):
        list(read_rows({"train": frame}))
    with pytest.raises(EvidenceError, match="no rows: int"):
        list(read_rows(3))


def test_empty_answers_are_left_out_and_counted():
    rows = [{"prompt": "p", "completions": ["a", " ", "b"], "scores": [1, 5, 0]}]
    found = read_answers(rows)
    assert found[0].completions == ("a", "b")
    assert found.notes == ("left out: 1 empty completions",)
