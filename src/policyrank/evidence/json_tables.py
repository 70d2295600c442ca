"""Tables in JSON: a list of objects, an object of columns, or policy -> task -> score."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import polars as pl

from policyrank.errors import EvidenceError

BIG = 2**53
"""Beyond it whole numbers are kept as text: as floats they would change."""


def parsed_table(text: str, name: str) -> pl.DataFrame:
    """The table in a JSON text.

    Raises
    ------
    EvidenceError
        When it is no JSON, or holds no table.
    """
    value = loads(text, name)
    if isinstance(value, Mapping) and isinstance(value.get("data"), list):
        value = _of_data(value)
    elif isinstance(value, Mapping):
        value = _only_list(value)
    if isinstance(value, list) and value and all(isinstance(row, list) for row in value):
        header, *body = value
        value = [dict(zip(map(str, header), row, strict=False)) for row in body]
    if isinstance(value, list):
        return _of_records(value, name)
    if isinstance(value, Mapping) and value:
        inside = list(value.values())
        if all(isinstance(column, list) for column in inside):
            return _of_columns({str(key): column for key, column in value.items()}, name)
        if all(isinstance(row, Mapping) for row in inside):
            return _of_rows(value, name)
        if all(type(one) in (int, float) for one in inside):
            return _of_records([{"policy": k, "score": v} for k, v in value.items()], name)
        return _of_records([value], name)
    raise EvidenceError(
        f"{name}: this JSON is no table. Give a list of objects, one a row, or JSON lines."
    )


def loads(text: str, name: str) -> Any:
    """JSON; NaN and Infinity are allowed; JSON lines give a list."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        return json.loads(text)
    except RecursionError:
        raise EvidenceError(f"{name}: nested too deep to be a table. Give a flat one.") from None
    except ValueError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) > 1:
            return _lines(lines, name)
        raise EvidenceError(f"{name}: not JSON ({error}). Check that it is whole.") from None


def _lines(lines: Sequence[str], name: str) -> list[Any]:
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise EvidenceError(
                f"{name}, line {number}: not JSON ({error}). Check that the file is whole."
            ) from None
    return found


def _only_list(value: Mapping[str, Any]) -> Any:
    """The list of objects under the one key that holds one: results, rows, records, ..."""
    lists = []
    for inside in value.values():
        if isinstance(inside, list) and inside and all(isinstance(r, Mapping) for r in inside):
            lists.append(inside)
    return lists[0] if len(lists) == 1 else value


def _of_data(value: Mapping[str, Any]) -> Any:
    """The rows of ``{"columns": [...], "data": [...]}`` and of ``{"data": [{...}]}``."""
    columns, rows = value.get("columns"), value["data"]
    if not isinstance(columns, list):
        return rows
    return [dict(zip(columns, row, strict=False)) for row in rows if isinstance(row, list)]


def _of_records(records: Sequence[Any], name: str) -> pl.DataFrame:
    if not records:
        raise EvidenceError(f"{name}: the list is empty.")
    columns: dict[str, list[Any]] = {}
    for number, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise EvidenceError(
                f"{name}, entry {number + 1:,}: {str(record)[:60]!r} is no object with named"
                " values. Give a list of objects, one a row."
            )
        for key, value in record.items():
            columns.setdefault(str(key), [None] * number).append(value)
        for values in columns.values():
            if len(values) == number:
                values.append(None)
    if not columns:
        raise EvidenceError(f"{name}: its objects hold nothing.")
    return _of_columns(columns, name)


def _of_columns(columns: Mapping[str, list[Any]], name: str) -> pl.DataFrame:
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1:
        raise EvidenceError(f"{name}: columns differ in length. Every column needs a value a row.")
    return pl.DataFrame({key: _series(key, values) for key, values in columns.items()})


def _of_rows(value: Mapping[str, Mapping[str, Any]], name: str) -> pl.DataFrame:
    """``{policy: {task: score}}``, or pandas' ``{column: {row: value}}``."""
    keys = [list(map(str, row)) for row in value.values()]
    numbered = all(key.isdigit() for row in keys for key in row)
    if numbered and all(row == keys[0] for row in keys):
        columns = {str(key): list(column.values()) for key, column in value.items()}
        return _of_columns(columns, name)
    records = [{"policy": policy, **row} for policy, row in value.items()]
    return _of_records(records, name)


def _series(name: str, values: list[Any]) -> pl.Series:
    """One type a column; of mixed ones the text; nested ones stay nested, and are no scores."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool}:
        return pl.Series(name, values, dtype=pl.Boolean)
    if kinds <= {int} and all(value is None or abs(value) <= BIG for value in values):
        return pl.Series(name, values, dtype=pl.Int64)
    if kinds <= {int, float} and all(type(v) is not int or abs(v) <= BIG for v in values):
        return pl.Series(name, [None if v is None else float(v) for v in values], dtype=pl.Float64)
    if {dict, list} & kinds:
        return _nested(name, values)
    return pl.Series(name, [None if v is None else _as_text(v) for v in values], dtype=pl.String)


def _nested(name: str, values: list[Any]) -> pl.Series:
    """Lists and objects as they are, where they are alike; else as lists of their text."""
    try:
        return pl.Series(name, values)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        return pl.Series(name, [[_as_text(v)] for v in values], dtype=pl.List(pl.String))


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
