"""Learn: pure functions on tensors - distributions of rankings, losses, utilities, advantages,
curricula. Needs the extra ``learn``.
"""

try:
    import torch  # noqa: F401
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        "policyrank.learn needs PyTorch: pip install 'policyrank[learn]'"
    ) from None

from policyrank.learn import curricula, losses, rewards, segments
from policyrank.learn.advantages import advantage
from policyrank.learn.curricula import EASINESS, Curriculum
from policyrank.learn.distributions import BradleyTerry, Mallows, PlackettLuce
from policyrank.learn.losses import (
    LOSSES,
    PREFERENCE_LOSSES,
    PreferenceLoss,
    RankingLoss,
    preference_loss,
)
from policyrank.learn.rewards import REWARD_LOSSES, RewardLoss
from policyrank.learn.segments import STEP_WEIGHTS
from policyrank.learn.utilities import UTILITIES, Utility

__all__ = [
    "EASINESS",
    "LOSSES",
    "PREFERENCE_LOSSES",
    "REWARD_LOSSES",
    "STEP_WEIGHTS",
    "UTILITIES",
    "BradleyTerry",
    "Curriculum",
    "Mallows",
    "PlackettLuce",
    "PreferenceLoss",
    "RankingLoss",
    "RewardLoss",
    "Utility",
    "advantage",
    "curricula",
    "losses",
    "preference_loss",
    "rewards",
    "segments",
]
