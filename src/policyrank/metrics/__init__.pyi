from .agreement import (
    agre as agre,
)
from .agreement import (
    generalised_ranking_error as generalised_ranking_error,
)
from .agreement import (
    identification_error as identification_error,
)
from .agreement import (
    kendall_distance as kendall_distance,
)
from .agreement import (
    kendall_tau as kendall_tau,
)
from .agreement import (
    mmrv as mmrv,
)
from .agreement import (
    pearson as pearson,
)
from .agreement import (
    regret_at_1 as regret_at_1,
)
from .agreement import (
    spearman as spearman,
)
from .preference import (
    dpo_flip_threshold as dpo_flip_threshold,
)
from .preference import (
    flip_table as flip_table,
)
from .preference import (
    idealized_log_ratio as idealized_log_ratio,
)
from .preference import (
    idealized_ranking_accuracy as idealized_ranking_accuracy,
)
from .preference import (
    listwise_ranking_accuracy as listwise_ranking_accuracy,
)
from .preference import (
    ranking_accuracy as ranking_accuracy,
)
from .preference import (
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
