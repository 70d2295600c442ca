"""Evidence: what is known of the policies - comparisons, scores, rankings - and its readers."""

from policyrank._rooms import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
