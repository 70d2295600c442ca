"""Worlds of text: calls in every style, what does not fit a tool, and gymnasium in words."""

import time
from typing import Annotated

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from policyrank.errors import EvidenceError, OptionError
from policyrank.worlds.agents import (
    CALL_STYLES,
    TROUBLES,
    Tool,
    ToolCall,
    ToolEnvironment,
    as_step,
    named_call_style,
    tool_of,
)
from policyrank.worlds.agents.guarded import answered_calls
from policyrank.worlds.agents.tool_calls import style_in


def find(query: Annotated[str, msgspec.Meta(description="what for")], k: int = 3) -> list[str]:
    """Find passages.

    And more that is not told.
    """
    return [f"{query} {n}" for n in range(k)]


def broken(x: int) -> int:
    raise RuntimeError(f"no {x}\nand a second line")


def late(x: int) -> int:
    raise TimeoutError("60 s")


CALLS = [
    ("json", '<tool_call>\n{"name": "find", "arguments": {"query": "Ulm", "k": 2}}\n</tool_call>'),
    ("json", '<tool_call>{"function": {"name": "find",'
     ' "arguments": "{\\"query\\": \\"Ulm\\", \\"k\\": 2}"}}'),
    ("xml", "<tool_call>\n<function=find>\n<parameter=query>\nUlm\n</parameter>\n<parameter=k>\n2\n"
     "</parameter>\n</function>\n</tool_call>"),
    ("xml", "<tool_call>find\n<arg_key>query</arg_key>\n<arg_value>Ulm</arg_value>\n"
     "<arg_key>k</arg_key>\n<arg_value>2</arg_value>\n</tool_call>"),
    ("marked", '[TOOL_CALLS] [{"name": "find", "arguments": {"query": "Ulm", "k": 2}}]'),
    ("marked", '[TOOL_CALLS]find[ARGS]{"query": "Ulm", "k": 2}'),
    ("bare", '<|python_tag|>{"name": "find", "parameters": {"query": "Ulm", "k": 2}}'),
    ("python", "[find(query='Ulm', k=2)]"),
    ("python", "I call:\n```tool_code\nprint(find(query='Ulm', k=2))\n```"),
    ("python", "Now <|tool_call_start|>[find(query='Ulm', k=2)]<|tool_call_end|>"),
]  # fmt: skip


@pytest.mark.parametrize(("style", "text"), CALLS)
def test_a_call_is_read_in_its_style(style, text):
    (call,) = CALL_STYLES[style]("<think>maybe [f(x=1)]</think>" + text, ["find"])
    assert call.error == ""
    assert call.name == "find"
    assert tool_of(find).arguments(call) == {"query": "Ulm", "k": 2}
    assert style_in(text, ToolCall("find", {"query": "Ulm", "k": 2})) is not None
    world = ToolEnvironment([find], style=style)
    step = world.step(text)
    assert step.info["calls"][0]["result"] == '["Ulm 0", "Ulm 1"]'
    assert step.observation == ({"role": "tool", "name": "find", "content": '["Ulm 0", "Ulm 1"]'},)
    assert not step.info["troubles"]


