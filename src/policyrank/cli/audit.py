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
    title_of,
)
from policyrank.cli.output import command_line, show, show_json, working, wrote
from policyrank.errors import EvidenceError


def audit_file(
    *files: FileName,
    owners: Annotated[Path | None, Parameter(group=METHOD)] = None,
    level: Level = 0.95,
    html: Html = None,
    title: Title = None,
    json: Json = False,
    fail_on_concern: Annotated[Flag, Parameter(group=OUT)] = False,
    reading: Reading = Reading(),
) -> None:
    """What would a careful reader of FILE object to?

    Connection, sampling, raters, drift, order, near ties, a fragile top. Task, rater and time
    columns are found by their usual names and used for the checks that need them.

    Parameters
    ----------
    owners
        Table with columns policy and owner, for shares by owner.
    fail_on_concern
        Exit with 3 when there is a concern.
    """
    check_writable(html)
    with working(f"Reading {title_of(files)} …") as update:
        evidence = reading.evidence(files, keep={"task", "rater", "time"})
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
        heading = title or f"Audit of {title_of(files)}"
        audit_html(found.to_dict(), html, title=heading, command=command_line())
        wrote(html)
    if json:
        show_json(found.to_json())
    else:
        show(findings_text(found.to_dict(), colour=sys.stdout.isatty()))
    if fail_on_concern and found.concerns:
        sys.exit(3)


def _owners(path: Path) -> dict[str, str]:
    """Policy -> owner, from a table that has both."""
    from policyrank.evidence import tables
    from policyrank.evidence.usual_names import POLICY

    frame, name = tables.open_table(path)
    columns = frame.collect_schema().names()
    policy = tables.find(columns, POLICY)
    owner = tables.find(columns, ("owner", "org", "organisation", "organization", "provider"))
    if policy is None or owner is None:
        raise EvidenceError(
            f"{name}: columns policy and owner are needed. It has: {tables.listing(columns)}."
        )
    rows = tables.collect(frame, name).select(policy, owner).rows()
    return {str(policy): str(owner) for policy, owner in rows}
