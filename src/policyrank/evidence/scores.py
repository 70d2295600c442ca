"""Scores of policies on tasks, with the direction of each metric."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence.account import plural
from policyrank.evidence.base import (
    Labels,
    check_finite,
    check_lengths,
    check_policies,
    check_weights,
    first_repeated,
    labels_or_none,
    merge_labels,
    merged_notes,
    ones_if_none,
    place_of,
    positions,
    put_arrays,
    rows_named,
    stacked,
    taken,
    write_frame,
)
from policyrank.evidence.comparisons import Comparisons
from policyrank.evidence.rankings import Rankings
from policyrank.evidence.score_tables import ALL, ScoreOptions, score_columns, table_columns

FIELDS = ("policy", "task", "score", "metric", "replicate", "unit", "weight", "stderr", "interval")


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
    unit
        Labels or None: what scores share that are not independent, as questions share a document
    weight
        float (rows,) >= 0 or None
    stderr
        float (rows,) >= 0 or None: the published standard error of a score; NaN: not known
    interval
        float (rows, 2) or None: the published 95% interval of a score; NaN: not known
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
    unit: Labels | None = None
    weight: NDArray[np.float64] | None = None
    stderr: NDArray[np.float64] | None = None
    interval: NDArray[np.float64] | None = None
    lower_is_better: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        put_arrays(self, {"score": float, "weight": float, "stderr": float, "interval": float})
        object.__setattr__(self, "lower_is_better", frozenset(self.lower_is_better))
        check_policies(self.policies)
        check_lengths(self, FIELDS)
        check_finite(self.score, "the score")
        if self.weight is not None:
            check_weights(self.weight)
        if self.stderr is not None and (self.stderr < 0).any():
            row = int(np.argmax(self.stderr < 0))
            raise EvidenceError(f"row {row + 1}: a negative standard error. Mend it.")
        known = _measured(self.task, self.metric)
        for name in self.lower_is_better - known - {ALL}:
            positions(sorted(known), name, "metric or task")

    @classmethod
    def of(
        cls,
        policy: Iterable[Any],
        task: Iterable[Any],
        score: ArrayLike,
        *,
        metric: Iterable[Any] | None = None,
        replicate: Iterable[Any] | None = None,
        unit: Iterable[Any] | None = None,
        **options: Any,
    ) -> Scores:
        """Build from names."""
        return cls(
            Labels.of(policy),
            Labels.of(task),
            np.asarray(score, dtype=float),
            metric=labels_or_none(metric),
            replicate=labels_or_none(replicate),
            unit=labels_or_none(unit),
            **options,
        )

    @classmethod
    def from_table(
        cls, table: ArrayLike, tasks: Iterable[str], policies: Iterable[str], **options: Any
    ) -> Scores:
        """Build from a (tasks, policies) table; NaN: not measured."""
        columns = table_columns(np.asarray(table, dtype=float), tasks, policies)
        return cls(**columns, **options)

    @classmethod
    def from_frame(cls, frame: Any, **columns: Unpack[ScoreOptions]) -> Scores:
        """Build from a polars or pandas frame, long or wide; ``read_scores`` has the options."""
        return cls(**score_columns(frame, **columns))

    def __len__(self) -> int:
        return len(self.score)

    def __repr__(self) -> str:
        return f"Scores({self.summary})"

    @property
    def summary(self) -> str:
        """What it holds, in a few words."""
        parts = (len(self), "score"), (len(self.policies), "policy"), (len(self.columns), "task")
        return ", ".join(plural(count, noun) for count, noun in parts)

    @property
    def policies(self) -> tuple[str, ...]:
        """Names of the policies."""
        return self.policy.names

    @cached_property
    def _column(self) -> Labels:
        if self.metric is None:
            return self.task
        metrics = len(self.metric.names)
        code = self.task.codes.astype(np.int64) * metrics + self.metric.codes
        used, inverse = np.unique(code, return_inverse=True)
        names = []
        for task, metric in zip(*np.divmod(used, metrics), strict=True):
            names.append(f"{self.task.names[task]} ({self.metric.names[metric]})")
        return Labels(inverse.astype(np.int32), tuple(names))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of the table: each task, or each (task, metric)."""
        return self._column.names

    @cached_property
    def _sign(self) -> NDArray[np.float64]:
        if ALL in self.lower_is_better:
            return -np.ones(len(self))
        lower = _rows_among(self.task, self.lower_is_better)
        if self.metric is not None:
            lower |= _rows_among(self.metric, self.lower_is_better)
        return np.where(lower, -1.0, 1.0)

    @property
    def oriented(self) -> NDArray[np.float64]:
        """The scores with those of lower-is-better metrics negated: (rows,), higher is better."""
        return self.score * self._sign

    def seen(self) -> NDArray[np.int64]:
        """How many scores each policy has: (policies,)."""
        return np.bincount(self.policy.codes, minlength=len(self.policies))

    def table(self, oriented: bool = True) -> NDArray[np.float64]:
        """Weighted mean score of each policy in each column: (columns, policies); NaN: none."""
        shape = len(self.columns), len(self.policies)
        score = self.score
        if oriented:
            score = self.oriented
        weight = ones_if_none(self.weight, len(self))
        total = np.bincount(self._cell, weight * score, math.prod(shape))
        mass = np.bincount(self._cell, weight, math.prod(shape))
        with np.errstate(invalid="ignore"):
            mean = np.where(mass > 0, total / np.where(mass > 0, mass, 1), np.nan)
        return mean.reshape(shape)

    def published(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Published standard errors (columns, policies) and 95% intervals (columns, policies, 2) of
        the oriented scores; None where there are none, or several scores of a policy on a task.
        """
        error = self.stderr
        if error is None and self.interval is not None:
            error = (self.interval[:, 1] - self.interval[:, 0]) / 3.92
        if error is None or first_repeated(self._cell) is not None:
            return None
        shape = len(self.columns), len(self.policies)
        stderr, ends = np.full(math.prod(shape), np.nan), np.full((math.prod(shape), 2), np.nan)
        stderr[self._cell] = error
        if self.interval is not None:
            signed = np.where(self._sign[:, None] > 0, self.interval, -self.interval[:, ::-1])
            ends[self._cell] = signed
        return stderr.reshape(shape), ends.reshape(*shape, 2)

    @property
    def _cell(self) -> NDArray[np.int64]:
        """Which cell of the (columns, policies) table a score belongs to: (rows,)."""
        return self._column.codes.astype(np.int64) * len(self.policies) + self.policy.codes

    def cube(self) -> NDArray[np.float64]:
        """Oriented scores as (columns, policies, replicates), padded with NaN.

        Named replicates keep their place (the same seed or instance is the same slot for all
        policies); without names they are numbered in the order of the rows.
        """
        columns, policies = len(self.columns), len(self.policies)
        cell, slot = self._cell, self._slot()
        slots = int(slot.max()) + 1
        row = first_repeated(cell * slots + slot)
        if row is not None:
            raise EvidenceError(
                f"{self.policies[self.policy.codes[row]]!r} has two scores on"
                f" {self.columns[self._column.codes[row]]!r} in the same replicate. Give each score"
                " its own replicate, or drop the column."
            )
        out = np.full((columns * policies, slots), np.nan)
        out[cell, slot] = self.oriented
        return out.reshape(columns, policies, slots)

    def _slot(self) -> NDArray[np.int64]:
        """Which place a score has among the replicates of its column: (rows,)."""
        if self.replicate is None:
            cell = self._cell
            order = np.argsort(cell, kind="stable")
            first = np.searchsorted(cell[order], cell[order])
            slot = np.empty(len(cell), dtype=np.int64)
            slot[order] = np.arange(len(cell)) - first
            return slot
        column = self._column.codes.astype(np.int64)
        code = column * len(self.replicate.names) + self.replicate.codes
        _, place = np.unique(code, return_inverse=True)
        column_of = np.zeros(place.max() + 1, dtype=np.int64)
        column_of[place] = column
        start = np.searchsorted(column_of, np.arange(len(self.columns)))
        return (place - start[column]).astype(np.int64)

    def unit_of_cells(self) -> NDArray[np.int64]:
        """The unit of each (column, replicate): (columns, replicates), -1 where there is no score.

        Raises
        ------
        EvidenceError
            Where scores of one column and replicate belong to two units.
        """
        assert self.unit is not None
        slot, column = self._slot(), self._column.codes.astype(np.int64)
        slots = int(slot.max()) + 1
        place = column * slots + slot
        out = np.full(len(self.columns) * slots, -1)
        out[place] = self.unit.codes
        wrong = out[place] != self.unit.codes
        if wrong.any():
            task = self.columns[column[int(np.argmax(wrong))]]
            raise EvidenceError(
                f"scores on {task!r} belong to two units. A unit holds whole tasks or replicates:"
                " name the column of replicates (replicate=..., --replicate), or another unit."
            )
        return out.reshape(len(self.columns), slots)

    def take(self, rows: NDArray[Any]) -> Scores:
        """The scores at ``rows`` (mask or indices)."""
        task, metric = self.task.take(rows), taken(self.metric, rows)
        return replace(
            self,
            policy=self.policy.take(rows),
            task=task,
            metric=metric,
            replicate=taken(self.replicate, rows),
            unit=taken(self.unit, rows),
            score=self.score[rows],
            weight=taken(self.weight, rows),
            stderr=taken(self.stderr, rows),
            interval=taken(self.interval, rows),
            lower_is_better=self.lower_is_better & (_measured(task, metric) | {ALL}),
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
        if policies is not None:
            keep &= self.policy.mask(policies, "policy")
        if tasks is not None:
            keep &= self.task.mask(tasks, "task")
        if metrics is not None:
            keep &= rows_named(self.metric, metrics, "metric", "scores")
        if not keep.any():
            raise EvidenceError("no score is left after filtering. Loosen the filter.")
        return self.take(keep)

    def merge(self, other: Scores) -> Scores:
        """Both sets of scores, one after the other."""
        policy = merge_labels(self.policy, other.policy, "policy")
        task = merge_labels(self.task, other.task, "task")
        assert policy is not None
        assert task is not None
        return Scores(
            policy,
            task,
            np.concatenate([self.score, other.score]),
            metric=merge_labels(self.metric, other.metric, "metric"),
            replicate=merge_labels(self.replicate, other.replicate, "replicate"),
            unit=merge_labels(self.unit, other.unit, "unit"),
            weight=stacked(self.weight, other.weight, (len(self), len(other))),
            stderr=_joined(self.stderr, other.stderr, (len(self),), (len(other),)),
            interval=_joined(self.interval, other.interval, (len(self), 2), (len(other), 2)),
            lower_is_better=self.lower_is_better | other.lower_is_better,
            notes=merged_notes(self.notes, other.notes),
        )

    def to_rankings(self, by: str = "task") -> Rankings:
        """Each task a voter; ``by="replicate"``: each (task, replicate) a voter, grouped by task.

        Tasks that share a unit are grouped by it. Equal scores tie; policies without a score are
        missing from the ballot.
        """
        if by not in ("task", "replicate"):
            raise EvidenceError(f"by={by!r}: use 'task' or 'replicate'.")
        if by == "task":
            weight, group = self._task_weight(), None
            if self.unit is not None:
                group = Labels(self.unit_of_cells().max(axis=1).astype(np.int32), self.unit.names)
            return Rankings.of_scores(
                self.table(), self.policies, weight=weight, group=group, notes=self.notes
            )
        cube = self.cube()
        values = cube.transpose(0, 2, 1).reshape(-1, len(self.policies))
        column = np.repeat(np.arange(cube.shape[0], dtype=np.int32), cube.shape[2])
        some = (~np.isnan(values)).any(axis=1)
        group = Labels(column[some], self.columns)
        return Rankings.of_scores(values[some], self.policies, group=group, notes=self.notes)

    def _task_weight(self) -> NDArray[np.float64]:
        """The importance of each column: (columns,), mean 1, by the weight of its scores; with
        several scores a policy the weights serve their mean, and columns count alike.
        """
        columns = len(self.columns)
        if self.weight is None or first_repeated(self._cell) is not None:
            return np.ones(columns)
        lowest, highest = np.full(columns, np.inf), np.full(columns, -np.inf)
        np.minimum.at(lowest, self._column.codes, self.weight)
        np.maximum.at(highest, self._column.codes, self.weight)
        unlike = highest - lowest > 1e-9 * np.maximum(highest, 1)
        if unlike.any():
            raise EvidenceError(
                f"the weights of the scores on {self.columns[int(np.argmax(unlike))]!r} differ from"
                " policy to policy, so that the task has no one weight as a ballot. Give each task"
                " one weight, or leave the column out."
            )
        if (highest == highest[0]).all():
            return np.ones(columns)
        return highest * columns / highest.sum()

    def to_comparisons(self) -> Comparisons:
        """Each pair of policies on each task as a comparison: higher wins, equal ties."""
        return Comparisons.of_rankings(self.to_rankings())

    def to_frame(self) -> pl.DataFrame:
        """One row a score, with the columns that are there."""
        columns: dict[str, Any] = {"policy": self.policy.values(), "task": self.task.values()}
        for field in ("metric", "replicate", "unit"):
            labels = getattr(self, field)
            if labels is not None:
                columns[field] = labels.values()
        columns["score"] = self.score
        if self.weight is not None:
            columns["weight"] = self.weight
        if self.stderr is not None:
            columns["stderr"] = self.stderr
        if self.interval is not None:
            columns["interval_low"], columns["interval_high"] = self.interval.T
        if self.lower_is_better:
            columns["lower_is_better"] = self._sign < 0
        return pl.DataFrame(columns)

    def write(self, path: str | Path) -> None:
        """Write to .parquet, .csv, .tsv, .jsonl or .arrow; ``read_scores`` reads it back."""
        write_frame(self.to_frame(), path)


def _joined(
    first: NDArray[np.float64] | None,
    second: NDArray[np.float64] | None,
    shape: tuple[int, ...],
    other: tuple[int, ...],
) -> NDArray[np.float64] | None:
    """Two columns that may not be known, one after the other; None where both are missing."""
    if first is None and second is None:
        return None
    parts = []
    for column, size in ((first, shape), (second, other)):
        parts.append(np.full(size, np.nan) if column is None else column)
    return np.concatenate(parts)


def _measured(task: Labels, metric: Labels | None) -> set[str]:
    """Names that may be said to be lower-is-better: of tasks, and of metrics."""
    names = set(task.names)
    if metric is not None:
        names.update(metric.names)
    return names


def _rows_among(labels: Labels, names: Iterable[str]) -> NDArray[np.bool_]:
    """Rows that carry one of ``names``, of which the column may lack some."""
    place = place_of(labels.names)
    return np.isin(labels.codes, [place[name] for name in names if name in place])
