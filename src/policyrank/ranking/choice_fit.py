"""Luce's choice: which of the policies on a ballot comes first; what comes after says nothing."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Unpack

import numpy as np
from numpy.typing import NDArray

from policyrank.board.assembly import BoardOptions, make_leaderboard
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.errors import EvidenceError
from policyrank.evidence import Rankings
from policyrank.ranking.cluster_errors import Corrected, corrected, degrees_of_freedom
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
def luce_choice(
    evidence: Rankings,
    *,
    scale: Literal["elo", "natural"] = "elo",
    prior: float | Literal["auto"] | None = "auto",
    interval: Literal["auto", "sandwich", "fisher", "none"] = "auto",
    **options: Unpack[BoardOptions],
) -> Leaderboard:
    """Luce's choice: P(i is chosen) = exp(theta_i) / sum over the policies on the ballot.

    Fitted by maximum likelihood to who comes first on each ballot, for choices from a subset
    (``Rankings.of_choices``): ``plackett_luce`` would take those who were not chosen as tied. A
    shared first place is as much of a choice for each. On ballots of two this is Bradley-Terry.

    Parameters
    ----------
    evidence
        Rankings; policies that a ballot does not hold were not there to be chosen
    scale, prior
        as for ``bradley_terry``
    interval
        ``"sandwich"`` (ballots, or groups of them, independent: CR2 with Satterthwaite's degrees of
        freedom), ``"fisher"`` (trusts the model), ``"none"``; ``"auto"``: sandwich
    options
        level, simultaneous, seed

    Raises
    ------
    EvidenceError
        Where there is no finite maximum and ``prior`` is None, or ballots hold one policy each.

    References
    ----------
    Luce (1959), "Individual Choice Behavior"; Maystre and Grossglauser (2015), whose top-1 lists
    these are.

    Examples
    --------
    >>> chosen = [("x", ["y", "z"])] * 2 + [("y", ["x", "z"]), ("z", ["x", "y"])]
    >>> board = luce_choice(Rankings.of_choices(chosen), scale="natural")
    >>> round(float(board.rating[0] - board.rating[1]), 6)    # log 2
    0.693147
    """
    need(evidence, Rankings, "luce-choice")
    check_interval(interval, ("auto", "sandwich", "fisher", "none"), "luce-choice")
    unit, base = scale_of(scale)
    notes = evidence_notes(evidence)
    choices = _Choices.of(evidence)
    graph = connectivity(evidence.policies, choices.wins())
    why_not = "some policies are always chosen, never, or not beside the others"
    sd = prior_sd(prior, graph.strongly_connected, why_not, notes)
    lam = 0.0 if sd is None else sd**-2
    theta = choices.maximum(lam)
    if interval == "auto":
        interval = "sandwich"
        if evidence.voters < 2:
            interval = "none"
            notes.append(SINGLE_BALLOT)
    known: dict[str, Any] = {}
    if interval != "none":
        inverse = np.asarray(np.linalg.inv(choices.information(theta, lam)), dtype=np.float64)
        if interval == "sandwich":
            inverse, known["df"] = _sandwich(choices, evidence.voters, inverse, theta, lam)
        centre = np.eye(len(theta)) - 1 / len(theta)
        known["covariance"] = centre @ inverse @ centre * unit**2
    if not graph.connected:
        text = "The ballots fall into groups of policies that never meet: compare inside them only."
        notes.append(Note("disconnected", text, "warning"))
    return make_leaderboard(
        evidence.policies,
        (theta - theta.mean()) * unit + base,
        method="luce-choice",
        n=evidence.seen(),
        notes=notes,
        unit=UNIT_NAMES[scale],
        source=evidence.summary,
        settings={"scale": scale, "prior": sd, "interval": interval},
        extras={"loglik": choices.value(theta)},
        **known,
        **options,
    )


class _Choices(NamedTuple):
    """Different choices: who was there, who was chosen, how often, in which unit.

    Attributes
    ----------
    there
        bool (choices, n)
    chosen
        (choices, n), the share of the first place
    weight
        (choices,), of one of them
    copies
        (choices,), how many equal independent ballots it stands for
    group
        (choices,), codes of units that are independent
    """

    there: NDArray[np.bool_]
    chosen: Float
    weight: Float
    copies: Float
    group: NDArray[np.int64]

    @classmethod
    def of(cls, rankings: Rankings) -> _Choices:
        """Of ballots; equal ones once where weights count voters."""
        position = rankings.matrix()
        used = (rankings.lengths > 1) & (rankings.weight > 0)
        if not used.any():
            raise EvidenceError("no ballot holds two policies, so nobody was chosen among others.")
        state, weight = np.minimum(position[used], 2), rankings.weight[used]
        copies: Float = np.ones(len(weight))
        group = np.arange(len(weight))
        if rankings.unit == "group":
            assert rankings.group is not None
            group = np.unique(rankings.group.codes[used], return_inverse=True)[1].astype(np.int64)
        elif rankings.counts_voters:
            state, which = np.unique(state, axis=0, return_inverse=True)
            copies = np.bincount(which.ravel(), weight, len(state)).astype(float)
            weight, group = np.ones(len(state)), np.arange(len(state))
        first = state == 1
        return cls(state > 0, first / first.sum(axis=1, keepdims=True), weight, copies, group)

    @property
    def mass(self) -> Float:
        """Weight of each choice with its copies."""
        return self.weight * self.copies

    def wins(self) -> Float:
        """How often each was chosen beside each other: (n, n)."""
        rest = self.there & (self.chosen == 0)
        return (self.chosen * self.mass[:, None]).T @ rest

    def chances(self, theta: Float) -> Float:
        """Of each policy, to be chosen: (choices, n)."""
        odds = np.where(self.there, np.exp(theta - theta.max()), 0.0)
        return np.asarray(odds / odds.sum(axis=1, keepdims=True), dtype=float)

    def value(self, theta: Float) -> float:
        """The log-likelihood."""
        logs = np.log(np.where(self.chosen > 0, self.chances(theta), 1.0))
        return float(self.mass @ (self.chosen * logs).sum(axis=1))

    def information(self, theta: Float, lam: float) -> Float:
        """Minus the second derivatives with the prior's precision, their level pinned: (n, n)."""
        p, n = self.chances(theta), len(theta)
        found = np.diag(self.mass @ p) - (p.T * self.mass) @ p
        return found + lam * np.eye(n) + np.trace(found) / n**2

    def maximum(self, lam: float) -> Float:
        """Newton's method with step halving."""
        theta = np.zeros(self.there.shape[1])
        for _ in range(100):
            slope = self.mass @ (self.chosen - self.chances(theta)) - lam * theta
            full = self.information(theta, lam)
            step = np.linalg.solve(full + 1e-12 * np.trace(full) * np.eye(len(theta)), slope)
            before, length = self.value(theta) - lam * theta @ theta / 2, 1.0
            while length > 1e-8:
                trial = theta + length * step
                if self.value(trial) - lam * trial @ trial / 2 >= before - 1e-9 * abs(before):
                    break
                length /= 2
            theta = theta + length * step
            if np.abs(length * step).max() < 1e-9:
                return theta
        raise EvidenceError("the fit has not converged after 100 steps. Give a prior (prior=2.0).")


