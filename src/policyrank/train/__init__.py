"""Train: rankers from lists (extra ``learn``), language models and reward models from ranked
answers (extra ``llm``)."""

import policyrank.learn  # noqa: F401 - says what to install when PyTorch is missing
from policyrank._rooms import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
