"""Effects carried from source trials by weights that make their rows stand for the target's.

Nothing is weighted before it is seen whether the sources overlap the target at all. Needs the extra
``causal``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from policyrank.board.clusters import clustered_mean
from policyrank.board.intervals import Seed, quantile
from policyrank.errors import EvidenceError, OptionError
from policyrank.evaluation.trials import Float, Predict, Trial, all_rows_of, difference

LEAST_ROWS = 2.0
"""Effective rows of an arm below which it is one row that speaks."""

FARTHEST = 2.0
"""By how many deviations weighted means may miss the target's before it lies elsewhere."""


@dataclass(frozen=True, eq=False)
class Transported:
    """Effects for rows of covariates, and what they rest on.

    Attributes
    ----------
    predict
        covariates (rows, d) -> effects (rows,)
    effective
        of the untreated and of the treated: (sum of weights)^2 / sum of their squares
    missed
        the largest difference of a weighted mean from the target's, in the sources' deviations
    notes
        what a careful reader should know of the overlap
    """

    predict: Predict
    effective: tuple[float, float]
    missed: float
    notes: tuple[str, ...]

    def __call__(self, x: Float) -> Float:
        return self.predict(x)


def weighted_transport(target: Trial, sources: Sequence[Trial], seed: Seed = 0) -> Transported:
    """As ``outcome_transport``, by ridge, source rows weighted by their odds of being the target's.

    Parameters
    ----------
    target, sources
        trials
    seed
        unused, as nothing is drawn

    Raises
    ------
    EvidenceError
        Where the sources hardly overlap the target.
    """
    pooled = all_rows_of(sources)
    return _by_ridges(pooled, odds_of_target(target.x, pooled.x), target)


def balanced_transport(target: Trial, sources: Sequence[Trial], seed: Seed = 0) -> Transported:
    """As ``weighted_transport``, source rows weighted so that their means are the target's.

    Parameters
    ----------
    target, sources
        trials
    seed
        unused, as nothing is drawn

    Raises
    ------
    EvidenceError
        Where the sources hardly overlap the target.
    """
    pooled = all_rows_of(sources)
    return _by_ridges(pooled, balanced_on_target(target.x, pooled.x), target)


def odds_of_target(target: Float, sources: Float) -> Float:
    """Odds of source rows of being of the target, (rows,), by logistic regression."""
    from sklearn.linear_model import LogisticRegression

    ours = np.r_[np.zeros(len(sources)), np.ones(len(target))]
    model = LogisticRegression(max_iter=2000).fit(np.vstack([sources, target]), ours)
    chance = np.clip(model.predict_proba(sources)[:, 1], 0.01, 0.99)
    return np.asarray(chance / (1 - chance))


def balanced_on_target(target: Float, sources: Float) -> Float:
    """Weights of source rows, (rows,), that give them the target's means; their mean is 1."""
    return balancing_weights(sources, target.mean(axis=0)) * len(sources)


