"""The collected rows of a table of comparisons: encoded, judged, their outcomes told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence import outcomes, tables as t
from policyrank.evidence.account import Account, listed, plural
from policyrank.evidence.base import Labels, check_policies, compact
from policyrank.evidence.pairs import OUTCOME, Form
from policyrank.evidence.units import is_number

COVARIATE = "covariate."
ROLES = ("task", "rater", "ballot", "time", "weight", "count")
NAMED = ("task", "rater", "ballot")
"""Roles whose values are names."""

Mask = NDArray[np.bool_]

LONGEST_NAME = 200
"""Longer texts in a column of policies are no names."""


def numbers(series: pl.Series) -> NDArray[np.float64]:
    """Floats; NaN where a value is missing or no number."""
    if series.dtype.is_nested():
        raise t.nested(series.name)
    if series.dtype in (pl.String, pl.Categorical):
        series = series.cast(pl.String).str.strip_chars()
    return series.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()


def no_count(values: NDArray[np.float64]) -> Mask:
    good = np.isfinite(values) & (values >= 0) & (values == np.round(values))
    return ~(good & (values < 2**53))


@dataclass
class Rows:
    """The collected rows of a table of comparisons, on the way to be checked and encoded."""

    frame: pl.LazyFrame
    roles: dict[str, str]
    form: Form
    table: pl.DataFrame
    extra: Sequence[str]
    counted: bool
    first_wins: int | None
    account: Account
    named: frozenset[str]

    @property
    def name(self) -> str:
        """Of the table, for messages."""
        return self.account.name

    def columns(self) -> dict[str, Any]:
        """The fields of a ``Comparisons``, after every row was judged."""
        self._leave_out_broken()
        fields = self._encoded()
        names = fields.pop("names")
        good = self._judge(self._problems(fields), fields.get("count"))
        if not good.all():
            self.table = self.table.filter(good)
            fields = {field: values[good] for field, values in fields.items()}
        if "count" in self.roles:
            fields = self._split_shares(fields)
        rows = len(fields["a"])
        both = compact(Labels(np.concatenate([fields["a"], fields["b"]]), tuple(names)))
        check_policies(both.names)
        fields |= {"policies": both.names, "a": both.codes[:rows], "b": both.codes[rows:]}
        if "count" in fields:
            fields["count"] = fields["count"].astype(np.int64)
        for role in NAMED:
            if role in self.roles:
                fields[role] = labels(self.table[role])
        if "time" in self.roles:
            self._add_times(fields)
        fields["notes"] = (f"read from {self.name}: {self._summary()}", *self.account.notes)
        fields["covariate_names"] = tuple(c.removeprefix(COVARIATE) for c in self.extra)
        return fields

    def _leave_out_broken(self) -> None:
        """Columns of raters and ballots that nobody asked for, and that not every row has."""
        for role in ("rater", "ballot"):
            if role not in self.roles or role in self.named:
                continue
            missing = self.table[role].null_count()
            if missing:
                column = self.roles.pop(role)
                self.table = self.table.drop(role)
                text = f"column {column} not used as {role}: {plural(missing, 'row')} without one"
                self.account.note(text)

    def _add_times(self, fields: dict[str, Any]) -> None:
        """The times, where they are some; a column that only bears the name is left out."""
        try:
            fields["time"] = times(self.table["time"], self.name)
        except EvidenceError:
            if "time" in self.named:
                raise
            self.account.note(f"column {self.roles.pop('time')} left out: no dates or numbers")

    def _summary(self) -> str:
        """What was taken for what, in one line."""
        parts = [f"policies from {self.roles['a']} and {self.roles['b']}", self.form.title]
        parts += [f"{role} from {self.roles[role]}" for role in ROLES if role in self.roles]
        if self.extra:
            parts.append(f"covariates {', '.join(self.extra)}")
        used = {*self.roles.values(), *self.form.columns, *self.extra}
        unused = [name for name in self.frame.collect_schema().names() if name not in used]
        unused = [name or "(no name)" for name in unused if not name.startswith("policyrank.")]
        if unused:
            parts.append(f"{plural(len(unused), 'column')} not used ({listed(unused)})")
        return ", ".join(parts)

    def _split_shares(self, fields: dict[str, Any]) -> dict[str, Any]:
        """A share with a count is so many wins of so many."""
        share, count = np.asarray(fields["outcome"], dtype=float), fields["count"]
        if np.isin(share, (0, 0.5, 1)).all():
            return fields
        wins = np.round(share * count)
        off = np.abs(share * count - wins) > 0.005 * count + 1e-9
        places = []
        for row in np.flatnonzero(off):
            places.append(f"row {row + 1:,} ({share[row]:g} of {count[row]:g})")
        self.account.unusable("a share that is no whole number of wins", places, "row")
        self.account.note("shares with a count read as so many wins of so many")
        rows = np.repeat(np.arange(len(share)), 2)
        outcome = np.tile([1.0, 0.0], len(share))
        counts = np.column_stack([wins, count - wins]).ravel()
        used = (counts > 0) & ~off[rows]
        rows = rows[used]
        self.table = self.table[rows]
        fields = {field: values[rows] for field, values in fields.items()}
        return fields | {"outcome": outcome[used], "count": counts[used]}

    def _encoded(self) -> dict[str, Any]:
        """Codes into the sorted ``names``, outcomes and numbers, a value a row."""
        (a, names_a), (b, names_b) = encode(self.table["a"]), encode(self.table["b"])
        names = sorted({*names_a, *names_b})
        self._check_names(names)
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

    def _check_names(self, names: Sequence[str]) -> None:
        """Refuse texts, such as the answers that were compared, where policies should be."""
        longest = max(names, key=len, default="")
        if len(longest) > LONGEST_NAME:
            raise EvidenceError(
                f"{self.name}: columns {self.roles['a']!r} and {self.roles['b']!r} hold texts"
                f" ({longest[:40]!r}...), no names of policies. Name the columns of the policies"
                " with a=..., b=... (--a, --b)."
            )

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
            problems["a count that is no whole number >= 0"] = lambda: no_count(fields["count"])
        for role in NAMED:
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
        series = self.table["outcome"]
        if self.form.kind in ("counts", "scores"):
            return series.cast(pl.Float64).fill_null(np.nan).to_numpy()
        column = self.form.column or ""
        names_are_numbers = all(map(is_number, index))
        if series.dtype.is_float() or (series.dtype.is_numeric() and not names_are_numbers):
            return self._numeric(series.cast(pl.Float64).fill_null(np.nan).to_numpy(), column)
        codes, labels = encode(series)
        named = _in(index, labels, -2)[codes]
        by_name = np.full(len(a), np.nan, dtype=np.float32)
        by_name[named == a], by_name[named == b] = 1, 0
        if labels and {label.lower() for label in labels} <= {"true", "false"}:
            truth = np.array([*(float(label.lower() == "true") for label in labels), np.nan])
            return self._numeric(truth[codes], column)
        if labels and all(label.endswith("%") and is_number(label[:-1]) for label in labels):
            return np.array([*(float(label[:-1]) / 100 for label in labels), np.nan])[codes]
        sides = self.roles["a"][-1:], self.roles["b"][-1:]
        if labels and all(map(is_number, labels)) and sides != ("0", "1"):
            if not np.isnan(by_name[codes >= 0]).any():
                return by_name
            return self._numeric(np.array([*map(float, labels), np.nan])[codes], column)
        context = outcomes.Codes.of(self.roles["a"], self.roles["b"], labels)
        values = [context.value(label) for label in labels]
        by_label = np.array([*values, np.nan], dtype=np.float32)[codes]
        clash = ~np.isnan(by_label) & ~np.isnan(by_name) & (by_label != by_name)
        if clash.any():
            label = labels[codes[int(np.argmax(clash))]]
            raise EvidenceError(
                f"{self.name}: {label!r} in column {column!r} is a policy's name and also means"
                " the other side. Rename that policy."
            )
        return np.where(np.isnan(by_label), by_name, by_label)

    def _numeric(self, y: NDArray[np.float64], column: str) -> NDArray[np.float64]:
        values, note = outcomes.of_numbers(y, column, self.first_wins, self.name)
        if note is not None:
            self.account.guess(note, "Write outcomes as 1, 0.5 and 0.")
        return values

    def _judge(
        self, problems: dict[str, Callable[[], Mask]], count: NDArray[np.float64] | None
    ) -> Mask:
        """Which rows can be used; the others are an error, or counted in a note."""
        good = np.ones(self.table.height, dtype=bool)
        for what, problem in problems.items():
            mask = problem() & good
            if not mask.any():
                continue
            rows = int(mask.sum())
            if count is not None and "count" not in self.roles:
                rows = int(np.nansum(count[mask]))
            if self.account.bad == "raise":
                raise EvidenceError(
                    f"{self.name}{self._place(int(np.argmax(mask)))}: {what};"
                    f" {plural(rows, 'such row')}. Mend the file, or leave such rows out with"
                    " bad='skip' (--skip-bad): they are then counted."
                )
            good &= ~mask
            self.account.note(f"{plural(rows, 'row')} left out: {what}")
        if not good.any():
            raise EvidenceError(
                f"{self.name}: no usable row is left ({'; '.join(self.account.notes)})."
            )
        return good

    def _place(self, row: int) -> str:
        """Where the file first has the values of ``row``, and what they are."""
        named = [role for role in ("a", "b", "outcome") if self.roles.get(role, OUTCOME) != OUTCOME]
        values = {self.roles[role]: self.table[role][row] for role in named}
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
        series = series.cast(pl.String).cast(pl.Categorical)
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
