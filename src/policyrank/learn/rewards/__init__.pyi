from .models import (
    REWARD_LOSSES as REWARD_LOSSES,
    RewardLoss as RewardLoss,
    bradley_terry_reward as bradley_terry_reward,
    discriminator_oracle as discriminator_oracle,
    plackett_luce_reward as plackett_luce_reward,
    reward_loss as reward_loss,
)

__all__ = [
    "REWARD_LOSSES",
    "RewardLoss",
    "bradley_terry_reward",
    "discriminator_oracle",
    "plackett_luce_reward",
    "reward_loss",
]
