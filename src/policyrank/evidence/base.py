"""What the three forms of evidence share: categorical columns, frozen arrays, files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence.formulas import without_formulas
from policyrank.files import written

K = TypeVar("K")
V = TypeVar("V")


def freeze(array: NDArray[Any] | None) -> NDArray[Any] | None:
    """A read-only view of ``array``."""
    if array is None:
        return None
    view = array.view()
    view.flags.writeable = False
    return view


FEW_UNITS = 5
"""Raters or groups below which they are taken as all that count, not as a sample of others."""


@dataclass(frozen=True, eq=False)
class Labels:
    """A categorical column: ``codes`` (rows,) into ``names``.

    Examples
    --------
    >>> Labels.of(["go", "chess", "go"])
    Labels(3 rows, 2 names)
    """

    codes: NDArray[np.int32]
    names: tuple[str, ...]

    @classmethod
    def of(cls, values: Iterable[Any]) -> Labels:
        """Encode ``values``; names are kept in sorted order."""
        series = values
        if not isinstance(series, pl.Series):
            series = pl.Series(list(values))
        if series.null_count():
            row = int(series.is_null().arg_true()[0])
            raise EvidenceError(f"row {row + 1}: an empty name. Fill it in, or leave the row out.")
        if series.dtype not in (pl.Categorical, pl.Enum):
            series = series.cast(pl.String)
        found = series.unique()
        names = sorted(found.cast(pl.String).to_list())
        codes = series.cast(pl.String).cast(pl.Enum(names)).to_physical().cast(pl.Int32).to_numpy()
        return cls(codes, tuple(names))

    def __post_init__(self) -> None:
        object.__setattr__(self, "codes", freeze(np.asarray(self.codes, dtype=np.int32)))

    def __len__(self) -> int:
        return len(self.codes)

    def __repr__(self) -> str:
        return f"Labels({len(self)} rows, {len(self.names)} names)"

    def take(self, rows: NDArray[Any]) -> Labels:
        """The column at ``rows`` (mask or indices), with the names that are left."""
        return compact(Labels(self.codes[rows], self.names))

    def values(self) -> pl.Series:
        """The column as strings."""
        return pl.Series(self.names, dtype=pl.String).gather(self.codes)

    def mask(self, wanted: Iterable[str] | str, what: str) -> NDArray[np.bool_]:
        """Rows whose name is among ``wanted``; an unknown name is an error that lists near ones."""
        return np.isin(self.codes, positions(self.names, wanted, what))


def compact(labels: Labels) -> Labels:
    """``labels`` without names that no row uses."""
    used = np.flatnonzero(np.bincount(labels.codes, minlength=len(labels.names)))
    if len(used) == len(labels.names):
        return labels
    names = tuple(labels.names[i] for i in used)
    return Labels(np.searchsorted(used, labels.codes).astype(np.int32), names)


def labels_or_none(values: Iterable[Any] | None) -> Labels | None:
    """A column of names that may be missing."""
    if values is None:
        return None
    return Labels.of(values)


def among(labels: Labels, names: Sequence[str] | None, what: str) -> Labels:
    """The same column with codes into ``names``, which hold all of its own; None: its own."""
    if names is None:
        return labels
    place = positions(names, labels.names, what).astype(np.int32)
    return Labels(place[labels.codes], tuple(names))


def place_of(names: Iterable[Any]) -> dict[Any, int]:
    """Where each name (or number) stands."""
    return {name: i for i, name in enumerate(names)}


def named_once(pairs: Iterable[tuple[K, V]], what: str) -> dict[K, V]:
    """Named things as a dictionary; a name that is given twice is refused.

    Examples
    --------
    >>> named_once([("x", 1), ("y", 2)], "node")
    {'x': 1, 'y': 2}
    >>> named_once([("x", 1), ("x", 2)], "node")
    Traceback (most recent call last):
        ...
    policyrank.errors.EvidenceError: node 'x' is there twice. Give each a name of its own.
    """
    found: dict[K, V] = {}
    for name, thing in pairs:
        if name in found:
            raise EvidenceError(f"{what} {name!r} is there twice. Give each a name of its own.")
        found[name] = thing
    return found


def positions(names: Sequence[str], wanted: Iterable[str] | str, what: str) -> NDArray[np.int64]:
    """Indices of ``wanted`` in ``names``.

    Raises
    ------
    EvidenceError
        When a name is unknown; near names are suggested.
    """
    index = place_of(names)
    if isinstance(wanted, str):
        wanted = [wanted]
    chosen = list(wanted)
    for name in chosen:
        if name not in index:
            import difflib

            near = difflib.get_close_matches(str(name), names, n=3) or list(names[:3])
            raise EvidenceError(
                f"no {what} is called {name!r}. Did you mean {', '.join(map(repr, near))}?"
            )
    return np.array([index[name] for name in chosen], dtype=np.int64)


def merge_labels(first: Labels | None, second: Labels | None, what: str) -> Labels | None:
    """The two columns one after the other."""
    if first is None and second is None:
        return None
    if first is None or second is None:
        raise EvidenceError(
            f"only one of the two has a column {what!r}: add it to the other, or drop it, then"
            " merge."
        )
    names = sorted(set(first.names) | set(second.names))
    codes = []
    for labels in (first, second):
        codes.append(positions(names, labels.names, what).astype(np.int32)[labels.codes])
    return Labels(np.concatenate(codes), tuple(names))


def rows_named(
    labels: Labels | None, wanted: Iterable[str] | str, what: str, kind: str
) -> NDArray[np.bool_]:
    """Rows of a column whose name is among ``wanted``; a missing column is an error."""
    if labels is None:
        raise EvidenceError(f"these {kind} have no column {what!r}. Name one when reading them.")
    return labels.mask(wanted, what)


def put_arrays(evidence: object, dtypes: Mapping[str, Any]) -> None:
    """Make fields of a frozen dataclass read-only arrays of these types; missing ones stay None."""
    for field, dtype in dtypes.items():
        value = getattr(evidence, field)
        if value is not None:
            object.__setattr__(evidence, field, freeze(np.asarray(value, dtype=dtype)))


def taken(column: Any, rows: NDArray[Any]) -> Any:
    """An array or Labels at ``rows`` (mask or indices); None stays None."""
    if column is None:
        return None
    if isinstance(column, Labels):
        return column.take(rows)
    return column[rows]


def ones_if_none(column: NDArray[Any] | None, rows: int) -> NDArray[Any]:
    """A column of weights or counts, of which a missing one is 1 in each row."""
    if column is None:
        return np.ones(rows)
    return column


def stacked(
    first: NDArray[Any] | None, second: NDArray[Any] | None, rows: tuple[int, int]
) -> NDArray[Any] | None:
    """Two columns of weights or counts one after the other; None where both are missing."""
    if first is None and second is None:
        return None
    return np.concatenate([ones_if_none(first, rows[0]), ones_if_none(second, rows[1])])


def merged_notes(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    """All notes, each once."""
    return tuple(dict.fromkeys(first + second))


def first_repeated(keys: NDArray[Any]) -> int | None:
    """The first row whose key another row has too; None: all differ."""
    if len(np.unique(keys)) == len(keys):
        return None
    return int(np.flatnonzero(pl.Series(keys).is_duplicated().to_numpy())[0])


def check_lengths(evidence: object, fields: Iterable[str]) -> None:
    """Refuse columns of different lengths."""
    lengths = {}
    for field in fields:
        column = getattr(evidence, field)
        if column is not None:
            lengths[field] = len(column)
    if len(set(lengths.values())) > 1:
        raise EvidenceError(
            f"columns differ in length: {lengths}. Every column needs one value a row."
        )


def check_finite(values: NDArray[Any], what: str) -> None:
    """Refuse NaN and infinities, naming the first row that has one."""
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argmax(bad))
        raise EvidenceError(
            f"row {row + 1}: {what} is {values[row]}; {int(bad.sum())} such rows. "
            "Remove them, or read with bad='skip' to leave them out and count them."
        )


def check_not_negative(values: NDArray[Any], what: str, row: str = "row") -> None:
    """Refuse values below 0, naming the row (or what else holds them) of the smallest."""
    if values.min() < 0:
        raise EvidenceError(
            f"{row} {int(np.argmin(values)) + 1}: a negative {what}."
            f" {what.capitalize()}s must be >= 0."
        )


def check_weights(weight: NDArray[Any], row: str = "row") -> None:
    """Refuse weights that are not finite or below 0."""
    check_finite(weight, "the weight")
    check_not_negative(weight, "weight", row)


def check_policies(names: Sequence[str]) -> None:
    """Refuse evidence with fewer than two policies, and empty names."""
    if any(not str(n).strip() for n in names):
        raise EvidenceError("a policy has an empty name. Give every policy a name.")
    if len(names) < 2:
        only = ""
        if len(names):
            only = f" (only {names[0]!r})"
        raise EvidenceError(
            f"a ranking needs at least two policies{only}. Add results of another policy."
        )


SEPARATORS = {".csv": ",", ".tsv": "\t"}
LINES = (".jsonl", ".ndjson")
ARROW = (".arrow", ".feather", ".ipc")


def check_ending(path: str | Path) -> str:
    """The format that a table's file name says, as its ending in small letters.

    Raises
    ------
    EvidenceError
        For an ending that no table is written to.
    """
    kind = Path(path).suffix.lower()
    if kind not in (".parquet", *SEPARATORS, *LINES, *ARROW):
        raise EvidenceError(
            f"{Path(path).name}: unknown ending {kind!r}. Use .parquet, .csv, .tsv, .jsonl or"
            " .arrow."
        )
    return kind


def write_frame(frame: pl.DataFrame, path: str | Path) -> int:
    """Write ``frame`` in the format that the file's ending names.

    In .csv and .tsv an apostrophe stands before texts that a spreadsheet would run; those who read
    them here get the texts as they were. Returns how many texts have one.

    Raises
    ------
    EvidenceError
        For another ending, and a file that cannot be written.
    """
    kind = check_ending(path)
    changed = 0
    if kind in SEPARATORS:
        frame, changed = without_formulas(frame)
    with written(path) as part:
        if kind == ".parquet":
            frame.write_parquet(part)
        elif kind in SEPARATORS:
            frame.write_csv(part, separator=SEPARATORS[kind])
        elif kind in LINES:
            frame.write_ndjson(part)
        else:
            frame.write_ipc(part)
    return changed
