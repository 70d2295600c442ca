"""Rewards: losses of models that give them."""

from policyrank.learn.rewards.models import (
    REWARD_LOSSES,
    RewardLoss,
    bradley_terry_reward,
    discriminator_oracle,
    plackett_luce_reward,
)

__all__ = [
    "REWARD_LOSSES",
    "RewardLoss",
    "bradley_terry_reward",
    "discriminator_oracle",
    "plackett_luce_reward",
]
