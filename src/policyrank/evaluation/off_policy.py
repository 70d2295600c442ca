"""What a policy would be worth, from what another one logged.

Cross-fitted doubly robust values of any number of policies, ranked together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyrank.board.assembly import make_leaderboard
from policyrank.board.intervals import Seed
from policyrank.board.leaderboard import Leaderboard
from policyrank.errors import EvidenceError, OptionError
from policyrank.evaluation.cross_fitting import Regressor, outcome_models
from policyrank.evaluation.dependence import cluster_notes
from policyrank.evaluation.importance import UNSUPPORTED, Contrasts, contrasts, weights_of
from policyrank.evaluation.logged import Log, Reading, chances_of, read_log
from policyrank.evaluation.support import (
    Support,
    check_chances,
    refuse_unsupported,
    support_of,
    thin_support,
)

Float = NDArray[np.float64]
Range = tuple[float, float]


def off_policy_value(
    policies: Mapping[str, ArrayLike | Mapping[Any, ArrayLike]],
    actions: ArrayLike,
    outcome: ArrayLike,
    features: ArrayLike,
    propensity: ArrayLike | Mapping[Any, ArrayLike] | None = None,
    *,
    model: Regressor | None = None,
    folds: int = 5,
    clip: float = 0.05,
    switch: float | None = None,
    outcome_range: Range | None = None,
    cluster: ArrayLike | None = None,
    action_names: Sequence[Any] | None = None,
    propensity_of: Reading | None = None,
    level: float = 0.95,
    seed: Seed = 0,
) -> Leaderboard:
    """Values of policies from logged data, doubly robust, with simultaneous rank sets over all
    policies.

    An interval is as wide as the larger of the error seen and the one that the known chances
    foretell, by Student's t with the policy's effective rows, and a band beyond that for what is
    left to the outcome model where chances were raised. Differences of policies have their own.
    ``board.extras["estimators"]`` is a table: a row a policy, with its value by inverse propensity
    weighting and by other estimators, its effective rows and its mass without support.

    Parameters
    ----------
    policies
        name -> actions that it takes in each row, (rows,), or its chances of each, (rows, actions)
        or a table with a named column an action
    actions, outcome
        what was done (0, 1, ... or names) and what came of it, higher is better: (rows,)
    features
        (rows, d), what outcomes are predicted from
    propensity
        (rows, actions) or a table with a named column an action, the logging policy's chances;
        (rows,), see ``propensity_of``; None: each action was given at random with its share of the
        rows (a trial), which is refused where features tell otherwise
    model
        regressor of scikit-learn's kind, copied for each action and fold; None: ridge
    folds
        parts of the rows, outcomes in each of which are predicted from the others
    clip
        chances below it are raised to it, with a band for the bias; 0: none is
    switch
        where a policy's chance is more than so many times the log's, the model stands alone, with a
        band for the bias (Wang et al. 2017); None: nowhere
    outcome_range
        the least and the largest outcome that there can be: policies that do what the log never
        did are then bounded instead of refused
    cluster
        (rows,), names of rows that are not independent of each other; never cut into two folds
    action_names
        names of the columns of ``propensity`` and of chances that are plain arrays
    propensity_of
        what one column of propensities is the chance of: ``"taken"``, the action taken, or
        ``"treated"``, the second of two actions; None: whichever the log bears out, in a note
    level
        coverage of the intervals and rank sets
    seed
        of the folds and of what is drawn for rank sets

    Raises
    ------
    EvidenceError
        Naming the row whose action had no chance, or whose numbers cannot be used; the policy of
        which over 1% of what it would do had a chance below .001; or the feature that the stated
        chances do not reproduce.

    References
    ----------
    Dudik et al. (2011), arXiv 1103.4601; cross-fitting: Chernozhukov et al. (2018), arXiv
    1608.00060; switching: Wang et al. (2017), arXiv 1612.01205; bounds: Manski (1990). The foretold
    variance and the band are constructed for this library; ``policyrank study run
    off-policy-coverage`` measures their coverage.

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
    _check_options(len(policies), clip, switch)
    log = read_log(
        actions,
        outcome,
        features,
        propensity,
        action_names=action_names,
        propensity_of=propensity_of,
    )
    names = list(policies)
    pi = np.stack([chances_of(name, policies[name], log.names, len(log)) for name in names])
    group = _clusters(cluster, len(log))
    _check_range(log.outcome, outcome_range)
    notes = [*log.notes, *check_chances(names, log, pi, group)]
    notes += refuse_unsupported(names, log, pi, outcome_range)
    mu = _predicted(log, pi, outcome_range, model=model, folds=folds, cluster=group, seed=seed)
    weights = weights_of(log, pi, clip=clip, switch=switch, bounded=outcome_range is not None)
    known = contrasts(log, weights, mu, group, outcome_range)
    found = [support_of(k, log, own, mu, switch) for k, own in zip(names, pi, strict=True)]
    bounded = {name for note in notes if note.kind == "support" for name in note.policies}
    notes += thin_support(found, len(log), np.sqrt(known.variance.diagonal()), bounded)
    if group is not None:
        notes += cluster_notes(known.errors, float(known.df.min()))
    return make_leaderboard(
        names,
        known.value,
        method="off-policy value",
        n=np.full(len(names), len(log)),
        **_errors(known, level),
        level=level,
        seed=seed,
        notes=notes,
        unit="mean outcome",
        settings=_settings(folds=folds, clip=clip, switch=switch, outcome_range=outcome_range),
        extras={"estimators": _table(found, known, level)},
        source=f"{len(log):,} logged rows",
    )


