"""What a plan decides by yes or no: whether to order at all, and who is served in full."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from policyrank.worlds.inventory.columns import Columns, Rows
from policyrank.worlds.inventory.networks import Float, Network


@dataclass(frozen=True, eq=False)
class Decisions:
    """Yes-or-no columns behind those of a programme: on_columns @ x + own @ decisions <= most.

    Attributes
    ----------
    on_columns, own, most
        (rows, columns), (rows, decisions), (rows,)
    cost
        (decisions,): of a yes
    """

    on_columns: sparse.csr_matrix
    own: sparse.csr_matrix
    most: Float
    cost: Float


@dataclass(frozen=True)
class Amounts:
    """What a plan can be about at most: what is wanted of it, and what is there or under way."""

    wanted: float
    there: float

    def bought(self, net: Network) -> float:
        """What is wanted, with all that may be lost on the way: nobody buys more."""
        return self.wanted / float(np.minimum(net.output, 1.0).prod())

    def anywhere(self, net: Network) -> float:
        """No stock and no shipment is larger.

        It may be more than is wanted: stock is moved to where it costs less to hold.
        """
        return (self.bought(net) + self.there) * float(np.maximum(net.output, 1.0).prod())


def whether_to_order(net: Network, columns: Columns, setup: Float, amounts: Amounts) -> Decisions:
    """An order takes a yes, which costs its fixed cost."""
    sent = np.minimum(amounts.anywhere(net), net.capacity[net.supplier])
    largest = np.where(net.supplier >= 0, sent, amounts.bought(net))
    count = columns.n_orders
    each = np.tile(largest, count // len(largest))
    on_columns = sparse.eye(count, columns.count, format="csr")
    return Decisions(on_columns, -sparse.diags(each, format="csr"), np.zeros(count), setup)


def contested(net: Network) -> NDArray[np.bool_]:
    """(M,): markets that a plan would rather not serve first, where it has a choice.

    Their retailer serves others too, or earns nothing by serving them.
    """
    times = np.bincount(net.retailer, minlength=len(net.names))
    supplies = np.isin(net.retailer, net.supplier)
    loses = net.sale < (net.operating / net.output)[net.retailer]
    return (times[net.retailer] > 1) | supplies | loses


def whom_to_serve(net: Network, columns: Columns, amounts: Amounts) -> Decisions:
    """A yes leaves something unmet, and then there is nothing for those that are served later."""
    unmet = columns.unmet[:, :, contested(net)]
    short = np.arange(unmet.size).reshape(unmet.shape)
    empty = unmet.size + short
    anything = amounts.anywhere(net) + amounts.wanted
    on_columns, own = Rows(), Rows()
    on_columns.put(short, unmet, 1.0)
    own.put(short, short, -amounts.wanted)
    own.put(empty, short, anything)
    for place, market in enumerate(np.flatnonzero(contested(net))):
        retailer = net.retailer[market]
        on_columns.put(empty[:, :, place], columns.stock[:, :, retailer], 1.0)
        for other in np.flatnonzero(net.retailer == retailer):
            if other > market:
                on_columns.put(empty[:, :, place], columns.sales[:, :, other], 1.0)
    return Decisions(
        on_columns.matrix(2 * unmet.size, columns.count),
        own.matrix(2 * unmet.size, unmet.size),
        np.repeat([0.0, anything], unmet.size),
        np.zeros(unmet.size),
    )