def test_several_calls_and_thoughts():
    text = CALLS[0][1]
    assert len(CALL_STYLES["json"](text + "\n" + text, [])) == 2
    assert CALL_STYLES["json"](f"<think>{text}", []) == []
    assert CALL_STYLES["json"](f"I thought {text}</think> Ulm", []) == []
    tags = "<find>a</find> then <find> b </find><other>c</other>"
    assert [own.arguments[""] for own in CALL_STYLES["tags"](tags, ["find"])] == ["a", "b"]
    world = ToolEnvironment([find], style="json", most_calls=1)
    step = world.step(text + text)
    assert step.info["troubles"] == ("malformed call",)
    assert "only 1 calls" in step.observation[1]["content"]


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("json", '<tool_call>{"name": "find", "arguments": {"query": </tool_call>'),
        ("json", '<tool_call>["find"]</tool_call>'),
        ("json", '<tool_call>{"arguments": {}}</tool_call>'),
        ("json", '<tool_call>{"name": "find", "arguments": [1]}</tool_call>'),
        ("json", "<tool_call>" + "[" * 100_000 + "</tool_call>"),
        ("xml", "<tool_call>find it</tool_call>"),
        ("xml", "<tool_call><function=find><parameter=query>Ulm</function></tool_call>"),
        ("xml", "<function=find><parameter=k>1</parameter><parameter=k>2</parameter></function>"),
        ("marked", "[TOOL_CALLS] find it"),
        ("bare", '{"name": "find", "parameters": {'),
        ("python", "find('Ulm')"),
        ("python", "find(query=open('x'))"),
        ("python", "[find(query='Ulm'"),
        ("python", "[find(query='a'), 3]"),
        ("tags", "<find>Ulm"),
    ],
)
def test_what_cannot_be_read_is_a_malformed_call(style, text):
    step = ToolEnvironment([find], style=style).step(text)
    assert "malformed call" in step.info["troubles"]
    assert "cannot be read" in step.observation[-1]["content"]
    assert not step.done


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80), st.sampled_from(list(CALL_STYLES)), st.sampled_from(CALLS))
def test_no_text_raises(text, style, call):
    """Whatever a model writes, whole calls among it, in pieces too."""
    for mixed in (text, text + call[1], call[1][: len(text)] + text):
        for found in CALL_STYLES[style](mixed, ["find"]):
            assert isinstance(found, ToolCall)
        ToolEnvironment([find], style=style).step(mixed)


def test_troubles_are_told_and_the_agent_goes_on():
    def call(name, arguments):
        return f'<tool_call>{{"name": "{name}", "arguments": {arguments}}}</tool_call>'

    world = ToolEnvironment([find, broken, late], failed=-0.1)
    cases = {
        call("serach", "{}"): ("unknown tool", "no tool 'serach': there are find, broken, late"),
        call("find", "{}"): ("bad arguments", "missing required field `query`"),
        call("find", '{"query": 3}'): ("bad arguments", "Expected `str`"),
        call("find", '{"query": "a", "n": 3}'): ("bad arguments", "unknown field `n`"),
        call("broken", '{"x": 3}'): ("tool raised", "failed (RuntimeError: no 3)"),
        call("late", '{"x": 3}'): ("tool late", "took too long"),
    }
    for text, (trouble, told) in cases.items():
        step = world.step(text)
        assert step.info["troubles"] == (trouble,)
        assert trouble in TROUBLES
        assert told in step.observation[0]["content"]
        assert step.reward == -0.1
        assert not step.done


def test_final_answers():
    def right(answer, row):
        return float(answer == row["label"])

    world = ToolEnvironment([find], right)
    world.reset({"label": "Ulm"})
    assert world.step("<think>hm</think> Ulm ") == ("", 1.0, True, {"answer": "Ulm"})
    tagged = ToolEnvironment(
        [find], right, style="tags", answer="tags", wrap="\n<info>{result}</info>\n"
    )
    tagged.reset({"label": "Ulm"})
    assert tagged.tools == ()
    assert tagged.step("<find>a</find>").observation == '\n<info>["a 0", "a 1", "a 2"]</info>\n'
    assert tagged.step("<answer>x</answer><answer>Ulm</answer>")[1:3] == (1.0, True)
    step = tagged.step("Ulm")
    assert step.info["troubles"] == ("no call",)
    assert "neither a call" in step.observation
    both = tagged.step("<find>a</find><answer>Ulm</answer>")
    assert not both.done
    world = ToolEnvironment([find], question="question")
    assert world.reset({"question": "Where?"}) == "Where?"
    with pytest.raises(OptionError, match="no such text"):
        world.reset({})


