"""Rows of answers in the shapes that people have; what is no text is refused, never reworded."""

from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from policyrank.errors import EvidenceError
from policyrank.evidence import read_answers
from policyrank.evidence.answer_prompts import with_prompt
from policyrank.evidence.answer_rows import read_asked, read_candidates, read_row
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
    both = {"chosen": DIALOGUE + "ok", "rejected": DIALOGUE + "no way"}
    assert read_answers([{"prompt": "go", **both}])[0].prompt == found.prompt
    with pytest.raises(EvidenceError, match=r"do not begin with the prompt .'something'."):
        read_answers([{"prompt": "something", **both}])
    (given,) = read_answers([{"prompt": DIALOGUE, "chosen": "ok", "rejected": "no"}])
    assert given.prompt == found.prompt


def test_texts_without_a_prompt_share_it():
    (found,) = read_answers([{"chosen": "The sky is blue.", "rejected": "The sky is green."}])
    assert (found.prompt, found.completions) == ("The sky is", (" blue.", " green."))
    (found,) = read_answers([{"chosen": "Q: sky?\nblue", "rejected": "Q: sky?\nbrown"}])
    assert (found.prompt, found.completions) == ("Q: sky?", ("\nblue", "\nbrown"))
    (found,) = read_answers([{"chosen": "a b", "rejected": "a b c", "system": "s"}])
    assert list(found.prompt) == [{"role": "system", "content": "s"}, user("a")]
    for pair in (("x", "y"), (" x", " y")):
        with pytest.raises(EvidenceError, match="share no beginning"):
            read_answers([{"chosen": pair[0], "rejected": pair[1]}])


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
        ({"prompt": "p", "tools": 3, "chosen": "a", "rejected": "b"}, "tools is no list"),
        ({"prompt": "p", "tools": ["\ud800"], "chosen": "a", "rejected": "b"}, "lone surrogate"),
        ({"prompt": "p", "system": ["s"], "chosen": "a", "rejected": "b"}, "system is no text"),
        ({"prompt": "p", "system": "\udfff", "chosen": "a", "rejected": "b"}, "lone surrogate"),
        (
            {
                "prompt": [{"role": "system", "content": "s"}, user("p")],
                "system_prompt": "t",
                "chosen": "a",
                "rejected": "b",
            },
            "Remove the column system_prompt, or that turn",
        ),
        (
            {"prompt": "p", "chat_template_kwargs": ["a"], "chosen": "a", "rejected": "b"},
            "chat_template_kwargs is no object",
        ),
        ({"prompt": "p", "chosen": None, "rejected": "b"}, "chosen is null. Fill it in, or remove"),
        ({"prompt": "p", "completions": ["a", "b"], "scores": [1, 1e39]}, "has the score 1e.39"),
        (
            {"prompt": "p", "completions": ["a", "b"], "scores": [None, float("inf")]},
            "completion 2 has the score inf",
        ),
        (
            {"prompt": "p", "completions": [CHATS["chosen"], "x"], "scores": [1, 0]},
            "completions are whole chats, but do not begin with the prompt",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_row(row, message):
    with pytest.raises(EvidenceError, match=f"row 1:.*{message}"):
        read_answers([row])


@pytest.mark.parametrize("calls", [3, "f", {"function": {"name": "f"}}])
def test_calls_that_are_no_list_are_refused(calls):
    answer = [{"role": "assistant", "content": "x", "tool_calls": calls}]
    with pytest.raises(EvidenceError, match="row 1: message 1 of chosen: tool_calls is no list"):
        read_answers([{"prompt": [user("hi")], "chosen": answer, "rejected": "no"}])


def test_keys_without_a_value_leave_calls_and_tools():
    def calling(arguments):
        call = {"function": {"name": "f", "arguments": arguments}, "id": None}
        return [{"role": "assistant", "tool_calls": [call]}]

    tool = {"name": "f", "parameters": {"x": {"type": "string", "enum": None}, "y": None}}
    row = {
        "prompt": [user("hi")],
        "tools": [tool],
        "chat_template_kwargs": {"thinking": None},
        "completions": [calling({"x": {"a": 1, "b": None}, "y": None}), calling('{"x": null}')],
        "scores": [1, 0],
    }
    (found,) = read_answers([row])
    assert found.prompt.tools == ({"name": "f", "parameters": {"x": {"type": "string"}}},)
    assert found.prompt.options == {}
    arguments = [
        answer[0]["tool_calls"][0]["function"]["arguments"] for answer in found.completions
    ]
    assert arguments == [{"x": {"a": 1}}, {"x": None}]


def test_options_of_the_template_may_be_json():
    row = {"prompt": "p", "chat_template_kwargs": '{"t": false}', "chosen": "a", "rejected": "b"}
    (found,) = read_answers([row])
    assert found.prompt.options == {"t": False}


def test_completions_without_a_score_are_left_out_and_counted():
    rows = [
        {"prompt": "p", "completions": ["a", "b", "c"], "scores": [None, 0.3, 1]},
        {"prompt": "q", "completions": ["a", "b", "c"], "ranks": [2, None, 1]},
        {"prompt": "r", "completions": ["a", "b"], "scores": [None, None]},
    ]
    found = read_answers(rows)
    assert [one.completions for one in found] == [("b", "c"), ("a", "c")]
    assert found[1].labels == (0.0, 1.0)
    assert "left out: 4 completions without a score" in found.notes
    assert "left out: 1 lists without any completion" in found.notes
    kept = read_candidates("row 1", rows[0])
    assert kept.completions == ("a", "b", "c")
    assert np.isnan(kept.labels[0])


def test_labels_that_a_trainer_cannot_tell_apart_are_equally_good():
    scores = [1700000001.0, 1700000000.0]
    rows = [{"prompt": "p", "completions": ["a", "b"], "scores": scores}, PAIR]
    assert read_answers(rows).notes == ("left out: 1 lists whose completions are all equally good",)


PAIR = {"prompt": "p", "chosen": "a", "rejected": "b"}
SYSTEM = {"role": "system", "content": "s"}


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"prompt": "hi there"}, [user("hi there")]),
        ({"prompt": [user("hi there")]}, [user("hi there")]),
        ({}, [user("hi there")]),
        ({"system": "s"}, [SYSTEM, user("hi there")]),
        ({"prompt": "hi there", "system": "s"}, [SYSTEM, user("hi there")]),
    ],
)
def test_completions_that_are_whole_chats_do_not_repeat_the_prompt(row, prompt):
    chats = [*CHATS.values(), [user("hi there"), CALLS, TOOL, assistant("42")]]
    found = read_row("row 1", {**row, "completions": chats, "scores": [1, 0, 2]})
    assert list(found.prompt) == prompt
    assert found.completions[:2] == ("good", "bad")
    assert [message["role"] for message in found.completions[2]] == [
        "assistant",
        "tool",
        "assistant",
    ]
    if "prompt" in row:
        single = read_row("row 1", {**row, "completion": chats[0], "label": True})
        assert (list(single.prompt), single.completions) == (prompt, ("good",))


