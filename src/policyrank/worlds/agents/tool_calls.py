"""Calls of tools in what a model wrote, in the style of its chat template."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from policyrank.errors import OptionError


@dataclass(frozen=True)
class ToolCall:
    """A call.

    Attributes
    ----------
    name
        of the tool; empty where it cannot be read
    arguments
        by name
    error
        why the call cannot be read; empty where it can
    texts
        whether arguments are texts whatever they mean (XML): numbers are read from them
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    texts: bool = False


class CallStyle(Protocol):
    """What a model wrote, and the names of the tools -> the calls in it, in their order."""

    def __call__(self, text: str, names: Collection[str], /) -> list[ToolCall]: ...


_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_TOOL_CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|(?=<tool_call>)|\Z)", re.DOTALL)
_FUNCTION = re.compile(r"<function=([^>\s]+)\s*>(.*?)(?:</function>|\Z)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>\s]+)\s*>(.*?)</parameter>", re.DOTALL)
_KEYED = re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)
_MARKED = re.compile(r"\[TOOL_CALLS\]\s*(.*)\Z", re.DOTALL)
_FENCED = re.compile(r"```(?:tool_code|tool_call|python)\s*\n(.*?)(?:```|\Z)", re.DOTALL)
_BETWEEN = re.compile(r"<\|tool_call_start\|>(.*?)(?:<\|tool_call_end\|>|\Z)", re.DOTALL)
_BEFORE = re.compile(r"\A\s*(?:<\|python_(?:tag|start)\|>)?\s*")
_AFTER = re.compile(r"\s*(?:<\|python_end\|>)?\s*\Z")
_LONGEST = 20_000
"""Characters of a Python-style call that are parsed: deeper ones exhaust the parser."""


def spoken(text: str) -> str:
    """What was said after thinking: calls that are only thought about are none.

    Where the template opens the thought, only its end is in the text.

    Examples
    --------
    >>> spoken("so <tool_call>x</think> Paris"), spoken("<think>a</think>b")
    (' Paris', 'b')
    """
    text = _THOUGHT.sub("", text)
    return text.rpartition("</think>")[2]


def json_calls(text: str, names: Collection[str] = ()) -> list[ToolCall]:
    """``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``, as of Qwen and Hermes.

    Examples
    --------
    >>> json_calls('<tool_call>{"name": "search", "arguments": {"query": "Ulm"}}</tool_call>')
    [ToolCall(name='search', arguments={'query': 'Ulm'}, error='', texts=False)]
    >>> json_calls('<tool_call>{"name": </tool_call>')[0].error
    'no JSON: Expecting value'
    """
    return [_json_call(found[1]) for found in _TOOL_CALL.finditer(spoken(text))]


def xml_calls(text: str, names: Collection[str] = ()) -> list[ToolCall]:
    """``<function=NAME><parameter=KEY>...</parameter></function>``, and GLM's keys and values.

    Examples
    --------
    >>> xml_calls("<tool_call><function=f><parameter=n>3</parameter></function></tool_call>")
    [ToolCall(name='f', arguments={'n': '3'}, error='', texts=True)]
    """
    found, text = [], spoken(text)
    for block in _TOOL_CALL.finditer(text):
        inside = block[1]
        functions = list(_FUNCTION.finditer(inside))
        if functions:
            found += [_xml_call(own[1], own[2]) for own in functions]
            continue
        name = inside.partition("<arg_key>")[0].strip()
        if name and not re.search(r"[<{\s]", name):
            pairs = {key.strip(): value.strip() for key, value in _KEYED.findall(inside)}
            found.append(ToolCall(name, pairs, texts=True))
        else:
            found.append(ToolCall("", error="no <function=NAME> within the call"))
    if not found:
        found = [_xml_call(own[1], own[2]) for own in _FUNCTION.finditer(text)]
    return found


def _xml_call(name: str, inside: str) -> ToolCall:
    pairs = {key: value.strip("\n") for key, value in _PARAMETER.findall(inside)}
    if inside.count("<parameter=") > len(pairs):
        return ToolCall(name, pairs, "a parameter that is not closed, or given twice", texts=True)
    return ToolCall(name, pairs, texts=True)


def marked_calls(text: str, names: Collection[str] = ()) -> list[ToolCall]:
    """``[TOOL_CALLS] [{"name": ..., "arguments": {...}}]``, as of Mistral; ``NAME[ARGS]{...}`` too.

    Examples
    --------
    >>> [own.name for own in marked_calls('[TOOL_CALLS][{"name": "f", "arguments": {}}]')]
    ['f']
    """
    found: list[ToolCall] = []
    marked = _MARKED.search(spoken(text))
    if marked is None:
        return found
    pieces = marked[1].split("[TOOL_CALLS]")
    for piece in filter(None, map(str.strip, pieces)):
        name, divided, arguments = piece.partition("[ARGS]")
        if divided:
            found.append(_json_call(arguments, name.strip()))
        else:
            found += _json_list(piece)
    return found


def bare_calls(text: str, names: Collection[str] = ()) -> list[ToolCall]:
    """A turn that is nothing but ``{"name": ..., "parameters": {...}}``, as of Llama 3.

    Examples
    --------
    >>> bare_calls('{"name": "f", "parameters": {"x": 1}}')[0].arguments
    {'x': 1}
    >>> bare_calls("Ulm")
    []
    """
    said = _AFTER.sub("", _BEFORE.sub("", spoken(text)))
    if not said.startswith("{") or '"name"' not in said:
        return []
    return [_json_call(said)]


