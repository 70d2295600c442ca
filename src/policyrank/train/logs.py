"""Lines of JSON of how training went."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from policyrank.files import append_lines, write_text


def append_line(path: str | Path, record: Mapping[str, Any]) -> None:
    """One more line; what is NaN is null."""
    plain = {}
    for name, value in record.items():
        missing = isinstance(value, float) and math.isnan(value)
        plain[name] = None if missing else value
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    append_lines(place, [json.dumps(plain, default=float)])


def cut_after(path: str | Path, name: str, last: int) -> None:
    """Leave out lines in which ``name`` is more than ``last``, and half lines.

    Training goes through them again.
    """
    place = Path(path)
    if not place.is_file():
        return
    kept = []
    for line in place.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)[name] <= last:
                kept.append(f"{line}\n")
        except (ValueError, KeyError, TypeError):
            continue
    write_text(place, "".join(kept))
