"""Plackett-Luce: rankings as repeated choice of the next best."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Unpack

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from policyrank.board.assembly import BoardOptions, make_leaderboard
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.errors import EvidenceError
from policyrank.evidence import Rankings
from policyrank.ranking.conventions import (
    UNIT_NAMES,
    WEAK_PRIOR,
    check_interval,
    checks_options,
    need,
    scale_of,
)
from policyrank.ranking.diagnostics import connectivity, input_notes

Float = NDArray[np.float64]


@checks_options
def plackett_luce(
    evidence: Rankings,
    *,
    scale: Literal["elo", "natural"] = "elo",
    unranked: Literal["missing", "last"] = "missing",
    prior: float | Literal["auto"] | None = "auto",
    interval: Literal["auto", "sandwich", "fisher", "none"] = "auto",
    **options: Unpack[BoardOptions],
) -> Leaderboard:
    """Plackett-Luce: the next place goes to i with probability exp(theta_i) / sum over those left.

    Fitted by maximum likelihood.
    Ballots may have any length. Ties are Efron's: the denominators of g tied places lose 0, 1/g,
    2/g, ... of the tied policies' mass. On ballots of two without ties this is Bradley-Terry.

    Parameters
    ----------
    evidence
        Rankings
    scale, prior
        as for ``bradley_terry``
    unranked
        ``"missing"``: a policy that a ballot does not hold was not there; ``"last"``: it was there
        and lost to all that are ranked (top-k ballots)
    interval
        ``"sandwich"`` (ballots independent), ``"fisher"``, ``"none"``; ``"auto"``: sandwich, but
        fisher under a prior or with fewer than five ballots a policy
    options
        level, simultaneous, seed

    References
    ----------
    Luce (1959); Plackett (1975); Hunter (2004); Efron (1977) on ties.

    Examples
    --------
    >>> board = plackett_luce(Rankings.of([["x", "y"]] * 3 + [["y", "x"]]), scale="natural")
    >>> round(float(board.rating[0] - board.rating[1]), 6)    # log 3
    1.098612
    """
    need(evidence, Rankings, "plackett-luce")
    check_interval(interval, ("auto", "sandwich", "fisher", "none"), "plackett-luce")
    unit, base = scale_of(scale)
    if unranked not in ("missing", "last"):
        raise EvidenceError(f"unranked={unranked!r}: use 'missing' or 'last'.")
    ballots, places = evidence, evidence.lengths
    if unranked == "last":
        ballots = evidence.complete()
    n = len(ballots.policies)
    notes = input_notes(evidence.notes)
    found = connectivity(ballots.policies, ballots.preferences())
    sd = _prior_sd(prior, found.strongly_connected, notes)
    lam = 0.0 if sd is None else sd**-2
    theta, at_mode = _maximum(ballots, places, lam)
    voters = float(evidence.weight.sum())
    if interval == "auto":
        interval = "fisher" if sd is not None or voters < 5 * n else "sandwich"
    covariance = df = None
    if interval != "none":
        inverse = np.asarray(np.linalg.inv(_pinned(at_mode.hessian, lam)), dtype=np.float64)
        if interval == "sandwich":
            inverse, df = _sandwich(inverse, at_mode.scores, evidence)
        centre = np.eye(n) - 1 / n
        covariance = centre @ inverse @ centre * unit**2
    if not found.connected:
        text = (
            "The ballots fall into groups of policies that never meet: ratings across groups cannot"
            " be compared."
        )
        notes.append(Note("disconnected", text, "warning"))
    return make_leaderboard(
        ballots.policies,
        (theta - theta.mean()) * unit + base,
        method="plackett-luce",
        n=evidence.seen(),
        covariance=covariance,
        df=df,
        notes=notes,
        unit=UNIT_NAMES[scale],
        source=evidence.summary,
        settings={"scale": scale, "unranked": unranked, "prior": sd, "interval": interval},
        extras={"loglik": at_mode.value},
        **options,
    )


class _Derivatives(NamedTuple):
    """Log-likelihood, gradient, negative Hessian, and each ballot's own score (ballots, n)."""

    value: float
    gradient: Float
    hessian: Float
    scores: sparse.csr_matrix


