"""Plot of the signals of a log (matplotlib)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from policyrank.board.plots import ACCENT, INK, LINE, MUTED, save
from policyrank.board.wording import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from policyrank.train.collapsing import CollapseReport

ALARM = "#c0392b"
COLUMNS = 3


def draw_signals(
    report: CollapseReport, path: str | Path | None = None, *, title: str | None = None
) -> Figure:
    """A panel a signal: its values, the median of the first, and a line where it was said."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(report.log.values)
    rows = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(9, 0.7 + 1.9 * rows), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True).ravel()
    for name, axes in zip(names, panels, strict=False):
        _draw(axes, report, name)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    heading = title or f"Signals of collapse: {clean(report.log.name)}"
    figure.suptitle(heading, x=0.01, ha="left", fontsize=10, color=INK, parse_math=False)
    if path is not None:
        save(figure, path)
    return figure


def _draw(axes: Axes, report: CollapseReport, name: str) -> None:
    steps, values = np.array(report.log.steps), np.array(report.log.values[name], dtype=float)
    there = np.isfinite(values)
    axes.plot(steps[there], values[there], color=ACCENT, linewidth=1.0)
    start = report.starts.get(name, np.nan)
    if np.isfinite(start):
        axes.axhline(start, color=MUTED, linewidth=0.8, linestyle=":")
    said = [alarm.step for alarm in report.alarms if alarm.signal == name]
    for step in said:
        axes.axvline(step, color=ALARM, linewidth=1.2)
    label = f"{name}: said at {said[0]:g}" if said else name
    colour = ALARM if said else INK
    axes.set_title(label, loc="left", fontsize=8, color=colour, parse_math=False)
    axes.grid(color=LINE, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=7, colors=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
