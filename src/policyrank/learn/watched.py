"""What is watched while a policy trains, and when it is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Against = Literal["start", "earlier"]


@dataclass(frozen=True)
class Signal:
    """What is watched, and when it is said.

    Parameters
    ----------
    about
        what it is, in a few words
    rises, falls
        say it when the smoothed value is more than so many times, or less than that share of, what
        it was; None: never
    drops
        say it when it is less than that share of the least that it was a window ago: a sudden fall,
        where slow ones are health as well; None: never
    over, under
        say it when it is above, or below, this number; None: never
    against
        what it was: ``"start"``, the median of the first values; ``"earlier"``, the largest
        smoothed value at least a window ago, for what grows in health as well
    remedy
        what to do
    """

    about: str
    rises: float | None = None
    falls: float | None = None
    drops: float | None = None
    over: float | None = None
    under: float | None = None
    against: Against = "start"
    remedy: str = ""


SIGNALS: dict[str, Signal] = {
    "kl": Signal(
        "KL to the reference",
        rises=4.0,
        against="earlier",
        remedy="a larger weight of KL, a lower learning rate, rewards that are clipped",
    ),
    "entropy": Signal(
        "entropy of the policy",
        rises=3.0,
        drops=0.5,
        remedy="falling: a larger KL weight or upper clip; rising: a lower learning rate",
    ),
    "perplexity": Signal(
        "perplexity of the policy's own samples",
        rises=5.0,
        drops=0.5,
        remedy="look at samples: texts that repeat one another, or gibberish",
    ),
    "length": Signal(
        "length of outputs",
        rises=2.0,
        falls=0.4,
        remedy="look at the longest outputs; take length off the reward, or cap it",
    ),
    "cut": Signal(
        "share of outputs that were cut", over=0.5, remedy="allow more tokens, or reward ending"
    ),
    "reward_tail": Signal(
        "how far the best reward is above the mean, in deviations",
        rises=2.5,
        remedy="look at the outputs with the highest rewards; clip rewards",
    ),
    "reward_spread": Signal(
        "deviation of rewards", falls=0.1, remedy="outputs are rewarded alike: harder prompts"
    ),
    "silent": Signal(
        "share of groups rewarded alike", over=0.9, remedy="prompts of other difficulty, or replay"
    ),
    "clip_share": Signal(
        "share of tokens whose ratio is clipped",
        over=0.4,
        remedy="a lower learning rate, or fewer passes over a round",
    ),
    "step_kl": Signal(
        "KL of a round's updates",
        rises=10.0,
        remedy="a lower learning rate, or fewer passes over a round",
    ),
    "value_loss": Signal(
        "loss of the critic", rises=10.0, remedy="a lower learning rate of the critic, a warm start"
    ),
    "explained": Signal(
        "share of returns' variance that the critic explains",
        under=-0.5,
        remedy="train the critic alone first",
    ),
    "gradient": Signal("norm of the gradient", rises=10.0, remedy="clip it; a lower learning rate"),
}
"""What is watched by default. ``reward`` is kept beside them, and never said alone."""
