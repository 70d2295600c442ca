from .agreement import (
    agre as agre,
    generalised_ranking_error as generalised_ranking_error,
    identification_error as identification_error,
    kendall_distance as kendall_distance,
    kendall_tau as kendall_tau,
    mmrv as mmrv,
    pearson as pearson,
    regret_at_1 as regret_at_1,
    spearman as spearman,
)
from .preference import (
    dpo_flip_threshold as dpo_flip_threshold,
    flip_table as flip_table,
    idealized_log_ratio as idealized_log_ratio,
    idealized_ranking_accuracy as idealized_ranking_accuracy,
    listwise_ranking_accuracy as listwise_ranking_accuracy,
    ranking_accuracy as ranking_accuracy,
    reward_accuracy as reward_accuracy,
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
