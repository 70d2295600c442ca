"""The columns of scores in long and wide tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypedDict

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence import tables as t
from policyrank.evidence.base import Labels
from policyrank.evidence.comparison_tables import Bad

ALL = "*"
"""In ``lower_is_better``: every metric."""

LOWER = frozenset(
    """
    loss error errorrate perplexity wordperplexity byteperplexity bitsperbyte ppl wer cer ter
    mae mse rmse latency runtime seconds cost regret fid brier ece
    """.split()
)
"""Names of metrics whose smaller values are better."""

_MISSING = ("", "-", "–", "—", "na", "n/a", "nan", "null", "none", "?")
_GROUPED = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")
_SPREAD = r"±|\+/-"


class ScoreOptions(TypedDict, total=False):
    """How a table of scores is read; ``read_scores`` says what each option means."""

    policy: str | None
    task: str | None
    score: str | None
    metric: str | None
    replicate: str | None
    weight: str | None
    tasks: Sequence[str] | None
    rows: Literal["policies", "tasks"] | None
    lower_is_better: Iterable[str] | bool | None
    bad: Bad


def score_columns(
    source: Any,
    *,
    policy: str | None = None,
    task: str | None = None,
    score: str | None = None,
    metric: str | None = None,
    replicate: str | None = None,
    weight: str | None = None,
    tasks: Sequence[str] | None = None,
    rows: Literal["policies", "tasks"] | None = None,
    lower_is_better: Iterable[str] | bool | None = None,
    bad: Bad = "raise",
) -> dict[str, Any]:
    """The columns that make a ``Scores``, by the names of its fields."""
    frame, name = t.open_table(source)
    columns = frame.collect_schema().names()
    found = {
        "policy": t.given(columns, policy, t.POLICY, "the policy", name),
        "task": t.given(columns, task, t.TASK, "the task", name),
        "score": t.given(columns, score, t.SCORE, "the score", name),
        "metric": t.given(columns, metric, t.METRIC, "the metric", name),
        "replicate": t.given(columns, replicate, t.REPLICATE, "the replicate", name),
        "weight": t.given(columns, weight, t.WEIGHT, "the weight", name),
    }
    table = t.collect(frame, name)
    if not table.height:
        raise EvidenceError(f"{name}: it has columns but no rows.")
    has_roles = found["policy"] and found["score"] and (found["task"] or len(columns) <= 3)
    if not has_roles or rows is not None or tasks is not None:
        return directed(_wide(table, name, found, tasks, rows), lower_is_better)
    used = {role: column for role, column in found.items() if column is not None}
    if lower_is_better is None and "lower_is_better" in columns:
        lower_is_better = _marked_lower(table, used)
    return directed(_long(table, name, used, bad), lower_is_better)


def _marked_lower(table: pl.DataFrame, used: dict[str, str]) -> list[str] | bool:
    """The metrics (or tasks) that the table's own column lower_is_better marks."""
    marked = pl.col("lower_is_better").cast(pl.String).str.to_lowercase() == "true"
    lower = table.filter(marked)
    role = used.get("metric", used.get("task"))
    return bool(lower.height) if role is None else lower[role].unique().to_list()


def directed(fields: dict[str, Any], lower: Iterable[str] | bool | None) -> dict[str, Any]:
    """Fields with the direction told: as given, or by the usual names, which a note then says."""
    if lower is False:
        chosen: frozenset[str] = frozenset()
    elif lower is True:
        chosen = frozenset({ALL})
    elif lower is not None:
        chosen = frozenset(lower)
    elif fields.get("lower_is_better"):
        return fields
    else:
        names = fields.get("metric", fields["task"]).names
        chosen = frozenset(filter(usually_lower, names))
        if chosen:
            told = f"taken as lower is better, by name: {', '.join(sorted(chosen))}"
            return fields | {"lower_is_better": chosen, "notes": (*fields["notes"], told)}
    return fields | {"lower_is_better": chosen}


def usually_lower(name: str) -> bool:
    """Whether a metric of this name (``loss``, ``word_perplexity,none``) is better when smaller."""
    return t.key(name) in LOWER or t.key(name.split(",")[0]) in LOWER


