"""Text tables as people have them: lines above the header, spaces between columns."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from policyrank.errors import EvidenceError
from policyrank.evidence.account import plural
from policyrank.evidence.formulas import with_formulas
from policyrank.evidence.sources import LARGE, Source

SEPARATORS = (",", "\t", ";", "|")

REFUSED = {
    ".xlsx": "an Excel workbook",
    ".xls": "an Excel workbook",
    ".ods": "a spreadsheet",
    ".html": "an HTML page",
    ".htm": "an HTML page",
    ".tex": "a LaTeX table",
    ".yaml": "YAML",
    ".yml": "YAML",
    ".pdf": "a PDF",
    ".pkl": "a pickle, which can run code",
}
"""Endings of files that hold tables and are not read."""


def refuse_by_name(source: Source) -> None:
    """Refuse a kind of file that is not read, and say what to give.

    Raises
    ------
    EvidenceError
    """
    kind = REFUSED.get(source.ending)
    if kind is None and source.head.lstrip()[:1] == "<":
        kind = "HTML or XML"
    if kind is None and source.first_bytes[:4] == b"PK\x03\x04":
        kind = "a zip archive"
    if kind is not None:
        raise EvidenceError(f"{source.name}: {kind}, which is not read. Save the table as CSV.")


def separator_of(head: str, ending: str) -> str:
    """What stands between columns: a tab in TSV, else what the header has most of; a space where
    all first lines have as many words.
    """
    if ending == ".tsv":
        return "\t"
    lines = _told(head)
    if head.startswith("sep=") and len(head) > 4:
        return head[4]
    if not lines:
        return ","
    most = max(SEPARATORS, key=lines[0].count)
    if most in lines[0]:
        return most
    return " " if _is_aligned(lines) else ","


def _told(head: str) -> list[str]:
    """The first lines from the header on."""
    lines = head.splitlines()[:50]
    return [line for line in lines[_skipped(lines) :] if line.strip()]


def _is_aligned(lines: Sequence[str]) -> bool:
    """Whether all rows have as many words as the header, or one more: the row's name."""
    header, *rows = [len(_words(line)) for line in lines[:20]]
    return len(set(rows)) == 1 and rows[0] > 1 and header in (rows[0], rows[0] - 1)


def _words(line: str) -> list[str]:
    return next(csv.reader([re.sub(r"\s+", " ", line.strip())], delimiter=" "))


def _skipped(lines: Sequence[str]) -> int:
    """How many lines stand above the header: ``sep=;``, comments, a title."""
    skipped = 0
    while skipped < len(lines) - 1:
        line = lines[skipped]
        following = lines[skipped + 1 : skipped + 4]
        if line.startswith("sep=") or _is_comment(line, following) or _is_title(line, following):
            skipped += 1
        else:
            break
    return skipped


def _is_comment(line: str, following: Sequence[str]) -> bool:
    """A line that begins with # and is no header: the next has other columns."""
    if not line.lstrip().startswith("#"):
        return False
    return not any(s in line and line.count(s) == following[0].count(s) for s in SEPARATORS)


def _is_title(line: str, following: Sequence[str]) -> bool:
    """A line without any separator above lines of equally many columns."""
    filled = [other for other in following if other.strip()]
    if len(filled) < 2:
        return False
    separator = max(SEPARATORS, key=filled[0].count)
    counts = {other.count(separator) for other in filled}
    return len(counts) == 1 and counts != {0} and not any(sign in line for sign in SEPARATORS)


def frame_of_text(source: Source, buffer: Callable[[], Any]) -> pl.LazyFrame:
    """The table in a text: read in parts where it is plain, whole where it is not.

    ``buffer``: what polars scans.

    Raises
    ------
    EvidenceError
        Naming the line whose number of fields is not that of the header.
    """
    head = source.head
    separator = separator_of(head, source.ending)
    lines = head.splitlines()[:50]
    skip = _skipped(lines)
    if skip:
        source.remark(f"{plural(skip, 'line')} above the header skipped")
    first = _told(head)[:2]
    odd = separator == " " or ("\r" in head and "\n" not in head)
    if len(first) == 2 and not odd:
        header, row = (_fields(line, separator) for line in first)
        odd = len(row) == len(header) + 1 and '"' in first[1]
        odd |= bool(re.search(rf'{re.escape(separator)} +"', first[0] + first[1]))
    if odd:
        frame = _parsed(source, separator, skip).lazy()
    else:
        frame = pl.scan_csv(buffer(), separator=separator, infer_schema=False, skip_rows=skip)
    return with_formulas(frame, source)


def _fields(line: str, separator: str) -> list[str]:
    if separator == " ":
        return _words(line)
    return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])


def _parsed(source: Source, separator: str, skip: int) -> pl.DataFrame:
    """A text that only Python's reader takes; a header that is one short lacks the rows' names."""
    lines = source.text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[skip:]
    if separator == " ":
        rows = [_words(line) for line in lines if line.strip()]
    else:
        text = io.StringIO("\n".join(lines))
        rows = [row for row in csv.reader(text, delimiter=separator, skipinitialspace=True) if row]
    header, *body = rows
    if body and len(body[0]) == len(header) + 1:
        header = ["", *header]
    for number, row in enumerate(body, 1):
        if len(row) != len(header):
            raise EvidenceError(
                f"{source.name}, row {number:,}: {plural(len(row), 'field')}, and the header has"
                f" {len(header)}. Mend the row."
            )
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise EvidenceError(
            f"{source.name}: column {twice!r} stands in the header twice. Rename or remove one."
        )
    columns = {name: [row[place] for row in body] for place, name in enumerate(header)}
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def ragged_line(source: Source) -> str | None:
    """Which line has more fields than the header; None: none, or the file is too large to look."""
    if source.path is not None and source.path.stat().st_size > LARGE:
        return None
    separator = separator_of(source.head, source.ending)
    lines = source.text.splitlines()
    skip = _skipped(lines[:50])
    reader = csv.reader(lines[skip:], delimiter=separator)
    try:
        width = len(next(reader))
        for row in reader:
            if len(row) > width:
                place = reader.line_num + skip
                return f"line {place:,} has {plural(len(row), 'field')}, and the header {width}"
    except (csv.Error, StopIteration):
        return None
    return None
