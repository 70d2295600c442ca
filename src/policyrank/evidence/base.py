"""What the three forms of evidence share: categorical columns, frozen arrays, files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.errors import EvidenceError


def freeze(array: NDArray[Any] | None) -> NDArray[Any] | None:
    """A read-only view of ``array``."""
    if array is None:
        return None
    view = array.view()
    view.flags.writeable = False
    return view


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
        series = values if isinstance(values, pl.Series) else pl.Series(list(values))
        if series.null_count():
            row = int(series.is_null().arg_true()[0])
            raise EvidenceError(f"row {row + 1}: an empty name. Fill it in, or leave the row out.")
        series = series.cast(pl.String) if series.dtype not in (pl.Categorical, pl.Enum) else series
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
    return Labels(
        np.searchsorted(used, labels.codes).astype(np.int32), tuple(labels.names[i] for i in used)
    )


def positions(names: Sequence[str], wanted: Iterable[str] | str, what: str) -> NDArray[np.int64]:
    """Indices of ``wanted`` in ``names``.

    Raises
    ------
    EvidenceError
        When a name is unknown; near names are suggested.
    """
    index = {name: i for i, name in enumerate(names)}
    chosen = [wanted] if isinstance(wanted, str) else list(wanted)
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
    index = {name: i for i, name in enumerate(names)}
    parts = [
        np.array([index[n] for n in p.names], dtype=np.int32)[p.codes] for p in (first, second)
    ]
    return Labels(np.concatenate(parts), tuple(names))


def check_finite(values: NDArray[Any], what: str) -> None:
    """Refuse NaN and infinities, naming the first row that has one."""
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argmax(bad))
        raise EvidenceError(
            f"row {row + 1}: {what} is {values[row]}; {int(bad.sum())} such rows. "
            "Remove them, or read with bad='skip' to leave them out and count them."
        )


def check_policies(names: Sequence[str]) -> None:
    """Refuse evidence with fewer than two policies, and empty names."""
    if any(not str(n).strip() for n in names):
        raise EvidenceError("a policy has an empty name. Give every policy a name.")
    if len(names) < 2:
        only = f" (only {names[0]!r})" if len(names) else ""
        raise EvidenceError(
            f"a ranking needs at least two policies{only}. Add results of another policy."
        )


def write_frame(frame: pl.DataFrame, path: str | Path) -> None:
    """Write ``frame`` in the format that the file's ending names."""
    path = Path(path)
    kind = path.suffix.lower()
    if kind == ".parquet":
        frame.write_parquet(path)
    elif kind in {".csv", ".tsv"}:
        frame.write_csv(path, separator="\t" if kind == ".tsv" else ",")
    elif kind in {".jsonl", ".ndjson"}:
        frame.write_ndjson(path)
    elif kind in {".arrow", ".feather", ".ipc"}:
        frame.write_ipc(path)
    else:
        raise EvidenceError(
            f"{path.name}: unknown ending {kind!r}. Use .parquet, .csv, .tsv, .jsonl or .arrow."
        )
