"""The columns of comparisons in any table: found by name, outcomes by their usual labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypedDict

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence import tables as t, usual_names
from policyrank.evidence.account import Account, Bad, plural
from policyrank.evidence.comparison_rows import COVARIATE, Rows, no_count
from policyrank.evidence.pairs import Form, outcome_of, pair_of, with_outcome


class ComparisonOptions(TypedDict, total=False):
    """How a table of comparisons is read; ``read_comparisons`` says what each option means."""

    a: str | None
    b: str | None
    outcome: str | None
    task: str | None
    rater: str | None
    time: str | None
    weight: str | None
    count: str | None
    covariates: Sequence[str]
    first_wins: int | None
    keep: Iterable[str]
    counted: bool
    bad: Bad
    strict: bool


def comparison_columns(
    source: Any,
    *,
    a: str | None = None,
    b: str | None = None,
    outcome: str | None = None,
    task: str | None = None,
    rater: str | None = None,
    time: str | None = None,
    weight: str | None = None,
    count: str | None = None,
    covariates: Sequence[str] = (),
    first_wins: int | None = None,
    keep: Iterable[str] = ("task", "rater", "ballot", "time", "weight"),
    counted: bool = False,
    bad: Bad = "raise",
    strict: bool = False,
) -> dict[str, Any]:
    """The columns that make a ``Comparisons``, by the names of its fields."""
    frame, name = t.open_table(source)
    schema = frame.collect_schema()
    columns = schema.names()
    account = Account(name, bad, strict)
    frame = _only_anonymous(frame, columns, account)
    first, second = pair_of(columns, a, b, name)
    form = outcome_of(columns, first, second, outcome, name)
    if a is None and form.kind == "winner first" and t.find(columns, ("prompt", "instruction")):
        raise EvidenceError(
            f"{name}: {first!r} and {second!r} beside a prompt hold answers, not policies. Name the"
            " columns of the policies with a=..., b=... (--a, --b)."
        )
    optional = {"task": task, "rater": rater, "time": time, "weight": weight, "count": count}
    optional |= {"ballot": None}
    taken = {first, second, *form.columns}
    roles = {"a": first, "b": second}
    roles |= _optional_roles(schema, optional, {*keep, "count"}, taken, name)
    extra = list(covariates)
    if not extra:
        extra = [c for c in columns if c.startswith(COVARIATE)]
    for column in extra:
        t.given(columns, column, (), "a covariate", name)
    if counted:
        roles.pop("time", None)
    if form.kind == "counts":
        roles.pop("count", None)
    frame = with_outcome(frame, form, roles)
    plain = counted and not extra and "count" not in roles and form.kind != "counts"
    table = t.collect(_query(frame, name, roles, extra, form, counted=plain), name)
    table = t.without_blank_rows(table, account, counts="count" if plain else None)
    if form.kind == "counts":
        table = _from_counts(table, form, account)
    named = frozenset(role for role, column in optional.items() if column is not None)
    rows = Rows(frame, roles, form, table, extra, counted, first_wins, account, named)
    return rows.columns()


def _only_anonymous(frame: pl.LazyFrame, columns: Sequence[str], account: Account) -> pl.LazyFrame:
    """Arena votes after the names were shown are no blind ones: they are left out, and counted."""
    flag = t.find(columns, ("anony",))
    if flag is None:
        return frame
    blind = pl.col(flag).cast(pl.String).str.to_lowercase().is_in(["true", "1"])
    shown = int(t.collect(frame.select((~blind).sum()), account.name).item() or 0)
    if not shown:
        return frame
    left = int(t.collect(frame.select(blind.sum()), account.name).item() or 0)
    if not left:
        raise EvidenceError(
            f"{account.name}: all {shown:,} votes were given when the names were known. Ratings"
            " use the anonymous ones only: give those, or leave the column out."
        )
    account.note(f"{plural(shown, 'vote')} left out: not anonymous")
    return frame.filter(blind)


def _optional_roles(
    schema: pl.Schema,
    named: dict[str, str | None],
    wanted: set[str],
    taken: set[str],
    name: str,
) -> dict[str, str]:
    """Columns of the optional roles: those that the caller named, and flat ones found by name."""
    flat = [column for column, kind in schema.items() if not kind.is_nested()]
    usual = {
        "task": usual_names.TASK,
        "rater": usual_names.RATER,
        "time": usual_names.TIME,
        "weight": usual_names.WEIGHT,
        "count": usual_names.COUNT,
        "ballot": ("ballot",),
    }
    roles = {}
    for role, column in named.items():
        if column is None and role not in wanted:
            continue
        among = flat if column is None else schema.names()
        found = t.given(among, column, usual[role], role, name)
        if found is not None and found not in taken:
            roles[role] = found
    return roles


def _query(
    frame: pl.LazyFrame,
    name: str,
    roles: dict[str, str],
    extra: Sequence[str],
    form: Form,
    *,
    counted: bool,
) -> pl.LazyFrame:
    """The wanted columns under the names of their roles, names as categories; perhaps counted."""
    renamed = [pl.col(column).alias(role) for role, column in roles.items()]
    results = [pl.col(column).alias(COUNTED + column) for column in form.counts.values()]
    query = frame.select(*renamed, *results, *map(pl.col, extra))
    schema = query.collect_schema()
    for role, column in roles.items():
        if schema[role].is_nested():
            raise t.nested(column)
    names = [role for role in roles if role in ("a", "b", "task", "rater", "ballot")]
    if "outcome" in roles and not schema["outcome"].is_numeric():
        names.append("outcome")
    query = query.with_columns(pl.col(names).cast(pl.String))
    categories = pl.col(names).cast(pl.Categorical)
    if not counted:
        return query.with_columns(categories)
    if not _few_names(query.select(names), name):
        query = query.with_columns(categories)
    query = query.group_by(list(schema)).agg(pl.len().cast(pl.Int64).alias("count"))
    return query.with_columns(categories)


def _few_names(names: pl.LazyFrame, source: str) -> bool:
    """Whether the first rows hold few names: groups of texts are found sooner then.

    Of many names they would take several times the memory of categories.
    """
    first = t.collect(names.head(10_000), source)
    return all(column.n_unique() <= 100 for column in first.get_columns())


COUNTED = "policyrank.counted."
"""Before the name of a column that counts results."""


def _from_counts(table: pl.DataFrame, form: Form, account: Account) -> pl.DataFrame:
    """One row a result that was counted (or flagged) in a row: wins, losses, ties."""
    table = table.with_row_index("policyrank.row")
    parts = []
    for outcome, column in form.counts.items():
        counts = _count_or_flag(table[COUNTED + column])
        wrong = no_count(counts)
        places = []
        for row in np.flatnonzero(wrong):
            places.append(f"row {row + 1:,} ({column} = {table[COUNTED + column][int(row)]!r})")
        account.unusable("a count of wins or ties is no whole number >= 0", places, "row")
        counts[wrong] = 0
        parts.append(table.with_columns(pl.Series("count", counts), outcome=pl.lit(outcome)))
    if form.is_flags:
        _check_one_result(table, form, account)
    stacked = pl.concat(parts).sort("policyrank.row", maintain_order=True)
    kept = stacked.filter(pl.col("count") > 0)
    idle = table.height - kept["policyrank.row"].n_unique()
    if idle:
        account.note(f"{plural(idle, 'row')} without a win, loss or tie left out")
    if not kept.height:
        raise EvidenceError(f"{account.name}: all counts are zero.")
    return kept.drop("policyrank.row", cs.starts_with(COUNTED))


def _check_one_result(table: pl.DataFrame, form: Form, account: Account) -> None:
    """Refuse rows whose flags say two results."""
    flags = [_count_or_flag(table[COUNTED + column]) for column in form.counts.values()]
    twice = np.flatnonzero(np.nansum(flags, axis=0) > 1)
    if len(twice):
        raise EvidenceError(
            f"{account.name}, row {int(twice[0]) + 1:,}: more than one of"
            f" {', '.join(form.counts.values())} says who won. Mend it."
        )


def _count_or_flag(series: pl.Series) -> NDArray[np.float64]:
    """Counts, of flags 1 and 0; NaN where there is neither."""
    text = t.as_text(series).str.strip_chars().str.to_lowercase()
    flags = text.replace({"true": "1", "false": "0"})
    return flags.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy().copy()
