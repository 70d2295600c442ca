"""``policyrank rank``: from a results file to a leaderboard."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from policyrank.board import Leaderboard
from policyrank.cli import common as c
from policyrank.errors import EvidenceError
from policyrank.evidence import Evidence
from policyrank.ranking.choose import compare as compare_methods, rank as rank_evidence


def rank(
    file: c.File,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            "-m",
            help="auto, or a name that `policyrank methods` lists.",
            rich_help_panel=c.METHOD,
        ),
    ] = "auto",
    scale: Annotated[
        str | None, typer.Option(help="elo or natural (log-odds).", rich_help_panel=c.METHOD)
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(
            help="auto, none, or the sd of a Gaussian prior in log-odds.", rich_help_panel=c.METHOD
        ),
    ] = None,
    anchor: Annotated[
        list[str] | None,
        typer.Option(help="NAME=RATING: fix a rating; repeatable.", rich_help_panel=c.METHOD),
    ] = None,
    order_effect: Annotated[
        bool,
        typer.Option(
            "--order-effect",
            help="Fit the advantage of being listed first.",
            rich_help_panel=c.METHOD,
        ),
    ] = False,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            "-o",
            help="NAME=VALUE: any other option of the method; repeatable.",
            rich_help_panel=c.METHOD,
        ),
    ] = None,
    interval: Annotated[
        str | None,
        typer.Option(
            help="auto, sandwich, fisher, bootstrap, none (as the method has them).",
            rich_help_panel=c.UNSURE,
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="rater or task: their comparisons are not independent.", rich_help_panel=c.UNSURE
        ),
    ] = None,
    level: Annotated[
        float,
        typer.Option(
            help="Coverage of intervals and rank sets, between 0 and 1.", rich_help_panel=c.UNSURE
        ),
    ] = 0.95,
    marginal: Annotated[
        bool,
        typer.Option(
            "--marginal",
            help="Rank sets that hold for each policy alone, not for all at once.",
            rich_help_panel=c.UNSURE,
        ),
    ] = False,
    resamples: Annotated[
        int | None, typer.Option(help="Bootstrap resamples.", min=20, rich_help_panel=c.UNSURE)
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Seed of everything that is drawn.", rich_help_panel=c.UNSURE)
    ] = 0,
    html: c.Html = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write a plot: .png, .svg or .pdf.", rich_help_panel=c.OUT)
    ] = None,
    json: c.Json = False,
    csv: c.Csv = False,
    markdown: c.Markdown = False,
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
    rater: c.Rater = None,
    ballot: c.Ballot = None,
    order: c.Order = None,
    covariate: c.Covariate = None,
    rows: c.Rows = None,
    lower_is_better: c.Lower = None,
    only: c.Only = None,
    on: c.Tasks = None,
    skip_bad: c.SkipBad = False,
) -> None:
    """Rank the policies in FILE, with intervals, rank sets and what to know before quoting it.

    Columns are found by their usual names (model_a, model_b, winner; policy, task, score; ballot,
    policy, rank; wide tables) or named by options.

    Examples:

      policyrank rank battles.parquet --html board.html

      policyrank rank scores.csv --method kemeny

      policyrank rank votes.csv --cluster rater --json | jq .may_be_best
    """
    if json + csv + markdown > 1:
        raise typer.BadParameter("choose one of --json, --csv and --markdown")
    c.check_writable(html, plot)
    options: dict[str, Any] = {}
    if marginal:
        options["simultaneous"] = False
    for name, value in (
        ("level", None if level == 0.95 else level),
        ("seed", seed or None),
        ("interval", interval),
        ("cluster", cluster),
        ("resamples", resamples),
        ("scale", scale),
    ):
        if value is not None:
            options[name] = value
    if prior is not None:
        options["prior"] = (
            _number(prior, "--prior")
            if prior not in ("auto", "none")
            else None
            if prior == "none"
            else "auto"
        )
    if anchor:
        options["anchors"] = {
            name: _number(v, "--anchor") for name, v in (_split(x, "--anchor") for x in anchor)
        }
    if order_effect:
        options["order_effect"] = True
    options |= {
        name.replace("-", "_"): _value(v)
        for name, v in (_split(x, "--option") for x in option or [])
    }
    keep = {cluster} if cluster else set()
    keep |= (
        {"task"} if method == "bradley-terry-by-task" else {"time"} if method == "elo" else set()
    )
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
            "rater": rater,
            "ballot": ballot,
            "order": order,
            "covariates": covariate,
            "rows": rows,
            "lower_is_better": lower_is_better,
        },
        kind,
        skip_bad,
        only,
        on,
        keep,
    )
    with c.working(f"Reading {file} …") as update:
        evidence = reading.evidence(file)
        update(f"Ranking {len(evidence.policies)} policies …")
        if method == "kemeny":
            options["report"] = update
        try:
            board = rank_evidence(evidence, method=method, **options)
        except EvidenceError:
            raise
        except (TypeError, ValueError) as error:
            if not option:
                raise
            raise EvidenceError(
                f"{method}: an --option has a value that it cannot use ({error})."
            ) from None
        if html is not None:
            update("Comparing with other methods …")
            _page(
                board, evidence, html, title or ("Leaderboard" if file == "-" else Path(file).name)
            )
    if plot is not None:
        board.plot(plot, title=title)
        c.written(plot)
    emit(board, json=json, csv=csv, markdown=markdown, top=top)


def _page(board: Leaderboard, evidence: Evidence, path: Path, title: str) -> None:
    compared = compare_methods(evidence, first=board.method)
    command = "policyrank " + " ".join(shlex.quote(x) for x in sys.argv[1:])
    board.to_html(path, evidence=evidence, compared=compared, title=title, command=command)
    c.written(path)


def emit(board: Leaderboard, *, json: bool, csv: bool, markdown: bool, top: int | None) -> None:
    """Print the board in the form asked for; with CSV the notes go to standard error."""
    if json:
        print(board.to_json())
    elif csv:
        print(board.frame.write_csv(), end="")
        for note in board.notes:
            c.say(f"policyrank: {note.text}")
    elif markdown:
        print(board.to_markdown())
    else:
        from policyrank.board import terminal

        print(terminal.text(board, top=top, colour=sys.stdout.isatty()))


def _split(text: str, what: str) -> tuple[str, str]:
    name, found, value = text.rpartition("=")
    if not found or not name:
        raise typer.BadParameter(f"{what} {text!r}: write NAME=VALUE")
    return name, value


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{what}: {text!r} is no number") from None


def _value(text: str) -> Any:
    if text.lower() in ("true", "false", "none"):
        return {"true": True, "false": False, "none": None}[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
