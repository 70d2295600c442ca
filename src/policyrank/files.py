"""Files that are written: whole, or not at all. Nothing else here opens a file to write."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO

from policyrank.errors import EvidenceError, PolicyrankError

PART = ".part"
"""How the name of what is being written begins, and that of the folder in a model's folder."""


@contextmanager
def written(path: str | Path) -> Iterator[Path]:
    """A place beside ``path`` to write one file to; it becomes ``path`` when all went well.

    Otherwise what was there stays as it was. A link stays a link; a pipe or a device is written
    itself. The place has the ending of ``path``, by which libraries know the format.

    Raises
    ------
    EvidenceError
        When it cannot be written, for whatever reason a library gives.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, written(Path(folder, "x.txt")) as place:
    ...     _ = place.write_text("whole")
    """
    if _is_device(Path(path)):
        with _telling(path):
            yield Path(path)
        return
    target = Path(os.path.realpath(path))
    part = _beside(target)
    try:
        with _telling(path):
            yield part
            to_disk(part)
            _keep_mode(part, target)
            part.replace(target)
            to_disk(target.parent)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text as UTF-8; halves of surrogate pairs become question marks.

    Raises
    ------
    EvidenceError
        When it cannot be written; what was there stays.
    """
    write_bytes(path, text.encode("utf-8", errors="replace"))


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write bytes.

    Raises
    ------
    EvidenceError
        When they cannot be written; what was there stays.
    """
    with written(path) as part:
        part.write_bytes(data)


def write_json(path: str | Path, content: Any, *, indent: int | None = None) -> None:
    """Write JSON; what JSON has no form for is written as text.

    Raises
    ------
    EvidenceError
        When it cannot be written; what was there stays.
    """
    text = json.dumps(content, indent=indent, ensure_ascii=False, default=str)
    write_text(path, text + "\n")


@contextmanager
def written_folder(
    folder: str | Path, replaced: Sequence[Path] = (), *, first: bool = True
) -> Iterator[Path]:
    """A new folder to write files to; they are put into ``folder`` when all of them are there.

    Parameters
    ----------
    replaced
        files in ``folder`` that are removed then; other files stay
    first
        whether this process makes the folder and puts the files in place: of several processes
        that write together one does

    Raises
    ------
    EvidenceError
        When they cannot be written; what was there stays.
    """
    place = Path(folder)
    part = place / PART
    if not first:
        yield part
        return
    remove_parts(place)
    try:
        with _telling(folder):
            part.mkdir(parents=True)
            yield part
            _put(part, place, replaced)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _put(part: Path, place: Path, replaced: Sequence[Path]) -> None:
    files = [path for path in sorted(part.rglob("*")) if path.is_file()]
    for path in files:
        to_disk(path)
    for path in replaced:
        path.unlink(missing_ok=True)
    folders = {place}
    for path in files:
        target = place / path.relative_to(part)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        folders.add(target.parent)
    for folder in folders:
        to_disk(folder)


@contextmanager
def written_whole_folder(folder: str | Path) -> Iterator[Path]:
    """A place beside ``folder`` to write files to; it takes the place of ``folder`` in one step.

    Otherwise what was there stays as it was. ``written_folder`` is for a folder that others write
    to as well.

    Raises
    ------
    EvidenceError
        When they cannot be written; what was there stays.
    """
    target = Path(os.path.realpath(folder))
    part = _beside(target)
    try:
        with _telling(folder):
            part.mkdir(parents=True)
            yield part
            for path in [*part.rglob("*"), part]:
                to_disk(path)
            shutil.rmtree(target, ignore_errors=True)
            part.replace(target)
            to_disk(target.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def remove_parts(folder: str | Path) -> None:
    """Remove what processes that were killed wrote in part into a folder with one writer."""
    for path in [Path(folder, PART), *Path(folder).glob(f"{PART}-*")]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def append_lines(path: str | Path, lines: Sequence[str]) -> None:
    """Put whole lines at the end of a file; half a line that a stopped run left goes before.

    Raises
    ------
    EvidenceError
        When they cannot be written; the file then ends where it did.
    """
    data = "".join(f"{line}\n" for line in lines).encode("utf-8", errors="replace")
    if _is_device(Path(path)):
        write_bytes(path, data)
        return
    with _telling(path), Path(path).open("ab+", buffering=0) as file:
        start = _end_of_whole_lines(file)
        file.truncate(start)
        try:
            _write_all(file, data)
        except OSError:
            file.truncate(start)
            raise


def _write_all(file: BinaryIO, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def _end_of_whole_lines(file: BinaryIO) -> int:
    """Where the last whole line ends; a last value of JSON without a line break gets one."""
    size = file.seek(0, os.SEEK_END)
    start, tail = size, b""
    while start and b"\n" not in tail:
        step = min(start, 1 << 16)
        start -= step
        file.seek(start)
        tail = file.read(step) + tail
    last = tail[tail.rfind(b"\n") + 1 :]
    if not last:
        return size
    try:
        json.loads(last)
    except (ValueError, RecursionError):
        return size - len(last)
    _write_all(file, b"\n")
    return size + 1


@contextmanager
def _telling(path: str | Path) -> Iterator[None]:
    """Whatever a library raises while it writes, as one line that names the file."""
    try:
        yield
    except PolicyrankError:
        raise
    except Exception as error:  # polars, torch, safetensors and zlib have errors of their own
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise EvidenceError(
            f"{path}: cannot be written ({why or type(error).__name__}); what was there is as it"
            " was. Make room, or name another place."
        ) from error


def _is_device(path: Path) -> bool:
    """Whether a path is no file that another can take the place of."""
    return path.parts[:2] in (("/", "dev"), ("/", "proc")) or (
        path.exists() and not path.is_file() and not path.is_dir()
    )


def to_disk(path: str | Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk.

    A file's name must not come there before what it holds. Not all systems can wait for a folder.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError:
        if not Path(path).is_dir():
            raise


def _beside(target: Path) -> Path:
    """A name beside a target that nothing else has."""
    return target.with_name(f"{PART}-{os.getpid()}-{token_hex(4)}{_short_ending(target)}")


def _keep_mode(part: Path, target: Path) -> None:
    if target.exists():
        part.chmod(stat.S_IMODE(target.stat().st_mode))


def _short_ending(path: Path) -> str:
    """The ending of a name; of one that is longer than endings are: none."""
    return path.suffix if len(path.suffix) < 16 else ""
