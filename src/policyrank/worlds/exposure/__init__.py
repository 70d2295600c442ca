"""Exposure: what ranking and recommendation policies do to people in the long run.

People judge claims that a policy shows them; how a claim is framed may sway them, and what they
accept decides what they see next. De Lima, Liu and Yang (2026), arXiv 2602.15273 (FrameRef)."""

from policyrank._rooms import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
