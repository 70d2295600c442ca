"""Pairwise comparisons: policy a against policy b, with an outcome."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
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
    compact,
    freeze,
    merge_labels,
    positions,
    write_frame,
)
from policyrank.evidence.comparison_tables import COVARIATE, ComparisonOptions, comparison_columns
from policyrank.evidence.rankings import Rankings


@dataclass(frozen=True, eq=False, repr=False)
class Comparisons:
    """Results of one policy against another; immutable, one row a comparison (or a count of equal
    ones).

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
    time: NDArray[Any] | None = None
    covariates: NDArray[np.float64] | None = None
    covariate_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "policies", tuple(self.policies))
        for field, dtype in (
            ("a", np.int32),
            ("b", np.int32),
            ("outcome", None),
            ("count", np.int64),
            ("weight", float),
        ):
            value = getattr(self, field)
            if value is not None:
                value = np.asarray(value, dtype=dtype)
                if field == "outcome" and value.dtype != np.float32:
                    value = value.astype(np.float64, copy=False)
                put(self, field, freeze(value))
        if self.time is not None:
            put(self, "time", freeze(np.asarray(self.time)))
        check_policies(self.policies)
        if not len(self.a):
            raise EvidenceError("no comparisons: the input is empty. Give at least one row.")
        self._check()
        if self.covariates is not None:
            x = np.asarray(self.covariates, dtype=float).reshape(len(self.a), -1)
            check_finite(x.sum(axis=1), "a covariate")
            put(self, "covariates", freeze(x))
            put(
                self,
                "covariate_names",
                tuple(self.covariate_names) or tuple(f"x{i}" for i in range(x.shape[1])),
            )

    def _check(self) -> None:
        lengths = {
            f: len(v)
            for f in ("a", "b", "outcome", "count", "weight", "task", "rater", "time")
            if (v := getattr(self, f)) is not None
        }
        if len(set(lengths.values())) > 1:
            raise EvidenceError(
                f"columns differ in length: {lengths}. Every column needs one value a row."
            )
        check_finite(self.outcome, "the outcome")
        bad = (self.outcome < 0) | (self.outcome > 1)
        if bad.any():
            row = int(np.argmax(bad))
            raise EvidenceError(
                f"row {row + 1}: the outcome is {self.outcome[row]:g}, outside [0, 1]"
                f" ({int(bad.sum())} such rows). Use 1 when a wins, 0 when b wins, 0.5 for a tie."
            )
        for codes in (self.a, self.b):
            if codes.min() < 0 or codes.max() >= len(self.policies):
                raise EvidenceError(
                    "a policy code lies outside the list of names. Build with Comparisons.of(names,"
                    " ...)."
                )
        same = self.a == self.b
        if same.any():
            row = int(np.argmax(same))
            raise EvidenceError(
                f"row {row + 1}: {self.policies[self.a[row]]!r} is compared with itself"
                f" ({int(same.sum())} such rows). Remove these rows, or read with bad='skip' to"
                " leave them out and count them."
            )
        if self.weight is not None:
            check_finite(self.weight, "the weight")
            if self.weight.min() < 0:
                raise EvidenceError(
                    f"row {int(np.argmin(self.weight)) + 1}: a negative weight. Weights must be"
                    " >= 0."
                )
        if self.count is not None and self.count.min() < 0:
            raise EvidenceError(
                f"row {int(np.argmin(self.count)) + 1}: a negative count. Counts must be >= 0."
            )

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
        """Build from names: ``a`` and ``b`` are names of policies, ``task`` and ``rater`` are
        names.
        """
        both = merge_labels(Labels.of(a), Labels.of(b), "policy")
        assert both is not None
        n = len(both) // 2
        codes, names = both.codes, both.names
        if policies is not None:
            codes, names = (
                positions(policies, names, "policy").astype(np.int32)[codes],
                tuple(policies),
            )
        return cls(
            names,
            codes[:n],
            codes[n:],
            np.asarray(outcome),
            task=None if task is None else Labels.of(task),
            rater=None if rater is None else Labels.of(rater),
            **columns,
        )

    @classmethod
    def from_frame(cls, frame: Any, **columns: Unpack[ComparisonOptions]) -> Comparisons:
        """Build from a polars or pandas frame; see ``read_comparisons`` for the options."""
        return cls(**comparison_columns(frame, **columns))

    @classmethod
    def of_rankings(cls, rankings: Rankings) -> Comparisons:
        """Each pair of policies on each ballot (higher wins, a tie is 0.5); groups become tasks.

        Examples
        --------
        >>> Comparisons.of_rankings(Rankings.of([["x", "y", "z"]])).preferences()
        array([[0., 1., 1.],
               [0., 0., 1.],
               [0., 0., 0.]])
        """
        pairs = []
        for ballot, policy, position in rankings.blocks():
            i, j = np.triu_indices(policy.shape[1], 1)
            outcome = 0.5 + 0.5 * np.sign(position[:, j] - position[:, i])
            pairs.append((policy[:, i], policy[:, j], outcome, np.repeat(ballot, len(i))))
        a, b, outcome, ballot = (
            np.concatenate([np.ravel(part) for part in column])
            for column in zip(*pairs, strict=True)
        )
        group = rankings.group
        if group is None:
            names = tuple(f"ballot {i + 1}" for i in range(len(rankings)))
            group = Labels(np.arange(len(rankings), dtype=np.int32), names)
        weight = None
        if (rankings.weight != 1).any():
            weight = rankings.weight[ballot]
        return cls(
            rankings.policies,
            a,
            b,
            outcome,
            weight=weight,
            task=group.take(ballot),
            notes=rankings.notes,
        )

    def __len__(self) -> int:
        return len(self.a)

    def __repr__(self) -> str:
        return f"Comparisons({self.summary})"

    @property
    def summary(self) -> str:
        """What it holds, in a few words."""
        extra = "".join(
            f", {len(v.names)} {k}s" for k, v in (("task", self.task), ("rater", self.rater)) if v
        )
        return f"{self.total:,} comparisons, {len(self.policies)} policies{extra}"

    @property
    def total(self) -> int:
        """How many comparisons the rows stand for."""
        return len(self.a) if self.count is None else int(self.count.sum())

    @property
    def mass(self) -> NDArray[np.float64]:
        """Count times weight of each row."""
        ones = np.ones(len(self.a)) if self.count is None else self.count.astype(float)
        return ones if self.weight is None else ones * self.weight

    def seen(self) -> NDArray[np.int64]:
        """How many comparisons each policy took part in: (policies,)."""
        k = len(self.policies)
        each = np.bincount(self.a, self.count, k) + np.bincount(self.b, self.count, k)
        return each.astype(np.int64)

    def take(self, rows: NDArray[Any]) -> Comparisons:
        """The comparisons at ``rows`` (mask or indices), among the policies left in them."""

        def cut(column: Any) -> Any:
            return (
                None
                if column is None
                else column.take(rows)
                if isinstance(column, Labels)
                else column[rows]
            )

        both = compact(Labels(np.concatenate([self.a[rows], self.b[rows]]), self.policies))
        n = len(both) // 2
        return replace(
            self,
            policies=both.names,
            a=both.codes[:n],
            b=both.codes[n:],
            **{
                f: cut(getattr(self, f))
                for f in ("outcome", "count", "weight", "task", "rater", "time", "covariates")
            },
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
        """The comparisons among ``policies``, on ``tasks``, by ``raters``, with since <= time <
        until.
        """
        keep = np.ones(len(self.a), dtype=bool)
        if policies is not None:
            codes = positions(self.policies, policies, "policy")
            keep &= np.isin(self.a, codes) & np.isin(self.b, codes)
        for column, wanted, what in ((self.task, tasks, "task"), (self.rater, raters, "rater")):
            if wanted is not None:
                if column is None:
                    raise EvidenceError(
                        f"these comparisons have no column {what!r}. Name one when reading them."
                    )
                keep &= column.mask(wanted, what)
        if since is not None or until is not None:
            if self.time is None:
                raise EvidenceError(
                    "these comparisons have no column 'time'. Name one when reading them."
                )
            as_time = np.datetime64 if self.time.dtype.kind == "M" else float
            if since is not None:
                keep &= self.time >= as_time(since)
            if until is not None:
                keep &= self.time < as_time(until)
        if not keep.any():
            raise EvidenceError("no comparison is left after filtering. Loosen the filter.")
        return self.take(keep)

    def merge(self, other: Comparisons) -> Comparisons:
        """Both sets of comparisons, one after the other."""
        a = merge_labels(Labels(self.a, self.policies), Labels(other.a, other.policies), "policy")
        b = merge_labels(Labels(self.b, self.policies), Labels(other.b, other.policies), "policy")
        assert a is not None
        assert b is not None
        if (self.time is None) != (
            other.time is None
        ) or self.covariate_names != other.covariate_names:
            raise EvidenceError(
                "the two differ in their columns 'time' or covariates: make them alike, then merge."
            )

        def filled(c: Comparisons, field: str) -> NDArray[Any]:
            value = getattr(c, field)
            return np.ones(len(c.a)) if value is None else value

        def stack(field: str, default: bool) -> NDArray[Any] | None:
            if getattr(self, field) is None and getattr(other, field) is None:
                return None
            return np.concatenate(
                [filled(c, field) if default else getattr(c, field) for c in (self, other)]
            )

        return Comparisons(
            a.names,
            a.codes,
            b.codes,
            np.concatenate([self.outcome, other.outcome]),
            count=stack("count", True),
            weight=stack("weight", True),
            task=merge_labels(self.task, other.task, "task"),
            rater=merge_labels(self.rater, other.rater, "rater"),
            time=stack("time", False),
            covariates=stack("covariates", False),
            covariate_names=self.covariate_names,
            notes=tuple(dict.fromkeys(self.notes + other.notes)),
        )

    def counted(self, by: Iterable[str] = ()) -> Comparisons:
        """Equal comparisons as one row with a count; ``by`` names columns to keep apart (task,
        rater).
        """
        by = tuple(by)
        frame = pl.DataFrame({"a": self.a, "b": self.b, "outcome": self.outcome})
        if self.weight is not None:
            frame = frame.with_columns(weight=self.weight)
        for name in by:
            if (column := getattr(self, name)) is not None:
                frame = frame.with_columns(pl.Series(name, column.codes))
        keys = frame.columns
        frame = frame.with_columns(
            count=pl.lit(1, pl.Int64) if self.count is None else pl.Series(self.count)
        )
        frame = frame.group_by(keys).agg(pl.col("count").sum()).sort(keys)
        kept: dict[str, Any] = {
            n: Labels(frame[n].to_numpy(), getattr(self, n).names) for n in by if n in frame.columns
        }
        return Comparisons(
            self.policies,
            frame["a"].to_numpy(),
            frame["b"].to_numpy(),
            frame["outcome"].to_numpy(),
            count=frame["count"].to_numpy(),
            weight=frame["weight"].to_numpy() if self.weight is not None else None,
            notes=self.notes,
            **kept,
        )

    def preferences(self, *, ties: float = 0.5) -> NDArray[np.float64]:
        """Weighted wins of each policy over each other, a tie as ``ties`` of one: (policies,
        policies).
        """
        k, mass = len(self.policies), self.mass
        y = np.asarray(self.outcome, dtype=float)
        tied = y == 0.5
        a, b = self.a.astype(np.int64), self.b.astype(np.int64)
        wins = np.asarray(np.bincount(a * k + b, mass * np.where(tied, ties, y), k * k), float)
        wins += np.bincount(b * k + a, mass * np.where(tied, ties, 1 - y), k * k)
        return wins.reshape(k, k)

    def to_rankings(self) -> Rankings:
        """Each comparison as a ballot over two policies (outcomes must be 0, 0.5 or 1)."""
        c = self.counted()
        if not np.isin(c.outcome, (0.0, 0.5, 1.0)).all():
            raise EvidenceError("only outcomes 0, 0.5 and 1 make ballots; these have others.")
        rows = np.arange(len(c.a))
        return Rankings.of_positions(
            np.repeat(rows, 2),
            np.column_stack([c.a, c.b]).ravel(),
            np.column_stack([1 + (c.outcome == 0), 1 + (c.outcome == 1)]).ravel(),
            self.policies,
            weight=c.mass,
        )

    def to_frame(self) -> pl.DataFrame:
        """One row a comparison: a, b, outcome and the columns that are there."""
        names = pl.Series(self.policies, dtype=pl.String)
        frame = pl.DataFrame(
            {"a": names.gather(self.a), "b": names.gather(self.b), "outcome": self.outcome}
        )
        for field in ("count", "weight", "time"):
            if (value := getattr(self, field)) is not None:
                frame = frame.with_columns(pl.Series(field, value))
        for field in ("task", "rater"):
            if (labels := getattr(self, field)) is not None:
                frame = frame.with_columns(labels.values().alias(field))
        if self.covariates is not None:
            for name, column in zip(self.covariate_names, self.covariates.T, strict=True):
                frame = frame.with_columns(pl.Series(COVARIATE + name, column))
        return frame

    def write(self, path: str | Path) -> None:
        """Write to .parquet, .csv, .tsv, .jsonl or .arrow; ``read_comparisons`` reads it back."""
        write_frame(self.to_frame(), path)
