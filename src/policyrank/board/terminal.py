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

if TYPE_CHECKING:
    from policyrank.board.comparison import MethodComparison
    from policyrank.board.leaderboard import Leaderboard

NOTE_MARKS = {"warning": "!", "info": "·"}


def number(value: float, step: float) -> str:
    """``value`` with as many decimals as a scale with this step needs."""
    decimals = int(np.clip(np.ceil(-np.log10(max(step, 1e-12))) + 1, 0, 6)) if step > 0 else 2
    return f"{value:,.{decimals}f}" if np.isfinite(value) else ""


def resolution(board: Leaderboard) -> float:
    """The size of a typical interval, or of the gaps where there are none: what a printed digit
    should resolve.
    """
    half = (board.upper - board.lower) / 2
    half = half[np.isfinite(half) & (half > 0)]
    if len(half):
        return float(np.median(half))
    spread = float(np.ptp(board.rating))
    return spread / max(len(board), 1) / 2


def rank_set(board: Leaderboard, i: int) -> str:
    """The confidence set of a rank, as ``1-3``."""
    if board.rank_lower is None or board.rank_upper is None:
        return ""
    low, high = int(board.rank_lower[i]), int(board.rank_upper[i])
    return str(low) if low == high else f"{low}-{high}"


def share(p: float) -> str:
    """A share in percent; nothing when it is next to none, ``>99%`` when it is not all."""
    return "" if p < 0.005 else ">99%" if 0.995 <= p < 1 else f"{p:.0%}"


def interval_bar(low: float, mid: float, high: float, left: float, right: float, width: int) -> str:
    """An interval drawn in ``width`` characters between ``left`` and ``right``."""
    if not np.isfinite(low) or right <= left:
        low = high = mid

    def place(v: float) -> int:
        return int(np.clip(round((v - left) / (right - left or 1) * (width - 1)), 0, width - 1))

    cells = [" "] * width
    for c in range(place(low), place(high) + 1):
        cells[c] = "─"
    if place(low) < place(mid):
        cells[place(low)] = "├"
    if place(high) > place(mid):
        cells[place(high)] = "┤"
    cells[place(mid)] = "●"
    return "".join(cells)


