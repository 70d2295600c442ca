"""Learn: pure functions on tensors - distributions of rankings, losses, utilities, advantages,
curricula. Needs the extra ``learn``."""

from policyrank._rooms import attach, require

require("torch", __name__)
__getattr__, __dir__, __all__ = attach(__name__, __file__)
