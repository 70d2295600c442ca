"""Trials at several sites: their rows, and what is learned from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import EvidenceError

Float = NDArray[np.float64]
Rows = tuple[Float, Float]
"""Covariates (rows, d) and outcomes (rows,)."""

Predict = Callable[[Float], Float]


@dataclass(frozen=True, eq=False)
class Trial:
    """One site: covariates (rows, d), treated (rows,) 0 or 1, outcome (rows,)."""

    x: Float
    treated: NDArray[np.int64]
    outcome: Float

    def __post_init__(self) -> None:
        n = len(self.x)
        if len(self.treated) != n or len(self.outcome) != n:
            raise EvidenceError(
                f"{n} rows of covariates, {len(self.treated)} treatments, {len(self.outcome)}"
                " outcomes."
            )
        if not np.isin(self.treated, (0, 1)).all():
            raise EvidenceError("treated is 0 or 1 in each row.")
        if not (np.isfinite(self.x).all() and np.isfinite(self.outcome).all()):
            raise EvidenceError(
                "covariates and outcomes are finite numbers; leave incomplete rows out."
            )

    def arm(self, a: int) -> tuple[Float, Float]:
        """Covariates and outcomes of those treated so."""
        own = self.treated == a
        return self.x[own], self.outcome[own]


def stacked(tables: Sequence[Rows]) -> Rows:
    """Covariates and outcomes of several tables, one after the other."""
    covariates, outcomes = zip(*tables, strict=True)
    return np.vstack(covariates), np.concatenate(outcomes)


def arms_of(trials: Sequence[Trial], arm: int) -> list[Rows]:
    """The rows of one arm of each trial."""
    return [trial.arm(arm) for trial in trials]


def all_rows_of(trials: Sequence[Trial]) -> Trial:
    """All rows of several trials as one."""
    if not trials:
        raise EvidenceError("there are no source trials.")
    widths = sorted({trial.x.shape[1] for trial in trials})
    if len(widths) > 1:
        raise EvidenceError(f"trials of {widths[0]} and {widths[-1]} covariates: give the same.")
    return Trial(
        np.concatenate([trial.x for trial in trials]),
        np.concatenate([trial.treated for trial in trials]),
        np.concatenate([trial.outcome for trial in trials]),
    )


def difference(treated: Predict, control: Predict) -> Predict:
    """The effect: outcomes of the treated less those of the others."""
    return lambda z: np.asarray(treated(z) - control(z))
