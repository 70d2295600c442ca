"""Board: the leaderboard, its intervals and rank sets, and how it is shown."""

from policyrank._rooms import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
