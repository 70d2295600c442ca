"""``policyrank audit``: can these results be trusted?"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from policyrank.cli import common as c
from policyrank.errors import EvidenceError
from policyrank.evidence import tables


def audit(
    file: c.File,
    owners: Annotated[
        Path | None,
        typer.Option(
            help="Table with columns policy and owner, for shares by owner.",
            rich_help_panel=c.METHOD,
        ),
    ] = None,
    level: Annotated[
        float, typer.Option(help="Level of tests and rank sets.", rich_help_panel=c.UNSURE)
    ] = 0.95,
    html: c.Html = None,
    json: c.Json = False,
    title: c.Title = None,
    kind: c.Kind = None,
    a: c.A = None,
    b: c.B = None,
    outcome: c.Outcome = None,
    first_wins: c.FirstWins = None,
    policy: c.Policy = None,
    task: c.Task = None,
    rater: c.Rater = None,
    time: Annotated[
        str | None, typer.Option(help="Column of the time.", rich_help_panel=c.READ)
    ] = None,
    score: c.Score = None,
    metric: c.Metric = None,
    replicate: c.Replicate = None,
    ballot: c.Ballot = None,
    order: c.Order = None,
    rows: c.Rows = None,
    lower_is_better: c.Lower = None,
    only: c.Only = None,
    on: c.Tasks = None,
    skip_bad: c.SkipBad = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Exit with 3 when there is a concern.", rich_help_panel=c.OUT
        ),
    ] = False,
) -> None:
    """Look for what a careful reader would object to: connection, sampling, raters, drift, order,
    near ties, a fragile top.

    Task, rater and time columns are found by their usual names and used for the checks that need
    them.
    """
    from policyrank.auditing import audit as run
    from policyrank.board import audit_html, findings_text

    c.check_writable(html)
    reading = c.Reading(
        {
            "a": a,
            "b": b,
            "outcome": outcome,
            "first_wins": first_wins,
            "policy": policy,
            "task": task,
            "rater": rater,
            "time": time,
            "score": score,
            "metric": metric,
            "replicate": replicate,
            "ballot": ballot,
            "order": order,
            "rows": rows,
            "lower_is_better": lower_is_better,
        },
        kind,
        skip_bad,
        only,
        on,
        {"task", "rater", "time"},
    )
    owned = None
    if owners is not None:
        frame, name = tables.open_table(owners)
        columns = frame.collect_schema().names()
        who, whose = (
            tables.find(columns, tables.POLICY),
            tables.find(columns, ("owner", "org", "organisation", "organization", "provider")),
        )
        if who is None or whose is None:
            raise EvidenceError(
                f"{name}: columns policy and owner are needed. It has: {tables.listing(columns)}."
            )
        owned = {str(p): str(o) for p, o in tables.collect(frame, name).select(who, whose).rows()}
    with c.working(f"Reading {file} …") as update:
        evidence = reading.evidence(file)
        found = run(
            evidence, owners=owned, level=level, report=lambda check: update(f"Checking: {check} …")
        )
    if html is not None:
        heading = title or f"Audit of {'standard input' if file == '-' else Path(file).name}"
        audit_html(
            found.to_dict(),
            html,
            title=heading,
            command="policyrank " + " ".join(shlex.quote(x) for x in sys.argv[1:]),
        )
        c.written(html)
    print(found.to_json() if json else findings_text(found.to_dict(), colour=sys.stdout.isatty()))
    if strict and found.concerns:
        raise typer.Exit(3)
