"""Errors of models of paired comparisons: what is independent, and the kinds of interval."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from policyrank.board.intervals import MANY, Seed
from policyrank.board.leaderboard import Note, Severity
from policyrank.errors import OptionError
from policyrank.evidence import Comparisons
from policyrank.evidence.comparisons import Unit
from policyrank.ranking.cells import Cells
from policyrank.ranking.conventions import WEAK_PRIOR
from policyrank.ranking.likelihood import DENSE_LIMIT, Fit
from policyrank.ranking.links import Link
from policyrank.ranking.resampling import bootstrap_fits
from policyrank.ranking.robust_errors import Sandwich, Units, sandwich

Float = NDArray[np.float64]
Cluster = Literal["auto", "ballot", "rater", "task", "none"]
CLUSTERS = get_args(Cluster)

FEW_DF = 4
"""Degrees of freedom below which a board says that it rests on few clusters."""

FEW_COMPARISONS = 20
"""Comparisons a policy below which the bootstrap covers too rarely."""

FEW_TO_DRAW = 50
"""Clusters below which drawing them with replacement covers too rarely."""


def cluster_by(evidence: Comparisons, cluster: str | None, notes: list[Note]) -> Unit | None:
    """What is taken as independent, as told or as the comparisons know; None: each comparison."""
    if cluster not in (None, *CLUSTERS):
        raise OptionError(f"cluster={cluster!r}: use {', '.join(map(repr, CLUSTERS))}.")
    if cluster in (None, "none"):
        return None
    if cluster != "auto":
        return cast(Unit, cluster)
    raters = 0 if evidence.rater is None else len(evidence.rater.names)
    if evidence.unit is None and raters > 1:
        text = (
            f"{raters} raters are taken as all that count, and their verdicts as independent:"
            " intervals say nothing of other raters. cluster='rater' (--cluster rater) takes them"
            " as a sample."
        )
        notes.append(Note("few raters", text))
    return evidence.unit


def interval_kind(
    interval: str, cells: Cells, by: str | None, *, with_prior: bool, notes: list[Note]
) -> str:
    """The kind of interval that can be had."""
    if interval == "none":
        return interval
    units = Units.of(cells).number
    if interval == "auto":
        interval = "fisher" if with_prior and by is None else "sandwich"
        if by is not None and units < 2:
            text = f"All comparisons come from one {by}: nothing is known of others, no intervals."
            notes.append(Note("no intervals", text, "warning"))
            return "none"
    if interval == "bootstrap" and by is not None and units < FEW_TO_DRAW:
        raise OptionError(
            f"interval='bootstrap': drawing {units:.0f} {by}s with replacement covers too rarely"
            f" (fewer than {FEW_TO_DRAW}). Use interval='sandwich'."
        )
    if cells.size > DENSE_LIMIT:
        text = f"Intervals are left out beyond {DENSE_LIMIT:,} policies."
        notes.append(Note("no intervals", text, "warning"))
        return "none"
    return interval


@dataclass(frozen=True, eq=False)
class PairedErrors:
    """What is known of the errors of a board's ratings, in its unit; of coefficients in theirs."""

    covariance: Float | None = None
    draws: Float | None = None
    df: Float | None = None
    of_coefficients: Float | None = None
    df_of_coefficients: Float | None = None


def scaled(
    covariance: Float, cells: Cells, unit: float, *, centred: bool, df: Float | None = None
) -> PairedErrors:
    """Of a covariance of parameters: that of the ratings in the board's unit, and the rest."""
    n, k = cells.size, cells.x.shape[1]
    of_coefficients = np.sqrt(covariance.diagonal()[n : n + k])
    ratings = _centred(covariance[:n, :n]) if centred else covariance[:n, :n].copy()
    ratings *= unit**2
    return PairedErrors(ratings, None, df, of_coefficients)


def robust(
    cells: Cells,
    link: Link,
    fit: Fit,
    unit: float,
    by: str | None,
    notes: list[Note],
    *,
    centred: bool,
) -> PairedErrors:
    """Errors that do not trust the model, by cluster or by comparison."""
    found = sandwich(cells, link, fit, centred=centred)
    if by is not None:
        notes.append(_cluster_note(by, found))
    errors = scaled(found.covariance, cells, unit, centred=centred, df=found.df)
    return replace(errors, df_of_coefficients=found.df_of_covariates)


def _cluster_note(by: str, found: Sandwich) -> Note:
    """How many clusters the intervals rest on."""
    text = f"Comparisons of one {by} are taken as dependent: {found.clusters:,.0f} {by}s"
    if found.effective < 0.9 * found.clusters:
        text += f", as good as {found.effective:.1f} of one size"
    told = np.array([np.inf]) if found.df is None else found.df.diagonal()
    typical = float(np.median(np.nan_to_num(told, nan=1.0)))
    few = typical < FEW_DF - 1e-6
    if found.largest > 0.5:
        text += f"; one has {found.largest:.0%} of the comparisons"
    if few:
        text += f". Intervals rest on few {by}s ({typical:.1f} degrees of freedom) and are wide"
    severity: Severity = "warning" if few or found.largest > 0.5 else "info"
    return Note("clusters", text + ".", severity)


def _centred(covariance: Float) -> Float:
    """Of the ratings less their mean: C cov C with C = I - 1/n; of thousands in place."""
    n = len(covariance)
    if n <= MANY:
        centre = np.eye(n) - 1 / n
        return centre @ covariance @ centre
    mean = covariance.mean(axis=0)
    covariance -= mean
    covariance -= (mean - mean.mean())[:, None]
    return covariance


def bootstrapped(
    cells: Cells,
    link: Link,
    fit: Fit,
    resamples: int,
    seed: Seed,
    notes: list[Note],
    unit: float,
    *,
    centred: bool,
) -> PairedErrors:
    n, k = cells.size, cells.x.shape[1]
    refits, weak = bootstrap_fits(
        cells, link, fit, resamples=resamples, seed=seed, weak_prior=WEAK_PRIOR
    )
    if cells.count.sum() < FEW_COMPARISONS * n:
        text = (
            f"Resamples of {cells.count.sum():,.0f} comparisons of {n} policies cover about 92%"
            " where 95% is said; interval='sandwich' covers."
        )
        notes.append(Note("few units", text, "warning"))
    if weak:
        text = f"{weak} of {resamples} resamples had no finite maximum and got the weak prior."
        notes.append(Note("weak resamples", text, "warning"))
    draws = refits[:, :n] - fit.theta
    if centred:
        draws = draws @ (np.eye(n) - 1 / n)
    draws = draws * unit
    # Normal intervals with the bootstrap's covariance: with few battles its percentiles cover too
    # rarely.
    covariance = np.asarray(np.cov(draws, rowvar=False), dtype=np.float64)
    of_coefficients = np.std(refits[:, n : n + k], axis=0, ddof=1)
    return PairedErrors(covariance, draws, None, of_coefficients)
