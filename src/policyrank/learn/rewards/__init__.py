"""Rewards: losses of models that give them."""

from policyrank._rooms import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
