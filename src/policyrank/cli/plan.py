"""``policyrank plan``: which comparisons to make next."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from cyclopts import Parameter

from policyrank.cli.options import (
    METHOD,
    AtLeastOne,
    Csv,
    FileName,
    Json,
    Reading,
    one_of,
    title_of,
)
from policyrank.cli.output import print_csv, print_json, show, working
from policyrank.errors import OptionError

Goal = Literal["rank-uncertainty", "best", "a-optimal", "d-optimal"]


def plan_file(
    *files: FileName,
    budget: Annotated[AtLeastOne, Parameter(group=METHOD)] = 100,
    goal: Annotated[Goal, Parameter(group=METHOD)] = "rank-uncertainty",
    json: Json = False,
    csv: Csv = False,
    reading: Reading = Reading(),
) -> None:
    """Plan the next comparisons, and what they will settle.

    Parameters
    ----------
    budget
        Comparisons to plan.
    goal
        rank-uncertainty (fewer misordered neighbours), best (who is first), a-optimal, d-optimal.
    """
    one_of(json=json, csv=csv)
    if reading.kind not in (None, "comparisons"):
        raise OptionError(f"--kind {reading.kind}: what is planned are comparisons.")
    reading = replace(reading, kind="comparisons")
    with working(f"Reading {title_of(files)} …") as update:
        evidence = reading.evidence(files)
        update("Planning …")
        from policyrank.evaluation import plan

        made = plan(evidence, budget, goal=goal)
    if csv:
        print_csv(made.frame)
    elif json:
        names = ("goal", "budget", "misordered_now", "misordered_after")
        plain = {name: getattr(made, name) for name in names}
        print_json({**plain, "plan": made.frame.to_dicts()})
    else:
        show(made)
