"""The columns of comparisons in any table: found by name, outcomes by their usual labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence import outcomes, tables as t
from policyrank.evidence.base import Labels, check_policies, compact

COVARIATE = "covariate."
ROLES = ("a", "b", "outcome", "task", "rater", "time", "weight", "count")

Bad = Literal["raise", "skip"]
Mask = NDArray[np.bool_]


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
    keep: Iterable[str] = ("task", "rater", "time", "weight"),
    counted: bool = False,
    bad: Bad = "raise",
) -> dict[str, Any]:
    """The columns that make a ``Comparisons``, by the names of its fields."""
    frame, name = t.open_table(source)
    columns = frame.collect_schema().names()
    first, second, winner_first = _pair(columns, a, b, name)
    roles = {"a": first, "b": second}
    wins = t.find(columns, ("wins", "wins_a", "a_wins", "win_a", "wins1"))
    result = t.given(columns, outcome, () if winner_first else t.OUTCOME, "the outcome", name)
    if result is None and not winner_first and wins is None:
        raise EvidenceError(
            f"{name}: no column with the outcome. It has: {t.listing(columns)}. Name it with"
            " outcome=... (--outcome)."
        )
    if result in (first, second):
        raise EvidenceError(
            f"{name}: column {result!r} cannot be both a policy and the outcome. Name the columns."
        )
    optional = {"task": task, "rater": rater, "time": time, "weight": weight, "count": count}
    roles |= _optional_roles(columns, optional, {*keep, "count"}, {first, second, result}, name)
    extra = list(covariates)
    if not extra:
        extra = [c for c in columns if c.startswith(COVARIATE)]
    for column in extra:
        t.given(columns, column, (), "a covariate", name)
    if counted:
        roles.pop("time", None)
    if wins is not None and result is None and not winner_first:
        return _from_counts(frame, name, columns, roles, wins, bad)
    if result is not None:
        roles["outcome"] = result
    table = t.collect(_query(frame, name, roles, extra, counted=counted), name)
    if not table.height:
        raise EvidenceError(f"{name}: it has columns but no rows.")
    return _Rows(frame, name, roles, table, extra, counted, first_wins, bad).columns()


def _pair(columns: Sequence[str], a: str | None, b: str | None, name: str) -> tuple[str, str, bool]:
    """The two columns with policies, and whether the first of them holds the winner."""
    if (a is None) != (b is None):
        raise EvidenceError("give both a=... and b=... (--a and --b), or neither.")
    if a is not None and b is not None:
        for column, what in ((a, "the first policy"), (b, "the second policy")):
            t.given(columns, column, (), what, name)
        return a, b, (t.key(a), t.key(b)) in t.WINNER_FIRST
    for pair in t.PAIRS:
        first, second = (t.find(columns, (side,)) for side in pair)
        if first is not None and second is not None:
            return first, second, tuple(map(t.key, pair)) in t.WINNER_FIRST
    raise EvidenceError(
        f"{name}: no pair of columns with the two policies. It has: {t.listing(columns)}. Name them"
        " with a=..., b=... (--a, --b)."
    )


def _optional_roles(
    columns: Sequence[str],
    named: dict[str, str | None],
    wanted: set[str],
    taken: set[str | None],
    name: str,
) -> dict[str, str]:
    """Columns of the optional roles: those that the caller named, and those found by name."""
    usual = {
        "task": t.TASK,
        "rater": t.RATER,
        "time": t.TIME,
        "weight": t.WEIGHT,
        "count": t.COUNT,
    }
    roles = {}
    for role, column in named.items():
        if column is None and role not in wanted:
            continue
        found = t.given(columns, column, usual[role], role, name)
        if found is not None and found not in taken:
            roles[role] = found
    return roles


def _query(
    frame: pl.LazyFrame, name: str, roles: dict[str, str], extra: Sequence[str], *, counted: bool
) -> pl.LazyFrame:
    """The wanted columns under the names of their roles, names as categories; perhaps counted."""
    renamed = [pl.col(column).alias(role) for role, column in roles.items()]
    query = frame.select(*renamed, *map(pl.col, extra))
    schema = query.collect_schema()
    names = [role for role in roles if role in ("a", "b", "task", "rater")]
    if "outcome" in roles and not schema["outcome"].is_numeric():
        names.append("outcome")
    query = query.with_columns(pl.col(names).cast(pl.String))
    categories = pl.col(names).cast(pl.Categorical)
    if not counted or extra:
        return query.with_columns(categories)
    size = pl.len()
    if "count" in roles:
        size = pl.col("count").cast(pl.Int64, strict=False).sum()
    keys = [column for column in schema if column != "count"]
    if not _few_names(query.select(names), name):
        query = query.with_columns(categories)
    query = query.group_by(keys).agg(size.cast(pl.Int64).alias("count"))
    return query.with_columns(categories)


def _few_names(names: pl.LazyFrame, source: str) -> bool:
    """Whether the first rows hold few names: groups of texts are found sooner then.

    Of many names they would take several times the memory of categories.
    """
    first = t.collect(names.head(10_000), source)
    return all(column.n_unique() <= 100 for column in first.get_columns())


def _from_counts(
    frame: pl.LazyFrame,
    name: str,
    columns: Sequence[str],
    roles: dict[str, str],
    wins: str,
    bad: Bad,
) -> dict[str, Any]:
    """Already-counted results: a, b, wins and perhaps losses and ties."""
    counts_of = {
        1.0: wins,
        0.0: t.find(columns, ("losses", "wins_b", "b_wins", "win_b", "wins2", "loss")),
        0.5: t.find(columns, ("ties", "draws", "tie", "draw")),
    }
    roles.pop("count", None)
    there = {y: column for y, column in counts_of.items() if column is not None}
    renamed = [pl.col(column).alias(role) for role, column in roles.items()]
    counted = [pl.col(column).alias(str(y)) for y, column in there.items()]
    table = t.collect(frame.select(*renamed, *counted), name)
    parts = []
    for y in there:
        parts.append(table.select(*roles, pl.col(str(y)).alias("count"), outcome=pl.lit(y)))
    stacked = pl.concat(parts)
    counts = numbers(stacked["count"])
    wrong = _no_count(counts)
    if wrong.any():
        row = int(np.argmax(wrong)) % table.height
        raise EvidenceError(
            f"{name}, row {row + 1}: a count of wins or ties is no whole number >= 0. Mend the"
            " file."
        )
    stacked = stacked.filter(counts > 0)
    if not stacked.height:
        raise EvidenceError(f"{name}: all counts are zero.")
    names = [role for role in ("a", "b", "task", "rater") if role in roles]
    stacked = stacked.with_columns(pl.col(names).cast(pl.String).cast(pl.Categorical))
    roles |= {"outcome": wins, "count": wins}
    return _Rows(frame, name, roles, stacked, (), False, 1, bad).columns()


def numbers(series: pl.Series) -> NDArray[np.float64]:
    """Floats; NaN where a value is missing or no number."""
    if series.dtype in (pl.String, pl.Categorical):
        series = series.cast(pl.String).str.strip_chars()
    return series.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()


def _no_count(values: NDArray[np.float64]) -> Mask:
    return ~(np.isfinite(values) & (values >= 0) & (values == np.round(values)))


@dataclass
class _Rows:
    """The collected rows of a table of comparisons, on the way to be checked and encoded."""

    frame: pl.LazyFrame
    name: str
    roles: dict[str, str]
    table: pl.DataFrame
    extra: Sequence[str]
    counted: bool
    first_wins: int | None
    bad: Bad

    def columns(self) -> dict[str, Any]:
        """The fields of a ``Comparisons``, after every row was judged."""
        fields = self._encoded()
        names = fields.pop("names")
        good, notes = self._judge(self._problems(fields), fields.get("count"))
        if not good.all():
            self.table = self.table.filter(good)
            fields = {field: values[good] for field, values in fields.items()}
        rows = len(fields["a"])
        both = compact(Labels(np.concatenate([fields["a"], fields["b"]]), tuple(names)))
        check_policies(both.names)
        fields |= {"policies": both.names, "a": both.codes[:rows], "b": both.codes[rows:]}
        if "count" in fields:
            fields["count"] = fields["count"].astype(np.int64)
        for role in ("task", "rater"):
            if role in self.roles:
                fields[role] = labels(self.table[role])
        if "time" in self.roles:
            fields["time"] = times(self.table["time"], self.name)
        used = dict.fromkeys(self.roles[role] for role in ROLES if role in self.roles)
        fields["notes"] = (f"read from {self.name}, columns {', '.join(used)}", *notes)
        fields["covariate_names"] = tuple(c.removeprefix(COVARIATE) for c in self.extra)
        return fields

    def _encoded(self) -> dict[str, Any]:
        """Codes into the sorted ``names``, outcomes and numbers, a value a row."""
        (a, names_a), (b, names_b) = encode(self.table["a"]), encode(self.table["b"])
        names = sorted({*names_a, *names_b})
        index = {name: code for code, name in enumerate(names)}
        fields: dict[str, Any] = {"names": names, "a": _in(index, names_a, -1)[a]}
        fields["b"] = _in(index, names_b, -1)[b]
        fields["outcome"] = self._outcome(fields["a"], fields["b"], index)
        for role in ("count", "weight"):
            if role in self.table.columns:
                fields[role] = numbers(self.table[role])
        if self.extra:
            fields["covariates"] = np.column_stack([numbers(self.table[c]) for c in self.extra])
        return fields

    def _problems(self, fields: dict[str, Any]) -> dict[str, Callable[[], Mask]]:
        """What may be wrong with a row, and which rows it is wrong with."""
        a, b, y = fields["a"], fields["b"], fields["outcome"]
        problems: dict[str, Callable[[], Mask]] = {
            "a policy without a name": lambda: (a < 0) | (b < 0),
            "a policy compared with itself": lambda: (a == b) & (a >= 0),
            "a missing outcome, or one that is no known label": lambda: np.isnan(y),
            "an outcome outside [0, 1]": lambda: (y < 0) | (y > 1),
        }
        if "count" in fields:
            problems["a count that is no whole number >= 0"] = lambda: _no_count(fields["count"])
        for role in ("task", "rater"):
            if role in self.table.columns and self.table[role].null_count():
                problems[f"a missing {role}"] = self.table[role].is_null().to_numpy
        if "weight" in fields:
            weight = fields["weight"]
            problems["a weight that is no number >= 0"] = lambda: (
                ~(np.isfinite(weight) & (weight >= 0))
            )
        if "covariates" in fields:
            finite = np.isfinite(fields["covariates"])
            problems["a covariate that is no number"] = lambda: ~finite.all(axis=1)
        return problems

    def _outcome(
        self, a: NDArray[np.int32], b: NDArray[np.int32], index: dict[str, int]
    ) -> NDArray[Any]:
        if "outcome" not in self.table.columns:
            return np.ones(len(a))
        series, column = self.table["outcome"], self.roles["outcome"]
        if series.dtype.is_numeric():
            return self._numeric(series.cast(pl.Float64).fill_null(np.nan).to_numpy(), column)
        codes, labels = encode(series)
        if labels and all(map(_is_number, labels)):
            return self._numeric(np.array([*map(float, labels), np.nan])[codes], column)
        sides = t.key(self.roles["a"]), t.key(self.roles["b"])
        values = [outcomes.label_value(label, *sides) for label in labels]
        by_label = np.array([*values, np.nan], dtype=np.float32)[codes]
        named = _in(index, labels, -2)[codes]
        by_name = np.full(len(a), np.nan, dtype=np.float32)
        by_name[named == a], by_name[named == b] = 1, 0
        clash = ~np.isnan(by_label) & ~np.isnan(by_name) & (by_label != by_name)
        if clash.any():
            label = labels[codes[int(np.argmax(clash))]]
            raise EvidenceError(
                f"{self.name}: {label!r} in column {column!r} is a policy's name and also means"
                " the other side. Rename that policy."
            )
        return np.where(np.isnan(by_label), by_name, by_label)

    def _numeric(self, y: NDArray[np.float64], column: str) -> NDArray[np.float64]:
        if self.first_wins is None and t.key(column) in outcomes.AMBIGUOUS:
            raise EvidenceError(
                f"{self.name}: numbers in column {column!r} could mean a win of either side. Say"
                " first_wins=1 (--first-wins 1) if 1 means that the first policy wins,"
                " first_wins=0 (--first-wins 0) if 0 does."
            )
        return 1 - y if self.first_wins == 0 else y

    def _judge(
        self, problems: dict[str, Callable[[], Mask]], count: NDArray[np.float64] | None
    ) -> tuple[Mask, list[str]]:
        """Which rows can be used, and a note on each kind of those left out."""
        good = np.ones(self.table.height, dtype=bool)
        notes = []
        for what, problem in problems.items():
            mask = problem() & good
            if not mask.any():
                continue
            rows = int(mask.sum())
            if count is not None:
                rows = int(np.nansum(count[mask]))
            noun = "row" if rows == 1 else "rows"
            if self.bad == "raise":
                raise EvidenceError(
                    f"{self.name}{self._place(int(np.argmax(mask)))}: {what};"
                    f" {rows:,} such {noun}. Mend the file, or leave such rows out with"
                    " bad='skip' (--skip-bad): they are then counted."
                )
            good &= ~mask
            notes.append(f"{rows:,} {noun} left out: {what}")
        if not good.any():
            raise EvidenceError(f"{self.name}: no usable row is left ({'; '.join(notes)}).")
        return good, notes

    def _place(self, row: int) -> str:
        """Where the file first has the values of ``row``, and what they are."""
        roles = [role for role in ("a", "b", "outcome") if role in self.table.columns]
        values = {self.roles[role]: self.table[role][row] for role in roles}
        if self.counted:
            row = self._first_row_with(values, row)
        shown = ", ".join(f"{column} = {value!r}" for column, value in values.items())
        return f", row {row + 1:,} ({shown})"

    def _first_row_with(self, values: dict[str, Any], default: int) -> int:
        query = self.frame.with_row_index("policyrank.row")
        for column, value in values.items():
            text = None if value is None else str(value)
            same = pl.col(column).cast(pl.String).eq_missing(pl.lit(text, pl.String))
            query = query.filter(same)
        hit = t.collect(query.select("policyrank.row").head(1), self.name)
        return int(hit.item()) if hit.height else default


def _in(index: dict[str, int], names: Sequence[str], missing: int) -> NDArray[np.int32]:
    """Codes of ``names`` in ``index``, and ``missing`` as the last entry, where code -1 points."""
    return np.array([*(index.get(name, missing) for name in names), missing], dtype=np.int32)


def encode(series: pl.Series) -> tuple[NDArray[np.int32], list[str]]:
    """Codes into distinct stripped names; -1: missing or blank."""
    if series.dtype != pl.Categorical:
        series = series.cast(pl.Categorical)
    physical = series.to_physical().cast(pl.Int32).fill_null(-1).to_numpy()
    distinct = series.drop_nulls().unique()
    used = distinct.to_physical().cast(pl.Int32).to_numpy()
    stripped = distinct.cast(pl.String).str.strip_chars().to_list()
    names = sorted(set(stripped) - {""})
    index = {name: code for code, name in enumerate(names)}
    lookup = np.full(int(used.max(initial=-1)) + 2, -1, dtype=np.int32)
    lookup[used] = [index.get(name, -1) for name in stripped]
    return lookup[physical], names


def labels(series: pl.Series) -> Labels:
    """A column of names."""
    codes, names = encode(series)
    return Labels(codes, tuple(names))


def times(series: pl.Series, source: str) -> NDArray[Any]:
    """Numbers, or datetime64 in microseconds."""
    if series.dtype.is_temporal():
        return series.cast(pl.Datetime("us")).to_numpy()
    values = numbers(series)
    if not np.isnan(values).any():
        return values
    try:
        return series.cast(pl.String).str.to_datetime(time_unit="us").to_numpy()
    except pl.exceptions.PolarsError:
        row = int(np.argmax(np.isnan(values)))
        raise EvidenceError(
            f"{source}, row {row + 1}: {series[row]!r} is neither a number nor a date. Mend it, or"
            " leave the time column out."
        ) from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