def _sandwich(
    choices: _Choices, voters: float, inverse: Float, theta: Float, lam: float
) -> tuple[Float, Float]:
    """Covariance over independent units (CR2), and degrees of freedom (n, n).

    With a floor, the model's covariance over the number of units, and what the prior decides.
    """
    n, units = len(theta), int(choices.group.max()) + 1
    p = choices.chances(theta)
    clusters: list[Corrected] = []
    for unit in range(units):
        rows = np.flatnonzero(choices.group == unit) if units < len(p) else np.array([unit])
        place = np.flatnonzero(choices.there[rows].any(axis=0))
        own, w = p[np.ix_(rows, place)], choices.weight[rows]
        score = w @ (choices.chosen[np.ix_(rows, place)] - own)
        information = np.diag(w @ own) - (own.T * w) @ own
        clusters.append(corrected(place, information, score, inverse, choices.copies[rows[0]]))
    meat = np.zeros((n, n))
    for cluster in clusters:
        square = np.ix_(cluster.place, cluster.place)
        meat[square] += cluster.copies * np.outer(cluster.score, cluster.score)
    number = units if units < len(p) else voters
    covariance = inverse @ meat @ inverse + inverse / number + lam * inverse @ inverse
    freedom = degrees_of_freedom(clusters, inverse, np.eye(n) - 1 / n, 0.0)
    return covariance + freedom.alone, freedom.df
