"""``policyrank audit``: can these results be trusted?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from policyrank.cli.options import (
    METHOD,
    OUT,
    FileName,
    Flag,
    Html,
    Json,
    Level,
    Reading,
    Title,
    check_writable,
)
from policyrank.cli.output import command_line, working, wrote
from policyrank.errors import EvidenceError


def audit_file(
    file: FileName,
    /,
    *,
    owners: Annotated[Path | None, Parameter(group=METHOD)] = None,
    level: Level = 0.95,
    html: Html = None,
    title: Title = None,
    json: Json = False,
    strict: Annotated[Flag, Parameter(group=OUT)] = False,
    reading: Reading = Reading(),
) -> None:
    """What would a careful reader of FILE object to?

    Connection, sampling, raters, drift, order, near ties, a fragile top. Task, rater and time
    columns are found by their usual names and used for the checks that need them.

    Parameters
    ----------
    owners
        Table with columns policy and owner, for shares by owner.
    strict
        Exit with 3 when there is a concern.
    """
    check_writable(html)
    with working(f"Reading {file} …") as update:
        evidence = reading.evidence(file, keep={"task", "rater", "time"})
        owned = None if owners is None else _owners(owners)
        from policyrank.auditing import audit

        found = audit(
            evidence,
            owners=owned,
            level=level,
            report=lambda check: update(f"Checking: {check} …"),
        )
    from policyrank.board import audit_html, findings_text

    if html is not None:
        name = "standard input" if file == "-" else Path(file).name
        heading = title or f"Audit of {name}"
        audit_html(found.to_dict(), html, title=heading, command=command_line())
        wrote(html)
    if json:
        print(found.to_json())
    else:
        print(findings_text(found.to_dict(), colour=sys.stdout.isatty()))
    if strict and found.concerns:
        sys.exit(3)


def _owners(path: Path) -> dict[str, str]:
    """Policy -> owner, from a table that has both."""
    from policyrank.evidence import tables

    frame, name = tables.open_table(path)
    columns = frame.collect_schema().names()
    policy = tables.find(columns, tables.POLICY)
    owner = tables.find(columns, ("owner", "org", "organisation", "organization", "provider"))
    if policy is None or owner is None:
        raise EvidenceError(
            f"{name}: columns policy and owner are needed. It has: {tables.listing(columns)}."
        )
    rows = tables.collect(frame, name).select(policy, owner).rows()
    return {str(policy): str(owner) for policy, owner in rows}
