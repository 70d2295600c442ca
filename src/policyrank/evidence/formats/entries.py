"""Records one by one, from a JSON list, JSON lines or a table of text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import msgspec

from policyrank.errors import EvidenceError
from policyrank.evidence.account import Account
from policyrank.evidence.formats.results import document
from policyrank.evidence.json_schema import TOO_LARGE, parse_json
from policyrank.evidence.sources import Source
from policyrank.evidence.text_tables import SEPARATORS

T = TypeVar("T")


class Record(NamedTuple):
    """A record and where it stands, as messages call the place; a broken one is its error."""

    place: str
    value: Any


def records(source: Source) -> Iterator[Record]:
    """The records of a file in their order: JSON values, or the rows of a table as dicts of text.

    Raises
    ------
    EvidenceError
        When a list is no valid JSON; of lines each broken one is given as its error.
    """
    start = source.head.lstrip("\ufeff \t\r\n")[:1]
    if start == "[":
        for number, value in enumerate(document(source, list[Any]), 1):
            yield Record(f"{source.name}, entry {number}", value)
    elif start == "{":
        yield from _lines(source)
    else:
        yield from table_rows(source)


def _lines(source: Source) -> Iterator[Record]:
    for number, line in enumerate(source.text.split("\n"), 1):  # texts may hold other separators
        if not line.strip():
            continue
        place = f"{source.name}, line {number}"
        try:
            yield Record(place, parse_json(line, Any, place))
        except EvidenceError as error:
            yield Record(place, error)


def table_rows(source: Source) -> Iterator[Record]:
    """The rows of a CSV file; empty cells are None."""
    for line, row in rows_of_text(source.text, source.name):
        place = f"{source.name}, line {line}"
        yield Record(place, {name: cell or None for name, cell in row.items()})


def rows_of_text(text: str, name: str) -> Iterator[tuple[int, dict[Any, Any]]]:
    """Rows of a text table that hold anything, by its header, with the line that each ends at.

    Cells that a row lacks are None; those it has too many are a list under None.

    Raises
    ------
    EvidenceError
        When the text is no valid CSV.
    """
    text = text.lstrip("\ufeff")
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator_of(text))
    try:
        for row in reader:
            if any(isinstance(cell, str) and cell.strip() for cell in row.values()):
                yield reader.line_num, row
    except csv.Error as error:
        raise EvidenceError(
            f"{name}, line {reader.line_num}: no valid CSV ({error}). Mend the line."
        ) from None


def separator_of(text: str) -> str:
    """What the first line has most of."""
    return max(SEPARATORS, key=text.partition("\n")[0].count)


def shaped(record: Record, shape: type[T]) -> T:
    """A record in the shape that a reader needs; numbers and truth values may stand as text.

    Raises
    ------
    EvidenceError
        When it is broken or has another shape, saying where in it.
    """
    if isinstance(record.value, EvidenceError):
        raise record.value
    try:
        return msgspec.convert(record.value, shape, strict=False)
    except msgspec.ValidationError as error:
        raise EvidenceError(
            f"{record.place}: not as expected ({error}). Mend or remove it."
        ) from None
    except RecursionError:
        raise EvidenceError(f"{record.place}: nested too deep. Remove it.") from None
    except TOO_LARGE:
        raise EvidenceError(f"{record.place}: a number too large. Mend or remove it.") from None


def of_shape(source: Source, shape: type[T], account: Account) -> Iterator[tuple[str, T]]:
    """Where each record of a file stands, and the record in the shape that a reader needs."""
    return all_shaped(records(source), shape, account)


def all_shaped(
    found: Iterable[Record], shape: type[T], account: Account
) -> Iterator[tuple[str, T]]:
    """Where each record stands, and the record in the shape that a reader needs.

    Records of another shape are an error, or are left out and counted.
    """
    faulty = []
    for record in found:
        try:
            value = shaped(record, shape)
        except EvidenceError:
            if account.bad == "raise":
                raise
            faulty.append(record.place)
            continue
        yield record.place, value
    account.unusable("not in the form of the others", faulty)
