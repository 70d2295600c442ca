"""Search over a corpus, until the question is answered."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

from policyrank.errors import OptionError
from policyrank.metrics.short_answers import answer_f1, exact_match
from policyrank.worlds.agents.tool_calls import CallStyle
from policyrank.worlds.agents.tool_schemas import ToolResult, tool_of
from policyrank.worlds.agents.tool_use import Grade, ToolEnvironment

SEARCH_TAGS = """Answer the question. Think first, within <think> and </think>. Where you need to \
know more, write a query within <search> and </search>: what is found comes back within \
<information> and </information>. Search as often as you need to. When you know the answer, write \
it within <answer> and </answer>, in a few words.

Question: """
SEARCH_TOOLS = """Answer the question. Where you need to know more, call search; as often as you \
need to. When you know the answer, write it within <answer> and </answer>, in a few words."""
INFORMATION = "\n\n<information>{result}</information>\n\n"


class Found(Protocol):
    """A passage that was found."""

    @property
    def name(self) -> str: ...

    @property
    def text(self) -> str: ...


Find = Callable[[str, int], Sequence[Any]]
"""A query, and how many -> passages (``Found``), best first. What it knows beside, such as all
candidates, may stand in an attribute ``detail`` of the sequence, for the log. One that depends on
the question has ``for_row(row)``, which gives such a function.
"""


def search_environment(
    find: Find,
    *,
    passages: int = 3,
    label: str = "answer",
    metric: Literal["f1", "exact"] = "f1",
    style: str | CallStyle = "tags",
    question: str | None = "question",
    words: int | None = None,
    failed: float = 0.0,
) -> ToolEnvironment:
    """An environment with the tool ``search(query)``, whose final answer is judged by the data's.

    Parameters
    ----------
    find
        finds passages
    passages
        that are shown of each search
    label
        column with the right answer, or a list of them; a row without is not rewarded (NaN)
    metric
        token F1 or exact match with the nearest right answer
    style
        of calls: ``"tags"`` (``<search>``, results behind them as a text), or as
        ``models.turns.call_style`` has it (results as messages)
    question
        column with the question
    words
        of each passage that are shown; None: all
    failed
        added to the reward of a turn with troubles, such as neither call nor answer

    Examples
    --------
    >>> class Passage:
    ...     name, text = "Ulm", "A town on the Danube."
    >>> world = search_environment(lambda query, k: [Passage()], question=None)
    >>> _ = world.reset({"answer": ["Danube", "the Danube"]})
    >>> world.step("<search>Ulm</search>").observation.strip()
    '<information>[1] (Ulm) A town on the Danube.</information>'
    >>> world.step("<answer>Danube</answer>").reward
    1.0
    """
    if passages < 1:
        raise OptionError(f"passages={passages}: at least 1.")

    for_row = getattr(find, "for_row", None)

    def search(query: str) -> ToolResult:
        """Find passages."""
        own = find if for_row is None else for_row(world.row)
        found = own(query, passages)
        shown = []
        for number, passage in enumerate(list(found)[:passages], 1):
            text = passage.text
            if words is not None:
                text = " ".join(text.split()[:words])
            shown.append(f"[{number}] ({passage.name}) {text}")
        told = {"found": [passage.name for passage in found], **getattr(found, "detail", {})}
        return ToolResult("\n".join(shown) or "Nothing was found.", told)

    tags = style == "tags"
    world = ToolEnvironment(
        [tool_of(search)],
        answer_grade(label, metric),
        style=style,
        answer="tags",
        question=question,
        wrap=INFORMATION if tags else "messages",
        failed=failed,
    )
    return world


def answer_grade(label: str = "answer", metric: Literal["f1", "exact"] = "f1") -> Grade:
    """Grades by a column with the right answer or a list of them; NaN where it is empty.

    Raises
    ------
    OptionError
        For an unknown metric.
    """
    metrics = {"f1": answer_f1, "exact": exact_match}
    if metric not in metrics:
        raise OptionError(f"metric={metric!r}: use f1 or exact.")

    def grade(answer: str, row: Mapping[str, Any]) -> float:
        return metrics[metric](answer, right_answers(row, label))

    return grade


def right_answers(row: Mapping[str, Any], label: str) -> list[str]:
    """The right answers of a row: a text, a list, or one written as JSON; blanks are none.

    Raises
    ------
    OptionError
        When the row has no such column.

    Examples
    --------
    >>> right_answers({"answer": '["Ulm", "Ulm, Germany"]'}, "answer")
    ['Ulm', 'Ulm, Germany']
    """
    if label not in row:
        raise OptionError(f"label={label!r}: the data have no such column.")
    given = row[label]
    if isinstance(given, str) and given.lstrip().startswith("["):
        try:
            given = json.loads(given)
        except ValueError:
            given = [given]
    if given is None:
        return []
    listed = [given] if isinstance(given, (str, int, float)) else list(given)
    return [str(own) for own in listed if str(own).strip()]
