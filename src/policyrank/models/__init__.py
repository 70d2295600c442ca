"""Models of others and our own, by name, through one door.

Causal language models and reward models (extra ``llm``), sentence encoders (extra ``retrieval``).
"""

from policyrank._rooms import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
