"""Named texts: queries and documents of a collection."""

from __future__ import annotations

import json
from pathlib import Path

from policyrank.errors import EvidenceError
from policyrank.evidence.sources import open_source

JSON_LINES = (".jsonl", ".json", ".ndjson")


def read_texts(path: str | Path) -> dict[str, str]:
    """Queries or documents by name, gzipped or not.

    TSV (name, text; further columns are joined to the text) or JSONL (``_id`` or ``id``, ``text``,
    perhaps ``title``, as BEIR has it).

    Raises
    ------
    EvidenceError
        Naming the line that is malformed, or whose name stands twice.
    """
    file = Path(path)
    if not file.exists():
        raise EvidenceError(
            f"{file}: no such file. Give texts as TSV (name, text) or JSONL (_id, text)."
        )
    source = open_source(file)
    parse = _of_json if source.ending in JSON_LINES else _of_tabs
    out: dict[str, str] = {}
    for number, line in source.lines():
        if not line.strip():
            continue
        name, text = parse(line, f"{file}, line {number}")
        if name in out:
            raise EvidenceError(f"{file}, line {number}: {name!r} stands twice. Keep one of them.")
        out[name] = text
    if not out:
        raise EvidenceError(f"{file}: empty. Give texts as TSV (name, text) or JSONL (_id, text).")
    return out


def _of_json(line: str, where: str) -> tuple[str, str]:
    """Name and text of a JSON object; a title stands before the text."""
    try:
        row = json.loads(line)
        key = "id"
        if "_id" in row:
            key = "_id"
        return str(row[key]), f"{row.get('title') or ''} {row['text']}".strip()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise EvidenceError(f"{where}: not a JSON object with _id and text.") from None


def _of_tabs(line: str, where: str) -> tuple[str, str]:
    name, tab, text = line.rstrip("\r\n").partition("\t")
    if not tab or not name:
        raise EvidenceError(f"{where}: not 'name TAB text'.")
    return name, " ".join(text.split())
