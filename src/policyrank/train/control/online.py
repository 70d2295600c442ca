"""Fine-tuning in the world: act by improved actions, imitate them, and correct the critic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from policyrank.errors import EvidenceError, OptionError
from policyrank.learn import Imitator, Policy
from policyrank.train.control.critics import CriticConfig, EnsembleCritic, learner_of, returns_of
from policyrank.train.control.improvement import (
    ImprovedPolicy,
    Improvement,
    Take,
    distil,
    of_log,
)
from policyrank.train.control.policies import CloneConfig
from policyrank.train.control.transitions import Transitions

Collect = Callable[[Policy, int], Transitions]
"""A policy and the round's number -> episodes of it."""


class Round(NamedTuple):
    """What a round of fine-tuning did.

    Attributes
    ----------
    steps
        in the world, all rounds together
    rewards
        mean sum of rewards of an episode of this round
    error
        of the critic, at its end
    improvement
        mean value of improved actions less that of the policy's own
    """

    steps: int
    rewards: float
    error: float
    improvement: float


@dataclass(frozen=True)
class OnlineConfig:
    """How a policy is fine-tuned.

    Parameters
    ----------
    rounds
        of acting, imitating and correcting the critic
    critic_steps
        of a round
    mixing
        share of the critic's rows that are of the log from before, in [0, 1]
    states
        that a round imitates in
    how, imitation, critic
        of actions, of the policy, and of the critic, whose penalty is off by default: what is
        overvalued is tried, and found out
    take
        the best of the improved actions, or a draw

    Raises
    ------
    OptionError
        Naming what is out of its range.
    """

    rounds: int = 10
    critic_steps: int = 500
    mixing: float = 0.5
    states: int = 4000
    how: Improvement = field(default_factory=Improvement)
    imitation: CloneConfig = field(
        default_factory=lambda: CloneConfig(steps=400, learning_rate=1e-4)
    )
    critic: CriticConfig = field(
        default_factory=lambda: CriticConfig(rule="cql", alpha=0.0, actions=8)
    )
    take: Take = "best"

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.critic_steps < 0 or not 0 <= self.mixing <= 1:
            raise OptionError(
                f"rounds={self.rounds} is from 1, critic_steps={self.critic_steps} from 0,"
                f" mixing={self.mixing} within [0, 1]."
            )
        if self.critic.rule == "iql":
            raise OptionError("critic: a policy's own actions follow online: rule 'cql', 'cal-ql'.")


def fine_tune(
    policy: Imitator,
    critic: EnsembleCritic,
    offline: Transitions,
    collect: Collect,
    config: OnlineConfig = OnlineConfig(),
    *,
    report: Callable[[int, Round], Any] | None = None,
) -> list[Round]:
    """Fine-tune a policy of any class, and its critic, in place.

    Parameters
    ----------
    policy, critic
        as they start
    offline
        the log that they were trained on
    collect
        runs a policy in the world
    report
        told after each round

    Raises
    ------
    EvidenceError
        When the critic's loss is not finite.

    References
    ----------
    arXiv 2412.06685, algorithm 1.
    """
    learner = learner_of(critic.train(), config.critic, policy)
    torch.manual_seed(config.critic.seed)
    online: Transitions | None = None
    rounds: list[Round] = []
    for number in range(1, config.rounds + 1):
        more = collect(ImprovedPolicy(policy, critic, config.how), number)
        online = more if online is None else online.joined(more)
        rows = of_log(online, config.states, seed=number)
        imitation = CloneConfig(
            config.imitation.steps,
            config.imitation.batch,
            config.imitation.learning_rate,
            config.imitation.seed + number,
        )
        seen = online.observations[rows]
        found = distil(policy, critic, seen, config.how, imitation, take=config.take)
        error = _corrected(learner, offline, online, config)
        gain = float((found.values[:, 0] - found.before).mean())
        episodes = len(more.starts)
        done = Round(len(online), float(more.rewards.sum()) / episodes, error, gain)
        rounds.append(done)
        if report is not None:
            report(number, done)
    critic.eval()
    return rounds


def _corrected(
    learner: Any, offline: Transitions, online: Transitions, config: OnlineConfig
) -> float:
    """The critic after some steps on rows of both: its last error."""
    returns = returns_of(offline, config.critic), returns_of(online, config.critic)
    old = round(config.mixing * config.critic.batch)
    error = 0.0
    for _ in range(config.critic_steps):
        before = torch.randint(len(offline), (old,))
        now = torch.randint(len(online), (config.critic.batch - old,))
        parts = zip(offline.taken(before), online.taken(now), strict=True)
        rows = type(offline.taken(before))(*(torch.cat(pair) for pair in parts))
        followed: Tensor = torch.cat([returns[0][before], returns[1][now]])
        error = float(learner.step(rows, followed)["error"])
    if not torch.isfinite(torch.tensor(error)):
        raise EvidenceError("the critic's loss is not finite: a smaller learning rate may help.")
    return error
