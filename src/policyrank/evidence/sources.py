"""What a user points at: files, folders, patterns, addresses, standard input; bytes and their text.

One decoder for all readers: compression, byte-order marks, UTF-16, Latin-1.
"""

from __future__ import annotations

import glob
import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from policyrank.errors import EvidenceError
from policyrank.evidence.addresses import shown_address, without_secrets

HEAD = 1 << 16
"""How many bytes of a file are looked at to tell what it is."""

LARGE = 1 << 26
"""Text files of so many bytes and more are read line by line, never whole."""

CLOUD = ("s3://", "gs://", "gcs://", "az://", "abfs://", "abfss://", "hf://")
"""Addresses that polars reads by itself."""

_MARKS = {
    b"\xef\xbb\xbf": "utf-8",
    b"\xff\xfe\x00\x00": "utf-32-le",
    b"\x00\x00\xfe\xff": "utf-32-be",
    b"\xff\xfe": "utf-16-le",
    b"\xfe\xff": "utf-16-be",
}


def _bz2(data: bytes) -> bytes:
    import bz2

    return bz2.decompress(data)


def _xz(data: bytes) -> bytes:
    import lzma

    try:
        return lzma.decompress(data)
    except lzma.LZMAError as error:
        raise OSError(str(error)) from None


def _zstd(data: bytes) -> bytes:
    import zstandard

    try:
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)) as stream:
            return stream.read()
    except zstandard.ZstdError as error:
        raise OSError(str(error)) from None


_PACKED: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"\x28\xb5\x2f\xfd": _zstd,
    b"BZh": _bz2,
    b"\xfd7zXZ\x00": _xz,
}
"""First bytes of a compressed file -> what unpacks it."""

PACKED_ENDINGS = (".gz", ".zst", ".bz2", ".xz")


def unpack(data: bytes, name: str) -> bytes:
    """What is inside a compressed file, however often it was compressed.

    Raises
    ------
    EvidenceError
        When it is cut off or damaged.
    """
    for start, unpacked in _PACKED.items():
        if data.startswith(start):
            try:
                return unpack(unpacked(data), name)
            except (OSError, EOFError, ValueError, zlib.error) as error:
                raise EvidenceError(
                    f"{name}: compressed, and damaged or cut off ({error}). Fetch the file again."
                ) from None
    return data


def decode(data: bytes, name: str) -> tuple[str, str | None]:
    """Text of bytes, and a note where its encoding was not plain UTF-8.

    Raises
    ------
    EvidenceError
        When it is no text.

    Examples
    --------
    >>> decode("née".encode("latin-1"), "x.csv")
    ('née', 'not UTF-8: read as Latin-1')
    """
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            note = None if encoding == "utf-8" else f"read as {encoding[:6].upper()}"
            return _decoded(data[len(mark) :], encoding, name), note
    zeros = data[:HEAD].count(b"\x00")
    if zeros:
        even = data[:HEAD:2].count(b"\x00")
        if zeros > 0.3 * len(data[:HEAD]) and even in (0, zeros):
            encoding = "utf-16-be" if even else "utf-16-le"
            return _decoded(data, encoding, name), "no byte-order mark: read as UTF-16"
        raise EvidenceError(
            f"{name}: not a text table (it holds NUL bytes). Give CSV, TSV, JSONL, parquet or"
            " Arrow."
        )
    try:
        return data.decode(), None
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace").replace("\ufffd", "?"), (
            "not UTF-8: read as Latin-1"
        )


