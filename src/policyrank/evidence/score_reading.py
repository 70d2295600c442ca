"""What long and wide tables of scores share: parsing, the errors of scores, the first line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist
from typing import Any, NamedTuple, NoReturn

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence import roles, tables as t
from policyrank.evidence.account import Account, listed, plural
from policyrank.evidence.base import Labels
from policyrank.evidence.directions import tasks_in_words
from policyrank.evidence.units import Parsed, has_decimal_commas, parse, refuse_grouped_points

Float = NDArray[np.float64]


class Cells(NamedTuple):
    """Scores as columns of equal length, cells without a score among them."""

    policy: pl.Series
    task: pl.Series
    score: Float
    metric: pl.Series | None = None
    replicate: pl.Series | None = None
    unit: pl.Series | None = None
    weight: Float | None = None
    stderr: Float | None = None
    interval: Float | None = None
    is_lower: bool = False
    """Whether what was measured is better when smaller, whatever the tasks are called."""

    def fields(self, account: Account) -> dict[str, Any]:
        """The measured ones, by the names of the fields of ``Scores``."""
        good = np.isfinite(self.score)
        if not good.any():
            raise EvidenceError(f"{account.name}: no usable row is left: no score is a number.")
        fields: dict[str, Any] = {"score": self.score[good]}
        for role in ("policy", "task", "metric", "replicate", "unit"):
            column = getattr(self, role)
            if column is not None:
                fields[role] = Labels.of(column.filter(good))
        for role in ("weight", "stderr", "interval"):
            values = getattr(self, role)
            if values is not None and not np.isnan(values[good]).all():
                fields[role] = values[good]
        return fields


@dataclass
class TableReading:
    """A table on its way to become scores."""

    table: pl.DataFrame
    account: Account
    found: dict[str, str]
    chosen: Sequence[str] | None
    rows: str | None
    on: Sequence[str] | None
    named_score: bool = False
    semicolons: bool = False
    taken: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    has_commas: bool = False

    def __post_init__(self) -> None:
        # A text with a comma is no float.
        floats = self.as_floats
        strange = [
            name for name, own in floats.items() if own.null_count() > self.table[name].null_count()
        ]
        self.has_commas = has_decimal_commas(self.table[strange], semicolons=self.semicolons)
        if self.semicolons:
            for column in self.table.iter_columns():
                refuse_grouped_points(column, self.account.name)

    def parse(self, column: str) -> Parsed:
        """The numbers of a column."""
        parsed = parse(self.table[column], self.account.name, comma=self.has_commas)
        for note in parsed.notes:
            self.account.note(note)
        return parsed

    def named(self, role: str) -> pl.Series | None:
        """The names in the column of a role, without markup; None: there is no such column."""
        if role not in self.found:
            return None
        return t.clean_names(self.table[self.found[role]])

    def refuse_mixture(
        self, column: str, values: Float, low: int, high: int, where: str = ""
    ) -> NoReturn:
        """Fractions beside percentages."""
        raise EvidenceError(
            f"{self.account.name}, column {column!r}: the scores{where} seem to mix fractions and"
            f" percentages ({values[low]:g} in row {low + 1:,}, {values[high]:g} in row"
            f" {high + 1:,}). Write them in one unit."
        )

    def judged(self, column: str) -> roles.Column:
        """What a column is, looked at alone."""
        plain = self.as_floats.get(column)
        series = self.table[column]
        return roles.judge(series, self.account.name, comma=self.has_commas, plain=plain)

    @cached_property
    def as_floats(self) -> dict[str, pl.Series]:
        """The columns of text as floats, null where that is not plain, cast all at once."""
        floats = self.table.select(pl.col(pl.String).cast(pl.Float64, strict=False))
        return {series.name: series for series in floats.get_columns()}

    def leave(self, columns: Iterable[roles.Column]) -> None:
        """Keep the reasons of those that are out, for the first line."""
        for column in columns:
            if column.role == "out":
                self.left_out[column.name] = column.reason

    def errors_beside(
        self, score: roles.Column, mine: Sequence[roles.Column]
    ) -> tuple[Float | None, Float | None]:
        """What a score's own columns say of its errors: standard errors, 95% intervals."""
        if not mine:
            return None, None
        rows = self.table.height
        stderr, interval = np.full(rows, np.nan), np.full((rows, 2), np.nan)
        ends = {}
        for column in mine:
            if column.role == "stderr":
                stderr = np.where(column.parsed.values >= 0, column.parsed.values, np.nan)
            elif column.role == "interval":
                interval = self._interval_of_text(column.name, score.parsed.values)
            else:
                ends[column.role] = column
        if len(ends) == 2:
            interval = np.column_stack([ends["lower"].parsed.values, ends["upper"].parsed.values])
        covered = roles.coverage(column.name for column in mine if column.role != "stderr")
        if not np.isnan(interval).all():
            names = " and ".join(c.name for c in mine if c.role != "stderr")
            interval, stderr = self._checked(interval, score, names, covered, stderr)
            self.account.note(f"{names} taken as the {covered:.0%} interval of {score.name}")
        if not np.isnan(stderr).all() and any(column.role == "stderr" for column in mine):
            name = next(column.name for column in mine if column.role == "stderr")
            self.account.note(f"{name} taken as the standard error of {score.name}")
        return (
            None if np.isnan(stderr).all() else stderr,
            None if np.isnan(interval).all() else interval,
        )

    def _interval_of_text(self, column: str, score: Float) -> Float:
        """Ends in text, such as [80.7, 84.6], or distances from the score, such as +4/-3."""
        ends = np.full((self.table.height, 2), np.nan)
        for row, text in enumerate(self.table[column].cast(pl.String).to_list()):
            found = roles.bounds(text or "")
            if found is not None:
                ends[row] = found
        around = (ends[:, 0] <= 0) & (ends[:, 1] >= 0)
        inside = (ends[:, 0] <= score) & (score <= ends[:, 1])
        if around[~np.isnan(ends[:, 0])].all() and not inside[~np.isnan(ends[:, 0])].all():
            ends = ends + score[:, None]
        return ends

    def _checked(
        self, interval: Float, score: roles.Column, names: str, covered: float, stderr: Float
    ) -> tuple[Float, Float]:
        """The interval at 95% and the standard error that it means."""
        values = score.parsed.values
        known = ~np.isnan(interval).any(axis=1) & np.isfinite(values)
        outside = known & ((values < interval[:, 0] - 1e-9) | (values > interval[:, 1] + 1e-9))
        if outside.any():
            row = int(np.argmax(outside))
            raise EvidenceError(
                f"{self.account.name}, row {row + 1:,}: {score.name} = {values[row]:g} lies outside"
                f" of {names} = [{interval[row, 0]:g}, {interval[row, 1]:g}]. Choose the columns"
                " with tasks=[...] (--tasks)."
            )
        half = (interval[:, 1] - interval[:, 0]) / 2
        width = NormalDist().inv_cdf((1 + covered) / 2)
        derived = half / width
        if covered != 0.95:
            factor = NormalDist().inv_cdf(0.975) / width
            interval = values[:, None] + (interval - values[:, None]) * factor
        return interval, np.where(np.isnan(stderr), derived, stderr)

    def summary(self, fields: dict[str, Any], lower: frozenset[str]) -> str:
        """What was taken for what, in one line."""
        policies = self.taken.get("policy", "the header") or "the first column"
        tasks = fields["task"].names
        parts = [f"policies from {policies}"]
        parts.append(tasks_in_words(tasks, lower, column=self.taken.get("task")))
        for role in ("score", "metric", "replicate", "unit", "weight"):
            if role in self.taken:
                parts.append(f"{role} {self.taken[role]}")
        if self.left_out:
            why = [f"{name or '(no name)'}: {reason}" for name, reason in self.left_out.items()]
            parts.append(f"{plural(len(why), 'column')} left out ({listed(why, most=12)})")
        return ", ".join(parts)


def rows_of(names: pl.Series, wanted: Sequence[str]) -> NDArray[np.bool_]:
    """Rows of the wanted names; an unknown one is an error."""
    there = set(names.to_list())
    for name in wanted:
        if name not in there:
            raise EvidenceError(f"no task is called {name!r}. There are: {listed(sorted(there))}.")
    return names.is_in(list(wanted)).to_numpy()


def note_spread(parsed: Parsed, account: Account) -> None:
    count = int(np.isfinite(parsed.spread).sum())
    if count:
        account.note(f"the spread after ± was cut from {plural(count, 'score')}")
