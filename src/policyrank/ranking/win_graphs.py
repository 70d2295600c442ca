"""Ratings of the graph of wins: the principal eigenvector, PageRank."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, Unpack

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from policyrank.board.assembly import BoardOptions, make_leaderboard
from policyrank.board.clusters import ALONE, satterthwaite
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.errors import EvidenceError
from policyrank.evidence import Comparisons, Rankings
from policyrank.evidence.base import ones_if_none
from policyrank.ranking.connected import components
from policyrank.ranking.conventions import check_interval, checks_options, need
from policyrank.ranking.diagnostics import SINGLE_BALLOT, evidence_notes
from policyrank.ranking.rules import Preferences

Float = NDArray[np.float64]

INTERVALS = ("sandwich", "none")

FAINT = 1e-10
"""Wins, of the largest number, that every pair is given beside its own, so that a principal
eigenvector exists."""

STILL = 1e-8
"""Standard error below which a rating did not vary but for rounding."""

STEPS = 200
"""Of the search for an eigenvector; it takes about ten."""


class Sensitivity(NamedTuple):
    """A rating x and its derivatives: one win more of i over j moves x by y_j (won_i - lost_j).

    Attributes
    ----------
    rating, value
        (n,), x and y
    won, lost
        (n, n), whose columns are won_i and lost_j
    """

    rating: Float
    value: Float
    won: Float
    lost: Float


def principal_eigenvector(wins: Float) -> Float:
    """The r >= 0 of length 1 with W r = lambda r, lambda largest: (n, n) -> (n,).

    By Noda's inverse iteration, whose errors are squared in each step. Where some never lost to
    others, so that there may be no such vector or several, it is the one that a faint win of
    everybody over everybody leaves.

    References
    ----------
    Noda (1971), "Note on the computation of the maximal eigenvalue of a non-negative irreducible
    matrix".

    Examples
    --------
    >>> principal_eigenvector(np.array([[0.0, 4.0], [1.0, 0.0]])).round(3)    # 2 to 1
    array([0.894, 0.447])
    """
    positive = _positive(wins)
    vector = np.ones(len(wins))
    for _ in range(STEPS):
        ratio = (positive @ vector) / vector
        most = ratio.max()
        if most - ratio.min() <= 1e-12 * most:
            break
        shifted = most * (1 + 1e-14) * np.eye(len(wins)) - positive
        vector = np.maximum(np.linalg.solve(shifted, vector), 1e-300)
        vector /= vector.max()
    found: Float = vector / np.linalg.norm(vector)
    return np.round(found, 10)


def _positive(wins: Float) -> Float:
    largest = float(wins.max(initial=0.0))
    return np.asarray(wins / (largest or 1.0) + FAINT, dtype=float)


def _of_eigenvector(wins: Float) -> Sensitivity:
    """dx solves (lambda - W) dx + r d lambda = dW r with r'dx = 0."""
    rating, size = principal_eigenvector(wins), len(wins)
    positive = _positive(wins)
    bordered = np.zeros((size + 1, size + 1))
    bordered[:size, :size] = float(rating @ positive @ rating) * np.eye(size) - positive
    bordered[:size, size] = bordered[size, :size] = rating
    won = np.asarray(np.linalg.pinv(bordered)[:size, :size], dtype=float)
    return Sensitivity(rating, rating / (float(wins.max()) or 1.0), won, np.zeros_like(won))


def walk_shares(wins: Float, damping: float = 0.85) -> Float:
    """Where a walk from losers to winners is found: (n, n) -> (n,), sums to 1.

    From a policy the walk goes to one that beat it, by number of wins, and from one that nobody
    beat anywhere; with chance 1 - damping it goes anywhere instead.

    Examples
    --------
    >>> walk_shares(np.array([[0.0, 1.0], [0.0, 0.0]])).round(4)    # .15 and .85 of anywhere
    array([0.6491, 0.3509])
    """
    return _of_walk(wins, damping).rating


