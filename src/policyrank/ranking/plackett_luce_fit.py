"""Plackett-Luce: rankings as repeated choice of the next best."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, Unpack

import numpy as np
from numpy.typing import NDArray

from policyrank.board.assembly import BoardOptions, make_leaderboard
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.errors import EvidenceError
from policyrank.evidence import Rankings
from policyrank.ranking.cluster_errors import (
    Corrected,
    corrected,
    degrees_of_freedom,
    heaviest,
)
from policyrank.ranking.conventions import (
    UNIT_NAMES,
    check_interval,
    checks_options,
    need,
    scale_of,
)
from policyrank.ranking.diagnostics import SINGLE_BALLOT, connectivity, evidence_notes
from policyrank.ranking.priors import prior_sd

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
        ``"sandwich"`` (ballots independent: CR2 with Satterthwaite's degrees of freedom),
        ``"fisher"`` (trusts the model), ``"none"``; ``"auto"``: sandwich
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
    notes = evidence_notes(evidence)
    found = connectivity(ballots.policies, ballots.preferences())
    why_not = "some policies always come first, or last, or never meet the others"
    sd = prior_sd(prior, found.strongly_connected, why_not, notes)
    lam = 0.0 if sd is None else sd**-2
    theta, at_mode = _maximum(ballots, places, lam)
    if interval == "auto":
        interval = "sandwich"
        if evidence.voters < 2:
            interval = "none"
            notes.append(SINGLE_BALLOT)
    covariance = df = None
    if interval != "none":
        centre = np.eye(n) - 1 / n
        inverse = np.asarray(np.linalg.inv(_pinned(at_mode.hessian, lam)), dtype=np.float64)
        if interval == "sandwich":
            by = _by_group if ballots.unit == "group" else _by_ballot
            inverse, df = by(inverse, ballots, places, theta, lam)
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
    """Log-likelihood, gradient and negative Hessian."""

    value: float
    gradient: Float
    hessian: Float


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


def _by_ballot(
    inverse: Float, ballots: Rankings, places: NDArray[np.int64], theta: Float, lam: float
) -> tuple[Float, Float]:
    """Covariance over independent ballots (CR2), and degrees of freedom (n, n).

    With a floor, the model's covariance over the number of ballots, and what the prior decides.
    """
    n, voters = len(theta), ballots.voters
    copies = ballots.weight if ballots.counts_voters else np.ones(len(ballots))
    importance = ballots.weight / copies if ballots.counts_voters else ballots.weight
    stages = list(_stages(ballots, places, theta))
    leverage = np.zeros(len(ballots))
    for stage in stages:
        inner = inverse[stage.policy[:, :, None], stage.policy[:, None, :]]
        trace = np.einsum("gij,gij->g", stage.information, inner)
        leverage[stage.ballot] = importance[stage.ballot] * trace
    exact = heaviest(leverage)
    is_exact = np.zeros(len(ballots), dtype=bool)
    is_exact[exact] = True
    found: list[Corrected] = []
    scores = np.zeros((len(ballots), n))
    for stage in stages:
        for g in np.flatnonzero(is_exact[stage.ballot]):
            ballot, place = stage.ballot[g], stage.policy[g].astype(np.int64)
            w = importance[ballot]
            cluster = corrected(
                place, w * stage.information[g], w * stage.score[g], inverse, copies[ballot]
            )
            scores[ballot, place] = cluster.score
            found.append(cluster)
        g = np.flatnonzero(~is_exact[stage.ballot])
        ballot, policy, w = stage.ballot[g], stage.policy[g], importance[stage.ballot[g], None]
        inner = inverse[policy[:, :, None], policy[:, None, :]]
        moved = (stage.information[g] @ (inner @ stage.score[g][:, :, None]))[:, :, 0]
        scores[ballot[:, None], policy] = w * stage.score[g] + w**2 * moved / 2
    meat = (scores.T * copies) @ scores
    floor = inverse * float(ballots.weight @ importance) / float(ballots.weight.sum()) / voters
    covariance = inverse @ meat @ inverse + floor + lam * inverse @ inverse
    lightest = min(float(np.delete(leverage, exact).max(initial=0.0)), 0.99)
    freedom = degrees_of_freedom(found, inverse, np.eye(n) - 1 / n, lightest)
    return covariance + freedom.alone, freedom.df


def _by_group(
    inverse: Float, ballots: Rankings, places: NDArray[np.int64], theta: Float, lam: float
) -> tuple[Float, Float]:
    """As ``_by_ballot``, over independent groups of ballots."""
    assert ballots.group is not None
    n, group = len(theta), ballots.group.codes.astype(np.int64)
    groups = len(ballots.group.names)
    score, information = np.zeros((groups, n)), np.zeros((groups, n, n))
    for stage in _stages(ballots, places, theta):
        w, g = ballots.weight[stage.ballot], group[stage.ballot, None]
        np.add.at(score, (g, stage.policy), w[:, None] * stage.score)
        rows, columns = stage.policy[:, :, None], stage.policy[:, None, :]
        np.add.at(information, (g[:, :, None], rows, columns), w[:, None, None] * stage.information)
    everyone = np.arange(n)
    used = np.flatnonzero(information.any(axis=(1, 2)))
    found = [corrected(everyone, information[g], score[g], inverse) for g in used]
    scores = np.array([cluster.score for cluster in found])
    covariance = inverse @ (scores.T @ scores) @ inverse
    covariance += inverse / len(found) + lam * inverse @ inverse
    freedom = degrees_of_freedom(found, inverse, np.eye(n) - 1 / n, 0.0)
    return covariance + freedom.alone, freedom.df


class _Stages(NamedTuple):
    """Ballots of one length at theta: their policies, scores and information, weight aside.

    ``value`` (g,), ``ballot`` (g,), ``policy`` and ``score`` (g, length), ``information``
    (g, length, length).
    """

    ballot: NDArray[np.int64]
    policy: NDArray[np.int32]
    value: Float
    score: Float
    information: Float


def _stages(ballots: Rankings, places: NDArray[np.int64], theta: Float) -> Iterator[_Stages]:
    """Each ballot's log-likelihood at theta and its derivatives.

    ``places``: how many of a ballot's entries were really ranked; the rest only make up the last
    group.
    """
    alpha = np.exp(theta - theta.max())
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
        value = (stage * (theta[policy] - theta.max() - np.log(total))).sum(axis=1)
        information = -np.einsum("gtu,gtv->guv", p, p, optimize=True)
        at = np.arange(length)
        information[:, at, at] += p.sum(axis=1)
        yield _Stages(part, policy, value, stage - p.sum(axis=1), information)


def _derivatives(ballots: Rankings, places: NDArray[np.int64], theta: Float) -> _Derivatives:
    """The log-likelihood at theta, its gradient and negative Hessian."""
    n = len(theta)
    value, gradient, hessian = 0.0, np.zeros(n), np.zeros(n * n)
    for stage in _stages(ballots, places, theta):
        w, policy = ballots.weight[stage.ballot], stage.policy.astype(np.int64)
        value += float(w @ stage.value)
        gradient += np.bincount(policy.ravel(), (w[:, None] * stage.score).ravel(), n)
        cells = policy[:, :, None] * n + policy[:, None, :]
        weighted = w[:, None, None] * stage.information
        hessian += np.bincount(cells.ravel(), weighted.ravel(), n * n)
    return _Derivatives(value, gradient, hessian.reshape(n, n))
