"""Base-stock heuristics: how much to order from whom, for all episodes at once."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from policyrank.worlds.inventory.networks import Float, Network
from policyrank.worlds.inventory.simulator import Controller, Information, View

WINDOW = 5


def split(network: Network, needed: Float) -> Float:
    """Orders (B, E) from needs (B, n): to each supplier in proportion to 1 / (1 + price + lead /
    10).
    """
    orders = np.zeros((len(needed), len(network.edges)))
    score = 1 / (1 + network.price + 0.1 * network.lead)
    for j, e in enumerate(network.incoming):
        orders[:, e] = needed[:, j : j + 1] * (score[e] / score[e].sum())
    return np.minimum(orders, network.largest_order)


def prior_mean(view: View) -> Float:
    """(B, M): what a blind controller expects before it has seen a customer: the retailers' initial
    stock spread over the longest lead time.
    """
    net = view.network
    mean = (
        net.stock[net.retailer].sum() / len(np.unique(net.retailer)) / (net.lead.max(initial=0) + 1)
    )
    each = (mean if mean > 0 else 20.0) * net.share / net.share.mean()
    return np.tile(each, (len(view.simulation.stock), 1))


def recent(view: View) -> tuple[Float, Float]:
    """Mean and standard deviation (B, M) of the last five demands; the root of the mean while fewer
    than three are known, at least 1.
    """
    if view.t == 0:
        mean = prior_mean(view)
        return mean, np.maximum(np.sqrt(mean), 1.0)
    past = view.past[-WINDOW:]
    mean = past.mean(axis=0)
    return mean, np.maximum(past.std(axis=0, ddof=1) if len(past) >= 3 else np.sqrt(mean), 1.0)


def lead_demand(view: View, periods: np.ndarray) -> tuple[Float, Float]:
    """Mean and standard deviation (B, n) of what each node's markets want in that many periods
    (n,), this one included: the sums of the true means where the contract allows, else of
    ``recent``.
    """
    net = view.network
    serves = net.serves.astype(float)
    if view.information == "blind":
        mean, sd = recent(view)
        return mean @ serves.T * periods, np.sqrt(sd**2 @ serves.T) * np.sqrt(periods)
    total, variance = np.zeros((2, len(view.simulation.stock), len(net.names)))
    for k in range(int(periods.max())):
        mean = view.mean(k)
        spread = np.where(mean > 0, np.sqrt(mean) * view.scenario.demand.noise, 1.0) ** 2
        total += np.where(k < periods, mean @ serves.T, 0.0)
        variance += np.where(k < periods, spread @ serves.T, 0.0)
    return total, np.sqrt(variance)


def critical_ratio(network: Network, holding: Float) -> Float:
    """(n,) b / (b + h): b is a retailer's backlog penalty; for others the margin, at least .5."""
    b = np.zeros(len(network.names))
    for j in range(len(b)):
        out = network.price[network.supplier == j]
        if (network.retailer == j).any():
            b[j] = network.penalty[network.retailer == j].max()
        else:
            b[j] = max(out.max(initial=0.0) - network.price[network.incoming[j]].min(), 0.5)
    with np.errstate(invalid="ignore"):
        return np.where(b + holding > 0, b / (b + holding), 0.5)


def newsvendor(view: View) -> Float:
    """Base stock at the critical ratio of each node's lead-time demand: S = mu_L + z(b / (b + h))
    sigma_L, Normal; orders what the inventory position lacks.
    """
    net = view.network
    mean, sd = lead_demand(view, net.longest_lead + 1)
    target = np.maximum(0.0, mean + ndtri(critical_ratio(net, net.holding)) * sd)
    return split(net, np.maximum(0.0, target - view.position))


def reorder_point(view: View, service: float = 0.95) -> Float:
    """(s, S): below s = mu_L + z(service) sigma_L order up to S = s + sqrt(2 mu K / h); K is the
    mean fixed cost, or ten times the operating (factory) or holding cost.
    """
    net = view.network
    mean, sd = lead_demand(view, net.longest_lead + 1)
    low = mean + ndtri(service) * sd
    now, _ = lead_demand(view, np.ones(len(net.names), dtype=int))
    fixed = np.array([net.fixed[e].mean() for e in net.incoming])
    fixed = np.where(
        fixed == 0, 10 * np.where(np.isfinite(net.capacity), net.operating, net.holding), fixed
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        lot = np.where((net.holding > 0) & (now > 0), np.sqrt(2 * now * fixed / net.holding), mean)
    have = view.position
    return split(net, np.where(have < low, np.maximum(0.0, low + lot - have), 0.0))


def smoothing(view: View, level: float = 0.3, trend: float = 0.1, error: float = 0.1) -> Float:
    """Newsvendor on Holt's forecast: level and trend smoothed, variance the smoothed squared error
    (informed: the true one).
    """
    net = view.network
    periods = net.longest_lead + 1
    if view.t == 0:
        mean, sd = (
            recent(view) if view.information == "blind" else (view.mean(), _informed_sd(view))
        )
        mu, sigma = mean @ net.serves.T * periods, np.sqrt(sd**2 @ net.serves.T) * np.sqrt(periods)
    else:
        past = view.past
        now, slope, mse = past[0], np.zeros_like(past[0]), past[0].copy()
        for d in past[1:]:
            off = d - (now + slope)
            new = level * d + (1 - level) * (now + slope)
            slope = trend * (new - now) + (1 - trend) * slope
            now, mse = new, mse + error * (off**2 - mse)
        mu = np.maximum(0.0, now + slope) @ net.serves.T * periods
        sigma = np.sqrt(np.maximum(1.0, mse) @ net.serves.T * periods)
        if view.information != "blind":
            sigma = lead_demand(view, periods)[1]
    target = np.where(
        mu > 0, np.maximum(0.0, mu + ndtri(critical_ratio(net, net.holding)) * sigma), 0.0
    )
    return split(net, np.maximum(0.0, target - view.position))


def _informed_sd(view: View) -> Float:
    return np.maximum(np.sqrt(view.mean()) * view.scenario.demand.noise, 1.0)


def echelon(view: View) -> Float:
    """Echelon base stock after Clark and Scarf: lead times down to the market are added up, the
    position is that of the node and all below it, holding costs are echelon's.
    """
    net = view.network
    mean, sd = lead_demand(view, net.longest_lead + net.lead_below + 1)
    lower = np.zeros(len(net.names))
    for s, j in zip(net.supplier, net.buyer, strict=True):
        if s >= 0:
            lower[s] += net.holding[j]
    target = np.maximum(
        0.0, mean + ndtri(critical_ratio(net, np.maximum(0.01, net.holding - lower))) * sd
    )
    return split(net, np.maximum(0.0, target - view.position @ net.below.T))


HEURISTICS: dict[str, tuple[Controller, Information]] = {
    f"{name}{'-I' if information == 'informed' else ''}": (rule, information)
    for name, rule in {
        "newsvendor": newsvendor,
        "(s, S)": reorder_point,
        "smoothing": smoothing,
        "echelon": echelon,
    }.items()
    for information in ("blind", "informed")
}
