"""Scores of policies on tasks, with the direction of each metric."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence.base import (
    Labels,
    check_finite,
    check_policies,
    freeze,
    merge_labels,
    positions,
    write_frame,
)
from policyrank.evidence.comparisons import Comparisons
from policyrank.evidence.rankings import Rankings
from policyrank.evidence.score_tables import ALL, ScoreOptions, score_columns, table_columns


@dataclass(frozen=True, eq=False, repr=False)
class Scores:
    """One score a row: of a policy, on a task, perhaps by a metric and in a replicate; immutable.

    Attributes
    ----------
    policy, task
        Labels (rows,)
    score
        float (rows,), in the metric's own unit
    metric
        Labels or None; a task measured by two metrics counts as two columns
    replicate
        Labels or None: the seed, run or instance inside the task
    weight
        float (rows,) >= 0 or None
    lower_is_better
        names of the metrics (or tasks) whose smaller values are better; ``{"*"}``: all of them
    notes
        what a reader should know about how the data were read

    Examples
    --------
    >>> s = Scores.of(["x", "y", "x", "y"], ["go", "go", "chess", "chess"], [1.0, 2.0, 5.0, 4.0])
    >>> s.table()
    array([[5., 4.],
           [1., 2.]])
    """

    policy: Labels
    task: Labels
    score: NDArray[np.float64]
    metric: Labels | None = None
    replicate: Labels | None = None
    weight: NDArray[np.float64] | None = None
    lower_is_better: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "score", freeze(np.asarray(self.score, dtype=float)))
        put(self, "lower_is_better", frozenset(self.lower_is_better))
        check_policies(self.policies)
        lengths = {
            f: len(v)
            for f in ("policy", "task", "score", "metric", "replicate", "weight")
            if (v := getattr(self, f)) is not None
        }
        if len(set(lengths.values())) > 1:
            raise EvidenceError(
                f"columns differ in length: {lengths}. Every column needs one value a row."
            )
        check_finite(self.score, "the score")
        if self.weight is not None:
            put(self, "weight", freeze(np.asarray(self.weight, dtype=float)))
            check_finite(self.weight, "the weight")
            if self.weight.min() < 0:
                raise EvidenceError(
                    f"row {int(np.argmin(self.weight)) + 1}: a negative weight. Weights must be"
                    " >= 0."
                )
        known = {ALL, *(self.metric.names if self.metric else ()), *self.task.names}
        for name in self.lower_is_better - known:
            positions(sorted(known - {ALL}), name, "metric or task")

    @classmethod
    def of(
        cls,
        policy: Iterable[Any],
        task: Iterable[Any],
        score: ArrayLike,
        *,
        metric: Iterable[Any] | None = None,
        replicate: Iterable[Any] | None = None,
        **options: Any,
    ) -> Scores:
        """Build from names."""
        names = {
            k: None if v is None else Labels.of(v)
            for k, v in {
                "policy": policy,
                "task": task,
                "metric": metric,
                "replicate": replicate,
            }.items()
        }
        return cls(score=np.asarray(score, dtype=float), **names, **options)  # type: ignore[arg-type]

    @classmethod
    def from_table(
        cls, table: ArrayLike, tasks: Iterable[str], policies: Iterable[str], **options: Any
    ) -> Scores:
        """Build from a (tasks, policies) table; NaN: not measured."""
        columns = table_columns(np.asarray(table, dtype=float), tasks, policies)
        return cls(**columns, **options)

    @classmethod
    def from_frame(cls, frame: Any, **columns: Unpack[ScoreOptions]) -> Scores:
        """Build from a polars or pandas frame, long or wide; options as ``read_scores``."""
        return cls(**score_columns(frame, **columns))

    def __len__(self) -> int:
        return len(self.score)

    def __repr__(self) -> str:
        return f"Scores({self.summary})"

    @property
    def summary(self) -> str:
        """What it holds, in a few words."""
        return f"{len(self):,} scores, {len(self.policies)} policies, {len(self.columns)} tasks"

    @property
    def policies(self) -> tuple[str, ...]:
        """Names of the policies."""
        return self.policy.names

    @cached_property
    def _column(self) -> Labels:
        if self.metric is None:
            return self.task
        code = self.task.codes.astype(np.int64) * len(self.metric.names) + self.metric.codes
        used, inverse = np.unique(code, return_inverse=True)
        names = [
            f"{self.task.names[c // len(self.metric.names)]}"
            f" ({self.metric.names[c % len(self.metric.names)]})"
            for c in used
        ]
        return Labels(inverse.astype(np.int32), tuple(names))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of the table: each task, or each (task, metric)."""
        return self._column.names

    @cached_property
    def _sign(self) -> NDArray[np.float64]:
        low = self.lower_is_better
        if ALL in low:
            return -np.ones(len(self))
        lower = np.isin(self.task.codes, [i for i, n in enumerate(self.task.names) if n in low])
        if self.metric is not None:
            lower |= np.isin(
                self.metric.codes, [i for i, n in enumerate(self.metric.names) if n in low]
            )
        return np.where(lower, -1.0, 1.0)

    @property
    def oriented(self) -> NDArray[np.float64]:
        """The scores with those of lower-is-better metrics negated: (rows,), higher is better."""
        return self.score * self._sign

    def seen(self) -> NDArray[np.int64]:
        """How many scores each policy has: (policies,)."""
        return np.bincount(self.policy.codes, minlength=len(self.policies))

    def table(self, oriented: bool = True) -> NDArray[np.float64]:
        """Weighted mean score of each policy in each column: (columns, policies), NaN where there
        is none.
        """
        k = len(self.policies)
        cell = self._column.codes.astype(np.int64) * k + self.policy.codes
        size = len(self.columns) * k
        w = np.ones(len(self)) if self.weight is None else self.weight
        total = np.bincount(cell, w * (self.oriented if oriented else self.score), size)
        mass = np.bincount(cell, w, size)
        with np.errstate(invalid="ignore"):
            return np.where(mass > 0, total / np.where(mass > 0, mass, 1), np.nan).reshape(
                len(self.columns), k
            )

    def cube(self) -> NDArray[np.float64]:
        """Oriented scores as (columns, policies, replicates), padded with NaN.

        Named replicates keep their place (the same seed or instance is the same slot for all
        policies); without names they are numbered in the order of the rows.
        """
        k = len(self.policies)
        cell = self._column.codes.astype(np.int64) * k + self.policy.codes
        column = self._column.codes.astype(np.int64)
        if self.replicate is not None:
            _, slot_of = np.unique(
                column * len(self.replicate.names) + self.replicate.codes, return_inverse=True
            )
            column_of = np.zeros(slot_of.max() + 1, dtype=np.int64)
            column_of[slot_of] = column
            slot = (
                slot_of - np.searchsorted(column_of, np.arange(len(self.columns)))[column]
            ).astype(np.int64)
        else:
            order = np.argsort(cell, kind="stable")
            first = np.searchsorted(cell[order], cell[order])
            slot = np.empty(len(cell), dtype=np.int64)
            slot[order] = np.arange(len(cell)) - first
        out = np.full((len(self.columns) * k, int(slot.max()) + 1), np.nan)
        if len(np.unique(cell * out.shape[1] + slot)) < len(cell):
            row = int(
                np.flatnonzero(pl.Series(cell * out.shape[1] + slot).is_duplicated().to_numpy())[0]
            )
            raise EvidenceError(
                f"{self.policies[self.policy.codes[row]]!r} has two scores on"
                f" {self.columns[column[row]]!r} in the same replicate. Give each score its own"
                " replicate, or drop the column."
            )
        out[cell, slot] = self.oriented
        return out.reshape(len(self.columns), k, -1)

    def take(self, rows: NDArray[Any]) -> Scores:
        """The scores at ``rows`` (mask or indices)."""

        def cut(column: Labels | None) -> Labels | None:
            return None if column is None else column.take(rows)

        task, metric = self.task.take(rows), cut(self.metric)
        kept = {ALL, *task.names, *(metric.names if metric else ())}
        return replace(
            self,
            policy=self.policy.take(rows),
            task=task,
            metric=metric,
            replicate=cut(self.replicate),
            score=self.score[rows],
            weight=None if self.weight is None else self.weight[rows],
            lower_is_better=self.lower_is_better & kept,
        )

    def filter(
        self,
        *,
        policies: Iterable[str] | None = None,
        tasks: Iterable[str] | str | None = None,
        metrics: Iterable[str] | str | None = None,
    ) -> Scores:
        """The scores of ``policies`` on ``tasks`` by ``metrics``."""
        keep = np.ones(len(self), dtype=bool)
        for column, wanted, what in (
            (self.policy, policies, "policy"),
            (self.task, tasks, "task"),
            (self.metric, metrics, "metric"),
        ):
            if wanted is not None:
                if column is None:
                    raise EvidenceError(
                        f"these scores have no column {what!r}. Name one when reading them."
                    )
                keep &= column.mask(wanted, what)
        if not keep.any():
            raise EvidenceError("no score is left after filtering. Loosen the filter.")
        return self.take(keep)

    def merge(self, other: Scores) -> Scores:
        """Both sets of scores, one after the other."""
        weight = None
        if self.weight is not None or other.weight is not None:
            weight = np.concatenate(
                [np.ones(len(s)) if s.weight is None else s.weight for s in (self, other)]
            )
        columns = {
            f: merge_labels(getattr(self, f), getattr(other, f), f)
            for f in ("policy", "task", "metric", "replicate")
        }
        return Scores(
            **columns,  # type: ignore[arg-type]
            score=np.concatenate([self.score, other.score]),
            weight=weight,
            lower_is_better=self.lower_is_better | other.lower_is_better,
            notes=tuple(dict.fromkeys(self.notes + other.notes)),
        )

    def to_rankings(self, by: str = "task") -> Rankings:
        """Each task a voter; ``by="replicate"``: each (task, replicate) a voter, grouped by task.

        Equal scores tie; policies without a score are missing from the ballot.
        """
        if by not in ("task", "replicate"):
            raise EvidenceError(f"by={by!r}: use 'task' or 'replicate'.")
        if by == "task":
            return Rankings.of_scores(self.table(), self.policies, notes=self.notes)
        cube = self.cube()
        values = cube.transpose(0, 2, 1).reshape(-1, len(self.policies))
        column = np.repeat(np.arange(cube.shape[0], dtype=np.int32), cube.shape[2])
        some = (~np.isnan(values)).any(axis=1)
        return Rankings.of_scores(
            values[some], self.policies, group=Labels(column[some], self.columns), notes=self.notes
        )

    def to_comparisons(self) -> Comparisons:
        """Each pair of policies on each task as a comparison: higher wins, equal ties."""
        return Comparisons.of_rankings(self.to_rankings())

    def to_frame(self) -> pl.DataFrame:
        """One row a score, with the columns that are there."""
        columns: dict[str, Any] = {"policy": self.policy.values(), "task": self.task.values()}
        for field in ("metric", "replicate"):
            if (labels := getattr(self, field)) is not None:
                columns[field] = labels.values()
        columns["score"] = self.score
        if self.weight is not None:
            columns["weight"] = self.weight
        if self.lower_is_better:
            columns["lower_is_better"] = self._sign < 0
        return pl.DataFrame(columns)

    def write(self, path: str | Path) -> None:
        """Write to .parquet, .csv, .tsv, .jsonl or .arrow; ``read_scores`` reads it back."""
        write_frame(self.to_frame(), path)
