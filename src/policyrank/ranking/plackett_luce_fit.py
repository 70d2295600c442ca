"""Plackett-Luce: rankings as repeated choice of the next best."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from policyrank.board.assembly import make_leaderboard
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.errors import EvidenceError
from policyrank.evidence import Rankings
from policyrank.ranking.conventions import WEAK_PRIOR, need, scale_of
from policyrank.ranking.diagnostics import connectivity, input_notes

Float = NDArray[np.float64]


def plackett_luce(
    evidence: Rankings,
    *,
    scale: Literal["elo", "natural"] = "elo",
    unranked: Literal["missing", "last"] = "missing",
    prior: float | Literal["auto"] | None = "auto",
    interval: Literal["auto", "sandwich", "fisher", "none"] = "auto",
    **options: Any,
) -> Leaderboard:
    """Plackett-Luce: the next place goes to i with probability exp(theta_i) / sum over those left,
    by maximum likelihood.

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
    unit, base = scale_of(scale)
    if unranked not in ("missing", "last"):
        raise EvidenceError(f"unranked={unranked!r}: use 'missing' or 'last'.")
    ballots = evidence.complete() if unranked == "last" else evidence
    places = evidence.lengths if unranked == "last" else ballots.lengths
    n = len(ballots.policies)
    notes = input_notes(evidence.notes)
    found = connectivity(ballots.policies, ballots.preferences())
    sd: float | None = None
    if prior == "auto":
        if not found.strongly_connected:
            sd = WEAK_PRIOR
            notes.append(
                Note(
                    "prior",
                    "The maximum of the likelihood is infinite (some policies always come first,"
                    f" or last, or never meet the others): a Gaussian prior with sd {WEAK_PRIOR:g}"
                    " log-odds was put around the mean.",
                    "warning",
                )
            )
    elif prior is not None:
        if not isinstance(prior, (int, float)) or not prior > 0:
            raise EvidenceError(
                f"prior={prior!r}: give a standard deviation > 0 in log-odds, None, or 'auto'."
            )
        sd = float(prior)
    elif not found.strongly_connected:
        raise EvidenceError(
            "no finite maximum: some policies always come first or last. Keep prior='auto', or give"
            " prior=2.0."
        )
    lam = 0.0 if sd is None else sd**-2
    theta = np.zeros(n)
    value, gradient, hessian, scores = _derivatives(ballots, places, theta)
    for _ in range(100):
        full = hessian + lam * np.eye(n) + np.full((n, n), np.trace(hessian) / n**2)
        slope = gradient - lam * theta
        step = np.linalg.solve(full + 1e-12 * np.trace(full) * np.eye(n), slope)
        length, before = 1.0, value - 0.5 * lam * theta @ theta
        while True:
            trial = theta + length * step
            new = _derivatives(ballots, places, trial)
            if new[0] - 0.5 * lam * trial @ trial >= before - 1e-9 * abs(before) or length < 1e-8:
                break
            length /= 2
        theta, (value, gradient, hessian, scores) = trial, new
        if np.abs(length * step).max() < 1e-9:
            break
    else:
        raise EvidenceError("the fit has not converged after 100 steps. Give a prior (prior=2.0).")
    voters = float(evidence.weight.sum())
    if interval == "auto":
        interval = "fisher" if sd is not None or voters < 5 * n else "sandwich"
    elif interval not in ("sandwich", "fisher", "none"):
        raise EvidenceError(
            f"interval={interval!r}: plackett-luce has 'auto', 'sandwich', 'fisher' or 'none'."
        )
    centre = np.eye(n) - 1 / n
    covariance = df = None
    if interval != "none":
        inverse = np.linalg.inv(
            hessian + lam * np.eye(n) + np.full((n, n), np.trace(hessian) / n**2)
        )
        if interval == "sandwich":
            whole = (evidence.weight == np.round(evidence.weight)).all()
            w = evidence.weight if whole else evidence.weight**2
            meat = np.asarray((scores.T @ sparse.diags(w) @ scores).todense())
            units = voters if whole else float(len(w))
            inverse, df = inverse @ meat @ inverse * units / (units - 1), units - 1
        covariance = centre @ inverse @ centre * unit**2
    if not found.connected:
        notes.append(
            Note(
                "disconnected",
                "The ballots fall into groups of policies that never meet: ratings across groups"
                " cannot be compared.",
                "warning",
            )
        )
    return make_leaderboard(
        ballots.policies,
        (theta - theta.mean()) * unit + base,
        method="plackett-luce",
        n=evidence.seen(),
        covariance=covariance,
        df=df,
        notes=notes,
        unit="Elo points" if scale == "elo" else "log-odds",
        source=evidence.summary,
        settings={"scale": scale, "unranked": unranked, "prior": sd, "interval": interval},
        extras={"loglik": value},
        **options,
    )


def _derivatives(
    ballots: Rankings, places: NDArray[np.int64], theta: Float
) -> tuple[float, Float, Float, sparse.csr_matrix]:
    """Log-likelihood, gradient, negative Hessian, and each ballot's own score (ballots, n).

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
        member = np.where(
            position[:, None, :] > position[:, :, None], 1.0, np.where(same, share[:, :, None], 0.0)
        )
        stage = (np.arange(length) < places[part, None]) & (member.sum(axis=2) > member.max(axis=2))
        mass = member * alpha[policy][:, None, :]
        total = mass.sum(axis=2)
        p = mass / total[:, :, None] * stage[:, :, None]
        w = ballots.weight[part]
        value += float((w[:, None] * stage * (theta[policy] - theta.max() - np.log(total))).sum())
        score = stage - p.sum(axis=1)
        parts.append(
            sparse.coo_matrix(
                (score.ravel(), (np.repeat(part, length), policy.ravel())), shape=(len(ballots), n)
            )
        )
        square = np.einsum("gtu,gtv->guv", p, p, optimize=True)
        cells = policy[:, :, None].astype(np.int64) * n + policy[:, None, :]
        hessian -= np.bincount(cells.ravel(), (w[:, None, None] * square).ravel(), n * n)
        hessian += np.bincount(
            policy.ravel().astype(np.int64) * (n + 1), (w[:, None] * p.sum(axis=1)).ravel(), n * n
        )
    scores = sparse.csr_matrix(sum(parts[1:], parts[0]))
    return value, np.asarray(scores.T @ ballots.weight), hessian.reshape(n, n), scores
