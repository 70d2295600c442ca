"""Pairwise comparisons: policy a against policy b, with an outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Unpack

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence.base import (
    FEW_UNITS,
    Labels,
    among,
    check_finite,
    check_lengths,
    check_not_negative,
    check_policies,
    check_weights,
    compact,
    freeze,
    labels_or_none,
    merge_labels,
    merged_notes,
    ones_if_none,
    positions,
    put_arrays,
    rows_named,
    stacked,
    taken,
    write_frame,
)
from policyrank.evidence.comparison_checks import check_outcomes, check_sides, check_total
from policyrank.evidence.comparison_tables import COVARIATE, ComparisonOptions, comparison_columns
from policyrank.evidence.rankings import Rankings

DTYPES = {
    "a": np.int32,
    "b": np.int32,
    "outcome": None,
    "count": np.int64,
    "weight": float,
    "time": None,
}
COLUMNS = ("a", "b", "outcome", "count", "weight", "task", "rater", "ballot", "time")
Unit = Literal["ballot", "rater", "task"]


class Games(NamedTuple):
    """Equal games, so many ``times`` (perhaps broken); ``row``: the comparison they come from."""

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    outcome: NDArray[np.float64]
    times: NDArray[np.float64]
    row: NDArray[np.int64]


@dataclass(frozen=True, eq=False, repr=False)
class Comparisons:
    """Results of one policy against another, one row a comparison (or a count of equal ones).

    Attributes
    ----------
    policies
        tuple of str, the names that ``a`` and ``b`` index
    a, b
        int (rows,), the first and the second policy
    outcome
        float (rows,) in [0, 1]: 1 when a wins, 0 when b wins, 0.5 for a tie
    count
        int (rows,) or None: how many equal comparisons the row stands for (None: one each)
    weight
        float (rows,) >= 0 or None: the importance of each of them (None: one)
    task, rater
        Labels or None
    ballot
        Labels or None: rows that come from one ballot are one observation; a ballot's count is that
        of the voters who cast it
    time
        (rows,) numbers or datetime64, or None
    covariates
        float (rows, k) or None: differences between a and b (a minus b), for example in length
    notes
        what a reader should know about how the data were read

    Examples
    --------
    >>> Comparisons.of(["x", "y", "x"], ["y", "z", "z"], [1, 0.5, 1])
    Comparisons(3 comparisons, 3 policies)
    """

    policies: tuple[str, ...]
    a: NDArray[np.int32]
    b: NDArray[np.int32]
    outcome: NDArray[np.float64]
    count: NDArray[np.int64] | None = None
    weight: NDArray[np.float64] | None = None
    task: Labels | None = None
    rater: Labels | None = None
    ballot: Labels | None = None
    time: NDArray[Any] | None = None
    covariates: NDArray[np.float64] | None = None
    covariate_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "policies", tuple(self.policies))
        put_arrays(self, DTYPES)
        if self.outcome.dtype != np.float32:
            put_arrays(self, {"outcome": np.float64})
        check_policies(self.policies)
        if not len(self.a):
            raise EvidenceError("no comparisons: the input is empty. Give at least one row.")
        check_lengths(self, COLUMNS)
        check_outcomes(self.outcome)
        check_sides(self.a, self.b, self.policies)
        if self.weight is not None:
            check_weights(self.weight)
        if self.count is not None:
            check_not_negative(self.count, "count")
            check_total(self.count)
        if self.covariates is not None:
            self._put_covariates(np.asarray(self.covariates, dtype=float))

    def _put_covariates(self, given: NDArray[np.float64]) -> None:
        """One column each, with a name."""
        covariates = given.reshape(len(self.a), -1)
        check_finite(covariates.sum(axis=1), "a covariate")
        names = tuple(self.covariate_names)
        if not names:
            names = tuple(f"x{i}" for i in range(covariates.shape[1]))
        object.__setattr__(self, "covariates", freeze(covariates))
        object.__setattr__(self, "covariate_names", names)

    @classmethod
    def of(
        cls,
        a: Iterable[Any],
        b: Iterable[Any],
        outcome: ArrayLike,
        *,
        policies: Sequence[str] | None = None,
        task: Iterable[Any] | None = None,
        rater: Iterable[Any] | None = None,
        **columns: Any,
    ) -> Comparisons:
        """Build from names of policies ``a`` and ``b``, of tasks and of raters."""
        found = merge_labels(Labels.of(a), Labels.of(b), "policy")
        assert found is not None
        both = among(found, policies, "policy")
        half = len(both) // 2
        return cls(
            both.names,
            both.codes[:half],
            both.codes[half:],
            np.asarray(outcome),
            task=labels_or_none(task),
            rater=labels_or_none(rater),
            **columns,
        )

    @classmethod
    def from_frame(cls, frame: Any, **columns: Unpack[ComparisonOptions]) -> Comparisons:
        """Build from a polars or pandas frame; see ``read_comparisons`` for the options."""
        return cls(**comparison_columns(frame, **columns))

    @classmethod
    def of_rankings(cls, rankings: Rankings) -> Comparisons:
        """Each pair of policies on each ballot (higher wins, a tie is 0.5); groups become tasks.

        Pairs of one ballot (or of one group, where several hold many ballots) are one observation:
        they carry it along.

        Examples
        --------
        >>> Comparisons.of_rankings(Rankings.of([["x", "y", "z"]])).preferences()
        array([[0., 1., 1.],
               [0., 0., 1.],
               [0., 0., 0.]])
        """
        first, second, outcomes, ballots = [], [], [], []
        for ballot, policy, position in rankings.blocks():
            i, j = np.triu_indices(policy.shape[1], 1)
            outcome = 0.5 + 0.5 * np.sign(position[:, j] - position[:, i])
            first.append(policy[:, i].ravel())
            second.append(policy[:, j].ravel())
            outcomes.append(outcome.ravel())
            ballots.append(np.repeat(ballot, len(i)))
        ballot = np.concatenate(ballots)
        names = tuple(f"ballot {i + 1}" for i in range(len(rankings)))
        own = Labels(np.arange(len(rankings), dtype=np.int32), names)
        group = own if rankings.group is None else rankings.group
        unit = group if rankings.unit == "group" else own
        count = weight = None
        if (rankings.weight != 1).any():
            weight = rankings.weight[ballot]
            if rankings.counts_voters and rankings.unit == "ballot":
                count, weight = weight.astype(np.int64), None
        return cls(
            rankings.policies,
            np.concatenate(first),
            np.concatenate(second),
            np.concatenate(outcomes),
            count=count,
            weight=weight,
            task=group.take(ballot),
            ballot=unit.take(ballot),
            notes=rankings.notes,
        )

    def __len__(self) -> int:
        return len(self.a)

    def __repr__(self) -> str:
        return f"Comparisons({self.summary})"

    @property
    def summary(self) -> str:
        """What it holds, in a few words."""
        text = f"{self.total:,} comparisons, {len(self.policies)} policies"
        if self.task:
            text += f", {len(self.task.names)} tasks"
        if self.rater:
            text += f", {len(self.rater.names)} raters"
        return text

    @property
    def total(self) -> int:
        """How many comparisons the rows stand for."""
        if self.count is None:
            return len(self.a)
        return int(self.count.sum())

    @property
    def mass(self) -> NDArray[np.float64]:
        """Count times weight of each row."""
        count = ones_if_none(self.count, len(self.a)).astype(float)
        if self.weight is None:
            return count
        return count * self.weight

    def seen(self) -> NDArray[np.int64]:
        """How many comparisons each policy took part in: (policies,)."""
        size = len(self.policies)
        each = np.bincount(self.a, self.count, size) + np.bincount(self.b, self.count, size)
        return each.astype(np.int64)

    def take(self, rows: NDArray[Any]) -> Comparisons:
        """The comparisons at ``rows`` (mask or indices), among the policies left in them."""
        both = compact(Labels(np.concatenate([self.a[rows], self.b[rows]]), self.policies))
        half = len(both) // 2
        return replace(
            self,
            policies=both.names,
            a=both.codes[:half],
            b=both.codes[half:],
            outcome=self.outcome[rows],
            count=taken(self.count, rows),
            weight=taken(self.weight, rows),
            task=taken(self.task, rows),
            rater=taken(self.rater, rows),
            ballot=taken(self.ballot, rows),
            time=taken(self.time, rows),
            covariates=taken(self.covariates, rows),
        )

    def filter(
        self,
        *,
        policies: Iterable[str] | None = None,
        tasks: Iterable[str] | str | None = None,
        raters: Iterable[str] | str | None = None,
        since: Any = None,
        until: Any = None,
    ) -> Comparisons:
        """Those among ``policies``, on ``tasks``, by ``raters``, with since <= time < until."""
        keep = np.ones(len(self.a), dtype=bool)
        if policies is not None:
            codes = positions(self.policies, policies, "policy")
            keep &= np.isin(self.a, codes) & np.isin(self.b, codes)
        if tasks is not None:
            keep &= rows_named(self.task, tasks, "task", "comparisons")
        if raters is not None:
            keep &= rows_named(self.rater, raters, "rater", "comparisons")
        if since is not None or until is not None:
            keep &= self._between(since, until)
        if not keep.any():
            raise EvidenceError("no comparison is left after filtering. Loosen the filter.")
        return self.take(keep)

    def _between(self, since: Any, until: Any) -> NDArray[np.bool_]:
        """Rows with since <= time < until, either of which may be None."""
        if self.time is None:
            raise EvidenceError(
                "these comparisons have no column 'time'. Name one when reading them."
            )
        as_time: Callable[[Any], Any] = float
        if self.time.dtype.kind == "M":
            as_time = np.datetime64
        keep = np.ones(len(self.time), dtype=bool)
        if since is not None:
            keep &= self.time >= as_time(since)
        if until is not None:
            keep &= self.time < as_time(until)
        return keep

    def merge(self, other: Comparisons) -> Comparisons:
        """Both sets of comparisons, one after the other."""
        a = merge_labels(Labels(self.a, self.policies), Labels(other.a, other.policies), "policy")
        b = merge_labels(Labels(self.b, self.policies), Labels(other.b, other.policies), "policy")
        assert a is not None
        assert b is not None
        timed = self.time is not None, other.time is not None
        if timed[0] != timed[1] or self.covariate_names != other.covariate_names:
            raise EvidenceError(
                "the two differ in their columns 'time' or covariates: make them alike, then merge."
            )
        rows = len(self.a), len(other.a)
        return Comparisons(
            a.names,
            a.codes,
            b.codes,
            np.concatenate([self.outcome, other.outcome]),
            count=stacked(self.count, other.count, rows),
            weight=stacked(self.weight, other.weight, rows),
            task=merge_labels(self.task, other.task, "task"),
            rater=merge_labels(self.rater, other.rater, "rater"),
            ballot=_ballots_of_both(self, other),
            time=stacked(self.time, other.time, rows),
            covariates=stacked(self.covariates, other.covariates, rows),
            covariate_names=self.covariate_names,
            notes=merged_notes(self.notes, other.notes),
        )

    def counted(self, by: Iterable[str] = ()) -> Comparisons:
        """Equal comparisons as one row with a count.

        ``by`` names columns to keep apart (task, rater, ballot).
        """
        columns: dict[str, Any] = {"a": self.a, "b": self.b, "outcome": self.outcome}
        if self.weight is not None:
            columns["weight"] = self.weight
        apart: dict[str, Labels] = {}
        for name in by:
            labels = getattr(self, name)
            if labels is not None:
                apart[name], columns[name] = labels, labels.codes
        count = ones_if_none(self.count, len(self.a)).astype(np.int64)
        frame = pl.DataFrame({**columns, "count": count})
        frame = frame.group_by(list(columns)).agg(pl.col("count").sum()).sort(list(columns))
        found: dict[str, Any] = {name: frame[name].to_numpy() for name in frame.columns}
        for name, labels in apart.items():
            found[name] = Labels(found[name], labels.names)
        return Comparisons(self.policies, notes=self.notes, **found)

    @property
    def unit(self) -> Unit | None:
        """What is independent of each other: ballots, or raters where there are several.

        None: each comparison.
        """
        if self.ballot is not None:
            return "ballot"
        if self.rater is not None and len(self.rater.names) >= FEW_UNITS:
            return "rater"
        return None

    def games(self) -> Games:
        """Single games: a broken outcome of several is their share of wins.

        Seven wins of ten read as 0.7 with count 10 are seven games won and three lost. Where any
        row is such a share, all rows with a count are.

        Examples
        --------
        >>> c = Comparisons.of(["x"], ["y"], [0.7], count=[10])
        >>> games = c.games()
        >>> games.outcome, games.times
        (array([1., 0.]), array([7., 3.]))
        """
        a, b = self.a.astype(np.int64), self.b.astype(np.int64)
        y, row = np.asarray(self.outcome, dtype=float), np.arange(len(a))
        count = ones_if_none(self.count, len(a)).astype(float)
        several = count > 1
        if not (several & ~np.isin(y, (0.0, 0.5, 1.0))).any():
            return Games(a, b, y, count, row)
        share = several & (y > 0) & (y < 1)
        left = np.where(share, count * (1 - y), 0.0)[share]
        return Games(
            np.r_[a, a[share]],
            np.r_[b, b[share]],
            np.r_[np.where(share, 1.0, y), np.zeros(int(share.sum()))],
            np.r_[np.where(share, count * y, count), left],
            np.r_[row, row[share]],
        )

    def preferences(self, *, ties: float = 0.5) -> NDArray[np.float64]:
        """Weighted wins of each policy over each other: (policies, policies).

        A tie counts as ``ties`` of a win.
        """
        size, mass = len(self.policies), self.mass
        a, b = self.a.astype(np.int64), self.b.astype(np.int64)
        y = np.asarray(self.outcome, dtype=float)
        tied = y == 0.5
        wins = np.full(size**2, 0.0)
        np.add.at(wins, a * size + b, mass * np.where(tied, ties, y))
        np.add.at(wins, b * size + a, mass * np.where(tied, ties, 1 - y))
        return wins.reshape(size, size)

    def to_rankings(self) -> Rankings:
        """Each comparison as a ballot over two policies (outcomes must be 0, 0.5 or 1)."""
        counted = self.counted()
        outcome = counted.outcome
        if not np.isin(outcome, (0.0, 0.5, 1.0)).all():
            raise EvidenceError("only outcomes 0, 0.5 and 1 make ballots; these have others.")
        return Rankings.of_positions(
            np.repeat(np.arange(len(counted)), 2),
            np.column_stack([counted.a, counted.b]).ravel(),
            np.column_stack([1 + (outcome == 0), 1 + (outcome == 1)]).ravel(),
            self.policies,
            weight=counted.mass,
        )

    def to_frame(self) -> pl.DataFrame:
        """One row a comparison: a, b, outcome and the columns that are there."""
        names = pl.Series(self.policies, dtype=pl.String)
        frame = pl.DataFrame(
            {"a": names.gather(self.a), "b": names.gather(self.b), "outcome": self.outcome}
        )
        for field in ("count", "weight", "time"):
            column = getattr(self, field)
            if column is not None:
                frame = frame.with_columns(pl.Series(field, column))
        for field in ("task", "rater", "ballot"):
            labels = getattr(self, field)
            if labels is not None:
                frame = frame.with_columns(labels.values().alias(field))
        if self.covariates is not None:
            for name, column in zip(self.covariate_names, self.covariates.T, strict=True):
                frame = frame.with_columns(pl.Series(COVARIATE + name, column))
        return frame

    def write(self, path: str | Path) -> None:
        """Write to .parquet, .csv, .tsv, .jsonl or .arrow; ``read_comparisons`` reads it back."""
        write_frame(self.to_frame(), path)


def _ballots_of_both(first: Comparisons, second: Comparisons) -> Labels | None:
    """Ballots of two sets, which are never the same ones; a row without any is its own."""
    if first.ballot is None and second.ballot is None:
        return None
    parts, before = [], 0
    for part in (first, second):
        codes = np.arange(len(part.a)) if part.ballot is None else part.ballot.codes
        parts.append(codes.astype(np.int64) + before)
        before += int(codes.max()) + 1
    names = tuple(f"ballot {i + 1}" for i in range(before))
    return Labels(np.concatenate(parts).astype(np.int32), names)
