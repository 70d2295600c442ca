from .benchmark import SHARE as SHARE
from .benchmark import evidence as evidence
from .benchmark import growing_evidence as growing_evidence
from .controllers import (
    HEURISTICS as HEURISTICS,
)
from .controllers import (
    echelon as echelon,
)
from .controllers import (
    newsvendor as newsvendor,
)
from .controllers import (
    reorder_point as reorder_point,
)
from .controllers import (
    smoothing as smoothing,
)
from .networks import (
    NETWORKS as NETWORKS,
)
from .networks import (
    REGIMES as REGIMES,
)
from .networks import (
    Demand as Demand,
)
from .networks import (
    Network as Network,
)
from .networks import (
    Scenario as Scenario,
)
from .networks import (
    core_grid as core_grid,
)
from .networks import (
    scenario as scenario,
)
from .planning import (
    PLANS as PLANS,
)
from .planning import (
    deterministic_plan as deterministic_plan,
)
from .planning import (
    oracle as oracle,
)
from .planning import (
    stochastic_plan as stochastic_plan,
)
from .simulator import (
    Controller as Controller,
)
from .simulator import (
    Episodes as Episodes,
)
from .simulator import (
    Information as Information,
)
from .simulator import (
    Simulation as Simulation,
)
from .simulator import (
    View as View,
)
from .simulator import (
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
