"""Plots of a leaderboard (matplotlib)."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from policyrank.board.terminal import _clean, rank_set
from policyrank.errors import EvidenceError

if TYPE_CHECKING:
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
    """Ratings with marginal intervals, best first; rank sets at the right; those that may be best
    in colour.

    Parameters
    ----------
    path
        .png, .svg or .pdf to write
    top
        how many policies to show; None: all
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    n = len(board) if top is None else min(top, len(board))
    y = np.arange(n)
    figure = Figure(figsize=(8, 1.4 + 0.27 * n), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    best = set(board.may_be_best)
    colours = [ACCENT if p in best else MUTED for p in board.policies[:n]]
    if np.isfinite(board.lower).any():
        axes.hlines(y, board.lower[:n], board.upper[:n], color=colours, linewidth=2.2)
    axes.scatter(board.rating[:n], y, c=colours, s=26, zorder=3)
    axes.set_yticks(y, [_short(_clean(p)) for p in board.policies[:n]])
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
        label.set_fontfamily(_fonts())
    axes.set_ylim(n - 0.4, -0.6)
    axes.set_xlabel(
        f"{board.unit}, {board.level:.0%} intervals"
        if np.isfinite(board.lower).any()
        else board.unit
    )
    axes.set_title(
        title or f"{board.method}: {board.source}",
        loc="left",
        fontsize=10,
        color=INK,
        parse_math=False,
    )
    axes.grid(axis="x", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=9, colors=INK)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    if board.rank_lower is not None:
        right = axes.secondary_yaxis("right")
        right.set_yticks(y, [rank_set(board, i) for i in range(n)])
        right.tick_params(length=0, labelsize=8, colors=MUTED)
        right.spines["right"].set_visible(False)
        right.set_ylabel("rank set", fontsize=8, color=MUTED)
    if path is not None:
        save(figure, path)
    return figure


def _fonts() -> list[str]:
    """The default font, then those on this machine that know other scripts."""
    from matplotlib import font_manager

    wide = (
        "Noto Sans CJK JP",
        "Noto Sans Hebrew",
        "Noto Sans Arabic",
        "Arial Unicode MS",
        "Microsoft YaHei",
        "PingFang SC",
    )
    known = {f.name for f in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in wide if name in known)]


def save(figure: Figure, path: str | Path, **options: Any) -> None:
    """Write a figure; the ending names the format."""
    if Path(path).suffix.lower() not in (".png", ".svg", ".pdf"):
        raise EvidenceError(f"{path}: a plot is written to .png, .svg or .pdf.")
    with warnings.catch_warnings():
        # A name in a script that no font on this machine has is drawn as boxes; a warning a letter
        # helps nobody.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(path, facecolor="white", **options)


def _short(name: str, most: int = 34) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
