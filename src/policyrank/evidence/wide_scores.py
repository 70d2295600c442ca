"""Wide tables: one row a policy and one column a task, or the other way round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence import roles, tables as t
from policyrank.evidence.account import listed, plural
from policyrank.evidence.score_reading import Cells, Float, TableReading, note_spread, rows_of
from policyrank.evidence.units import mixed_unit


@dataclass
class WideTable(TableReading):
    """A table with several scores a row on its way to become scores."""

    def cells(self) -> Cells:
        """One row a policy (in a replicate, on a task), one column a score."""
        label, rows = self._label()
        names = self._row_names(label, rows)
        columns = self._columns(label, rows)
        scores = [column for column in columns if column.role == "score"]
        if not scores:
            self._no_scores(columns)
        for column in scores:
            self._check_cells(column)
        self._check_wide_units(scores, names, rows)
        keep = self._row_mask(names, rows)
        count = len(scores)
        each = pl.Series([column.name for column in scores], dtype=pl.String)
        flat = np.where(keep[:, None], np.column_stack([c.parsed.values for c in scores]), np.nan)
        of_row = names.gather(np.repeat(np.arange(len(names)), count))
        of_column = each.gather(np.tile(np.arange(count), len(names)))
        policy, task = (of_row, of_column) if rows == "policies" else (of_column, of_row)
        metric, replicate = self._keys(rows, count)
        if rows == "policies" and "task" in self.taken:
            named = self.named("task")
            assert named is not None
            metric = of_column if count > 1 else None
            task = named.gather(np.repeat(np.arange(len(names)), count))
        self._note_empty(flat[keep])
        stderr, interval = self._allerrors_beside(scores, columns)
        self._note_unmeasured(flat, policy)
        return Cells(policy, task, flat.ravel(), metric, replicate, None, stderr, interval)

    def _keys(self, rows: str, count: int) -> tuple[pl.Series | None, pl.Series | None]:
        """Metric and replicate of each cell, where columns name them."""
        keys = []
        repeat = np.repeat(np.arange(self.table.height), count)
        for role in ("metric", "replicate"):
            named = self.named(role) if role in self.taken else None
            keys.append(None if named is None else named.gather(repeat))
        return keys[0], keys[1]

    def _label(self) -> tuple[str, str]:
        """The column that names the rows, and what these are."""
        columns = self.table.columns
        policy, task = self.found.get("policy"), self.found.get("task")
        if self.rows == "tasks" and policy is None:
            label = task or self._task_label(columns)
        elif self.rows == "tasks" and task is not None and "task" in self.found:
            label = task
        elif policy is not None:
            label = policy
        elif task is not None:
            label = task
        else:
            label = self._first_text()
        rows = self.rows
        if rows is None:
            rows = "tasks" if label == task and label != policy else "policies"
        self.taken = {"policy" if rows == "policies" else "task": label}
        unique = self.table[label].n_unique() == self.table.height
        if rows == "policies" and not unique:
            for role in ("task", "replicate"):
                if role in self.found and self.found[role] != label:
                    self.taken[role] = self.found[role]
        elif rows == "tasks" and not unique and "metric" in self.found:
            self.taken["metric"] = self.found["metric"]
        return label, rows

    def _task_label(self, columns: Sequence[str]) -> str:
        """The first column, where it holds text; else the rows are numbered."""
        if self.judged(columns[0]).reason in ("text", "a date", "an id", "an index"):
            return columns[0]
        numbers = pl.int_range(1, self.table.height + 1, eager=True).cast(pl.String)
        self.table = self.table.with_columns(numbers.alias("row"))
        return "row"

    def _first_text(self) -> str:
        """The first column of names, where none has a usual name."""
        for column in self.table.columns:
            judged = self.judged(column)
            names = self.table[column]
            if judged.reason == "text" and names.n_unique() == len(names):
                self._check_unnamed(column)
                self.account.guess(
                    f"column {column!r} taken for the policies: the first one of text",
                    "Name it: policy=... (--policy).",
                )
                return column
        raise EvidenceError(
            f"{self.account.name}: no column names the policies. It has:"
            f" {t.listing(self.table.columns)}. Name it with policy=... (--policy), or, where each"
            " column is a policy, say rows='tasks' (--rows tasks)."
        )

    def _check_unnamed(self, label: str) -> None:
        """Whether rows are policies cannot be known where their names stand under no header, unless
        the other headers are metrics or benchmarks.
        """
        unnamed = not label.strip() or label.lower().startswith(("unnamed", "column "))
        others = [name for name in self.table.columns if name != label]
        if unnamed and not any(roles.is_measure(name) for name in others):
            raise EvidenceError(
                f"{self.account.name}: the first column has no header, so that its rows could be"
                " policies or tasks. Say rows='policies' or rows='tasks' (--rows)."
            )

    def _row_names(self, label: str, rows: str) -> pl.Series:
        names = t.clean_names(self.table[label])
        empty = names == ""
        if empty.any():
            raise EvidenceError(
                f"{self.account.name}, row {int(empty.arg_true()[0]) + 1:,}: column {label!r} is"
                " empty. Every row needs a name."
            )
        keys = {"name": names}
        for role in self.taken.values():
            if role != label:
                keys[role] = t.clean_names(self.table[role])
        twice = pl.DataFrame(keys).is_duplicated()
        if twice.any():
            row = int(twice.arg_true()[-1])
            raise EvidenceError(
                f"{self.account.name}, row {row + 1:,}: {names[row]!r} stands in {label!r} twice."
                f" In a wide table a row is one of the {rows}; for a long table name its columns"
                " (policy, task, score); for repeats name what tells them apart (replicate=...,"
                " --replicate)."
            )
        return names

    def _columns(self, label: str, rows: str) -> list[roles.Column]:
        """Every other column with its role; those that the caller chose are scores."""
        used = set(self.taken.values()) | {label}
        if self.chosen is not None:
            return [self._chosen_column(name) for name in self.chosen]
        names = [column for column in self.table.columns if column not in used]
        if self.on is not None and rows == "policies" and "task" not in self.taken:
            for name in self.on:
                t.given(self.table.columns, name, (), "a task", self.account.name)
            return [self._chosen_column(name) for name in self.on]
        columns = [self.judged(name) for name in names]
        roles.settle(columns, self.table.height)
        self.leave(columns)
        return columns

    def _chosen_column(self, name: str) -> roles.Column:
        t.given(self.table.columns, name, (), "a task", self.account.name)
        column = roles.Column(name, "score", self.parse(name))
        if not np.isfinite(column.parsed.values).any():
            raise EvidenceError(
                f"{self.account.name}: column {name!r} holds no numbers. Choose others with"
                " tasks=[...] (--tasks)."
            )
        return column

    def _no_scores(self, columns: Sequence[roles.Column]) -> NoReturn:
        reasons = "; ".join(f"{column.name}: {column.reason}" for column in columns)
        raise EvidenceError(
            f"{self.account.name}: no column of scores ({reasons or 'no other column'}). Name the"
            " columns that are scores with tasks=[...] (--tasks), or the one column with score=..."
            " (--score)."
        )

    def _check_wide_units(
        self, scores: Sequence[roles.Column], names: pl.Series, rows: str
    ) -> None:
        """Refuse fractions beside percentages on one task."""
        if self.chosen is not None:
            return
        if rows == "policies":
            for column in scores:
                mixture = mixed_unit(column.parsed.values)
                if mixture is not None:
                    self.refuse_mixture(column.name, column.parsed.values, *mixture)
            return
        for row, values in enumerate(np.column_stack([column.parsed.values for column in scores])):
            mixture = mixed_unit(values)
            if mixture is not None:
                low, high = (scores[i].name for i in mixture)
                raise EvidenceError(
                    f"{self.account.name}, row {row + 1:,} ({names[row]!r}): the scores seem to mix"
                    f" fractions and percentages ({values[mixture[0]]:g} of {low},"
                    f" {values[mixture[1]]:g} of {high}). Write them in one unit."
                )

    def _check_cells(self, column: roles.Column) -> None:
        """Refuse cells that are no number, and infinite scores."""
        parsed = column.parsed
        for note in parsed.notes:
            self.account.note(note)
        cells = self.table[column.name]
        strange = np.flatnonzero(parsed.strange | np.isinf(parsed.values))
        places = []
        for i in strange:
            places.append(f"row {i + 1:,}, column {column.name!r} ({cells[int(i)]!r})")
        self.account.unusable(
            "no number (leave it empty where it was not measured, or read other columns with"
            " --tasks or --on)",
            places,
            "cell",
        )
        parsed.values[strange] = np.nan
        known = parsed.values[np.isfinite(parsed.values)]
        if (known == -1).any() and len(known) > 1 and (known[known != -1] >= 0).all():
            count = plural(int((known == -1).sum()), "cell")
            self.account.note(f"{column.name}: {count} exactly -1, not taken as missing")
        note_spread(parsed, self.account)

    def _row_mask(self, names: pl.Series, rows: str) -> NDArray[np.bool_]:
        """Rows that count: of ``on``, and none that sums up others."""
        if rows == "tasks" and self.on is not None:
            return rows_of(names, self.on)
        sums = np.array([roles.is_summary(name) and " " not in name.strip() for name in names])
        if rows == "tasks":
            sums = np.array([roles.is_summary(name) for name in names])
        if not sums.any() or (~sums).sum() < 2:
            return np.ones(len(names), dtype=bool)
        left = plural(int(sums.sum()), "row")
        self.account.note(f"{left} left out, summing up others: {listed(names.filter(sums))}")
        return ~sums

    def _note_empty(self, cells: Float) -> None:
        empty = int(np.isnan(cells).sum())
        if empty:
            self.account.note(f"{empty:,} of {cells.size:,} cells are empty: not measured")

    def _note_unmeasured(self, flat: Float, policy: pl.Series) -> None:
        measured = np.isfinite(flat.ravel())
        without = sorted(set(policy.to_list()) - set(policy.filter(measured).to_list()))
        if without:
            self.account.note("without any score: " + listed(without))

    def _allerrors_beside(
        self, scores: Sequence[roles.Column], columns: Sequence[roles.Column]
    ) -> tuple[Float | None, Float | None]:
        """Standard errors and intervals of all cells, a row after the other."""
        rows = self.table.height
        stderr, interval = (
            np.full((rows, len(scores)), np.nan),
            np.full((rows, len(scores), 2), 0.0),
        )
        interval[:] = np.nan
        for place, score in enumerate(scores):
            errors, ends = self.errors_beside(score, columns)
            if errors is not None:
                stderr[:, place] = errors
            if ends is not None:
                interval[:, place] = ends
        return (
            None if np.isnan(stderr).all() else stderr.ravel(),
            None if np.isnan(interval).all() else interval.reshape(-1, 2),
        )
