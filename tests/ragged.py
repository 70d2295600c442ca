"""Random ragged lists, and losses of them a list and a pair at a time."""

from functools import partial

import numpy as np
import pytest
import torch

LISTS, N = 5, 5


def softplus(x):
    return np.log1p(np.exp(x))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Lists:
    """Random ragged lists with ties, and what losses read of them."""

    def __init__(self, seed, shares=False):
        rng = np.random.default_rng(seed)
        self.s = rng.normal(size=(LISTS, N)) * 1.3
        self.y = rng.integers(0, 3, (LISTS, N)).astype(float)
        if shares:
            self.y = self.y / 2
        self.where = rng.random((LISTS, N)) > 0.25
        self.where[:, :2] = True
        self.where[0] = True
        self.y[1, self.where[1]] = 1.0  # a list that asks for no order
        self.y[2, :2] = 0, 2
        self.y[3, :2] = 2, 1
        self.weights = rng.uniform(0.2, 2, (LISTS, N))
        self.of_pairs = rng.uniform(0.2, 2, (LISTS, N, N))
        self.reference = rng.normal(size=(LISTS, N))
        self.lengths = rng.integers(1, 6, (LISTS, N))

    def shown(self, row):
        return np.flatnonzero(self.where[row])

    def of(self, name, row):
        return getattr(self, name)[row, self.shown(row)]


def tensors(lists, *names):
    return {name: torch.tensor(getattr(lists, name)) for name in names}


def agrees(loss, lists, twin, *, counts=None, s=None, **options):
    """The loss of each list is the twin's; sum and mean are over the lists that count."""
    given = torch.tensor(lists.s if s is None else s)
    labels, where = torch.tensor(lists.y), torch.tensor(lists.where)
    run = partial(loss, given, labels, where=where, **options)
    said = []
    for row in range(LISTS):
        own = lists.of("y", row)
        said.append(np.ptp(own) > 0 if counts is None else counts(own))
    slow = np.array([twin(row) if said[row] else 0.0 for row in range(LISTS)])
    assert run(reduce="none").numpy() == pytest.approx(slow, rel=1e-6, abs=1e-7)
    assert float(run(reduce="sum")) == pytest.approx(slow.sum(), rel=1e-6, abs=1e-7)
    assert float(run()) == pytest.approx(slow.sum() / sum(said), rel=1e-6, abs=1e-7)


def in_order(lists, row):
    """Pairs (i, j) of a list with a higher label first."""
    shown = lists.shown(row)
    return [(i, j) for i in shown for j in shown if lists.y[row, i] > lists.y[row, j]]


def pair_twin(lists, phi, pairs="mean", weight=None, s=None):
    scores = lists.s if s is None else s

    def twin(row):
        total, chosen = 0.0, in_order(lists, row)
        for i, j in chosen:
            one = phi(scores[row, i] - scores[row, j], lists.y[row, i] - lists.y[row, j])
            total += one * (1.0 if weight is None else weight(row, i, j))
        return total / len(chosen) if pairs == "mean" else total

    return twin


def log_softmax(x):
    x = np.asarray(x, dtype=float)
    return x - np.log(np.exp(x).sum())


def of_deviation(y):
    return (y - y.mean()) / y.std()


def choices_twin(lists, k=None, position=False, places="sum"):
    """Breslow's likelihood: groups by falling label; the lowest is no choice."""

    def twin(row):
        s, y = lists.of("s", row), lists.of("y", row)
        n = len(y)
        of_place = [
            (2 ** (n - i) - 1) / (2 ** (n - 1) - 1) if position else 1.0 for i in range(1, n + 1)
        ]
        if k is not None:
            of_place = [w * (i < k) for i, w in enumerate(of_place)]
        total, start, made = 0.0, 0, 0
        for label in sorted(set(y), reverse=True)[:-1]:
            group = np.flatnonzero(y == label)
            share = np.mean(of_place[start : start + len(group)])
            rest = np.log(np.exp(s[y <= label]).sum())
            total += share * sum(rest - s[item] for item in group)
            start += len(group)
            made += len(group)
        if places == "mean":
            total /= max(1, made if k is None else min(made, k))
        return total

    return twin


def nll_of_best(lists, row, values):
    y, shown = lists.of("y", row), lists.shown(row)
    return -values[row, shown][y == y.max()].mean()
