"""Columns and rows of the programmes of what to order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from policyrank.worlds.inventory.networks import Float, Int, Network


class Rows:
    """Entries of a matrix, gathered block by block."""

    def __init__(self) -> None:
        self._parts: list[tuple[Int, Int, Float]] = []

    def put(self, row: Int, column: Int, value: float) -> None:
        rows, columns, values = np.broadcast_arrays(row, column, value)
        self._parts.append((rows.ravel(), columns.ravel(), values.ravel().astype(float)))

    def matrix(self, rows: int, columns: int) -> sparse.csr_matrix:
        row, column, value = map(np.concatenate, zip(*self._parts, strict=True))
        return sparse.csr_matrix((value, (row, column)), shape=(rows, columns))


@dataclass(frozen=True, eq=False)
class Columns:
    """Numbers of the columns: orders (S, H, E), sales and unmet (S, H, M), stock (S, H, n)."""

    orders: Int
    sales: Int
    unmet: Int
    stock: Int
    n_orders: int
    count: int

    @classmethod
    def of(cls, net: Network, groups: Int) -> Columns:
        (paths, horizon), edges = groups.shape, len(net.edges)
        markets, nodes = len(net.markets), len(net.names)
        period = np.arange(horizon)
        shared = groups + groups.max(initial=0) * period * 2 + period * 2
        number = np.unique(shared, return_inverse=True)[1].reshape(groups.shape)
        n_orders = (int(number.max()) + 1) * edges
        size = horizon * (2 * markets + nodes)
        start = n_orders + np.arange(paths)[:, None, None] * size
        sales = start + period[:, None] * markets + np.arange(markets)
        after = start + 2 * horizon * markets
        return cls(
            orders=number[:, :, None] * edges + np.arange(edges),
            sales=sales,
            unmet=sales + horizon * markets,
            stock=after + period[:, None] * nodes + np.arange(nodes),
            n_orders=n_orders,
            count=n_orders + paths * size,
        )
