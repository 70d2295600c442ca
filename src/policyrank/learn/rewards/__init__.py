"""Rewards of groups of answers, from parsers to gates; losses of models that give rewards."""

from policyrank._rooms import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
