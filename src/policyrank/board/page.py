"""A leaderboard as one self-contained HTML page: no script, no network, light and dark, phone and
print.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape

from policyrank.board.terminal import _clean, number, rank_set, resolution, share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from policyrank.board.comparison import MethodComparison
    from policyrank.board.leaderboard import Leaderboard
    from policyrank.evidence import Evidence

MOST_CELLS = 60


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
    """
    environment = Environment(
        loader=PackageLoader("policyrank.board"), autoescape=select_autoescape(default=True)
    )
    step = resolution(board)
    lows, highs = (
        np.where(np.isfinite(board.lower), board.lower, board.rating),
        np.where(np.isfinite(board.upper), board.upper, board.rating),
    )
    left, right = float(lows.min()), float(highs.max())
    span = right - left or 1.0
    left, span = left - 0.02 * span, span * 1.04

    def place(v: float) -> float:
        return round(100 * (v - left) / span, 2)

    best = set(board.may_be_best) if board.rank_lower is not None else set()
    rows = [
        {
            "rank": int(board.rank[i]),
            "policy": _clean(policy),
            "rating": number(board.rating[i], step),
            "low": number(board.lower[i], step),
            "high": number(board.upper[i], step),
            "ranks": rank_set(board, i),
            "n": f"{board.n[i]:,}",
            "x0": place(lows[i]),
            "x1": place(highs[i]),
            "x": place(board.rating[i]),
            "best": policy in best,
            "probability": (
                "" if board.probability_best is None else share(float(board.probability_best[i]))
            ),
            "cut": board.separable is not None and i < len(board) - 1 and bool(board.separable[i]),
        }
        for i, policy in enumerate(board.policies)
    ]
    shown = min(len(board), MOST_CELLS)
    page = environment.get_template("page.html").render(
        title=title,
        board=board,
        rows=rows,
        has_interval=bool(np.isfinite(board.lower).any()),
        axis=[
            {"x": place(v), "label": number(v + 0.0, step * 10).replace("-0.0", "0.0")}
            for v in _ticks(left, left + span)
        ],
        ranks=_rank_table(board, shown),
        matrix=_win_matrix(board, evidence, shown) if evidence is not None else None,
        shown=shown,
        compared=_comparison(compared, shown) if compared is not None else None,
        settings=[(k, v) for k, v in board.settings.items() if v is not None],
        extras=[
            (k, v)
            for k, v in board.extras.items()
            if isinstance(v, (int, float, str)) or (np.ndim(v) == 0 and not isinstance(v, dict))
        ],
        coefficients=board.extras.get("coefficients"),
        notes=[
            {"text": _clean(n.text), "severity": n.severity}
            for n in sorted(board.notes, key=lambda n: n.severity != "warning")
        ],
        command=command,
        version=metadata.version("policyrank"),
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    if path is not None:
        Path(path).write_text(page, encoding="utf-8")
    return page


def audit_html(
    audit: Mapping[str, Any],
    path: str | Path | None = None,
    *,
    title: str = "Audit",
    command: str | None = None,
) -> str:
    """An audit (as its ``to_dict()`` gives it) as one self-contained page; written to ``path`` when
    given.
    """
    environment = Environment(
        loader=PackageLoader("policyrank.board"), autoescape=select_autoescape(default=True)
    )
    findings = [
        {**f, "what": _clean(f["what"]), "remedy": _clean(f["remedy"])} for f in audit["findings"]
    ]
    page = environment.get_template("audit.html").render(
        title=title,
        source=audit["source"],
        groups=[
            (v, [f for f in findings if f["verdict"] == v])
            for v in ("concern", "note", "fine", "unchecked")
        ],
        command=command,
        version=metadata.version("policyrank"),
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    if path is not None:
        Path(path).write_text(page, encoding="utf-8")
    return page


def _ticks(left: float, right: float) -> NDArray[np.float64]:
    raw = (right - left) / 5
    power = 10.0 ** np.floor(np.log10(raw))
    step = power * min((m for m in (1, 2, 5, 10) if m * power >= raw), default=10)
    return np.arange(np.ceil(left / step), np.floor(right / step) + 1) * step


def _rank_table(board: Leaderboard, shown: int) -> list[dict[str, Any]] | None:
    if board.rank_probability is None:
        return None
    p = board.rank_probability[:shown, :shown]
    return [
        {
            "policy": _clean(board.policies[i]),
            "cells": [{"p": share(float(v)), "a": round(float(np.sqrt(v)), 3)} for v in row],
        }
        for i, row in enumerate(p)
    ]


def _win_matrix(board: Leaderboard, evidence: Evidence, shown: int) -> list[dict[str, Any]]:
    from policyrank.evidence import Scores

    used = evidence.to_rankings() if isinstance(evidence, Scores) else evidence
    where = [used.policies.index(p) for p in board.policies[:shown]]
    wins = used.preferences()[np.ix_(where, where)]
    total = wins + wins.T
    out = []
    for i in range(shown):
        cells = []
        for j in range(shown):
            if i == j or total[i, j] == 0:
                cells.append({"p": "", "a": 0.0, "win": True, "title": ""})
                continue
            rate = wins[i, j] / total[i, j]
            title = (
                f"{_clean(board.policies[i])} against {_clean(board.policies[j])}: {wins[i, j]:g}"
                f" of {total[i, j]:g}"
            )
            cells.append(
                {
                    "p": f"{100 * rate:.0f}",
                    "a": round(abs(2 * rate - 1) ** 0.8, 3),
                    "win": bool(rate >= 0.5),
                    "title": title,
                }
            )
        out.append({"policy": _clean(board.policies[i]), "cells": cells})
    return out


def _comparison(compared: MethodComparison, shown: int) -> dict[str, Any]:
    n = len(compared.policies)
    return {
        "methods": compared.methods,
        "rows": [
            {
                "policy": _clean(compared.policies[i]),
                "cells": [
                    {"rank": int(r), "a": round(1 - (r - 1) / max(n - 1, 1), 3)}
                    for r in compared.ranks[i]
                ],
            }
            for i in range(min(shown, n))
        ],
        "agreement": [
            {
                "method": m,
                "cells": [
                    {
                        "tau": "" if not np.isfinite(t) else f"{t:.2f}",
                        "a": 0.0 if not np.isfinite(t) else round(max(t, 0) ** 2, 3),
                    }
                    for t in row
                ],
            }
            for m, row in zip(compared.methods, compared.agreement, strict=True)
        ],
        "failed": compared.failed,
    }
