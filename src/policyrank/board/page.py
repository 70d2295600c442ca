"""A leaderboard as one self-contained HTML page.

No script, no network; for light and dark, phone and print.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from policyrank.board.wording import clean, cuts, number, rank_set, resolution, share
from policyrank.errors import printable
from policyrank.files import write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from policyrank.board.comparison import MethodComparison
    from policyrank.board.leaderboard import Leaderboard
    from policyrank.evidence import Evidence

MOST_CELLS = 60

VERDICTS = ("concern", "note", "fine", "unchecked")


def html(
    board: Leaderboard,
    path: str | Path | None = None,
    *,
    title: str = "Leaderboard",
    evidence: Evidence | None = None,
    compared: MethodComparison | None = None,
    command: str | None = None,
) -> str:
    """The page as text; written to ``path`` when given.

    Parameters
    ----------
    title
        headline
    evidence
        for the win matrix (Comparisons or Rankings, or Scores, whose tasks then vote)
    compared
        for the agreement of methods
    command
        the command line that made it, for the reader who wants to make it again

    Examples
    --------
    >>> from policyrank.board import make_leaderboard
    >>> import numpy as np
    >>> ratings_of_two = np.array([1.0, 3.0])
    >>> board = make_leaderboard(["old", "new"], ratings_of_two, method="mean", n=np.array([9, 9]))
    >>> page = html(board, title="Arms")
    >>> "<h1>Arms</h1>" in page
    True
    """
    scale = _Scale.of(board)
    shown = min(len(board), MOST_CELLS)
    matrix = agreement = None
    if evidence is not None:
        matrix = _win_matrix(board, evidence, shown)
    if compared is not None:
        agreement = _comparison(compared, shown)
    return filled_page(
        "page.html",
        path,
        title=title,
        command=command,
        board=board,
        rows=_rows(board, scale),
        has_interval=bool(np.isfinite(board.lower).any()),
        axis=_axis(scale, resolution(board)),
        ranks=_rank_table(board, shown),
        matrix=matrix,
        shown=shown,
        compared=agreement,
        settings=_settings(board),
        extras=_single_extras(board),
        coefficients=board.extras.get("coefficients"),
        notes=_notes(board),
    )


def audit_html(
    audit: Mapping[str, Any],
    path: str | Path | None = None,
    *,
    title: str = "Audit",
    command: str | None = None,
) -> str:
    """An audit (as its ``to_dict()`` gives it) as one self-contained page.

    Written to ``path`` when given.

    Examples
    --------
    >>> finding = {"check": "ties", "verdict": "note", "what": "Half are ties.", "remedy": ""}
    >>> audit = {"source": "9 comparisons", "findings": [{**finding, "how_sure": ""}]}
    >>> page = audit_html(audit)
    >>> "Half are ties." in page
    True
    """
    groups: dict[str, list[dict[str, Any]]] = {verdict: [] for verdict in VERDICTS}
    for found in audit["findings"]:
        told = {"what": clean(found["what"]), "remedy": clean(found["remedy"])}
        groups[found["verdict"]].append({**found, **told})
    return filled_page(
        "audit.html",
        path,
        title=title,
        command=command,
        source=audit["source"],
        groups=list(groups.items()),
        tables=audit.get("tables", ()),
        picture=Markup(audit.get("picture", "")),
    )


def _shown(value: Any) -> Any:
    """A text as a page can hold it; markup of ours stays."""
    return printable(value) if type(value) is str else value


def filled_page(template: str, path: str | Path | None, **parts: Any) -> str:
    """The filled template, written to ``path`` when given."""
    environment = Environment(
        loader=PackageLoader("policyrank.board"),
        autoescape=select_autoescape(default=True),
        finalize=_shown,
    )
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    version = metadata.version("policyrank")
    page = environment.get_template(template).render(version=version, made=made, **parts)
    if path is not None:
        write_text(path, page)
    return page


@dataclass(frozen=True)
class _Scale:
    """Where ratings stand across the page: ``left`` at 0%, ``left + width`` at 100%."""

    left: float
    width: float

    @classmethod
    def of(cls, board: Leaderboard) -> _Scale:
        """Wide enough for every interval, and a little more."""
        lower, upper = _ends(board)
        left, right = float(lower.min()), float(upper.max())
        width = right - left or 1.0
        return cls(left - 0.02 * width, width * 1.04)

    def place(self, value: float) -> float:
        return round(100 * (value - self.left) / self.width, 2)


def _ends(board: Leaderboard) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both ends of each interval, the rating where there is none."""
    lower = np.where(np.isfinite(board.lower), board.lower, board.rating)
    upper = np.where(np.isfinite(board.upper), board.upper, board.rating)
    return lower, upper


