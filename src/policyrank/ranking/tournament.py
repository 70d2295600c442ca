"""Voting on majorities: Copeland, minimax, Schulze, ranked pairs."""

from __future__ import annotations

from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from policyrank.board.leaderboard import Leaderboard
from policyrank.ranking.conventions import checks_options
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

    Options of this and the other rules: interval ("bootstrap" or "none"), resamples, seed, level,
    simultaneous.

    Examples
    --------
    >>> from policyrank.evidence import Rankings
    >>> copeland(Rankings.of([["x", "y", "z"], ["y", "x", "z"], ["x", "z", "y"]])).rating.tolist()
    [2.0, 1.0, 0.0]
    """

    def rule(wins: Float) -> Float:
        return (0.5 + 0.5 * np.sign(margins(wins))).sum(axis=-1) - 0.5

    return rule_board(
        evidence, rule, method="copeland", unit="others beaten by majority", **options
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
        evidence, rule, method="minimax", unit="minus the worst defeat's margin", **options
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
        **options,
    )


@checks_options
def ranked_pairs(
    evidence: Preferences, *, resamples: int = 200, **options: Unpack[IntervalOptions]
) -> Leaderboard:
    """Ranked pairs (Tideman): lock majorities from the largest margin down, leaving out those that
    close a cycle.

    Equal margins are locked in the order of the names. The rating is how many policies are locked
    below.

    Examples
    --------
    >>> from policyrank.evidence import Rankings
    >>> votes = Rankings.of([["x", "y", "z"], ["x", "z", "y"], ["y", "z", "x"]])
    >>> ranked_pairs(votes, interval="none").policies
    ('x', 'y', 'z')
    """
    return rule_board(
        evidence,
        _locked,
        method="ranked-pairs",
        unit="others locked below",
        resamples=resamples,
        batched=False,
        **options,
    )


def _locked(wins: Float) -> Float:
    margin = margins(wins)
    i, j = np.nonzero(margin > 0)
    below = [0] * len(wins)
    for e in np.lexsort((j, i, -np.round(margin[i, j], 9))):
        a, b = int(i[e]), int(j[e])
        if not below[b] >> a & 1 and not below[a] >> b & 1:
            new = below[b] | 1 << b
            below = [x | new if x >> a & 1 or p == a else x for p, x in enumerate(below)]
    return np.array([x.bit_count() for x in below], dtype=float)
