"""``policyrank collapse``: does the training collapse whose log is FILE?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from policyrank.cli.options import (
    METHOD,
    OUT,
    READ,
    AtLeastOne,
    Flag,
    Html,
    Json,
    Plot,
    Title,
    check_writable,
)
from policyrank.cli.output import command_line, print_json, show, working, wrote
from policyrank.errors import OptionError

FIELDS = ("rises", "falls", "drops", "over", "under")


def watch_file(
    file: Path,
    /,
    *,
    column: Annotated[list[str] | None, Parameter(group=READ)] = None,
    step: Annotated[str | None, Parameter(group=READ)] = None,
    run: Annotated[str | None, Parameter(group=READ)] = None,
    limit: Annotated[list[str] | None, Parameter(group=METHOD)] = None,
    baseline: Annotated[AtLeastOne, Parameter(group=METHOD)] = 10,
    patience: Annotated[AtLeastOne, Parameter(group=METHOD)] = 5,
    html: Html = None,
    plot: Plot = None,
    title: Title = None,
    json: Json = False,
    fail_on_alarm: Annotated[Flag, Parameter(group=OUT)] = False,
) -> None:
    """Does the training collapse whose log is FILE, and since when?

    KL to the reference, entropy, perplexity, length, cut outputs, the tail of rewards, clipped
    ratios, critic and gradient: which leave where they began, at which step, and what to do. Logs
    of TRL, verl, OpenRLHF, Weights & Biases and policyrank are told by their content.

    Examples:

      policyrank collapse checkpoints/checkpoint-900/trainer_state.json --plot signals.png

      policyrank collapse wandb.csv --column kl=my/kl --limit entropy.falls=0.5 --limit cut=off

    Parameters
    ----------
    file
        trainer_state.json, log_history, JSON lines, console output, CSV or parquet.
    column
        SIGNAL=COLUMN, where a column has no usual name; repeatable.
    step
        Column of the step.
    run
        Which run, where a chart shows several.
    limit
        SIGNAL.FIELD=NUMBER, with rises, falls (times its start), drops (times the least it was
        before), over, under (numbers); or SIGNAL=off. Repeatable.
    baseline
        Values that say what a signal was at the start.
    patience
        How many values in a row must be beyond a limit.
    fail_on_alarm
        Exit with 3 when a signal was said.
    """
    check_writable(html)
    check_writable(plot)
    named = dict(_pair(text, "--column SIGNAL=COLUMN") for text in column or ())
    limits = _limits(limit or ())
    with working(f"Reading {file} …") as update:
        from policyrank.learn import SIGNALS, CollapseMonitor
        from policyrank.train import read_training_log, watch_log

        strange = [name for name in named if name not in (*SIGNALS, "reward", "reward_max")]
        if strange:
            raise OptionError(f"--column {strange[0]}: no such signal; {', '.join(SIGNALS)}.")
        log = read_training_log(file, columns=named, step=step, run=run)
        update("Watching …")
        monitor = CollapseMonitor(limits, baseline=baseline, patience=patience)
        report = watch_log(log, monitor)
    found = report.to_dict()
    heading = title or f"Does it collapse? {file.name}"
    if html is not None:
        from policyrank.board import audit_html

        audit_html(found, html, title=heading, command=command_line())
        wrote(html)
    if plot is not None:
        report.plot(plot, title=heading)
        wrote(plot)
    if json:
        print_json(found)
    else:
        from policyrank.board import findings_text

        show(findings_text(found, colour=sys.stdout.isatty(), name="collapse"))
    if fail_on_alarm and report.alarms:
        sys.exit(3)


def _pair(text: str, form: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name or not value:
        raise OptionError(f"{text!r}: write {form}.")
    return name, value


def _limits(told: list[str] | tuple[str, ...]) -> dict[str, dict[str, float] | None]:
    """Signal -> fields, or None where it is off."""
    form = "--limit SIGNAL.FIELD=NUMBER, or SIGNAL=off"
    found: dict[str, dict[str, float] | None] = {}
    for text in told:
        name, value = _pair(text, form)
        signal, dot, field = name.partition(".")
        if not dot and value == "off":
            found[signal] = None
            continue
        try:
            number = float(value)
        except ValueError:
            raise OptionError(f"{text!r}: write {form}.") from None
        if not dot or field not in FIELDS:
            raise OptionError(f"{text!r}: write {form}; fields are {', '.join(FIELDS)}.")
        own = found.get(signal)
        found[signal] = {**(own or {}), field: number}
    return found