def balancing_weights(x: Float, mean: Float, penalty: float = 1e-3) -> Float:
    """Weights of rows, (rows,), that sum to 1 and give each column the mean (d,).

    With the least change from equal weights (entropy balancing, Hainmueller 2012), by its convex
    dual. ``penalty`` on the dual lets means be missed a little where they cannot be met: the target
    lies outside of the sources.

    Examples
    --------
    >>> sources = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> weight = balancing_weights(sources, np.array([2.0]), penalty=1e-6)
    >>> round(float(weight @ sources[:, 0]), 2), round(float(weight.sum()), 2)
    (2.0, 1.0)
    """
    from scipy.optimize import minimize
    from scipy.special import logsumexp, softmax

    scale = _deviations(x)
    z, goal = (x - x.mean(axis=0)) / scale, (mean - x.mean(axis=0)) / scale

    def dual(t: Float) -> tuple[float, Float]:
        weight = softmax(z @ t)
        value = float(logsumexp(z @ t) - goal @ t + penalty * t @ t)
        return value, weight @ z - goal + 2 * penalty * t

    found = minimize(dual, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B")
    return np.asarray(softmax(z @ found.x))


def _deviations(x: Float) -> Float:
    deviation = x.std(axis=0)
    return np.where(deviation > 1e-12, deviation, 1.0)


def effective_rows(weight: Float) -> float:
    """Of how many rows of one weight these tell as much; 0 where there is none.

    Examples
    --------
    >>> effective_rows(np.array([1.0, 1.0, 0.0])), effective_rows(np.zeros(2))
    (2.0, 0.0)
    """
    squares = float(weight @ weight)
    if not squares > 0:
        return 0.0
    return float(weight.sum()) ** 2 / squares


def overlap(
    trial: Trial, weight: Float, target: Float
) -> tuple[tuple[float, float], float, tuple[str, ...]]:
    """Effective rows of both arms, by how much means are missed, and notes on both.

    Parameters
    ----------
    trial
        the sources' rows
    weight
        (rows,) of them
    target
        (rows, d), covariates of the target

    Raises
    ------
    EvidenceError
        Where one row of an arm holds nearly all weight, or the means lie elsewhere.
    """
    names, effective = ("untreated", "treated"), []
    for arm, name in enumerate(names):
        own = weight[trial.treated == arm]
        effective.append(effective_rows(own))
        if effective[arm] < LEAST_ROWS:
            raise EvidenceError(
                f"the sources hardly overlap the target: of {len(own)} {name} rows"
                f" {effective[arm]:.1f} tell of it. Add sources that are more alike, leave out the"
                " covariates that keep them apart, or give only the part of the target in reach."
            )
    gap = np.abs(weight @ trial.x / weight.sum() - target.mean(axis=0)) / _deviations(trial.x)
    missed, column = float(gap.max()), int(gap.argmax()) + 1
    if missed > FARTHEST:
        raise EvidenceError(
            f"the target lies outside of the sources: weighted, covariate {column} is still off by"
            f" {missed:.1f} deviations. Add sources that are more alike, or leave it out."
        )
    notes = []
    for name, rows, arm in zip(names, effective, (0, 1), strict=True):
        all_rows = int((trial.treated == arm).sum())
        if rows < max(100, 0.2 * all_rows):
            notes.append(f"{all_rows} {name} rows tell as much of the target as {rows:.0f}.")
    if missed > 0.1:
        notes.append(f"Weighted, covariate {column} is off the target by {missed:.1f} deviations.")
    return (effective[0], effective[1]), missed, tuple(notes)


def _by_ridges(trial: Trial, weight: Float, target: Trial) -> Transported:
    """Difference of ridges of both arms on weighted rows."""
    effective, missed, notes = overlap(trial, weight, target.x)
    control, treated = (_ridge(trial, arm, weight) for arm in (0, 1))
    return Transported(difference(treated, control), effective, missed, notes)


def _ridge(trial: Trial, arm: int, weight: Float | None = None) -> Predict:
    from sklearn.linear_model import Ridge

    own = trial.treated == arm
    counts = None if weight is None else weight[own]
    model: Any = Ridge(1.0).fit(*trial.arm(arm), sample_weight=counts)
    return lambda x: np.asarray(model.predict(x))


SOURCE_WEIGHTS: dict[str, Callable[[Float, Float], Float]] = {
    "odds": odds_of_target,
    "balanced": balanced_on_target,
}
"""(target, sources) covariates -> weights of source rows."""


def average_effects(
    target: Trial,
    sources: Sequence[Trial],
    *,
    by: str = "odds",
    truncate: Sequence[float] = (1.0, 0.99, 0.95, 0.9),
    level: float = 0.95,
) -> list[dict[str, Any]]:
    """The target's mean effect from the sources alone, by every estimator, side by side.

    Direct: ridges of both arms, averaged over the target. Weighted: difference of the arms'
    weighted means. Doubly robust: direct, and the weighted residuals' difference. Estimates that
    change with the truncation, or between estimators, rest on few rows or on the model.

    Parameters
    ----------
    target, sources
        trials; outcomes of the target are not used
    by
        weights of ``SOURCE_WEIGHTS``: ``"odds"`` or ``"balanced"``
    truncate
        weights are cut at these of their quantiles; 1: not at all
    level
        coverage of the intervals, by Student's t with the effective rows of the smaller arm

    Returns
    -------
    list
        of rows: estimator, truncated, effect, standard error, lower, upper, effective rows
        (untreated, treated); the direct estimate has no error, as the model's is not known

    Raises
    ------
    EvidenceError
        Where the sources hardly overlap the target.

    References
    ----------
    Dahabreh et al. (2020), "Extending inferences from a randomized trial to a new target
    population".
    """
    if by not in SOURCE_WEIGHTS:
        raise OptionError(f"by={by!r}: use one of {', '.join(SOURCE_WEIGHTS)}.")
    pooled = all_rows_of(sources)
    weight = SOURCE_WEIGHTS[by](target.x, pooled.x)
    overlap(pooled, weight, target.x)
    models = _ridge(pooled, 0), _ridge(pooled, 1)
    here = models[1](target.x) - models[0](target.x)
    direct = float(here.mean())
    foretold = np.where(pooled.treated == 1, models[1](pooled.x), models[0](pooled.x))
    rows: list[dict[str, Any]] = [{"estimator": "direct", "truncated": None, "effect": direct}]
    for share in truncate:
        cut = np.minimum(weight, np.quantile(weight, share))
        weighted = _weighted_difference(pooled, cut, pooled.outcome)
        residual = _weighted_difference(pooled, cut, pooled.outcome - foretold)
        of_target = float(here.var(ddof=1)) / len(here)
        found = {
            "weighted": weighted,
            "doubly robust": (direct + residual[0], np.hypot(residual[1], np.sqrt(of_target))),
        }
        arms = [effective_rows(cut[pooled.treated == arm]) for arm in (0, 1)]
        half = quantile((1 + level) / 2, max(min(arms) - 1, 1.0))
        for estimator, (effect, error) in found.items():
            rows.append(
                {
                    "estimator": estimator,
                    "truncated": share,
                    "effect": effect,
                    "error": float(error),
                    "lower": effect - half * float(error),
                    "upper": effect + half * float(error),
                    "effective rows": tuple(arms),
                }
            )
    return rows


def _weighted_difference(trial: Trial, weight: Float, values: Float) -> tuple[float, float]:
    """Of the arms' weighted means, and its standard error (CR2, each row its own cluster)."""
    means, variance = [], 0.0
    for arm in (0, 1):
        own = trial.treated == arm
        found = clustered_mean(values[own][:, None], None, weight[own])
        means.append(float(found.mean[0]))
        variance += float(found.covariance[0, 0])
    return means[1] - means[0], float(np.sqrt(variance))