def test_schemas_of_others_are_held():
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "enum": ["Ulm", "Bern"]},
            "n": {"type": "integer"},
            "warm": {"type": ["boolean", "null"]},
        },
        "required": ["city"],
    }
    tool = Tool("weather", lambda **given: given, "Weather.", schema)
    assert tool.schema["function"]["parameters"] == schema
    fits = {"city": "Ulm", "n": 3, "warm": None}
    assert tool.arguments(ToolCall("weather", fits)) == fits
    texts = {"city": "Ulm", "n": "3", "warm": "True"}
    assert tool.arguments(ToolCall("weather", texts, texts=True)) == {**fits, "warm": True}
    for bad, told in [
        ({}, "missing: city"),
        ({"city": "Rom"}, "one of"),
        ({"city": "Ulm", "n": "3"}, "expected integer"),
        ({"city": "Ulm", "n": True}, "expected integer"),
        ({"city": "Ulm", "day": 1}, "no argument 'day'"),
    ]:
        with pytest.raises(ValueError, match=told):
            tool.arguments(ToolCall("weather", bad))


def test_functions_that_are_no_tools_are_refused():
    def star(*args: int) -> None: ...
    def bare(x) -> None: ...
    def odd(x: complex) -> None: ...

    for function, told in [(star, "by its name"), (bare, "annotate x"), (odd, "plain types")]:
        with pytest.raises(OptionError, match=told):
            tool_of(function)
    with pytest.raises(OptionError, match="two of this name"):
        ToolEnvironment([find, find])
    with pytest.raises(OptionError, match="at least one"):
        ToolEnvironment([])
    with pytest.raises(OptionError, match="use one of json"):
        named_call_style("jsn")
    about = tool_of(find).schema["function"]
    assert about["description"] == "Find passages."
    assert about["parameters"]["properties"]["query"]["description"] == "what for"


def test_steps_of_others():
    assert as_step(("a", 1)) == ("a", 1.0, False, {})
    assert as_step(("a", 1, False, True, {"x": 1})) == ("a", 1.0, True, {"x": 1})
    for bad in (None, ("a",), (3, 1.0), ("a", "x"), ("a", float("inf")), ("a", 1, True, 3)):
        with pytest.raises(EvidenceError):
            as_step(bad)


def test_calls_that_raise_or_hang_leave_the_others_alone():
    def slow():
        time.sleep(30)

    begun = time.monotonic()
    found = answered_calls([lambda: 1, slow, lambda: [][0], lambda: 2], seconds=0.2, workers=2)
    assert time.monotonic() - begun < 10
    assert [own.value for own in found] == [1, None, None, 2]
    assert [own.failure for own in found] == ["", "hung", "raised", ""]
    assert found[2].why == "IndexError: list index out of range"
    found = answered_calls([slow, lambda: 1], seconds=0.1, workers=1)
    assert [own.value for own in found] == [None, 1]


def test_gymnasium_in_words():
    gymnasium = pytest.importorskip("gymnasium")
    from policyrank.worlds.agents import GymnasiumText

    class Doors(gymnasium.Env):
        action_space = gymnasium.spaces.Discrete(2, start=1)
        observation_space = gymnasium.spaces.Text(9)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.right = int(self.np_random.integers(1, 3))
            return f"doors {self.right}", {}

        def step(self, action):
            return "open", float(action == self.right), True, False, {}

    world = GymnasiumText(Doors(), actions=("left", "right"), bad=-0.5)
    first = world.reset({"seed": 3})
    assert world.reset({"seed": 3}) == first
    step = world.step("run")
    assert step.reward == -0.5
    assert step.info["troubles"] == ("bad action",)
    assert first in step.observation
    right = int(first[-1])
    assert world.step(f"<think>x</think> {right}")[:3] == ("open", 1.0, True)
    world.reset({"seed": 3})
    assert world.step(("left", "right")[right - 1]).reward == 1.0
    with pytest.raises(OptionError, match="names of actions"):
        GymnasiumText(Doors(), actions=("left",))
    Doors.action_space = gymnasium.spaces.Box(0, 1)
    with pytest.raises(OptionError, match="give act"):
        GymnasiumText(Doors())


