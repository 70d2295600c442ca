"""Attacks on rankers, to test a ranker one owns.

How far can a document be moved, at what cost, and does it show? Needs the extra ``learn``."""

import policyrank.learn  # noqa: F401 - says what to install when PyTorch is missing
from policyrank._rooms import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
