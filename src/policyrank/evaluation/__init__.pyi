from .ledger import Ledger as Ledger
from .ledger import matchmaking_with_credits as matchmaking_with_credits
from .planning import Plan as Plan
from .planning import plan as plan
from .response_graph import ResponseGraph as ResponseGraph
from .response_graph import plays_needed as plays_needed
from .rules import (
    RULES as RULES,
)
from .rules import (
    SamplingRule as SamplingRule,
)
from .rules import (
    clopper_pearson_interval as clopper_pearson_interval,
)
from .rules import (
    hoeffding_interval as hoeffding_interval,
)
from .rules import (
    matchmaking_weights as matchmaking_weights,
)
from .runner import Evaluation as Evaluation
from .runner import Progress as Progress
from .runner import evaluate as evaluate
from .state import State as State
from .stopping import (
    STOPS as STOPS,
)
from .stopping import (
    best_known as best_known,
)
from .stopping import (
    log_evidence as log_evidence,
)
from .stopping import (
    order_known as order_known,
)
from .stopping import (
    top_k_known as top_k_known,
)
from .store import Result as Result
from .store import Store as Store

__all__ = [
    "RULES",
    "STOPS",
    "Evaluation",
    "Ledger",
    "Plan",
    "Progress",
    "ResponseGraph",
    "Result",
    "SamplingRule",
    "State",
    "Store",
    "best_known",
    "clopper_pearson_interval",
    "evaluate",
    "hoeffding_interval",
    "log_evidence",
    "matchmaking_weights",
    "matchmaking_with_credits",
    "order_known",
    "plan",
    "plays_needed",
    "top_k_known",
]
