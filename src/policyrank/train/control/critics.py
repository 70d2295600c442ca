"""Critics of actions from logged steps: implicit, conservative and calibrated Q-learning."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from policyrank.errors import EvidenceError, OptionError
from policyrank.files import written
from policyrank.learn import (
    Policy,
    bellman_cosine_penalty,
    conservative_penalty,
    expectile_loss,
    feature_coadaptation,
    subset_minimum,
    td_target,
)
from policyrank.train.control.networks import EnsembleMLP, Standardised, follow, mlp
from policyrank.train.control.policies import SquashedGaussian
from policyrank.train.control.transitions import Rows, Transitions

CriticRule = Literal["iql", "cql", "cal-ql"]
CRITIC_RULES: tuple[CriticRule, ...] = ("iql", "cql", "cal-ql")
Telling = Callable[[int, dict[str, float]], Any]
"""Told of a step, and of what is watched."""


class EnsembleCritic(Standardised):
    """An ensemble of networks that value actions within [-1, 1].

    Parameters
    ----------
    observed, acted
        numbers of an observation, and of an action
    hidden
        widths
    members
        how many
    """

    def __init__(
        self, observed: int, acted: int, hidden: tuple[int, ...] = (256, 256), members: int = 2
    ) -> None:
        super().__init__(observed, acted)
        self.sizes = {"observed": observed, "acted": acted, "hidden": hidden, "members": members}
        self.network = EnsembleMLP(observed + acted, 1, hidden, members)

    def _inputs(self, observations: Tensor, actions: Tensor) -> Tensor:
        if actions.shape[-1] != self.acted:
            raise EvidenceError(
                f"this reads actions of {self.acted} numbers; they have {actions.shape[-1]}."
            )
        seen = self.seen(observations)
        extra = actions.ndim - seen.ndim
        seen = seen.reshape(*seen.shape[:-1], *[1] * extra, seen.shape[-1])
        return torch.cat([seen.expand(*actions.shape[:-1], -1), actions], dim=-1)

    def q(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Values of actions (batch, ..., d) in observations (batch, o): (members, batch, ...)."""
        inputs = self._inputs(observations, actions)
        found = self.network(inputs.reshape(-1, inputs.shape[-1]))
        return found.reshape(-1, *actions.shape[:-1])

    def features(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Of the last hidden layer: (members, batch, ..., width)."""
        inputs = self._inputs(observations, actions)
        found = self.network.features(inputs.reshape(-1, inputs.shape[-1]))
        return found.reshape(len(found), *actions.shape[:-1], -1)

    def save(self, path: Path) -> None:
        """Write it to a file."""
        with written(path) as part:
            torch.save({"sizes": self.sizes, "weights": self.state_dict()}, part)

    @classmethod
    def load(cls, path: Path) -> EnsembleCritic:
        """Read what ``save`` wrote.

        Raises
        ------
        EvidenceError
            For a file that holds no critic.
        """
        try:
            kept = torch.load(path, weights_only=True)
            critic = cls(**kept["sizes"])
            critic.load_state_dict(kept["weights"])
        except FileNotFoundError:
            raise EvidenceError(f"{path}: there is no such file.") from None
        except Exception as error:
            raise EvidenceError(f"{path} holds no critic: {error}") from None
        return critic


@dataclass(frozen=True)
class CriticConfig:
    """How a critic learns.

    Parameters
    ----------
    rule
        ``"iql"``: the better of the actions that the log holds, by expectiles; ``"cql"``: other
        actions are pushed down; ``"cal-ql"``: no lower than what followed in the log
    steps, batch, learning_rate
        of Adam
    discount
        in [0, 1)
    expectile
        of the state's value (iql)
    alpha, actions
        weight of the penalty, and how many actions of each kind it looks at (cql, cal-ql)
    target_members
        members whose least is the target's value, drawn anew each step; None: all
    follow
        by how much the target moves towards the critic, each step
    hidden, members
        of the critic
    endless
        whether an episode that the log cuts goes on for ever at its last reward (each step costs 1
        until the goal): returns that calibrate count it
    cosine, product
        weights of the penalties on features of consecutive pairs (``learn.bellman_cosine_penalty``,
        ``learn.feature_coadaptation``)
    seed
        of weights, batches and draws

    Raises
    ------
    OptionError
        Naming what is out of its range.
    """

    rule: CriticRule = "iql"
    steps: int = 6000
    batch: int = 256
    learning_rate: float = 3e-4
    discount: float = 0.98
    expectile: float = 0.7
    alpha: float = 5.0
    actions: int = 4
    target_members: int | None = None
    follow: float = 0.005
    hidden: tuple[int, ...] = (256, 256)
    members: int = 2
    endless: bool = False
    cosine: float = 0.0
    product: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rule not in CRITIC_RULES:
            raise OptionError(f"rule={self.rule!r}: use one of {', '.join(CRITIC_RULES)}.")
        least = {"steps": 1, "batch": 2, "actions": 1, "members": 1}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise OptionError(f"{name}={getattr(self, name)}: {value} or more.")
        if not 0 <= self.discount < 1:
            raise OptionError(f"discount={self.discount}: it lies in [0, 1).")
        if not 0 < self.follow <= 1:
            raise OptionError(f"follow={self.follow}: it lies in (0, 1].")


def train_critic(
    data: Transitions,
    config: CriticConfig = CriticConfig(),
    *,
    policy: Policy | None = None,
    start: EnsembleCritic | None = None,
    report: Telling | None = None,
) -> EnsembleCritic:
    """A critic of the actions in a log, which lie within [-1, 1].

    Parameters
    ----------
    data
        logged steps
    policy
        whose actions follow and are held down (cql, cal-ql); None: a squashed Gaussian that is
        trained beside the critic, and dropped. Others' actions have no correction for their
        density.
    start
        a critic to go on from
    report
        told now and then

    Raises
    ------
    EvidenceError
        For actions beyond [-1, 1], or a value that is not finite while it learns.

    References
    ----------
    Kostrikov et al. (2021), arXiv 2110.06169; Kumar et al. (2020), arXiv 2006.04779; Nakamoto et
    al. (2023), arXiv 2303.05479.
    """
    most = float(data.actions.abs().max())
    if most > 1 + 1e-6:
        raise EvidenceError(
            f"actions reach {most:.4g}; a critic reads them within [-1, 1]: scale them first"
            " (learn.ActionScale)."
        )
    torch.manual_seed(config.seed)
    sizes = (data.observations.shape[-1], data.actions.shape[-1])
    critic = start
    if critic is None:
        critic = EnsembleCritic(*sizes, hidden=config.hidden, members=config.members)
        critic.fit_scale(data.observations)
    learner = learner_of(critic, config, policy)
    returns = returns_of(data, config)
    rows = torch.Generator().manual_seed(config.seed)
    for step in range(1, config.steps + 1):
        chosen = torch.randint(len(data), (config.batch,), generator=rows)
        watched = learner.step(data.taken(chosen), returns[chosen])
        if report is not None and (step % 500 == 0 or step == config.steps):
            told = {name: float(value) for name, value in watched.items()}
            if not all(map(math.isfinite, told.values())):
                raise EvidenceError(f"step {step:,}: the critic's loss is not finite: {told}.")
            report(step, told)
    return critic.eval()


def learner_of(critic: EnsembleCritic, config: CriticConfig, policy: Policy | None) -> Learner:
    """Who makes a critic learn by the rule of ``config``."""
    kind = ImplicitLearner if config.rule == "iql" else ConservativeLearner
    return kind(critic, config, policy)


def returns_of(data: Transitions, config: CriticConfig) -> Tensor:
    """What followed in the log, discounted: (rows,)."""
    endless = None
    if config.endless:
        endless = float(data.rewards.min()) / (1 - config.discount)
    return data.returns(config.discount, endless=endless)


class Learner:
    """A critic, its slowly following target, and its optimizer."""

    def __init__(self, critic: EnsembleCritic, config: CriticConfig, policy: Policy | None) -> None:
        self.critic, self.config = critic, config
        self.target = copy.deepcopy(critic).requires_grad_(False)
        self.optimizer = torch.optim.Adam(critic.parameters(), lr=config.learning_rate)
        self.policy = policy

    def step(self, rows: Rows, returns: Tensor) -> dict[str, Tensor]:
        """Learn from some rows; what is watched."""
        loss, watched = self.loss(rows, returns)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        follow(self.target, self.critic, self.config.follow)
        return watched

    def loss(self, rows: Rows, returns: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The critic's loss, and what is watched."""
        raise NotImplementedError

    def least(self, values: Tensor) -> Tensor:
        """Of the members that are asked: (members, ...) -> (...)."""
        members = self.config.target_members
        if members is None:
            return values.amin(dim=0)
        return subset_minimum(values, members, replace=True)

    def on_features(self, rows: Rows, after: Tensor) -> Tensor:
        """Penalties on features of pairs that follow one another: (), 0 where none is asked for.

        ``after``: the actions that follow.
        """
        config = self.config
        if not config.cosine and not config.product:
            return torch.zeros(())
        own = self.critic.features(rows.seen, rows.acted)
        then = self.target.features(rows.following, after)
        weights, biases = self.critic.network.weights[-1], self.critic.network.biases[-1]
        total = torch.zeros(())
        for member in range(len(own)):
            if config.cosine:
                penalty = bellman_cosine_penalty(
                    own[member],
                    then[member],
                    rows.rewards,
                    weights[member, :, 0],
                    discount=config.discount,
                    bias=biases[member, 0, 0],
                    ends=rows.ended,
                )
                total = total + config.cosine * penalty.loss
            follows = ~rows.ended
            if config.product and follows.any():
                products = feature_coadaptation(own[member][follows], then[member][follows])
                total = total + config.product * products
        return total / len(own)


class ImplicitLearner(Learner):
    """Implicit Q-learning: no action is valued that the log does not hold."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.value = mlp(self.critic.observed, 1, self.config.hidden)
        rate = self.config.learning_rate
        self.of_value = torch.optim.Adam(self.value.parameters(), lr=rate)

    def loss(self, rows: Rows, returns: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            aimed = self.least(self.target.q(rows.seen, rows.acted))
        gap = aimed - self._value(rows.seen)
        of_value = expectile_loss(gap, self.config.expectile)
        self.of_value.zero_grad()
        of_value.backward()
        self.of_value.step()
        with torch.no_grad():
            after = self._value(rows.following)
            wanted = td_target(rows.rewards, after, rows.ended, self.config.discount)
        said = self.critic.q(rows.seen, rows.acted)
        error = ((said - wanted) ** 2).mean()
        # Where the log does not hold the next action, no pair follows.
        pairs = rows._replace(ended=rows.ended | ~rows.known)
        loss = error + self.on_features(pairs, rows.then)
        return loss, {
            "error": error.detach(),
            "value": of_value.detach(),
            "q": said.detach().mean(),
        }

    def _value(self, observations: Tensor) -> Tensor:
        return self.value(self.critic.seen(observations))[..., 0]


class ConservativeLearner(Learner):
    """Conservative Q-learning, calibrated by returns where ``rule`` is ``"cal-ql"``."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.acted = self.critic.acted
        self.actor: SquashedGaussian | None = None
        if self.policy is None:
            self.actor = SquashedGaussian(self.critic.observed, self.acted, self.config.hidden)
            self.actor.fit_scale_of(self.critic)
            self.of_actor = torch.optim.Adam(self.actor.parameters(), lr=1e-4)
            self.log_weight = torch.zeros((), requires_grad=True)
            self.of_weight = torch.optim.Adam([self.log_weight], lr=1e-4)

    def loss(self, rows: Rows, returns: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        then, density = self._drawn(rows.following, config.actions)
        with torch.no_grad():
            # The best of the sampled actions, each valued by the least of the members.
            best = self.least(self.target.q(rows.following, then)).amax(dim=-1)
            wanted = td_target(rows.rewards, best, rows.ended, config.discount)
        said = self.critic.q(rows.seen, rows.acted)
        error = ((said - wanted) ** 2).mean()
        watched = {"error": error.detach(), "q": said.detach().mean()}
        loss = error + self.on_features(rows, then[:, 0])
        if config.alpha:
            penalty = self._penalty(rows, said, then, density, returns)
            loss = loss + config.alpha * penalty
            watched["penalty"] = penalty.detach()
        self._act_better(rows.seen)
        return loss, watched

    def _penalty(
        self, rows: Rows, said: Tensor, then: Tensor, density_then: Tensor | None, returns: Tensor
    ) -> Tensor:
        """By how much actions are overvalued: uniform ones, and the policy's, here and after."""
        size, count = len(rows.seen), self.config.actions
        here, density_here = self._drawn(rows.seen, count)
        uniform = torch.rand(size, count, self.acted) * 2 - 1
        others = self.critic.q(rows.seen, torch.cat([uniform, here, then], dim=1))
        options: dict[str, Any] = {"with_data": True, "per_action": True}
        if density_here is not None and density_then is not None:
            flat = torch.full((size, count), self.acted * math.log(0.5))
            options = {"log_density": torch.cat([flat, density_here, density_then], dim=1)}
        if self.config.rule == "cal-ql":
            options |= {"returns": returns, "floored": torch.arange(3 * count) >= count}
        return conservative_penalty(others, said, **options)

    @torch.no_grad()
    def _drawn(self, observations: Tensor, count: int) -> tuple[Tensor, Tensor | None]:
        """Actions and their log-densities; those of a given policy have none."""
        if self.actor is None:
            assert self.policy is not None
            return self.policy.sample(observations, count).clamp(-1, 1), None
        return self.actor.drawn(observations, count)

    def _act_better(self, observations: Tensor) -> None:
        """A step of the actor towards what the critic values, with entropy of -d."""
        if self.actor is None:
            return
        actions, density = self.actor.drawn(observations, 1)
        weight = self.log_weight.exp().detach()
        # What this leaves in the critic's gradients is cleared before its own step.
        loss = (weight * density[:, 0] - self.critic.q(observations, actions[:, 0]).amin(0)).mean()
        self.of_actor.zero_grad()
        loss.backward()
        self.of_actor.step()
        gap = (density.detach() - self.acted).mean()
        self.of_weight.zero_grad()
        (-self.log_weight * gap).backward()
        self.of_weight.step()
