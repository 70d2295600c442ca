"""What the comparisons themselves say about how far a rating can be trusted."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincc

from policyrank.board.leaderboard import Note
from policyrank.evidence import Comparisons, Rankings
from policyrank.ranking.connected import components

Float = NDArray[np.float64]
SINGLE_BALLOT = Note(
    "no intervals", "A single ballot shows no variation: there are no intervals.", "warning"
)
_LOST = re.compile(r"[\d,]+ (row|cell|score|entr|vote|game|match|result)\w* left out")


@dataclass(frozen=True, eq=False)
class Connectivity:
    """How the comparisons hang together.

    Attributes
    ----------
    component
        int (n,), connected component of each policy in the graph of comparisons
    strong
        int (n,), strong component in the graph of wins (ties count both ways)
    undefeated, winless
        policies that never lost (or tied), never won (or tied)
    """

    component: NDArray[np.int64]
    strong: NDArray[np.int64]
    undefeated: tuple[str, ...]
    winless: tuple[str, ...]

    @property
    def connected(self) -> bool:
        return int(self.component.max()) == 0

    @property
    def strongly_connected(self) -> bool:
        """Ford's condition (1957): a finite Bradley-Terry maximum exists and is unique."""
        return int(self.strong.max()) == 0


def connectivity(policies: tuple[str, ...], wins: Float) -> Connectivity:
    """Components of the comparison graph from a matrix of wins (row over column, ties as half).

    Examples
    --------
    >>> wins = np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    >>> found = connectivity(("x", "y", "z"), wins)    # z met nobody
    >>> found.connected, found.undefeated
    (False, ('x',))
    """
    beat = np.nonzero(wins > 0)
    component = components(beat, len(wins))
    strong = components(beat, len(wins), strong=True)
    won, lost = wins.sum(axis=1), wins.sum(axis=0)
    played = won + lost > 0
    names = np.asarray(policies, dtype=object)
    return Connectivity(
        component,
        strong,
        tuple(names[(lost == 0) & played]),
        tuple(names[(won == 0) & played]),
    )


@dataclass(frozen=True)
class Cyclicity:
    """How much of a win matrix no rating can explain.

    Attributes
    ----------
    share
        in [0, 1], the part of the variance of the win rates around 1/2 that the ratings leave,
        beyond sampling noise
    p_value
        of the goodness-of-fit test (Pearson's X2 over pairs)
    triples
        share of compared triples whose majorities form a cycle
    """

    share: float
    p_value: float
    triples: float


def cyclicity(wins: Float, expected: Float) -> Cyclicity:
    """Compare observed win rates with those that a rating expects.

    Parameters
    ----------
    wins
        (n, n) wins of row over column, ties as half
    expected
        (n, n) expected win rate of row over column; those of pairs i < j that met are read

    Examples
    --------
    >>> wins = np.array([[0.0, 9.0, 1.0], [1.0, 0.0, 9.0], [9.0, 1.0, 0.0]])
    >>> cyclicity(wins, np.full((3, 3), 0.5)).triples
    1.0
    """
    i, j = pairs_met(wins)
    total = wins[i, j] + wins[j, i]
    rate, fit = wins[i, j] / total, np.clip(expected[i, j], 1e-9, 1 - 1e-9)
    left, noise = total * (rate - fit) ** 2, fit * (1 - fit)
    free = len(i) - (len(wins) - 1)
    x2 = float((left / noise).sum())
    p_value = float(gammaincc(free / 2, x2 / 2)) if free > 0 else 1.0
    around = float((total * (rate - 0.5) ** 2).sum() - noise.sum())
    unexplained = float(left.sum() - noise.sum() * max(free, 0) / max(len(i), 1))
    share = float(np.clip(unexplained / around, 0, 1)) if around > 0 and free > 0 else 0.0
    together, ahead = _met(wins), wins > wins.T
    triples = _closed_walks(np.triu(together), together) / 3
    cycles = _closed_walks(ahead, ahead) / 3
    return Cyclicity(share, p_value, cycles / triples if triples else 0.0)


