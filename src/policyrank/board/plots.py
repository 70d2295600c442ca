"""Plots of a leaderboard (matplotlib)."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from policyrank.board.wording import clean, rank_set
from policyrank.errors import EvidenceError
from policyrank.files import written

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from policyrank.board.leaderboard import Leaderboard

INK, LINE, ACCENT, MUTED = "#1f2328", "#d0d7de", "#0b6bcb", "#8c959f"


def ratings(
    board: Leaderboard,
    path: str | Path | None = None,
    *,
    top: int | None = 40,
    title: str | None = None,
) -> Figure:
    """Ratings with marginal intervals, best first.

    Rank sets stand at the right; those that may be best are coloured.

    Parameters
    ----------
    path
        .png, .svg or .pdf to write
    top
        how many policies to show; None: all
    title
        above the plot; None: the method and the source

    Examples
    --------
    >>> from policyrank.board import make_leaderboard
    >>> ratings_of_two = np.array([1.0, 3.0])
    >>> board = make_leaderboard(["old", "new"], ratings_of_two, method="mean", n=np.array([9, 9]))
    >>> [label.get_text() for label in ratings(board).axes[0].get_yticklabels()]
    ['new', 'old']
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = len(board)
    if top is not None:
        shown = min(top, shown)
    figure = Figure(figsize=(8, 1.4 + 0.27 * shown), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw_intervals(axes, board, shown)
    _name_policies(axes, board, shown)
    if not title:
        title = f"{board.method}: {board.source}"
    axes.set_title(title, loc="left", fontsize=10, color=INK, parse_math=False)
    axes.grid(axis="x", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=9, colors=INK)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    if board.rank_lower is not None:
        _name_rank_sets(axes, board, shown)
    if path is not None:
        save(figure, path)
    return figure


def _draw_intervals(axes: Axes, board: Leaderboard, shown: int) -> None:
    """A point a policy, and a line where there is an interval."""
    places = np.arange(shown)
    first = np.isin(board.policies[:shown], board.may_be_best)
    colours = np.where(first, ACCENT, MUTED).tolist()
    meaning = board.unit
    if np.isfinite(board.lower).any():
        lower, upper = board.lower[:shown], board.upper[:shown]
        axes.hlines(places, lower, upper, color=colours, linewidth=2.2)
        meaning = f"{board.unit}, {board.level:.0%} intervals"
    axes.scatter(board.rating[:shown], places, c=colours, s=26, zorder=3)
    axes.set_xlabel(meaning)


def _name_policies(axes: Axes, board: Leaderboard, shown: int) -> None:
    names = [_short(clean(name)) for name in board.policies[:shown]]
    axes.set_yticks(np.arange(shown), names)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
        label.set_fontfamily(_fonts())
    axes.set_ylim(shown - 0.4, -0.6)


def _name_rank_sets(axes: Axes, board: Leaderboard, shown: int) -> None:
    right = axes.secondary_yaxis("right")
    ranks = [rank_set(board, i) for i in range(shown)]
    right.set_yticks(np.arange(shown), ranks)
    right.tick_params(length=0, labelsize=8, colors=MUTED)
    right.spines["right"].set_visible(False)
    right.set_ylabel("rank set", fontsize=8, color=MUTED)


WIDE_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans Hebrew",
    "Noto Sans Arabic",
    "Arial Unicode MS",
    "Microsoft YaHei",
    "PingFang SC",
)
"""Fonts that know other scripts than the Latin one."""


def _fonts() -> list[str]:
    """The default font, then those on this machine that know other scripts."""
    from matplotlib import font_manager

    known = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in WIDE_FONTS if name in known)]


def save(figure: Figure, path: str | Path, **options: Any) -> None:
    """Write a figure; the ending names the format."""
    if Path(path).suffix.lower() not in (".png", ".svg", ".pdf"):
        raise EvidenceError(f"{path}: a plot is written to .png, .svg or .pdf.")
    with warnings.catch_warnings():
        # Names in a script that no font here has are boxes; a warning a letter helps nobody.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        with written(path) as part:
            figure.savefig(part, facecolor="white", **options)


def _short(name: str, most: int = 34) -> str:
    if len(name) <= most:
        return name
    return name[: most - 1] + "…"
