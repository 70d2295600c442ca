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
