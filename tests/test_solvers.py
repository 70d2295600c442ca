"""The solver of mixed-integer programmes: right, and silent."""

import itertools

import numpy as np
import pytest
from scipy import sparse

from policyrank.solvers import mixed_integer


@pytest.mark.parametrize("seed", range(20))
def test_small_programmes_against_enumeration(seed, capfd):
    # HiGHS 1.14.0 fails on about half of these.
    rng = np.random.default_rng(seed)
    q, cost, w = rng.uniform(0.05, 0.6, 6), rng.uniform(0, 0.4, 6), 1.3
    subsets = [list(t) for k in range(7) for t in itertools.combinations(range(6), k)]
    best = max(w * min(1, q[t].sum()) - cost[t].sum() for t in subsets)
    found = mixed_integer(
        np.r_[cost, -w],
        sparse.csr_matrix(np.r_[-q, 1.0]),
        [-np.inf],
        [0.0],
        1.0,
        np.r_[np.ones(6), 0],
    )
    assert -found.value == pytest.approx(best, abs=1e-7)
    assert found.bound == pytest.approx(found.value, abs=1e-6)
    assert capfd.readouterr().out == ""


def test_without_a_solution():
    found = mixed_integer([1.0], sparse.csr_matrix([[1.0]]), [2.0], [3.0], 1.0, True)
    assert found.x is None
