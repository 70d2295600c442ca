"""Components of graphs, small ones by whole matrices."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import sparse

from policyrank.ranking import connected
from policyrank.ranking.connected import components


@given(
    size=st.integers(1, 12),
    edges=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=30),
    strong=st.booleans(),
)
def test_both_ways_equal_scipy(size, edges, strong):
    """The same groups, whatever their numbers, by matrices and along edges."""
    tail = np.array([a % size for a, _ in edges], dtype=int)
    head = np.array([b % size for _, b in edges], dtype=int)
    graph = sparse.coo_matrix((np.ones(len(tail)), (tail, head)), shape=(size, size))
    expected = sparse.csgraph.connected_components(
        graph, directed=strong, connection="strong" if strong else "weak"
    )[1]
    together = expected[:, None] == expected
    for dense in (300, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(connected, "DENSE", dense)
            found = components((tail, head), size, strong=strong)
        assert ((found[:, None] == found) == together).all()
        assert set(found) == set(range(found.max() + 1))


def test_a_long_chain_holds_together():
    """As many steps as there are nodes."""
    tail = np.arange(199)
    assert components((tail, tail + 1), 200).max() == 0
    assert components((tail, tail + 1), 200, strong=True).tolist() == list(range(200))
    ring = (np.arange(200), (np.arange(200) + 1) % 200)
    assert components(ring, 200, strong=True).max() == 0


def test_no_policies():
    """Nothing has no component."""
    none = np.zeros(0, dtype=int)
    assert components((none, none), 0, strong=True).tolist() == []
