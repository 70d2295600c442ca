"""What is known so far: counts, means and wins, as every sampling rule sees them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit

from policyrank.errors import EvidenceError
from policyrank.ranking.conventions import WEAK_PRIOR

Float = NDArray[np.float64]
Order = Literal["mean", "bradley-terry"]


@dataclass
class State:
    """Running tallies of an evaluation.

    Attributes
    ----------
    policies, tasks
        names
    count, total
        (tasks, policies), scores seen and their sum
    wins
        (policies, policies), wins of row over column, ties half: of outcomes, and of scores drawn
        as a pair
    proposed
        (tasks, policies), evaluations handed out, those under way and failed included
    asked
        (policies, policies), pairs handed out, likewise
    under_way
        (policies, policies), pairs handed out that have not ended

    Examples
    --------
    >>> state = State(("old", "new"), ("fold", "pour"))
    >>> state.observe_outcome(1, 0, 1.0)
    >>> state.observe_outcome(0, 1, 0.5)
    >>> state.wins.tolist(), state.ranking()
    ([[0.0, 0.5], [1.5, 0.0]], [1, 0])
    """

    policies: tuple[str, ...]
    tasks: tuple[str, ...]
    count: Float = field(init=False)
    total: Float = field(init=False)
    wins: Float = field(init=False)
    proposed: Float = field(init=False)
    asked: Float = field(init=False)
    under_way: Float = field(init=False)

    def __post_init__(self) -> None:
        if len(self.policies) < 2 or len(set(self.policies)) < len(self.policies):
            raise EvidenceError("an evaluation needs at least two policies with different names.")
        if not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise EvidenceError("an evaluation needs at least one task, each with its own name.")
        scores = len(self.tasks), len(self.policies)
        pairs = len(self.policies), len(self.policies)
        self.count, self.total, self.proposed = np.zeros((3, *scores))
        self.wins, self.asked, self.under_way = np.zeros((3, *pairs))

    def observe_outcome(self, i: int, j: int, outcome: float) -> None:
        """Policy i against policy j: 1 when i wins, 0.5 for a tie."""
        self.wins[i, j] += outcome
        self.wins[j, i] += 1 - outcome

    def observe_score(self, task: int, i: int, score: float) -> None:
        """A score of policy i on a task."""
        self.count[task, i] += 1
        self.total[task, i] += score

    def propose(self, task: int, i: int, j: int) -> None:
        """Policies i and j were handed out for evaluation on a task."""
        self.proposed[task, [i, j]] += 1
        self.asked[[i, j], [j, i]] += 1
        self.under_way[[i, j], [j, i]] += 1

    def ended(self, i: int, j: int) -> None:
        """The evaluation of policies i and j has ended, well or not."""
        self.under_way[[i, j], [j, i]] -= 1

    @property
    def games(self) -> Float:
        """Comparisons of each pair: (policies, policies)."""
        return self.wins + self.wins.T

    def means(self) -> Float:
        """Mean score of each policy over the tasks it was measured on: (policies,).

        -inf without any.
        """
        seen = self.count > 0
        mean = np.divide(self.total, self.count, out=np.zeros_like(self.total), where=seen)
        tasks = seen.sum(axis=0)
        return np.where(tasks > 0, mean.sum(axis=0) / np.maximum(tasks, 1), -np.inf)

    def posterior(self, prior: float = WEAK_PRIOR) -> tuple[Float, Float]:
        """Bradley-Terry ratings (log-odds) under a Gaussian prior and their Laplace covariance.

        Sampling rules ask for it at every step: Newton's method on the whole table at once, which
        for few policies is many times faster than ``likelihood.newton`` on a list of pairs.
        """
        games, precision = self.games, prior**-2
        theta = np.zeros(len(self.policies))
        value, gradient, information = self._likelihood(theta, games, precision)
        for _ in range(100):
            step = np.linalg.solve(information, gradient)
            while True:
                found = self._likelihood(theta + step, games, precision)
                if found[0] >= value - 1e-12 * abs(value) or np.abs(step).max() < 1e-12:
                    break
                step = step / 2
            theta = theta + step
            value, gradient, information = found
            if np.abs(step).max() < 1e-9:
                break
        return theta, np.asarray(np.linalg.inv(information))

    def _likelihood(
        self, theta: Float, games: Float, precision: float
    ) -> tuple[float, Float, Float]:
        """The log-likelihood under the prior, its gradient and its negative Hessian."""
        gap = theta[:, None] - theta
        rate = expit(gap)
        value = float((self.wins * log_expit(gap)).sum()) - 0.5 * precision * float(theta @ theta)
        gradient = (self.wins - games * rate).sum(axis=1) - precision * theta
        weight = games * rate * rate.T
        return value, gradient, np.diag(weight.sum(axis=1) + precision) - weight

    def ranking(self, by: Order = "bradley-terry") -> list[int]:
        """Policies, best first; ties in the order of their names' positions."""
        if by == "mean":
            value = self.means()
        else:
            value, _ = self.posterior()
        return np.argsort(-value, kind="stable").tolist()


def pairs(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All pairs i < j of n policies.

    Examples
    --------
    >>> pairs(3)
    (array([0, 0, 1]), array([1, 2, 2]))
    """
    return np.triu_indices(n, 1)