def _of_walk(wins: Float, damping: float) -> Sensitivity:
    """x = d M x + (1 - d) / n, M the wins over the losses of each column."""
    size, lost = len(wins), wins.sum(axis=0)
    step = np.divide(wins, lost, out=np.full((size, size), 1 / size), where=lost > 0)
    spread = np.linalg.inv(np.eye(size) - damping * step)
    rating = (1 - damping) / size * spread.sum(axis=1)
    value = damping * np.divide(rating, lost, out=np.zeros(size), where=lost > 0)
    return Sensitivity(rating, value, spread, spread @ step)


@checks_options
def eigenvector(
    evidence: Preferences, *, interval: str = "sandwich", **options: Unpack[BoardOptions]
) -> Leaderboard:
    """Eigenvector: wins count by the ratings of those who were beaten (Kendall and Wei).

    The principal eigenvector of the matrix of wins (ties half to each), of length 1. Wins are
    counted, so a policy that is compared more often is rated higher: it suits designs in which all
    meet equally often.

    Parameters
    ----------
    evidence
        Comparisons or Rankings
    interval
        ``"sandwich"``: by each unit's influence (ballots, raters, else comparisons; CR2 and
        Student's t); ``"none"``
    options
        level, simultaneous, seed

    References
    ----------
    Kendall (1955), "Further contributions to the theory of paired comparisons"; Keener (1993),
    "The Perron-Frobenius theorem and the ranking of football teams".

    Examples
    --------
    >>> wins = Comparisons.of(["x", "x", "y", "z"], ["y", "z", "z", "x"], [1, 1, 1, 1])
    >>> board = eigenvector(wins, interval="none")
    >>> board.policies, board.rating.round(3).tolist()    # z's one win was over x
    (('x', 'z', 'y'), [0.727, 0.548, 0.414])
    """
    need(evidence, (Comparisons, Rankings), "eigenvector")
    return _board(
        evidence,
        _of_eigenvector,
        "eigenvector",
        "principal eigenvector of wins",
        {},
        interval,
        options,
        needs_all_to_all=True,
    )


@checks_options
def pagerank(
    evidence: Preferences,
    *,
    damping: float = 0.85,
    interval: str = "sandwich",
    **options: Unpack[BoardOptions],
) -> Leaderboard:
    """PageRank: the share of time that a walk from losers to winners spends at a policy.

    Each policy hands its rating to those who beat it, by number of wins (ties half to each).

    Parameters
    ----------
    evidence
        Comparisons or Rankings
    damping
        chance that the walk goes on, in (0, 1); else it starts anew anywhere
    interval
        ``"sandwich"``: by each unit's influence (ballots, raters, else comparisons; CR2 and
        Student's t); ``"none"``
    options
        level, simultaneous, seed

    Raises
    ------
    EvidenceError
        For a damping outside (0, 1).

    References
    ----------
    Brin and Page (1998), "The anatomy of a large-scale hypertextual Web search engine".

    Examples
    --------
    >>> circle = Rankings.of([["x", "y", "z"], ["y", "z", "x"], ["z", "x", "y"]])
    >>> pagerank(circle, interval="none").rating.round(3).tolist()
    [0.333, 0.333, 0.333]
    """
    need(evidence, (Comparisons, Rankings), "pagerank")
    if not 0 < damping < 1:
        raise EvidenceError(f"damping={damping}: it lies between 0 and 1, for example 0.85.")
    return _board(
        evidence,
        lambda wins: _of_walk(wins, damping),
        "pagerank",
        "share of a walk to winners",
        {"damping": damping},
        interval,
        options,
    )


