"""``policyrank log check``: what is wrong with a log of control?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from policyrank.cli.options import OUT, Flag, Html, Json, Title, check_writable
from policyrank.cli.output import command_line, print_json, show, working, wrote


def check_file(
    data: Path,
    /,
    *,
    html: Html = None,
    title: Title = None,
    json: Json = False,
    fail_on_concern: Annotated[Flag, Parameter(group=OUT)] = False,
) -> None:
    """What is wrong with a log of control, before anyone trains on it?

    Alignment of actions, ends and time limits, scales, duplicates, rewards, coverage. Minari, D4RL
    and robomimic (HDF5), LeRobot (parquet), arrays (.npz), CSV and JSON lines; or a folder of them.

    Parameters
    ----------
    data
        File or folder.
    fail_on_concern
        Exit with 3 when there is a concern.
    """
    check_writable(html)
    with working(f"Reading {data} …") as update:
        from policyrank.train.control.log_checks import check_log
        from policyrank.train.control.logged_steps import read_logged_steps

        log = read_logged_steps(data)
        update("Checking …")
        found = check_log(log, data.name)
    from policyrank.board import audit_html, findings_text

    if html is not None:
        heading = title or f"Log of control: {data.name}"
        audit_html(found, html, title=heading, command=command_line())
        wrote(html)
    if json:
        print_json(found)
    else:
        show(findings_text(found, colour=sys.stdout.isatty(), name="log check"))
    if fail_on_concern and any(own["verdict"] == "concern" for own in found["findings"]):
        sys.exit(3)
