"""``policyrank compare``: all applicable methods side by side; ``policyrank methods``: a list."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from policyrank.cli.options import (
    METHOD,
    Csv,
    FileName,
    Flag,
    Html,
    Json,
    Reading,
    Title,
    Top,
    Written,
    check_writable,
    one_of,
    title_of,
)
from policyrank.cli.output import print_csv, print_json, show, working, write_board

if TYPE_CHECKING:
    from policyrank.board import MethodComparison


def compare_file(
    *files: FileName,
    methods: Annotated[str | None, Parameter(group=METHOD)] = None,
    html: Html = None,
    title: Title = None,
    json: Json = False,
    csv: Csv = False,
    top: Top = None,
    reading: Reading = Reading(),
) -> None:
    """Rank FILE by every method that applies: where do they agree?

    Name the task column (--task) to include methods that need tasks.

    Parameters
    ----------
    methods
        Names with commas between; all that apply if not given.
    """
    one_of(json=json, csv=csv)
    check_writable(html)
    chosen = None
    if methods is not None:
        chosen = [name.strip() for name in methods.split(",")]
    with working(f"Reading {title_of(files)} …") as update:
        evidence = reading.evidence(files)
        update("Ranking by every method …")
        from policyrank.ranking import compare, rank

        found = compare(evidence, methods=chosen)
        if html is not None:
            board = rank(evidence, method=found.methods[0])
            written = Written(html=html, title=title)
            title = f"Methods compared: {title_of(files)}"
            write_board(board, written, title=title, evidence=evidence, compared=found)
    if json:
        print_json(_plain(found))
    elif csv:
        print_csv(found.frame)
    else:
        from policyrank.board import comparison_text

        show(comparison_text(found, top=top, colour=sys.stdout.isatty()))


def _plain(found: MethodComparison) -> dict[str, object]:
    """The comparison as plain lists, undefined agreement as null."""
    import numpy as np

    tau = found.agreement.astype(object)
    tau[np.isnan(found.agreement)] = None
    return {
        "ranks": found.frame.to_dicts(),
        "methods": found.methods,
        "kendall_tau": tau.tolist(),
        "failed": found.failed,
    }


def list_methods(*, train: Flag = False) -> None:
    """List the ranking methods.

    What evidence they take, and what they do.

    Parameters
    ----------
    train
        The objectives of training instead (needs the extra learn).
    """
    if train:
        _list_objectives()
        return
    from policyrank.ranking import METHODS

    for name, method in METHODS.items():
        takes = ", ".join(form.__name__.lower() for form in method.takes)
        show(f"{name:22s} {method.about:58s} {takes}")


def _list_objectives() -> None:
    from policyrank.learn import LOSSES, PREFERENCE_LOSSES
    from policyrank.learn.losses.unpaired import UNPAIRED_LOSSES
    from policyrank.learn.rewards import REWARD_LOSSES

    show(f"train ranker: {', '.join(LOSSES)}")
    show(f"train preference: {', '.join([*PREFERENCE_LOSSES, 'tpo', *UNPAIRED_LOSSES])}")
    show(f"train reward: {', '.join(REWARD_LOSSES)}")
