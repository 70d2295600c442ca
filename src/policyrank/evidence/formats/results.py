"""What the readers of formats share: documents with their shape checked, rows of results."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from policyrank.errors import EvidenceError
from policyrank.evidence.account import Account, listed, plural
from policyrank.evidence.base import Labels
from policyrank.evidence.comparisons import Comparisons
from policyrank.evidence.directions import tasks_in_words
from policyrank.evidence.json_schema import parse_json
from policyrank.evidence.scores import Scores
from policyrank.evidence.sources import Source

T = TypeVar("T")
Number = int | float


class Score(NamedTuple):
    """A score of a policy on a task."""

    policy: str
    task: str
    score: float
    metric: str | None = None
    replicate: str | None = None
    stderr: float = math.nan
    lower: bool = False
    """Whether smaller values are better."""


class Duel(NamedTuple):
    """A result of a against b: 1 when a wins, 0 when b wins."""

    a: str
    b: str
    outcome: float
    task: str | None = None
    rater: str | None = None


class Wanted(NamedTuple):
    """What the caller wants of a format, with the account of the reading."""

    account: Account
    metric: str | None = None


def document(source: Source, shape: type[T]) -> T:
    """The JSON of a file in the shape that a reader needs."""
    return parse_json(source.text, shape, source.name)


def json_lines(source: Source, shape: type[T]) -> Iterator[tuple[int, T]]:
    """Line numbers, from 1, and the JSON of each line that is not blank."""
    for number, line in source.lines():
        if line.strip():
            yield number, parse_json(line, shape, f"{source.name}, line {number}")


def scores_of(rows: Sequence[Score], account: Account) -> Scores:
    """The scores, with direction and standard errors where they are known.

    Scores that are NaN or infinite are refused, or left out and counted.

    Raises
    ------
    EvidenceError
        When nothing is left, or when a metric is better when larger on one row and when smaller on
        another.
    """
    good, bad = [], []
    for row in rows:
        if math.isfinite(row.score):
            good.append(row)
        else:
            metric = f", {row.metric}" if row.metric else ""
            bad.append(f"{row.policy} on {row.task}{metric}: {row.score}")
    account.unusable("no finite score", bad, "score")
    if not good:
        raise EvidenceError(f"{account.name}: no usable score is left.")
    errors = np.array([row.stderr for row in good], dtype=float)
    lower = _lower(good, account)
    if account.notes and account.notes[0].startswith("read from "):
        account.notes[0] += f", {tasks_in_words(sorted({row.task for row in good}), lower)}"
    return Scores(
        Labels.of([row.policy for row in good]),
        Labels.of([row.task for row in good]),
        np.array([row.score for row in good], dtype=float),
        metric=_labels([row.metric for row in good], "score"),
        replicate=_labels([row.replicate for row in good], ""),
        stderr=None if np.isnan(errors).all() else errors,
        lower_is_better=lower,
        notes=tuple(account.notes),
    )


def _labels(names: Sequence[str | None], missing: str) -> Labels | None:
    """A column of names; None where no row has one."""
    if all(name is None for name in names):
        return None
    return Labels.of([missing if name is None else name for name in names])


def _lower(rows: Sequence[Score], account: Account) -> frozenset[str]:
    """Names of the tasks (or of the metrics) whose smaller values are better."""
    of_task: dict[str, set[bool]] = {}
    of_metric: dict[str, set[bool]] = {}
    for row in rows:
        of_task.setdefault(row.task, set()).add(row.lower)
        of_metric.setdefault(row.metric or "", set()).add(row.lower)
    for directions in (of_task, of_metric):
        if all(len(found) == 1 for found in directions.values()):
            names = frozenset(name for name, found in directions.items() if found == {True})
            if "" not in names:
                return names
    mixed = listed(sorted(task for task, found in of_task.items() if len(found) > 1))
    raise EvidenceError(
        f"{account.name}: on {mixed} the same metric is said to be better when larger and when"
        " smaller. Read one metric (metric=..., --metric)."
    )


def comparisons_of(rows: Sequence[Duel], account: Account) -> Comparisons:
    """The comparisons, with tasks and raters where all have one."""
    if not rows:
        raise EvidenceError(f"{account.name}: no usable comparison is left.")
    a, b, outcomes, tasks, raters = zip(*rows, strict=True)
    options: dict[str, Any] = {}
    if None not in tasks:
        options["task"] = tasks
    if None not in raters and len(set(raters)) > 1:
        options["rater"] = raters
    return Comparisons.of(a, b, np.array(outcomes, dtype=float), **options, notes=account.notes)


def with_replicates(rows: Sequence[Score], account: Account, what: str) -> list[Score]:
    """The rows, numbered as replicates where a policy has several on a task, which is said."""
    times = Counter((row.policy, row.task, row.metric) for row in rows)
    several = [row for row in rows if times[row.policy, row.task, row.metric] > 1]
    if not several:
        return [*rows]
    names = dict.fromkeys(f"{row.policy} on {row.task}" for row in several)
    account.note(f"{what}, averaged: {listed(names, most=3)}")
    seen: Counter[tuple[str, str, str | None]] = Counter()
    apart = []
    for row in rows:
        key = row.policy, row.task, row.metric
        seen[key] += 1
        apart.append(row._replace(replicate=str(seen[key])))
    return apart


def number(value: object) -> float | None:
    """A JSON number as a float; None: something else, or a truth value."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def truth_or_number(value: object) -> float | None:
    """A JSON number as a float, true and false as 1 and 0; None: something else."""
    return float(value) if isinstance(value, bool) else number(value)


def read_as(account: Account, name: str, sources: Sequence[Source], more: str) -> None:
    """The first line: what the input was read as."""
    files = plural(len(sources), "file")
    files = "" if len(sources) == 1 or account.name == files else f" ({files})"
    account.notes.insert(0, f"read from {account.name} as {name}{files}: {more}")


def choose_metric(
    there: Sequence[str], wanted: str | None, preferred: Sequence[str], where: str
) -> str | None:
    """The metric that the caller named, else the first of the preferred that is there.

    Raises
    ------
    EvidenceError
        When the named metric is not there.
    """
    if wanted is not None:
        if wanted in there:
            return wanted
        raise EvidenceError(f"{where}: no metric {wanted!r}. It has: {listed(there)}.")
    for name in preferred:
        if name in there:
            return name
    return None
