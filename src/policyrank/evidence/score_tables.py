"""The columns of scores in long and wide tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypedDict

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence import columns_together, roles, run_states, tables as t, usual_names
from policyrank.evidence.account import Account, Bad, listed
from policyrank.evidence.base import Labels
from policyrank.evidence.directions import ALL, matching, says_higher, usually_lower
from policyrank.evidence.long_scores import LongTable
from policyrank.evidence.wide_scores import WideTable

Float = NDArray[np.float64]
Named = Iterable[str] | bool | None


class ScoreOptions(TypedDict, total=False):
    """How a table of scores is read; ``read_scores`` says what each option means."""

    policy: str | None
    task: str | None
    score: str | None
    metric: str | None
    replicate: str | None
    unit: str | None
    weight: str | None
    tasks: Sequence[str] | None
    rows: Literal["policies", "tasks"] | None
    on: Sequence[str] | None
    lower_is_better: Named
    higher_is_better: Iterable[str] | None
    bad: Bad
    strict: bool


def score_columns(
    source: Any,
    *,
    policy: str | None = None,
    task: str | None = None,
    score: str | None = None,
    metric: str | None = None,
    replicate: str | None = None,
    unit: str | None = None,
    weight: str | None = None,
    tasks: Sequence[str] | None = None,
    rows: Literal["policies", "tasks"] | None = None,
    on: Sequence[str] | None = None,
    lower_is_better: Named = None,
    higher_is_better: Iterable[str] | None = None,
    bad: Bad = "raise",
    strict: bool = False,
) -> dict[str, Any]:
    """The columns that make a ``Scores``, by the names of its fields."""
    frame, name = t.open_table(source)
    table = t.collect(frame, name)
    account = Account(name, bad, strict)
    table = run_states.finished(t.without_blank_rows(t.with_one_header(table), account), account)
    found = _named_columns(table, name, policy, task, score, metric, replicate, unit, weight)
    long = tasks is None and rows is None and {"policy", "score"} <= set(found)
    if long and score is None and not _is_long(table, found, name):
        long = False
        del found["score"]
    kind = LongTable if long else WideTable
    semicolons = t.has_semicolons(source)
    reading = kind(table, account, found, tasks, rows, on, score is not None, semicolons)
    cells = reading.cells()
    marked = None
    if lower_is_better is None and "lower_is_better" in table.columns and long:
        marked = _marked_lower(table, found)
    fields = cells.fields(account)
    told = marked if marked is not None else lower_is_better
    lower = directed(fields, told, higher_is_better, lower=cells.is_lower)
    fields["lower_is_better"] = lower
    read = f"read from {name}: {reading.summary(fields, lower)}"
    return fields | {"notes": (read, *account.notes)}


_ROLES = {
    "policy": usual_names.POLICY,
    "task": (*usual_names.TASK, *usual_names.MORE_TASKS),
    "score": usual_names.SCORE,
    "metric": usual_names.METRIC,
    "replicate": usual_names.REPLICATE,
    "unit": (),
    "weight": usual_names.WEIGHT,
}


def _named_columns(table: pl.DataFrame, name: str, *given: str | None) -> dict[str, str]:
    """The column of each role: as given, or one with a usual name; a column has one role."""
    found: dict[str, str] = {}
    for (role, usual), told in zip(_ROLES.items(), given, strict=True):
        free = [column for column in table.columns if column not in found.values()]
        column = t.given(table.columns if told else free, told, usual, f"the {role}", name)
        if column is not None:
            found[role] = column
    return found


def _is_long(table: pl.DataFrame, found: dict[str, str], name: str) -> bool:
    """Whether the column called score, accuracy, ... is the one score of a row.

    A name that says what was measured is one score of several where other columns are scores too.
    """
    others = [column for column in table.columns if column not in found.values()]
    if "task" not in found:
        return not others
    if t.find([found["score"]], usual_names.PLAIN_SCORE) is not None:
        return True
    columns = [roles.judge(table[column], name) for column in others]
    columns_together.settle(columns, table.height)
    return not any(column.role == "score" for column in columns)


def _marked_lower(table: pl.DataFrame, found: dict[str, str]) -> list[str] | bool:
    """The metrics (or tasks) that the table's own column lower_is_better marks."""
    marked = pl.col("lower_is_better").cast(pl.String).str.to_lowercase() == "true"
    lower = table.filter(marked)
    role = found.get("metric", found.get("task"))
    return bool(lower.height) if role is None else lower[role].unique().to_list()


def directed(
    fields: dict[str, Any],
    told: Named,
    higher: Iterable[str] | None = None,
    *,
    lower: bool = False,
) -> frozenset[str]:
    """Which metrics or tasks are better when smaller: those told and those of usual names.

    ``told=False``: none; ``True``: all. ``higher`` takes usual names back. ``lower``: whether what
    was measured is, whatever the tasks are called.

    Raises
    ------
    EvidenceError
        For a name or pattern that fits no metric and no task.
    """
    if told is True:
        return frozenset({ALL})
    names = [*fields["task"].names]
    usual = names
    if fields.get("metric") is not None:
        usual = [*fields["metric"].names]
        names += usual
    named, idle = matching(names, told or ())
    not_lower, also_idle = matching(names, higher or ())
    for pattern in (*idle, *also_idle):
        if pattern == ALL:
            return frozenset({ALL})
        raise EvidenceError(
            f"no metric or task is called {pattern!r}, or fits it. There are: {listed(names)}."
        )
    if told is False:
        return frozenset(named)
    by_name = {name for name in usual if usually_lower(name)}
    if usual is not names and not by_name:
        by_name = {name for name in fields["task"].names if usually_lower(name)}
    if lower:
        by_name |= {name for name in usual if len(usual) == 1 or not says_higher(name)}
    return frozenset(named | by_name) - not_lower


def table_columns(table: Float, tasks: Iterable[str], policies: Iterable[str]) -> dict[str, Any]:
    """The columns of a (tasks, policies) table; NaN: not measured."""
    task, policy = Labels.of(tasks), Labels.of(policies)
    if table.shape != (len(task), len(policy)):
        names = len(task), len(policy)
        raise EvidenceError(f"the table is {table.shape}, the names make {names}.")
    row, column = np.nonzero(~np.isnan(table))
    return {"policy": policy.take(column), "task": task.take(row), "score": table[row, column]}
