"""Outcome models that never saw the rows they speak of, and the scores made of them."""

from __future__ import annotations

import copy
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyrank.board.intervals import Seed, generator
from policyrank.errors import EvidenceError, OptionError

Float = NDArray[np.float64]
Whole = NDArray[np.int64]


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

    Parameters
    ----------
    outcome, treated
        (rows,), what came of it, and 1 where it was treated, 0 where not
    mu1, mu0
        (rows,), outcomes foretold with and without treatment
    e
        (rows,), chances of treatment, between 0 and 1

    Examples
    --------
    >>> pseudo_outcomes([4, 0], [1, 0], [3, 3], [1, 1], [0.5, 0.5]).tolist()
    [4.0, 4.0]
    """
    y, a, m1, m0, p = (np.asarray(v, dtype=float) for v in (outcome, treated, mu1, mu0, e))
    inside = (p > 0) & (p < 1)
    if not inside.all():
        row = int(np.argmin(inside))
        raise EvidenceError(
            f"row {row + 1}: the chance of treatment is {p.flat[row]:g}; without overlap nothing"
            " can be said."
        )
    if not np.isin(a, (0, 1)).all():
        row = int(np.argmin(np.isin(a, (0, 1))))
        raise EvidenceError(f"row {row + 1}: treated is {a.flat[row]:g}; it is 0 or 1.")
    return np.asarray(m1 - m0 + (a - p) / (p * (1 - p)) * (y - np.where(a == 1, m1, m0)))


def outcome_models(
    features: Float,
    actions: Whole,
    outcome: Float,
    wanted: NDArray[np.bool_],
    *,
    model: Regressor | None = None,
    folds: int = 5,
    cluster: ArrayLike | None = None,
    seed: Seed = 0,
) -> Float:
    """Predicted outcome of each action for each row, by models that did not see the row.

    Neither the row nor its cluster. Neither the order of the rows nor the names of actions matter.

    Parameters
    ----------
    features, actions, outcome
        (rows, d), (rows,) from 0 on, (rows,)
    wanted
        (actions,) which are to be predicted
    model
        regressor of scikit-learn's kind, copied for each action and fold; None: ridge
    folds
        parts of the rows, each of which is left out in turn
    cluster
        (rows,) names of clusters, which are never cut; None: each row is its own
    seed
        of the folds

    Returns
    -------
    array
        (rows, actions); NaN for actions that are not wanted

    Raises
    ------
    EvidenceError
        Where an action is logged too rarely, or a model's predictions are not finite.
    """
    start = _checked_model(model)
    rng = generator(seed)
    unnamed = _unnamed(actions, outcome)
    order = _canonical(np.column_stack([unnamed, outcome, features]))
    x, a, y = features[order], actions[order], outcome[order]
    group = None if cluster is None else np.asarray(cluster)[order]
    fold = folds_of(unnamed[order], group, folds, rng)
    _settle(start, rng)
    predicted = np.full((len(x), len(wanted)), np.nan)
    for action in np.flatnonzero(wanted):
        for part in range(folds):
            held = fold == part
            seen = ~held & (a == action)
            if not seen.any():
                raise EvidenceError(
                    f"action {action} is logged {int((a == action).sum())} times: too few for"
                    f" {folds} folds. Take fewer folds, or leave it out."
                )
            if held.any():
                found = copy.deepcopy(start).fit(x[seen], y[seen]).predict(x[held])
                predicted[held, action] = np.asarray(found, dtype=float).reshape(-1)
    if not np.isfinite(predicted[:, wanted]).all():
        raise EvidenceError("the outcome model predicts what is not finite: take another one.")
    back = np.empty_like(predicted)
    back[order] = predicted
    return back


def folds_of(actions: Whole, cluster: Any, folds: int, rng: np.random.Generator) -> Whole:
    """Which part each row lies in, (rows,): clusters whole, with a like share of every action.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> found = folds_of(np.array([0, 1, 0, 1, 0, 1]), np.array(list("aabbcc")), 3, rng)
    >>> bool((found[::2] == found[1::2]).all()), sorted(found[::2].tolist())
    (True, [0, 1, 2])
    """
    if folds < 2:
        raise OptionError(f"folds={folds}: take at least 2.")
    group = np.arange(len(actions))
    if cluster is not None:
        group = np.unique(cluster, return_inverse=True)[1].ravel()
    clusters = int(group.max()) + 1
    if clusters < folds:
        what = "clusters" if cluster is not None else "rows"
        raise EvidenceError(
            f"{clusters} {what} cannot be parted into {folds} folds. Take fewer folds."
        )
    times = np.zeros((clusters, int(actions.max()) + 1))
    np.add.at(times, (group, actions), 1)
    dealt = rng.permutation(clusters)
    dealt = dealt[np.argsort(times.argmax(axis=1)[dealt], kind="stable")]
    fold = np.empty(clusters, dtype=np.int64)
    fold[dealt] = np.arange(clusters) % folds
    return fold[group]


def _checked_model(model: Regressor | None) -> Any:
    """A copy of the model, or the default one."""
    if model is None:
        return Ridge()
    if isinstance(model, type):
        raise OptionError(f"model={model.__name__}: give an object, {model.__name__}().")
    for verb in ("fit", "predict"):
        if not callable(getattr(model, verb, None)):
            raise OptionError(f"model={model!r}: it has no {verb}, as scikit-learn's regressors.")
    return copy.deepcopy(model)


def _settle(model: Any, rng: np.random.Generator) -> None:
    """A seed for a model of scikit-learn that has none: the same seed gives the same values."""
    if not hasattr(model, "get_params"):
        return
    unset = {}
    for name, value in model.get_params().items():
        if value is None and name.split("__")[-1] == "random_state":
            unset[name] = int(rng.integers(2**31))
    if unset:
        model.set_params(**unset)


def _unnamed(actions: Whole, outcome: Float) -> Whole:
    """Actions numbered by how often they were taken and what came of them, whatever their names."""
    times = np.bincount(actions)
    place = np.empty(len(times), dtype=np.int64)
    place[np.lexsort((np.bincount(actions, outcome), times))] = np.arange(len(times))
    return place[actions]


def _canonical(table: Float) -> NDArray[np.intp]:
    """An order of the rows that depends on what they hold alone."""
    return np.lexsort(table.T[::-1])
