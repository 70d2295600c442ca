"""Named texts: queries and documents of a collection."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from policyrank.errors import EvidenceError


def read_texts(path: str | Path) -> dict[str, str]:
    """Queries or documents by name, from TSV (name, text; further columns are joined to the text)
    or JSONL (``_id`` or ``id``, ``text``, perhaps ``title``, as BEIR has it); gzipped or not.

    Raises
    ------
    EvidenceError
        Naming the line that is malformed, or whose name stands twice.
    """
    file = Path(path)
    if not file.is_file():
        raise EvidenceError(
            f"{file}: no such file. Give texts as TSV (name, text) or JSONL (_id, text)."
        )
    kind = Path(file.stem).suffix if file.suffix == ".gz" else file.suffix
    out: dict[str, str] = {}
    with (
        gzip.open(file, "rt", encoding="utf-8")
        if file.suffix == ".gz"
        else file.open(encoding="utf-8") as lines
    ):
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            if kind in (".jsonl", ".json", ".ndjson"):
                try:
                    row = json.loads(line)
                    name = str(row["_id"] if "_id" in row else row["id"])
                    text = f"{row.get('title') or ''} {row['text']}".strip()
                except (ValueError, KeyError, TypeError, AttributeError):
                    raise EvidenceError(
                        f"{file}, line {number}: not a JSON object with _id and text."
                    ) from None
            else:
                name, tab, text = line.rstrip("\r\n").partition("\t")
                if not tab or not name:
                    raise EvidenceError(f"{file}, line {number}: not 'name TAB text'.")
                text = " ".join(text.split())
            if name in out:
                raise EvidenceError(
                    f"{file}, line {number}: {name!r} stands twice. Keep one of them."
                )
            out[name] = text
    if not out:
        raise EvidenceError(f"{file}: empty. Give texts as TSV (name, text) or JSONL (_id, text).")
    return out
