"""Effects of a treatment in a small target trial, with the help of many source trials.

Needs the extra ``causal``.

Wang, Abdeen and Ayer (2026), "Transfer Learning for Meta-analysis Under Covariate Shift", arXiv
2604.02656; transfer lasso: Tian and Feng (2023). All estimators predict the effect for rows of
covariates, as scikit-learn's regressors do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from policyrank.board.intervals import Seed, generator
from policyrank.evaluation.cross_fitting import pseudo_outcomes
from policyrank.evaluation.transport_weights import balanced_transport, weighted_transport
from policyrank.evaluation.trials import (
    Float,
    Predict,
    Rows,
    Trial,
    all_rows_of,
    arms_of,
    difference,
    stacked,
)


def _lasso(folds: int, seed: int) -> Any:
    try:
        from sklearn.linear_model import LassoCV
        from sklearn.model_selection import KFold
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "transport needs scikit-learn: pip install 'policyrank[causal]'"
        ) from None
    return make_pipeline(
        StandardScaler(),
        LassoCV(cv=KFold(folds, shuffle=True, random_state=seed), max_iter=20_000, alphas=50),
    )


def _fit(x: Float, y: Float, seed: int) -> Predict:
    """Lasso by cross-validation; the mean where there is too little to choose."""
    if len(x) < 6 or np.ptp(y) < 1e-12:
        value = 0.0
        if len(y):
            value = float(y.mean())
        return lambda z: np.full(len(z), value)
    model = _lasso(min(5, len(x) // 2), seed).fit(x, y)
    return lambda z: np.asarray(model.predict(z))


@dataclass(frozen=True, eq=False)
class TransferLasso:
    """Prediction of an outcome for the target, and which sources were kept.

    A pooled lasso plus a sparse correction.
    """

    predict: Predict
    kept: tuple[int, ...]


def transfer_lasso(
    target: tuple[Float, Float],
    sources: Sequence[tuple[Float, Float]],
    *,
    strictness: float = 2.0,
    detect: bool = True,
    seed: int = 0,
) -> TransferLasso:
    """Lasso on the target and those sources that do not mislead it.

    Corrected by a lasso of the target's residuals.

    Parameters
    ----------
    target, sources
        (covariates, outcomes) each
    strictness
        a source is kept if its held-out loss is at most so many standard deviations (over three
        folds) above the target's own
    detect
        False: all sources are kept
    """
    x, y = target
    kept = tuple(range(len(sources)))
    if detect and len(x) >= 9:
        kept = _not_misleading(target, sources, strictness, seed)
    pooled = _fit(*stacked([target, *(sources[c] for c in kept)]), seed)
    if not kept or not len(x):
        return TransferLasso(pooled, kept)
    correction = _fit(x, y - pooled(x), seed)
    return TransferLasso(lambda z: pooled(z) + correction(z), kept)


def _not_misleading(
    target: Rows, sources: Sequence[Rows], strictness: float, seed: int
) -> tuple[int, ...]:
    """Sources with which rows of the target that were held out are foretold well enough."""
    x, y = target
    fold = np.random.default_rng(seed).permutation(len(x)) % 3
    loss = np.empty((len(sources) + 1, 3))
    for part in range(3):
        held = fold == part
        rest = (x[~held], y[~held])
        loss[0, part] = _loss(_fit(*rest, seed), x[held], y[held])
        for c, source in enumerate(sources, 1):
            loss[c, part] = _loss(_fit(*stacked([rest, source]), seed), x[held], y[held])
    limit = loss[0].mean() + strictness * max(loss[0].std(ddof=1), 0.01)
    kept = []
    for c in range(len(sources)):
        if loss[c + 1].mean() <= limit:
            kept.append(c)
    return tuple(kept)


def _loss(predict: Predict, x: Float, y: Float) -> float:
    return float(((predict(x) - y) ** 2).mean())


def _learned(target: Trial, control: Float, treated: Float, chance: Float, seed: int) -> Predict:
    """Lasso of doubly robust scores, from foretold outcomes of both arms."""
    scores = pseudo_outcomes(target.outcome, target.treated, treated, control, chance)
    return _fit(target.x, scores, seed)


def _share_treated(target: Trial) -> Float:
    """The chance of treatment, the same for each row, away from 0 and 1."""
    return np.full(len(target.x), np.clip(target.treated.mean(), 0.05, 0.95))


def proposed(target: Trial, sources: Sequence[Trial], seed: Seed = 0) -> Predict:
    """Difference of transfer lassos of both arms; the target has treated rows."""
    number = _seed(seed)
    control = transfer_lasso(target.arm(0), arms_of(sources, 0), seed=number)
    treated = transfer_lasso(target.arm(1), arms_of(sources, 1), seed=number)
    return difference(treated.predict, control.predict)


def proposed_cross_fitted(
    target: Trial, sources: Sequence[Trial], seed: Seed = 0, folds: int = 2
) -> Predict:
    """Lasso of doubly robust scores of the target's rows.

    Their outcome models are fitted on other rows and all sources.
    """
    number = _seed(seed)
    fold = np.random.default_rng(number).permutation(len(target.x)) % folds
    mu = np.empty((len(target.x), 2))
    for part in range(folds):
        held = fold == part
        rest = Trial(target.x[~held], target.treated[~held], target.outcome[~held])
        for arm in (0, 1):
            found = transfer_lasso(rest.arm(arm), arms_of(sources, arm), detect=False, seed=number)
            mu[held, arm] = found.predict(target.x[held])
    return _learned(target, mu[:, 0], mu[:, 1], _share_treated(target), number)


def proposed_placebo_only(target: Trial, sources: Sequence[Trial], seed: Seed = 0) -> Predict:
    """For targets of which only placebo rows are known.

    Sources that the placebo arm agrees with are pooled, and a lasso of their doubly robust scores
    is carried over.
    """
    number = _seed(seed)
    kept = transfer_lasso(target.arm(0), arms_of(sources, 0), seed=number).kept
    agreeing = list(sources)
    if kept:
        agreeing = [sources[c] for c in kept]
    pooled = all_rows_of(agreeing)
    control = _fit(*pooled.arm(0), number)(pooled.x)
    treated = _fit(*pooled.arm(1), number)(pooled.x)
    chance = np.full(len(pooled.x), pooled.treated.mean())
    return _learned(pooled, control, treated, chance, number)


def target_only(target: Trial, sources: Sequence[Trial], seed: Seed = 0) -> Predict:
    """Cross-fitted doubly robust learner on the target alone."""
    return proposed_cross_fitted(target, (), seed)


def outcome_transport(target: Trial, sources: Sequence[Trial], seed: Seed = 0) -> Predict:
    """Difference of lassos of both arms on all sources together."""
    number = _seed(seed)
    control = _fit(*stacked(arms_of(sources, 0)), number)
    treated = _fit(*stacked(arms_of(sources, 1)), number)
    return difference(treated, control)


def anchored_proxy(
    target: Trial, sources: Sequence[Trial], seed: Seed = 0, folds: int = 2
) -> Predict:
    """Forests of both arms on all sources, corrected by lassos of the target's residuals.

    And a lasso of the doubly robust scores that these give on other target rows.
    """
    number = _seed(seed)
    forests = _forest(sources, 0, number), _forest(sources, 1, number)
    fold = np.random.default_rng(number).permutation(len(target.x)) % folds
    mu = np.empty((len(target.x), 2))
    for part in range(folds):
        held = fold == part
        for arm, forest in enumerate(forests):
            own = ~held & (target.treated == arm)
            residual = target.outcome[own]
            if own.any():
                residual = residual - forest(target.x[own])
            correction = _fit(target.x[own], residual, number)
            mu[held, arm] = forest(target.x[held]) + correction(target.x[held])
    return _learned(target, mu[:, 0], mu[:, 1], _share_treated(target), number)


def _forest(sources: Sequence[Trial], arm: int, seed: int) -> Predict:
    from sklearn.ensemble import RandomForestRegressor

    model = RandomForestRegressor(100, max_depth=10, min_samples_leaf=5, random_state=seed)
    model.fit(*stacked(arms_of(sources, arm)))
    return lambda z: np.asarray(model.predict(z))


def proxy_only(target: Trial, sources: Sequence[Trial], seed: Seed = 0) -> Predict:
    """Difference of random forests of both arms on all sources.

    100 trees, depth 10, leaves of 5.
    """
    control = _forest(sources, 0, _seed(seed))
    treated = _forest(sources, 1, _seed(seed))
    return difference(treated, control)


def _seed(seed: Seed) -> int:
    if isinstance(seed, (int, np.integer)):
        return int(seed)
    return int(generator(seed).integers(2**31))


TRANSPORTS: dict[str, Callable[..., Predict]] = {
    "proposed": proposed,
    "proposed-cf": proposed_cross_fitted,
    "proposed-b": proposed_placebo_only,
    "target only": target_only,
    "outcome transport": outcome_transport,
    "weighted transport": weighted_transport,
    "balanced transport": balanced_transport,
    "proxy only": proxy_only,
    "anchored proxy": anchored_proxy,
}
"""(target, sources, seed) -> effects for rows of covariates. Only "proposed-b", the transports and
"proxy only" do without treated rows of the target.
"""
