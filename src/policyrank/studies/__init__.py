"""Studies: one file a paper - its claim, measured small, against its baselines."""

from policyrank._rooms import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
