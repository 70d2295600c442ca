"""A series over time: one column of numbers in a table, told by name and content."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from policyrank.errors import EvidenceError
from policyrank.evidence import columns_together, roles, tables as t
from policyrank.evidence.account import Account, listed
from policyrank.evidence.directions import words
from policyrank.evidence.units import is_number

DEMAND = frozenset("demand demands sales sold units quantity qty volume orders consumption".split())
"""Words of the column that is meant, where there are several."""


def read_series(path: str | Path) -> tuple[tuple[float, ...], str]:
    """The values, a row a period, and a sentence about the column that they come from.

    Numbers that run with the rows, dates and ids are no series.

    Raises
    ------
    EvidenceError
        When there is none, several could be meant, or a value is missing.
    """
    frame, name = t.open_table(path)
    table = t.without_blank_rows(_with_heading(t.collect(frame, name)), Account(name))
    columns = [roles.judge(table[column], name) for column in table.columns]
    if len(columns) > 1:
        columns_together.settle(columns, table.height)
    candidates = [column for column in columns if column.role == "score"]
    named = [column for column in candidates if DEMAND & set(words(column.name))]
    chosen = named or candidates
    if len(chosen) != 1:
        reasons = [f"{c.name}: {c.reason}" for c in columns if c.reason]
        found = listed([column.name for column in chosen]) or f"none ({listed(reasons)})"
        raise EvidenceError(
            f"{name}: which column is the demand? Found {found}. Leave one, or call it 'demand'."
        )
    values, strange = chosen[0].parsed.values, chosen[0].parsed.strange
    missing = pl.Series(values).is_nan() | pl.Series(strange)
    if missing.any():
        row = int(missing.arg_true()[0])
        raise EvidenceError(
            f"{name}, row {row + 1:,}: {table[chosen[0].name][row]!r} in column"
            f" {chosen[0].name!r} is no number. Mend it."
        )
    told = f"{name}: demand from column {chosen[0].name!r}, {len(values):,} periods"
    return tuple(values.tolist()), told


def _with_heading(table: pl.DataFrame) -> pl.DataFrame:
    """A table whose heading is numbers has none: these are its first row."""
    if not all(is_number(column.partition("_duplicated_")[0]) for column in table.columns):
        return table
    columns = {}
    for place, column in enumerate(table.columns):
        columns[f"column {place + 1}"] = [column, *table[column].cast(pl.String)]
    return pl.DataFrame(columns)
