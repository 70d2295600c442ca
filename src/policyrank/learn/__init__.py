"""Learn: pure functions on tensors, with the extra ``learn``.

Distributions of rankings, losses, utilities, advantages, curricula.
"""

from policyrank._rooms import attach, require

require("torch", __name__)
__getattr__, __dir__, __all__ = attach(__name__, __file__)