def _parse(series: pl.Series) -> tuple[NDArray[np.float64], NDArray[np.bool_], int]:
    """Numbers, which cells are no number, and how many had a spread (``1.5±0.2``)."""
    if series.dtype.is_numeric() or series.dtype == pl.Boolean:
        values = series.cast(pl.Float64).fill_null(np.nan).to_numpy()
        return values, np.zeros(len(series), dtype=bool), 0
    text = series.cast(pl.String).fill_null("").str.strip_chars()
    spread = text.str.contains(_SPREAD)
    text = text.str.replace(rf"\s*({_SPREAD}).*$", "").str.strip_suffix("%")
    parsed = text.cast(pl.Float64, strict=False)
    grouped = parsed.is_null() & text.str.contains(f"^{_GROUPED.pattern}$")
    if grouped.any():
        whole = text.str.replace_all(",", "").cast(pl.Float64, strict=False)
        parsed = parsed.zip_with(~grouped, whole)
    missing = text.str.to_lowercase().is_in(list(_MISSING))
    strange = parsed.is_null() & ~missing
    return parsed.fill_null(np.nan).to_numpy(), strange.to_numpy(), int(spread.sum())


def _names(series: pl.Series) -> pl.Series:
    return series.cast(pl.String).fill_null("").str.strip_chars()


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def _spread_note(count: int) -> list[str]:
    return [f"the spread after ± was cut from {count:,} scores"] if count else []


def _long(table: pl.DataFrame, name: str, found: dict[str, str], bad: Bad) -> dict[str, Any]:
    values, strange, spread = _parse(table[found["score"]])
    named = {}
    for role in ("policy", "task", "metric", "replicate"):
        if role in found:
            named[role] = _names(table[found[role]])
    if "task" not in named:
        named["task"] = pl.repeat(found["score"], len(values), dtype=pl.String, eager=True)
    problems = {
        f"a score that is no number, in column {found['score']!r}": strange,
        "a missing score": ~strange & ~np.isfinite(values),
    }
    for role, column in named.items():
        problems[f"a missing {role}"] = (column == "").to_numpy()
    good, notes = np.ones(len(values), dtype=bool), []
    for what, rows in problems.items():
        wrong = rows & good
        if not wrong.any():
            continue
        count = int(wrong.sum())
        if bad == "raise":
            row = int(np.argmax(wrong))
            such = _rows(count).replace("row", "such row")
            raise EvidenceError(
                f"{name}, row {row + 1:,} ({named['policy'][row]!r}:"
                f" {table[found['score']][row]!r}): {what}; {such}. Mend the file, or leave such"
                " rows out with bad='skip' (--skip-bad)."
            )
        good &= ~wrong
        notes.append(f"{_rows(count)} left out: {what}")
    if not good.any():
        raise EvidenceError(f"{name}: no usable row is left ({'; '.join(notes)}).")
    notes += _spread_note(spread)
    fields: dict[str, Any] = {role: Labels.of(s.filter(good)) for role, s in named.items()}
    if "replicate" not in fields:
        cells = pl.DataFrame({role: column.codes for role, column in fields.items()})
        if repeated := cells.height - cells.unique().height:
            told = f"{repeated:,} scores repeat a policy on the same task: taken as replicates"
            notes.append(told)
    if "weight" in found:
        fields["weight"] = _parse(table[found["weight"]])[0][good]
    read = f"read from {name}, long, columns {', '.join(found.values())}"
    return fields | {"score": values[good], "notes": (read, *notes)}


def _wide(
    table: pl.DataFrame,
    name: str,
    found: dict[str, str | None],
    chosen: Sequence[str] | None,
    rows: str | None,
) -> dict[str, Any]:
    label, rows = _label_column(table.columns, found, rows)
    names = _row_names(table[label], name, rows)
    wanted = chosen
    if wanted is None:
        wanted = [column for column in table.columns if column != label]
    parsed, notes = _numeric_columns(table, name, wanted, required=chosen is not None)
    if chosen is None:
        notes += _drop_summaries(parsed)
    if not parsed:
        raise EvidenceError(f"{name}: no column of scores. It has: {t.listing(table.columns)}.")
    values = np.column_stack([numbers for numbers, _ in parsed.values()])
    notes += _spread_note(sum(spread for _, spread in parsed.values()))
    tasks, policies = names.to_list(), list(parsed)
    if rows == "policies":
        values, tasks, policies = values.T, policies, tasks
    if empty := int(np.isnan(values).sum()):
        notes.append(f"{empty:,} of {values.size:,} cells are empty: not measured")
    measured = ~np.isnan(values).all(axis=0)
    if not measured.all():
        without = np.array(policies)[~measured]
        notes.append("without any score: " + ", ".join(without))
    fields = table_columns(values[:, measured], tasks, np.array(policies)[measured].tolist())
    return fields | {"notes": (f"read from {name}, wide, {rows} as rows", *notes)}


