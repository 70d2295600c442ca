"""Bradley-Terry that knows of tasks: pooled over named ones, or a mixture over hidden ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_expit, logsumexp, softmax

from policyrank.board.assembly import make_leaderboard
from policyrank.board.intervals import Seed, generator, quantile
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.errors import EvidenceError
from policyrank.evidence import Comparisons
from policyrank.ranking.cells import Cells, assemble
from policyrank.ranking.conventions import checks_options, need, scale_of
from policyrank.ranking.diagnostics import comparison_notes, input_notes

Float = NDArray[np.float64]


@checks_options
def bradley_terry_by_task(
    evidence: Comparisons,
    *,
    pooling: float | Literal["auto"] = "auto",
    scale: Literal["elo", "natural"] = "elo",
    level: float = 0.95,
    simultaneous: bool = True,
    seed: Seed = 0,
) -> Leaderboard:
    """Bradley-Terry with a rating in each task, shrunk towards the policy's overall rating.

    P(i beats j in task t) = sigma((theta_i + psi_it) - (theta_j + psi_jt)), psi ~ N(0, pooling^2),
    ties half. The board shows theta; its intervals count how much policies differ from task to task
    (Laplace approximation).

    Parameters
    ----------
    evidence
        Comparisons with tasks
    pooling
        sd of the deviations in log-odds, > 0; ``"auto"``: the maximum of the Laplace marginal
        likelihood
    scale, level, simultaneous, seed
        as for ``bradley_terry``

    Returns
    -------
    Leaderboard
        ``extras``: between_task_sd (log-odds), by_task (a frame: policy, task, rating, lower,
        upper, n).
    """
    need(evidence, Comparisons, "bradley-terry-by-task")
    if evidence.task is None:
        raise EvidenceError(
            "these comparisons have no column 'task'. Name one when reading them (task=...,"
            " --task)."
        )
    unit, base = scale_of(scale)
    model = _Pooled.of(evidence)
    if pooling == "auto":
        found = minimize_scalar(
            lambda log_sd: -model.fit(float(np.exp(log_sd))).marginal,
            bounds=(np.log(0.01), np.log(5.0)),
            method="bounded",
            options={"xatol": 1e-3},
        )
        sd = float(np.exp(found.x))
    elif isinstance(pooling, (int, float)) and pooling > 0:
        sd = float(pooling)
    else:
        raise EvidenceError(
            f"pooling={pooling!r}: give a standard deviation > 0 in log-odds, or 'auto'."
        )
    fit = model.fit(sd)
    theta = fit.theta
    covariance = np.asarray(np.linalg.inv(fit.hessian), dtype=np.float64)
    n = len(theta)
    centre = np.eye(n) - 1 / n
    by_task = model.by_task(fit, covariance, unit=unit, base=base, level=level)
    gap = theta[:, None] - theta
    unit_name = "Elo points" if scale == "elo" else "log-odds"
    tasks = len(evidence.task.names)
    text = (
        f"Ratings differ from task to task with a standard deviation of {sd * unit:.3g}"
        f" {unit_name} around the overall rating ({tasks} tasks)."
    )
    notes = [
        *input_notes(evidence.notes),
        *comparison_notes(evidence, evidence.preferences(), expit(gap)),
        Note("tasks", text),
    ]
    return make_leaderboard(
        evidence.policies,
        (theta - theta.mean()) * unit + base,
        method="bradley-terry-by-task",
        n=evidence.seen(),
        covariance=centre @ covariance[:n, :n] @ centre * unit**2,
        level=level,
        simultaneous=simultaneous,
        seed=seed,
        notes=notes,
        unit=unit_name,
        source=evidence.summary,
        settings={"pooling": sd, "scale": scale},
        extras={"between_task_sd": sd, "by_task": by_task, "log_marginal": fit.marginal},
    )


class _PooledFit(NamedTuple):
    """The mode over (theta, psi), the Hessian there, and Laplace's marginal likelihood."""

    theta: Float
    psi: Float
    hessian: Float
    marginal: float


WEAK_PRECISION = 1 / 100
"""Of a prior on theta that pins the level, and keeps undefeated policies finite."""


