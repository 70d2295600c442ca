"""Evidence: comparisons, scores and rankings of policies, and how to read them."""

from policyrank._rooms import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
