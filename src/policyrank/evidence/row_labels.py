"""Which column names the rows of a wide table, and whether these are policies or tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from policyrank.errors import EvidenceError
from policyrank.evidence import roles, tables as t, usual_names
from policyrank.evidence.account import listed
from policyrank.evidence.directions import words
from policyrank.evidence.units import is_number

if TYPE_CHECKING:
    from policyrank.evidence.wide_scores import WideTable


def label_of(reading: WideTable) -> tuple[str, str]:
    """The column that names the rows, and what these are; fills ``reading.taken``."""
    found, columns = reading.found, reading.table.columns
    policy, task = found.get("policy"), found.get("task")
    if policy is None and task is None and reading.rows is None:
        task = _metrics_or_raters(reading)
    rows = reading.rows or ("policies" if policy is not None or task is None else "tasks")
    named, otherwise = (task, _task_label) if rows == "tasks" else (policy, _first_text)
    label = named or otherwise(reading)
    _check_header(label, [name for name in columns if name != label], reading)
    reading.taken = {"policy" if rows == "policies" else "task": label}
    if reading.table[label].n_unique() < reading.table.height:
        if rows == "policies":
            _take_keys(reading, label)
        else:
            _take_metric_or_policy(reading, label)
    if "policy" in reading.taken:
        return reading.taken["policy"], "policies"
    return label, rows


def _take_keys(reading: WideTable, label: str) -> None:
    """What tells rows of a policy apart: a task, a replicate, or the one column that can."""
    for role in ("task", "replicate"):
        if role in reading.found and reading.found[role] != label:
            reading.taken[role] = reading.found[role]
    if len(reading.taken) > 1:
        return
    candidates = []
    for column in reading.table.columns:
        if column == label or reading.judged(column).reason not in ("text", "a date"):
            continue
        if not reading.table.select(label, column).is_duplicated().any():
            candidates.append(column)
    if len(candidates) == 1:
        reading.account.guess(
            f"column {candidates[0]!r} taken for the tasks: with {label!r} it tells the rows apart",
            "Name it: task=... (--task), or replicate=... (--replicate).",
        )
        reading.found["task"] = reading.taken["task"] = candidates[0]


def _take_metric_or_policy(reading: WideTable, label: str) -> None:
    """What tells several rows of a task apart: a metric, or the policies under an unusual name."""
    if "metric" in reading.found:
        reading.taken["metric"] = reading.found["metric"]
        return
    candidates = []
    for column in reading.table.columns:
        if column != label and reading.judged(column).reason == "text":
            candidates.append(column)
    if len(candidates) == 1:
        reading.account.guess(
            f"column {candidates[0]!r} taken for the policies: the other one of text",
            "Name it: policy=... (--policy).",
        )
        reading.found |= {"policy": candidates[0], "task": label}
        reading.taken["policy"] = candidates[0]
        if "replicate" in reading.found:
            reading.taken["replicate"] = reading.found["replicate"]


def _metrics_or_raters(reading: WideTable) -> str | None:
    """A first column of metrics or of raters: the other columns are the policies."""
    columns = reading.table.columns
    metric = t.find(columns[:1], usual_names.METRIC)
    if metric is not None:
        return metric
    rater = t.find(columns[:1], (*usual_names.RATER, "reviewer", "expert", "participant_id"))
    if rater is None:
        return None
    reading.are_ranks = _are_places(reading.table.drop(rater))
    told = "places, 1 is the best" if reading.are_ranks else "scores"
    reading.account.guess(
        f"each {rater} taken as a task, the cells as {told}",
        "Say rows='policies' or rows='tasks' (--rows).",
    )
    return rater


def _are_places(cells: pl.DataFrame) -> bool:
    """Whether every row holds 1 to k once."""
    if any(kind.is_nested() or kind.is_temporal() for kind in cells.dtypes):
        return False
    numbers = cells.select(pl.all().cast(pl.Float64, strict=False)).to_numpy()
    if np.isnan(numbers).any():
        return False
    return bool((np.sort(numbers, axis=1) == np.arange(1, cells.width + 1)).all())


def _task_label(reading: WideTable) -> str:
    """The first column, where it holds text; else the rows are numbered."""
    first = reading.table.columns[0]
    if reading.judged(first).reason in ("text", "a date", "an id", "an index"):
        return first
    numbers = pl.int_range(1, reading.table.height + 1, eager=True).cast(pl.String)
    reading.table = reading.table.with_columns(numbers.alias("row"))
    return "row"


def _first_text(reading: WideTable) -> str:
    """The first column of names, where none has a usual name."""
    for column in reading.table.columns:
        names = reading.table[column]
        if reading.judged(column).reason == "text" and names.n_unique() == len(names):
            _check_unnamed(reading, column)
            reading.account.guess(
                f"column {column or '(no name)'} taken for the policies: the first one of text",
                "Name it: policy=... (--policy).",
            )
            return column
    raise EvidenceError(
        f"{reading.account.name}: no column names the policies. It has:"
        f" {t.listing(reading.table.columns)}. Name it with policy=... (--policy), or, where each"
        " column is a policy, say rows='tasks' (--rows tasks)."
    )


def _check_unnamed(reading: WideTable, label: str) -> None:
    """Whether rows are policies cannot be known where their names stand under no header, unless
    the other headers are metrics or benchmarks.
    """
    unnamed = not label.strip() or label.lower().startswith(("unnamed", "column "))
    others = [name for name in reading.table.columns if name != label]
    if reading.rows is None and unnamed and not any(roles.is_measure(name) for name in others):
        raise EvidenceError(
            f"{reading.account.name}: the first column has no header, so that its rows could be"
            " policies or tasks. Say rows='policies' or rows='tasks' (--rows)."
        )


def _check_header(label: str, others: Sequence[str], reading: WideTable) -> None:
    """Refuse a header that is a row of results: numbers beside a name of no role."""
    if label in reading.found.values() or reading.rows is not None or not others:
        return
    numbers = [name for name in others if is_number(name.partition("_duplicated_")[0])]
    if numbers:
        raise EvidenceError(
            f"{reading.account.name}: the header holds numbers ({listed(numbers, most=4)}): it"
            " seems to be the first row of results. Add a line with the names of the columns."
        )


_HELPERS = frozenset(
    """
    gold answer answers correct label target reference truth expected difficulty delta diff
    difference improvement gain pvalue significance best winner key solution
    """.split()
)


def leave_helpers(columns: Iterable[roles.Column]) -> None:
    """Columns beside those of policies that are none: the right answer, differences, p-values."""
    for column in columns:
        found = words(column.name)
        if set(found) <= _HELPERS or found[:2] == ("p", "value") or "correct" in found:
            column.leave("not a policy, by its name")