def renderable(board: Leaderboard, *, top: int | None = None, width: int = 100) -> RenderableType:
    """The board for a rich console: title, table, notes."""
    shown = len(board) if top is None else min(top, len(board))
    step = resolution(board)
    has = bool(np.isfinite(board.lower).any())
    left = float(np.nanmin(np.r_[board.lower[:shown], board.rating[:shown]]))
    right = float(np.nanmax(np.r_[board.upper[:shown], board.rating[:shown]]))
    columns: dict[str, list[str]] = {
        "rank": [str(r) for r in board.rank[:shown]],
        "rating": [number(v, step) for v in board.rating[:shown]],
    }
    if has:
        columns[f"{board.level:.0%} interval"] = [
            f"{number(low, step)} … {number(high, step)}"
            for low, high in zip(board.lower[:shown], board.upper[:shown], strict=True)
        ]
        columns["ranks"] = [rank_set(board, i) for i in range(shown)]
    if board.probability_best is not None:
        columns["best"] = [share(float(p)) for p in board.probability_best[:shown]]
    columns["n"] = [f"{n:,}" for n in board.n[:shown]]

    def left_over() -> int:
        return (
            width
            - 4
            - sum(max(cell_len(c) for c in [head, *cells]) + 3 for head, cells in columns.items())
        )

    if left_over() < 18:
        columns.pop("best", None)
    # The names and the bars share what the numbers leave.
    room = left_over()
    names = [_clean(p) for p in board.policies[:shown]]
    longest = max([cell_len(n) for n in names] + [6])
    bar = int(np.clip(room - longest, min(12, max(room // 3, 4)), 36))
    name_width = max(6, min(longest, room - bar))
    order = [
        "rank",
        "policy",
        "rating",
        *([c for c in columns if "interval" in c or c == "ranks"]),
        "",
        *([c for c in ("best",) if c in columns]),
        "n",
    ]
    columns["policy"] = [_fit(n, name_width) for n in names]
    columns[""] = [
        interval_bar(low, mid, high, left, right, bar)
        for low, mid, high in zip(
            board.lower[:shown], board.rating[:shown], board.upper[:shown], strict=True
        )
    ]
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 1)
    )
    for head in order:
        table.add_column(head, justify="left" if head in ("policy", "") else "right", no_wrap=True)
    best = set(board.may_be_best) if has else set()
    for i in range(shown):
        line = board.separable is not None and i < shown - 1 and bool(board.separable[i])
        table.add_row(
            *(Text(columns[c][i]) for c in order),
            style="bold" if board.policies[i] in best else "",
            end_section=line,
        )
    title = Text.assemble((board.method, "bold"), f"  {board.source}  ({board.unit})")
    parts: list[RenderableType] = [title, table]
    if shown < len(board):
        parts.append(Text(f"  … {len(board) - shown} more", style="dim"))
    for note in board.notes:
        mark = NOTE_MARKS[note.severity]
        body = Table.grid(padding=(0, 1))
        body.add_column(width=1)
        body.add_column()
        body.add_row(
            Text(mark, style="yellow bold" if note.severity == "warning" else "dim"),
            Text(_clean(note.text)),
        )
        parts.append(body)
    return Group(*parts)


def _clean(name: str) -> str:
    """A name without line breaks and control characters."""
    return "".join(
        c if c.isprintable() else "�" for c in name.replace("\n", "⏎").replace("\t", " ")
    )


def _fit(name: str, width: int) -> str:
    return name if cell_len(name) <= width else set_cell_size(name, width - 1) + "…"


def _print(item: RenderableType, width: int | None, colour: bool) -> str:
    size = width or min(shutil.get_terminal_size((100, 40)).columns, 120)
    console = Console(
        width=size,
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
    """The board as text for a terminal of ``width`` characters. A gap below a row: it is separable
    from the next.
    """
    size = width or min(shutil.get_terminal_size((100, 40)).columns, 120)
    return _print(renderable(board, top=top, width=size), size, colour)


def markdown(board: Leaderboard) -> str:
    """The board as a Markdown table, with its notes as a list."""

    def safe(name: str) -> str:
        return (
            _clean(name)
            .replace("\\", "\\\\")
            .replace("|", "\\|")
            .replace("<", "&lt;")
            .replace("`", "\\`")
            .replace("*", "\\*")
        )

    step = resolution(board)
    lines = [
        f"| rank | policy | {safe(board.unit)} | {board.level:.0%} interval | ranks | n |",
        "| ---: | :--- | ---: | :---: | :---: | ---: |",
    ]
    for i, policy in enumerate(board.policies):
        interval = (
            f"{number(board.lower[i], step)} … {number(board.upper[i], step)}"
            if np.isfinite(board.lower[i])
            else ""
        )
        lines.append(
            f"| {board.rank[i]} | {safe(policy)} | {number(board.rating[i], step)} | {interval} |"
            f" {rank_set(board, i)} | {board.n[i]:,} |"
        )
    notes = [f"- {safe(n.text)}" for n in board.notes]
    return "\n".join(
        [*lines, "", f"{board.method}, {safe(board.source)}", *([""] if notes else []), *notes]
    )


def comparison_text(
    compared: MethodComparison,
    *,
    top: int | None = None,
    width: int | None = None,
    colour: bool = False,
) -> str:
    """Ranks by all methods, a row a policy, and how far each method agrees with the first."""
    size = width or min(shutil.get_terminal_size((120, 40)).columns, 160)
    shown = len(compared.policies) if top is None else min(top, len(compared.policies))
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 1)
    )
    table.add_column(
        "policy",
        no_wrap=True,
        width=min(max(cell_len(_clean(p)) for p in compared.policies[:shown]), 28),
    )
    for k in range(len(compared.boards)):
        table.add_column(
            chr(ord("a") + k) if k < 26 else f"a{chr(ord('a') + k - 26)}",
            justify="right",
            no_wrap=True,
        )
    table.add_column("ranks", no_wrap=True)
    for i in range(shown):
        low, high = int(compared.ranks[i].min()), int(compared.ranks[i].max())
        table.add_row(
            Text(_fit(_clean(compared.policies[i]), 28)),
            *(Text(str(r)) for r in compared.ranks[i]),
            Text(str(low) if low == high else f"{low}-{high}"),
        )
    legend = Table.grid(padding=(0, 2))
    for k, board in enumerate(compared.boards):
        letter = chr(ord("a") + k) if k < 26 else f"a{chr(ord('a') + k - 26)}"
        tau = compared.agreement[0, k]
        legend.add_row(
            Text(letter, style="bold"),
            Text(board.method),
            Text("tau " + (f"{tau:5.2f}" if np.isfinite(tau) else "    -")),
            Text(f"first: {_clean(board.policies[0])}"),
        )
    parts: list[RenderableType] = [table]
    if shown < len(compared.policies):
        parts.append(Text(f"  … {len(compared.policies) - shown} more", style="dim"))
    parts += [
        Text(""),
        Text("Methods; tau: Kendall's agreement with the first", style="dim"),
        legend,
    ]
    parts += [Text(f"! {name}: {why}") for name, why in compared.failed.items()]
    return _print(Group(*parts), size, colour)


VERDICT_MARKS = {
    "concern": ("!", "yellow bold"),
    "note": ("·", "bold"),
    "fine": ("✓", "green"),
    "unchecked": ("?", "dim"),
}


def findings_text(
    audit: Mapping[str, Any], *, width: int | None = None, colour: bool = False
) -> str:
    """An audit (as its ``to_dict()`` gives it) for a terminal: concerns first, each with how sure
    and what to do.
    """
    size = width or min(shutil.get_terminal_size((100, 40)).columns, 110)
    counts = Counter(f["verdict"] for f in audit["findings"])
    parts: list[RenderableType] = [
        Text.assemble(
            ("audit", "bold"),
            f"  {audit['source']}: "
            + ", ".join(f"{counts[v]} {v}" for v in VERDICT_MARKS if counts[v]),
        ),
        Text(""),
    ]
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(no_wrap=True)
    grid.add_column()
    for f in audit["findings"]:
        mark, style = VERDICT_MARKS[f["verdict"]]
        body = Text(_clean(f["what"]))
        if f["how_sure"]:
            body.append(f" [{f['how_sure']}]", style="dim")
        if f["remedy"]:
            body.append(f"\n→ {_clean(f['remedy'])}")
        grid.add_row(
            Text(mark, style=style),
            Text(f["check"], style="bold" if f["verdict"] == "concern" else ""),
            body,
        )
    return _print(Group(*parts, grid), size, colour)
