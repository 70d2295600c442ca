"""Soft Condorcet optimisation: ratings whose order disagrees with few votes."""

from __future__ import annotations

from typing import Any, Literal, Unpack

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from policyrank.board.assembly import BoardOptions, CoverageOptions, make_leaderboard
from policyrank.board.intervals import Seed, generator
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.errors import EvidenceError
from policyrank.evidence import Comparisons, Rankings
from policyrank.ranking.cells import Cells, is_strong
from policyrank.ranking.conventions import check_interval, checks_options, need
from policyrank.ranking.diagnostics import SINGLE_BALLOT, input_notes
from policyrank.ranking.likelihood import newton
from policyrank.ranking.links import LINKS
from policyrank.ranking.majorities import without_ends
from policyrank.ranking.robust_errors import Units, sandwich
from policyrank.ranking.rules import Preferences, rule_board

Float = NDArray[np.float64]


@checks_options
def soft_condorcet(
    evidence: Preferences,
    *,
    loss: Literal["sigmoid", "fenchel-young"] = "sigmoid",
    temperature: float = 1.0,
    bound: float = 100.0,
    restarts: int = 8,
    interval: str = "auto",
    resamples: int = 100,
    seed: Seed = 0,
    **options: Unpack[CoverageOptions],
) -> Leaderboard:
    """Soft Condorcet optimisation (SCO).

    ``"sigmoid"`` minimises sum over votes for a above b of sigma((r_b - r_a) / temperature): a
    smooth count of disagreements, which becomes Kemeny's as the temperature falls.
    ``"fenchel-young"`` is the expectation of the perturbed loss with Gumbel noise of scale
    ``temperature``; its gradient is exactly that of Bradley-Terry on all pairs of the votes, so it
    is solved as such. The two are not independent confirmations of Bradley-Terry.

    Parameters
    ----------
    evidence
        Comparisons or Rankings; the loss needs only their preference matrix
    temperature
        > 0, in rating units
    bound
        ratings stay within [-bound, bound]
    restarts
        the sigmoid loss is not convex: starts from equal ratings and from shuffles, each annealed
        from a high temperature down to ``temperature``; the best is kept
    interval, resamples, seed, options
        of the sigmoid loss, a step function of the majorities at low temperature: as for the voting
        rules, without intervals of the ratings; each resample is annealed from its Borda order. Of
        the Fenchel-Young loss: ``"sandwich"`` over independent ballots

    References
    ----------
    Lanctot et al. (2025), "Soft Condorcet Optimization for Ranking of General Agents", arXiv
    2411.00119.

    Examples
    --------
    >>> from policyrank.evidence import Rankings
    >>> votes = Rankings.of([["x", "y", "z"], ["x", "z", "y"], ["y", "z", "x"]])
    >>> soft_condorcet(votes, interval="none").policies
    ('x', 'y', 'z')
    """
    if not temperature > 0:
        raise EvidenceError(f"temperature={temperature}: it must be > 0.")
    if loss not in ("sigmoid", "fenchel-young"):
        raise EvidenceError(f"loss={loss!r}: use 'sigmoid' or 'fenchel-young'.")
    settings = {"loss": loss, "temperature": temperature, "bound": bound}
    if loss == "fenchel-young":
        return _fenchel_young(evidence, settings, interval, seed=seed, **options)
    rng = generator(seed)

    need(evidence, (Comparisons, Rankings), "soft-condorcet")
    rating, optima = _best_of_starts(evidence.preferences(), restarts, temperature, bound, rng)
    notes: tuple[Note, ...] = ()
    if optima > 1:
        text = f"{optima} orders that were found are equally good: ratings hold only what all say."
        notes = (Note("tied optimum", text, "warning"),)

    def rule(_: Float) -> Float:
        return rating

    def again(wins: Float) -> Float:
        return _anneal(wins, _borda_start(wins, temperature), temperature, bound)[0]

    return rule_board(
        evidence,
        rule,
        method="soft-condorcet",
        unit="rating",
        interval=interval,
        resamples=resamples,
        seed=seed,
        batched=False,
        resample_rule=again,
        project=without_ends,
        notes=notes,
        settings=settings,
        **options,
    )


