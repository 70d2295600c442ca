"""Evaluate: policies in, evidence out. The room itself can be called:
``policyrank.evaluate(policies, tasks)``.
"""

import sys
from types import ModuleType
from typing import Any

from policyrank.evaluate.ledger import Ledger, matchmaking_with_credits
from policyrank.evaluate.plan import Plan, plan
from policyrank.evaluate.response_graph import ResponseGraph, plays_needed
from policyrank.evaluate.rules import (
    RULES,
    SamplingRule,
    clopper_pearson_interval,
    hoeffding_interval,
    matchmaking_weights,
)
from policyrank.evaluate.runner import Evaluation, Progress, evaluate
from policyrank.evaluate.state import State
from policyrank.evaluate.stopping import STOPS, best_known, log_evidence, order_known, top_k_known
from policyrank.evaluate.store import Result, Store

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


class _Room(ModuleType):
    """Makes the room callable."""

    def __call__(self, policies: Any, tasks: Any, **options: Any) -> Evaluation:
        return evaluate(policies, tasks, **options)


sys.modules[__name__].__class__ = _Room
