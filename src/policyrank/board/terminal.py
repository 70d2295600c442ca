"""Leaderboards as text: a table with intervals drawn in characters."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from policyrank.board.wording import clean, cuts, number, rank_set, resolution, share, span

if TYPE_CHECKING:
    from policyrank.board.comparison import MethodComparison
    from policyrank.board.leaderboard import Leaderboard

NOTE_MARKS = {"warning": ("!", "yellow bold"), "info": ("·", "dim")}

LEFT = ("policy", "")
"""Columns that are aligned to the left."""


def interval_bar(low: float, mid: float, high: float, left: float, right: float, width: int) -> str:
    """An interval drawn in ``width`` characters between ``left`` and ``right``.

    Examples
    --------
    >>> interval_bar(2.0, 5.0, 8.0, 0.0, 10.0, 11)
    '  ├──●──┤  '
    """
    if not np.isfinite(low) or right <= left:
        low = high = mid

    def place(value: float) -> int:
        at = round((value - left) / (right - left or 1) * (width - 1))
        return int(np.clip(at, 0, width - 1))

    start, point, end = place(low), place(mid), place(high)
    cells = [" "] * width
    for cell in range(start, end + 1):
        cells[cell] = "─"
    if start < point:
        cells[start] = "├"
    if end > point:
        cells[end] = "┤"
    cells[point] = "●"
    return "".join(cells)


def renderable(board: Leaderboard, *, top: int | None = None, width: int = 100) -> RenderableType:
    """The board for a rich console: title, table, notes."""
    shown = _shown(len(board), top)
    title = Text.assemble((board.method, "bold"), f"  {board.source}  ({board.unit})")
    parts: list[RenderableType] = [title, _rows(board, shown, width)]
    if shown < len(board):
        parts.append(_left_out(len(board) - shown))
    for note in board.notes:
        mark, style = NOTE_MARKS[note.severity]
        line = Table.grid(padding=(0, 1))
        line.add_column(width=1)
        line.add_column()
        line.add_row(Text(mark, style=style), Text(clean(note.text)))
        parts.append(line)
    return Group(*parts)


def _rows(board: Leaderboard, shown: int, width: int) -> Text:
    """A line a policy, a gap below those that are separable from the next, bold the best."""
    best: set[str] = set()
    if np.isfinite(board.lower).any():
        best = set(board.may_be_best)
    cut = cuts(board)[:shown]
    cut[-1:] = False
    columns = [_aligned(*column) for column in _columns(board, shown, width).items()]
    head, *rows = map("   ".join, zip(*columns, strict=True))
    body = Text(no_wrap=True, overflow="ellipsis")
    body.append(f"{head}\n", "bold").append("─" * cell_len(head))
    for policy, row, cut_below in zip(board.policies, rows, cut, strict=False):
        body.append(f"\n{row}", "bold" if policy in best else "")
        if cut_below:
            body.append("\n")
    return body


def _aligned(head: str, cells: list[str]) -> list[str]:
    """The head and the cells of a column, of one width."""
    column = [head, *cells]
    width = max(map(cell_len, column))
    padding = [" " * (width - cell_len(cell)) for cell in column]
    if head in LEFT:
        return [cell + space for cell, space in zip(column, padding, strict=True)]
    return [space + cell for cell, space in zip(column, padding, strict=True)]


def _columns(board: Leaderboard, shown: int, width: int) -> dict[str, list[str]]:
    """Cells of each column by its head, in order; names and bars share what the numbers leave."""
    step = resolution(board)
    rank = {"rank": board.rank[:shown].astype(str).tolist()}
    middle = {"rating": [number(rating, step) for rating in board.rating[:shown]]}
    if np.isfinite(board.lower).any():
        middle[f"{board.level:.0%} interval"] = _intervals(board, shown, step)
        middle["ranks"] = [rank_set(board, i) for i in range(shown)]
    last = {"n": [f"{n:,}" for n in board.n[:shown]]}
    if board.probability_best is not None:
        best = {"best": [share(float(p)) for p in board.probability_best[:shown]]}
        if _room({**rank, **middle, **best, **last}, width) >= 18:
            last = {**best, **last}
    room = _room({**rank, **middle, **last}, width)
    names = [clean(policy) for policy in board.policies[:shown]]
    longest = max(map(cell_len, ["policy", *names]))
    bar_width = int(np.clip(room - longest, min(12, max(room // 3, 4)), 36))
    name_width = max(6, min(longest, room - bar_width))
    fitted = [_fit(name, name_width) for name in names]
    return {**rank, "policy": fitted, **middle, "": _bars(board, shown, bar_width), **last}


def _room(columns: Mapping[str, list[str]], width: int) -> int:
    """Characters that these columns leave for names and bars."""
    taken = 0
    for head, cells in columns.items():
        taken += max(map(cell_len, [head, *cells])) + 3
    return width - 4 - taken


def _intervals(board: Leaderboard, shown: int, step: float) -> list[str]:
    cells = []
    for low, high in zip(board.lower[:shown], board.upper[:shown], strict=True):
        known = np.isfinite(low) and np.isfinite(high)
        cells.append(f"{number(low, step)} … {number(high, step)}" if known else "")
    return cells


def _bars(board: Leaderboard, shown: int, width: int) -> list[str]:
    lower, rating, upper = board.lower[:shown], board.rating[:shown], board.upper[:shown]
    left = float(np.nanmin(np.r_[lower, rating]))
    right = float(np.nanmax(np.r_[upper, rating]))
    bars = []
    for low, mid, high in zip(lower, rating, upper, strict=True):
        bars.append(interval_bar(low, mid, high, left, right, width))
    return bars


def _shown(total: int, top: int | None) -> int:
    """How many of ``total`` are shown; None: all."""
    if top is None:
        return total
    return min(top, total)


def _left_out(number: int) -> Text:
    return Text(f"  … {number} more", style="dim")


def _plain_table() -> Table:
    return Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        header_style="bold",
        padding=(0, 1),
    )


def _fit(name: str, width: int) -> str:
    if cell_len(name) <= width:
        return name
    return set_cell_size(name, width - 1) + "…"


def width_of(width: int | None, usual: int, most: int) -> int:
    """Characters of a line: as asked, or as the terminal has, ``usual`` where there is none."""
    return width or min(shutil.get_terminal_size((usual, 40)).columns, most)


def printed(item: RenderableType, width: int, colour: bool) -> str:
    console = Console(
        width=width,
        record=False,
        file=None,
        force_terminal=colour,
        no_color=not colour,
        highlight=False,
        markup=False,
    )
    with console.capture() as capture:
        console.print(item)
    return "\n".join(line.rstrip() for line in capture.get().rstrip("\n").splitlines())


def text(
    board: Leaderboard, *, top: int | None = None, width: int | None = None, colour: bool = False
) -> str:
    """The board as text for a terminal of ``width`` characters.

    A gap below a row: it is separable from the next.

    Examples
    --------
    >>> from policyrank.board import make_leaderboard
    >>> board = make_leaderboard(
    ...     policies=["old", "new"],
    ...     rating=np.array([1.0, 3.0]),
    ...     method="mean",
    ...     n=np.array([9, 9]),
    ...     covariance=np.diag([0.1, 0.1]),
    ...     source="18 scores",
    ... )
    >>> print(text(board, width=60))
    mean  18 scores  (rating)
    rank   policy   rating   95% interval   ranks             n
    ───────────────────────────────────────────────────────────
       1   new        3.00    2.38 … 3.62       1       ├●┤   9
    <BLANKLINE>
       2   old        1.00    0.38 … 1.62       2   ├●┤       9
    · new is the best at the 95% level; 1 of 1 neighbours on the
      board can be told apart.
    """
    size = width_of(width, 100, 120)
    return printed(renderable(board, top=top, width=size), size, colour)


MARKDOWN = str.maketrans(
    {"\\": "\\\\", "|": "\\|", "<": "&lt;", "`": "\\`", "*": "\\*"},
)
"""What would end a cell or start a format of Markdown, and how it is written instead."""


def markdown(board: Leaderboard) -> str:
    """The board as a Markdown table, with its notes as a list.

    Examples
    --------
    >>> from policyrank.board import make_leaderboard
    >>> board = make_leaderboard(
    ...     policies=["old", "new"],
    ...     rating=np.array([1.0, 3.0]),
    ...     method="mean",
    ...     n=np.array([9, 9]),
    ...     covariance=np.diag([0.1, 0.1]),
    ...     source="18 scores",
    ... )
    >>> print(markdown(board))
    | rank | policy | rating | 95% interval | ranks | n |
    | ---: | :--- | ---: | :---: | :---: | ---: |
    | 1 | new | 3.00 | 2.38 … 3.62 | 1 | 9 |
    | 2 | old | 1.00 | 0.38 … 1.62 | 2 | 9 |
    <BLANKLINE>
    mean, 18 scores
    <BLANKLINE>
    - new is the best at the 95% level; 1 of 1 neighbours on the board can be told apart.
    """

    def safe(name: str) -> str:
        return clean(name).translate(MARKDOWN)

    step = resolution(board)
    intervals = _intervals(board, len(board), step)
    lines = [
        f"| rank | policy | {safe(board.unit)} | {board.level:.0%} interval | ranks | n |",
        "| ---: | :--- | ---: | :---: | :---: | ---: |",
    ]
    for i, policy in enumerate(board.policies):
        rating, interval = number(board.rating[i], step), ""
        if np.isfinite(board.lower[i]):
            interval = intervals[i]
        lines.append(
            f"| {board.rank[i]} | {safe(policy)} | {rating} | {interval} |"
            f" {rank_set(board, i)} | {board.n[i]:,} |"
        )
    lines += ["", f"{board.method}, {safe(board.source)}"]
    if board.notes:
        lines.append("")
    for note in board.notes:
        lines.append(f"- {safe(note.text)}")
    return "\n".join(lines)


def comparison_text(
    compared: MethodComparison,
    *,
    top: int | None = None,
    width: int | None = None,
    colour: bool = False,
) -> str:
    """Ranks by all methods, a row a policy, and how far each method agrees with the first.

    Examples
    --------
    >>> from policyrank.board import MethodComparison, make_leaderboard
    >>> ratings_of_two = np.array([1.0, 3.0])
    >>> board = make_leaderboard(["old", "new"], ratings_of_two, method="mean", n=np.array([9, 9]))
    >>> ranks, agreement = np.array([[1, 1], [2, 2]]), np.ones((2, 2))
    >>> both = MethodComparison((board, board), board.policies, ranks, agreement, {})
    >>> print(comparison_text(both, width=60).splitlines()[-1])
    b  mean  tau  1.00  first: new
    """
    shown = _shown(len(compared.policies), top)
    parts: list[RenderableType] = [_rank_table(compared, shown)]
    if shown < len(compared.policies):
        parts.append(_left_out(len(compared.policies) - shown))
    parts += [
        Text(""),
        Text("Methods; tau: Kendall's agreement with the first", style="dim"),
        _legend(compared),
    ]
    for name, why in compared.failed.items():
        parts.append(Text(f"! {name}: {why}"))
    return printed(Group(*parts), width_of(width, 120, 160), colour)


def _rank_table(compared: MethodComparison, shown: int) -> Table:
    names = [clean(policy) for policy in compared.policies[:shown]]
    table = _plain_table()
    table.add_column("policy", no_wrap=True, width=min(max(map(cell_len, ["policy", *names])), 28))
    for k in range(len(compared.boards)):
        table.add_column(_letter(k), justify="right", no_wrap=True)
    table.add_column("ranks", no_wrap=True)
    for name, ranks in zip(names, compared.ranks, strict=False):
        spread = span(int(ranks.min()), int(ranks.max()))
        table.add_row(*map(Text, [_fit(name, 28), *map(str, ranks), spread]))
    return table


def _legend(compared: MethodComparison) -> Table:
    legend = Table.grid(padding=(0, 2))
    for k, board in enumerate(compared.boards):
        tau = "    -"
        if np.isfinite(compared.agreement[0, k]):
            tau = f"{compared.agreement[0, k]:5.2f}"
        legend.add_row(
            Text(_letter(k), style="bold"),
            Text(board.method),
            Text(f"tau {tau}"),
            Text(f"first: {clean(board.policies[0])}"),
        )
    return legend


def _letter(k: int) -> str:
    """The name of a column: a to z, then aa, ab, ..."""
    if k < 26:
        return chr(ord("a") + k)
    return f"a{chr(ord('a') + k - 26)}"


VERDICT_MARKS = {
    "concern": ("!", "yellow bold"),
    "note": ("·", "bold"),
    "fine": ("✓", "green"),
    "unchecked": ("?", "dim"),
}


def findings_text(
    audit: Mapping[str, Any],
    *,
    width: int | None = None,
    colour: bool = False,
    name: str = "audit",
) -> str:
    """An audit (as its ``to_dict()`` gives it) for a terminal.

    Concerns come first, each with how sure it is and what to do.

    Examples
    --------
    >>> finding = {"check": "ties", "verdict": "note", "what": "Half are ties.", "remedy": ""}
    >>> audit = {"source": "9 comparisons", "findings": [{**finding, "how_sure": ""}]}
    >>> print(findings_text(audit, width=60))
    audit  9 comparisons: 1 note
    <BLANKLINE>
    · ties Half are ties.
    """
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(no_wrap=True)
    grid.add_column()
    for finding in audit["findings"]:
        mark, style = VERDICT_MARKS[finding["verdict"]]
        name_style = ""
        if finding["verdict"] == "concern":
            name_style = "bold"
        check = Text(finding["check"], style=name_style)
        grid.add_row(Text(mark, style=style), check, _finding(finding))
    title = Text.assemble((name, "bold"), f"  {audit['source']}: {_counted(audit)}")
    parts: list[RenderableType] = [title, Text("")]
    for told in audit.get("tables", ()):
        parts += [_told_table(told), Text("")]
    return printed(Group(*parts, grid), width_of(width, 100, 110), colour)


def _told_table(told: Mapping[str, Any]) -> Table:
    """A table of an audit: ``title``, ``header``, and ``rows`` of texts that begin with a name."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=told["title"], title_justify="left")
    for place, name in enumerate(told["header"]):
        table.add_column(name, justify="right" if place else "left", overflow="fold")
    for row in told["rows"]:
        table.add_row(*(clean(text) for text in row))
    return table


def _counted(audit: Mapping[str, Any]) -> str:
    """How many findings of each verdict, as ``2 concern, 1 note``."""
    counts = Counter(finding["verdict"] for finding in audit["findings"])
    told = []
    for verdict in VERDICT_MARKS:
        if counts[verdict]:
            told.append(f"{counts[verdict]} {verdict}")
    return ", ".join(told)


def _finding(finding: Mapping[str, Any]) -> Text:
    """What was found, how sure it is, and the remedy."""
    body = Text(clean(finding["what"]))
    if finding["how_sure"]:
        body.append(f" [{finding['how_sure']}]", style="dim")
    if finding["remedy"]:
        body.append(f"\n→ {clean(finding['remedy'])}")
    return body
