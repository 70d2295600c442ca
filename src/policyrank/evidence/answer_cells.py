"""Values of rows of answers as lists and numbers: of arrays, of frames, of cells without a type."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from policyrank.errors import EvidenceError

LISTS = ("completions", "scores", "ranks", "tree")
"""Columns whose cells are lists or objects, as JSON where a file has only texts."""
CHATS = ("prompt", "messages", "chosen", "rejected", "completion", "answer")
"""Columns whose cells are texts, or messages as JSON."""
NUMBERS = ("margin", "label", "alpha")
"""Columns whose cells are numbers, or true and false."""


def plain(value: Any) -> Any:
    """Arrays and scalars of numpy, torch, polars or pyarrow as lists and numbers, at any depth.

    Examples
    --------
    >>> import numpy as np
    >>> plain({"scores": np.array([1, 0]), "label": np.int64(1)})
    {'scores': [1, 0], 'label': 1}
    """
    try:
        return _plain(value)
    except RecursionError:
        return value


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, bytes, int, float)):
        return value
    if isinstance(value, Mapping):
        return {name: _plain(of) for name, of in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(of) for of in value]
    for name in ("tolist", "to_list", "as_py"):
        convert = getattr(value, name, None)
        if callable(convert):
            made = convert()
            return made if type(made) is type(value) else _plain(made)
    return value


def without_nan(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of pandas, in which what is missing is NaN, NA or NaT."""
    kept = {}
    for name, value in row.items():
        missing = isinstance(value, float) and math.isnan(value)
        if not missing and type(value).__name__ not in ("NAType", "NaTType"):
            kept[str(name)] = value
    return kept


def typed(place: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a file that has only texts, with the lists and numbers that these stand for.

    Raises
    ------
    EvidenceError
        When a list is not written as JSON.
    """
    found = dict(row)
    for name, cell in row.items():
        if not isinstance(cell, str):
            continue
        if name in LISTS:
            found[name] = _list(f"{place}: {name}", cell)
        elif name in CHATS:
            found[name] = _chat(cell)
        elif name in NUMBERS:
            found[name] = _number(cell)
    return found


def _list(what: str, cell: str) -> Any:
    if not cell.strip():
        return None
    if cell.lstrip()[0] not in "[{":
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        raise EvidenceError(
            f"{what} is no JSON ({cell[:60]!r}). Write lists as JSON, with texts in double quotes."
        ) from None


def _chat(cell: str) -> Any:
    """Messages where a text is nothing else; the text."""
    if not cell.lstrip().startswith("[{"):
        return cell
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    for message in value:
        if not isinstance(message, dict) or not ({"role", "from"} & set(message)):
            return cell
    return value


def _number(cell: str) -> Any:
    """The number that a text is; nothing of a blank one; else the text."""
    if not cell.strip():
        return None
    try:
        return float(cell)
    except ValueError:
        return cell
