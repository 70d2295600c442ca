"""Files of JSON lines that runs append to: what was computed once and is not asked for again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from policyrank.errors import EvidenceError
from policyrank.evidence.json_schema import parse_json

T = TypeVar("T")


def read_kept_lines(
    path: str | Path, shape: type[T], report: Callable[[str], Any] | None = None
) -> list[T]:
    """The lines of a file in the shape that they were written in; of no file: none.

    Half a line at the end, which a run that was killed leaves, is left out, and ``report`` told.

    Raises
    ------
    EvidenceError
        For any other line that has not this shape, and a file that cannot be read.
    """
    place = Path(path)
    if not place.exists():
        return []
    try:
        lines = place.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise EvidenceError(f"{place}: cannot be read ({error.strerror}).") from None
    found = []
    for number, line in enumerate(lines, 1):
        where = f"{place}, line {number:,}"
        if not line.strip():
            continue
        try:
            found.append(parse_json(line, shape, where))
        except EvidenceError as error:
            if number < len(lines) or line.endswith(b"\n"):
                raise EvidenceError(f"{error} Or name another file.") from None
            if report is not None:
                report(f"{where}: half a line, left out; what it held is computed again")
    return found
