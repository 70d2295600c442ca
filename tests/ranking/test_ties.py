"""Nothing depends on the order of rows or names: ties are ties, for every method."""

import numpy as np
import pytest

from policyrank.evidence import Comparisons, Rankings, Scores
from policyrank.ranking import (
    METHODS,
    approval,
    borda,
    copeland,
    instant_runoff,
    kemeny,
    plurality,
    rank,
    ranked_pairs,
    soft_condorcet,
)

CIRCLE = Rankings.of([list("abc"), list("bca"), list("cab")], weight=[10, 10, 10])
TRIED = [m for m in METHODS if m not in ("task-mixture", "bradley-terry-by-task")]
DRAWN = ("elo",)
"""Methods whose ratings depend on a random order."""


def ballots(rows, names, order):
    return Rankings.of([[names[k] for k in rows[i]] for i in order])


def games(rows, names, order):
    a, b, y = (np.asarray(column)[order] for column in zip(*rows, strict=True))
    return Comparisons.of([names[k] for k in a], [names[k] for k in b], y)


def scores(rows, names, order):
    found = [(names[k], f"t{task}", value) for task in order for k, value in enumerate(rows[task])]
    policy, task, value = zip(*found, strict=True)
    return Scores.of(policy, task, value)


def evidence_of(kind):
    """Rows with ties in them, and what makes evidence of them."""
    rng = np.random.default_rng(4)
    if kind is Rankings:
        return [rng.permutation(5).tolist() for _ in range(14)], ballots
    if kind is Scores:
        return rng.integers(0, 4, size=(12, 5)).astype(float).tolist(), scores
    pairs = [rng.choice(5, 2, replace=False) for _ in range(150)]
    return [(int(a), int(b), float(rng.integers(3)) / 2) for a, b in pairs], games


def numbers(board, names):
    """Rating, interval and ranks of each policy, by its place in ``names``."""
    frame = board.frame.drop("n")
    place = [board.position(name) for name in names]
    return frame[place].drop("policy").to_numpy().astype(float)


@pytest.mark.parametrize("method", TRIED)
def test_order_of_rows_and_names_changes_only_labels(method):
    rng = np.random.default_rng(0)
    names, others = list("abcde"), list("vxzwy")
    for kind in METHODS[method].takes:
        rows, make = evidence_of(kind)
        order = np.arange(len(rows))
        board = rank(make(rows, names, order), method=method)
        tolerance = 12.0 if method in DRAWN else 1e-6
        for new_order, new_names in ((rng.permutation(order), names), (order, others)):
            again = rank(make(rows, new_names, new_order), method=method)
            theirs, ours = numbers(again, new_names), numbers(board, names)
            assert theirs[:, 0] == pytest.approx(ours[:, 0], abs=tolerance)
            if method not in DRAWN:
                assert theirs[:, 3] == pytest.approx(ours[:, 3])
                assert theirs[:, 1:3] == pytest.approx(ours[:, 1:3], abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("method", [m for m in TRIED if m not in DRAWN])
def test_twins_share_everything(method):
    """Two policies with the same results have the same rating, rank and interval."""
    for kind in METHODS[method].takes:
        rng = np.random.default_rng(1)
        if kind is Rankings:
            rows = []
            for _ in range(15):
                rows.append([["a", "z"] if k == 0 else f"p{k}" for k in rng.permutation(4)])
            evidence = Rankings.of(rows)
        elif kind is Scores:
            table = rng.normal(size=(9, 4)).round(1)
            evidence = Scores.from_table(
                np.column_stack([table[:, 0], table]), [f"t{k}" for k in range(9)], list("zabcd")
            )
        else:
            a, b, y = [], [], []
            for _ in range(40):
                k, won = f"p{rng.integers(3)}", float(rng.random() < 0.6)
                a, b, y = [*a, "a", "z"], [*b, k, k], [*y, won, won]
            circle = ["p0", "p1", "p2"] * 4
            a, b, y = a + circle, b + circle[1:] + circle[:1], y + [1.0, 0.0, 0.5] * 4
            evidence = Comparisons.of(a, b, y)
        board = rank(evidence, method=method)
        twins = numbers(board, ["a", "z"])
        assert twins[0] == pytest.approx(twins[1], abs=1e-6, nan_ok=True)
        best = board.probability_best
        if best is not None:
            first, second = best[board.position("a")], best[board.position("z")]
            assert first == pytest.approx(second, abs=0.1)


@pytest.mark.parametrize("rule", [copeland, kemeny, instant_runoff, ranked_pairs, soft_condorcet])
def test_a_circle_has_no_first(rule):
    board = rule(CIRCLE)
    assert board.rank.tolist() == [1, 1, 1]
    assert board.rank_lower.tolist() == [1, 1, 1]
    assert board.rank_upper.tolist() == [3, 3, 3]
    assert board.probability_best == pytest.approx(np.full(3, 1 / 3), abs=0.15)
    if rule is not copeland:
        assert "tied optimum" in {note.kind for note in board.notes}


def test_tied_places_of_ballots():
    """A policy is among the first k of a ballot that places fewer than k strictly above it."""
    ballot = Rankings.of([[["a", "b"], "d"], ["d", "a", "b"]])
    share = {2: {"a": 1.0, "b": 0.5, "d": 0.5}, 1: {"a": 0.5, "b": 0.5, "d": 0.5}}
    for k, expected in share.items():
        board = approval(ballot, k=k, interval="none")
        assert dict(zip(board.policies, board.rating, strict=True)) == expected
    top = plurality(ballot, interval="none")
    assert dict(zip(top.policies, top.rating, strict=True)) == {"a": 0.25, "b": 0.25, "d": 0.5}
    mean = borda(
        Rankings.of([[["a", "b", "c"], "d"], list("dabc")], weight=[2, 3]), interval="none"
    )
    points = dict(zip(mean.policies, mean.rating * 5, strict=True))
    assert (points["a"], points["d"]) == (pytest.approx(10), pytest.approx(9))
