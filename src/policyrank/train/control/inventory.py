"""Train controllers of the inventory world: PPO, and imitation of a planner (DAgger).

PPO (stable-baselines3) learns orders directly, or as a correction of a heuristic. Needs the extra
``control``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from policyrank.errors import EvidenceError, MissingExtraError, OptionError
from policyrank.worlds.inventory import HEURISTICS, PLANS, Controller, Scenario, Simulation, View
from policyrank.worlds.inventory.networks import Float
from policyrank.worlds.inventory.simulator import Information

try:
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.common.vec_env import VecEnv, VecNormalize

    from policyrank.train.control.controllers import (
        Architecture,
        LearnedController,
        NodeEncoder,
        largest_orders,
        orders_of,
        policy_of,
        policy_options,
        spaces,
    )
except ImportError as error:  # pragma: no cover
    raise MissingExtraError(
        "training controllers needs stable-baselines3 and torch: pip install 'policyrank[control]'"
    ) from error

__all__ = ["Architecture", "LearnedController", "NodeEncoder", "imitate", "ppo"]


class _Worlds(VecEnv):
    """Episodes of several scenarios of one network, stepped together, with actions in [-1, 1].

    An episode's end is its end: its value is not continued.
    """

    def __init__(
        self,
        scenarios: Sequence[Scenario],
        episodes: int,
        base: str | None,
        reach: float,
        penalty: float,
        seed: int,
    ) -> None:
        network = scenarios[0].network
        super().__init__(episodes * len(scenarios), *spaces(network))
        self.scenarios, self.episodes = scenarios, episodes
        self.base, self.reach, self.penalty = base, reach, penalty
        self.scale, self.rng = largest_orders(scenarios[0]), np.random.default_rng(seed)
        self.information: Information = "blind"
        if base is not None:
            self.information = HEURISTICS[base][1]

    def reset(self) -> np.ndarray:
        self.simulations = []
        for scenario in self.scenarios:
            self.simulations.append(_simulation(scenario, self.episodes, self.rng))
        return self._observation()

    def _observation(self) -> np.ndarray:
        return np.concatenate([own.observation() for own in self.simulations]).astype(np.float32)

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = np.clip(actions.astype(float), -1, 1)

    def step_wait(self) -> Any:
        parts = np.split(self._actions, len(self.simulations))
        profits = []
        for own, actions in zip(self.simulations, parts, strict=True):
            view = View(own, self.information)
            profits.append(own.step(orders_of(actions, self.scale, self.base, self.reach, view)))
        reward = np.concatenate(profits)
        if self.base is not None:
            reward = reward - self.penalty * np.abs(self.reach * self._actions).sum(axis=1) ** 2
        done = np.full(self.num_envs, self.simulations[0].t >= self.scenarios[0].periods)
        found = self._observation()
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if done[0]:
            for info, last in zip(infos, found, strict=True):
                info["terminal_observation"] = last
            found = self.reset()
        return found, reward.astype(np.float32), done, infos

    def close(self) -> None: ...
    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name, None)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        setattr(self, attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any
    ) -> list[Any]:
        raise NotImplementedError(method_name)

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


class _Report(BaseCallback):
    def __init__(self, report: Callable[[str], None], steps: int) -> None:
        super().__init__()
        self.report, self.steps = report, steps

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.report(f"{min(self.num_timesteps, self.steps):,} of {self.steps:,} steps")


def _one_network(scenarios: Scenario | Sequence[Scenario]) -> list[Scenario]:
    if isinstance(scenarios, Scenario):
        return [scenarios]
    many = list(scenarios)
    if not many:
        raise EvidenceError("no scenario to train on.")
    kinds = {(own.network.names, own.network.edges, own.periods) for own in many}
    if len(kinds) > 1:
        raise EvidenceError(
            "a controller is trained on one network and one length of episode: give scenarios that"
            " share both."
        )
    return many


def _simulation(scenario: Scenario, episodes: int, rng: np.random.Generator) -> Simulation:
    """Episodes with seeds of their own."""
    return Simulation(scenario, rng.integers(2**62, size=episodes).tolist(), "quantile")


def ppo(
    scenarios: Scenario | Sequence[Scenario],
    *,
    architecture: Architecture = "mlp",
    base: str | None = None,
    reach: float = 0.5,
    penalty: float = 0.001,
    steps: int = 200_000,
    episodes: int = 64,
    seed: int = 0,
    report: Callable[[str], None] | None = None,
) -> LearnedController:
    """Proximal policy optimisation.

    Parameters
    ----------
    scenarios
        one, or several of one network: a generalist
    base, reach, penalty
        a name in ``HEURISTICS``: learn order = base x (1 + delta), |delta| <= reach, for a penalty
        times the squared sum of |delta|; None: orders between 0 and four times the mean demand
    steps
        periods over all episodes
    episodes
        at the same time, over all scenarios

    Notes
    -----
    Learning rate 3e-4, batches of at most 512, 10 epochs, gamma .995, lambda .95, clip .2, entropy
    .005, target KL .03, layers of 256 and 128, observations and rewards normalised, as published;
    two whole episodes an update.
    """
    many = _one_network(scenarios)
    if base is not None and base not in HEURISTICS:
        raise OptionError(f"base={base!r}: use one of {', '.join(HEURISTICS)}.")
    worlds = _Worlds(many, max(1, episodes // len(many)), base, reach, penalty, seed)
    env = VecNormalize(worlds, gamma=0.995)
    buffer = 2 * many[0].periods * worlds.num_envs
    batch = min(512, buffer)
    while buffer % batch:
        batch -= 1
    model = PPO(
        "MlpPolicy",
        env,
        learning_rate=3e-4,
        n_steps=2 * many[0].periods,
        batch_size=batch,
        n_epochs=10,
        gamma=0.995,
        gae_lambda=0.95,
        clip_range=0.2,
        ent_coef=0.005,
        target_kl=0.03,
        policy_kwargs=policy_options(many[0].network, architecture),
        seed=seed,
        device="cpu",
    )
    model.learn(steps, callback=None if report is None else _Report(report, steps))
    model.policy.set_training_mode(False)
    seen: Any = env.obs_rms
    return LearnedController(
        model.policy,
        seen.mean,
        seen.var,
        worlds.scale,
        architecture,
        information=worlds.information,
        base=base,
        reach=reach,
        edges=str(many[0].network.edges),
    )


def imitate(
    scenarios: Scenario | Sequence[Scenario],
    expert: str = "MSSP-I",
    *,
    architecture: Architecture = "mlp",
    rounds: int = 4,
    episodes: int = 32,
    epochs: int = 60,
    seed: int = 0,
    report: Callable[[str], None] | None = None,
) -> LearnedController:
    """Imitation of a planner or heuristic that may know more: DAgger (Ross et al. 2011).

    In the first round the expert orders, in later ones the learner, and the expert says what it
    would have ordered there; after each the learner is fitted to all of it by least squares.

    Parameters
    ----------
    expert
        a name in ``PLANS`` or ``HEURISTICS``
    rounds
        1: behaviour cloning
    episodes
        a round, over all scenarios
    """
    many = _one_network(scenarios)
    experts: dict[str, tuple[Controller, Information]] = {**HEURISTICS, **PLANS}
    if expert not in experts:
        raise OptionError(f"expert={expert!r}: use one of {', '.join(experts)}.")
    if rounds < 1:
        raise OptionError(f"rounds={rounds}: at least one.")
    torch.manual_seed(seed)
    network, rng = many[0].network, np.random.default_rng(seed)
    policy = policy_of(network, architecture)
    scale, share = largest_orders(many[0]), max(1, episodes // len(many))
    learner: LearnedController | None = None
    seen: list[Float] = []
    told: list[Float] = []
    for turn in range(rounds):
        for k, world in enumerate(many):
            at = f"round {turn + 1} of {rounds}: scenario {k + 1} of {len(many)}"
            advice = _advice(_simulation(world, share, rng), *experts[expert], learner)
            for period, (observation, orders) in enumerate(advice):
                if report is not None:
                    report(f"{at}, period {period + 1}")
                seen.append(observation)
                told.append(np.clip(2 * orders / scale - 1, -1, 1))
        x, y = np.concatenate(seen), np.concatenate(told)
        mean, var, edges = x.mean(axis=0), x.var(axis=0), str(network.edges)
        learner = LearnedController(policy, mean, var, scale, architecture, edges=edges)
        inputs = torch.as_tensor(learner.normed(x))
        _fit(policy, inputs, torch.as_tensor(y, dtype=torch.float32), epochs, rng)
    assert learner is not None
    return learner


def _advice(
    simulation: Simulation,
    expert: Controller,
    information: Information,
    learner: LearnedController | None,
) -> Iterator[tuple[Float, Float]]:
    """What is seen in each period, and what the expert would order; the learner orders.

    Without a learner the expert does.
    """
    for _ in range(simulation.scenario.periods):
        orders = expert(View(simulation, information))
        yield simulation.observation(), orders
        if learner is None:
            simulation.step(orders)
        else:
            simulation.step(learner(View(simulation, "blind")))


def _mean(policy: ActorCriticPolicy, observations: torch.Tensor) -> torch.Tensor:
    found: Any = policy.get_distribution(observations).distribution
    return torch.as_tensor(found.mean)


def _fit(
    policy: ActorCriticPolicy,
    x: torch.Tensor,
    y: torch.Tensor,
    epochs: int,
    rng: np.random.Generator,
) -> None:
    optimiser = torch.optim.Adam(policy.parameters(), lr=1e-3)
    batches = int(np.ceil(len(x) / 256))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * batches)
    policy.set_training_mode(True)
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(len(x)), batches):
            loss = torch.nn.functional.mse_loss(_mean(policy, x[rows]), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    policy.set_training_mode(False)
