"""Simulated and real results of the same policies, cell by cell."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence import Scores
from policyrank.evidence.scores import ALL

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Cells:
    """Simulated and real results of the same policies and tasks.

    Attributes
    ----------
    policies, tasks
        names
    simulated, real
        (policies, tasks), means; NaN where there is none
    simulated_trials, real_trials
        (policies, tasks), how many each is of; None: not known
    notes
        what was left out
    """

    policies: tuple[str, ...]
    tasks: tuple[str, ...]
    simulated: Float
    real: Float
    simulated_trials: Float | None = None
    real_trials: Float | None = None
    notes: tuple[str, ...] = ()

    @property
    def both(self) -> NDArray[np.bool_]:
        """Cells that have both: (policies, tasks)."""
        return np.isfinite(self.simulated) & np.isfinite(self.real)


def cells_of_table(
    table: pl.DataFrame,
    *,
    policy: str = "policy",
    task: str | None = "task",
    simulated: str = "simulated",
    real: str = "real",
    simulated_trials: str | None = None,
    real_trials: str | None = None,
) -> Cells:
    """Cells of a table with a row a policy and task.

    Raises
    ------
    EvidenceError
        For a column that is not there, a cell that is there twice, or results that are no numbers.
    """
    named = (policy, task, simulated, real, simulated_trials, real_trials)
    for column in named:
        if column is not None and column not in table.columns:
            raise EvidenceError(
                f"there is no column {column!r}; there are {', '.join(table.columns)}."
            )
    for column in (policy, task):
        if column is not None and table[column].null_count():
            row = int(table[column].is_null().arg_true()[0])
            raise EvidenceError(f"column {column!r}: row {row + 1} is empty. Fill it in.")
    names = table[policy].cast(pl.String).to_list()
    tasks = ["all"] * len(table) if task is None else table[task].cast(pl.String).to_list()
    # By name, so that the order of rows says nothing.
    rows, columns = tuple(sorted(set(names))), tuple(sorted(set(tasks)))
    at = np.array([rows.index(name) for name in names])
    of = np.array([columns.index(name) for name in tasks])
    code = at * len(columns) + of
    twice = np.flatnonzero(np.bincount(code, minlength=len(rows) * len(columns)) > 1)
    if len(twice):
        place = divmod(int(twice[0]), len(columns))
        raise EvidenceError(
            f"{rows[place[0]]!r} on {columns[place[1]]!r} is there more than once: name another"
            " task column, or give episodes in two files."
        )

    def filled(column: str | None) -> Float | None:
        if column is None:
            return None
        values = np.full((len(rows), len(columns)), np.nan)
        try:
            values[at, of] = table[column].cast(pl.Float64).fill_null(np.nan).to_numpy()
        except pl.exceptions.InvalidOperationError:
            raise EvidenceError(f"column {column!r} holds what is no number.") from None
        return values

    sim, true = filled(simulated), filled(real)
    assert sim is not None
    assert true is not None
    return _told(Cells(rows, columns, sim, true, filled(simulated_trials), filled(real_trials)))


def cells_of_scores(simulated: Scores, real: Scores) -> Cells:
    """Cells of two sets of episodes, those that have both, with the number of episodes.

    Raises
    ------
    EvidenceError
        When no policy and task has both.
    """
    policies = tuple(name for name in real.policies if name in set(simulated.policies))
    of_both = [own.task.names for own in (simulated, real)]
    tasks = tuple(name for name in of_both[1] if name in set(of_both[0]))
    if not policies or not tasks:
        raise EvidenceError(
            f"no policy and task is in both: policies {names_of(simulated.policies)} and"
            f" {names_of(real.policies)}, tasks {names_of(of_both[0])} and {names_of(of_both[1])}."
        )
    parts = [_means(own, policies, tasks) for own in (simulated, real)]
    notes = []
    for what, own in (("simulated", simulated), ("real", real)):
        others = [name for name in own.policies if name not in policies]
        more = [name for name in own.task.names if name not in tasks]
        if others:
            notes.append(f"only {what}, left out: policies {names_of(others)}")
        if more:
            notes.append(f"only {what}, left out: tasks {names_of(more)}")
    (sim, sims), (true, trues) = parts
    return _told(Cells(policies, tasks, sim, true, sims, trues, tuple(notes)))


def _means(
    scores: Scores, policies: tuple[str, ...], tasks: tuple[str, ...]
) -> tuple[Float, Float]:
    """Means, and how many each is of: (policies, tasks) both; higher is better."""
    if scores.metric is not None and len(scores.metric.names) > 1:
        raise EvidenceError(
            f"there are several metrics ({names_of(scores.metric.names)}): keep the rows of one."
        )
    shape = len(scores.policy.names), len(scores.task.names)
    cell = scores.policy.codes * shape[1] + scores.task.codes
    count = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape).astype(float)
    total = np.bincount(cell, scores.score, minlength=shape[0] * shape[1]).reshape(shape)
    mean = np.full(shape, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    lower = [_is_lower(scores, name) for name in scores.task.names]
    mean[:, lower] *= -1
    rows = [scores.policy.names.index(name) for name in policies]
    columns = [scores.task.names.index(name) for name in tasks]
    at = np.ix_(rows, columns)
    return mean[at], count[at]


def _is_lower(scores: Scores, task: str) -> bool:
    """Whether smaller values of a task are better."""
    known = {task, ALL, *(() if scores.metric is None else scores.metric.names)}
    return bool(known & scores.lower_is_better)


def names_of(names: Any, most: int = 4) -> str:
    """Some names, and how many more there are."""
    told = [str(name) for name in names]
    more = f" and {len(told) - most} more" if len(told) > most else ""
    return ", ".join(told[:most]) + more


def _told(cells: Cells) -> Cells:
    """With a note of what does not count."""
    if not cells.both.any():
        raise EvidenceError("no policy and task has both a simulated and a real result.")
    missing = int((~cells.both).sum())
    if not missing:
        return cells
    note = f"{missing} of {cells.both.size} cells have not both, and do not count"
    return replace(cells, notes=(*cells.notes, note))
