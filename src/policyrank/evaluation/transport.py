"""Effects of a treatment in a small target trial, with the help of many source trials (extra
``causal``).

Wang, Abdeen and Ayer (2026), "Transfer Learning for Meta-analysis Under Covariate Shift", arXiv
2604.02656; transfer lasso: Tian and Feng (2023). All estimators predict the effect for rows of
covariates, as scikit-learn's regressors do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyrank.board.intervals import Seed, generator
from policyrank.errors import EvidenceError
from policyrank.evaluation.off_policy import pseudo_outcomes

Float = NDArray[np.float64]
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
        value = float(y.mean()) if len(y) else 0.0
        return lambda z: np.full(len(z), value)
    model = _lasso(min(5, len(x) // 2), seed).fit(x, y)
    return lambda z: np.asarray(model.predict(z))


@dataclass(frozen=True, eq=False)
class TransferLasso:
    """Prediction of an outcome for the target: pooled lasso plus a sparse correction, and which
    sources were kept.
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
    """Lasso on the target and those sources that do not mislead it, corrected by a lasso of the
    target's residuals.

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
    kept = list(range(len(sources)))
    if detect and len(x) >= 9:
        rng = np.random.default_rng(seed)
        fold = rng.permutation(len(x)) % 3
        loss = np.empty((len(sources) + 1, 3))
        for r in range(3):
            held = fold == r
            for c in range(-1, len(sources)):
                more = [sources[c]] if c >= 0 else []
                fit = _fit(
                    np.vstack([x[~held], *(s[0] for s in more)]),
                    np.concatenate([y[~held], *(s[1] for s in more)]),
                    seed,
                )
                loss[c + 1, r] = ((fit(x[held]) - y[held]) ** 2).mean()
        limit = loss[0].mean() + strictness * max(loss[0].std(ddof=1), 0.01)
        kept = [c for c in kept if loss[c + 1].mean() <= limit]
    pooled = _fit(
        np.vstack([x, *(sources[c][0] for c in kept)]),
        np.concatenate([y, *(sources[c][1] for c in kept)]),
        seed,
    )
    if not kept or not len(x):
        return TransferLasso(pooled, tuple(kept))
    correction = _fit(x, y - pooled(x), seed)
    return TransferLasso(lambda z: pooled(z) + correction(z), tuple(kept))


def proposed(target: Trial, sources: Sequence[Trial], seed: Seed = 0) -> Predict:
    """Difference of transfer lassos of both arms; the target has treated rows."""
    number = _seed(seed)
    arms = [
        transfer_lasso(target.arm(a), [s.arm(a) for s in sources], seed=number).predict
        for a in (0, 1)
    ]
    return lambda z: arms[1](z) - arms[0](z)


def proposed_cross_fitted(
    target: Trial, sources: Sequence[Trial], seed: Seed = 0, folds: int = 2
) -> Predict:
    """Lasso of doubly robust scores of the target's rows, their outcome models fitted on other rows
    and all sources.
    """
    number = _seed(seed)
    fold = np.random.default_rng(number).permutation(len(target.x)) % folds
    mu = np.empty((len(target.x), 2))
    for f in range(folds):
        held = fold == f
        rest = Trial(target.x[~held], target.treated[~held], target.outcome[~held])
        for a in (0, 1):
            mu[held, a] = transfer_lasso(
                rest.arm(a), [s.arm(a) for s in sources], detect=False, seed=number
            ).predict(target.x[held])
    e = np.full(len(target.x), np.clip(target.treated.mean(), 0.05, 0.95))
    return _fit(
        target.x, pseudo_outcomes(target.outcome, target.treated, mu[:, 1], mu[:, 0], e), number
    )


def proposed_placebo_only(target: Trial, sources: Sequence[Trial], seed: Seed = 0) -> Predict:
    """For targets of which only placebo rows are known: sources that the placebo arm agrees with
    are pooled, and a lasso of their doubly robust scores is carried over.
    """
    number = _seed(seed)
    kept = transfer_lasso(target.arm(0), [s.arm(0) for s in sources], seed=number).kept or tuple(
        range(len(sources))
    )
    x, a, y = (
        np.concatenate([getattr(sources[c], k) for c in kept]) for k in ("x", "treated", "outcome")
    )
    pooled = Trial(x, a, y)
    mu = [_fit(*pooled.arm(arm), number)(x) for arm in (0, 1)]
    return _fit(x, pseudo_outcomes(y, a, mu[1], mu[0], np.full(len(a), a.mean())), number)


def target_only(target: Trial, sources: Sequence[Trial], seed: Seed = 0) -> Predict:
    """Cross-fitted doubly robust learner on the target alone."""
    return proposed_cross_fitted(target, (), seed)


def outcome_transport(target: Trial, sources: Sequence[Trial], seed: Seed = 0) -> Predict:
    """Difference of lassos of both arms on all sources together."""
    number = _seed(seed)
    arms = [
        _fit(
            np.vstack([s.arm(a)[0] for s in sources]),
            np.concatenate([s.arm(a)[1] for s in sources]),
            number,
        )
        for a in (0, 1)
    ]
    return lambda z: arms[1](z) - arms[0](z)


def weighted_transport(target: Trial, sources: Sequence[Trial], seed: Seed = 0) -> Predict:
    """As ``outcome_transport``, by ridge, source rows weighted by their odds of being of the
    target.
    """
    from sklearn.linear_model import LogisticRegression, Ridge

    x = np.vstack([s.x for s in sources])
    odds = LogisticRegression(max_iter=2000).fit(
        np.vstack([x, target.x]), np.r_[np.zeros(len(x)), np.ones(len(target.x))]
    )
    p = np.clip(odds.predict_proba(x)[:, 1], 0.01, 0.99)
    a, y, w = (
        np.concatenate([s.treated for s in sources]),
        np.concatenate([s.outcome for s in sources]),
        p / (1 - p),
    )
    arms = [Ridge(1.0).fit(x[a == k], y[a == k], sample_weight=w[a == k]) for k in (0, 1)]
    return lambda z: np.asarray(arms[1].predict(z) - arms[0].predict(z))


def balancing_weights(x: Float, mean: Float, penalty: float = 1e-3) -> Float:
    """Weights of rows, (rows,), that sum to 1 and give each column the mean (d,) with the least
    change from equal weights (entropy balancing, Hainmueller 2012), by its convex dual.

    ``penalty`` on the dual lets means be missed a little where they cannot be met: the target lies
    outside of the sources.
    """
    from scipy.optimize import minimize
    from scipy.special import logsumexp, softmax

    scale = np.where((sd := x.std(axis=0)) > 1e-12, sd, 1.0)
    z, goal = (x - x.mean(axis=0)) / scale, (mean - x.mean(axis=0)) / scale

    def dual(t: Float) -> tuple[float, Float]:
        w = softmax(z @ t)
        return float(logsumexp(z @ t) - goal @ t + penalty * t @ t), w @ z - goal + 2 * penalty * t

    return np.asarray(
        softmax(z @ minimize(dual, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x)
    )


def balanced_transport(target: Trial, sources: Sequence[Trial], seed: Seed = 0) -> Predict:
    """As ``weighted_transport``, with source rows weighted so that their means are the target's
    (entropy balancing).
    """
    from sklearn.linear_model import Ridge

    x, a, y = (
        np.concatenate([getattr(s, k) for s in sources]) for k in ("x", "treated", "outcome")
    )
    w = balancing_weights(x, target.x.mean(axis=0)) * len(x)
    arms = [Ridge(1.0).fit(x[a == k], y[a == k], sample_weight=w[a == k]) for k in (0, 1)]
    return lambda z: np.asarray(arms[1].predict(z) - arms[0].predict(z))


def anchored_proxy(
    target: Trial, sources: Sequence[Trial], seed: Seed = 0, folds: int = 2
) -> Predict:
    """Forests of both arms on all sources, corrected by lassos of the target's residuals, and a
    lasso of the doubly robust scores that these give on other target rows.
    """
    number = _seed(seed)
    forests = [_forest(sources, a, number) for a in (0, 1)]
    fold = np.random.default_rng(number).permutation(len(target.x)) % folds
    mu = np.empty((len(target.x), 2))
    for f in range(folds):
        held = fold == f
        for a in (0, 1):
            own = ~held & (target.treated == a)
            correction = _fit(
                target.x[own],
                (
                    target.outcome[own] - forests[a](target.x[own])
                    if own.any()
                    else target.outcome[own]
                ),
                number,
            )
            mu[held, a] = forests[a](target.x[held]) + correction(target.x[held])
    e = np.full(len(target.x), np.clip(target.treated.mean(), 0.05, 0.95))
    return _fit(
        target.x, pseudo_outcomes(target.outcome, target.treated, mu[:, 1], mu[:, 0], e), number
    )


def _forest(sources: Sequence[Trial], arm: int, seed: int) -> Predict:
    from sklearn.ensemble import RandomForestRegressor

    x, y = (np.concatenate([s.arm(arm)[k] for s in sources]) for k in (0, 1))
    model = RandomForestRegressor(100, max_depth=10, min_samples_leaf=5, random_state=seed).fit(
        x, y
    )
    return lambda z: np.asarray(model.predict(z))


def proxy_only(target: Trial, sources: Sequence[Trial], seed: Seed = 0) -> Predict:
    """Difference of random forests of both arms on all sources together (100 trees, depth 10,
    leaves of 5).
    """
    arms = [_forest(sources, a, _seed(seed)) for a in (0, 1)]
    return lambda z: arms[1](z) - arms[0](z)


def _seed(seed: Seed) -> int:
    return (
        int(seed) if isinstance(seed, (int, np.integer)) else int(generator(seed).integers(2**31))
    )


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
