"""Base-stock heuristics: how much to order from whom, for all episodes at once."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from policyrank.worlds.inventory.networks import Float, Network
from policyrank.worlds.inventory.simulator import Controller, Information, View

WINDOW = 5
MOST_SURE = 1 - 1e-4
"""Stock that costs nothing to hold would be without limit."""


def split(view: View, needed: Float) -> Float:
    """Orders (B, E) from needs (B, n).

    To each supplier in proportion to 1 / (1 + price + lead / 10).
    """
    network = view.network
    orders = np.zeros((len(needed), len(network.edges)))
    score = 1 / (1 + network.price + 0.1 * network.lead)
    for node, edges in enumerate(network.incoming):
        share = score[edges] / score[edges].sum()
        orders[:, edges] = needed[:, node : node + 1] * share
    return orders


def prior_mean(view: View) -> Float:
    """(B, M): what a blind controller expects before it has seen a customer.

    The retailers' initial stock spread over the longest lead time.
    """
    net = view.network
    retailers, periods = len(np.unique(net.retailer)), net.lead.max(initial=0) + 1
    mean = net.stock[net.retailer].sum() / retailers / periods
    if mean <= 0:
        mean = 20.0
    each = mean * net.share / net.share.mean()
    return np.tile(each, (len(view.simulation.stock), 1))


def recent(view: View) -> tuple[Float, Float]:
    """Mean and standard deviation (B, M) of the last five demands.

    The deviation is the root of the mean while fewer than three are known, at least 1.
    """
    if view.t == 0:
        mean = prior_mean(view)
        return mean, np.maximum(np.sqrt(mean), 1.0)
    past = view.past[-WINDOW:]
    mean = past.mean(axis=0)
    spread = np.sqrt(mean)
    if len(past) >= 3:
        spread = past.std(axis=0, ddof=1)
    return mean, np.maximum(spread, 1.0)


def lead_demand(view: View, periods: np.ndarray) -> tuple[Float, Float]:
    """Mean and standard deviation (B, n) of what each node's markets want in some periods.

    ``periods`` (n,) include this one. The sums are of the true means where the contract allows,
    else of ``recent``.
    """
    net = view.network
    serves = net.serves.astype(float)
    if view.information == "blind":
        mean, sd = recent(view)
        return mean @ serves.T * periods, np.sqrt(sd**2 @ serves.T) * np.sqrt(periods)
    total, variance = np.zeros((2, len(view.simulation.stock), len(net.names)))
    for ahead in range(int(periods.max())):
        mean = view.mean(ahead)
        spread = np.where(mean > 0, np.sqrt(mean) * view.scenario.demand.noise, 1.0) ** 2
        total += np.where(ahead < periods, mean @ serves.T, 0.0)
        variance += np.where(ahead < periods, spread @ serves.T, 0.0)
    return total, np.sqrt(variance)


def critical_ratio(network: Network, holding: Float) -> Float:
    """(n,) b / (b + h), at most .9999: h is what holding costs.

    b is a retailer's backlog penalty; for others the margin, at least .5.
    """
    short = np.zeros(len(network.names))
    for node, incoming in enumerate(network.incoming):
        sold_at = network.retailer == node
        if sold_at.any():
            short[node] = network.penalty[sold_at].max()
        else:
            price = network.price[network.supplier == node].max(initial=0.0)
            short[node] = max(price - network.price[incoming].min(), 0.5)
    with np.errstate(invalid="ignore"):
        ratio = np.where(short + holding > 0, short / (short + holding), 0.5)
    return np.minimum(ratio, MOST_SURE)


def newsvendor(view: View) -> Float:
    """Base stock at the critical ratio of each node's lead-time demand.

    S = mu_L + z(b / (b + h)) sigma_L, Normal; orders what the inventory position lacks.
    """
    net = view.network
    mean, sd = lead_demand(view, net.longest_lead + 1)
    target = np.maximum(0.0, mean + ndtri(critical_ratio(net, net.holding)) * sd)
    return split(view, np.maximum(0.0, target - view.position))


def reorder_point(view: View, service: float = 0.95) -> Float:
    """(s, S): below s = mu_L + z(service) sigma_L order up to S = s + sqrt(2 mu K / h).

    K is the mean fixed cost, or ten times the operating (factory) or holding cost.
    """
    net = view.network
    mean, sd = lead_demand(view, net.longest_lead + 1)
    low = mean + ndtri(service) * sd
    now, _ = lead_demand(view, np.ones(len(net.names), dtype=int))
    fixed = np.array([net.fixed[edges].mean() for edges in net.incoming])
    running = np.where(np.isfinite(net.capacity), net.operating, net.holding)
    fixed = np.where(fixed == 0, 10 * running, fixed)
    with np.errstate(divide="ignore", invalid="ignore"):
        lot = np.where((net.holding > 0) & (now > 0), np.sqrt(2 * now * fixed / net.holding), mean)
    have = view.position
    return split(view, np.where(have < low, np.maximum(0.0, low + lot - have), 0.0))


def smoothing(view: View, level: float = 0.3, trend: float = 0.1, error: float = 0.1) -> Float:
    """Newsvendor on Holt's forecast: level and trend smoothed.

    The variance is the smoothed squared error (informed: the true one).
    """
    net = view.network
    periods = net.longest_lead + 1
    if view.t == 0:
        mean, sd = _first_guess(view)
        mu, sigma = mean @ net.serves.T * periods, np.sqrt(sd**2 @ net.serves.T) * np.sqrt(periods)
    else:
        forecast, squared = _holt(view.past, level, trend, error)
        mu = np.maximum(0.0, forecast) @ net.serves.T * periods
        sigma = np.sqrt(np.maximum(1.0, squared) @ net.serves.T * periods)
        if view.information != "blind":
            sigma = lead_demand(view, periods)[1]
    stock = mu + ndtri(critical_ratio(net, net.holding)) * sigma
    target = np.where(mu > 0, np.maximum(0.0, stock), 0.0)
    return split(view, np.maximum(0.0, target - view.position))


def _first_guess(view: View) -> tuple[Float, Float]:
    """Mean and standard deviation (B, M) before any customer."""
    if view.information == "blind":
        return recent(view)
    mean = view.mean()
    return mean, np.maximum(np.sqrt(mean) * view.scenario.demand.noise, 1.0)


def _holt(past: Float, level: float, trend: float, error: float) -> tuple[Float, Float]:
    """Forecast of the next demand, and smoothed squared error: (B, M) each."""
    now, slope, squared = past[0], np.zeros_like(past[0]), past[0].copy()
    for demand in past[1:]:
        off = demand - (now + slope)
        new = level * demand + (1 - level) * (now + slope)
        slope = trend * (new - now) + (1 - trend) * slope
        now, squared = new, squared + error * (off**2 - squared)
    return now + slope, squared


def echelon(view: View) -> Float:
    """Echelon base stock after Clark and Scarf.

    Lead times down to the market are added up, the position is that of the node and all below it,
    holding costs are echelon's.
    """
    net = view.network
    mean, sd = lead_demand(view, net.longest_lead + net.lead_below + 1)
    lower = np.zeros(len(net.names))
    for supplier, buyer in zip(net.supplier, net.buyer, strict=True):
        if supplier >= 0:
            lower[supplier] += net.holding[buyer]
    ratio = critical_ratio(net, np.maximum(0.01, net.holding - lower))
    target = np.maximum(0.0, mean + ndtri(ratio) * sd)
    return split(view, np.maximum(0.0, target - view.position @ net.below.T))


HEURISTICS: dict[str, tuple[Controller, Information]] = {
    "newsvendor": (newsvendor, "blind"),
    "newsvendor-I": (newsvendor, "informed"),
    "(s, S)": (reorder_point, "blind"),
    "(s, S)-I": (reorder_point, "informed"),
    "smoothing": (smoothing, "blind"),
    "smoothing-I": (smoothing, "informed"),
    "echelon": (echelon, "blind"),
    "echelon-I": (echelon, "informed"),
}
