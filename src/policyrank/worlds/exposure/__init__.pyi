from .claims import (
    FRAMINGS as FRAMINGS,
    Claims as Claims,
    linked_groups as linked_groups,
    openfactcheck as openfactcheck,
    read_claims as read_claims,
)
from .model import POLICIES as POLICIES, Personas as Personas, Policy as Policy, World as World
from .simulator import (
    METRICS as METRICS,
    Exposure as Exposure,
    Ranker as Ranker,
    State as State,
    evidence as evidence,
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
    "read_claims",
    "simulate",
]
