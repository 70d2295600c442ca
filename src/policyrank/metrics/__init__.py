"""Numbers about orders and preferences."""

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
from policyrank.metrics.preference import (
    dpo_flip_threshold,
    flip_table,
    idealized_log_ratio,
    idealized_ranking_accuracy,
    listwise_ranking_accuracy,
    ranking_accuracy,
    reward_accuracy,
)

__all__ = [
    "agre",
    "dpo_flip_threshold",
    "flip_table",
    "generalised_ranking_error",
    "idealized_log_ratio",
    "idealized_ranking_accuracy",
    "identification_error",
    "kendall_distance",
    "kendall_tau",
    "listwise_ranking_accuracy",
    "mmrv",
    "pearson",
    "ranking_accuracy",
    "regret_at_1",
    "reward_accuracy",
    "spearman",
]