def fake_tests(code, tests):
    """As the sandbox has it, in this process: the tests' own programs are known."""
    from policyrank.worlds.sandbox import TestOutcome

    errors = []
    for test in tests:
        try:
            space = {}
            exec(code, space)
            exec(test, space)
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}")
        else:
            errors.append("")
    return TestOutcome(tuple(errors), "ok")


PROBLEM = {
    "prompt": "from math import pi\nDouble a number: double(n).",
    "tests": ["assert double(1) == 2", "assert double(3) == 6, double(3)", "assert double(0) == 0"],
    "entry_point": "double",
}


def test_a_program_is_mended_by_what_its_tests_say():
    from policyrank.worlds.agents import ProgramRepair

    world = ProgramRepair(tested=fake_tests, shown=1)
    assert world.reset(PROBLEM) == PROBLEM["prompt"]
    step = world.step("I do not know.")
    assert step.info["troubles"] == ("bad action",)
    step = world.step("```python\ndef double(n):\n    return n + 1\n```")
    assert step.reward == pytest.approx(1 / 3)
    assert step.observation == (
        "2 of 3 tests fail.\nassert double(3) == 6, double(3)\n  AssertionError: 4"
    )
    assert "1 of 3 passed" in step.info["calls"][0]["result"]
    step = world.step("```python\ndef double(n): return 0\n```")
    assert step.reward == 0
    step = world.step("```python\ndef double(n:\n```")
    assert "SyntaxError" in step.observation
    step = world.step(
        "<think>```python\ndef double(n): x\n```</think>"
        "```python\ndef double(n):\n    return 2 * n\n```"
    )
    assert step.done
    assert step.reward == pytest.approx(2 / 3)
    assert "2 * n" in step.info["answer"]
    hidden = ProgramRepair(tested=fake_tests, hidden=2)
    hidden.reset(PROBLEM)
    step = hidden.step("```python\ndef double(n):\n    return n + 1\n```")
    assert "others that are not shown" in step.observation
    assert "double(3)" not in step.observation
    with pytest.raises(EvidenceError, match="prompt and tests"):
        hidden.reset({"prompt": "x"})


def test_a_program_is_tested_in_the_sandbox():
    from policyrank.worlds import sandbox
    from policyrank.worlds.agents import ProgramRepair

    if why := sandbox.unavailable():
        pytest.skip(f"PROGRAM REPAIR IS NOT TESTED in the sandbox: {why}")
    world = ProgramRepair()
    world.reset(PROBLEM)
    step = world.step("```python\ndef double(n):\n    open('/etc/passwd', 'w')\n```")
    assert "3 of 3 tests fail" in step.observation
    assert world.step("```python\ndef double(n):\n    return 2 * n\n```").reward == 1


@pytest.fixture(scope="session")
def game(tmp_path_factory):
    """A small game of TextWorld, made here."""
    pytest.importorskip("textworld", reason="TEXT GAMES ARE NOT TESTED: pip install textworld")
    import textworld

    options = textworld.GameOptions()
    options.seeds, options.nb_rooms, options.nb_objects = 3, 2, 2
    options.quest_length = 1
    options.path = str(tmp_path_factory.mktemp("game") / "game.z8")
    path, made = textworld.make(options)
    return path, made.metadata["walkthrough"]


def test_a_game_is_played_and_won(game):
    from policyrank.worlds.agents import TextGame

    path, commands = game
    world = TextGame(path)
    first = world.reset({})
    assert world.reset({"game": path}) == first
    assert "Possible: " in first
    step = world.step("fly to the moon")
    assert step.info["troubles"] == ("bad action",)
    gained = 0.0
    for command in commands:
        assert not step.done
        step = world.step(f"I try this.\n> {command}")
        assert not step.info["troubles"]
        gained += step.reward
    assert step.done
    assert step.info["answer"] == "won"
    assert gained == pytest.approx(1)
    world.close()
    with pytest.raises(EvidenceError, match="no game"):
        TextGame().reset({})
