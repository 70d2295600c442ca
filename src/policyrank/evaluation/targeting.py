"""Which estimate of effects is best to treat by: ranking quality and value of any number of them on
one trial or log, with simultaneous intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyrank.board.assembly import make_leaderboard
from policyrank.board.intervals import Seed, generator
from policyrank.board.leaderboard import Leaderboard
from policyrank.errors import EvidenceError

Float = NDArray[np.float64]
Statistic = Callable[[Float, Float], Float]
"""(n, rows) scores in the order of each estimate, (n, rows) whether it would treat -> (n,)"""


def _autoc(ordered: Float, treats: Float) -> Float:
    return np.asarray(
        (ordered.cumsum(axis=1) / np.arange(1, ordered.shape[1] + 1)).mean(axis=1)
        - ordered.mean(axis=1)
    )


def _qini(ordered: Float, treats: Float) -> Float:
    n = ordered.shape[1]
    return np.asarray(
        (
            ordered.cumsum(axis=1) / n
            - np.arange(1, n + 1) / n * ordered.mean(axis=1, keepdims=True)
        ).mean(axis=1)
    )


def _value(ordered: Float, treats: Float) -> Float:
    return np.asarray((ordered * treats).mean(axis=1))


STATISTICS: dict[str, tuple[Statistic, str]] = {
    "autoc": (_autoc, "mean effect among the best share, less the mean effect"),
    "qini": (_qini, "area between gains and random order"),
    "value": (_value, "mean outcome gained over treating nobody"),
}


def rank_effects(
    estimates: Mapping[str, ArrayLike],
    scores: ArrayLike,
    statistic: str = "autoc",
    *,
    cluster: ArrayLike | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: Seed = 0,
) -> Leaderboard:
    """Estimates of effects, ranked on the same rows.

    Parameters
    ----------
    estimates
        name -> (rows,), made without these rows' outcomes
    scores
        (rows,) doubly robust scores (``pseudo_outcomes``), or true effects
    statistic
        ``"autoc"``, ``"qini"`` (how well rows are ordered), or ``"value"``: what treating where the
        estimate is positive gains; regret is the best one's value less another's
    cluster
        rows that are not independent; they are drawn together

    Raises
    ------
    EvidenceError
        For fewer than two estimates, other numbers of rows, or numbers that are not finite.

    References
    ----------
    AUTOC and its half-sample bootstrap: Yadlowsky et al. (2021), arXiv 2111.07966. Here rows are
    drawn with replacement, the same for all estimates.

    Examples
    --------
    >>> effects = np.array([3.0, 2.0, 1.0, 0.0, -1.0, -2.0] * 5)
    >>> board = rank_effects({"right": effects, "reversed": -effects}, effects)
    >>> board.policies
    ('right', 'reversed')
    """
    if statistic not in STATISTICS:
        raise EvidenceError(f"statistic={statistic!r}: use one of {', '.join(STATISTICS)}.")
    y = np.asarray(scores, dtype=float)
    table = [np.asarray(e, dtype=float) for e in estimates.values()]
    if len(table) < 2:
        raise EvidenceError("ranking takes at least two estimates.")
    for name, e in zip(estimates, table, strict=True):
        if e.shape != y.shape or not np.isfinite(e).all():
            raise EvidenceError(
                f"{name}: {y.size} finite estimates are needed, one a row; there are"
                f" {np.isfinite(e).sum()}."
            )
    if y.ndim != 1 or not np.isfinite(y).all():
        raise EvidenceError("scores are one finite number a row.")
    function, unit = STATISTICS[statistic]
    rng, estimate = generator(seed), np.stack(table)
    order = np.argsort(-estimate, axis=1, kind="stable")
    treats = np.take_along_axis((estimate > 0).astype(float), order, axis=1)
    rating = function(y[order], treats)
    group = (
        np.arange(len(y))
        if cluster is None
        else np.unique(np.asarray(cluster), return_inverse=True)[1]
    )
    units = int(group.max()) + 1
    draws = np.empty((resamples, len(table)))
    for b in range(resamples):
        times = np.bincount(rng.integers(units, size=units), minlength=units)[group]
        # Rows repeated in the order of each estimate: sorting once serves all draws.
        rows = np.stack([np.repeat(o, times[o]) for o in order])
        draws[b] = function(y[rows], np.take_along_axis((estimate > 0).astype(float), rows, axis=1))
    return make_leaderboard(
        list(estimates),
        rating,
        method=statistic,
        n=np.full(len(table), len(y)),
        draws=(draws - rating) * np.sqrt(units / max(units - 1, 1)),
        df=max(units - 1.0, 1.0),
        level=level,
        seed=seed,
        unit=unit,
        settings={"resamples": resamples},
        source=f"{len(y):,} rows",
    )
