"""Inventory: what to order from whom, period by period, on a network of factories, distributors and
retailers.

One simulator runs thousands of episodes at once and reproduces the published environment number for
number; every controller says what it may know. Barati and Hu (2026), arXiv 2605.11355
(gym-invmgmt); networks and costs from Perez et al. (2021).
"""

from policyrank.worlds.inventory.benchmark import SHARE, evidence, growing_evidence
from policyrank.worlds.inventory.controllers import (
    HEURISTICS,
    echelon,
    newsvendor,
    reorder_point,
    smoothing,
)
from policyrank.worlds.inventory.networks import (
    NETWORKS,
    REGIMES,
    Demand,
    Network,
    Scenario,
    core_grid,
    scenario,
)
from policyrank.worlds.inventory.planning import PLANS, deterministic_plan, oracle, stochastic_plan
from policyrank.worlds.inventory.simulator import (
    Controller,
    Episodes,
    Information,
    Simulation,
    View,
    simulate,
)

__all__ = [
    "HEURISTICS",
    "NETWORKS",
    "PLANS",
    "REGIMES",
    "SHARE",
    "Controller",
    "Demand",
    "Episodes",
    "Information",
    "Network",
    "Scenario",
    "Simulation",
    "View",
    "core_grid",
    "deterministic_plan",
    "echelon",
    "evidence",
    "growing_evidence",
    "newsvendor",
    "oracle",
    "reorder_point",
    "scenario",
    "simulate",
    "smoothing",
    "stochastic_plan",
]
