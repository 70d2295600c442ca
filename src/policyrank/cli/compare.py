"""``policyrank compare``: all applicable methods side by side; ``policyrank methods``: what there
is.
"""

from __future__ import annotations

import json as json_module
import sys
from typing import Annotated

import numpy as np
import typer

from policyrank.cli import common as c
from policyrank.ranking import METHODS, compare as compare_methods


def compare(
    file: c.File,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Names with commas between; all that apply if not given.", rich_help_panel=c.METHOD
        ),
    ] = None,
    html: c.Html = None,
    json: c.Json = False,
    csv: c.Csv = False,
    top: c.Top = None,
    title: c.Title = None,
    kind: c.Kind = None,
    a: c.A = None,
    b: c.B = None,
    outcome: c.Outcome = None,
    first_wins: c.FirstWins = None,
    policy: c.Policy = None,
    task: c.Task = None,
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
) -> None:
    """Rank FILE by every method that applies, and show where they agree.

    Name the task column (--task) to include methods that need tasks.
    """
    if json and csv:
        raise typer.BadParameter("choose one of --json and --csv")
    c.check_writable(html)
    reading = c.Reading(
        {
            "a": a,
            "b": b,
            "outcome": outcome,
            "first_wins": first_wins,
            "policy": policy,
            "task": task,
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
    )
    with c.working(f"Reading {file} …") as update:
        evidence = reading.evidence(file)
        update("Ranking by every method …")
        found = compare_methods(
            evidence, methods=None if methods is None else [m.strip() for m in methods.split(",")]
        )
        if html is not None:
            from policyrank.ranking import rank as rank_evidence

            board = rank_evidence(evidence, method=found.methods[0])
            board.to_html(
                html, evidence=evidence, compared=found, title=title or f"Methods compared: {file}"
            )
            c.written(html)
    if json:
        tau = [[None if np.isnan(t) else t for t in row] for row in found.agreement.tolist()]
        print(
            json_module.dumps(
                {
                    "ranks": found.frame.to_dicts(),
                    "methods": found.methods,
                    "kendall_tau": tau,
                    "failed": found.failed,
                },
                indent=2,
                ensure_ascii=False,
            )
        )
    elif csv:
        print(found.frame.write_csv(), end="")
    else:
        from policyrank.board import comparison_text

        print(comparison_text(found, top=top, colour=sys.stdout.isatty()))


def methods(
    train: Annotated[
        bool,
        typer.Option("--train", help="The objectives of training instead (needs the extra learn)."),
    ] = False,
) -> None:
    """List the ranking methods, what evidence they take, and what they do."""
    if train:
        from policyrank.learn import LOSSES, PREFERENCE_LOSSES
        from policyrank.learn.rewards import REWARD_LOSSES

        for what, names in (
            ("train ranker", LOSSES),
            ("train preference", [*PREFERENCE_LOSSES, "tpo"]),
            ("train reward", REWARD_LOSSES),
        ):
            print(f"{what}: {', '.join(names)}")
        return
    for name, method in METHODS.items():
        takes = ", ".join(t.__name__.lower() for t in method.takes)
        print(f"{name:22s} {method.about:58s} {takes}")