def table_columns(
    table: NDArray[np.float64], tasks: Iterable[str], policies: Iterable[str]
) -> dict[str, Any]:
    """The columns of a (tasks, policies) table; NaN: not measured."""
    task, policy = Labels.of(tasks), Labels.of(policies)
    if table.shape != (len(task), len(policy)):
        names = len(task), len(policy)
        raise EvidenceError(f"the table is {table.shape}, the names make {names}.")
    row, column = np.nonzero(~np.isnan(table))
    return {"policy": policy.take(column), "task": task.take(row), "score": table[row, column]}


def _label_column(
    columns: Sequence[str], found: dict[str, str | None], rows: str | None
) -> tuple[str, str]:
    """The column that names the rows of a wide table, and what these are."""
    label = found["policy"]
    if rows == "tasks" and found["task"]:
        label = found["task"]
    if label is None or (rows is None and t.find(columns[:1], t.TASK)):
        label = columns[0]
    if rows is not None:
        return label, rows
    tasks = t.find([label], t.TASK) and not t.find([label], t.POLICY)
    return label, "tasks" if tasks else "policies"


def _row_names(column: pl.Series, name: str, rows: str) -> pl.Series:
    names = _names(column)
    empty, twice = names == "", names.is_duplicated()
    if empty.any():
        raise EvidenceError(
            f"{name}, row {int(empty.arg_true()[0]) + 1}: column {column.name!r} is empty. Every"
            " row needs a name."
        )
    if twice.any():
        row = int(twice.arg_true()[-1])
        raise EvidenceError(
            f"{name}, row {row + 1}: {names[row]!r} stands in {column.name!r} twice. In a wide"
            f" table a row is one of the {rows}; for a long table name its columns (policy, task,"
            " score)."
        )
    return names


def _numeric_columns(
    table: pl.DataFrame, name: str, wanted: Sequence[str], *, required: bool
) -> tuple[dict[str, tuple[NDArray[np.float64], int]], list[str]]:
    """Numbers and count of spreads of each column that holds scores, and notes on the others."""
    parsed, notes = {}, []
    for column in wanted:
        if column not in table.columns:
            raise EvidenceError(
                f"{name}: no column {column!r}. It has: {t.listing(table.columns)}."
            )
        values, strange, spread = _parse(table[column])
        if strange.all() or (not required and strange.mean() > 0.5):
            if required:
                raise EvidenceError(f"{name}: column {column!r} holds no numbers.")
            notes.append(f"column {column!r} left out: it holds no numbers")
            continue
        if strange.any():
            row = int(np.argmax(strange))
            raise EvidenceError(
                f"{name}, row {row + 1}, column {column!r}: {table[column][row]!r} is no number."
                " Mend it, leave it empty (not measured), or choose other columns with tasks=[...]"
                " (--tasks)."
            )
        if np.isinf(values).any():
            row = int(np.argmax(np.isinf(values)))
            raise EvidenceError(
                f"{name}, row {row + 1}, column {column!r}: an infinite score. Mend it."
            )
        if np.isnan(values).all():
            notes.append(f"column {column!r} left out: it is empty")
            continue
        parsed[column] = values, spread
    return parsed, notes


def _drop_summaries(parsed: dict[str, Any]) -> list[str]:
    """Take out the columns that sum up the others (Average, Overall, ...), and say so."""
    summaries = [column for column in parsed if t.find([column], t.SUMMARY) is not None]
    if not summaries or len(parsed) - len(summaries) < 2:
        return []
    for column in summaries:
        del parsed[column]
    return [f"left out as summaries of the other columns: {', '.join(summaries)}"]
