"""Lines of LETOR and SVMlight files, as labels, queries and runs of features."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.errors import EvidenceError
from policyrank.evidence.sources import PACKED_ENDINGS, Source, open_source

Float = NDArray[np.float64]

SIZES = (".query", ".group")
"""Endings of the files in which LightGBM and XGBoost keep how many rows each query has."""

MOST_FEATURES = 10_000_000
CHUNK = 1 << 19
"""Numbers of features that are parsed at once."""

_PAIR = re.compile(
    r"\d{1,18}:([+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf|nan)", re.ASCII | re.IGNORECASE
)
_BASED = re.compile(r"column indices are (zero|one)-based", re.IGNORECASE)


@dataclass
class Rows:
    """What a file holds: features as one run of numbers and values, so many a row."""

    file: str
    labels: list[float] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    counts: list[NDArray[np.int64]] = field(default_factory=list)
    numbers: list[NDArray[np.int32]] = field(default_factory=list)
    values: list[NDArray[np.float32]] = field(default_factory=list)
    lowest: int = 1
    lowest_line: int = 0
    highest: int = 0
    told_from: int | None = None
    beyond: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass
class Chunk:
    """Lines that are parsed at once: their numbers, and their features as text."""

    lines: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    size: int = 0

    def add(self, line: int, text: str) -> None:
        count = text.count(":")
        self.lines.append(line)
        self.texts.append(text)
        self.counts.append(count)
        self.size += count


def read_rows(source: Source, sizes: Path | None) -> Rows:
    rows, chunk = Rows(source.name), Chunk()
    without: int | None = None
    for number, line in source.lines():
        text, sign, comment = line.partition("#")
        if sign and (based := _BASED.search(comment)):
            rows.told_from = {"zero": 0, "one": 1}[based[1].lower()]
        if not text.strip():
            continue
        label, named, rest = _fields(source.name, number, text)
        if not named and without is None:
            without = number
            if sizes is None or rows.queries:
                raise _no_query(source, number)
        if named and without is not None:
            raise _no_query(source, without)
        rows.labels.append(label)
        rows.queries.append(named)
        chunk.add(number, rest)
        if chunk.size > CHUNK:
            _parse(rows, chunk)
            chunk = Chunk()
    _parse(rows, chunk)
    if not rows.labels:
        raise EvidenceError(f"{source.name}: empty. Give a LETOR file.")
    if without is not None:
        assert sizes is not None
        rows.queries = _by_sizes(rows, sizes)
    rows.notes += source.remarks
    _note_scattered(rows)
    if rows.beyond:
        rows.notes.append(
            f"{rows.beyond:,} values beyond the range of float32 (Istella writes 1.8e308) are cut"
            " to it"
        )
    return rows


def _fields(file: str, line: int, text: str) -> tuple[float, str, str]:
    """Label, query ("" without one) and features of a line."""
    head, *others = text.split(None, 2)
    try:
        label = float(head)
    except ValueError:
        label = np.nan
    if np.isnan(label):
        raise EvidenceError(
            f"{file}, line {line}: the label {head!r} is no number; a line is 'label qid:Q 1:value"
            " 2:value ...'."
        )
    if not others or not others[0].startswith("qid:"):
        return label, "", " ".join(others)
    query = others[0].removeprefix("qid:")
    if not query:
        raise EvidenceError(f"{file}, line {line}: qid: without a name. Write qid:Q.")
    return label, query, " ".join(others[1:])


def _no_query(source: Source, line: int) -> EvidenceError:
    beside = "."
    if source.path is not None:
        beside = (
            f", or how many rows each query has, a number a line, in {source.name}{SIZES[0]}"
            " beside it."
        )
    return EvidenceError(
        f"{source.name}, line {line}: not 'label qid:Q 1:value 2:value ...': it has no qid. Write"
        f" one in each line{beside}"
    )


def _note_scattered(rows: Rows) -> None:
    """Say where rows of a query do not stand together."""
    runs: dict[str, int] = {}
    before = None
    for query in rows.queries:
        if query != before:
            runs[query] = runs.get(query, 0) + 1
        before = query
    scattered = sum(count > 1 for count in runs.values())
    if scattered:
        rows.notes.append(
            f"the rows of {scattered:,} of {len(runs):,} queries do not stand together: they are"
            " gathered in the order in which they come"
        )


def sizes_beside(path: str | Path | bytes) -> Path | None:
    """The file of sizes of queries beside a file, if there is one."""
    if isinstance(path, bytes):
        return None
    name = str(path)
    plain = name
    for ending in PACKED_ENDINGS:
        plain = plain.removesuffix(ending)
    for start in dict.fromkeys((name, plain)):
        for ending in SIZES:
            if Path(start + ending).is_file():
                return Path(start + ending)
    return None


def _by_sizes(rows: Rows, file: Path) -> list[str]:
    """The query of each row, by how many rows each has."""
    source = open_source(file)
    try:
        sizes = [int(word) for word in source.text.split()]
    except ValueError:
        raise EvidenceError(f"{source.name}: not one number a line, the rows of a query.") from None
    if sum(sizes) != len(rows.labels) or min(sizes, default=0) < 0:
        raise EvidenceError(
            f"{source.name} gives {sum(sizes):,} rows to {len(sizes):,} queries, {rows.file} has"
            f" {len(rows.labels):,} rows. They must be of one data set."
        )
    rows.notes.append(f"no qid: queries are cut by the sizes in {source.name}")
    queries = []
    for place, size in enumerate(sizes, 1):
        queries += [str(place)] * size
    return queries


def _parse(rows: Rows, chunk: Chunk) -> None:
    """Add the features of some lines to those of a file."""
    if not chunk.lines:
        return
    found = _pairs(chunk.texts, chunk.size) or _pairs_by_line(rows.file, chunk)
    place, wide = found
    counts = np.array(chunk.counts, dtype=np.int64)
    if len(place):
        _check_range(rows, chunk, place, counts)
    with np.errstate(over="ignore"):
        values = wide.astype(np.float32)
    over = np.isinf(values)
    if over.any() and not any("inf" in text.lower() for text in chunk.texts):
        values[over] = np.copysign(np.finfo(np.float32).max, values[over])
        rows.beyond += int(over.sum())
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        line = np.repeat(chunk.lines, counts)[bad[0]]
        raise EvidenceError(
            f"{rows.file}, line {line}: feature {place[bad[0]]} is {wide[bad[0]]}. Give a number,"
            " or leave it out: it is 0 then."
        )
    rows.counts.append(counts)
    rows.numbers.append(place.astype(np.int32))
    rows.values.append(values)


def _pairs(texts: list[str], pairs: int) -> tuple[NDArray[np.int64], Float] | None:
    """Numbers of features and values, (pairs,) each; None where texts are not plainly that."""
    text = " ".join(filter(None, map(str.strip, texts)))
    if not pairs or not text:
        return None
    table = text.replace(":", ",").replace(" ", "\n").encode()
    schema = {"number": pl.Int64, "value": pl.Float64}
    try:
        found = pl.read_csv(table, has_header=False, schema=schema, quote_char=None)
    except pl.exceptions.PolarsError:
        return None
    number, value = found["number"], found["value"]
    if len(number) != pairs or number.null_count() or value.null_count() or number.min() < 0:  # type: ignore[operator]
        return None
    return number.to_numpy(), value.to_numpy()


def _pairs_by_line(file: str, chunk: Chunk) -> tuple[NDArray[np.int64], Float]:
    """As ``_pairs``, of any blanks; what is malformed is named."""
    numbers, values = [], []
    for line, text in zip(chunk.lines, chunk.texts, strict=True):
        for pair in text.split():
            if not _PAIR.fullmatch(pair):
                raise EvidenceError(
                    f"{file}, line {line}: {pair!r} is not number:value; a line is 'label qid:Q"
                    " 1:value 2:value ...'."
                )
            number, _, value = pair.partition(":")
            numbers.append(int(number))
            values.append(float(value))
    return np.array(numbers, dtype=np.int64), np.array(values, dtype=float)


def _check_range(
    rows: Rows, chunk: Chunk, place: NDArray[np.int64], counts: NDArray[np.int64]
) -> None:
    """Keep the lowest and the highest number, and refuse one that stands twice in a line."""
    line = np.repeat(np.array(chunk.lines), counts)
    if place.max() > MOST_FEATURES:
        worst = int(place.argmax())
        raise EvidenceError(
            f"{rows.file}, line {line[worst]}: feature {place[worst]}, and there may be"
            f" {MOST_FEATURES:,}. Number those that there are from 1."
        )
    rows.highest = max(rows.highest, int(place.max()))
    if place.min() < rows.lowest:
        rows.lowest, rows.lowest_line = 0, int(line[place.argmin()])
    same = line[1:] == line[:-1]
    if (place[1:][same] > place[:-1][same]).all():
        return
    order = np.lexsort((place, line))
    twice = (np.diff(place[order]) == 0) & (np.diff(line[order]) == 0)
    if twice.any():
        at = order[int(np.flatnonzero(twice)[0])]
        raise EvidenceError(
            f"{rows.file}, line {line[at]}: feature {place[at]} stands twice. Keep one."
        )
