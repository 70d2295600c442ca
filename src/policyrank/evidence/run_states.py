"""Runs that did not end are no results."""

from __future__ import annotations

import polars as pl

from policyrank.evidence import tables as t
from policyrank.evidence.account import Account, plural

FINISHED = frozenset(
    "finished completed complete success succeeded successful done ok ended".split()
)
NOT_FINISHED = frozenset(
    """
    crashed failed failure error errored killed running cancelled canceled pending timeout queued
    preempted scheduled started aborted
    """.split()
)


def finished(table: pl.DataFrame, account: Account) -> pl.DataFrame:
    """Without the rows that a column State or Status says were not finished; they are counted."""
    column = t.find(table.columns, ("state", "status", "run_state"))
    if column is None or table[column].dtype != pl.String:
        return table
    states = table[column].str.strip_chars().str.to_lowercase()
    known = set(states.drop_nulls().unique()) - {""}
    if not known & FINISHED or known - FINISHED - NOT_FINISHED:
        return table
    ended = states.is_in(list(FINISHED))
    left = table.height - int(ended.sum())
    if left:
        others = ", ".join(sorted(known & NOT_FINISHED)) or "no state"
        account.note(f"{plural(left, 'row')} left out: not finished ({column}: {others})")
    return table.filter(ended)
