"""Which studies there are: read from the constants of their files, without importing any."""

from __future__ import annotations

import ast
import pkgutil
from dataclasses import dataclass
from importlib import resources

ROOM = resources.files("policyrank.studies")
SAID = ("TITLE", "PAPER", "ABOUT")
"""What a file must say of itself in constants to be a study."""


@dataclass(frozen=True)
class Entry:
    """A study as lists show it: name, title, address of its paper or "", what it is about."""

    slug: str
    title: str
    paper: str
    about: str


def _constants(source: str) -> dict[str, str]:
    """The strings that a file assigns to the names of ``SAID``.

    Examples
    --------
    >>> _constants('import torch\\nTITLE = "LiPO"\\nSIZES = (2, 4)')
    {'TITLE': 'LiPO'}
    """
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            name = ast.unparse(node.targets[0])
            if name in SAID:
                found[name] = str(node.value.value)
    return found


def _entries() -> tuple[Entry, ...]:
    """All studies, by title."""
    found = []
    for module in pkgutil.iter_modules([str(ROOM)]):
        source = ROOM.joinpath(f"{module.name}.py").read_text(encoding="utf-8")
        said = _constants(source)
        if len(said) == len(SAID):
            slug = module.name.replace("_", "-")
            found.append(Entry(slug, said["TITLE"], said["PAPER"], said["ABOUT"]))
    return tuple(sorted(found, key=lambda entry: entry.title.casefold()))


def _line(entry: Entry) -> str:
    if entry.paper:
        return f"{entry.about} ({entry.paper})"
    return entry.about


ENTRIES = _entries()
STUDIES: dict[str, str] = {entry.slug: _line(entry) for entry in ENTRIES}
"""Slug -> what the study is about, and its paper."""
