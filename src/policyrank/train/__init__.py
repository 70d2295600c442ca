"""Train: rankers from lists, language models and reward models from ranked answers.

Rankers need the extra ``learn``, the models ``llm``.
"""

import policyrank.learn  # noqa: F401 - says what to install when PyTorch is missing
from policyrank._rooms import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
