"""Wide tables: one row a policy and one column a task, or the other way round."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence import columns_together, roles, row_labels, tables as t
from policyrank.evidence.account import listed, plural
from policyrank.evidence.directions import usually_lower, words
from policyrank.evidence.score_reading import Cells, Float, TableReading, note_spread, rows_of
from policyrank.evidence.units import mixed_unit


@dataclass
class WideTable(TableReading):
    """A table with several scores a row on its way to become scores.

    Attributes
    ----------
    are_ranks
        whether raters' cells are places, 1 the best
    """

    are_ranks: bool = False

    def cells(self) -> Cells:
        """One row a policy (in a replicate, on a task), one column a score."""
        label, rows = row_labels.label_of(self)
        names = self._row_names(label, rows)
        columns = self._columns(label, rows)
        scores = [column for column in columns if column.role == "score"]
        if not scores:
            self._no_scores(columns)
        self._refuse_totals(scores, columns)
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
        metric, replicate, unit = self._keys(count)
        if replicate is None and self._are_seeds(scores, rows):
            task, replicate = pl.repeat("score", len(task), dtype=pl.String, eager=True), of_column
        if rows == "policies" and "task" in self.taken:
            named = self.named("task")
            assert named is not None
            metric = of_column if count > 1 else None
            task = named.gather(np.repeat(np.arange(len(names)), count))
        self._note_empty(flat[keep])
        stderr, interval = self._all_errors(scores, columns)
        self._note_unmeasured(flat, policy, np.repeat(keep, count))
        lower = self._is_lower(scores, columns, rows)
        return Cells(
            policy, task, flat.ravel(), metric, replicate, unit, None, stderr, interval, lower
        )

    def _are_seeds(self, scores: Sequence[roles.Column], rows: str) -> bool:
        """Whether the columns are repeats of one measurement: seed_0, seed_1; fold 1, fold 2."""
        if rows != "policies" or self.chosen is not None or len(scores) < 2:
            return False
        bases = {re.sub(r"[\W_]*\d+$", "", column.name.lower()) for column in scores}
        numbered = all(column.name[-1:].isdigit() for column in scores)
        if not numbered or len(bases) > 1 or not bases & _REPEATS:
            return False
        self.account.note(f"columns {scores[0].name} to {scores[-1].name} taken as replicates")
        return True

    def _is_lower(
        self, scores: Sequence[roles.Column], columns: Sequence[roles.Column], rows: str
    ) -> bool:
        """Whether scores are better when smaller by what stands beside them: an average of errors,
        or ranks that rise with the one score.
        """
        if self.chosen is not None or rows != "policies":
            return self.are_ranks
        if len(scores) == 1 and "task" in self.taken and usually_lower(scores[0].name):
            return True
        sums = [column for column in columns if column.reason == "sums up the others"]
        if sums and all(usually_lower(column.name) for column in sums):
            self.account.note(f"lower is better, as of {listed(column.name for column in sums)}")
            return True
        ranks = [column for column in columns if column.reason == "a rank"]
        if len(scores) == 1 and len(ranks) == 1 and _rise(ranks[0], scores[0]):
            self.account.note(f"lower is better, as {ranks[0].name} says")
            return True
        return False

    def _refuse_totals(
        self, scores: Sequence[roles.Column], columns: Sequence[roles.Column]
    ) -> None:
        """Refuse counts of different totals, which are no scores."""
        if self.chosen is not None:
            return
        for score in scores:
            if set(words(score.name)) & _HITS:
                self._refuse_total(score, [column for column in columns if column is not score])

    def _refuse_total(self, score: roles.Column, others: Sequence[roles.Column]) -> None:
        hits = score.parsed.values
        for column in others:
            totals = column.parsed.values
            named = set(words(column.name)) & _TOTALS
            if not named or not _whole(hits) or not _whole(totals):
                continue
            if (hits <= totals).all() and np.ptp(totals) > 0:
                raise EvidenceError(
                    f"{self.account.name}: {score.name} counts out of {column.name}, which differs"
                    f" from row to row. Give the share, or say --tasks {score.name!r} (tasks=[...])"
                    " to rank the counts."
                )

    def _keys(self, count: int) -> list[pl.Series | None]:
        """Metric, replicate and unit of each cell, where columns name them."""
        keys: list[pl.Series | None] = []
        repeat = np.repeat(np.arange(self.table.height), count)
        for role in ("metric", "replicate", "unit"):
            named = self.named(role) if role in self.taken else None
            keys.append(None if named is None else named.gather(repeat))
        return keys

    def _row_names(self, label: str, rows: str) -> pl.Series:
        names = t.clean_names(self.table[label])
        empty = names == ""
        if empty.any():
            raise EvidenceError(
                f"{self.account.name}, row {int(empty.arg_true()[0]) + 1:,}: column {label!r} is"
                " empty. Every row needs a name."
            )
        keys = {"name": names}
        for role, column in self.taken.items():
            if column != label and role != "unit":
                keys[column] = t.clean_names(self.table[column])
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
        if rows == "tasks":
            row_labels.leave_helpers(columns)
        columns_together.settle(columns, self.table.height)
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
        reasons = "; ".join(f"{c.name or '(no name)'}: {c.reason}" for c in columns)
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
                mixture = mixed_unit(column.parsed.values, lower=usually_lower(column.name))
                if mixture is not None:
                    self.refuse_mixture(column.name, column.parsed.values, *mixture)
            return
        for row, values in enumerate(np.column_stack([column.parsed.values for column in scores])):
            mixture = mixed_unit(values, lower=usually_lower(names[row]))
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
        strange = np.flatnonzero(parsed.strange | np.isinf(parsed.values))
        places = []
        for i in strange:
            cell = self.table[column.name][int(i)]
            places.append(f"row {i + 1:,}, column {column.name!r} ({cell!r})")
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
        sums = np.array([roles.is_summary_row(name, rows) for name in names])
        if not sums.any() or (~sums).sum() < 2:
            return np.ones(len(names), dtype=bool)
        left = plural(int(sums.sum()), "row")
        self.account.note(f"{left} left out, summing up others: {listed(names.filter(sums))}")
        return ~sums

    def _note_empty(self, cells: Float) -> None:
        empty = int(np.isnan(cells).sum())
        if empty:
            self.account.note(f"{empty:,} of {cells.size:,} cells are empty: not measured")

    def _note_unmeasured(self, flat: Float, policy: pl.Series, used: NDArray[np.bool_]) -> None:
        measured = np.isfinite(flat.ravel())
        there = set(policy.filter(used).to_list())
        without = sorted(there - set(policy.filter(measured).to_list()))
        if without:
            self.account.note("without any score: " + listed(without))

    def _all_errors(
        self, scores: Sequence[roles.Column], columns: Sequence[roles.Column]
    ) -> tuple[Float | None, Float | None]:
        """Standard errors and intervals of all cells, a row after the other."""
        rows = self.table.height
        stderr = np.full((rows, len(scores)), np.nan)
        interval = np.full((rows, len(scores), 2), np.nan)
        of_score = columns_together.errors_of_scores(columns)
        for place, score in enumerate(scores):
            errors, ends = self.errors_beside(score, of_score.get(score.name, ()))
            if errors is not None:
                stderr[:, place] = errors
            if ends is not None:
                interval[:, place] = ends
        return (
            None if np.isnan(stderr).all() else stderr.ravel(),
            None if np.isnan(interval).all() else interval.reshape(-1, 2),
        )


_REPEATS = frozenset("seed fold run trial rep repeat replicate split".split())
_TOTALS = frozenset(
    "n total totals episodes trials attempts rollouts questions samples count of games".split()
)
_HITS = frozenset("success successes correct solved passed hits wins successful".split())


def _whole(values: Float) -> bool:
    return bool(np.isfinite(values).all() and (values == np.round(values)).all())


def _rise(ranks: roles.Column, score: roles.Column) -> bool:
    """Whether the score rises strictly somewhere, and never falls, as ranks get worse."""
    rank, value = ranks.parsed.values, score.parsed.values
    if np.isnan(rank).any() or np.isnan(value).any() or len(rank) < 2:
        return False
    steps = np.diff(value[np.argsort(rank, kind="stable")])
    return bool((steps >= 0).all() and (steps > 0).any())
