"""``policyrank plan``: which comparisons to make next."""

from __future__ import annotations

from typing import Annotated

import typer

from policyrank.cli import common as c
from policyrank.errors import EvidenceError


def plan(
    file: c.File,
    budget: Annotated[
        int, typer.Option(help="Comparisons to plan.", min=1, rich_help_panel=c.METHOD)
    ] = 100,
    goal: Annotated[
        str,
        typer.Option(
            help=(
                "rank-uncertainty (fewer misordered neighbours), best (who is first), a-optimal,"
                " d-optimal."
            ),
            rich_help_panel=c.METHOD,
        ),
    ] = "rank-uncertainty",
    json: c.Json = False,
    csv: c.Csv = False,
    a: c.A = None,
    b: c.B = None,
    outcome: c.Outcome = None,
    first_wins: c.FirstWins = None,
    only: c.Only = None,
    skip_bad: c.SkipBad = False,
) -> None:
    """Plan the next comparisons of the policies in FILE, and say what each is expected to settle."""
    import json as json_module

    from policyrank.evaluation import plan as make

    if json and csv:
        raise typer.BadParameter("choose one of --json and --csv")
    if goal not in ("rank-uncertainty", "best", "a-optimal", "d-optimal"):
        raise EvidenceError(f"goal={goal!r}: use rank-uncertainty, best, a-optimal or d-optimal.")
    reading = c.Reading(
        {"a": a, "b": b, "outcome": outcome, "first_wins": first_wins},
        "comparisons",
        skip_bad,
        only,
    )
    with c.working(f"Reading {file} …") as update:
        evidence = reading.evidence(file)
        update("Planning …")
        made = make(evidence, budget, goal=goal)  # type: ignore[arg-type]
    if json:
        print(
            json_module.dumps(
                {
                    "goal": made.goal,
                    "budget": made.budget,
                    "misordered_now": made.misordered_now,
                    "misordered_after": made.misordered_after,
                    "plan": made.frame.to_dicts(),
                },
                indent=2,
                ensure_ascii=False,
            )
        )
    elif csv:
        print(made.frame.write_csv(), end="")
    else:
        print(made)
