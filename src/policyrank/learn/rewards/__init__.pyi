from . import parsing as parsing
from .compose import (
    gated as gated,
    normalised_sum as normalised_sum,
    weighted_sum as weighted_sum,
)
from .composed import (
    gate as gate,
    normalised as normalised,
    weighted as weighted,
)
from .lists import (
    coverage as coverage,
    dcg as dcg,
    ndcg as ndcg,
    rank_biased_overlap as rank_biased_overlap,
    rank_credit as rank_credit,
    tiered as tiered,
)
from .models import (
    REWARD_LOSSES as REWARD_LOSSES,
    RewardLoss as RewardLoss,
    bradley_terry_reward as bradley_terry_reward,
    discriminator_oracle as discriminator_oracle,
    plackett_luce_reward as plackett_luce_reward,
    reward_loss as reward_loss,
)
from .rubrics import (
    Rubric as Rubric,
    RubricDiagnosis as RubricDiagnosis,
    contrast_factors as contrast_factors,
    diagnose_rubric as diagnose_rubric,
    rubric_reward as rubric_reward,
)
from .scores import (
    bell as bell,
    consistency_bonus as consistency_bonus,
    fidelity as fidelity,
    near as near,
    rank_fidelity as rank_fidelity,
    thurstone as thurstone,
    within as within,
)

__all__ = [
    "REWARD_LOSSES",
    "RewardLoss",
    "Rubric",
    "RubricDiagnosis",
    "bell",
    "bradley_terry_reward",
    "consistency_bonus",
    "contrast_factors",
    "coverage",
    "dcg",
    "diagnose_rubric",
    "discriminator_oracle",
    "fidelity",
    "gate",
    "gated",
    "ndcg",
    "near",
    "normalised",
    "normalised_sum",
    "parsing",
    "plackett_luce_reward",
    "rank_biased_overlap",
    "rank_credit",
    "rank_fidelity",
    "reward_loss",
    "rubric_reward",
    "thurstone",
    "tiered",
    "weighted",
    "weighted_sum",
    "within",
]
