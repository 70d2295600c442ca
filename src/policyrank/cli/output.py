"""Where results go: standard output for what was asked, standard error for what was done."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policyrank.cli.options import Printed, Written
from policyrank.errors import one_line, printable

if TYPE_CHECKING:
    import polars as pl

    from policyrank.board import Leaderboard


@contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """A spinner on standard error while something takes time; yields what changes its text."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(one_line(what))) as status:
        yield lambda text: status.update(Text(one_line(text)))


def say(text: str) -> None:
    """A line about what was done, on standard error."""
    print(printable(text), file=sys.stderr)


_COLOURS = re.compile(r"(\x1b\[[0-9;]*m)")


def show(what: object = "", *, end: str = "\n") -> None:
    """Print a text on standard output; only on a terminal it has colours, and nothing else."""
    parts = _COLOURS.split(str(what)) if sys.stdout.isatty() else [str(what)]
    shown = [part if k % 2 else printable(part) for k, part in enumerate(parts)]
    print("".join(shown), end=end)


def show_exactly(text: str) -> None:
    """Print what programs read: as it is, but on a terminal as it can be shown."""
    sys.stdout.write(printable(text) if sys.stdout.isatty() else text)


def show_json(text: str) -> None:
    """Print JSON; signs that steer a terminal are escaped, which changes no value."""
    escaped = "".join(map(_escaped, text)) if not text.isprintable() else text
    print(escaped)


def _escaped(sign: str) -> str:
    if sign.isprintable() or sign == "\n":
        return sign
    return json.dumps(sign)[1:-1] if ord(sign) > 127 else f"\\u{ord(sign):04x}"


def wrote(path: Path) -> None:
    """Say that ``path`` was written."""
    say(f"wrote {path}")


def command_line() -> str:
    """What was typed."""
    return "policyrank " + shlex.join(sys.argv[1:])


def print_json(what: Any) -> None:
    """Print plain lists and numbers as JSON."""
    show_json(json.dumps(what, indent=2, ensure_ascii=False, default=str))


def print_csv(frame: pl.DataFrame) -> None:
    """Print CSV; texts that a spreadsheet would run get an apostrophe in front, which is said."""
    from policyrank.evidence.formulas import without_formulas

    texts, changed = without_formulas(frame)
    show_exactly(texts.write_csv())
    _tell_formulas(changed)


def write_table(frame: pl.DataFrame, path: Path) -> None:
    """Write a table to a file, and say so."""
    from policyrank.evidence.base import write_frame

    _tell_formulas(write_frame(frame, path))
    wrote(path)


def _tell_formulas(changed: int) -> None:
    if changed:
        say(
            f"policyrank: an apostrophe stands before what begins with = + - or @ ({changed:,}"
            " times), so that no spreadsheet runs it; it is taken away where policyrank reads it"
        )


def print_board(board: Leaderboard, printed: Printed) -> None:
    """Print the board in the form asked for; with CSV the notes go to standard error."""
    if printed.json:
        show_json(board.to_json())
    elif printed.csv:
        print_csv(board.frame)
        for note in board.notes:
            say(f"policyrank: {note.text}")
    elif printed.markdown:
        show(board.to_markdown())
    else:
        from policyrank.board import text

        show(text(board, top=printed.top, colour=sys.stdout.isatty()))


def write_board(board: Leaderboard, written: Written, *, title: str, **page: Any) -> None:
    """Write the page and the plot that were asked for."""
    title = written.title or title
    if written.html is not None:
        board.to_html(written.html, title=title, command=command_line(), **page)
        wrote(written.html)
    if written.plot is not None:
        board.plot(written.plot, title=title)
        wrote(written.plot)
