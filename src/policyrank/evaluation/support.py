"""Whether a log can speak of a policy: what it never did, how few rows stand for it, other
estimators beside the doubly robust one, and whether the stated chances can be true.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyrank.board.clusters import clustered_mean
from policyrank.board.intervals import quantile
from policyrank.board.leaderboard import Note
from policyrank.errors import EvidenceError
from policyrank.evaluation.importance import TINY, UNSUPPORTED
from policyrank.evaluation.logged import Log

Float = NDArray[np.float64]

TRUNCATIONS = (0.01, 0.05, 0.1)
HEAVY = 10.0
LARGEST_MASS = 0.01
"""Share of what a policy would do beyond which the lack of support is a refusal."""

CLEARLY = 6.0
"""Standard errors by which a feature is to be missed before a log is refused as no trial."""

LEAST_ROWS, LEAST_SHARE = 100, 0.2
"""Effective rows, and their share of all, below which a policy's value leans on few rows."""


@dataclass(frozen=True)
class Support:
    """What a log holds about a policy, and its value by every estimator.

    Attributes
    ----------
    policy
        its name
    values
        estimator -> value: "IPW", "SNIPW" (self-normalised), "direct" (the model alone), "DR",
        "SN-DR", "DR, clip ..." with chances raised, and "switch-DR, ...", which leaves heavier
        weights to the model
    effective
        (sum w)^2 / sum w^2, rows
    mass
        share of what it would do that the log did with no chance, below .001, .01 and .05
    largest
        the largest weight that any row could have
    mean_weight
        1 where the stated chances are true and nothing is missing
    residual
        mean residual of the outcome model where the policy goes, weighted: 0 for a right model
    """

    policy: str
    values: dict[str, float]
    effective: float
    mass: dict[float, float]
    largest: float
    mean_weight: float
    residual: float

    def row(self, band_share: float) -> dict[str, float | str]:
        """As a flat row of a table; ``band_share``: of the half-width of its interval."""
        out: dict[str, float | str] = {"policy": self.policy, **self.values}
        out["effective rows"] = self.effective
        for least, share in self.mass.items():
            out[f"mass below {least:g}" if least else "mass without chance"] = share
        out["largest weight"] = self.largest
        out["mean weight"] = self.mean_weight
        out["weighted residual"] = self.residual
        out["band in half-width"] = band_share
        return out


def support_of(policy: str, log: Log, pi: Float, mu: Float, switch: float | None = None) -> Support:
    """What the log holds about one policy.

    Parameters
    ----------
    policy
        its name
    log
        what was logged
    pi
        (rows, actions), its chances
    mu
        (rows, actions), predicted outcomes
    switch
        the weight above which switch-DR leaves rows to the model; None: 10

    References
    ----------
    Dudik et al. (2011), arXiv 1103.4601; self-normalised: Swaminathan and Joachims (2015);
    switch-DR: Wang et al. (2017), arXiv 1612.01205.

    Examples
    --------
    >>> from policyrank.evaluation.logged import read_log
    >>> log = read_log([0, 1, 0, 1], [1, 2, 3, 4], np.zeros((4, 1)))
    >>> found = support_of("all", log, np.array([[0.0, 1.0]] * 4), np.full((4, 2), 2.0))
    >>> found.values["IPW"], found.values["direct"], found.values["DR"], found.effective
    (3.0, 2.0, 3.0, 2.0)
    """
    e, y = log.taken(log.chances), log.outcome
    chosen, residual = log.taken(pi), log.outcome - log.taken(mu)
    direct = float((pi * mu).sum(axis=1).mean())
    weight = chosen / e
    total = max(float(weight.sum()), TINY)
    drift = float(weight @ residual) / total
    values = {
        "IPW": float((weight * y).mean()),
        "SNIPW": float(weight @ y) / total,
        "direct": direct,
        "DR": direct + float((weight * residual).mean()),
        "SN-DR": direct + drift,
    }
    for clip in TRUNCATIONS:
        kept = chosen / np.maximum(e, clip)
        values[f"DR, clip {clip:g}"] = direct + float((kept * residual).mean())
    tau = switch or HEAVY
    light = np.where(weight <= tau, weight, 0.0)
    values[f"switch-DR, {tau:g}"] = direct + float((light * residual).mean())
    mass = {least: mass_below(log, pi, least) for least in (0.0, UNSUPPORTED, 0.01, 0.05)}
    possible = (log.count * pi > 0) & (log.chances > 0)
    largest = float((pi / np.maximum(log.chances, TINY))[possible].max(initial=0.0))
    effective = total**2 / max(float(weight @ weight), TINY)
    return Support(policy, values, effective, mass, largest, float(weight.mean()), drift)


