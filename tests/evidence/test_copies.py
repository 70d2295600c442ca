"""Columns that stand twice in other units: the same pairs as among all pairs, found sooner."""

from itertools import combinations
from time import process_time

import numpy as np
import pytest

from policyrank import rank
from policyrank.evidence import read
from policyrank.evidence.copies import is_copy, likely_copies


def _columns(seed, rows=6):
    """Columns of which some are others times 100 or 1,000, or called alike in other units."""
    rng = np.random.default_rng(seed)
    names, columns = [], []
    for number in range(40):
        values = np.round(rng.random(rows), 2)
        if columns and rng.random() < 0.4:
            values = columns[int(rng.integers(len(columns)))] * rng.choice([1, 100, 0.01, 1000])
        values = np.where(rng.random(rows) < 0.1, np.nan, values)
        names.append(f"{'abc'[number % 3]}{rng.choice(['', ' raw', ' pct', f' x{number}'])}")
        columns.append(values)
    return names, columns


def test_every_copy_is_among_the_likely_ones():
    copies = 0
    for seed in range(40):
        names, columns = _columns(seed)
        likely = likely_copies(names, columns)
        for one, other in combinations(range(len(names)), 2):
            if is_copy((names[one], names[other]), columns[one], columns[other]):
                copies += 1
                assert one in likely[other], (seed, names[one], names[other])
    assert copies > 300


def _wide(columns, cell):
    header = ",".join(["model", *(f"s{i}" for i in range(columns))])
    rows = [",".join([name, *(cell(name, i) for i in range(columns))]) for name in "abc"]
    return "\n".join([header, *rows, ""]).encode()


def test_half_of_the_columns_in_percent():
    found = read(_wide(40, lambda name, i: str({"a": 1, "b": 2, "c": 4}[name] * (1, 100)[i >= 20])))
    assert len(found.columns) == 20


def test_twenty_thousand_columns_take_seconds_and_are_compared_by_all_methods():
    start = process_time()
    found = read(_wide(20_000, lambda name, i: str((7 * i + 13 * ord(name)) % 97)))
    assert len(found) == 60_000
    assert process_time() - start < 40  # what grows with their square takes minutes
    board = rank(found, method="nash-averaging")
    assert sum(board.extras["tasks"].values()) == pytest.approx(1)
