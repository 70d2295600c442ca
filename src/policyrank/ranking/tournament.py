"""Voting on majorities: Copeland, minimax, Schulze, ranked pairs."""

from __future__ import annotations

from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from policyrank.board.intervals import generator
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.evidence import Comparisons, Rankings
from policyrank.ranking.connected import components
from policyrank.ranking.conventions import checks_options, need
from policyrank.ranking.majorities import of_dominance, of_majorities, of_winner
from policyrank.ranking.rules import IntervalOptions, Preferences, RuleOptions, rule_board

Float = NDArray[np.float64]


def margins(wins: Float) -> Float:
    """Wins of row over column minus the reverse: (..., n, n).

    Examples
    --------
    >>> margins(np.array([[0, 3], [1, 0]])).tolist()
    [[0, 2], [-2, 0]]
    """
    return wins - np.swapaxes(wins, -1, -2)


@checks_options
def copeland(evidence: Preferences, **options: Unpack[RuleOptions]) -> Leaderboard:
    """Copeland: how many others a policy beats by majority, ties half.

    Intervals are what follows from the majorities that are certain, whatever the ties. Options of
    this and the other rules: interval ("majorities" or "none"), resamples (shares of ranks), seed,
    level.

    Examples
    --------
    >>> from policyrank.evidence import Rankings
    >>> copeland(Rankings.of([["x", "y", "z"], ["y", "x", "z"], ["x", "z", "y"]])).rating.tolist()
    [2.0, 1.0, 0.0]
    """

    def rule(wins: Float) -> Float:
        return (0.5 + 0.5 * np.sign(margins(wins))).sum(axis=-1) - 0.5

    return rule_board(
        evidence,
        rule,
        method="copeland",
        unit="others beaten by majority",
        project=of_majorities,
        **options,
    )


@checks_options
def minimax(evidence: Preferences, **options: Unpack[RuleOptions]) -> Leaderboard:
    """Minimax (Simpson-Kramer): minus the margin of a policy's worst defeat; 0 for one that no
    majority beats.

    Examples
    --------
    >>> from policyrank.evidence import Rankings
    >>> votes = Rankings.of([["x", "y", "z"], ["x", "z", "y"], ["y", "z", "x"]])
    >>> minimax(votes, interval="none").policies    # x loses to nobody
    ('x', 'y', 'z')
    """

    def rule(wins: Float) -> Float:
        return -np.maximum(np.swapaxes(margins(wins), -1, -2).max(axis=-1), 0)

    return rule_board(
        evidence,
        rule,
        method="minimax",
        unit="minus the worst defeat's margin",
        project=of_winner,
        **options,
    )


def strongest_paths(wins: Float) -> Float:
    """Strength of the strongest path of majorities from row to column, by margins: (..., n, n).

    Examples
    --------
    >>> wins = np.array([[0, 4, 2], [1, 0, 4], [3, 1, 0]])
    >>> strongest_paths(wins).tolist()
    [[1, 3, 3], [1, 1, 3], [1, 1, 1]]
    """
    path = np.maximum(margins(wins), 0)
    for k in range(path.shape[-1]):
        path = np.maximum(path, np.minimum(path[..., :, k, None], path[..., None, k, :]))
    return path


@checks_options
def schulze(evidence: Preferences, **options: Unpack[RuleOptions]) -> Leaderboard:
    """Schulze (beat paths, by margins): how many others do not beat a policy by the strongest path.

    References
    ----------
    Schulze (2011), "A new monotonic, clone-independent, reversal symmetric, and
    Condorcet-consistent single-winner method".

    Examples
    --------
    >>> from policyrank.evidence import Rankings
    >>> votes = Rankings.of([["x", "y", "z"], ["x", "z", "y"], ["y", "z", "x"]])
    >>> schulze(votes, interval="none").policies
    ('x', 'y', 'z')
    """

    def rule(wins: Float) -> Float:
        path = strongest_paths(wins)
        n = wins.shape[-1]
        path[..., np.arange(n), np.arange(n)] = 0
        return (path >= np.swapaxes(path, -1, -2)).sum(axis=-1) - 1.0

    return rule_board(
        evidence,
        rule,
        method="schulze",
        unit="others that do not beat it by the strongest path",
        project=of_dominance,
        **options,
    )


@checks_options
def ranked_pairs(
    evidence: Preferences, *, resamples: int = 200, **options: Unpack[IntervalOptions]
) -> Leaderboard:
    """Ranked pairs (Tideman): lock majorities from the largest margin down, leaving out those that
    close a cycle.

    Where majorities of equal margins exclude each other, the order in which they are locked
    decides: ratings are the mean over all such orders. The rating is how many policies are locked
    below.

    Examples
    --------
    >>> from policyrank.evidence import Rankings
    >>> votes = Rankings.of([["x", "y", "z"], ["x", "z", "y"], ["y", "z", "x"]])
    >>> ranked_pairs(votes, interval="none").policies
    ('x', 'y', 'z')
    """
    need(evidence, (Comparisons, Rankings), "ranked-pairs")
    rating, outcomes = locked_below(evidence.preferences())
    rng = generator(options.get("seed", 0))
    return rule_board(
        evidence,
        lambda _: rating,
        method="ranked-pairs",
        unit="others locked below",
        project=of_dominance,
        resamples=resamples,
        resample_rule=lambda wins: _locked_by_lot(wins, rng),
        notes=_tied(outcomes),
        batched=False,
        **options,
    )


