"""Choices from subsets: choix's top-1 lists, by hand, and what a shared first place means."""

import choix
import numpy as np
import pytest

import policyrank as pr
from policyrank.errors import EvidenceError
from policyrank.evidence import Rankings, read_rankings


def choices_of(seed, count=300, n=6, equal=False):
    """Choices from subsets of two to five, as choix takes them."""
    rng = np.random.default_rng(seed)
    theta = np.zeros(n) if equal else np.linspace(1, -1, n)
    found = []
    for _ in range(count):
        there = rng.permutation(n)[: rng.integers(2, n)]
        odds = np.exp(theta[there])
        chosen = int(rng.choice(there, p=odds / odds.sum()))
        found.append((chosen, [int(k) for k in there if k != chosen]))
    return found


def rating(board, names):
    return board.rating[[board.position(str(name)) for name in names]]


@pytest.mark.parametrize("seed", range(3))
def test_luce_choice_is_choixs_top_1(seed):
    choices = choices_of(seed)
    board = pr.luce_choice(Rankings.of_choices(choices), scale="natural", interval="none")
    for theirs in (
        choix.ilsr_top1(6, choices, max_iter=1000, tol=1e-12),
        choix.opt_top1(6, choices, alpha=0.0, tol=1e-10),
    ):
        assert rating(board, range(6)) == pytest.approx(theirs - theirs.mean(), abs=1e-6)
    # opt_top1's penalty is alpha theta'theta: a prior with sd 1 / sqrt(2 alpha).
    board = pr.luce_choice(Rankings.of_choices(choices), scale="natural", prior=0.5)
    theirs = choix.opt_top1(6, choices, alpha=2.0, tol=1e-10)
    assert rating(board, range(6)) == pytest.approx(theirs - theirs.mean(), abs=1e-5)


def test_only_the_first_place_counts():
    rng = np.random.default_rng(0)
    whole = [rng.permutation(5).tolist() for _ in range(80)]
    told = pr.luce_choice(Rankings.of(whole))
    choices = pr.luce_choice(Rankings.of_choices([(row[0], row[1:]) for row in whole]))
    assert told.frame.equals(choices.frame)
    # Shares of the first place are the maximum where all are on every ballot.
    share = np.bincount([row[0] for row in whole], minlength=5) / 80
    natural = pr.luce_choice(Rankings.of(whole), scale="natural", interval="none")
    logs = np.log(share)
    assert rating(natural, range(5)) == pytest.approx(logs - logs.mean(), abs=1e-8)
    # Efron's ties of Plackett-Luce pull the others together.
    tied = pr.plackett_luce(Rankings.of_choices(choices_of(0)), scale="natural", interval="none")
    luce = pr.luce_choice(Rankings.of_choices(choices_of(0)), scale="natural", interval="none")
    assert np.ptp(tied.rating) < 0.6 * np.ptp(luce.rating)


def test_a_shared_first_place_is_as_much_for_each():
    shared = Rankings.of([[["x", "y"], "z"], ["z", "x", "y"]], weight=[2, 2])
    apart = Rankings.of([["x", ["y", "z"]], ["y", ["x", "z"]], ["z", ["x", "y"]]], weight=[1, 1, 2])
    first, second = (pr.luce_choice(r, interval="none", scale="natural") for r in (shared, apart))
    assert rating(first, "xyz") == pytest.approx(rating(second, "xyz"), abs=1e-8)


def test_pairs_are_bradley_terry(battles):
    games = battles(ties=0.0)
    names = games.policies
    theirs = pr.bradley_terry(games, scale="natural", interval="fisher")
    board = pr.luce_choice(games.to_rankings(), scale="natural", interval="fisher")
    order = [theirs.position(name) for name in names]
    assert rating(board, names) == pytest.approx(theirs.rating[order], abs=1e-6)
    ours = [board.position(name) for name in names]
    assert board.lower[ours] == pytest.approx(theirs.lower[order], abs=1e-6)


def test_weights_are_copies_and_groups_are_whole():
    choices = choices_of(1, 60)
    once = pr.luce_choice(Rankings.of_choices(choices, weight=np.full(60, 2)))
    twice = pr.luce_choice(Rankings.of_choices([*choices, *choices]))
    assert once.rating == pytest.approx(twice.rating)
    assert once.covariance == pytest.approx(twice.covariance)
    # Each choice made six times by one group says as much of the error as made once.
    from policyrank.evidence.base import Labels

    groups = Labels.of([f"g{k:02d}" for k in range(60)] * 6)
    grouped = pr.luce_choice(Rankings.of_choices(choices * 6, group=groups))
    alone = pr.luce_choice(Rankings.of_choices(choices))
    assert grouped.upper - grouped.lower == pytest.approx(alone.upper - alone.lower, rel=0.02)


def test_no_maximum_and_nothing_to_choose():
    always = Rankings.of_choices([("x", ["y", "z"]), ("y", ["z"])])
    assert "prior" in {note.kind for note in pr.luce_choice(always).notes}
    with pytest.raises(EvidenceError, match="no finite maximum"):
        pr.luce_choice(always, prior=None)
    with pytest.raises(ValueError, match="prior=-1"):
        pr.luce_choice(always, prior=-1)
    with pytest.raises(EvidenceError, match="no ballot holds two"):
        pr.luce_choice(Rankings.of([["x"], ["y"]]))
    with pytest.raises(EvidenceError, match="names 'x' twice"):
        Rankings.of_choices([("x", ["x", "y"])])


def test_choices_are_read_and_cover():
    read = read_rankings({"ranking": ["x > y = z", "z > x"]})
    built = Rankings.of_choices([("x", ["y", "z"]), ("z", ["x"])])
    assert read.matrix().tolist() == built.matrix().tolist()
    inside = total = 0
    for seed in range(60):
        board = pr.luce_choice(Rankings.of_choices(choices_of(seed, 80, equal=True)))
        inside += ((board.lower <= 1500) & (board.upper >= 1500)).sum()
        total += len(board)
    assert inside / total > 0.9