def mass_below(log: Log, pi: Float, least: float) -> float:
    """Share of what a policy would do that the log did with a chance below ``least``.

    0: with none at all.

    Examples
    --------
    >>> from policyrank.evaluation.logged import read_log
    >>> log = read_log([0, 1], [1, 2], np.zeros((2, 1)), [[1.0, 0.0], [0.98, 0.02]])
    >>> always = np.array([[0.0, 1.0]] * 2)
    >>> mass_below(log, always, 0), mass_below(log, always, 0.05)
    (0.5, 1.0)
    """
    there = log.chances < least if least > 0 else log.chances <= 0
    return float((log.count[there] * pi[there]).sum()) / len(log)


def refuse_unsupported(
    policies: Sequence[str],
    log: Log,
    pi: Float,
    outcome_range: tuple[float, float] | None = None,
) -> list[Note]:
    """Refuse policies that do what the log never did, or of which no row tells anything.

    Parameters
    ----------
    policies
        names
    log
        what was logged
    pi
        (policies, rows, actions)
    outcome_range
        of all outcomes: such policies are then bounded, and noted

    Raises
    ------
    EvidenceError
        Naming the policy.
    """
    notes = []
    for name, own in zip(policies, pi, strict=True):
        mass, none = mass_below(log, own, UNSUPPORTED), mass_below(log, own, 0)
        if not log.taken(own).any():
            raise EvidenceError(f"{name}: it would have done nothing of what was logged.")
        if outcome_range is not None and mass > 0:
            text = (
                f"{name}: {mass:.1%} of what it would do the log did with a chance below"
                f" {UNSUPPORTED:g}: its value is bounded, with outcomes there from"
                f" {outcome_range[0]:g} to {outcome_range[1]:g}; the rating is the middle."
            )
            notes.append(Note("support", text, "warning", (name,)))
        elif mass > LARGEST_MASS:
            never = f" (never: {none:.0%})" if none > 0 else ""
            raise EvidenceError(
                f"{name}: {mass:.0%} of what it would do the log did with a chance below"
                f" {UNSUPPORTED:g}{never}: what would follow was not seen. Leave the policy out, or"
                " give outcome_range=(least, most) to bound its value."
            )
    return notes


def thin_support(
    found: Sequence[Support], rows: int, errors: Float, bounded: Container[str] = ()
) -> list[Note]:
    """Notes on policies about which the log holds little.

    Parameters
    ----------
    found
        of each policy
    rows
        of the log
    errors
        standard errors of the values
    bounded
        policies of which more was said already
    """
    thin = []
    for one, error in zip(found, errors, strict=True):
        reasons = _reasons(one, rows, float(error))
        if reasons and one.policy not in bounded:
            thin.append((one, reasons))
    if len(thin) > 6:
        names = tuple(one.policy for one, _ in thin)
        text = (
            f"The log holds little about {len(thin)} policies ({', '.join(names[:5])}, ...): see"
            " the table of estimators, extras['estimators']."
        )
        return [Note("overlap", text, "warning", names)]
    notes = []
    for one, reasons in thin:
        text = f"{one.policy}: {'; '.join(reasons)}. Its value leans on the outcome model."
        notes.append(Note("overlap", text, "warning", (one.policy,)))
    return notes


