"""Boards of several methods on the same evidence, side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from policyrank.board.leaderboard import Leaderboard


@dataclass(frozen=True, eq=False)
class MethodComparison:
    """Boards of several methods on the same evidence.

    Attributes
    ----------
    boards
        the boards, the default method first
    policies
        in the order of the first board
    ranks
        int (policies, methods)
    agreement
        (methods, methods), Kendall's tau-b between ratings
    failed
        why a method has no board, by name

    Examples
    --------
    >>> from policyrank.board import make_leaderboard
    >>> two, n = ["old", "new"], np.array([9, 9])
    >>> mean = make_leaderboard(two, np.array([1.0, 3.0]), method="mean", n=n)
    >>> median = make_leaderboard(two, np.array([2.0, 1.0]), method="median", n=n)
    >>> ranks, agreement = np.array([[1, 2], [2, 1]]), np.array([[1.0, -1.0], [-1.0, 1.0]])
    >>> MethodComparison((mean, median), mean.policies, ranks, agreement, {}).frame.rows()
    [('new', 1, 2), ('old', 2, 1)]
    """

    boards: tuple[Leaderboard, ...]
    policies: tuple[str, ...]
    ranks: NDArray[np.int64]
    agreement: NDArray[np.float64]
    failed: dict[str, str]

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(board.method for board in self.boards)

    @property
    def frame(self) -> pl.DataFrame:
        """policy, then the rank by each method."""
        ranks = dict(zip(self.methods, self.ranks.T, strict=True))
        return pl.DataFrame({"policy": list(self.policies), **ranks})
