"""The rows of a log of training, in whatever form it was written."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from policyrank.errors import EvidenceError
from policyrank.evidence import tables
from policyrank.evidence.json_tables import loads

Record = dict[str, Any]

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_CONSOLE = re.compile(r"(?:^|[\s)\]])step:(\d+) - (.+)$")
_PAIR = re.compile(r"([^\s:]+):(?:np\.\w+\()?([-+0-9.eE]+|-?nan|-?inf)\)?$")


def records_of(source: Any) -> tuple[list[Record], list[str]]:
    """The rows of a log, flat, and what was left out."""
    head = source.head.lstrip("\ufeff \t\r\n")
    if source.first_bytes[:4] in (b"PAR1", b"ARRO"):
        return _of_table(source), []
    lines = source.text.splitlines()
    if any(_CONSOLE.search(_ANSI.sub("", line)) for line in lines):
        return _of_console(lines), []
    if head[:1] in "[{" and not head.startswith("{'"):
        return _of_json(source)
    if any(line.lstrip().startswith("{'") for line in lines):
        return _of_printed(lines), []
    return _of_table(source), []


def _of_json(source: Any) -> tuple[list[Record], list[str]]:
    text, notes = source.text, []
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].rstrip().endswith("}"):
        value, broken = [], 0
        for line in lines:
            try:
                value.append(json.loads(line))
            except ValueError:
                broken += 1
        if broken:
            notes.append(f"{broken:,} lines are no JSON (a run that was killed?) and were left out")
    else:
        value = loads(text, source.name)
    if isinstance(value, Mapping):
        value = value.get("log_history", value)
    if isinstance(value, Mapping) and all(isinstance(own, list) for own in value.values()):
        value = [dict(zip(value, row, strict=False)) for row in zip(*value.values(), strict=False)]
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(row, Mapping) for row in value):
        raise EvidenceError(f"{source.name}: this JSON is no log: a list of objects is needed.")
    return [_flat(row) for row in value], notes


def _flat(row: Record) -> Record:
    """verl's lines hold their numbers under ``data``, beside the step."""
    inside = row.get("data")
    if not isinstance(inside, Mapping):
        return row
    return {**{name: own for name, own in row.items() if name != "data"}, **inside}


def _of_console(lines: Sequence[str]) -> list[Record]:
    """verl prints ``step:3 - actor/entropy:0.25 - ...``, behind what Ray puts before it."""
    records = []
    for line in lines:
        found = _CONSOLE.search(_ANSI.sub("", line))
        if found is None:
            continue
        record: dict[str, Any] = {"step": float(found[1])}
        for part in found[2].split(" - "):
            pair = _PAIR.match(part.strip())
            if pair is not None:
                record[pair[1]] = number_of(pair[2])
        records.append(record)
    return records


def _of_printed(lines: Sequence[str]) -> list[Record]:
    """transformers prints each log as a dictionary."""
    records = []
    for line in lines:
        if not line.lstrip().startswith("{'"):
            continue
        try:
            records.append(dict(ast.literal_eval(line.strip())))
        except (ValueError, SyntaxError, TypeError):
            continue
    return records


def _of_table(source: Any) -> list[Record]:
    frame, name = tables.open_table(source)
    return tables.collect(frame, name).to_dicts()


def number_of(value: Any) -> float | None:
    """A number, or none; texts that say one, as tables of text have them."""
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, str) and value.strip():
        try:
            return float(value)
        except ValueError:
            return None
    return None