def _decoded(data: bytes, encoding: str, name: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise EvidenceError(
            f"{name}: not valid {encoding.upper()} ({error.reason} at byte {error.start})."
            " Save it as UTF-8."
        ) from None


@dataclass(eq=False)
class Source:
    """One input: a file with its place, or bytes.

    Attributes
    ----------
    name
        as messages call it
    path
        where a regular file lies (relative to the folder that was named, in ``within``); None for
        what was only ever bytes
    """

    name: str
    path: Path | None = None
    data: bytes | None = field(default=None, repr=False)
    within: Path | None = None
    remarks: list[str] = field(default_factory=list, repr=False)

    def remark(self, text: str) -> None:
        """Keep what is to be said about how the file was read, once."""
        if text not in self.remarks:
            self.remarks.append(text)

    @cached_property
    def content(self) -> bytes:
        """All bytes, unpacked."""
        data = self.data
        if data is None:
            assert self.path is not None
            data = _bytes_of(self.path, self.name)
        data = unpack(data, self.name)
        if not data.strip():
            raise EvidenceError(f"{self.name}: it is empty.")
        return data

    @cached_property
    def _text(self) -> tuple[str, str | None]:
        return decode(self.content, self.name)

    @property
    def text(self) -> str:
        """All of it as text."""
        text, note = self._text
        if note is not None:
            self.remark(note)
        return text

    @property
    def encoding_note(self) -> str | None:
        """What is to be said about how the bytes became text."""
        return self._text[1]

    def lines(self) -> Iterator[tuple[int, str]]:
        """Lines with their numbers, from 1; a large file is never held whole.

        Raises
        ------
        EvidenceError
            When a large file is not UTF-8; small ones are decoded as they are.
        """
        path = self.path
        packed = self.first_bytes[:1] != b"" and self.ending != Path(self.name).suffix.lower()
        if path is None or packed or path.stat().st_size < LARGE:
            for number, line in enumerate(io.StringIO(self.text, newline=None), 1):
                yield number, line.rstrip("\n")
            return
        number = 0
        try:
            with path.open(encoding="utf-8-sig") as file:
                for number, line in enumerate(file, 1):
                    yield number, line.rstrip("\r\n")
        except UnicodeDecodeError:
            raise EvidenceError(
                f"{self.name}, after line {number:,}: not UTF-8. Save it as UTF-8."
            ) from None

    @cached_property
    def first_bytes(self) -> bytes:
        """The first 64 KiB, unpacked."""
        if self.data is not None or self.path is None or "content" in self.__dict__:
            return self.content[:HEAD]
        start = _bytes_of(self.path, self.name, HEAD)
        if any(start.startswith(magic) for magic in _PACKED):
            return self.content[:HEAD]
        return start

    @cached_property
    def head(self) -> str:
        """The first 64 KiB as text; of bytes that are no text: nothing."""
        start = self.first_bytes
        if start[:2] == b"PK" or start[:4] in (b"PAR1", b"ARRO"):
            return ""
        try:
            text, note = decode(start, self.name)
        except EvidenceError:
            return ""
        if note is not None and "Latin" in note:  # a character may have been cut in two
            return start.decode(errors="replace")
        return text

    @property
    def ending(self) -> str:
        """The ending that tells the format, that of the compression set aside."""
        file = Path(self.name)
        if file.suffix.lower() in PACKED_ENDINGS:
            file = Path(file.stem)
        return file.suffix.lower()

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the folders and of the file, from the folder that was named."""
        if self.path is None:
            return (self.name,)
        if self.within is None:
            return self.path.absolute().parts
        return (self.within.absolute().name, *self.path.relative_to(self.within).parts)

    @property
    def stem(self) -> str:
        """The file's name without endings of format and compression."""
        stem = Path(self.name).name
        for ending in (*PACKED_ENDINGS, self.ending):
            if ending and stem.lower().endswith(ending):
                stem = stem[: -len(ending)]
        return stem


def _bytes_of(path: Path, name: str, most: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise EvidenceError(f"{name}: cannot be read ({error.strerror}).") from None


def is_several(source: Any) -> bool:
    """Whether ``source`` names a folder, a pattern or a list of files."""
    if isinstance(source, (list, tuple)):
        return True
    if not isinstance(source, (str, Path)) or _is_address(source):
        return False
    return Path(source).is_dir() or (not Path(source).exists() and glob.has_magic(str(source)))


def _is_address(source: Any) -> bool:
    return isinstance(source, str) and "://" in source


def open_source(source: str | Path | bytes) -> Source:
    """A file, the bytes of a file, ``"-"`` for standard input, or an http(s) address.

    Raises
    ------
    EvidenceError
        When there is none, it is empty, or cannot be fetched.
    """
    if isinstance(source, bytes):
        return Source("standard input", data=source)
    if str(source) == "-":
        return Source("standard input", data=sys.stdin.buffer.read())
    if _is_address(source):
        return _fetched(str(source))
    path = Path(source)
    try:
        status = path.stat()
    except (OSError, ValueError):
        raise EvidenceError(f"{source}: no such file. Check the path.") from None
    name = _shown(path.name)
    if not stat.S_ISREG(status.st_mode):  # a pipe gives its bytes once
        return Source(name, data=_bytes_of(path, name))
    if status.st_size == 0:
        raise EvidenceError(f"{name}: the file is empty.")
    return Source(name, path)


def _shown(name: str) -> str:
    """A file's name as messages can hold it: on one line, and of characters that there are."""
    return "".join(sign if sign.isprintable() else "?" for sign in name)


def _fetched(address: str) -> Source:
    if not address.startswith(("http://", "https://", "file://")):
        raise EvidenceError(
            f"{shown_address(address)}: this kind of address cannot be read. Give http(s), or"
            f" {', '.join(CLOUD)} of a parquet, CSV, JSONL or Arrow file."
        )
    import http.client
    import urllib.request

    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            data = answer.read()
    except (OSError, ValueError, http.client.HTTPException) as error:
        why = without_secrets(str(error), address)
        raise EvidenceError(f"{shown_address(address)}: cannot be fetched ({why}).") from None
    return Source(address.partition("?")[0].rstrip("/").rpartition("/")[2], data=data)


def open_sources(source: str | Path | Sequence[str | Path]) -> list[Source]:
    """The files of a folder (at any depth), of a pattern such as ``runs/*.json``, or of a list.

    Raises
    ------
    EvidenceError
        When there are none.
    """
    if isinstance(source, (list, tuple)):
        found: list[Source] = []
        for part in source:
            found += open_sources(part) if is_several(part) else [open_source(part)]
        if not found:
            raise EvidenceError("no files were named. Give at least one.")
        return _named_apart(found)
    root = Path(source)  # type: ignore[arg-type]
    if root.is_dir():
        paths: Iterable[Path] = sorted(root.rglob("*"))
        within: Path | None = root
    else:
        paths = map(Path, sorted(glob.glob(str(source), recursive=True)))
        within = None
    files = [path for path in paths if path.is_file() and not _is_hidden(path, within)]
    if not files:
        shown = shown_address(source)
        raise EvidenceError(f"{shown}: no files there. Check the path or the pattern.")
    return _named_apart([Source(_shown(path.name), path, within=within) for path in files])


def _is_hidden(path: Path, within: Path | None) -> bool:
    if within is None:
        return False
    return any(part.startswith(".") for part in path.relative_to(within).parts)


def _named_apart(sources: list[Source]) -> list[Source]:
    """Names that messages can tell apart: of files that are called alike, with their folders."""
    names = [source.name for source in sources]
    for source in sources:
        if names.count(source.name) > 1 and source.path is not None:
            source.name = _shown(os.path.relpath(source.path, source.within or "."))
    return sources
