"""Learn: pure functions on tensors - distributions of rankings, losses, utilities, advantages, curricula. Needs the extra ``learn``."""

try:
    import torch  # noqa: F401
except ModuleNotFoundError:
    raise ModuleNotFoundError("policyrank.learn needs PyTorch: pip install 'policyrank[learn]'") from None

from policyrank.learn import curricula, losses
from policyrank.learn.advantages import advantage
from policyrank.learn.curricula import EASINESS, Curriculum
from policyrank.learn.distributions import BradleyTerry, Mallows, PlackettLuce
from policyrank.learn.losses import LOSSES, RankingLoss
from policyrank.learn.utilities import UTILITIES, Utility

__all__ = [
    "EASINESS",
    "LOSSES",
    "UTILITIES",
    "BradleyTerry",
    "Curriculum",
    "Mallows",
    "PlackettLuce",
    "RankingLoss",
    "Utility",
    "advantage",
    "curricula",
    "losses",
]
