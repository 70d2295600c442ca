"""Bradley-Terry over hidden tasks: a mixture, as RoboArena has it."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logsumexp, softmax

from policyrank.board.assembly import make_leaderboard
from policyrank.board.intervals import Seed, generator
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.errors import EvidenceError
from policyrank.evidence import Comparisons
from policyrank.ranking.cells import Cells
from policyrank.ranking.conventions import UNIT_NAMES, checks_options, need, scale_of
from policyrank.ranking.diagnostics import evidence_notes

Float = NDArray[np.float64]


@checks_options
def task_mixture(
    evidence: Comparisons,
    *,
    buckets: int = 100,
    normalise: bool = True,
    l2: float = 0.01,
    progress: ArrayLike | None = None,
    progress_sd: float = 0.3,
    restarts: int = 5,
    scale: Literal["elo", "natural"] = "elo",
    seed: Seed = 0,
) -> Leaderboard:
    """A mixture over hidden task buckets (RoboArena's task-aware model), by exact gradients.

    In bucket t policy p solves a task with probability s = sigma(theta_p + psi_pt - tau_t), and
    P(win) = s_i (1 - s_j), P(loss) = (1 - s_i) s_j, P(tie) = 2 nu sqrt(P(win) P(loss)). The
    likelihood sums over buckets with weights pi_t, and is maximised (with ridge ``l2`` on theta and
    psi) by L-BFGS from random starts, whose ratings are averaged.

    Parameters
    ----------
    evidence
        Comparisons with outcomes 0, 0.5, 1
    buckets
        how many hidden tasks, >= 1
    normalise
        divide the three probabilities by their sum; with one bucket this is Davidson's model
        exactly. False: as published; with one bucket each rating then depends only on the policy's
        own wins and ties, and nu on nothing.
    l2
        ridge on theta and psi, >= 0
    progress
        (rows, 2), how far the first and the second policy came, in [0, 1]; NaN: not measured. Each
        trial's likelihood in a bucket is multiplied by exp(-((x_i - s_i)^2 + (x_j - s_j)^2) /
        (2 progress_sd^2)): what came of a trial tells of its task, too
    progress_sd
        how far progress strays from the probability to solve, > 0
    restarts
        random starts, >= 1

    Returns
    -------
    Leaderboard
        Rating: theta_p + sum_t pi_t psi_pt. ``extras``: loglik, nu, weights pi, spread over
        restarts. No intervals: hidden buckets with one comparison a trial are not identified;
        prefer ``bradley_terry_by_task`` where tasks are known.

    References
    ----------
    Atreya et al. (2025), "RoboArena", arXiv 2506.18123.

    Examples
    --------
    >>> trials = Comparisons.of(["x"] * 4 + ["y"], ["y"] * 4 + ["z"], [1, 1, 1, 0, 0.5])
    >>> board = task_mixture(trials, buckets=2, restarts=2)
    >>> board.policies[0], len(board.extras["weights"])
    ('x', 2)
    """
    need(evidence, Comparisons, "task-mixture")
    if buckets < 1 or restarts < 1:
        raise EvidenceError("buckets and restarts must be at least 1.")
    unit, base = scale_of(scale)
    if progress_sd <= 0:
        raise EvidenceError("progress_sd must be above 0.")
    cells, seen = Cells.of(evidence), None
    if progress is not None:
        cells, seen = _with_progress(evidence, np.asarray(progress, dtype=float), progress_sd)
    if not np.isin(cells.y, (0.0, 0.5, 1.0)).all():
        raise EvidenceError("task-mixture needs outcomes 0, 0.5 and 1; these have others.")
    rng = generator(seed)
    fits = []
    for _ in range(restarts):
        start = _start(cells.size, buckets, rng)
        fits.append(_mixture(cells, start, buckets, normalise, l2, seen))
    best = min(fits, key=lambda fit: fit.loss)
    ratings = np.array([fit.rating for fit in fits])
    spread = ratings.std(axis=0)
    text = (
        "Hidden task buckets are not identified by one comparison a trial: no intervals. "
        f"Over {restarts} starts the ratings vary by {spread.max() * unit:.2g}."
    )
    nu = None
    if normalise:
        nu = best.nu
    return make_leaderboard(
        evidence.policies,
        ratings.mean(axis=0) * unit + base,
        method="task-mixture",
        n=evidence.seen(),
        notes=[*evidence_notes(evidence), Note("hidden tasks", text)],
        unit=UNIT_NAMES[scale],
        source=evidence.summary,
        settings={
            "buckets": buckets,
            "normalise": normalise,
            "l2": l2,
            "progress_sd": None if progress is None else progress_sd,
            "restarts": restarts,
            "scale": scale,
            "seed": seed,
        },
        extras={
            "objective": -best.loss,
            "nu": nu,
            "weights": best.weights,
            "restart_sd": spread,
        },
    )


class _Progress(NamedTuple):
    """How far both policies of each cell came (cells,), NaN where not measured, and its spread."""

    i: Float
    j: Float
    sd: float


def _with_progress(c: Comparisons, progress: Float, sd: float) -> tuple[Cells, _Progress]:
    """A cell a trial, with what came of it."""
    if progress.shape != (len(c), 2):
        raise EvidenceError(f"progress {progress.shape}: give ({len(c):,}, 2), two numbers a row.")
    measured = progress[~np.isnan(progress)]
    if ((measured < 0) | (measured > 1)).any():
        raise EvidenceError("progress lies between 0 and 1; some of it does not.")
    games = c.games()
    weight = np.ones(len(games.row)) if c.weight is None else c.weight[games.row]
    nothing = np.zeros((len(games.row), 0))
    cells = Cells(len(c.policies), games.a, games.b, games.outcome, games.times, weight, nothing)
    return cells, _Progress(progress[games.row, 0], progress[games.row, 1], sd)


class _Mixture(NamedTuple):
    """A local optimum: minus its objective, ratings of mean 0, weights pi of the buckets, nu."""

    loss: float
    rating: Float
    weights: Float
    nu: float


def _mixture(
    cells: Cells,
    start: Float,
    buckets: int,
    normalise: bool,
    l2: float,
    progress: _Progress | None,
) -> _Mixture:
    found = minimize(
        _mixture_loss,
        start,
        args=(cells, buckets, normalise, l2, progress),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 2000, "maxcor": 20},
    )
    theta, psi, _, log_pi, log_nu = _unpack(found.x, cells.size, buckets)
    weights = softmax(log_pi)
    rating = theta + psi @ weights
    return _Mixture(float(found.fun), rating - rating.mean(), weights, float(np.exp(log_nu)))


def _start(policies: int, buckets: int, rng: np.random.Generator) -> Float:
    theta = rng.normal(0, 0.1, policies)
    tau = rng.normal(0, 0.1, buckets)
    psi = np.zeros(policies * buckets)
    if buckets > 1:
        psi = rng.normal(0, 0.1, policies * buckets)
    log_pi, log_nu = np.zeros(buckets), np.log(0.5)
    return np.r_[theta, psi, tau, log_pi, log_nu]


def _unpack(
    parameters: Float, policies: int, buckets: int
) -> tuple[Float, Float, Float, Float, float]:
    """theta (policies,), psi (policies, buckets), tau and log pi (buckets,), log nu."""
    ends = np.cumsum([policies, policies * buckets, buckets, buckets])
    theta, psi, tau, log_pi, log_nu = np.split(parameters, ends)
    return theta, psi.reshape(policies, buckets), tau, log_pi, float(log_nu[0])


def _mixture_loss(
    parameters: Float,
    cells: Cells,
    buckets: int,
    normalise: bool,
    l2: float,
    progress: _Progress | None = None,
) -> tuple[float, Float]:
    """Minus the penalised log-likelihood, and its gradient."""
    theta, psi, tau, log_pi, log_nu = _unpack(parameters, cells.size, buckets)
    z = theta[:, None] + psi - tau
    z_i, z_j = z[cells.i], z[cells.j]
    log_p, of_i, of_j, of_nu = _log_chances(z_i, z_j, cells.y[:, None], log_nu, normalise)
    if progress is not None:
        for of_own, own, came in ((of_i, z_i, progress.i), (of_j, z_j, progress.j)):
            solved = expit(own)
            off = np.nan_to_num(came[:, None] - solved) / progress.sd
            log_p -= 0.5 * off**2
            of_own += off * solved * (1 - solved) / progress.sd
    mass = cells.mass
    log_weight = log_pi - logsumexp(log_pi)
    joint = log_weight + log_p
    of_cell = logsumexp(joint, axis=1)
    # How much of each cell is of each bucket.
    gamma = mass[:, None] * np.exp(joint - of_cell[:, None])
    of_z = np.zeros_like(z)
    np.add.at(of_z, cells.i, gamma * of_i)
    np.add.at(of_z, cells.j, gamma * of_j)
    value = float(mass @ of_cell) - 0.5 * l2 * float(theta @ theta + (psi**2).sum())
    gradient = np.r_[
        of_z.sum(axis=1) - l2 * theta,
        (of_z - l2 * psi).ravel(),
        -of_z.sum(axis=0),
        gamma.sum(axis=0) - mass.sum() * np.exp(log_weight),
        (gamma * of_nu).sum(),
    ]
    return -value, -gradient


def _log_chances(
    z_i: Float, z_j: Float, y: Float, log_nu: float, normalise: bool
) -> tuple[Float, Float, Float, Float]:
    """Log-probability of each outcome in each bucket, and its slopes in z_i, z_j and log nu."""
    win = log_expit(z_i) + log_expit(-z_j)
    loss = log_expit(-z_i) + log_expit(z_j)
    tie = np.log(2) + log_nu + 0.5 * (win + loss)
    log_p = np.select([y == 1, y == 0], [win, loss], tie)
    if not normalise:
        return log_p, y - expit(z_i), (1 - y) - expit(z_j), np.zeros_like(z_i)
    total = logsumexp(np.stack([win, loss, tie]), axis=0)
    tied = np.exp(tie - total)
    share = np.exp(win - total) + 0.5 * tied
    return log_p - total, y - share, share - y, (y == 0.5) - tied
