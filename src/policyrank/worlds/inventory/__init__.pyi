from .benchmark import SHARE as SHARE, evidence as evidence, growing_evidence as growing_evidence
from .controllers import (
    HEURISTICS as HEURISTICS,
    echelon as echelon,
    newsvendor as newsvendor,
    reorder_point as reorder_point,
    smoothing as smoothing,
)
from .networks import (
    NETWORKS as NETWORKS,
    Network as Network,
)
from .planning import (
    PLANS as PLANS,
    deterministic_plan as deterministic_plan,
    oracle as oracle,
    stochastic_plan as stochastic_plan,
)
from .scenarios import (
    REGIMES as REGIMES,
    Demand as Demand,
    Scenario as Scenario,
    core_grid as core_grid,
    scenario as scenario,
)
from .simulator import (
    Controller as Controller,
    Episodes as Episodes,
    Information as Information,
    Simulation as Simulation,
    View as View,
    simulate as simulate,
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
