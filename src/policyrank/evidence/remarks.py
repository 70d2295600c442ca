"""What is said of every input that is read: its name in errors, its notes as lines, like names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from policyrank.errors import EvidenceError, one_line
from policyrank.evidence.account import listed
from policyrank.evidence.comparisons import Comparisons
from policyrank.evidence.rankings import Rankings
from policyrank.evidence.scores import Scores

Evidence = Comparisons | Scores | Rankings


@contextmanager
def naming(name: str, *parts: str) -> Iterator[None]:
    """Errors that name neither the input nor a part of it get its name in front."""
    try:
        yield
    except EvidenceError as error:
        text = str(error)
        if any(one_line(known) in text for known in (name, *parts)):
            raise
        raise EvidenceError(f"{name}: {text}") from error.__cause__


def remarked(evidence: Evidence) -> Evidence:
    """The evidence with its notes on one line each, and a note on policies that may be one."""
    notes = [one_line(note) for note in evidence.notes]
    alike = spelt_alike(evidence.policies)
    if alike:
        groups = [" and ".join(map(repr, names)) for names in alike]
        notes.append(f"policies that may be one: {listed(groups, most=4)}")
    if tuple(notes) == tuple(evidence.notes):
        return evidence
    return replace(evidence, notes=tuple(dict.fromkeys(notes)))


def spelt_alike(names: Sequence[str]) -> list[list[str]]:
    """Names that differ only in case, and in spaces, ``-`` and ``_`` standing for each other.

    Examples
    --------
    >>> spelt_alike(["GPT-4o", "gpt 4o", "gpt-4", "Bee"])
    [['GPT-4o', 'gpt 4o']]
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[re.sub(r"[\s_-]+", " ", name).strip().casefold()].append(name)
    return [group for group in groups.values() if len(group) > 1]
