"""policyrank ranks policies, trains policies that rank, and trains policies from rankings.

>>> import policyrank as pr
>>> battles = pr.Comparisons.of(["x", "x", "y", "z"], ["y", "z", "z", "x"], [1, 1, 0.5, 1])
>>> board = pr.rank(battles)
>>> board.policies[0]
'x'
"""

from policyrank._rooms import attach

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = attach(__name__, __file__)
__all__ += ["__version__"]
