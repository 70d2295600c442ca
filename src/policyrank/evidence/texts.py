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


TEXT_FILES = (".txt", ".md", ".rst", ".html", ".htm")
"""Endings of the files of a folder that are read as documents."""


def read_corpus(path: str | Path, *, words: int | None = None) -> dict[str, str]:
    """Documents by name: a folder of texts, parquet, or what ``read_texts`` takes.

    Of a folder each file that ends in ``TEXT_FILES`` and is not empty, by its place in the folder.
    Of a table the columns ``_id`` or ``id`` (else the row's number), ``text`` (``contents``), and
    ``title``.

    Parameters
    ----------
    words
        documents of more words are cut into passages of so many, named NAME#1, NAME#2, ...; None:
        each is one passage

    Raises
    ------
    EvidenceError
        When nothing is there to read, or a table has no such columns.
    """
    place = Path(path)
    if place.is_dir():
        found = _of_folder(place)
    elif place.suffix == ".parquet":
        found = _of_table(place)
    else:
        found = read_texts(place)
    if words is None:
        return found
    out: dict[str, str] = {}
    for name, text in found.items():
        listed = text.split()
        for number, first in enumerate(range(0, max(len(listed), 1), words), 1):
            part = name if len(listed) <= words else f"{name}#{number}"
            out[part] = " ".join(listed[first : first + words])
    return out


def _of_folder(place: Path) -> dict[str, str]:
    out = {}
    for file in sorted(place.rglob("*")):
        named = file.suffix.lower() in TEXT_FILES and file.is_file()
        if named and file.read_bytes().strip():
            out[str(file.relative_to(place))] = open_source(file).text.strip()
    if not out:
        endings = ", ".join(TEXT_FILES)
        raise EvidenceError(f"{place}: no file with a text in it that ends in {endings}.")
    return out


def _of_table(place: Path) -> dict[str, str]:
    import polars as pl

    try:
        frame = pl.read_parquet(place)
    except Exception as error:  # polars has errors of its own
        why = str(error).splitlines()[0][:200]
        raise EvidenceError(f"{place}: cannot be read as parquet ({why}).") from None
    text = next((name for name in ("text", "contents", "passage") if name in frame.columns), None)
    if text is None:
        listed = ", ".join(frame.columns)
        raise EvidenceError(f"{place}: no column text or contents. It has: {listed}.")
    key = next((name for name in ("_id", "id", "docid") if name in frame.columns), None)
    out: dict[str, str] = {}
    for number, row in enumerate(frame.iter_rows(named=True), 1):
        name = str(number if key is None else row[key])
        if name in out:
            raise EvidenceError(f"{place}, row {number}: {name!r} stands twice. Keep one of them.")
        out[name] = f"{row.get('title') or ''} {row[text] or ''}".strip()
    if not out:
        raise EvidenceError(f"{place}: empty.")
    return out