def python_calls(text: str, names: Collection[str] = ()) -> list[ToolCall]:
    """``[f(x=1), g()]`` or ``f(x=1)``: a turn that is nothing else, a fenced block, or marked.

    Only values that stand there are read (numbers, texts, lists, ...); nothing is run.

    Examples
    --------
    >>> python_calls('[search(query="Ulm", k=3)]', ["search"])
    [ToolCall(name='search', arguments={'query': 'Ulm', 'k': 3}, error='', texts=False)]
    """
    said = spoken(text)
    fenced = _BETWEEN.search(said) or _FENCED.search(said)
    body = fenced[1] if fenced else _AFTER.sub("", _BEFORE.sub("", said))
    if not re.match(r"\s*\[?\s*[A-Za-z_][\w.]*\(", body) or len(body) > _LONGEST:
        return []
    try:
        nodes = ast.parse(body.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        why = str(error).partition(" (")[0]
        return [ToolCall("", error=f"no Python: {why}")]
    found = []
    for node in nodes:
        value = node.value if isinstance(node, ast.Expr) else None
        for call in value.elts if isinstance(value, ast.List) else [value]:
            found.append(_python_call(call))
    return found


def _python_call(node: Any) -> ToolCall:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
        node = node.args[0] if len(node.args) == 1 else node
    if not isinstance(node, ast.Call):
        return ToolCall("", error="no call of a function")
    name = ast.unparse(node.func)
    if node.args:
        return ToolCall(name, error="arguments without names: give NAME=VALUE")
    arguments = {}
    for own in node.keywords:
        try:
            arguments[str(own.arg)] = ast.literal_eval(own.value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return ToolCall(name, error=f"{own.arg} is no plain value")
    return ToolCall(name, arguments)


def tag_calls(text: str, names: Collection[str]) -> list[ToolCall]:
    """``<NAME>text</NAME>`` for each tool, as of Search-R1: a tool of one text.

    The argument has the name "" : whatever the tool calls its first.

    Examples
    --------
    >>> tag_calls("I look. <search> Ulm </search>", ["search"])
    [ToolCall(name='search', arguments={'': 'Ulm'}, error='', texts=True)]
    >>> tag_calls("<search>Ulm", ["search"])[0].error
    '<search> is not closed'
    """
    said = spoken(text)
    tools = "|".join(map(re.escape, names)) or r"(?!)"
    found = []
    for match in re.finditer(rf"<({tools})>(.*?)(?:</\1>|(\Z))", said, re.DOTALL):
        error = "" if match[3] is None else f"<{match[1]}> is not closed"
        found.append(ToolCall(match[1], {"": match[2].strip()}, error, texts=True))
    return found


CALL_STYLES: dict[str, CallStyle] = {
    "json": json_calls,
    "xml": xml_calls,
    "marked": marked_calls,
    "bare": bare_calls,
    "python": python_calls,
    "tags": tag_calls,
}
"""Ways in which models write calls of tools. ``models.turns.call_style`` finds a template's own."""


def named_call_style(style: str | CallStyle) -> CallStyle:
    """One of ``CALL_STYLES`` by name; a function is what it is.

    Raises
    ------
    OptionError
        For an unknown name.
    """
    if not isinstance(style, str):
        return style
    if style not in CALL_STYLES:
        names = ", ".join(CALL_STYLES)
        raise OptionError(f"style={style!r}: use one of {names}, or a function.")
    return CALL_STYLES[style]


def style_in(text: str, call: ToolCall) -> str | None:
    """The name of the style in which a text holds just this call; None: in none of them.

    Examples
    --------
    >>> call = ToolCall("search", {"query": "Ulm"})
    >>> style_in('{"name": "search", "parameters": {"query": "Ulm"}}', call)
    'bare'
    """
    wanted = {name: str(value) for name, value in call.arguments.items()}
    for name, style in CALL_STYLES.items():
        found = style(text, (call.name,))
        if len(found) == 1 and found[0].name == call.name and not found[0].error:
            given = {key: str(value) for key, value in found[0].arguments.items()}
            if given == wanted:
                return name
    return None


def _json_list(text: str) -> list[ToolCall]:
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError) as error:
        return [ToolCall("", error=f"no JSON: {_why(error)}")]
    calls = listed if isinstance(listed, list) else [listed]
    return [_read(own) for own in calls]


def _json_call(text: str, name: str | None = None) -> ToolCall:
    """A call that is JSON; ``name``: only its arguments are."""
    try:
        given = json.loads(text.strip())
    except (ValueError, RecursionError) as error:
        return ToolCall(name or "", error=f"no JSON: {_why(error)}")
    return _read(given if name is None else {"name": name, "arguments": given})


def _read(given: Any) -> ToolCall:
    if not isinstance(given, dict):
        return ToolCall("", error="a call is an object with name and arguments")
    function = given.get("function", given)
    if not isinstance(function, dict):
        function = {"name": function, **given}
    name = function.get("name")
    if not isinstance(name, str) or not name:
        return ToolCall("", error="a call without the name of a tool")
    arguments = function.get("arguments", function.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError) as error:
            return ToolCall(name, error=f"arguments are no JSON: {_why(error)}")
    if not isinstance(arguments, dict):
        return ToolCall(name, error="arguments are no object")
    return ToolCall(name, arguments)


def _why(error: Exception) -> str:
    return str(error).partition(":")[0]
