from .coverage import effective_resistance as effective_resistance
from .findings import Audit as Audit, Finding as Finding
from .illusion import (
    best_of_n_bias as best_of_n_bias,
    deflate as deflate,
    expected_max_normal as expected_max_normal,
    gini as gini,
    hhi as hhi,
    rating_sd as rating_sd,
    simulate_drift_with_removal as simulate_drift_with_removal,
    simulate_private_testing as simulate_private_testing,
    simulate_sampling_asymmetry as simulate_sampling_asymmetry,
    variants_to_explain as variants_to_explain,
)
from .run import audit as audit
from .sensitivity import fewest_battles as fewest_battles, leave_out as leave_out

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
