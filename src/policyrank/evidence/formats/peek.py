"""A first look into a file: enough to tell its format, without reading all of it."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from policyrank.errors import EvidenceError
from policyrank.evidence.sources import Source
from policyrank.evidence.text_tables import SEPARATORS


class Peek:
    """What the first part of a file shows.

    Attributes
    ----------
    source
        the file
    """

    def __init__(self, source: Source) -> None:
        self.source = source

    @cached_property
    def lines(self) -> list[str]:
        """The first lines, blank ones left out."""
        return [line for line in self.source.head.splitlines()[:200] if line.strip()]

    @cached_property
    def value(self) -> Any:
        """The JSON of the file; of a list or of JSON lines: the first entry; None: no JSON."""
        text = self.source.head.lstrip()
        if text[:1] not in ("{", "["):
            return None
        if text[:1] == "[":
            return self._first_entry(text)
        try:
            return json.JSONDecoder().raw_decode(text)[0]
        except (ValueError, RecursionError):
            return self._whole()

    def _first_entry(self, text: str) -> Any:
        try:
            return json.JSONDecoder().raw_decode(text[1:].lstrip())[0]
        except (ValueError, RecursionError):
            whole = self._whole()
            return whole[0] if isinstance(whole, list) and whole else None

    def _whole(self) -> Any:
        """The file's JSON, or that of its first line."""
        try:
            text = self.source.text
        except EvidenceError:
            return None
        for part in (text, text.lstrip().partition("\n")[0]):
            try:
                return json.loads(part)
            except (ValueError, RecursionError):
                continue
        return None

    @cached_property
    def zipped(self) -> frozenset[str]:
        """Names of what a zip holds; of other files none."""
        if self.source.first_bytes[:2] != b"PK":
            return frozenset()
        try:
            with zipfile.ZipFile(io.BytesIO(self.source.content)) as archive:
                return frozenset(archive.namelist())
        except (zipfile.BadZipFile, OSError, ValueError, EvidenceError):
            return frozenset()

    @property
    def is_list(self) -> bool:
        """Whether the JSON is a list."""
        return self.source.head.lstrip()[:1] == "["

    @cached_property
    def keys(self) -> frozenset[str]:
        """Keys of the JSON object (of the first one)."""
        if isinstance(self.value, Mapping):
            return frozenset(map(str, self.value))
        return frozenset()

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The header of a text table; of JSON the keys of its (first) object."""
        if self.keys:
            return tuple(self.value)
        if not self.lines or self.value is not None:
            return ()
        first = self.lines[0]
        separator = max(SEPARATORS, key=first.count)
        return tuple(name.strip() for name in next(csv.reader([first], delimiter=separator)))

    @cached_property
    def names(self) -> frozenset[str]:
        """The columns in lower case."""
        return frozenset(name.lower() for name in self.columns)

    def has(self, *names: str) -> bool:
        """Whether all these keys or columns are there, upper or lower case."""
        return self.names >= {name.lower() for name in names}

    def at(self, *path: str) -> Any:
        """The value at a path of keys; None where there is none."""
        value = self.value
        for key in path:
            if not isinstance(value, Mapping) or key not in value:
                return None
            value = value[key]
        return value

    def starts(self, text: str) -> bool:
        """Whether the first line starts so."""
        return bool(self.lines) and self.lines[0].startswith(text)
