"""An agent that calls tools until it answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from policyrank.errors import OptionError
from policyrank.evidence.conversations import Message
from policyrank.worlds.agents.stepping import Observation, Step
from policyrank.worlds.agents.tool_calls import (
    CallStyle,
    ToolCall,
    named_call_style,
    spoken,
)
from policyrank.worlds.agents.tool_schemas import Tool, ToolResult, by_name, result_text

Grade = Callable[[str, Mapping[str, Any]], float]
"""The final answer and the row of data -> its reward."""
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


@dataclass
class ToolEnvironment:
    """Answers calls with what the tools give; what is no call is the final answer.

    What goes wrong is said to the agent, which may go on, and stands in ``info["troubles"]``.

    Parameters
    ----------
    given
        ``Tool``, or Python functions (``tool_of``)
    grade
        the reward of the final answer (None: 0)
    style
        in which calls are written: a name in ``CALL_STYLES``, or a function;
        ``models.turns.call_style(tokenizer)`` is that of a model's template
    answer
        ``"message"``: a turn without calls is the final answer; ``"tags"``: what stands between
        ``<answer>`` and ``</answer>``, and a turn with neither is told so
    question
        column with what the agent reads first; None: prompts of the data are as they are
    wrap
        ``"messages"``: results are messages of the role tool, which the chat template writes;
        otherwise a text with {result}, which stands as it is behind what the agent wrote
    most_calls
        in one turn; further ones are refused, and said to be
    failed
        added to the reward of a turn with troubles

    Examples
    --------
    >>> def double(n: int) -> int:
    ...     return 2 * n
    >>> world = ToolEnvironment([double], lambda answer, row: float(answer == row["label"]))
    >>> world.reset({"label": "6"})
    ''
    >>> call = '<tool_call>{"name": "double", "arguments": {"n": 3}}</tool_call>'
    >>> world.step(call).observation
    ({'role': 'tool', 'name': 'double', 'content': '6'},)
    >>> world.step("6").reward
    1.0
    """

    given: Sequence[Tool | Callable[..., Any]]
    grade: Grade | None = None
    style: str | CallStyle = "json"
    answer: Literal["message", "tags"] = "message"
    question: str | None = None
    wrap: str = "messages"
    most_calls: int = 8
    failed: float = 0.0
    _row: Mapping[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.answer not in ("message", "tags"):
            raise OptionError(f"answer={self.answer!r}: use message or tags.")
        if self.wrap != "messages" and "{result}" not in self.wrap:
            raise OptionError(f"wrap={self.wrap!r}: messages, or a text with {{result}}.")
        self._tools, self._style = by_name(self.given), named_call_style(self.style)

    @property
    def tools(self) -> tuple[dict[str, Any], ...]:
        """Schemas, for the chat template; none where results are no messages."""
        if self.wrap != "messages":
            return ()
        return tuple(tool.schema for tool in self._tools.values())

    @property
    def row(self) -> Mapping[str, Any]:
        """The row of data that it was reset for."""
        return self._row

    def reset(self, row: Mapping[str, Any], /) -> Observation:
        """The question, where a column holds it.

        Raises
        ------
        OptionError
            When the row has no such column.
        """
        self._row = row
        if self.question is None:
            return ""
        if not isinstance(row.get(self.question), str):
            raise OptionError(f"question={self.question!r}: a row has no such text.")
        return row[self.question]

    def step(self, action: str, /) -> Step:
        """What the called tools gave, or the reward of the final answer."""
        calls = self._style(action, tuple(self._tools))
        final = self._final(action, calls)
        if final is not None:
            reward = 0.0 if self.grade is None else float(self.grade(final, self._row))
            return Step("", reward, True, {"answer": final})
        if not calls:
            return self._said([("", self._told())], ["no call"], [])
        results, troubles, log = [], [], []
        for number, call in enumerate(calls):
            result, trouble = self._called(call, number)
            text = result_text(result)
            results.append((call.name, text))
            troubles += [trouble] if trouble else []
            told = {"name": call.name, "arguments": dict(call.arguments), "result": text}
            if isinstance(result, ToolResult) and result.detail:
                told["detail"] = dict(result.detail)
            log.append(told)
        return self._said(results, troubles, log)

    def _final(self, action: str, calls: Sequence[ToolCall]) -> str | None:
        """The final answer; None: the turn is none."""
        if self.answer == "message":
            return None if calls else spoken(action).strip()
        tagged = _TAGGED.findall(spoken(action))
        return tagged[-1].strip() if tagged and not calls else None

    def _told(self) -> str:
        names = ", ".join(self._tools)
        return (
            f"That was neither a call of a tool ({names}) nor a final answer in <answer> and"
            " </answer>. Try again."
        )

    def _called(self, call: ToolCall, number: int) -> tuple[Any, str]:
        """What a call gave, and the trouble with it; empty: none."""
        if number >= self.most_calls:
            return f"Error: only {self.most_calls} calls in a turn.", "malformed call"
        if call.error:
            return f"Error: the call cannot be read ({call.error}).", "malformed call"
        if call.name not in self._tools:
            names = ", ".join(self._tools)
            return f"Error: no tool {call.name[:60]!r}: there are {names}.", "unknown tool"
        tool = self._tools[call.name]
        try:
            arguments = tool.arguments(call)
        except ValueError as error:
            return f"Error: the arguments do not fit: {error}.", "bad arguments"
        try:
            return tool.call(**arguments), ""
        except TimeoutError as error:
            return f"Error: {call.name} took too long ({error}).", "tool late"
        except Exception as error:  # whatever a user's tool raises
            why = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            return f"Error: {call.name} failed ({why}).", "tool raised"

    def _said(
        self,
        results: Sequence[tuple[str, str]],
        troubles: Sequence[str],
        log: Sequence[Mapping[str, Any]],
    ) -> Step:
        info = {"troubles": tuple(troubles), "calls": tuple(log)}
        reward = self.failed if troubles else 0.0
        if self.wrap != "messages":
            text = "\n".join(result for _, result in results)
            return Step(self.wrap.format(result=text), reward, False, info)
        messages: list[Message] = []
        for name, text in results:
            if name:
                messages.append({"role": "tool", "name": name, "content": text})
            else:
                messages.append({"role": "user", "content": text})
        return Step(tuple(messages), reward, False, info)
