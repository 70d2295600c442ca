"""Long tables: one row a score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.evidence import columns_together, roles
from policyrank.evidence.base import Labels
from policyrank.evidence.directions import usually_lower
from policyrank.evidence.score_reading import Cells, Float, TableReading, note_spread, rows_of
from policyrank.evidence.units import Parsed, mixed_unit


@dataclass
class LongTable(TableReading):
    """A table with one row a score on its way to become scores."""

    def cells(self) -> Cells:
        """One row a score."""
        score = self.found["score"]
        self.taken = dict(self.found)
        parsed = self.parse(score)
        policy, task = self.named("policy"), self.named("task")
        assert policy is not None
        if task is None:
            task = pl.repeat(score, len(policy), dtype=pl.String, eager=True)
        metric, replicate = self.named("metric"), self.named("replicate")
        unit = self.named("unit")
        columns = {"policy": policy, "task": task, "metric": metric, "replicate": replicate}
        columns["unit"] = unit
        good = np.ones(len(policy), dtype=bool)
        if self.on is not None and "task" in self.found:
            good = rows_of(task, self.on)
            parsed = parsed._replace(strange=parsed.strange & good)
        good &= self._usable(parsed, columns, among=good)
        values = np.where(good, parsed.values, np.nan)
        if not self.named_score:
            self._check_units(values, task, metric)
        self._note_repeats(columns, good)
        weight = self.parse(self.found["weight"]).values if "weight" in self.found else None
        stderr, interval = self._errors_of(score)
        note_spread(parsed, self.account)
        lower = usually_lower(score)
        return Cells(policy, task, values, metric, replicate, unit, weight, stderr, interval, lower)

    def _usable(
        self, parsed: Parsed, columns: dict[str, pl.Series | None], *, among: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Which rows have a score and names; the others are an error, or counted."""
        score = self.found["score"]
        problems = {
            f"a score that is no number, in column {score!r}": parsed.strange,
            "a missing score": ~parsed.strange & ~np.isfinite(parsed.values),
        }
        for role, column in columns.items():
            if column is not None:
                problems[f"a missing {role}"] = (column == "").to_numpy()
        good = np.ones(len(parsed.values), dtype=bool)
        policy = columns["policy"]
        assert policy is not None
        for what, rows in problems.items():
            wrong = np.flatnonzero(rows & good & among)
            good[wrong] = False
            cells = self.table[score]
            places = [f"row {i + 1:,} ({policy[int(i)]!r}: {cells[int(i)]!r})" for i in wrong]
            self.account.unusable(what, places, "row")
        return good

    def _check_units(self, values: Float, task: pl.Series, metric: pl.Series | None) -> None:
        """Refuse fractions beside percentages on one task, by one metric."""
        keys = task if metric is None else task + "\x00" + metric
        codes = Labels.of(keys).codes
        order = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
        for rows in np.split(order, starts[1:]):
            found = mixed_unit(values[rows], lower=usually_lower(task[int(rows[0])]))
            if found is not None:
                low, high = (int(rows[i]) for i in found)
                self.refuse_mixture(self.found["score"], values, low, high, f" of {task[low]!r}")

    def _note_repeats(self, columns: dict[str, pl.Series | None], good: NDArray[np.bool_]) -> None:
        if columns["replicate"] is not None:
            return
        there = {
            role: column
            for role, column in columns.items()
            if column is not None and role != "unit"
        }
        cells = pl.DataFrame(there).filter(good)
        repeated = cells.height - cells.unique().height
        if repeated:
            self.account.guess(
                f"{repeated:,} scores repeat a policy on the same task: taken as replicates",
                "Name the column that tells them apart: replicate=... or task=... (--replicate,"
                " --task).",
            )

    def _errors_of(self, score: str) -> tuple[Float | None, Float | None]:
        """Standard error and interval beside the one score of a long table."""
        used = set(self.found.values())
        own = roles.Column(score, "score", self.parse(score))
        names = [name for name in self.table.columns if name not in used]
        others = [self.judged(name) for name in names if name != "lower_is_better"]
        columns = [own, *others]
        for column in others:
            if column.role == "score":
                column.leave("not the score")
        columns_together.settle(columns, self.table.height)
        self.leave(others)
        mine = columns_together.errors_of_scores(columns).get(score, ())
        return self.errors_beside(own, mine)
