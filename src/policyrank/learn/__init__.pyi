from . import curricula as curricula
from . import losses as losses
from . import rewards as rewards
from . import segments as segments
from .advantages import advantage as advantage
from .curricula import EASINESS as EASINESS
from .curricula import Curriculum as Curriculum
from .distributions import (
    BradleyTerry as BradleyTerry,
)
from .distributions import (
    Mallows as Mallows,
)
from .distributions import (
    PlackettLuce as PlackettLuce,
)
from .losses import (
    LOSSES as LOSSES,
)
from .losses import (
    PREFERENCE_LOSSES as PREFERENCE_LOSSES,
)
from .losses import (
    PreferenceLoss as PreferenceLoss,
)
from .losses import (
    RankingLoss as RankingLoss,
)
from .losses import (
    preference_loss as preference_loss,
)
from .rewards import REWARD_LOSSES as REWARD_LOSSES
from .rewards import RewardLoss as RewardLoss
from .segments import STEP_WEIGHTS as STEP_WEIGHTS
from .utilities import UTILITIES as UTILITIES
from .utilities import Utility as Utility

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
