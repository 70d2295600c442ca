"""Bradley-Terry with a rating in each task, pooled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit

from policyrank.board.assembly import make_leaderboard
from policyrank.board.intervals import Seed, quantile
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.errors import EvidenceError
from policyrank.evidence import Comparisons
from policyrank.ranking.cells import Cells, assemble
from policyrank.ranking.conventions import UNIT_NAMES, checks_options, need, scale_of
from policyrank.ranking.diagnostics import comparison_notes, evidence_notes

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

    Examples
    --------
    >>> first, second, tasks = ["x", "y"] * 9, ["y", "x"] * 9, ["fold", "pour"] * 9
    >>> board = bradley_terry_by_task(Comparisons.of(first, second, [1.0] * 18, task=tasks))
    >>> board.extras["by_task"].select("task", "policy").rows()
    [('fold', 'x'), ('fold', 'y'), ('pour', 'y'), ('pour', 'x')]
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
        sd = _likeliest_sd(model)
    elif isinstance(pooling, (int, float)) and pooling > 0:
        sd = float(pooling)
    else:
        raise EvidenceError(
            f"pooling={pooling!r}: give a standard deviation > 0 in log-odds, or 'auto'."
        )
    fit = model.fit(sd)
    theta, policies = fit.theta, len(fit.theta)
    covariance = np.asarray(np.linalg.inv(fit.hessian), dtype=np.float64)
    centre = np.eye(policies) - 1 / policies
    by_task = model.by_task(fit, covariance, unit=unit, base=base, level=level)
    unit_name = UNIT_NAMES[scale]
    text = (
        f"Ratings differ from task to task with a standard deviation of {sd * unit:.3g}"
        f" {unit_name} around the overall rating ({len(evidence.task.names)} tasks)."
    )
    expected = expit(theta[:, None] - theta)
    notes = [
        *evidence_notes(evidence),
        *comparison_notes(evidence, evidence.preferences(), expected),
        Note("tasks", text),
    ]
    return make_leaderboard(
        evidence.policies,
        (theta - theta.mean()) * unit + base,
        method="bradley-terry-by-task",
        n=evidence.seen(),
        covariance=centre @ covariance[:policies, :policies] @ centre * unit**2,
        level=level,
        simultaneous=simultaneous,
        seed=seed,
        notes=notes,
        unit=unit_name,
        source=evidence.summary,
        settings={"pooling": sd, "scale": scale},
        extras={"between_task_sd": sd, "by_task": by_task, "log_marginal": fit.marginal},
    )


def _likeliest_sd(model: _Pooled) -> float:
    """The standard deviation of deviations that makes the comparisons likeliest."""
    found = minimize_scalar(
        lambda log_sd: -model.fit(float(np.exp(log_sd))).marginal,
        bounds=(np.log(0.01), np.log(5.0)),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return float(np.exp(found.x))


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
        counted = evidence.counted(by=("task",))
        assert counted.task is not None
        policies = len(counted.policies)
        first_node = counted.task.codes.astype(np.int64) * policies
        both = np.r_[first_node + counted.a, first_node + counted.b]
        nodes, inverse = np.unique(both, return_inverse=True)
        i, j = np.split(inverse, 2)
        ones = np.ones(len(i))
        cells = Cells(
            size=len(nodes),
            i=i,
            j=j,
            y=np.asarray(counted.outcome, dtype=float),
            count=ones,
            weight=counted.mass,
            x=np.zeros((len(i), 0)),
        )
        count = ones
        if counted.count is not None:
            count = counted.count.astype(float)
        return cls(
            policies=counted.policies,
            tasks=counted.task.names,
            node_policy=nodes % policies,
            node_task=nodes // policies,
            cells=cells,
            count=count,
        )

    @property
    def of_policy(self) -> Float:
        """(nodes, policies): which policy a node belongs to."""
        out = np.zeros((len(self.node_policy), len(self.policies)))
        out[np.arange(len(out)), self.node_policy] = 1
        return out

    def fit(self, sd: float) -> _PooledFit:
        """Newton's method for the mode under deviations of this size, damped."""
        policies, nodes = len(self.policies), len(self.node_policy)
        theta, psi = np.zeros(policies), np.zeros(nodes)
        lam, of_policy = sd**-2, self.of_policy
        for _ in range(100):
            gap, slope, laplacian = self._curvature(theta[self.node_policy] + psi)
            cross = laplacian @ of_policy
            of_theta = of_policy.T @ cross + WEAK_PRECISION * np.eye(policies)
            hessian = np.block([[of_theta, cross.T], [cross, laplacian + lam * np.eye(nodes)]])
            gradient = np.r_[of_policy.T @ slope - WEAK_PRECISION * theta, slope - lam * psi]
            step = np.linalg.solve(hessian, gradient)
            step *= min(1.0, 4 / max(np.abs(step).max(), 1e-12))
            theta, psi = theta + step[:policies], psi + step[policies:]
            if np.abs(step).max() < 1e-9:
                break
        y = self.cells.y
        loglik = float(self.cells.mass @ (y * log_expit(gap) + (1 - y) * log_expit(-gap)))
        value = float(loglik - 0.5 * lam * psi @ psi - 0.5 * WEAK_PRECISION * theta @ theta)
        log_volume = float(np.linalg.slogdet(hessian)[1])
        marginal = value + 0.5 * nodes * np.log(lam) - 0.5 * log_volume
        return _PooledFit(theta, psi, hessian, marginal)

    def _curvature(self, rating: Float) -> tuple[Float, Float, Float]:
        """Differences of the cells, and slope and curvature of the likelihood over nodes."""
        cells, nodes = self.cells, len(self.node_policy)
        gap = rating[cells.i] - rating[cells.j]
        chance = expit(gap)
        surprise = cells.mass * (cells.y - chance)
        slope = np.bincount(cells.i, surprise, nodes) - np.bincount(cells.j, surprise, nodes)
        zero = np.zeros(len(gap))
        hessian = assemble(cells, cells.mass * chance * (1 - chance), zero, zero)
        return gap, np.asarray(slope, dtype=np.float64), hessian[:-1, :-1]

    def by_task(
        self, fit: _PooledFit, covariance: Float, *, unit: float, base: float, level: float
    ) -> pl.DataFrame:
        """Rating of each policy in each task, with its interval, the best first."""
        policies, nodes = len(self.policies), len(self.node_policy)
        centre = np.eye(policies) - 1 / policies
        jacobian = np.hstack([self.of_policy @ centre, np.eye(nodes)])
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
