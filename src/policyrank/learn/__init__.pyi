from . import curricula as curricula
from . import losses as losses
from . import rewards as rewards
from . import segments as segments
from .advantages import ADVANTAGES as ADVANTAGES
from .advantages import Advantage as Advantage
from .advantages import advantage as advantage
from .curricula import EASINESS as EASINESS
from .curricula import Curriculum as Curriculum
from .curricula import Easiness as Easiness
from .distributions import (
    BradleyTerry as BradleyTerry,
    Mallows as Mallows,
    PlackettLuce as PlackettLuce,
)
from .losses import (
    LOSSES as LOSSES,
    PREFERENCE_LOSSES as PREFERENCE_LOSSES,
    PreferenceLoss as PreferenceLoss,
    RankingLoss as RankingLoss,
    preference_loss as preference_loss,
)
from .rewards import REWARD_LOSSES as REWARD_LOSSES, RewardLoss as RewardLoss
from .segments import STEP_WEIGHTS as STEP_WEIGHTS
from .segments import StepWeight as StepWeight
from .utilities import UTILITIES as UTILITIES
from .utilities import Utility as Utility

__all__ = [
    "ADVANTAGES",
    "EASINESS",
    "LOSSES",
    "PREFERENCE_LOSSES",
    "REWARD_LOSSES",
    "STEP_WEIGHTS",
    "UTILITIES",
    "Advantage",
    "BradleyTerry",
    "Curriculum",
    "Easiness",
    "Mallows",
    "PlackettLuce",
    "PreferenceLoss",
    "RankingLoss",
    "RewardLoss",
    "StepWeight",
    "Utility",
    "advantage",
    "curricula",
    "losses",
    "preference_loss",
    "rewards",
    "segments",
]
