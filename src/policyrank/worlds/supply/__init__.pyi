from .cascades import cascade as cascade, tiered as tiered
from .interventions import (
    Intervention as Intervention,
    Score as Score,
    evidence as evidence,
    first_order as first_order,
    perturbed as perturbed,
    rank_interventions as rank_interventions,
    score as score,
    second_order as second_order,
)
from .network import (
    SupplyNetwork as SupplyNetwork,
    independent as independent,
    tail_probability as tail_probability,
)

__all__ = [
    "Intervention",
    "Score",
    "SupplyNetwork",
    "cascade",
    "evidence",
    "first_order",
    "independent",
    "perturbed",
    "rank_interventions",
    "score",
    "second_order",
    "tail_probability",
    "tiered",
]