def _board(
    evidence: Preferences,
    rate: Callable[[Float], Sensitivity],
    method: str,
    unit: str,
    settings: dict[str, Any],
    interval: str,
    options: BoardOptions,
    *,
    needs_all_to_all: bool = False,
) -> Leaderboard:
    """The board of a rating in [0, 1] with known derivatives."""
    check_interval(interval, INTERVALS, method)
    wins = evidence.preferences()
    found, parts = rate(wins), _strong_parts(wins)
    notes = [*evidence_notes(evidence), *_of_graph(wins, parts)]
    known: dict[str, Any] = {}
    if interval != "none" and needs_all_to_all and parts > 1:
        text = "The rating of those below rests on wins that nobody saw. There are no intervals."
        notes.append(Note("no intervals", text, "warning"))
    elif interval != "none":
        known = graph_errors(evidence, found)
        notes += [] if known else [SINGLE_BALLOT]
        if needs_all_to_all and known:
            text = (
                "Claims of an eigenvector are a little too bold: in simulations one of equal"
                " policies was called better in up to 7 of 100 boards where 5 is said."
            )
            notes.append(Note("bold claims", text))
    board = make_leaderboard(
        evidence.policies,
        found.rating,
        method=method,
        n=evidence.seen(),
        notes=notes,
        unit=unit,
        source=evidence.summary,
        settings={**settings, "interval": interval},
        **known,
        **options,
    )
    return replace(board, lower=np.maximum(board.lower, 0.0), upper=np.minimum(board.upper, 1.0))


def graph_errors(evidence: Preferences, found: Sensitivity) -> dict[str, Any]:
    """Covariance of the rating over units (CR2), and its degrees of freedom; empty: one unit.

    A unit moves the rating by the sum over its games of their derivatives.
    """
    pairs = evidence if isinstance(evidence, Comparisons) else Comparisons.of_rankings(evidence)
    unit = pairs.unit
    if unit is None:
        pairs = pairs.counted()
    games = pairs.games()
    size, weight = len(pairs.policies), ones_if_none(pairs.weight, len(pairs.a))[games.row]
    cluster, copies = np.arange(len(games.a)), games.times
    if unit is not None:
        cluster = getattr(pairs, unit).codes[games.row].astype(np.int64)
        copies = np.ones(int(cluster.max()) + 1)
        if unit == "ballot":
            copies[cluster] = games.times
        else:
            weight = weight * games.times
    first = weight * games.outcome * found.value[games.b]
    second = weight * (1 - games.outcome) * found.value[games.a]
    place = np.concatenate([games.a, games.b, size + games.b, size + games.a])
    value = np.concatenate([first, second, -first, -second])
    # (units, 2 n): what a unit adds by winning, and takes by losing.
    parts = sparse.csr_matrix((value, (np.tile(cluster, 4), place)), (len(copies), 2 * size))
    own = np.bincount(cluster, weight, len(copies))
    share = own / float(copies @ own)
    used = share > 0
    if copies[used].sum() < 2 or share.max() > ALONE:
        return {}
    middle = (parts.T @ parts.multiply((copies / (1 - share))[:, None]).tocsr()).toarray()
    both = np.hstack([found.won, found.lost])
    shares = np.repeat(share[used], np.minimum(copies[used], 1000).astype(int))
    covariance = both @ middle @ both.T
    varies = covariance.diagonal() > STILL**2
    return {"covariance": covariance * (varies[:, None] & varies), "df": satterthwaite(shares)}


def _strong_parts(wins: Float) -> int:
    """Groups of policies inside which wins lead from everybody to everybody."""
    part = components(np.nonzero(wins > 0), len(wins), strong=True)
    return int(part.max(initial=-1)) + 1


def _of_graph(wins: Float, parts: int) -> list[Note]:
    """What such a rating takes as given: equal numbers of games, and ways from all to all."""
    notes = []
    games = (wins + wins.T).sum(axis=1)
    if games.max() > games.min() * (1 + 1e-9):
        text = (
            f"Policies were compared {games.min():g} to {games.max():g} times, and more wins count"
            " more: the rating follows the sampling too. bradley-terry corrects for it."
        )
        notes.append(Note("unequal sampling", text, "warning"))
    if parts > 1:
        text = (
            f"Wins do not lead from everybody to everybody: {parts} groups never lost to others,"
            " never beat others, or never met them. The rating says little of those below."
        )
        notes.append(Note("disconnected", text, "warning"))
    return notes
