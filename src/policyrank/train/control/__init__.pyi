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
    "OnlineConfig",
    "Round",
    "TokenPolicy",
    "Transitions",
    "clone",
    "distil",
    "fine_tune",
    "improved",
    "train_critic",
]