ROWS = [
    {"prompt": "hi there", **CHATS},
    {"prompt": "hi there", "system": "s", "tools": [{"name": "f"}], **CHATS},
    CHATS,
    {"chosen": "The sky is blue.", "rejected": "The sky is green."},
    {"chosen": "The sky is blue.", "rejected": "The sky is green.", "system_prompt": "s"},
    {"chosen": DIALOGUE + "ok", "rejected": DIALOGUE + "no way"},
    {"chosen": DIALOGUE + "ok", "rejected": DIALOGUE + "no way", "system": "s"},
    {"question": "p", "system": "s", "chosen": "a", "rejected": "b"},
]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_with_its_prompt_written_is_read_the_same(row):
    found = read_row("row 1", row)
    assert read_asked("row 1", row) == found.prompt
    written = with_prompt("row 1", row, found.prompt)
    written |= {"completions": list(found.completions)}
    assert read_candidates("row 1", written).prompt == found.prompt
    assert read_asked("row 1", written) == found.prompt
    again = read_row("row 1", written | {"scores": list(found.labels)})
    assert (again.prompt, again.completions) == (found.prompt, found.completions)
    assert with_prompt("row 1", written, found.prompt) == written
    if row.get("prompt") and written["prompt"] != row["prompt"]:
        assert written["given_prompt"] == row["prompt"]


def test_arrays_and_scalars_of_others_are_read():
    torch = pytest.importorskip("torch")
    completions = np.array(["a", "b"], dtype=object)
    rows = [
        {"prompt": "p", "completions": completions, "scores": np.array([1, 0])},
        {"prompt": "p", "completions": ["a", "b"], "scores": [np.int64(1), np.float32(0)]},
        {"prompt": "p", "completions": ["a", "b"], "ranks": torch.tensor([1, 2])},
        {"prompt": "p", "completions": ["a", "b"], "scores": [torch.tensor(1.0), Decimal(0)]},
        {"prompt": "p", "chosen": "a", "rejected": "b", "margin": np.float32(1)},
        {"prompt": "p", "completions": ["a", "b"], "scores": np.longdouble([1, 0])},
    ]
    assert [one.labels for one in read_answers(rows)] == [(1.0, 0.0)] * 6
    labels = [np.bool_(True), np.int64(0), torch.tensor(True)]
    found = read_answers([{"prompt": "p", "completion": "a", "label": k} for k in labels])
    assert [one.labels for one in found] == [(1.0,), (0.0,), (1.0,)]


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


def test_columns_that_are_not_used_are_named():
    pair = {"prompt": "p", "chosen": "a", "rejected": "b", "margin": 2}
    assert read_answers([pair | {"question": None}]).notes == ()
    found = read_answers([pair | {"score_chosen": 7.0, "id": 3, "question": "q"}])
    assert found.notes == ("columns that say nothing here: score_chosen, id, question",)
    both = {"prompt": "p", "completions": ["a", "b"], "scores": [1, 0], "ranks": [1, 2]}
    assert read_answers([both]).notes == ("columns that say nothing here: ranks",)
