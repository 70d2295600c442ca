from . import curricula as curricula, losses as losses, rewards as rewards, segments as segments
from .advantages import (
    ADVANTAGES as ADVANTAGES,
    GROUP_ADVANTAGES as GROUP_ADVANTAGES,
    Advantage as Advantage,
    GroupAdvantage as GroupAdvantage,
    group_advantage as group_advantage,
    group_keys as group_keys,
    group_mean as group_mean,
    reward_to_go as reward_to_go,
    token_gains as token_gains,
    without_ties as without_ties,
)
from .curricula import EASINESS as EASINESS, Curriculum as Curriculum, Easiness as Easiness
from .distributions import (
    BradleyTerry as BradleyTerry,
    Mallows as Mallows,
    PlackettLuce as PlackettLuce,
)
from .filters import (
    RANK_FILTERS as RANK_FILTERS,
    RankFilter as RankFilter,
    rank_weights as rank_weights,
    resampled as resampled,
)
from .histories import (
    hierarchical_advantage as hierarchical_advantage,
    history_keys as history_keys,
    shares_compared as shares_compared,
)
from .importance import (
    ImportanceWeights as ImportanceWeights,
    truncated_weights as truncated_weights,
)
from .label_domains import (
    LABEL_DOMAINS as LABEL_DOMAINS,
    label_domain as label_domain,
    largest_label as largest_label,
)
from .labels import (
    LabelDomain as LabelDomain,
    check_labels as check_labels,
    win_shares as win_shares,
)
from .losses import (
    LOSSES as LOSSES,
    POLICY_OBJECTIVES as POLICY_OBJECTIVES,
    PREFERENCE_LOSSES as PREFERENCE_LOSSES,
    GroupObjective as GroupObjective,
    ListObjective as ListObjective,
    PolicyLoss as PolicyLoss,
    PolicyObjective as PolicyObjective,
    PreferenceLoss as PreferenceLoss,
    RankingLoss as RankingLoss,
    ValueLoss as ValueLoss,
    ValueObjective as ValueObjective,
    preference_loss as preference_loss,
    pretraining_loss as pretraining_loss,
)
from .moments import (
    RunningMoments as RunningMoments,
    kl_shaped_rewards as kl_shaped_rewards,
    normalised_rewards as normalised_rewards,
)
from .monitors import (
    SIGNALS as SIGNALS,
    Alarm as Alarm,
    CollapseMonitor as CollapseMonitor,
    Signal as Signal,
    reward_signals as reward_signals,
)
from .reliability import (
    Reliability as Reliability,
    reward_reliability as reward_reliability,
)
from .replays import (
    mixed_advantage as mixed_advantage,
    one_sided as one_sided,
)
from .rewards import REWARD_LOSSES as REWARD_LOSSES, RewardLoss as RewardLoss
from .rollouts import (
    Reward as Reward,
    Rewards as Rewards,
    Rollouts as Rollouts,
    as_reward as as_reward,
    of_batch as of_batch,
    of_columns as of_columns,
    rewarded as rewarded,
)
from .segments import STEP_WEIGHTS as STEP_WEIGHTS, StepWeight as StepWeight
from .temporal import (
    Estimates as Estimates,
    discounted_step_returns as discounted_step_returns,
    gae as gae,
    step_gae as step_gae,
    whitened as whitened,
)
from .unmasking import (
    Unmasking as Unmasking,
    UnmaskingChoice as UnmaskingChoice,
    choice_log_prob as choice_log_prob,
    token_log_prob as token_log_prob,
)
from .utilities import UTILITIES as UTILITIES, Utility as Utility

__all__ = [
    "ADVANTAGES",
    "EASINESS",
    "GROUP_ADVANTAGES",
    "LABEL_DOMAINS",
    "LOSSES",
    "POLICY_OBJECTIVES",
    "PREFERENCE_LOSSES",
    "RANK_FILTERS",
    "REWARD_LOSSES",
    "SIGNALS",
    "STEP_WEIGHTS",
    "UTILITIES",
    "Advantage",
    "Alarm",
    "BradleyTerry",
    "CollapseMonitor",
    "Curriculum",
    "Easiness",
    "Estimates",
    "GroupAdvantage",
    "GroupObjective",
    "ImportanceWeights",
    "LabelDomain",
    "ListObjective",
    "Mallows",
    "PlackettLuce",
    "PolicyLoss",
    "PolicyObjective",
    "PreferenceLoss",
    "RankFilter",
    "RankingLoss",
    "Reliability",
    "Reward",
    "RewardLoss",
    "Rewards",
    "Rollouts",
    "RunningMoments",
    "Signal",
    "StepWeight",
    "Unmasking",
    "UnmaskingChoice",
    "Utility",
    "ValueLoss",
    "ValueObjective",
    "as_reward",
    "check_labels",
    "choice_log_prob",
    "curricula",
    "discounted_step_returns",
    "gae",
    "group_advantage",
    "group_keys",
    "group_mean",
    "hierarchical_advantage",
    "history_keys",
    "kl_shaped_rewards",
    "label_domain",
    "largest_label",
    "losses",
    "mixed_advantage",
    "normalised_rewards",
    "of_batch",
    "of_columns",
    "one_sided",
    "preference_loss",
    "pretraining_loss",
    "rank_weights",
    "resampled",
    "reward_reliability",
    "reward_signals",
    "reward_to_go",
    "rewarded",
    "rewards",
    "segments",
    "shares_compared",
    "step_gae",
    "token_gains",
    "token_log_prob",
    "truncated_weights",
    "whitened",
    "win_shares",
    "without_ties",
]