def _prior_sd(prior: Any, strong: bool, notes: list[Note]) -> float | None:
    """The prior's standard deviation: as given, or weak where there is no maximum."""
    if prior is not None and prior != "auto":
        if not isinstance(prior, (int, float)) or not prior > 0:
            raise EvidenceError(
                f"prior={prior!r}: give a standard deviation > 0 in log-odds, None, or 'auto'."
            )
        return float(prior)
    if strong:
        return None
    if prior is None:
        raise EvidenceError(
            "no finite maximum: some policies always come first or last. Keep prior='auto', or give"
            " prior=2.0."
        )
    text = (
        "The maximum of the likelihood is infinite (some policies always come first, or last, or"
        f" never meet the others): a Gaussian prior with sd {WEAK_PRIOR:g} log-odds was put around"
        " the mean."
    )
    notes.append(Note("prior", text, "warning"))
    return WEAK_PRIOR


def _pinned(hessian: Float, lam: float) -> Float:
    """The negative Hessian with the prior, its level pinned."""
    n = len(hessian)
    return hessian + lam * np.eye(n) + np.full((n, n), np.trace(hessian) / n**2)


def _maximum(
    ballots: Rankings, places: NDArray[np.int64], lam: float
) -> tuple[Float, _Derivatives]:
    """Newton's method with step halving: theta, and the derivatives there."""
    n = len(ballots.policies)
    theta = np.zeros(n)
    now = _derivatives(ballots, places, theta)
    for _ in range(100):
        full = _pinned(now.hessian, lam)
        slope = now.gradient - lam * theta
        step = np.linalg.solve(full + 1e-12 * np.trace(full) * np.eye(n), slope)
        length, before = 1.0, now.value - 0.5 * lam * theta @ theta
        while True:
            trial = theta + length * step
            new = _derivatives(ballots, places, trial)
            reached = new.value - 0.5 * lam * trial @ trial
            if reached >= before - 1e-9 * abs(before) or length < 1e-8:
                break
            length /= 2
        theta, now = trial, new
        if np.abs(length * step).max() < 1e-9:
            return theta, now
    raise EvidenceError("the fit has not converged after 100 steps. Give a prior (prior=2.0).")


def _sandwich(inverse: Float, scores: sparse.csr_matrix, ballots: Rankings) -> tuple[Float, float]:
    """Covariance over independent ballots, and its degrees of freedom."""
    units, w = ballots.voters, ballots.weight
    if not ballots.counts_voters:
        w = w**2
    meat = np.asarray((scores.T @ sparse.diags(w) @ scores).todense())
    return inverse @ meat @ inverse * units / (units - 1), units - 1


def _derivatives(ballots: Rankings, places: NDArray[np.int64], theta: Float) -> _Derivatives:
    """The log-likelihood at theta.

    ``places``: how many of a ballot's entries were really ranked; the rest only make up the last
    group.
    """
    n = len(theta)
    alpha = np.exp(theta - theta.max())
    value, hessian, parts = 0.0, np.zeros(n * n), []
    for part, policy, position in ballots.blocks(cells=4_000_000):
        length = policy.shape[1]
        same = position[:, :, None] == position[:, None, :]
        size = same.sum(axis=2)
        before = (same & np.tri(length, k=-1, dtype=bool)).sum(axis=2)
        share = 1 - before / size
        tied = np.where(same, share[:, :, None], 0.0)
        member = np.where(position[:, None, :] > position[:, :, None], 1.0, tied)
        stage = (np.arange(length) < places[part, None]) & (member.sum(axis=2) > member.max(axis=2))
        mass = member * alpha[policy][:, None, :]
        total = mass.sum(axis=2)
        p = mass / total[:, :, None] * stage[:, :, None]
        w = ballots.weight[part]
        value += float((w[:, None] * stage * (theta[policy] - theta.max() - np.log(total))).sum())
        score = stage - p.sum(axis=1)
        rows = np.repeat(part, length), policy.ravel()
        parts.append(sparse.coo_matrix((score.ravel(), rows), shape=(len(ballots), n)))
        square = np.einsum("gtu,gtv->guv", p, p, optimize=True)
        cells = policy[:, :, None].astype(np.int64) * n + policy[:, None, :]
        hessian -= np.bincount(cells.ravel(), (w[:, None, None] * square).ravel(), n * n)
        diagonal = policy.ravel().astype(np.int64) * (n + 1)
        hessian += np.bincount(diagonal, (w[:, None] * p.sum(axis=1)).ravel(), n * n)
    scores = sparse.csr_matrix(sum(parts[1:], parts[0]))
    gradient = np.asarray(scores.T @ ballots.weight)
    return _Derivatives(value, gradient, hessian.reshape(n, n), scores)
