from .critics import (
    CRITIC_RULES as CRITIC_RULES,
    CriticConfig as CriticConfig,
    CriticRule as CriticRule,
    EnsembleCritic as EnsembleCritic,
    train_critic as train_critic,
)
from .improvement import (
    Improved as Improved,
    Improvement as Improvement,
    distil as distil,
    improved as improved,
)
from .log_checks import CHECKS as CHECKS, check_log as check_log
from .logged_steps import LoggedSteps as LoggedSteps, read_logged_steps as read_logged_steps
from .online import OnlineConfig as OnlineConfig, Round as Round, fine_tune as fine_tune
from .policies import (
    POLICY_KINDS as POLICY_KINDS,
    CloneConfig as CloneConfig,
    DiffusionPolicy as DiffusionPolicy,
    GaussianPolicy as GaussianPolicy,
    TokenPolicy as TokenPolicy,
    clone as clone,
)
from .transitions import Transitions as Transitions

__all__ = [
    "CHECKS",
    "CRITIC_RULES",
    "POLICY_KINDS",
    "CloneConfig",
    "CriticConfig",
    "CriticRule",
    "DiffusionPolicy",
    "EnsembleCritic",
    "GaussianPolicy",
    "Improved",
    "Improvement",
    "LoggedSteps",
    "OnlineConfig",
    "Round",
    "TokenPolicy",
    "Transitions",
    "check_log",
    "clone",
    "distil",
    "fine_tune",
    "improved",
    "read_logged_steps",
    "train_critic",
]
