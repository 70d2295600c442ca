"""Plot of performance profiles (matplotlib)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from policyrank.board.plots import INK, LINE, save
from policyrank.board.wording import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from policyrank.ranking.score_profiles import PerformanceProfiles


def draw_profiles(
    found: PerformanceProfiles,
    path: str | Path | None = None,
    *,
    top: int = 8,
    title: str | None = None,
) -> Figure:
    """The first ``top`` profiles with their bands; written to .png, .svg or .pdf.

    Examples
    --------
    >>> from policyrank.evidence import Scores
    >>> from policyrank.ranking import performance_profiles
    >>> scores = Scores.from_table([[0.2, 0.5], [0.6, 0.9]], ["go", "chess"], ["x", "y"])
    >>> axes = draw_profiles(performance_profiles(scores)).axes[0]
    >>> [text.get_text() for text in axes.get_legend().get_texts()]
    ['y', 'x']
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw(axes, found, min(top, len(found.policies)))
    meaning = f"share of runs {found.better} the threshold"
    if np.isfinite(found.lower).any():
        meaning += f", {found.level:.0%} intervals"
    axes.set_ylabel(meaning)
    axes.set_xlabel("threshold of the score")
    axes.set_ylim(-0.02, 1.02)
    axes.set_title(title or "Performance profiles", loc="left", fontsize=10, parse_math=False)
    axes.grid(color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=9, colors=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if path is not None:
        save(figure, path)
    return figure


def _draw(axes: Axes, found: PerformanceProfiles, shown: int) -> None:
    """A line a policy, and its band."""
    for place in range(shown):
        name = clean(found.policies[place])
        (line,) = axes.plot(found.thresholds, found.share[place], linewidth=1.6, label=name)
        axes.fill_between(
            found.thresholds,
            found.lower[place],
            found.upper[place],
            color=line.get_color(),
            alpha=0.15,
            linewidth=0,
        )
    legend = axes.legend(frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_parse_math(False)
