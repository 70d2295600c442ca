"""A format of files: how it is told, and what reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Literal, NamedTuple

from policyrank.evidence.formats.peek import Peek
from policyrank.evidence.sources import Source

if TYPE_CHECKING:
    from policyrank.evidence.comparisons import Comparisons
    from policyrank.evidence.formats.results import Wanted
    from policyrank.evidence.rankings import Rankings
    from policyrank.evidence.scores import Scores

Holds = Literal["scores", "comparisons", "rankings", "nothing"]


class Format(NamedTuple):
    """A layout of files: how it is told, and what reads it.

    Attributes
    ----------
    name
        as people call it
    holds
        ``"scores"``, ``"comparisons"``, ``"rankings"``, or ``"nothing"``: it is refused by name
    family
        formats that one tool writes beside each other; of these the first is read
    fits
        whether a first look tells this format
    reader
        ``module:function`` in this room: (sources, wanted) -> evidence
    """

    name: str
    holds: Holds
    family: str
    fits: Callable[[Peek], bool]
    reader: str

    def read(self, sources: Sequence[Source], wanted: Wanted) -> Scores | Comparisons | Rankings:
        """All files of this format -> evidence."""
        module, _, function = self.reader.partition(":")
        reader = getattr(import_module(f"policyrank.evidence.formats.{module}"), function)
        return reader(sources, wanted)