@dataclass(frozen=True, eq=False)
class _Pooled:
    """Ratings of policies in tasks: a node is a policy in a task where it was compared."""

    policies: tuple[str, ...]
    tasks: tuple[str, ...]
    node_policy: NDArray[np.int64]
    node_task: NDArray[np.int64]
    cells: Cells
    count: Float

    @classmethod
    def of(cls, evidence: Comparisons) -> _Pooled:
        c = evidence.counted(by=("task",))
        assert c.task is not None
        n, task = len(c.policies), c.task.codes.astype(np.int64)
        nodes, inverse = np.unique(np.r_[task * n + c.a, task * n + c.b], return_inverse=True)
        i, j = np.split(inverse, 2)
        outcome = np.asarray(c.outcome, dtype=float)
        none = np.zeros((len(i), 0))
        cells = Cells(len(nodes), i, j, outcome, np.ones(len(i)), c.mass, none)
        count = np.ones(len(i)) if c.count is None else c.count.astype(float)
        return cls(c.policies, c.task.names, nodes % n, nodes // n, cells, count)

    @property
    def of_policy(self) -> Float:
        """(nodes, policies): which policy a node belongs to."""
        out = np.zeros((len(self.node_policy), len(self.policies)))
        out[np.arange(len(out)), self.node_policy] = 1
        return out

    def fit(self, sd: float) -> _PooledFit:
        """Newton's method for the mode under deviations of this size, damped."""
        n, nodes = len(self.policies), len(self.node_policy)
        theta, psi = np.zeros(n), np.zeros(nodes)
        lam, of_policy = sd**-2, self.of_policy
        for _ in range(100):
            d, slope, laplacian = self._curvature(theta[self.node_policy] + psi)
            cross = laplacian @ of_policy
            of_theta = of_policy.T @ cross + WEAK_PRECISION * np.eye(n)
            hessian = np.block([[of_theta, cross.T], [cross, laplacian + lam * np.eye(nodes)]])
            gradient = np.r_[of_policy.T @ slope - WEAK_PRECISION * theta, slope - lam * psi]
            step = np.linalg.solve(hessian, gradient)
            step *= min(1.0, 4 / max(np.abs(step).max(), 1e-12))
            theta, psi = theta + step[:n], psi + step[n:]
            if np.abs(step).max() < 1e-9:
                break
        w, y = self.cells.mass, self.cells.y
        loglik = float(w @ (y * log_expit(d) + (1 - y) * log_expit(-d)))
        value = float(loglik - 0.5 * lam * psi @ psi - 0.5 * WEAK_PRECISION * theta @ theta)
        log_volume = float(np.linalg.slogdet(hessian)[1])
        marginal = value + 0.5 * nodes * np.log(lam) - 0.5 * log_volume
        return _PooledFit(theta, psi, hessian, marginal)

    def _curvature(self, rating: Float) -> tuple[Float, Float, Float]:
        """Differences of the cells, and slope and curvature of the likelihood over nodes."""
        cells, nodes = self.cells, len(self.node_policy)
        d = rating[cells.i] - rating[cells.j]
        p, w = expit(d), cells.mass
        g = w * (cells.y - p)
        flow = np.bincount(cells.i, g, nodes) - np.bincount(cells.j, g, nodes)
        slope = np.asarray(flow, dtype=np.float64)
        zero = np.zeros(len(d))
        return d, slope, assemble(cells, w * p * (1 - p), zero, zero)[:-1, :-1]

    def by_task(
        self, fit: _PooledFit, covariance: Float, *, unit: float, base: float, level: float
    ) -> pl.DataFrame:
        """Rating of each policy in each task, with its interval, the best first."""
        n, nodes = len(self.policies), len(self.node_policy)
        jacobian = np.hstack([self.of_policy @ (np.eye(n) - 1 / n), np.eye(nodes)])
        variance = np.einsum("ij,jk,ik->i", jacobian, covariance, jacobian)
        spread = np.sqrt(variance) * unit * quantile((1 + level) / 2, None)
        rating = (fit.theta[self.node_policy] - fit.theta.mean() + fit.psi) * unit + base
        first = np.bincount(self.cells.i, self.count, nodes)
        seen = first + np.bincount(self.cells.j, self.count, nodes)
        frame = pl.DataFrame(
            {
                "task": pl.Series(self.tasks, dtype=pl.String).gather(self.node_task),
                "policy": pl.Series(self.policies, dtype=pl.String).gather(self.node_policy),
                "rating": rating,
                "lower": rating - spread,
                "upper": rating + spread,
                "n": seen.astype(np.int64),
            }
        )
        return frame.sort("task", "rating", descending=[False, True])


@checks_options
def task_mixture(
    evidence: Comparisons,
    *,
    buckets: int = 100,
    normalise: bool = True,
    l2: float = 0.01,
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
    """
    need(evidence, Comparisons, "task-mixture")
    if buckets < 1 or restarts < 1:
        raise EvidenceError("buckets and restarts must be at least 1.")
    unit, base = scale_of(scale)
    cells = Cells.of(evidence)
    if not np.isin(cells.y, (0.0, 0.5, 1.0)).all():
        raise EvidenceError("task-mixture needs outcomes 0, 0.5 and 1; these have others.")
    n, rng = cells.size, generator(seed)
    ratings, best = [], None
    for _ in range(restarts):
        start = np.r_[
            rng.normal(0, 0.1, n),
            np.zeros(n * buckets),
            rng.normal(0, 0.1, buckets),
            np.zeros(buckets),
            np.log(0.5),
        ]
        if buckets > 1:
            start[n : n + n * buckets] = rng.normal(0, 0.1, n * buckets)
        found = minimize(
            _mixture_loss,
            start,
            args=(cells, buckets, normalise, l2),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 2000, "maxcor": 20},
        )
        theta, psi, _, log_pi, log_nu = _unpack(found.x, n, buckets)
        weights = softmax(log_pi)
        rating = theta + psi @ weights
        ratings.append(rating - rating.mean())
        if best is None or found.fun < best[0]:
            best = (float(found.fun), weights, float(np.exp(log_nu)))
    assert best is not None
    table = np.array(ratings)
    notes = [
        *input_notes(evidence.notes),
        Note(
            "hidden tasks",
            "Hidden task buckets are not identified by one comparison a trial: no intervals. "
            f"Over {restarts} starts the ratings vary by {table.std(axis=0).max() * unit:.2g}.",
        ),
    ]
    return make_leaderboard(
        evidence.policies,
        table.mean(axis=0) * unit + base,
        method="task-mixture",
        n=evidence.seen(),
        notes=notes,
        unit="Elo points" if scale == "elo" else "log-odds",
        source=evidence.summary,
        settings={
            "buckets": buckets,
            "normalise": normalise,
            "l2": l2,
            "restarts": restarts,
            "scale": scale,
            "seed": seed,
        },
        extras={
            "objective": -best[0],
            "nu": best[2] if normalise else None,
            "weights": best[1],
            "restart_sd": table.std(axis=0),
        },
    )


def _unpack(p: Float, n: int, buckets: int) -> tuple[Float, Float, Float, Float, float]:
    theta, psi, tau, log_pi, log_nu = np.split(p, np.cumsum([n, n * buckets, buckets, buckets]))
    return theta, psi.reshape(n, buckets), tau, log_pi, float(log_nu[0])


def _mixture_loss(
    p: Float, cells: Cells, buckets: int, normalise: bool, l2: float
) -> tuple[float, Float]:
    """Minus the penalised log-likelihood, and its gradient."""
    n, i, j, w, y = cells.size, cells.i, cells.j, cells.mass, cells.y[:, None]
    theta, psi, tau, log_pi, log_nu = _unpack(p, n, buckets)
    z = theta[:, None] + psi - tau
    zi, zj = z[i], z[j]
    win, loss = log_expit(zi) + log_expit(-zj), log_expit(-zi) + log_expit(zj)
    tie = np.log(2) + log_nu + 0.5 * (win + loss)
    log_p = np.where(y == 1, win, np.where(y == 0, loss, tie))
    gi, gj, gnu = y - expit(zi), (1 - y) - expit(zj), np.zeros_like(zi)
    if normalise:
        total = logsumexp(np.stack([win, loss, tie]), axis=0)
        share = np.exp(win - total) + 0.5 * np.exp(tie - total)
        log_p, gi, gj = log_p - total, y - share, share - y
        gnu = (y == 0.5) - np.exp(tie - total)
    log_weight = log_pi - logsumexp(log_pi)
    joint = log_weight + log_p
    each = logsumexp(joint, axis=1)
    gamma = w[:, None] * np.exp(joint - each[:, None])
    dz = np.zeros_like(z)
    np.add.at(dz, i, gamma * gi)
    np.add.at(dz, j, gamma * gj)
    dpi = gamma.sum(axis=0) - w.sum() * np.exp(log_weight)
    value = float(w @ each) - 0.5 * l2 * float(theta @ theta + (psi**2).sum())
    gradient = np.r_[
        dz.sum(axis=1) - l2 * theta,
        (dz - l2 * psi).ravel(),
        -dz.sum(axis=0),
        dpi,
        (gamma * gnu).sum(),
    ]
    return -value, -gradient
