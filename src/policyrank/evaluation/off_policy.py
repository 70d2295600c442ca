"""What a policy would be worth, from what another one logged.

Cross-fitted doubly robust values of any number of policies, ranked together.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
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

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> features, actions = rng.normal(size=(400, 1)), rng.integers(2, size=400)
    >>> outcome = actions * features[:, 0] + rng.normal(0, 0.1, 400)
    >>> rules = {"always": np.ones(400, int), "where it helps": (features[:, 0] > 0).astype(int)}
    >>> board = off_policy_value(rules, actions, outcome, features)
    >>> board.policies, board.rating.round(1).tolist()
    (('where it helps', 'always'), [0.4, -0.1])
    """
    log = _log(actions, outcome, features, propensity)
    if len(policies) < 2:
        raise EvidenceError("ranking takes at least two policies.")
    taken, y, rows = log.actions, log.outcome, np.arange(len(log.actions))
    number = log.chances.shape[1]
    own = log.chances[rows, taken]
    mu = outcome_models(log.features, taken, y, number, model or Ridge(), folds, generator(seed))
    rest = (y - mu[rows, taken]) / np.maximum(own, clip)
    notes, scores = [], []
    thin = int((own < clip).sum())
    if thin:
        text = (
            f"{thin:,} rows were taken with a chance below {clip:g}, which is raised to that:"
            " values lean on the outcome model there."
        )
        notes.append(Note("overlap", text, "warning"))
    for name, given in policies.items():
        pi = _chances_of(name, given, len(y), number)
        chosen = pi[rows, taken]
        weight = chosen / np.maximum(own, clip)
        effective = weight.sum() ** 2 / max((weight**2).sum(), 1e-12)
        if effective < 30:
            text = f"{name}: the log holds as much about it as {effective:.0f} rows of its own."
            notes.append(Note("overlap", text, "warning", (name,)))
        scores.append((pi * mu).sum(axis=1) + chosen * rest)
    table = np.stack(scores, axis=1)
    covariance, units = _covariance(table, cluster)
    return make_leaderboard(
        list(policies),
        table.mean(axis=0),
        method="off-policy value",
        n=np.full(len(policies), len(y)),
        covariance=covariance,
        df=units - 1,
        level=level,
        seed=seed,
        notes=notes,
        unit="mean outcome",
        settings={"folds": folds, "clip": clip},
        source=f"{len(y):,} logged rows",
    )


@dataclass(frozen=True, eq=False)
class _Log:
    """What was logged: actions (rows,), outcome (rows,), features (rows, d), and the chances."""

    actions: NDArray[np.int64]
    outcome: Float
    features: Float
    chances: Float


def _log(
    actions: ArrayLike, outcome: ArrayLike, features: ArrayLike, propensity: ArrayLike | None
) -> _Log:
    """The log, checked."""
    a, y = np.asarray(actions), np.asarray(outcome, dtype=float)
    x = np.asarray(features, dtype=float).reshape(len(y), -1)
    if len(a) != len(y) or not np.issubdtype(a.dtype, np.integer) or (a < 0).any():
        raise EvidenceError("actions are one integer, 0 or more, for each outcome.")
    for name, values in (("outcome", y[:, None]), ("features", x)):
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            raise EvidenceError(
                f"{name}: row {int(np.argmin(finite)) + 1} is not finite."
                " Leave the row out of all columns."
            )
    e = _logged_chances(a, propensity)
    own = e[np.arange(len(a)), a]
    if not (own > 0).all():
        row = int(np.argmin(own > 0))
        raise EvidenceError(
            f"row {row + 1}: action {a[row]} was taken with a chance of {own.min():g}."
        )
    return _Log(a, y, x, e)


def _logged_chances(actions: NDArray[np.int64], propensity: ArrayLike | None) -> Float:
    """The logging policy's chances of each action: (rows, actions)."""
    rows, number = len(actions), int(actions.max()) + 1
    if propensity is None:
        shares = np.bincount(actions, minlength=number) / rows
        return np.broadcast_to(shares, (rows, number))
    e = np.asarray(propensity, dtype=float)
    fits = e.ndim == 2 and len(e) == rows and e.shape[1] >= number
    if not fits or not np.allclose(e.sum(axis=1), 1, atol=1e-6):
        raise EvidenceError(
            f"propensity is ({rows} rows, {number} actions), and each row sums to 1."
        )
    return e


def _chances_of(name: str, given: ArrayLike, rows: int, number: int) -> Float:
    """A policy's chances of each action, also where it names one action a row."""
    pi = np.asarray(given)
    if pi.ndim == 1:
        whole = len(pi) == rows and np.issubdtype(pi.dtype, np.integer)
        if not whole or (pi < 0).any() or (pi >= number).any():
            raise EvidenceError(f"{name}: its actions are {rows} integers from 0 to {number - 1}.")
        pi = np.eye(number)[pi]
    fits = pi.shape == (rows, number) and not (pi < 0).any()
    if not fits or not np.allclose(pi.sum(axis=1), 1, atol=1e-6):
        raise EvidenceError(
            f"{name}: its chances are ({rows}, {number}), none below 0, and each row sums to 1."
        )
    return pi


def _covariance(table: Float, cluster: ArrayLike | None) -> tuple[Float, int]:
    """Of the policies' means over (rows, policies), and how many independent units it rests on."""
    off = table - table.mean(axis=0)
    if cluster is not None:
        _, group = np.unique(np.asarray(cluster), return_inverse=True)
        off = np.stack([np.bincount(group, weights=column) for column in off.T], axis=1)
    units = len(off)
    return off.T @ off / len(table) ** 2 * units / max(units - 1, 1), units
