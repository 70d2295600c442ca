"""What a careful reader is told of errors that rest on clusters."""

from __future__ import annotations

import numpy as np

from policyrank.board.clusters import ClusteredMean
from policyrank.board.leaderboard import Note

FEW_DF = 4.0
"""Degrees of freedom below which an interval rests on few clusters."""


def cluster_notes(errors: ClusteredMean, df: float) -> list[Note]:
    """How many clusters there are, how unequal, and which t is taken.

    Parameters
    ----------
    errors
        of means over clusters
    df
        the fewest degrees of freedom of any interval; NaN: none

    Examples
    --------
    >>> from policyrank.board.clusters import clustered_mean
    >>> print(*cluster_notes(clustered_mean([[1], [2], [3]], [1, 1, 1]), np.nan))
    All rows lie in one cluster: nothing is known of the errors, so no intervals.
    """
    if not np.isfinite(df):
        text = "All rows lie in one cluster: nothing is known of the errors, so no intervals."
        return [Note("clusters", text, "warning")]
    text = (
        f"{errors.clusters} clusters, which tell as much as {errors.effective:.1f} of one size:"
        f" Student's t with {df:.1f} degrees of freedom or more."
    )
    if errors.largest > 0.5:
        text += f" One of them holds {errors.largest:.0%} of the rows."
    few = df < FEW_DF or errors.largest > 0.5
    return [Note("clusters", text, "warning" if few else "info")]
