"""From files to evidence: their format is told, and what was not read is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from policyrank.errors import EvidenceError
from policyrank.evidence.account import listed, plural
from policyrank.evidence.comparisons import Comparisons
from policyrank.evidence.formats.form import Format
from policyrank.evidence.formats.known import FORMATS, recognise
from policyrank.evidence.rankings import Rankings
from policyrank.evidence.scores import Scores
from policyrank.evidence.sources import Source

if TYPE_CHECKING:
    from policyrank.evidence.formats.results import Wanted

Evidence = Scores | Comparisons | Rankings
Told = tuple[Format, list[Source]]


def tell(sources: Sequence[Source]) -> Told | None:
    """The one format of these files and the files that have it; None: none has a known one.

    Of formats that one tool writes beside each other the first in the list is read.

    Raises
    ------
    EvidenceError
        When files of different tools lie together.
    """
    found: dict[str, list[Source]] = {}
    forms: dict[str, Format] = {}
    for source in sources:
        form = recognise(source)
        if form is not None:
            forms[form.name] = form
            found.setdefault(form.name, []).append(source)
    if not found:
        return None
    families = {forms[name].family for name in found}
    if len(families) > 1:
        parts = [f"{plural(len(files), 'file')} of {name}" for name, files in found.items()]
        raise EvidenceError(
            f"several tools' results lie together: {'; '.join(parts)}. Name the files of one."
        )
    first = next(form for form in FORMATS if form.name in found)
    return first, found[first.name]


def read_told(told: Told, sources: Sequence[Source], wanted: Wanted) -> Evidence:
    """The evidence in the files whose format was told; the other files are counted in a note."""
    form, files = told
    evidence = form.read(files, wanted)
    others = [source.name for source in sources if source not in files]
    if not others:
        return evidence
    note = f"{plural(len(others), 'other file')} not read: {listed(others, most=3)}"
    return replace(evidence, notes=(*evidence.notes, note))
