"""``policyrank read``: how a file would be understood, without ranking it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from policyrank.cli.options import OUT, AtLeastOne, Csv, FileName, Json, Reading, one_of, title_of
from policyrank.cli.output import print_csv, print_json, say, show, working
from policyrank.errors import one_line

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

    from policyrank.evidence import Evidence


def read_files(
    *files: FileName,
    first: Annotated[AtLeastOne, Parameter(group=OUT)] = 10,
    json: Json = False,
    csv: Csv = False,
    reading: Reading = Reading(),
) -> None:
    """Show how FILE is understood: policies, tasks, outcomes, and what is left out.

    Nothing is ranked. --csv and --json give all rows as they were understood; --strict refuses
    every guess, which is what a pipeline wants.

    Parameters
    ----------
    first
        How many of the first rows to show.
    """
    one_of(json=json, csv=csv)
    with working(f"Reading {title_of(files)} …"):
        evidence = reading.evidence(files, keep={"task", "rater", "time"})
    frame = evidence.to_frame()
    if json:
        kind = type(evidence).__name__.lower()
        print_json({"kind": kind, "notes": list(evidence.notes), "rows": frame.to_dicts()})
    elif csv:
        print_csv(frame)
        for note in evidence.notes:
            say(f"policyrank: {note}")
    else:
        _show(evidence, frame, first)


def _show(evidence: Evidence, frame: pl.DataFrame, first: int) -> None:
    from rich.console import Console
    from rich.text import Text

    from policyrank.evidence.account import plural

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    with console.capture() as shown:
        console.print(Text(evidence.summary, style="bold"))
        for note in evidence.notes:
            console.print(Text(f"· {note}"))
        console.print(_table(frame.head(first)))
        if frame.height > first:
            console.print(f"… and {plural(frame.height - first, 'more row')}")
    show("\n".join(line.rstrip() for line in shown.get().splitlines()))


def _table(frame: pl.DataFrame) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, kind in frame.schema.items():
        table.add_column(Text(one_line(name)), justify="right" if kind.is_numeric() else "left")
    for row in frame.rows():
        table.add_row(*(Text(one_line(_cell(value))) for value in row))
    return table


def _cell(value: object) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)
