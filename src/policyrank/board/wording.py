"""How names and numbers of a board are written, the same on a terminal, a page and a plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from policyrank.errors import printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from policyrank.board.leaderboard import Leaderboard


def clean(name: str) -> str:
    """A name without line breaks and control characters.

    Examples
    --------
    >>> clean("two\\nlines")
    'two⏎lines'
    """
    on_a_line = name.replace("\n", "⏎").replace("\t", " ")
    return printable(on_a_line)


def number(value: float, step: float) -> str:
    """``value`` with as many decimals as a scale with this step needs.

    Examples
    --------
    >>> number(1234.5678, 0.1), number(0.5, 10.0)
    ('1,234.57', '0')
    """
    if not np.isfinite(value):
        return ""
    decimals = 2
    if step > 0:
        decimals = int(np.clip(np.ceil(-np.log10(max(step, 1e-12))) + 1, 0, 6))
    return f"{value:,.{decimals}f}"


def resolution(board: Leaderboard) -> float:
    """What a printed digit should resolve.

    The size of a typical interval, or of the gaps where there are none.
    """
    half = (board.upper - board.lower) / 2
    half = half[np.isfinite(half) & (half > 0)]
    if len(half):
        return float(np.median(half))
    spread = float(np.ptp(board.rating))
    return spread / max(len(board), 1) / 2


def span(low: int, high: int) -> str:
    """Ranks from ``low`` to ``high``, as ``1-3``; one of them alone as ``1``.

    Examples
    --------
    >>> span(1, 3), span(2, 2)
    ('1-3', '2')
    """
    if low == high:
        return str(low)
    return f"{low}-{high}"


def rank_set(board: Leaderboard, i: int) -> str:
    """The confidence set of a rank, as ``1-3``."""
    if board.rank_lower is None or board.rank_upper is None:
        return ""
    return span(int(board.rank_lower[i]), int(board.rank_upper[i]))


def share(p: float) -> str:
    """A share of draws in percent: never none of them, never all.

    Examples
    --------
    >>> share(0.001), share(0.25), share(0.999)
    ('<1%', '25%', '>99%')
    """
    if p < 0.005:
        return "<1%"
    if p >= 0.995:
        return ">99%"
    return f"{p:.0%}"


def cuts(board: Leaderboard) -> NDArray[np.bool_]:
    """Whether each policy is separable from the next one down: (n,), the last one is not."""
    cut = np.zeros(len(board), dtype=bool)
    if board.separable is not None:
        cut[:-1] = board.separable
    return cut