def _tied(outcomes: int | None) -> tuple[Note, ...]:
    """How many outcomes equal margins leave open."""
    if outcomes == 1:
        return ()
    text = (
        f"Equal margins leave {outcomes} outcomes open: ratings are the mean over all orders of"
        " locking them."
    )
    if outcomes is None:
        text = (
            "Equal margins exclude each other in too many ways to count: none of those majorities"
            " is locked."
        )
    return (Note("tied optimum", text, "warning"),)


MOST_OUTCOMES = 500
"""Ways of locking equal margins that are followed."""


def locked_below(wins: Float) -> tuple[Float, int | None]:
    """How many policies ranked pairs locks below each, the mean over orders of equal margins.

    And how many outcomes those orders have; None: too many, and none of the majorities that
    exclude each other was locked.

    Examples
    --------
    >>> circle = np.array([[0, 2, 1], [1, 0, 2], [2, 1, 0]])
    >>> locked_below(circle)
    (array([1., 1., 1.]), 3)
    """
    margin = np.round(margins(wins), 9)
    states = {np.zeros(margin.shape, dtype=bool).tobytes(): 1.0}
    counted = True
    for strength in np.unique(margin[margin > 0])[::-1]:
        edges = margin == strength
        reached: dict[bytes, float] = {}
        for state, chance in states.items():
            reaches = np.frombuffer(state, dtype=bool).reshape(margin.shape)
            found = _every_order(reaches, edges) if counted else None
            if found is None or len(found) > MOST_OUTCOMES:
                counted = False
                found = {_lock(reaches, *_free_edges(reaches, edges)).tobytes(): 1.0}
            for after, share in found.items():
                reached[after] = reached.get(after, 0.0) + chance * share
        states = reached
        if len(states) > MOST_OUTCOMES:
            counted = False
            states = dict([max(states.items(), key=lambda item: (item[1], item[0]))])
    below = np.zeros(len(wins))
    for state, chance in states.items():
        below += chance * np.frombuffer(state, dtype=bool).reshape(margin.shape).sum(axis=1)
    return np.round(below, 9), len(states) if counted else None


def _free_edges(
    reaches: NDArray[np.bool_], edges: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Edges that close no cycle with what is locked, nor with others of the same margin."""
    i, j = np.nonzero(edges & ~reaches.T)
    together = reaches | edges & ~reaches.T
    part = components(np.nonzero(together), len(together), strong=True)
    fits = part[i] != part[j]
    return i[fits], j[fits]


def _lock(
    reaches: NDArray[np.bool_], first: NDArray[np.intp], second: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """What is reached after locking some edges that close no cycle."""
    out = reaches.copy()
    for a, b in zip(first, second, strict=True):
        if not out[a, b]:
            above, below = out[:, a].copy(), out[b].copy()
            above[a], below[b] = True, True
            out |= above[:, None] & below
    return out


def _every_order(reaches: NDArray[np.bool_], edges: NDArray[np.bool_]) -> dict[bytes, float] | None:
    """What may be reached after locking the edges in every order, and how often; None: too many."""
    start = _lock(reaches, *_free_edges(reaches, edges))
    i, j = np.nonzero(edges & ~start.T & ~start)
    if not len(i):
        return {start.tobytes(): 1.0}
    layer = {((1 << len(i)) - 1, start.tobytes()): 1.0}
    final: dict[bytes, float] = {}
    while layer:
        following: dict[tuple[int, bytes], float] = {}
        for (left, state), chance in layer.items():
            now = np.frombuffer(state, dtype=bool).reshape(reaches.shape)
            rest = [e for e in range(len(i)) if left >> e & 1]
            open_edges = [e for e in rest if not now[j[e], i[e]] and not now[i[e], j[e]]]
            if not open_edges:
                final[state] = final.get(state, 0.0) + chance
            for e in open_edges:
                after = _lock(now, i[[e]], j[[e]]).tobytes()
                key = left & ~(1 << e), after
                following[key] = following.get(key, 0.0) + chance / len(open_edges)
        if len(following) > MOST_OUTCOMES:
            return None
        layer = following
    return final


def _locked_by_lot(wins: Float, rng: np.random.Generator) -> Float:
    """How many are locked below each when lots decide between equal margins."""
    margin = margins(wins)
    i, j = np.nonzero(margin > 0)
    below = [0] * len(wins)
    for e in np.lexsort((rng.random(len(i)), -np.round(margin[i, j], 9))):
        a, b = int(i[e]), int(j[e])
        if not below[b] >> a & 1 and not below[a] >> b & 1:
            new = below[b] | 1 << b
            below = [x | new if x >> a & 1 or p == a else x for p, x in enumerate(below)]
    return np.array([x.bit_count() for x in below], dtype=float)
