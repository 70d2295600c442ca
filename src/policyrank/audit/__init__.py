"""Audit: can a board be trusted? The room itself can be called: ``policyrank.audit(evidence)``."""

import sys
from types import ModuleType
from typing import Any

from policyrank.audit.checks import effective_resistance
from policyrank.audit.findings import Audit, Finding
from policyrank.audit.illusion import (
    best_of_n_bias,
    deflate,
    expected_max_normal,
    gini,
    hhi,
    rating_sd,
    simulate_drift_with_removal,
    simulate_private_testing,
    simulate_sampling_asymmetry,
    variants_to_explain,
)
from policyrank.audit.run import audit
from policyrank.audit.sensitivity import fewest_battles, leave_out

__all__ = [
    "Audit",
    "Finding",
    "audit",
    "best_of_n_bias",
    "deflate",
    "effective_resistance",
    "expected_max_normal",
    "fewest_battles",
    "gini",
    "hhi",
    "leave_out",
    "rating_sd",
    "simulate_drift_with_removal",
    "simulate_private_testing",
    "simulate_sampling_asymmetry",
    "variants_to_explain",
]


class _Room(ModuleType):
    """Makes the room callable."""

    def __call__(self, evidence: Any, **options: Any) -> Audit:
        return audit(evidence, **options)


sys.modules[__name__].__class__ = _Room
