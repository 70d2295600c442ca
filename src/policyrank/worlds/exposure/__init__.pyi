from .claims import (
    FRAMINGS as FRAMINGS,
)
from .claims import (
    Claims as Claims,
)
from .claims import (
    linked_groups as linked_groups,
)
from .claims import (
    openfactcheck as openfactcheck,
)
from .model import POLICIES as POLICIES
from .model import Personas as Personas
from .model import Policy as Policy
from .model import World as World
from .simulator import (
    METRICS as METRICS,
)
from .simulator import (
    Exposure as Exposure,
)
from .simulator import (
    Ranker as Ranker,
)
from .simulator import (
    State as State,
)
from .simulator import (
    evidence as evidence,
)
from .simulator import (
    simulate as simulate,
)

__all__ = [
    "FRAMINGS",
    "METRICS",
    "POLICIES",
    "Claims",
    "Exposure",
    "Personas",
    "Policy",
    "Ranker",
    "State",
    "World",
    "evidence",
    "linked_groups",
    "openfactcheck",
    "simulate",
]
