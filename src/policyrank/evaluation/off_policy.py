"""What a policy would be worth, from what another one logged: cross-fitted doubly robust values of
any number of policies, ranked together.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyrank.board.assembly import make_leaderboard
from policyrank.board.intervals import Seed, generator
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.errors import EvidenceError

Float = NDArray[np.float64]


class Regressor(Protocol):
    """Any scikit-learn regressor."""

    def fit(self, x: Float, y: Float, /) -> Any: ...
    def predict(self, x: Float, /) -> Float: ...


class Ridge:
    """Least squares with an intercept and a penalty of ``alpha`` times the number of rows on
    standardised columns.
    """

    def __init__(self, alpha: float = 1e-2) -> None:
        self.alpha = alpha

    def fit(self, x: Float, y: Float) -> Ridge:
        self.centre, self.scale = x.mean(axis=0), np.where((sd := x.std(axis=0)) > 1e-12, sd, 1.0)
        z = (x - self.centre) / self.scale
        self.mean = float(y.mean())
        self.coef = np.linalg.solve(
            z.T @ z + self.alpha * len(x) * np.eye(z.shape[1]), z.T @ (y - self.mean)
        )
        return self

    def predict(self, x: Float) -> Float:
        return np.asarray(self.mean + (x - self.centre) / self.scale @ self.coef)


def pseudo_outcomes(
    outcome: ArrayLike, treated: ArrayLike, mu1: ArrayLike, mu0: ArrayLike, e: ArrayLike
) -> Float:
    """Doubly robust score of the effect of treating each row: mu1 - mu0 + (A - e) / (e (1 - e)) (Y
    - mu_A).

    Examples
    --------
    >>> pseudo_outcomes([4, 0], [1, 0], [3, 3], [1, 1], [0.5, 0.5]).tolist()
    [4.0, 4.0]
    """
    y, a, m1, m0, p = (np.asarray(v, dtype=float) for v in (outcome, treated, mu1, mu0, e))
    if not ((p > 0) & (p < 1)).all():
        raise EvidenceError(
            f"row {int(np.argmin((p > 0) & (p < 1))) + 1}: the chance of treatment is"
            f" {p[np.argmin((p > 0) & (p < 1))]:g}; without overlap nothing can be said."
        )
    return np.asarray(m1 - m0 + (a - p) / (p * (1 - p)) * (y - np.where(a == 1, m1, m0)))


def outcome_models(
    x: Float,
    actions: NDArray[np.int64],
    outcome: Float,
    number: int,
    model: Regressor,
    folds: int,
    rng: np.random.Generator,
) -> Float:
    """Predicted outcome of each action for each row by models that did not see the row: (rows,
    actions).
    """
    out = np.empty((len(x), number))
    fold = np.empty(len(x), dtype=np.int64)
    for a in range(number):  # every fold has its share of every action
        own = np.flatnonzero(actions == a)
        fold[own] = rng.permutation(len(own)) % folds
    for f in range(folds):
        held = fold == f
        for a in range(number):
            seen = ~held & (actions == a)
            if not seen.any():
                raise EvidenceError(
                    f"action {a} is logged {int((actions == a).sum())} times: too few for {folds}"
                    " folds. Take fewer folds, or leave it out."
                )
            out[held, a] = copy.deepcopy(model).fit(x[seen], outcome[seen]).predict(x[held])
    return out


def off_policy_value(
    policies: Mapping[str, ArrayLike],
    actions: ArrayLike,
    outcome: ArrayLike,
    features: ArrayLike,
    propensity: ArrayLike | None = None,
    *,
    model: Regressor | None = None,
    folds: int = 5,
    clip: float = 0.01,
    cluster: ArrayLike | None = None,
    level: float = 0.95,
    seed: Seed = 0,
) -> Leaderboard:
    """Values of policies from logged data, doubly robust, with simultaneous rank sets over all
    policies.

    Parameters
    ----------
    policies
        name -> actions that it takes in each row, (rows,) integers, or its chances of each, (rows,
        actions)
    actions, outcome
        what was done (0, 1, ...) and what came of it, higher is better: (rows,)
    features
        (rows, d), what outcomes are predicted from
    propensity
        (rows, actions), the logging policy's chances; None: each action was given at random with
        its share of the rows (a trial)
    model
        regressor of scikit-learn's kind, fitted anew for each action and fold; None: ridge
    clip
        chances below it are raised to it, which is counted in a note
    cluster
        (rows,), rows that are not independent of each other

    Raises
    ------
    EvidenceError
        Naming the row whose action had no chance, or whose numbers cannot be used.

    References
    ----------
    Dudik et al. (2011), arXiv 1103.4601; cross-fitting: Chernozhukov et al. (2018), arXiv
    1608.00060.
    """
    a, y = np.asarray(actions), np.asarray(outcome, dtype=float)
    x = np.asarray(features, dtype=float).reshape(len(y), -1)
    if len(a) != len(y) or not np.issubdtype(a.dtype, np.integer) or (a < 0).any():
        raise EvidenceError("actions are one integer, 0 or more, for each outcome.")
    for name, values in (("outcome", y[:, None]), ("features", x)):
        if not np.isfinite(values).all():
            raise EvidenceError(
                f"{name}: row {int(np.argmin(np.isfinite(values).all(axis=1))) + 1} is not finite."
                " Leave the row out of all columns."
            )
    number = int(a.max()) + 1
    if propensity is None:
        e = np.broadcast_to(np.bincount(a, minlength=number) / len(a), (len(a), number))
    else:
        e = np.asarray(propensity, dtype=float)
        if (
            e.ndim != 2
            or len(e) != len(a)
            or e.shape[1] < number
            or not np.allclose(e.sum(axis=1), 1, atol=1e-6)
        ):
            raise EvidenceError(
                f"propensity is ({len(a)} rows, {number} actions), and each row sums to 1."
            )
        number = e.shape[1]
    own = e[np.arange(len(a)), a]
    if not (own > 0).all():
        raise EvidenceError(
            f"row {int(np.argmin(own > 0)) + 1}: action {a[np.argmin(own > 0)]} was taken with a"
            f" chance of {own.min():g}."
        )
    if len(policies) < 2:
        raise EvidenceError("ranking takes at least two policies.")
    mu = outcome_models(x, a, y, number, model or Ridge(), folds, generator(seed))
    rest = (y - mu[np.arange(len(a)), a]) / np.maximum(own, clip)
    notes, scores = [], []
    if thin := int((own < clip).sum()):
        notes.append(
            Note(
                "overlap",
                f"{thin:,} rows were taken with a chance below {clip:g}, which is raised to that:"
                " values lean on the outcome model there.",
                "warning",
            )
        )
    for name, given in policies.items():
        pi = np.asarray(given)
        if pi.ndim == 1:
            if (
                len(pi) != len(a)
                or not np.issubdtype(pi.dtype, np.integer)
                or (pi < 0).any()
                or (pi >= number).any()
            ):
                raise EvidenceError(
                    f"{name}: its actions are {len(a)} integers from 0 to {number - 1}."
                )
            pi = np.eye(number)[pi]
        if (
            pi.shape != (len(a), number)
            or (pi < 0).any()
            or not np.allclose(pi.sum(axis=1), 1, atol=1e-6)
        ):
            raise EvidenceError(
                f"{name}: its chances are ({len(a)}, {number}), none below 0, and each row sums"
                " to 1."
            )
        weight = pi[np.arange(len(a)), a] / np.maximum(own, clip)
        effective = weight.sum() ** 2 / max((weight**2).sum(), 1e-12)
        if effective < 30:
            notes.append(
                Note(
                    "overlap",
                    f"{name}: the log holds as much about it as {effective:.0f} rows of its own.",
                    "warning",
                    (name,),
                )
            )
        scores.append((pi * mu).sum(axis=1) + pi[np.arange(len(a)), a] * rest)
    table = np.stack(scores, axis=1)
    off = table - table.mean(axis=0)
    if cluster is not None:
        _, group = np.unique(np.asarray(cluster), return_inverse=True)
        off = np.stack([np.bincount(group, weights=c) for c in off.T], axis=1)
    units = len(off)
    covariance = off.T @ off / len(a) ** 2 * units / max(units - 1, 1)
    return make_leaderboard(
        list(policies),
        table.mean(axis=0),
        method="off-policy value",
        n=np.full(len(policies), len(a)),
        covariance=covariance,
        df=units - 1,
        level=level,
        seed=seed,
        notes=notes,
        unit="mean outcome",
        settings={"folds": folds, "clip": clip},
        source=f"{len(a):,} logged rows",
    )
