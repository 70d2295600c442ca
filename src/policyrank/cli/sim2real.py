"""``policyrank sim2real``: does simulation order policies as reality does?"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from policyrank.cli.options import (
    METHOD,
    OUT,
    READ,
    AtLeastOne,
    Csv,
    FileName,
    Flag,
    Html,
    Json,
    Level,
    Plot,
    Seed,
    Title,
    check_writable,
    one_of,
    title_of,
)
from policyrank.cli.output import command_line, print_csv, print_json, say, show, working, wrote
from policyrank.errors import OptionError

if TYPE_CHECKING:
    from policyrank.evaluation.sim_cells import Cells

Column = Annotated[str | None, Parameter(group=READ, show_default=False)]
USUAL = {
    "simulated": "simulated sim sim_success simulated_success sim_rate sim_score predicted".split(),
    "real": "real real_success real_rate real_score actual measured true".split(),
    "simulated_trials": "simulated_trials sim_trials n_sim sim_n sim_episodes".split(),
    "real_trials": "real_trials n_real real_n real_episodes trials n".split(),
}
"""Option -> the names that its column usually has."""


def compare_worlds(
    *files: FileName,
    policy: Column = None,
    task: Column = None,
    simulated: Column = None,
    real: Column = None,
    simulated_trials: Column = None,
    real_trials: Column = None,
    level: Level = 0.95,
    draws: Annotated[AtLeastOne, Parameter(group=METHOD)] = 1000,
    seed: Seed = 0,
    html: Html = None,
    plot: Plot = None,
    title: Title = None,
    json: Json = False,
    csv: Csv = False,
    fail_on_concern: Annotated[Flag, Parameter(group=OUT)] = False,
) -> None:
    """Does simulation (a world model, a proxy) order policies as reality does?

    Pearson, Spearman, Kendall, MMRV and regret@1 over policies' means, all cells and each task,
    with intervals and with one policy left out. Give one table with both results a policy and task,
    or two files: simulated episodes, then real ones.

    Examples:

      policyrank sim2real simpler.csv --html agreement.html

      policyrank sim2real simulated_episodes.csv real_trials.csv --plot agreement.png

    Parameters
    ----------
    policy
        Column of the policy, in one table.
    task
        Column of the task.
    simulated
        Column of the simulated result.
    real
        Column of the real result.
    simulated_trials
        Column with the number of trials that each simulated result is of.
    real_trials
        Column with the number of trials that each real result is of.
    draws
        Of the bootstrap.
    fail_on_concern
        Exit with 3 when simulation picks another policy, or its order is not shown to say anything.
    """
    one_of(json=json, csv=csv)
    check_writable(html)
    check_writable(plot)
    if len(files) not in (1, 2):
        raise OptionError("give one table with both results, or two files: simulated, then real.")
    named = {
        "policy": policy,
        "task": task,
        "simulated": simulated,
        "real": real,
        "simulated_trials": simulated_trials,
        "real_trials": real_trials,
    }
    with working(f"Reading {title_of(files)} …") as update:
        from policyrank.evaluation.sim_measures import sim_agreement

        cells = _of_table(files[0], named) if len(files) == 1 else _of_episodes(files, named)
        update("Drawing anew …")
        found = sim_agreement(cells, level=level, draws=draws, seed=seed)
    told = found.to_dict()
    heading = title or f"Simulation and reality: {title_of(files)}"
    if html is not None:
        from policyrank.board import audit_html
        from policyrank.evaluation.sim_findings import svg

        audit_html({**told, "picture": svg(found)}, html, title=heading, command=command_line())
        wrote(html)
    if plot is not None:
        found.plot(plot, title=title)
        wrote(plot)
    if json:
        print_json(told)
    elif csv:
        print_csv(found.frame)
    else:
        from policyrank.board import findings_text

        show(findings_text(told, colour=sys.stdout.isatty(), name="sim2real"))
    if fail_on_concern and any(own["verdict"] == "concern" for own in told["findings"]):
        sys.exit(3)


def _of_table(file: str, named: dict[str, str | None]) -> Cells:
    """One table with both results; what was read as what is told."""
    from policyrank.evaluation.sim_cells import cells_of_table
    from policyrank.evidence import tables
    from policyrank.evidence.usual_names import POLICY, TASK

    frame, source = tables.open_table(file)
    table = tables.collect(frame, source)
    usual: dict[str, Any] = {"policy": POLICY, "task": TASK, **USUAL}
    columns = {
        what: tables.given(table.columns, name, usual[what], what, source)
        for what, name in named.items()
    }
    for what in ("policy", "simulated", "real"):
        if columns[what] is None:
            raise OptionError(
                f"{source}: no column of usual name holds {what}: --{what} COLUMN. It has:"
                f" {tables.listing(table.columns)}."
            )
    read = ", ".join(f"{what} from {name}" for what, name in columns.items() if name is not None)
    say(f"{source}: {read}")
    chosen: dict[str, Any] = columns
    return cells_of_table(table, **chosen)


def _of_episodes(files: tuple[str, ...], named: dict[str, str | None]) -> Cells:
    """Two files of scores."""
    for name, column in named.items():
        if column is not None:
            raise OptionError(f"--{name.replace('_', '-')} names a column of one table: give one.")
    from policyrank.evaluation.sim_cells import cells_of_scores
    from policyrank.evidence import read_scores

    simulated, real = (read_scores(file) for file in files)
    for what, own in (("simulated", simulated), ("real", real)):
        for note in own.notes:
            say(f"{what}: {note}")
    return cells_of_scores(simulated, real)
