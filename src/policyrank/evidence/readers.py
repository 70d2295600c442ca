"""Read comparisons from any table: columns found by name, outcomes by their usual labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence import tables as t
from policyrank.evidence.base import Labels, check_policies, compact
from policyrank.evidence.comparisons import COVARIATE, Comparisons

Bad = Literal["raise", "skip"]

_A = {
    "a",
    "modela",
    "policya",
    "left",
    "first",
    "player1",
    "playera",
    "p1",
    "win",
    "wins",
    "won",
    "w",
    "white",
    "home",
    "awins",
    "model1",
    "assistanta",
    "responsea",
    "agenta",
    "1st",
    "chosen",
}
_B = {
    "b",
    "modelb",
    "policyb",
    "right",
    "second",
    "player2",
    "playerb",
    "p2",
    "loss",
    "lose",
    "loses",
    "lost",
    "l",
    "black",
    "away",
    "bwins",
    "model2",
    "assistantb",
    "responseb",
    "agentb",
    "2nd",
    "rejected",
}
_TIE = {
    "tie",
    "ties",
    "draw",
    "drawn",
    "d",
    "equal",
    "both",
    "bothbad",
    "bothgood",
    "tiebothbad",
    "tiebothgood",
    "same",
    "neither",
    "1212",
}
_AMBIGUOUS = {"winner", "preference", "vote", "choice", "label", "verdict"}


def read_comparisons(
    source: Any,
    *,
    a: str | None = None,
    b: str | None = None,
    outcome: str | None = None,
    task: str | None = None,
    rater: str | None = None,
    time: str | None = None,
    weight: str | None = None,
    count: str | None = None,
    covariates: Sequence[str] = (),
    first_wins: int | None = None,
    keep: Iterable[str] = ("task", "rater", "time", "weight"),
    counted: bool = False,
    bad: Bad = "raise",
) -> Comparisons:
    """Read pairwise comparisons.

    Parameters
    ----------
    source
        path (.csv, .tsv, .parquet, .jsonl, .json, .arrow, .gz), ``"-"`` for standard input, a
        polars, pandas or Arrow table, or a dict of columns. Also already-counted tables: a, b, wins
        and perhaps losses and ties.
    a, b, outcome, task, rater, time, weight, count
        names of the columns; found by their usual names when not given
        (model_a/model_b/winner, left/right, player1/player2/result, chosen/rejected, ...). The
        outcome may hold numbers in [0, 1], labels (model_a, left, tie, "tie (bothbad)", 1-0, win,
        ...) or the winner's own name.
    covariates
        columns of differences (a minus b) to keep for style control
    first_wins
        what a number 1 (or 0) in the outcome column means: ``first_wins=1`` when 1 is a win of a,
        ``first_wins=0`` when 0 is. Needed only where a numeric column's name leaves it open
        (winner, preference, ...).
    keep
        which optional columns to look for by name; those named above are kept anyway
    counted
        count equal rows while reading: 10 million battles then need little memory (drops time)
    bad
        ``"raise"``: rows with a missing name, a missing or impossible outcome, or a policy against
        itself are an error; ``"skip"``: they are left out, and the notes say how many

    Raises
    ------
    EvidenceError
        Naming the column, the row and the remedy.
    """
    frame, name = t.open_table(source)
    columns = frame.collect_schema().names()
    found_a, found_b, paired = _pair(columns, a, b, name)
    wins = t.find(columns, ("wins", "wins_a", "a_wins", "win_a", "wins1"))
    out = t.given(columns, outcome, () if paired else t.OUTCOME, "the outcome", name)
    if out is None and not paired and wins is None:
        raise EvidenceError(
            f"{name}: no column with the outcome. It has: {t.listing(columns)}. Name it with"
            " outcome=... (--outcome)."
        )
    roles: dict[str, str] = {"a": found_a, "b": found_b}
    if out in (found_a, found_b):
        raise EvidenceError(
            f"{name}: column {out!r} cannot be both a policy and the outcome. Name the columns."
        )
    wanted = set(keep)
    for role, column, usual in (
        ("task", task, t.TASK),
        ("rater", rater, t.RATER),
        ("time", time, t.TIME),
        ("weight", weight, t.WEIGHT),
        ("count", count, t.COUNT),
    ):
        if column is not None or role in wanted or role == "count":
            found = t.given(columns, column, usual, role, name)
            if found is not None and found not in (found_a, found_b, out):
                roles[role] = found
    extra = list(covariates) or [c for c in columns if c.startswith(COVARIATE)]
    for column in extra:
        t.given(columns, column, (), "a covariate", name)
    if counted:
        roles.pop("time", None)
    if wins is not None and out is None and not paired:
        return _from_counts(frame, name, columns, roles, wins, bad)
    if out is not None:
        roles["outcome"] = out
    query = frame.select(
        *(pl.col(c).alias(r) for r, c in roles.items()), *(pl.col(c) for c in extra)
    )
    schema = query.collect_schema()
    text: list[str] = [c for c in ("a", "b", "task", "rater") if c in roles]
    numeric_outcome = "outcome" in roles and schema["outcome"].is_numeric()
    if "outcome" in roles and not numeric_outcome:
        text.append("outcome")
    query = query.with_columns(pl.col(c).cast(pl.String).cast(pl.Categorical) for c in text)
    if counted and not extra:
        n = pl.len() if "count" not in roles else pl.col("count").cast(pl.Int64, strict=False).sum()
        query = query.group_by([c for c in schema if c != "count"]).agg(
            n.cast(pl.Int64).alias("count")
        )
    table = t.collect(query, name)
    if not table.height:
        raise EvidenceError(f"{name}: it has columns but no rows.")
    return _Rows(frame, name, roles, table, extra, counted, first_wins, bad).comparisons()


def _pair(columns: Sequence[str], a: str | None, b: str | None, name: str) -> tuple[str, str, bool]:
    if (a is None) != (b is None):
        raise EvidenceError("give both a=... and b=... (--a and --b), or neither.")
    if a is not None and b is not None:
        for column, what in ((a, "the first policy"), (b, "the second policy")):
            t.given(columns, column, (), what, name)
        return a, b, (t.key(a), t.key(b)) in t.WINNER_FIRST
    for first, second in t.PAIRS:
        found = t.find(columns, (first,)), t.find(columns, (second,))
        if found[0] is not None and found[1] is not None:
            return found[0], found[1], (t.key(first), t.key(second)) in t.WINNER_FIRST
    raise EvidenceError(
        f"{name}: no pair of columns with the two policies. It has: {t.listing(columns)}. Name them"
        " with a=..., b=... (--a, --b)."
    )


def _numbers(series: pl.Series) -> NDArray[np.float64]:
    """Floats; NaN where a value is missing or no number."""
    values = (
        series.cast(pl.String).str.strip_chars()
        if series.dtype in (pl.String, pl.Categorical)
        else series
    )
    return values.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()


def _no_count(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return ~((values >= 0) & (values == np.round(values)))


def _negative(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return ~(np.isfinite(values) & (values >= 0))


def _not_finite(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(~np.isfinite(values).all(axis=1))


@dataclass
class _Rows:
    """The collected rows of a table of comparisons, on the way to be checked and encoded."""

    frame: pl.LazyFrame
    name: str
    roles: dict[str, str]
    table: pl.DataFrame
    extra: Sequence[str]
    counted: bool
    first_wins: int | None
    bad: Bad

    def comparisons(self) -> Comparisons:
        table = self.table
        (code_a, names_a), (code_b, names_b) = _encode(table["a"]), _encode(table["b"])
        names = sorted(set(names_a) | set(names_b))
        index = {n: i for i, n in enumerate(names)}
        a = np.array([*(index[n] for n in names_a), -1], dtype=np.int32)[code_a]
        b = np.array([*(index[n] for n in names_b), -1], dtype=np.int32)[code_b]
        y = self._outcome(a, b, index)
        count = _numbers(table["count"]) if "count" in table.columns else None
        weight = _numbers(table["weight"]) if "weight" in table.columns else None
        x = np.column_stack([_numbers(table[c]) for c in self.extra]) if self.extra else None
        problems: dict[str, Callable[[], NDArray[np.bool_]]] = {
            "a policy without a name": lambda: (a < 0) | (b < 0),
            "a policy compared with itself": lambda: (a == b) & (a >= 0),
            "a missing outcome, or one that is no known label": lambda: np.isnan(y),
            "an outcome outside [0, 1]": lambda: (y < 0) | (y > 1),
        }
        if count is not None:
            problems["a count that is no whole number >= 0"] = partial(_no_count, count)
        for role in ("task", "rater"):
            if role in table.columns and table[role].null_count():
                problems[f"a missing {role}"] = lambda role=role: table[role].is_null().to_numpy()  # type: ignore[misc]
        if weight is not None:
            problems["a weight that is no number >= 0"] = partial(_negative, weight)
        if x is not None:
            problems["a covariate that is no number"] = partial(_not_finite, x)
        good, notes = self._judge(problems, count)
        if not good.all():
            table, a, b, y = table.filter(good), a[good], b[good], y[good]
            count = None if count is None else count[good]
            weight = None if weight is None else weight[good]
            x = None if x is None else x[good]
        both = compact(Labels(np.concatenate([a, b]), tuple(names)))
        check_policies(both.names)
        used = [
            self.roles[r]
            for r in ("a", "b", "outcome", "task", "rater", "time", "weight", "count")
            if r in self.roles
        ]
        used = list(dict.fromkeys(used))
        return Comparisons(
            both.names,
            both.codes[: len(a)],
            both.codes[len(a) :],
            y,
            count=None if count is None else count.astype(np.int64),
            weight=weight,
            task=_labels(table["task"]) if "task" in table.columns else None,
            rater=_labels(table["rater"]) if "rater" in table.columns else None,
            time=_times(table["time"], self.name) if "time" in table.columns else None,
            covariates=x,
            covariate_names=tuple(c.removeprefix(COVARIATE) for c in self.extra),
            notes=(f"read from {self.name}, columns {', '.join(used)}", *notes),
        )

    def _outcome(
        self, a: NDArray[np.int32], b: NDArray[np.int32], index: dict[str, int]
    ) -> NDArray[np.float64]:
        if "outcome" not in self.table.columns:
            return np.ones(len(a))
        series = self.table["outcome"]
        column = self.roles["outcome"]
        if series.dtype.is_numeric():
            return self._numeric(series.cast(pl.Float64).fill_null(np.nan).to_numpy(), column)
        codes, labels = _encode(series)
        if labels and all(_is_number(label) for label in labels):
            return self._numeric(np.array([*map(float, labels), np.nan])[codes], column)
        sides = t.key(self.roles["a"]), t.key(self.roles["b"])
        by_label = np.array(
            [*(_label_value(label, *sides) for label in labels), np.nan], dtype=np.float32
        )[codes]
        named = np.array([*(index.get(label, -2) for label in labels), -2], dtype=np.int32)[codes]
        by_name = np.full(len(a), np.nan, dtype=np.float32)
        by_name[named == a], by_name[named == b] = 1, 0
        clash = ~np.isnan(by_label) & ~np.isnan(by_name) & (by_label != by_name)
        if clash.any():
            raise EvidenceError(
                f"{self.name}: {labels[codes[int(np.argmax(clash))]]!r} in column {column!r} is a"
                " policy's name and also means the other side. Rename that policy."
            )
        return np.where(np.isnan(by_label), by_name, by_label)

    def _numeric(self, y: NDArray[np.float64], column: str) -> NDArray[np.float64]:
        if self.first_wins is None and t.key(column) in _AMBIGUOUS:
            raise EvidenceError(
                f"{self.name}: numbers in column {column!r} could mean a win of either side. Say"
                " first_wins=1 (--first-wins 1) if 1 means that the first policy wins,"
                " first_wins=0 (--first-wins 0) if 0 does."
            )
        return 1 - y if self.first_wins == 0 else y

    def _judge(
        self,
        problems: dict[str, Callable[[], NDArray[np.bool_]]],
        count: NDArray[np.float64] | None,
    ) -> tuple[NDArray[np.bool_], list[str]]:
        good = np.ones(self.table.height, dtype=bool)
        notes = []
        for what, problem in problems.items():
            mask = problem() & good
            if not mask.any():
                continue
            rows = int(mask.sum() if count is None else np.nansum(count[mask]))
            if self.bad == "raise":
                raise EvidenceError(
                    f"{self.name}{self._place(int(np.argmax(mask)))}: {what}; {rows:,} such"
                    f" row{'s' * (rows != 1)}. Mend the file, or leave such rows out with"
                    " bad='skip' (--skip-bad): they are then counted."
                )
            good &= ~mask
            notes.append(f"{rows:,} row{'s' * (rows != 1)} left out: {what}")
        if not good.any():
            raise EvidenceError(f"{self.name}: no usable row is left ({'; '.join(notes)}).")
        return good, notes

    def _place(self, row: int) -> str:
        """Where the file first has the values of ``row``, and what they are."""
        values = {r: self.table[r][row] for r in ("a", "b", "outcome") if r in self.table.columns}
        shown = ", ".join(f"{self.roles[r]} = {v!r}" for r, v in values.items())
        if self.counted:
            same = [
                pl.col(self.roles[r])
                .cast(pl.String)
                .eq_missing(pl.lit(None if v is None else str(v), pl.String))
                for r, v in values.items()
            ]
            hit = t.collect(
                self.frame.with_row_index("policyrank.row")
                .filter(*same)
                .select("policyrank.row")
                .head(1),
                self.name,
            )
            row = int(hit.item()) if hit.height else row
        return f", row {row + 1:,} ({shown})"


def _encode(series: pl.Series) -> tuple[NDArray[np.int32], list[str]]:
    """Codes into distinct stripped names; -1: missing or blank."""
    series = series.cast(pl.Categorical) if series.dtype != pl.Categorical else series
    physical = series.to_physical().cast(pl.Int32).fill_null(-1).to_numpy()
    distinct = series.drop_nulls().unique()
    used = distinct.to_physical().cast(pl.Int32).to_numpy()
    raw = [n.strip() for n in distinct.cast(pl.String).to_list()]
    names = sorted({n for n in raw if n})
    index = {n: i for i, n in enumerate(names)}
    lookup = np.full(int(used.max()) + 2 if len(used) else 1, -1, dtype=np.int32)
    lookup[used] = [index.get(n, -1) for n in raw]
    return lookup[physical], names


def _labels(series: pl.Series) -> Labels:
    codes, names = _encode(series)
    return Labels(codes, tuple(names))


def _times(series: pl.Series, source: str) -> NDArray[Any]:
    if series.dtype.is_temporal():
        return series.cast(pl.Datetime("us")).to_numpy()
    numbers = _numbers(series)
    if not np.isnan(numbers).any():
        return numbers
    try:
        return series.cast(pl.String).str.to_datetime(time_unit="us").to_numpy()
    except pl.exceptions.PolarsError:
        row = int(np.argmax(np.isnan(numbers)))
        raise EvidenceError(
            f"{source}, row {row + 1}: {series[row]!r} is neither a number nor a date. Mend it, or"
            " leave the time column out."
        ) from None


def _is_number(text: str) -> bool:
    try:
        return float(text) is not None
    except ValueError:
        return False


def _label_value(label: str, first: str, second: str) -> float:
    """1, 0.5 or 0 for the usual labels and for the names of the two columns (or their last
    letters); NaN otherwise.
    """
    if score := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*[-–:]\s*(\d+(?:\.\d+)?)\s*", label):
        x, y = map(float, score.groups())
        return 0.5 + 0.5 * np.sign(x - y)
    if label.replace(" ", "") in ("1/2-1/2", "½-½"):
        return 0.5
    word = t.key(label)
    tail = (first[-1:], second[-1:]) if first[:-1] == second[:-1] else ("", "")
    if word in _A or (word and word in (first, tail[0])):
        return 1.0
    if word in _B or (word and word in (second, tail[1])):
        return 0.0
    return 0.5 if word in _TIE else np.nan


def _from_counts(
    frame: pl.LazyFrame,
    name: str,
    columns: Sequence[str],
    roles: dict[str, str],
    wins: str,
    bad: Bad,
) -> Comparisons:
    """Already-counted results: a, b, wins and perhaps losses and ties."""
    parts = {
        1.0: wins,
        0.0: t.find(columns, ("losses", "wins_b", "b_wins", "win_b", "wins2", "loss")),
        0.5: t.find(columns, ("ties", "draws", "tie", "draw")),
    }
    roles.pop("count", None)
    table = t.collect(
        frame.select(
            *(pl.col(c).alias(r) for r, c in roles.items()),
            *(pl.col(c).alias(str(y)) for y, c in parts.items() if c),
        ),
        name,
    )
    rows = [
        table.select(*roles, pl.col(str(y)).alias("count")).with_columns(outcome=pl.lit(y))
        for y, c in parts.items()
        if c
    ]
    stacked = pl.concat(rows)
    counts = _numbers(stacked["count"])
    wrong = ~(np.isfinite(counts) & (counts >= 0) & (counts == np.round(counts)))
    if wrong.any():
        row = int(np.argmax(wrong)) % table.height
        raise EvidenceError(
            f"{name}, row {row + 1}: a count of wins or ties is no whole number >= 0. Mend the"
            " file."
        )
    stacked = stacked.filter(counts > 0)
    if not stacked.height:
        raise EvidenceError(f"{name}: all counts are zero.")
    text = [c for c in ("a", "b", "task", "rater") if c in stacked.columns]
    stacked = stacked.with_columns(pl.col(c).cast(pl.String).cast(pl.Categorical) for c in text)
    roles = {**roles, "outcome": wins, "count": wins}
    return _Rows(frame, name, roles, stacked, (), False, 1, bad).comparisons()
