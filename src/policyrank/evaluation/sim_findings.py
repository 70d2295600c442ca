"""How the agreement of simulation and reality is told: findings, a table, a plot."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from policyrank.board.plots import ACCENT, INK, LINE, MUTED, save
from policyrank.board.wording import clean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from policyrank.evaluation.sim_measures import Agreement

MARKS = "os^Dv<>P*X"
SHOWN = ("Pearson", "Spearman", "MMRV", "regret@1")


def findings(found: Agreement) -> dict[str, Any]:
    """Findings as an audit has them, with the table."""
    cells = found.cells
    source = (
        f"{len(cells.policies)} policies, {len(cells.tasks)} tasks, {int(cells.both.sum())} cells"
    )
    rows = []
    for (scope,), part in found.frame.group_by("scope", maintain_order=True):
        measured = {row["measure"]: row for row in part.iter_rows(named=True)}
        shown = [_with_interval(measured[name]) for name in SHOWN]
        rows.append((str(scope), str(part["policies"][0]), *shown))
    title = f"Agreement, {found.level:.0%} intervals; of MMRV and regret 0 is best"
    return {
        "source": source,
        "findings": list(_told(found)),
        "tables": [{"title": title, "header": ("", "policies", *SHOWN), "rows": rows}],
        "agreement": found.frame.fill_nan(None).to_dicts(),
        "gap": [_or_none(own) for own in (found.gap, found.gap_lower, found.gap_upper)],
        "ceiling": _or_none(found.ceiling),
        "best": {"simulated": list(found.best_simulated), "real": list(found.best_real)},
    }


def _told(found: Agreement) -> Any:
    yield _picked(found)
    wide = found.frame.filter(measure="Pearson").row(0, named=True)
    order = f"Pearson over {wide['scope']} is {_number(wide['value'])}"
    left = f"{_number(wide['least_left_out'])} to {_number(wide['most_left_out'])}"
    alone = f"with any one policy left out it is {left}"
    if not wide["lower"] > 0:
        yield _row(
            "order",
            "concern",
            f"{order}, and no interval of it lies above 0: this order is not shown to say anything"
            f" about the real one; {alone}.",
            "more policies, or more real trials of each",
        )
    else:
        yield _row("order", "fine", f"{order}, above 0 within its interval; {alone}.")
    gap = f"{found.gap:+.3g} ({found.gap_lower:+.3g} to {found.gap_upper:+.3g})"
    if found.gap_lower > 0 or found.gap_upper < 0:
        which = "higher" if found.gap > 0 else "lower"
        what = f"simulated results are {which} than real ones by {gap} on average."
        yield _row("level", "note", what, "do not read simulated numbers as real ones")
    else:
        yield _row("level", "fine", f"simulated less real results: {gap} on average.")
    if not math.isnan(found.ceiling):
        what = (
            f"the noise of trials alone keeps the real results' correlation with their own true"
            f" values at {found.ceiling:.2f}: a perfect simulation would show no more over all"
            " cells."
        )
        yield _row("noise", "note", what)
    for note in found.notes:
        yield _row("reading", "note", f"{note}.")


def _picked(found: Agreement) -> dict[str, str]:
    """Who is first, by simulation and in reality; task by task where no task has all policies."""
    cells = found.cells
    regret = found.frame.filter(measure="regret@1")
    if found.best_real:
        simulated, real = ", ".join(found.best_simulated), ", ".join(found.best_real)
        if set(found.best_simulated) <= set(found.best_real):
            what = f"simulation and reality both put {simulated} first."
            return _row("the best", "fine", what)
        what = (
            f"simulation puts {simulated} first, reality {real}:"
            f" {_number(regret['value'][0])} of the real result is lost by following it."
        )
        return _row("the best", "concern", what)
    lost = regret.filter(regret["scope"].is_in(cells.tasks))["value"]
    wrong = int((lost > 0).sum())
    what = (
        f"followed task by task, simulation loses {_number(float(np.mean(lost.to_numpy())))} of the"
        f" real result on average, and picks another policy than reality in {wrong} of {len(lost)}"
        " tasks."
    )
    return _row("the best", "concern" if wrong else "fine", what)


def _row(check: str, verdict: str, what: str, remedy: str = "") -> dict[str, str]:
    return {"check": check, "verdict": verdict, "what": what, "remedy": remedy, "how_sure": ""}


def _with_interval(row: dict[str, Any]) -> str:
    interval = ""
    if not math.isnan(row["lower"]):
        interval = f" ({_number(row['lower'])}–{_number(row['upper'])})"
    return f"{_number(row['value'])}{interval}"


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{round(value, 2) + 0.0:.2f}"


def draw(found: Agreement, path: str | Path | None = None, *, title: str | None = None) -> Figure:
    """Simulated against real results, a colour a policy and a mark a task."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cells = found.cells
    figure = Figure(figsize=(6.4, 5.0), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    values = np.concatenate([cells.simulated[cells.both], cells.real[cells.both]])
    low, high = float(values.min()), float(values.max())
    pad = 0.05 * (high - low or 1)
    axes.plot([low - pad, high + pad], [low - pad, high + pad], color=MUTED, linewidth=0.8)
    several = len(cells.tasks) > 1
    for task, name in enumerate(cells.tasks):
        at = cells.both[:, task]
        axes.scatter(
            cells.simulated[at, task],
            cells.real[at, task],
            s=22,
            marker=MARKS[task % len(MARKS)],
            color=ACCENT if task < len(MARKS) else MUTED,
            alpha=0.8,
            linewidths=0,
            label=_short(name),
        )
    if not several:
        for policy, name in enumerate(cells.policies):
            if cells.both[policy, 0]:
                place = float(cells.simulated[policy, 0]), float(cells.real[policy, 0])
                near: dict[str, Any] = {
                    "xytext": (4, 3),
                    "textcoords": "offset points",
                    "parse_math": False,
                }
                axes.annotate(_short(name), place, fontsize=7, color=INK, **near)
    else:
        legend = axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        for text in legend.get_texts():
            text.set_parse_math(False)
    axes.set_xlabel("simulated", fontsize=9)
    axes.set_ylabel("real", fontsize=9)
    axes.grid(color=LINE, linewidth=0.5)
    axes.set_axisbelow(True)
    first = found.frame.filter(measure="Pearson").row(0, named=True)
    heading = title or f"Simulated and real results: Pearson {_number(first['value'])}"
    axes.set_title(heading, loc="left", fontsize=10, color=INK, parse_math=False)
    if path is not None:
        save(figure, path)
    return figure


def _short(name: str, most: int = 28) -> str:
    text = clean(name)
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def svg(found: Agreement) -> str:
    """The plot as markup for a page."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    text = io.StringIO()
    FigureCanvasSVG(draw(found)).print_svg(text, metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
