"""Sorting by choices: the calls that Rank-R1's card counts, exact tops, and answers that fail."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from policyrank.errors import OptionError
from policyrank.train.sorts import (
    by_pairs,
    by_vote,
    listwise_windows,
    setwise_bubble,
    setwise_heapsort,
    windows,
)


def oracle(values):
    return lambda items: int(np.argmax([values[own] for own in items]))


def arranges(values):
    return lambda items: sorted(range(len(items)), key=lambda place: -values[items[place]])


@pytest.mark.parametrize(
    ("n", "children", "k", "mean", "low", "high"),
    [
        (100, 19, 10, 23.2, 19, 25),
        (100, 9, 10, 31.4, 29, 36),
        (100, 3, 10, 81.7, 75, 85),
        (20, 19, 1, 1, 1, 1),
        (100, 19, 1, 6.8, 6, 7),
        (5, 19, 10, 4, 4, 4),
        (1, 19, 10, 0, 0, 0),
    ],
)
def test_calls_of_a_heap(n, children, k, mean, low, high):
    calls = []
    for seed in range(600):
        values = np.random.default_rng(seed).permutation(n)
        found = setwise_heapsort(n, oracle(values), children=children, k=k)
        assert [values[own] for own in found.order[:k]] == sorted(values, reverse=True)[:k]
        calls.append(found.calls)
    assert np.mean(calls) == pytest.approx(mean, abs=0.2)
    assert low <= min(calls)
    assert max(calls) <= high


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(17)), st.integers(1, 20), st.integers(1, 20))
def test_tops_are_exact_and_nothing_is_lost(values, children, k):
    truth = sorted(range(17), key=lambda own: -values[own])
    for sort in (setwise_heapsort, setwise_bubble):
        for choose in (oracle(values), by_pairs(oracle(values)), by_vote(oracle(values), 3)):
            found = sort(17, choose, children=children, k=k)
            assert list(found.order[:k]) == truth[:k]
            assert sorted(found.order) == list(range(17))
            rest = found.order[k:]
            assert list(rest) == sorted(rest)


def test_nobody_answers():
    """A heap would bring up the end of the list; it is left as it was, and that is said."""
    found = setwise_heapsort(100, lambda items: None, give_up=1.0)
    assert found.order[:10] == (0, 99, 98, 97, 96, 95, 94, 93, 92, 91)
    assert (found.calls, found.invalid, found.gave_up) == (15, 15, False)
    for sort in (setwise_heapsort, setwise_bubble):
        for answer in (None, 99, -1):
            found = sort(100, lambda items, answer=answer: answer)
            assert found.order == tuple(range(100))
            assert found.gave_up
    left = listwise_windows(30, lambda items: None)
    assert (left.order, left.invalid, left.gave_up) == (tuple(range(30)), 2, True)
    assert setwise_heapsort(0, lambda items: None).order == ()
    assert by_pairs(lambda items: None)([1, 2]) is None
    assert by_vote(lambda items: 7, 3)([1, 2]) is None


def test_positions_are_no_merit():
    """Who always takes the first, or the last, changes nothing by pairs."""
    for taken in (0, 1):
        found = setwise_bubble(12, by_pairs(lambda items, taken=taken: taken), children=3)
        assert found.order == tuple(range(12))
    votes = by_vote(lambda items: 0, 400, seed=1)
    chosen = [votes(range(4)) for _ in range(60)]
    assert set(chosen) == {0, 1, 2, 3}


def test_more_votes_are_better():
    """A chooser that is right six times of ten, else by lot."""
    right = {}
    for votes in (1, 5, 15):
        hits = 0
        for seed in range(40):
            rng = np.random.default_rng(seed)
            values = rng.permutation(20)

            def noisy(items, rng=rng, values=values):
                if rng.random() < 0.6:
                    return oracle(values)(items)
                return int(rng.integers(len(items)))

            found = setwise_heapsort(20, by_vote(noisy, votes, seed), children=4, k=3)
            hits += len({int(own) for own in np.argsort(-values)[:3]} & set(found.order[:3]))
        right[votes] = hits
    assert right[1] < right[5] < right[15]


@pytest.mark.parametrize(
    ("n", "wanted"),
    [
        (20, [(0, 20)]),
        (25, [(5, 25), (0, 15)]),
        (30, [(10, 30), (0, 20)]),
        (35, [(15, 35), (5, 25), (0, 15)]),
        (5, [(0, 5)]),
    ],
)
def test_windows_of_a_list(n, wanted):
    assert list(windows(n, 20, 10)) == wanted
    assert len(list(windows(100, 20, 10))) == 9


def test_windows_bring_the_best_up():
    values = np.random.default_rng(0).permutation(100)
    told = []
    found = listwise_windows(100, arranges(values), report=lambda *own: told.append(own))
    truth = np.argsort(-values).tolist()
    assert list(found.order[:10]) == truth[:10]
    assert (found.calls, found.invalid, told[-1]) == (9, 0, (9, 9))
    twice = listwise_windows(100, arranges(values), passes=20)
    assert list(twice.order) == truth
    some = iter([None, [0, 0], [5], None] + [None] * 99)
    mended = listwise_windows(50, lambda items: next(some), give_up=1.0)
    assert mended.order == tuple(range(50))


def test_bad_options():
    best = oracle(range(9))
    for options in ({"children": 0}, {"k": 0}):
        for sort in (setwise_heapsort, setwise_bubble):
            with pytest.raises(OptionError, match="at least 1"):
                sort(9, best, **options)
    for options in ({"step": 20}, {"step": 0}, {"passes": 0}):
        with pytest.raises(OptionError, match=r"step|at least 1"):
            listwise_windows(9, arranges(range(9)), **options)
    with pytest.raises(OptionError, match="votes"):
        by_vote(best, 0)
    with pytest.raises(OptionError, match="n=-1"):
        setwise_heapsort(-1, best)
