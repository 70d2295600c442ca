"""Train controllers from logged data by critics, or in worlds; and improve what others trained.

Needs the extra ``learn``; ``inventory`` and ``budgets`` need ``control`` (gymnasium,
stable-baselines3).
"""

import policyrank.learn  # noqa: F401 - says what to install when PyTorch is missing
from policyrank._rooms import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
