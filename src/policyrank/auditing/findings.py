"""What an audit says: findings, each with how much, how sure, and what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from policyrank.files import write_text

Verdict = Literal["fine", "note", "concern", "unchecked"]
ORDER: dict[str, int] = {"concern": 0, "note": 1, "fine": 2, "unchecked": 3}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    check
        what was looked at, a short name
    verdict
        ``"concern"``: a careful reader would object; ``"note"``: worth knowing; ``"fine"``;
        ``"unchecked"``: the data lack what it needs
    what
        in a sentence or two
    how_sure
        test, interval, or what the statement rests on
    remedy
        what to do
    numbers
        how much, for programs
    policies
        whom it concerns
    """

    check: str
    verdict: Verdict
    what: str
    how_sure: str = ""
    remedy: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    policies: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Audit:
    """The findings of an audit, concerns first.

    Attributes
    ----------
    findings
        concerns, notes, what is fine, what could not be checked
    source
        what was audited
    """

    findings: tuple[Finding, ...]
    source: str

    def __post_init__(self) -> None:
        ordered = sorted(self.findings, key=lambda finding: ORDER[finding.verdict])
        object.__setattr__(self, "findings", tuple(ordered))

    def __repr__(self) -> str:
        return (
            f"Audit({len(self.concerns)} concerns in {len(self.findings)} checks of {self.source})"
        )

    def __str__(self) -> str:
        lines = [f"Audit of {self.source}"]
        for finding in self.findings:
            line = f"[{finding.verdict}] {finding.check}: {finding.what}"
            if finding.how_sure:
                line += f" ({finding.how_sure})"
            lines.append(line)
            if finding.remedy:
                lines.append(f"    -> {finding.remedy}")
        return "\n".join(lines)

    @property
    def concerns(self) -> tuple[Finding, ...]:
        """What a careful reader would object to."""
        return tuple(finding for finding in self.findings if finding.verdict == "concern")

    def finding(self, check: str) -> Finding:
        """The finding of one check."""
        by_name = {finding.check: finding for finding in reversed(self.findings)}
        if check not in by_name:
            known = ", ".join(reversed(by_name))
            raise KeyError(f"no check is called {check!r}; there are: {known}")
        return by_name[check]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain lists and numbers."""
        findings = []
        for finding in self.findings:
            row = dict(vars(finding))
            row["numbers"] = dict(finding.numbers)
            row["policies"] = list(finding.policies)
            findings.append(row)
        return {"source": self.source, "findings": findings}

    def to_json(self, path: str | Path | None = None) -> str:
        """The audit as JSON text; written to ``path`` when given."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, default=float)
        if path is not None:
            write_text(path, text + "\n")
        return text
