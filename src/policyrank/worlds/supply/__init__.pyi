from .cascades import cascade as cascade
from .cascades import tiered as tiered
from .interventions import (
    Intervention as Intervention,
)
from .interventions import (
    Score as Score,
)
from .interventions import (
    evidence as evidence,
)
from .interventions import (
    first_order as first_order,
)
from .interventions import (
    perturbed as perturbed,
)
from .interventions import (
    rank_interventions as rank_interventions,
)
from .interventions import (
    score as score,
)
from .interventions import (
    second_order as second_order,
)
from .network import (
    SupplyNetwork as SupplyNetwork,
)
from .network import (
    independent as independent,
)
from .network import (
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
