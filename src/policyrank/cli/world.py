"""What the verbs of ``policyrank world`` share: the board, live and at the end."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from policyrank.cli.options import (
    MODEL,
    Printed,
    Seed,
    Written,
)
from policyrank.cli.output import print_board, write_board, write_table

if TYPE_CHECKING:
    from policyrank import evidence
    from policyrank.board import Leaderboard


WorldSeed = Annotated[Seed, Parameter(group=MODEL)]


def board_of(scores: evidence.Scores) -> Leaderboard:
    """Ranked by the mean over tasks; intervals from the replicates, the same fortune for all."""
    from policyrank.ranking import aggregate

    return aggregate(scores, resample="replicates", paired=True)


def ranked_live(
    growing: Iterable[evidence.Scores], title: str
) -> tuple[evidence.Scores, Leaderboard]:
    """The last evidence and its board; on a terminal the board is redrawn as evidence comes in."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from policyrank.board import text

    console = Console()
    if not console.is_terminal:
        *_, scores = growing
        return scores, board_of(scores)
    start = Text(f"{title}: simulating ...")
    with Live(start, console=console, transient=True, auto_refresh=False) as live:
        for scores in growing:
            board = board_of(scores)
            heading = f"{title}, {len(scores.task.names)} so far"
            live.update(Text.from_ansi(f"{heading}\n{text(board, colour=True)}"), refresh=True)
    return scores, board


def finish(
    scores: evidence.Scores,
    board: Leaderboard,
    title: str,
    *,
    out: Path | None,
    written: Written,
    printed: Printed,
) -> None:
    """Write what was asked for, print the board."""
    if out is not None:
        write_table(scores.to_frame(), out)
    write_board(board, written, title=title, evidence=scores)
    print_board(board, printed)