def _reasons(one: Support, rows: int, error: float) -> list[str]:
    reasons = []
    if one.mass[0.05] > 0.02 or one.mass[0.01] > 0.002:
        reasons.append(
            f"{one.mass[0.05]:.1%} of what it would do had a chance below .05, {one.mass[0.01]:.1%}"
            " one below .01"
        )
    if one.effective < max(LEAST_ROWS, LEAST_SHARE * rows):
        reasons.append(f"{rows:,} rows tell as much as {one.effective:,.0f} of its own")
    apart = abs(one.values["DR, clip 0.01"] - one.values["DR, clip 0.1"])
    if apart > error:
        reasons.append(f"chances raised to .01 or to .1 make a difference of {apart:.3g}")
    return reasons


def check_chances(
    policies: Sequence[str], log: Log, pi: Float, cluster: ArrayLike | None = None
) -> list[Note]:
    """Whether the stated chances can be true: weights are to give back the features' means.

    The error of a weighted mean is the larger of what the chances foretell and, with clusters, of
    what was seen.

    Parameters
    ----------
    policies
        names
    log
        what was logged
    pi
        (policies, rows, actions)
    cluster
        (rows,) names of clusters

    Raises
    ------
    EvidenceError
        Where chances were not given and the log is clearly no trial with constant shares, or only
        those of the actions taken were and weight is missing.
    """
    spread = log.features.std(axis=0)
    varies = spread > 1e-12
    scale = np.where(varies, spread, 1.0)
    standard = ((log.features - log.features.mean(axis=0)) / scale)[:, varies]
    columns = np.column_stack([np.ones(len(log)), standard])
    many = quantile(1 - 0.005 / (columns.shape[1] * len(policies)), None)
    least = max(4.0, many)
    notes = []
    for name, chances in zip(policies, pi, strict=True):
        off, error = _imbalance(log, chances, columns, cluster)
        z = np.abs(off) / np.maximum(error, TINY)
        z[error <= 1e-12] = 0.0
        if not log.complete and -off[0] > LARGEST_MASS and z[0] > least:
            raise EvidenceError(
                f"{name}: its weights add up to {1 + off[0]:.0%} of the rows: the rest of what it"
                " would do was not logged. Leave it out, or give the chances of all actions."
            )
        k = int(np.argmax(z))
        if z[k] <= least:
            continue
        what = "the number of rows" if k == 0 else f"feature {np.flatnonzero(varies)[k - 1] + 1}"
        text = (
            f"{name}: the stated chances do not reproduce {what}: its weighted mean is off by"
            f" {abs(off[k]):.2g}{' of 1' if k == 0 else ' deviations'} (z = {z[k]:.1f})"
        )
        if not log.declared and abs(off[k]) > 0.1 and z[k] > CLEARLY:
            raise EvidenceError(
                f"{text}. The log is no trial with constant shares: give propensity, the chances"
                " that actions had."
            )
        notes.append(Note("chances", f"{text}.", "warning", (name,)))
    return notes


def _imbalance(
    log: Log, pi: Float, columns: Float, cluster: ArrayLike | None
) -> tuple[Float, Float]:
    """Weighted less plain means of columns, and their standard errors by the stated chances."""
    there = np.where(log.chances > 0, log.chances, 1.0)
    seen = np.where(log.chances > 0, pi, 0.0) * log.count
    expected = np.ones(len(log))
    if log.complete:
        expected = seen.sum(axis=1)
    gap = log.taken(pi) / log.taken(log.chances) - expected
    planned = np.maximum((seen * pi / there).sum(axis=1) - expected**2, 0)
    variance = planned @ columns**2 / len(log) ** 2
    if cluster is not None:
        found = clustered_mean(gap[:, None] * columns, cluster)
        variance = np.fmax(variance, found.covariance.diagonal())
    return gap @ columns / len(log), np.sqrt(variance)