def _fenchel_young(
    evidence: Preferences, settings: dict[str, Any], interval: str, **options: Unpack[BoardOptions]
) -> Leaderboard:
    """Bradley-Terry's maximum within the bounds, with errors over independent ballots."""
    need(evidence, (Comparisons, Rankings), "soft-condorcet")
    check_interval(interval, ("auto", "sandwich", "none"), "soft-condorcet of Fenchel-Young loss")
    pairs = evidence
    if isinstance(pairs, Rankings):
        pairs = Comparisons.of_rankings(pairs)
    temperature, bound = settings["temperature"], settings["bound"]
    cells = Cells.of(pairs, cluster=pairs.unit)
    # A prior so weak that only ratings of undefeated policies need it.
    weak = 1e-6 * cells.mass.sum() / cells.size / max(bound / temperature, 1.0) ** 2
    fit = newton(cells, LINKS["half"], precision=np.full(cells.size, weak))
    rating = np.clip(temperature * (fit.theta - fit.theta.mean()), -bound, bound)
    text = "The Fenchel-Young loss is Bradley-Terry on the votes' pairs: not a second opinion."
    notes = [*input_notes(evidence.notes), Note("equivalence", text)]
    known: dict[str, Any] = {}
    if interval != "none" and Units.of(cells).number < 2:
        notes.append(SINGLE_BALLOT)
    elif interval != "none" and not is_strong(cells, LINKS["half"]):
        text = "The bound alone decides how far policies that never won or lost stand apart."
        notes.append(Note("no intervals", text + " There are no intervals.", "warning"))
    elif interval != "none":
        found, centre = sandwich(cells, LINKS["half"], fit), np.eye(cells.size) - 1 / cells.size
        of_ratings = found.covariance[: cells.size, : cells.size] * temperature**2
        known = {"covariance": centre @ of_ratings @ centre, "df": found.df}
    return make_leaderboard(
        evidence.policies,
        rating,
        method="soft-condorcet",
        n=evidence.seen(),
        notes=notes,
        unit="rating",
        source=evidence.summary,
        settings={**settings, "interval": interval},
        **known,
        **options,
    )


def sigmoid_loss(wins: Float, rating: Float, temperature: float) -> tuple[float, Float]:
    """Smooth disagreements per vote, sum of wins_ab sigma((r_b - r_a) / T) / sum of wins, and its
    gradient.

    Examples
    --------
    >>> wins = np.array([[0.0, 3.0], [1.0, 0.0]])
    >>> loss, slope = sigmoid_loss(wins, np.array([1.0, 0.0]), temperature=0.01)
    >>> loss
    0.25
    """
    disagreement = expit((rating - rating[:, None]) / temperature)
    total = wins.sum()
    loss = float((wins * disagreement).sum() / total)
    slope = wins * disagreement * (1 - disagreement) / temperature / total
    return loss, slope.sum(axis=0) - slope.sum(axis=1)


def _descend(wins: Float, start: Float, temperature: float, bound: float) -> tuple[Float, float]:
    result = minimize(
        lambda r: sigmoid_loss(wins, r, temperature),
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(-bound, bound)] * len(start),
        options={"maxiter": 2000, "ftol": 1e-13, "gtol": 1e-9},
    )
    # The loss knows no level: as near to the middle as the bounds let the ratings be moved.
    lowest, highest = -bound - result.x.min(), bound - result.x.max()
    return result.x + np.clip(-result.x.mean(), lowest, highest), float(result.fun)


def _borda_start(wins: Float, temperature: float) -> Float:
    borda = (wins - wins.T).sum(axis=1)
    return temperature * borda / max(float(np.abs(borda).max()), 1e-12)


def _anneal(wins: Float, start: Float, temperature: float, bound: float) -> tuple[Float, float]:
    rating, value = start, np.inf
    for heat in (4.0, 2.0, 1.0):
        rating, value = _descend(wins, rating, temperature * heat, bound)
    return rating, value


MORE_STARTS, MOST_STARTS = 40, 400
"""Random starts that look for other optima where two are equally good: at once, and in all."""

SMALL = 12
"""Policies up to which they are looked for until no other is found."""


def _best_of_starts(
    wins: Float, restarts: int, temperature: float, bound: float, rng: np.random.Generator
) -> tuple[Float, int]:
    """The best ratings from equal ones, from Borda's order, then from random ones.

    And how many different orders were equally good: how far apart they put policies then means
    nothing, and ratings are half of ``temperature`` times the policies below in all of them less
    those above in all.
    """
    starts = [np.zeros(len(wins)), _borda_start(wins, temperature)][: max(restarts, 1)]
    for _ in range(restarts - 2):
        starts.append(rng.normal(0, 2 * temperature, len(wins)))
    found = [_anneal(wins, start, temperature, bound) for start in starts]
    best = _equally_good(found, temperature)
    seen = 1
    while len(best) > seen and len(found) < MOST_STARTS:
        seen = len(best)
        for _ in range(MORE_STARTS):
            start = rng.normal(0, 2 * temperature, len(wins))
            found.append(_anneal(wins, start, temperature, bound))
        best = _equally_good(found, temperature)
        if len(wins) > SMALL:
            break
    if len(best) == 1:
        return best[0], 1
    above = np.array([rating[:, None] - rating > temperature for rating in best]).all(axis=0)
    balance = above.sum(axis=1) - above.sum(axis=0)
    return np.asarray(temperature * balance / 2, dtype=np.float64), len(best)


def _equally_good(found: list[tuple[Float, float]], temperature: float) -> list[Float]:
    """The different orders among the ratings of least loss."""
    least = min(loss for _, loss in found)
    orders: dict[bytes, Float] = {}
    for rating, loss in found:
        if loss <= least + 1e-7:
            apart = rating[:, None] - rating > temperature
            orders.setdefault(apart.tobytes(), rating)
    return list(orders.values())
