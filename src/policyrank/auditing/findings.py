"""What an audit says: findings, each with how much, how sure, and what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

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
        object.__setattr__(
            self, "findings", tuple(sorted(self.findings, key=lambda f: ORDER[f.verdict]))
        )

    def __repr__(self) -> str:
        return (
            f"Audit({len(self.concerns)} concerns in {len(self.findings)} checks of {self.source})"
        )

    def __str__(self) -> str:
        lines = [f"Audit of {self.source}"]
        for f in self.findings:
            lines.append(
                f"[{f.verdict}] {f.check}: {f.what}" + (f" ({f.how_sure})" if f.how_sure else "")
            )
            if f.remedy:
                lines.append(f"    -> {f.remedy}")
        return "\n".join(lines)

    @property
    def concerns(self) -> tuple[Finding, ...]:
        """What a careful reader would object to."""
        return tuple(f for f in self.findings if f.verdict == "concern")

    def finding(self, check: str) -> Finding:
        """The finding of one check."""
        for f in self.findings:
            if f.check == check:
                return f
        raise KeyError(
            f"no check is called {check!r}; there are: {', '.join(f.check for f in self.findings)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain lists and numbers."""
        return {
            "source": self.source,
            "findings": [
                {
                    **{
                        k: getattr(f, k) for k in ("check", "verdict", "what", "how_sure", "remedy")
                    },
                    "numbers": dict(f.numbers),
                    "policies": list(f.policies),
                }
                for f in self.findings
            ],
        }

    def to_json(self, path: str | Path | None = None) -> str:
        """The audit as JSON text; written to ``path`` when given."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, default=float)
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf-8")
        return text
