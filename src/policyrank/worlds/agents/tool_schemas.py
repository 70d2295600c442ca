"""Tools: functions that an agent may call, with the schema that says how."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import msgspec

from policyrank.errors import OptionError
from policyrank.worlds.agents.tool_calls import ToolCall

_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (dict,),
    "null": (type(None),),
}


@dataclass(frozen=True)
class Tool:
    """A function that an agent may call.

    Attributes
    ----------
    name
        by which it is called
    call
        takes arguments by name, and gives a text or what JSON has a form for
    about
        what it does, for the agent
    parameters
        JSON schema of its arguments, an object with properties
    signature
        a msgspec struct of its arguments, by which they are read; None: by the schema
    """

    name: str
    call: Callable[..., Any]
    about: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object"})
    signature: Any = None

    @property
    def schema(self) -> dict[str, Any]:
        """As chat templates take it."""
        function = {
            "name": self.name,
            "description": self.about,
            "parameters": dict(self.parameters),
        }
        return {"type": "function", "function": function}

    def arguments(self, call: ToolCall) -> dict[str, Any]:
        """The arguments of a call, as the function takes them.

        Raises
        ------
        ValueError
            Saying which one does not fit.
        """
        given = dict(call.arguments)
        if "" in given:
            given = {next(iter(self._properties()), ""): given[""]}
        if self.signature is None:
            return _by_schema(given, self.parameters, texts=call.texts)
        if call.texts:
            given = {name: _meant(value, self._kinds(name)) for name, value in given.items()}
        try:
            found = msgspec.convert(given, self.signature)
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from None
        return msgspec.structs.asdict(found)

    def _properties(self) -> Mapping[str, Any]:
        return self.parameters.get("properties", {})

    def _kinds(self, name: str) -> tuple[str, ...]:
        return _kinds_of(self._properties().get(name, {}))


@dataclass(frozen=True)
class ToolResult:
    """What a tool gives, with more for the log than the agent reads.

    Attributes
    ----------
    text
        that the agent reads
    detail
        that logs have beside: plain values
    """

    text: str
    detail: Mapping[str, Any] = field(default_factory=dict)


def tool_of(function: Callable[..., Any], *, name: str | None = None) -> Tool:
    """A tool of a Python function with annotations.

    Parameters
    ----------
    function
        its parameters have annotations of plain types; ``Annotated[str, msgspec.Meta(description=
        "...")]`` says what one is for. The first paragraph of its docstring says what it does
    name
        None: its own

    Raises
    ------
    OptionError
        For a parameter without annotation, of a type that JSON has no form for, or that cannot be
        given by name.

    Examples
    --------
    >>> def search(query: str, k: int = 3) -> list[str]:
    ...     "Find passages."
    >>> tool = tool_of(search)
    >>> tool.parameters["required"], tool.arguments(ToolCall("search", {"query": "Ulm"}))
    (['query'], {'query': 'Ulm', 'k': 3})
    >>> tool.arguments(ToolCall("search", {"query": 3}))
    Traceback (most recent call last):
    ValueError: Expected `str`, got `int` - at `$.query`
    """
    name = name or str(getattr(function, "__name__", type(function).__name__))
    about = (inspect.getdoc(function) or "").partition("\n\n")[0].replace("\n", " ")
    fields = _fields(function, name)
    try:
        signature = msgspec.defstruct("Arguments", fields, forbid_unknown_fields=True)
        known = msgspec.json.schema_components([signature])[1]
    except (TypeError, ValueError) as error:
        raise OptionError(f"tool {name}: {error}. Annotate it with plain types.") from None
    parameters = dict(known.pop("Arguments"))
    parameters.pop("title", None)
    if known:
        raise OptionError(f"tool {name}: arguments are plain types, not structures of their own.")
    parameters.pop("additionalProperties", None)
    return Tool(name, function, about, parameters, signature)


def _fields(function: Callable[..., Any], name: str) -> list[Any]:
    try:
        hints = get_type_hints(function, include_extras=True)
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError, NameError) as error:
        raise OptionError(f"tool {name}: its signature cannot be read ({error}).") from None
    fields: list[Any] = []
    for own in parameters.values():
        if own.kind not in (own.POSITIONAL_OR_KEYWORD, own.KEYWORD_ONLY):
            raise OptionError(f"tool {name}: {own.name} cannot be given by its name alone.")
        if own.name not in hints:
            raise OptionError(f"tool {name}: annotate {own.name} with its type.")
        if own.default is own.empty:
            fields.append((own.name, hints[own.name]))
        else:
            fields.append((own.name, hints[own.name], own.default))
    return sorted(fields, key=len)


def as_tool(given: Any) -> Tool:
    """A tool as it is, and of a function what ``tool_of`` makes."""
    return given if isinstance(given, Tool) else tool_of(given)


def by_name(tools: Sequence[Any]) -> dict[str, Tool]:
    """Tools by their names.

    Raises
    ------
    OptionError
        For none, or two of one name.
    """
    found: dict[str, Tool] = {}
    for tool in map(as_tool, tools):
        if tool.name in found:
            raise OptionError(f"tool {tool.name}: there are two of this name.")
        found[tool.name] = tool
    if not found:
        raise OptionError("no tool: give at least one.")
    return found


def result_text(result: Any) -> str:
    """What a tool gave, as a text.

    Examples
    --------
    >>> result_text({"day": 3}), result_text("x"), result_text(None)
    ('{"day": 3}', 'x', '')
    """
    if isinstance(result, ToolResult):
        return result.text
    if isinstance(result, str):
        return result
    if result is None:
        return ""
    try:
        return json.dumps(result, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        return str(result)


def _by_schema(
    given: Mapping[str, Any], schema: Mapping[str, Any], *, texts: bool
) -> dict[str, Any]:
    """Arguments that fit a JSON schema: names, and the types of each."""
    properties = schema.get("properties", {})
    missing = [name for name in schema.get("required", ()) if name not in given]
    if missing:
        raise ValueError(f"missing: {', '.join(missing)}")
    found = {}
    for name, value in given.items():
        if name not in properties and properties:
            raise ValueError(f"no argument {name!r}: there are {', '.join(properties)}")
        own = properties.get(name, {})
        kinds = _kinds_of(own)
        value = _meant(value, kinds) if texts else value
        if kinds and not any(_is_kind(value, kind) for kind in kinds):
            raise ValueError(f"{name}: expected {' or '.join(kinds)}, got {str(value)[:60]!r}")
        if "enum" in own and value not in own["enum"]:
            raise ValueError(f"{name}: one of {own['enum']}, got {str(value)[:60]!r}")
        found[name] = value
    return found


def _kinds_of(schema: Mapping[str, Any]) -> tuple[str, ...]:
    if "anyOf" in schema:
        return tuple(kind for own in schema["anyOf"] for kind in _kinds_of(own))
    kinds = schema.get("type", ())
    return (kinds,) if isinstance(kinds, str) else tuple(kinds)


def _is_kind(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _KINDS.get(kind, object))


def _meant(value: Any, kinds: Sequence[str]) -> Any:
    """What a text means where the schema wants no text; the text where it means nothing."""
    if not isinstance(value, str) or "string" in kinds or not kinds:
        return value
    text = {"True": "true", "False": "false", "None": "null"}.get(value.strip(), value)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return value
