"""Exposure: what ranking and recommendation policies do to people in the long run.

People judge claims that a policy shows them; how a claim is framed may sway them, and what they
accept decides what they see next. De Lima, Liu and Yang (2026), arXiv 2602.15273 (FrameRef).
"""

from policyrank.worlds.exposure.claims import FRAMINGS, Claims, linked_groups, openfactcheck
from policyrank.worlds.exposure.model import POLICIES, Personas, Policy, World
from policyrank.worlds.exposure.simulator import (
    METRICS,
    Exposure,
    Ranker,
    State,
    evidence,
    simulate,
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
