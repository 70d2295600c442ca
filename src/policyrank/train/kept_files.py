"""Files that are kept for a run that goes on: damage is named, and another run refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from policyrank.errors import EvidenceError
from policyrank.evidence.json_schema import read_json
from policyrank.files import write_json
from policyrank.fingerprints import Fingerprint, hashed


class _Kept(msgspec.Struct):
    """What a file holds."""

    fingerprint: dict[str, Any]
    hash: str
    found: Any


def keep(path: str | Path, fingerprint: Fingerprint, found: Any) -> None:
    """Keep what was made as JSON, with what it depends on."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    content = {"fingerprint": fingerprint.plain(), "hash": _hash(found), "found": found}
    write_json(path, content)


def read_kept(path: str | Path, fingerprint: Fingerprint, say: Callable[[str], None]) -> Any:
    """What was kept in a file with the same fingerprint; None where there is nothing.

    A damaged file is named and counts as none: what it held is made again.

    Raises
    ------
    EvidenceError
        For a file of another run, with what differs.
    """
    if not Path(path).is_file():
        return None
    try:
        kept = read_json(path, _Kept)
        was = Fingerprint.read(kept.fingerprint)
        whole = kept.hash == _hash(kept.found)
    except (EvidenceError, ValueError):
        whole = False
    if not whole:
        say(f"! {path}: damaged, or of another version; left out, and made again")
        return None
    for remark in was.check(fingerprint, path):
        say(f"! {remark}")
    return kept.found


def _hash(found: Any) -> str:
    """A hash of JSON as it is written, halves of surrogate pairs as question marks."""
    return hashed([json.dumps(found, ensure_ascii=False).encode(errors="replace").decode()])