def _check_options(policies: int, clip: float, switch: float | None) -> None:
    if policies < 2:
        raise EvidenceError("ranking takes at least two policies.")
    if not 0 <= clip < 1:
        raise OptionError(f"clip={clip}: it is a chance, 0 or more and below 1.")
    if switch is not None and not switch > 0:
        raise OptionError(f"switch={switch}: it is a weight, above 0.")


def _clusters(cluster: ArrayLike | None, rows: int) -> NDArray[Any] | None:
    if cluster is None:
        return None
    names = np.asarray(cluster)
    if names.shape != (rows,):
        raise EvidenceError(f"cluster names one cluster for each of {rows} rows.")
    return np.unique(names.astype(str), return_inverse=True)[1].ravel()


def _check_range(outcome: Float, outcome_range: Range | None) -> None:
    if outcome_range is None:
        return
    low, high = outcome_range
    if not low < high:
        raise OptionError(f"outcome_range={outcome_range}: give the least, then the largest.")
    outside = (outcome < low) | (outcome > high)
    if outside.any():
        row = int(np.argmax(outside))
        raise EvidenceError(
            f"row {row + 1}: its outcome {outcome[row]:g} lies outside outcome_range, {low:g} to"
            f" {high:g}."
        )


def _predicted(
    log: Log,
    pi: Float,
    outcome_range: Range | None,
    *,
    model: Regressor | None,
    folds: int,
    cluster: NDArray[Any] | None,
    seed: Seed,
) -> Float:
    """Outcomes of actions, (rows, actions): what no policy takes is 0, what was never seen lies in
    the middle of the range.
    """
    unseen = np.zeros(log.chances.shape, dtype=bool)
    if outcome_range is not None:
        unseen = log.chances < UNSUPPORTED
    wanted = np.where(unseen, 0.0, pi.max(axis=0)).max(axis=0) > 0
    mu = outcome_models(
        log.features,
        log.actions,
        log.outcome,
        wanted,
        model=model,
        folds=folds,
        cluster=cluster,
        seed=seed,
    )
    mu[:, ~wanted] = 0.0
    if outcome_range is not None:
        mu[unseen] = sum(outcome_range) / 2
    return mu


def _errors(known: Contrasts, level: float) -> dict[str, Any]:
    """What ``make_leaderboard`` takes of errors; nothing where nothing is known of them."""
    if not np.isfinite(known.df).all():
        return {}
    return {
        "covariance": known.covariance(level),
        "df": known.df,
        "z": known.z,
        "ends": known.ends(level),
    }


def _table(found: Sequence[Support], known: Contrasts, level: float) -> list[dict[str, Any]]:
    """A row a policy, best first."""
    half, band = known.half_width(level).diagonal(), known.band.diagonal()
    rows = []
    for k in np.argsort(-known.value, kind="stable"):
        rows.append(found[k].row(float(band[k] / half[k]) if half[k] > 0 else 0.0))
    return rows


def _settings(**given: Any) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}