def _rows(board: Leaderboard, scale: _Scale) -> list[dict[str, Any]]:
    """What the page's table and bars show of each policy."""
    step = resolution(board)
    lower, upper = _ends(board)
    cut = cuts(board)
    best: set[str] = set()
    if board.rank_lower is not None:
        best = set(board.may_be_best)
    chances = [""] * len(board)
    if board.probability_best is not None:
        chances = [share(float(p)) for p in board.probability_best]
    rows = []
    for i, policy in enumerate(board.policies):
        row = {
            "rank": int(board.rank[i]),
            "policy": clean(policy),
            "rating": number(board.rating[i], step),
            "low": number(board.lower[i], step),
            "high": number(board.upper[i], step),
            "ranks": rank_set(board, i),
            "n": f"{board.n[i]:,}",
            "x0": scale.place(lower[i]),
            "x1": scale.place(upper[i]),
            "x": scale.place(board.rating[i]),
            "best": policy in best,
            "probability": chances[i],
            "cut": bool(cut[i]),
        }
        rows.append(row)
    return rows


def _axis(scale: _Scale, step: float) -> list[dict[str, Any]]:
    """Round ratings below the bars, and where they stand."""
    marks = []
    for value in _ticks(scale.left, scale.left + scale.width):
        label = number(value + 0.0, step * 10).replace("-0.0", "0.0")
        marks.append({"x": scale.place(value), "label": label})
    return marks


def _ticks(left: float, right: float) -> NDArray[np.float64]:
    raw = (right - left) / 5
    power = 10.0 ** np.floor(np.log10(raw))
    step = power * min((m for m in (1, 2, 5, 10) if m * power >= raw), default=10)
    return np.arange(np.ceil(left / step), np.floor(right / step) + 1) * step


def _settings(board: Leaderboard) -> list[tuple[str, Any]]:
    """The method's options that were given."""
    given = []
    for name, value in board.settings.items():
        if value is not None:
            given.append((name, value))
    return given


def _single_extras(board: Leaderboard) -> list[tuple[str, Any]]:
    """Further results that are one number or word."""
    single = []
    for name, value in board.extras.items():
        plain = isinstance(value, (int, float, str))
        if plain or (np.ndim(value) == 0 and not isinstance(value, dict)):
            single.append((name, value))
    return single


def _notes(board: Leaderboard) -> list[dict[str, str]]:
    """Warnings first."""
    ordered = sorted(board.notes, key=lambda note: note.severity != "warning")
    notes = []
    for note in ordered:
        notes.append({"text": clean(note.text), "severity": note.severity})
    return notes


def _rank_table(board: Leaderboard, shown: int) -> list[dict[str, Any]] | None:
    """How often each policy takes each rank; ``a`` is how dark the cell is, in [0, 1]."""
    if board.rank_probability is None:
        return None
    table = []
    for policy, row in zip(board.policies[:shown], board.rank_probability, strict=False):
        cells = []
        for p in row[:shown]:
            shown_share = share(float(p)) if p >= 0.005 else ""
            cells.append({"p": shown_share, "a": round(float(np.sqrt(p)), 3)})
        table.append({"policy": clean(policy), "cells": cells})
    return table


def _win_matrix(board: Leaderboard, evidence: Evidence, shown: int) -> list[dict[str, Any]]:
    """Who beats whom, in percent."""
    from policyrank.evidence import Scores

    used = evidence
    if isinstance(used, Scores):
        used = used.to_rankings()
    names = board.policies[:shown]
    where = [used.policies.index(name) for name in names]
    wins = used.preferences()[np.ix_(where, where)]
    rows = []
    for i, name in enumerate(names):
        cells = []
        for j, other in enumerate(names):
            between = f"{clean(name)} against {clean(other)}"
            cells.append(_win_cell(between, wins[i, j], wins[i, j] + wins[j, i], i == j))
        rows.append({"policy": clean(name), "cells": cells})
    return rows


def _win_cell(between: str, won: float, played: float, same: bool) -> dict[str, Any]:
    if same or played == 0:
        return {"p": "", "a": 0.0, "win": True, "title": ""}
    rate = won / played
    return {
        "p": f"{100 * rate:.0f}",
        "a": round(abs(2 * rate - 1) ** 0.8, 3),
        "win": bool(rate >= 0.5),
        "title": f"{between}: {won:g} of {played:g}",
    }


def _comparison(compared: MethodComparison, shown: int) -> dict[str, Any]:
    """Ranks by each method, and how far the methods agree."""
    most = max(len(compared.policies) - 1, 1)
    rows = []
    for policy, ranks in zip(compared.policies[:shown], compared.ranks, strict=False):
        cells = [{"rank": int(rank), "a": round(1 - (rank - 1) / most, 3)} for rank in ranks]
        rows.append({"policy": clean(policy), "cells": cells})
    agreement = []
    for method, taus in zip(compared.methods, compared.agreement, strict=True):
        agreement.append({"method": method, "cells": [_tau_cell(tau) for tau in taus]})
    return {
        "methods": compared.methods,
        "rows": rows,
        "agreement": agreement,
        "failed": compared.failed,
    }


def _tau_cell(tau: float) -> dict[str, Any]:
    if not np.isfinite(tau):
        return {"tau": "", "a": 0.0}
    return {"tau": f"{tau:.2f}", "a": round(max(tau, 0) ** 2, 3)}
