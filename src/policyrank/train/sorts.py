"""Orders from few looks at a few items: sorting by whoever can choose the best of some.

Whoever chooses is a function of positions: a language model that is shown passages, a
cross-encoder, a person. It may fail to answer. Items are 0, 1, ... as the first stage has them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from policyrank.errors import OptionError


class Choose(Protocol):
    """Some items -> the place of the best among them; None: no valid answer."""

    def __call__(self, items: Sequence[int], /) -> int | None: ...


class Arrange(Protocol):
    """Some items -> their places, best first; None: no valid answer."""

    def __call__(self, items: Sequence[int], /) -> Sequence[int] | None: ...


@dataclass(frozen=True)
class Sorted:
    """What came of sorting.

    Attributes
    ----------
    order
        all items, best first
    calls, invalid
        how often somebody was asked, and gave no valid answer
    gave_up
        so many answers were invalid that the order is that of the first stage
    scores
        of each item, where it was asked about alone, else None
    """

    order: tuple[int, ...]
    calls: int
    invalid: int
    gave_up: bool = False
    scores: tuple[float, ...] | None = None


class _Asked:
    """Asks, and counts."""

    def __init__(self, choose: Choose) -> None:
        self.choose, self.calls, self.invalid = choose, 0, 0

    def best(self, items: Sequence[int]) -> int:
        """The place of the best; the first where there is no valid answer."""
        self.calls += 1
        place = self.choose(items)
        if place is None or not 0 <= place < len(items):
            self.invalid += 1
            return 0
        return place

    def sorted(self, top: Sequence[int], n: int, give_up: float) -> Sorted:
        """The items of the top, then the others as they stood."""
        gave_up = self.invalid > give_up * self.calls
        first = () if gave_up else tuple(top)
        taken = set(first)
        rest = tuple(k for k in range(n) if k not in taken)
        return Sorted(first + rest, self.calls, self.invalid, gave_up)


def setwise_heapsort(
    n: int, choose: Choose, *, children: int = 19, k: int = 10, give_up: float = 0.5
) -> Sorted:
    """The first k of n items by a heap whose nodes have many children.

    Parameters
    ----------
    choose
        of up to ``children + 1`` items
    children
        of a node; more: fewer and longer questions
    k
        places that are sorted; the others follow as they stood
    give_up
        share of invalid answers above which nothing is changed: a heap sort that nobody answers
        would bring the end of the list to its top

    References
    ----------
    Zhuang et al. (2023), "A Setwise Approach", arXiv 2310.09497; Rank-R1, arXiv 2503.06034.

    Examples
    --------
    >>> value = [3, 9, 1, 7]
    >>> best = lambda items: max(range(len(items)), key=lambda place: value[items[place]])
    >>> setwise_heapsort(4, best, children=2, k=2).order
    (1, 3, 0, 2)
    """
    _check(n, children=children, k=k)
    asked, heap = _Asked(choose), list(range(n))

    def sift(node: int, size: int) -> None:
        while True:
            below = range(children * node + 1, min(children * node + children + 1, size))
            if not below:
                return
            family = [node, *below]
            winner = family[asked.best([heap[own] for own in family])]
            if winner == node:
                return
            heap[node], heap[winner] = heap[winner], heap[node]
            node = winner

    for node in range(n // children, -1, -1):
        sift(node, n)
    top: list[int] = []
    for size in range(n - 1, -1, -1):
        heap[0], heap[size] = heap[size], heap[0]
        top.append(heap[size])
        if len(top) == k:
            break
        sift(0, size)
    return asked.sorted(top, n, give_up)


def setwise_bubble(
    n: int, choose: Choose, *, children: int = 19, k: int = 10, give_up: float = 0.5
) -> Sorted:
    """The first k of n items by windows that carry the best upwards, once for each place.

    Parameters are those of ``setwise_heapsort``. More calls than a heap, but one that fails leaves
    the order of the first stage as it was.
    """
    _check(n, children=children, k=k)
    asked, order = _Asked(choose), list(range(n))
    for place in range(min(k, n - 1)):
        low = n - 1
        while low > place:
            start = max(place, low - children)
            winner = start + asked.best(order[start : low + 1])
            order.insert(start, order.pop(winner))
            low = start
    return asked.sorted(order[:k], n, give_up)


def by_pairs(choose: Choose) -> Choose:
    """The best of some by pairs: each against the best so far, in both orders.

    Where the two orders disagree, the earlier stays: what is preferred for its position wins
    nothing.
    """

    def best(items: Sequence[int]) -> int | None:
        winner, said = 0, False
        for place in range(1, len(items)):
            first = choose([items[winner], items[place]])
            second = choose([items[place], items[winner]])
            said = said or None not in (first, second)
            if (first, second) == (1, 0):
                winner = place
        return winner if said else None

    return best


def by_vote(choose: Choose, votes: int, seed: int = 0) -> Choose:
    """The best of some by votes on shuffled lists: the most often chosen, ties by lot.

    Raises
    ------
    OptionError
        For less than one vote.
    """
    if votes < 1:
        raise OptionError(f"votes={votes}: at least 1.")
    rng = np.random.default_rng(seed)

    def best(items: Sequence[int]) -> int | None:
        tally: Counter[int] = Counter()
        for _ in range(votes):
            shuffled = rng.permutation(len(items)).tolist()
            place = choose([items[own] for own in shuffled])
            if place is not None and 0 <= place < len(items):
                tally[shuffled[place]] += 1
        if not tally:
            return None
        most = max(tally.values())
        return int(rng.choice([own for own, count in sorted(tally.items()) if count == most]))

    return best


def windows(n: int, window: int, step: int) -> Iterator[tuple[int, int]]:
    """Windows over a list, from its end to its beginning.

    Examples
    --------
    >>> list(windows(35, 20, 10)), list(windows(5, 20, 10))
    ([(15, 35), (5, 25), (0, 15)], [(0, 5)])
    """
    end = n
    while True:
        yield max(end - window, 0), end
        if end <= window:
            return
        end -= step


def listwise_windows(
    n: int,
    arrange: Arrange,
    *,
    window: int = 20,
    step: int = 10,
    passes: int = 1,
    give_up: float = 0.5,
    report: Callable[[int, int], None] | None = None,
) -> Sorted:
    """n items by windows that are arranged, from the end of the list to its top.

    An answer that is no order of its window leaves it as it was.

    Parameters
    ----------
    window, step
        items that are arranged at once, and how far the window moves: step < window
    passes
        over the whole list
    report
        called with windows done and in all

    References
    ----------
    Sun et al. (2023), "RankGPT", arXiv 2304.09542.
    """
    if not 0 < step < window:
        raise OptionError(f"step={step}, window={window}: the step is from 1, below the window.")
    _check(n, passes=passes)
    order, calls, invalid = list(range(n)), 0, 0
    every = [own for _ in range(passes) for own in windows(n, window, step)]
    for start, end in every:
        if end - start < 2:
            continue
        calls += 1
        places = arrange(order[start:end])
        if places is None or sorted(places) != list(range(end - start)):
            invalid += 1
        else:
            order[start:end] = [order[start + place] for place in places]
        if report is not None:
            report(calls, len(every))
    gave_up = invalid > give_up * calls
    return Sorted(tuple(range(n) if gave_up else order), calls, invalid, gave_up)


def _check(n: int, **least_one: int) -> None:
    if n < 0:
        raise OptionError(f"n={n}: how many items there are.")
    for name, value in least_one.items():
        if value < 1:
            raise OptionError(f"{name}={value}: at least 1.")
