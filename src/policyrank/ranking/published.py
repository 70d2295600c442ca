"""Standard errors and intervals that came with the scores: of the mean over tasks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from policyrank.board.leaderboard import Leaderboard
from policyrank.evidence import Scores

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PublishedErrors:
    """What was published of the errors of each policy's mean.

    Attributes
    ----------
    policies
        names
    mean, variance
        (policies,), of the mean over tasks, errors of tasks taken as independent
    ends
        (policies, 2), the published 95% interval, where there is one task; NaN: not known
    text
        a sentence on it
    """

    policies: tuple[str, ...]
    mean: Float
    variance: Float
    ends: Float
    text: str

    def with_own_ends(self, board: Leaderboard) -> Leaderboard:
        """The board with the published ends as they are, at the level that they hold for."""
        if board.level != 0.95:
            return board
        place = [self.policies.index(name) for name in board.policies]
        ends = self.ends[place]
        known = ~np.isnan(ends).any(axis=1)
        return replace(
            board,
            lower=np.where(known, ends[:, 0], board.lower),
            upper=np.where(known, ends[:, 1], board.upper),
        )


def published_errors(evidence: Scores) -> PublishedErrors | None:
    """The published errors, where every score of the table has one.

    The variance of a mean over T tasks is the sum of the squared standard errors over T squared.

    Examples
    --------
    >>> import polars as pl
    >>> frame = pl.DataFrame({"model": ["x", "y"], "acc": [0.8, 0.6], "acc_stderr": [0.1, 0.2]})
    >>> published_errors(Scores.from_frame(frame)).variance.round(3)
    array([0.01, 0.04])
    """
    found = evidence.published()
    if found is None:
        return None
    stderr, ends = found
    if np.isnan(stderr).any():
        return None
    tasks = len(stderr)
    text = "Intervals are those published with the scores."
    if tasks > 1:
        ends = np.full((tasks, len(evidence.policies), 2), np.nan)
        text = (
            "Intervals are of the standard errors published with the scores: the tasks are all that"
            " counts, and their errors are taken as independent."
        )
    variance = (stderr**2).sum(axis=0) / tasks**2
    return PublishedErrors(
        evidence.policies, evidence.table().mean(axis=0), variance, ends[0], text
    )
