"""What a run depends on, so that it goes on only with the same.

A run that goes on with other data, settings or another model is refused, and what differs is named.
Another version of policyrank is refused as well where weights are trained: a loss of the same name
may mean something else in it. Other versions of torch, transformers and the like are said in one
remark: they promise the same results up to rounding.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from policyrank.errors import EvidenceError

MARK = "#"
"""What a hash begins with."""

PACKAGES = (
    *("policyrank", "torch", "transformers", "accelerate", "peft", "sentence-transformers"),
    "stable-baselines3",
)
"""Packages on which trained weights depend."""

REMEDY = "Name another place, or remove it."
MOST = 3
"""So many differences are named; more are counted."""


def hashed(*parts: Any) -> str:
    """A hash of arrays, of texts, and of anything else by what it prints as.

    Examples
    --------
    >>> import numpy as np
    >>> hashed(np.arange(3)) == hashed(np.arange(3)), hashed(["ab", "c"]) == hashed(["a", "bc"])
    (True, False)
    """
    import numpy as np  # the command line's verbs stand here without it

    found = hashlib.blake2b(digest_size=8)
    for part in parts:
        if isinstance(part, np.ndarray):
            found.update(f"{part.dtype}{part.shape}".encode())
            found.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
        elif isinstance(part, (list, tuple)):
            for text in part:
                raw = str(text).encode()
                found.update(len(raw).to_bytes(8, "little"))
                found.update(raw)
        else:
            found.update(repr(part).encode())
    return MARK + found.hexdigest()


def content_hash(path: str | Path) -> str:
    """Hash of what a file holds."""
    with Path(path).open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8))
    return MARK + found.hexdigest()


def known_versions() -> dict[str, str]:
    """Versions of the packages on which trained weights depend, those that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


class _Told(msgspec.Struct):
    """A fingerprint as files have it."""

    parts: dict[str, dict[str, Any]]
    versions: dict[str, str] = {}


@dataclass(frozen=True)
class Fingerprint:
    """What a run depends on.

    Attributes
    ----------
    parts
        what it is ("settings", "model", "training data", ...) -> name -> value; long ones as
        hashes. Values are kept as JSON has them, functions by their names
    versions
        of packages

    Examples
    --------
    >>> then = Fingerprint({"settings": {"seed": 0}, "training data": {"rows": 3, "labels": "#9a"}})
    >>> now = Fingerprint({"settings": {"seed": 0}, "training data": {"rows": 4, "labels": "#9b"}})
    >>> then.differences(now)
    'other training data: rows 3, here 4; labels differ'
    """

    parts: Mapping[str, Mapping[str, Any]]
    versions: Mapping[str, str] = field(default_factory=known_versions)

    def __post_init__(self) -> None:
        plain = json.loads(json.dumps(dict(self.parts), default=_named))
        object.__setattr__(self, "parts", plain)

    @classmethod
    def read(cls, told: Any) -> Fingerprint:
        """From what ``plain`` gave.

        Raises
        ------
        ValueError
            For anything else.
        """
        try:
            found = msgspec.convert(told, _Told)
        except msgspec.ValidationError:
            raise ValueError("no fingerprint") from None
        return cls(found.parts, found.versions)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"parts": self.parts, "versions": dict(self.versions)}

    def differences(self, now: Fingerprint) -> str:
        """What differs, the first three, the innermost names: hashes by name, all else with values.

        Empty where nothing does; versions do not count.
        """
        found: list[str] = []
        number = 0
        for part in {**self.parts, **now.parts}:
            own = list(_of_part(part, self.parts.get(part), now.parts.get(part)))
            shown = own[: max(MOST - number, 0)]
            number += len(own)
            if shown:
                found.append(f"other {part}: " + "; ".join(shown))
        if number > MOST:
            found[-1] += f"; and {number - MOST} more"
        return "; ".join(found)

    def other_versions(self, now: Fingerprint) -> list[str]:
        """Packages that were there then and are now, in another version; with both."""
        found = []
        for name in self.versions.keys() & now.versions.keys():
            before, here = self.versions[name], now.versions[name]
            if before != here:
                found.append(f"{name} {before}, here {here}")
        return sorted(found)

    def check(self, now: Fingerprint, place: str | Path, remedy: str = REMEDY) -> list[str]:
        """Refuse to go on with another run; a remark on versions that differ.

        Raises
        ------
        EvidenceError
            Naming the place and what differs.
        """
        told = self.differences(now)
        if told:
            raise EvidenceError(f"{place} was made with {told}. {remedy}")
        others = self.other_versions(now)
        own = [text for text in others if text.startswith("policyrank ")]
        if own:
            raise EvidenceError(
                f"{place} was made with {own[0]}, in which losses may mean something else. Go on"
                " with that version, or remove it."
            )
        if others:
            return [f"{place} was made with {'; '.join(others)}: last digits may differ"]
        return []


def _of_part(part: str, before: Any, now: Any) -> Iterator[str]:
    """Differences within one part; of one that is missing, that it is."""
    if before is None or now is None:
        yield "none, here some" if before is None else "some, here none"
    else:
        yield from _differing(before, now)


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in {**before, **now}:
        old, new = before.get(name), now.get(name)
        if old == new and (name in before) == (name in now):
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping) and (old or new):
            yield from _differing(old, new)
        elif str(old).startswith(MARK) and str(new).startswith(MARK):
            yield f"{name} differ"
        else:
            yield f"{name} {_short(old)}, here {_short(new)}"


def _short(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = ", ".join(map(str, value))
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _named(value: Any) -> str:
    """A function by its name, anything else by what it prints as, less where it lies in memory."""
    name = getattr(value, "__qualname__", None)
    return str(name) if name else re.sub(r" at 0x[0-9a-f]+", "", str(value))
