"""Checkpoints: written whole or not at all, two kept, and the newest whole one found again.

A checkpoint is a folder ``checkpoint-NUMBER``. Its last file, ``whole.json``, is its seal: sizes
and hashes of all others, and the fingerprint of the run. What has no seal was written in part; what
does not agree with it was damaged. Both are named, left out and renamed; the one before is taken.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policyrank.errors import EvidenceError
from policyrank.files import remove_parts, to_disk, write_json, written_whole_folder
from policyrank.fingerprints import REMEDY, Fingerprint, content_hash

SEAL = "whole.json"
KEPT = 2
STEM = "checkpoint-"
"""How folders of checkpoints are called, here and by transformers."""
ASIDE = ".left-out"


@contextmanager
def written_checkpoint(place: str | Path, number: int, fingerprint: Fingerprint) -> Iterator[Path]:
    """A place to write a checkpoint to, whole or not at all; the last one before it stays.

    Parameters
    ----------
    place
        folder of checkpoints
    number
        epochs, rounds or steps that are done

    Raises
    ------
    EvidenceError
        When it cannot be written; those before it stay.
    """
    remove_parts(place)
    with written_whole_folder(Path(place, f"{STEM}{number}")) as part:
        yield part
        seal(part, fingerprint)
    prune(place)


def prune(place: str | Path, most: int = KEPT, spare: str | Path | None = None) -> None:
    """Remove all but the newest checkpoints of a folder, and one more that is spared."""
    for path in _numbered(Path(place))[most:]:
        if spare is None or path.resolve() != Path(spare).resolve():
            shutil.rmtree(path, ignore_errors=True)


def seal(checkpoint: str | Path, fingerprint: Fingerprint) -> None:
    """Say of a folder that it is whole, and of which run."""
    folder = Path(checkpoint)
    (folder / SEAL).unlink(missing_ok=True)
    files = {}
    for path in _files(folder):
        to_disk(path)
        files[path.relative_to(folder).as_posix()] = [path.stat().st_size, content_hash(path)]
    write_json(folder / SEAL, {"files": files, "fingerprint": fingerprint.plain()})


def fingerprint_of(checkpoint: str | Path) -> Fingerprint | None:
    """The fingerprint in a checkpoint's seal; None where it cannot be read."""
    found = _seal_of(Path(checkpoint))
    return None if found is None else found[1]


def _seal_of(checkpoint: Path) -> tuple[dict[str, Any], Fingerprint] | None:
    try:
        told = json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))
        return dict(told["files"]), Fingerprint.read(told["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_whole(checkpoint: str | Path) -> bool:
    """Whether all files of a checkpoint are there, and hold what was written."""
    folder = Path(checkpoint)
    found = _seal_of(folder)
    if found is None:
        return False
    for name, told in found[0].items():
        path = folder / name
        if not path.is_file() or [path.stat().st_size, content_hash(path)] != told:
            return False
    return True


@dataclass(frozen=True)
class Found:
    """What lies in a folder of checkpoints.

    Attributes
    ----------
    last
        the newest whole checkpoint; None: the run begins
    left_out
        newer ones that were written in part, or damaged
    remarks
        what is said of all this
    """

    last: Path | None = None
    left_out: tuple[Path, ...] = ()
    remarks: tuple[str, ...] = ()

    def set_aside(self) -> None:
        """Rename what was left out: what is written next must not mix with it."""
        for path in self.left_out:
            aside = path.with_name(f"{path.name}{ASIDE}")
            shutil.rmtree(aside, ignore_errors=True)
            os.replace(path, aside)


def newest_whole(place: str | Path | None, fingerprint: Fingerprint, remedy: str = REMEDY) -> Found:
    """The newest whole checkpoint of a run with the same fingerprint.

    Parameters
    ----------
    place
        folder of checkpoints; None, or one that is not there: the run begins
    remedy
        what to do about a checkpoint of another run

    Raises
    ------
    EvidenceError
        For a checkpoint of another run, with what differs, and for a file in the folder's place.
    """
    if place is None or not Path(place).exists():
        return Found()
    if not Path(place).is_dir():
        raise EvidenceError(f"{place}: not a folder of checkpoints. {remedy}")
    left_out: list[Path] = []
    last = None
    for path in _numbered(Path(place)):
        if is_whole(path):
            last = path
            break
        left_out.append(path)
    remarks = []
    if left_out:
        names = ", ".join(path.name for path in left_out)
        remarks.append(f"{names}: written only in part or damaged, and left out")
    if last is not None:
        known = fingerprint_of(last)
        assert known is not None
        remarks += known.check(fingerprint, place, remedy)
    elif left_out:
        remarks.append("no checkpoint is whole: training starts anew")
    return Found(last, tuple(left_out), tuple(remarks))


def _numbered(place: Path) -> list[Path]:
    """Checkpoints in a folder, the newest first."""
    found = []
    for path in place.glob(f"{STEM}*"):
        number = path.name.removeprefix(STEM)
        if path.is_dir() and number.isdecimal():
            found.append((int(number), path))
    return [path for _, path in sorted(found, reverse=True)]


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != SEAL:
            yield path