def pairs_met(wins: Float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The pairs i < j that were compared, by rows."""
    return np.divmod(np.flatnonzero(np.triu(_met(wins))), len(wins))


def _met(wins: Float) -> NDArray[np.bool_]:
    """Which pairs were compared: (n, n)."""
    won = wins > 0
    return won | won.T


def _closed_walks(first: NDArray[np.bool_], edge: NDArray[np.bool_]) -> float:
    """The number of closed walks of one step along ``first`` and two along ``edge``."""
    leaving, arriving = _bits(edge), _bits(edge.T)
    walks = 0
    for start, reached in enumerate(first):
        closing = leaving[reached] & arriving[start]
        walks += int(np.bitwise_count(closing).sum(dtype=np.int64))
    return float(walks)


def _bits(edge: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """The rows as bits of whole words."""
    padded = np.zeros((len(edge), -(-len(edge) // 64) * 64), dtype=bool)
    padded[:, : len(edge)] = edge
    return np.packbits(padded, axis=1).view(np.uint64)


def comparison_notes(evidence: Comparisons, wins: Float, expected: Float | None) -> list[Note]:
    """Notes on connection, undefeated and winless policies, thin counts and cycles."""
    found = connectivity(evidence.policies, wins)
    notes = _connection_notes(evidence.policies, found)
    if len(wins) > 2 and found.connected:
        notes += _thin_pairs(wins)
    seen = evidence.seen()
    thin = [evidence.policies[k] for k in np.flatnonzero(seen < 10)]
    if thin:
        text = f"Fewer than 10 comparisons each: {_list(thin)}."
        notes.append(Note("thin", text, "warning", tuple(thin)))
    if expected is not None and len(wins) > 2:
        notes += _cyclic(cyclicity(wins, expected))
    return notes


def _connection_notes(policies: tuple[str, ...], found: Connectivity) -> list[Note]:
    """Groups that never meet, policies that never lost or never won, tiers without an upset."""
    notes = []
    if not found.connected:
        sizes = np.bincount(found.component)
        small = [policies[k] for k in np.flatnonzero(found.component != np.argmax(sizes))]
        text = (
            f"The comparisons fall into {len(sizes)} groups that never meet: ratings across groups"
            f" cannot be compared. Not in the largest group: {_list(small)}. Compare at least one"
            " pair across the groups."
        )
        notes.append(Note("disconnected", text, "warning", tuple(small)))
    for kind, names, word in (
        ("undefeated", found.undefeated, "never lost or tied"),
        ("winless", found.winless, "never won or tied"),
    ):
        if names:
            text = f"{_list(names)} {word}: the data bound the rating on one side only."
            notes.append(Note(kind, text, "warning", names))
    if notes or not found.connected or found.strongly_connected:
        return notes
    text = (
        f"The policies split into {int(found.strong.max()) + 1} tiers without an upset between"
        " them: how far the tiers are apart cannot be told from the data. Compare neighbours of"
        " different tiers more often."
    )
    return [Note("not strongly connected", text, "warning")]


def _thin_pairs(wins: Float) -> list[Note]:
    """Most pairs never met."""
    i, j = pairs_met(wins)
    missing = 1 - len(i) / (len(wins) * (len(wins) - 1) / 2)
    if missing <= 0.5:
        return []
    times = np.median(wins[i, j] + wins[j, i])
    text = (
        f"{missing:.0%} of the pairs never met; those that did have a median of {times:g}"
        " comparisons. Their order rests on the model."
    )
    return [Note("thin pairs", text)]


def _cyclic(found: Cyclicity) -> list[Note]:
    """No rating explains the win rates."""
    if found.p_value >= 0.01 or found.share <= 0.02:
        return []
    text = (
        f"{found.share:.0%} of the differences in win rate cannot be explained by any one rating"
        f" (goodness of fit p = {found.p_value:.2g}; {found.triples:.1%} of triples are cycles):"
        " who beats whom depends on the opponent. Look at the win matrix, or rank with"
        " maximal-lotteries or alpha-rank."
    )
    return [Note("cyclic", text, "warning")]


def input_notes(notes: tuple[str, ...]) -> list[Note]:
    """What the reader noted while reading."""
    found = []
    for text in notes:
        lost = _LOST.match(text) is not None
        sentence = text[0].upper() + text[1:] + "."
        found.append(Note("input", sentence, "warning" if lost else "info"))
    return found


def evidence_notes(evidence: Comparisons | Rankings) -> list[Note]:
    """What the reader noted, what is taken as independent, and what the method does not use.

    For methods that take no covariates.
    """
    return [*input_notes(evidence.notes), *_unused(evidence), *_units(evidence)]


def _unused(evidence: Comparisons | Rankings) -> list[Note]:
    if isinstance(evidence, Rankings) or evidence.covariates is None:
        return []
    names = _list(evidence.covariate_names)
    text = f"Covariates are not used by this method ({names}); bradley-terry fits them along."
    return [Note("unused", text, "warning")]


def _units(evidence: Comparisons | Rankings) -> list[Note]:
    """What is taken as independent, where that is not the single ballot or comparison."""
    if isinstance(evidence, Rankings):
        if evidence.group is None or evidence.unit == "ballot":
            return []
        text = f"Ballots of one group are taken as dependent: {len(evidence.group.names)} groups."
        return [Note("clusters", text)]
    if evidence.unit != "rater":
        return []
    assert evidence.rater is not None
    text = f"Comparisons of one rater are taken as dependent: {len(evidence.rater.names)} raters."
    return [Note("clusters", text)]


def _list(names: tuple[str, ...] | list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
