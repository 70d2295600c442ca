"""``policyrank rollouts``: trajectories of agents, to be read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from policyrank.cli.options import (
    DATA,
    OUT,
    AtLeastOne,
    Count,
    Html,
    Json,
    Title,
    check_writable,
)
from policyrank.cli.output import command_line, print_json, say, show, wrote
from policyrank.errors import OptionError

Chosen = Parameter(group=DATA)


def show_rollouts(
    file: Path,
    /,
    *,
    worst: Annotated[AtLeastOne | None, Chosen] = None,
    best: Annotated[AtLeastOne | None, Chosen] = None,
    group: Annotated[str | None, Chosen] = None,
    step: Annotated[Count | None, Chosen] = None,
    stopped: Annotated[str | None, Chosen] = None,
    trouble: Annotated[str | None, Chosen] = None,
    tool: Annotated[str | None, Chosen] = None,
    top: Annotated[AtLeastOne, Parameter(group=OUT)] = 10,
    characters: Annotated[AtLeastOne, Parameter(group=OUT)] = 400,
    html: Html = None,
    title: Title = None,
    json: Json = False,
) -> None:
    """Show the trajectories in FILE turn by turn: what was written, called, read, and gained.

    Parameters
    ----------
    file
        rollouts.jsonl of a training run.
    worst
        So many of the lowest reward.
    best
        So many of the highest reward.
    group
        Of one group, STEP.GROUP, or one trajectory, STEP.GROUP.SAMPLE.
    step
        Sampled after so many optimizer steps.
    stopped
        That ended so, such as "turn limit" or "environment raised".
    trouble
        In which this went wrong, such as "unknown tool".
    tool
        In which this tool was called.
    top
        Show so many in the terminal; pages and JSON have all.
    characters
        Of each text in the terminal.
    """
    if worst is not None and best is not None:
        raise OptionError("--worst and --best: one of them.")
    check_writable(html)
    from policyrank.board.rollout_pages import rollouts_html, rollouts_text
    from policyrank.evidence.rollout_logs import chosen_rollouts, read_rollouts

    every = read_rollouts(file, lambda text: say(f"! {text}"))
    found = chosen_rollouts(
        every,
        step=step,
        group=group,
        stopped=stopped,
        trouble=trouble,
        tool=tool,
        worst=worst,
        best=best,
    )
    if html is not None:
        heading = title or f"Rollouts of {file.name}"
        rollouts_html(found, html, title=heading, command=command_line())
        wrote(html)
    if json:
        import msgspec

        print_json(msgspec.to_builtins(found))
        return
    colour = sys.stdout.isatty()
    show(rollouts_text(found, source=file.name, top=top, most=characters, colour=colour))
