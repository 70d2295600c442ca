"""What agents act in by text: tools, search, games, programs to repair; a turn at a time.

Each is an ``Environment``: it is reset for a row of data, and answers what the agent writes with an
observation. ``train.TurnSampler`` has a language model and environments speak in turn.
"""

from policyrank._rooms import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
