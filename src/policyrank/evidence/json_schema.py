"""JSON of others in the shape that a reader needs: one place where it is parsed and checked."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from policyrank.errors import EvidenceError
from policyrank.evidence.sources import open_source

T = TypeVar("T")

TOO_LARGE = (OverflowError, SystemError)
"""What msgspec raises of numbers too large for a float; before 0.22 the latter."""

Whole = Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]
"""A whole number that fits into 64 bits."""


def parse_json(text: str | bytes, shape: type[T], where: str) -> T:
    """JSON in the shape that a reader needs; NaN and Infinity are allowed.

    Raises
    ------
    EvidenceError
        When it is no JSON or has another shape, saying where in it.

    Examples
    --------
    >>> parse_json('{"a": NaN}', dict[str, float], "x.json")
    {'a': nan}
    >>> parse_json('[1, "b"]', list[int], "x.json")
    Traceback (most recent call last):
    policyrank.errors.EvidenceError: x.json, entry 2: expected `int`, got `str`. Mend or remove it.
    """
    try:
        return msgspec.json.decode(text, type=shape, strict=True)
    except msgspec.ValidationError as error:
        raise _misshapen(error, where) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass
    return in_shape(_plain(text, where), shape, where)


def read_json(path: str | Path, shape: type[T]) -> T:
    """A JSON file in the shape that a reader needs.

    Raises
    ------
    EvidenceError
        When there is none, it is no JSON or has another shape, saying where in it.
    """
    try:
        text = open_source(path).text
    except EvidenceError as error:  # of models' files the folder tells them apart
        told = str(error).removeprefix(f"{path}: ").removeprefix(f"{Path(path).name}: ")
        raise EvidenceError(f"{path}: {told}") from None
    return parse_json(text, shape, str(path))


def in_shape(value: Any, shape: type[T], where: str) -> T:
    """A value of lists, dicts, texts and numbers in the shape that a reader needs."""
    try:
        return msgspec.convert(value, shape, strict=True)
    except msgspec.ValidationError as error:
        raise _misshapen(error, where) from None
    except RecursionError:
        raise EvidenceError(f"{where}: nested too deep to be results. Remove it.") from None
    except TOO_LARGE:
        raise EvidenceError(f"{where}: a number too large to be one. Mend or remove it.") from None


def _plain(text: str | bytes, where: str) -> Any:
    """JSON with NaN and Infinity; halves of surrogate pairs become question marks."""
    try:
        value = json.loads(text)
        if ("\\ud" if isinstance(text, str) else b"\\ud") in text.lower():  # type: ignore[operator]
            value = json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
        return value
    except RecursionError:
        raise EvidenceError(f"{where}: nested too deep to be results. Remove it.") from None
    except ValueError as error:
        raise EvidenceError(f"{where}: not JSON ({error}). Mend or remove it.") from None


_PLACE = re.compile(r" - at `(key in )?\$(.*)`$")


def _misshapen(error: msgspec.ValidationError, where: str) -> EvidenceError:
    """What was expected, and where: ``$.results[3].score`` as words, entries numbered from 1."""
    text = str(error)
    found = _PLACE.search(text)
    place = ""
    if found is not None:
        text = text[: found.start()]
        path = re.sub(r"\[(\d+)\]", lambda number: f", entry {int(number[1]) + 1}", found[2])
        path = path.replace("[...]", "").replace(".", ", ")
        place = f", {path.strip(', ')}" if path.strip(", ") else ""
    return EvidenceError(f"{where}{place}: {text[:1].lower()}{text[1:]}. Mend or remove it.")
