"""Which estimate of effects is best to treat by: ranking quality and value of any number of them on
one trial or log, with simultaneous intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyrank.board.assembly import make_leaderboard
from policyrank.board.clusters import ClusteredMean, clustered_mean
from policyrank.board.intervals import Seed
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.errors import EvidenceError
from policyrank.evaluation.dependence import cluster_notes
from policyrank.metrics.effects import Targeting

Float = NDArray[np.float64]
Statistic = Callable[[Float, Float, Float], tuple[float, Float]]
"""Estimates, scores, weights (rows,) -> the statistic, and each row's influence on it."""


def _autoc(estimate: Float, score: Float, weight: Float) -> tuple[float, Float]:
    """AUTOC, and its derivative by each row's weight times the total weight.

    With S and C the sums of w y and w up to a place and W all weight, AUTOC is sum w S / C / W less
    the mean. A row adds S / C of its own place and y / C - S / C^2 at all places from there on.
    """
    ranked = Targeting.of(estimate, score, weight)
    reached = np.maximum(ranked.reached, 1e-300)
    mean_so_far = ranked.gained / reached
    onward = _from_here_on(ranked.weight / reached)
    pulled = _from_here_on(ranked.weight * mean_so_far / reached)
    value = ranked.autoc()
    influence = ranked.shared(mean_so_far - pulled) + score * ranked.shared(onward)
    return value, influence - (value + ranked.mean) - (score - ranked.mean)


def _qini(estimate: Float, score: Float, weight: Float) -> tuple[float, Float]:
    """Area between gains and random order, and its derivative by each row's weight times W.

    It is (sum w S - m sum w C) / W^2 with the mean m.
    """
    ranked = Targeting.of(estimate, score, weight)
    total, later = ranked.weight.sum(), ranked.shared(_from_here_on(ranked.weight))
    gains = ranked.shared(ranked.gained) + score * later
    chance = ranked.mean * (ranked.shared(ranked.reached) + later)
    moved = (score - ranked.mean) * float(ranked.weight @ ranked.reached) / total
    value = ranked.gain_area()
    return value, (gains - chance - moved) / total - 2 * value


def _value(estimate: Float, score: Float, weight: Float) -> tuple[float, Float]:
    gain = score * (estimate > 0)
    value = float(np.average(gain, weights=weight))
    return value, gain - value


def _from_here_on(values: Float) -> Float:
    return np.asarray(values[::-1].cumsum()[::-1])


STATISTICS: dict[str, tuple[Statistic, str]] = {
    "autoc": (_autoc, "mean effect among the best share, less the mean effect"),
    "qini": (_qini, "area between gains and random order"),
    "value": (_value, "mean outcome gained over treating nobody"),
}

FEW_PLACES = 100
"""Independent rows below which AUTOC's intervals fall short."""


def rank_effects(
    estimates: Mapping[str, ArrayLike],
    scores: ArrayLike,
    statistic: str = "autoc",
    *,
    weight: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
    level: float = 0.95,
    seed: Seed = 0,
) -> Leaderboard:
    """Estimates of effects, ranked on the same rows.

    Rows of equal estimate share their places: their scores are averaged, and an estimate that is
    the same for all orders nothing. Errors are of the statistics' influence functions, by clusters
    (CR2), with Student's t of Satterthwaite's degrees of freedom.

    Parameters
    ----------
    estimates
        name -> (rows,), made without these rows' outcomes
    scores
        (rows,) doubly robust scores (``pseudo_outcomes``), or true effects
    statistic
        ``"autoc"``, ``"qini"`` (how well rows are ordered), or ``"value"``: what treating where the
        estimate is positive gains; regret is the best one's value less another's
    weight
        (rows,), how much each row counts; None: all alike
    cluster
        (rows,), names of rows that are not independent
    level
        coverage of the intervals and rank sets
    seed
        of what is drawn for rank sets

    Raises
    ------
    EvidenceError
        For fewer than two estimates, other numbers of rows, or numbers that are not finite.

    References
    ----------
    Yadlowsky et al. (2021), arXiv 2111.07966, who resample halves of the clusters; the influence
    function here is the statistic's derivative by the rows' weights.

    Examples
    --------
    >>> effects = np.array([3.0, 2.0, 1.0, 0.0, -1.0, -2.0] * 5)
    >>> board = rank_effects({"right": effects, "reversed": -effects}, effects)
    >>> board.policies
    ('right', 'reversed')
    """
    if statistic not in STATISTICS:
        raise EvidenceError(f"statistic={statistic!r}: use one of {', '.join(STATISTICS)}.")
    y, table = _checked(estimates, scores)
    counts = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=float)
    if counts.shape != y.shape or not (np.isfinite(counts) & (counts >= 0)).all():
        raise EvidenceError(f"weight is one number a row, 0 or more: {len(y)} of them.")
    function, unit = STATISTICS[statistic]
    found = [function(estimate, y, counts) for estimate in table]
    rating = np.array([value for value, _ in found])
    errors = clustered_mean(np.column_stack([moved for _, moved in found]), cluster, counts)
    notes = [*_constant_notes(estimates, table), *_few_notes(errors, statistic)]
    if cluster is not None:
        notes += cluster_notes(errors, errors.df)
    known: dict[str, Any] = {}
    if np.isfinite(errors.df):
        known = {"covariance": errors.covariance, "df": errors.df}
    return make_leaderboard(
        list(estimates),
        rating,
        method=statistic,
        n=np.full(len(table), len(y)),
        **known,
        level=level,
        seed=seed,
        notes=notes,
        unit=unit,
        source=f"{len(y):,} rows",
    )


def _checked(estimates: Mapping[str, ArrayLike], scores: ArrayLike) -> tuple[Float, Float]:
    """Scores (rows,) and estimates (estimates, rows)."""
    y = np.asarray(scores, dtype=float)
    if y.ndim != 1 or not np.isfinite(y).all():
        raise EvidenceError("scores are one finite number a row.")
    if len(estimates) < 2:
        raise EvidenceError("ranking takes at least two estimates.")
    table = []
    for name, given in estimates.items():
        estimate = np.asarray(given, dtype=float)
        if estimate.shape != y.shape or not np.isfinite(estimate).all():
            raise EvidenceError(
                f"{name}: {y.size} finite estimates are needed, one a row; there are"
                f" {np.isfinite(estimate).sum()}."
            )
        table.append(estimate)
    return y, np.stack(table)


def _constant_notes(estimates: Mapping[str, ArrayLike], table: Float) -> list[Note]:
    same = np.ptp(table, axis=1) == 0
    names = tuple(name for name, constant in zip(estimates, same, strict=True) if constant)
    if not names:
        return []
    text = f"{', '.join(names)}: the same estimate for all rows: it puts none before another."
    return [Note("constant", text, policies=names)]


def _few_notes(errors: ClusteredMean, statistic: str) -> list[Note]:
    if statistic != "autoc" or errors.effective >= FEW_PLACES:
        return []
    text = (
        f"AUTOC leans on its first places: where {errors.effective:.0f} rows or clusters tell of"
        " it, a 95% interval holds the truth in about 92 of 100 samples."
    )
    return [Note("few", text, "warning")]
