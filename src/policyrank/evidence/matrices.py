"""A square table with the same names in its rows and columns: wins of the row over the column."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence import tables as t
from policyrank.evidence.comparisons import Comparisons
from policyrank.evidence.units import parse

WIDEST = 2000
"""Wider tables are not looked at: a matrix of wins of so many policies is no file of a person."""


def _names(frame: pl.LazyFrame, name: str) -> tuple[str, list[str]] | None:
    """The label column and the other columns, when these are the row's names."""
    schema = frame.collect_schema()
    if not 3 <= len(schema) <= WIDEST:
        return None
    label, *others = schema.names()
    if schema[label].is_nested():
        return None
    rows = t.collect(frame.select(pl.col(label).cast(pl.String)).head(len(schema)), name)
    names = t.clean_names(rows[label]).to_list()
    if sorted(names) != sorted(map(str.strip, others)) or len({*names}) < len(names):
        return None
    return label, others


def is_matrix(source: Any) -> bool:
    """Whether a table names the same in its first column and in its header."""
    frame, name = t.open_table(source)
    return _names(frame, name) is not None


def comparisons_of_matrix(source: Any) -> Comparisons:
    """Counts of wins: row i, column j holds how often i beat j.

    Raises
    ------
    EvidenceError
        When the cells are no counts, such as win rates, which do not say of how many.
    """
    frame, name = t.open_table(source)
    found = _names(frame, name)
    assert found is not None
    label, columns = found
    table = t.collect(frame, name)
    rows = t.clean_names(table[label]).to_list()
    cells = [parse(table[column], name) for column in columns]
    for column, parsed in zip(columns, cells, strict=True):
        if parsed.strange.any():
            row = int(np.argmax(parsed.strange))
            raise EvidenceError(
                f"{name}, row {row + 1}, column {column!r}: {table[column][row]!r} is no count of"
                " wins. Mend it."
            )
    wins = np.column_stack([parsed.values for parsed in cells])
    order = [rows.index(column.strip()) for column in columns]
    wins = wins[order]
    _check(wins, name, columns)
    first, second = np.nonzero(np.nan_to_num(wins) > 0)
    notes = [
        f"read from {name}: a matrix of wins, the row over the column, policies from {label}",
        "a matrix of wins holds no ties",
    ]
    names = np.array([column.strip() for column in columns])
    return Comparisons.of(
        names[first],
        names[second],
        np.ones(len(first)),
        count=wins[first, second].astype(np.int64),
        notes=tuple(notes),
    )


def _check(wins: NDArray[np.float64], name: str, columns: list[str]) -> None:
    off = ~np.eye(len(wins), dtype=bool)
    cells = wins[off]
    known = cells[~np.isnan(cells)]
    whole = (known == np.round(known)) & (known >= 0) & (known < 2**53)
    if not len(known) or not whole.all():
        raise EvidenceError(
            f"{name}: a matrix with the same names in rows and columns, and its cells are no counts"
            " of wins. Give counts, or a table with columns a, b and the outcome."
        )
    if (np.nan_to_num(np.diag(wins)) > 0).any():
        place = columns[int(np.argmax(np.nan_to_num(np.diag(wins)) > 0))]
        raise EvidenceError(
            f"{name}: {place!r} has wins over itself in this matrix. Leave the diagonal empty."
        )
