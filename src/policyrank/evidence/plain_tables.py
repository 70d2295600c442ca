"""Tables of which the columns are known: names that are texts, and numbers that are finite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from policyrank.errors import EvidenceError
from policyrank.evidence import tables
from policyrank.evidence.sources import open_source


def read_columns(
    path: str | Path,
    *,
    texts: Sequence[str] = (),
    numbers: Sequence[str] = (),
    perhaps: Sequence[str] = (),
) -> pl.DataFrame:
    """The columns of a table that are named; those of ``perhaps`` only where they are there.

    Any table that can be read as evidence: CSV, parquet, JSONL and others.

    Raises
    ------
    EvidenceError
        When a column is missing, a text is empty, or a number is none or is not finite: naming
        file, row and column.
    """
    frame, name = tables.open_table(open_source(path))
    table = tables.collect(frame, name)
    if not table.height:
        raise EvidenceError(f"{name}: it has columns but no rows.")
    columns = {}
    for column in (*texts, *numbers):
        if column not in table.columns:
            if column in perhaps:
                continue
            there = tables.listing(table.columns)
            raise EvidenceError(f"{name} has no column {column!r}; it has {there}.")
        if table[column].dtype.is_nested():
            raise EvidenceError(f"{name}: {tables.nested(column)}")
        read = _texts if column in texts else _numbers
        columns[column] = read(table[column], name)
    return pl.DataFrame(columns)


def _texts(column: pl.Series, name: str) -> pl.Series:
    texts = tables.as_text(column).fill_null("").str.strip_chars()
    _refuse_first(column, texts == "", name, "is empty. Fill it in, or leave the row out")
    return texts


def _numbers(column: pl.Series, name: str) -> pl.Series:
    plain = column
    if not column.dtype.is_numeric():
        texts = tables.as_text(column).str.strip_chars()
        plain = texts.cast(pl.Float64, strict=False)
    if column.dtype == pl.Boolean:
        plain = pl.Series(column.name, [None] * len(column), dtype=pl.Float64)
    numbers = plain.cast(pl.Float64)
    bad = ~numbers.is_finite().fill_null(False)
    _refuse_first(column, bad, name, "is no finite number. Mend it, or leave the row out")
    return numbers


def _refuse_first(column: pl.Series, bad: pl.Series, name: str, why: str) -> None:
    if bad.any():
        row = int(bad.arg_true()[0])
        cell = column[row]
        raise EvidenceError(f"{name}, row {row + 1:,}: {column.name} {cell!r} {why}.")
