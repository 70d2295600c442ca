"""Numbers about orders."""

from policyrank.metrics.agreement import (
    agre,
    generalised_ranking_error,
    identification_error,
    kendall_distance,
    kendall_tau,
    mmrv,
    pearson,
    regret_at_1,
    spearman,
)

__all__ = [
    "agre",
    "generalised_ranking_error",
    "identification_error",
    "kendall_distance",
    "kendall_tau",
    "mmrv",
    "pearson",
    "regret_at_1",
    "spearman",
]
