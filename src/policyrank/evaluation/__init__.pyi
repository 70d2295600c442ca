from .ledger import Ledger as Ledger, matchmaking_with_credits as matchmaking_with_credits
from .loop import Progress as Progress
from .planning import Plan as Plan, plan as plan
from .response_graph import ResponseGraph as ResponseGraph, plays_needed as plays_needed
from .rules import (
    RULES as RULES,
    SamplingRule as SamplingRule,
    clopper_pearson_interval as clopper_pearson_interval,
    hoeffding_interval as hoeffding_interval,
    matchmaking_weights as matchmaking_weights,
)
from .runner import Evaluation as Evaluation, evaluate as evaluate
from .state import State as State
from .stopping import (
    STOPS as STOPS,
    best_known as best_known,
    log_evidence as log_evidence,
    order_known as order_known,
    top_k_known as top_k_known,
)
from .store import Result as Result, Store as Store

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
