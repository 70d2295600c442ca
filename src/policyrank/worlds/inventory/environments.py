"""The inventory world as Gymnasium environments, one episode or many at once.

Needs the extra ``control``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from policyrank.errors import MissingExtraError
from policyrank.worlds.inventory.networks import Float
from policyrank.worlds.inventory.scenarios import Scenario, scenario
from policyrank.worlds.inventory.simulator import Draws, Simulation

try:
    import gymnasium
    from gymnasium.vector import AutoresetMode, VectorEnv
except ImportError as error:  # pragma: no cover
    raise MissingExtraError(
        "the environments need gymnasium: pip install 'policyrank[control]'"
    ) from error


def _spaces(world: Scenario) -> tuple[Any, Any]:
    net = world.network
    size = 2 * len(net.markets) + len(net.names) + int(net.lead.sum()) + 2
    observation = gymnasium.spaces.Box(-1e6, 1e6, (size,), np.float64)
    return observation, gymnasium.spaces.Box(
        0.0, world.largest_order, (len(net.edges),), np.float64
    )


class InventoryEnv(gymnasium.Env[Float, Float]):
    """One episode: orders in, profit of the period out.

    The episode is truncated after its last period.

    Parameters
    ----------
    world
        a ``Scenario``; None: the serial chain with stationary demand
    draws
        see ``Simulation``; ``"stream"`` gives the demand of the published environment for the same
        seed
    """

    metadata = {"render_modes": ["ansi"]}  # noqa: RUF012

    def __init__(
        self, world: Scenario | None = None, draws: Draws = "stream", render_mode: str | None = None
    ) -> None:
        self.world, self.draws, self.render_mode = world or scenario(), draws, render_mode
        self.observation_space, self.action_space = _spaces(self.world)
        self.simulation = Simulation(self.world, [0], draws)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float, dict[str, Any]]:
        super().reset(seed=seed)
        # The seed itself, so that episodes pair with those of simulate(); without one the generator
        # goes on.
        if seed is None:
            seed = int(self.np_random.integers(2**31))
        self.simulation = Simulation(self.world, [seed], self.draws)
        return self.simulation.observation()[0], {}

    def step(self, action: Float) -> tuple[Float, float, bool, bool, dict[str, Any]]:
        reward = self.simulation.step(np.asarray(action, dtype=float)[None])
        now = self.simulation
        info = {"stock": now.stock[0], "unmet": now.unmet[0], "goodwill": float(now.goodwill[0])}
        return now.observation()[0], float(reward[0]), False, now.t >= self.world.periods, info

    def render(self) -> str:
        now = self.simulation
        held = []
        for name, stock in zip(self.world.network.names, now.stock[0], strict=True):
            held.append(f"{name} {stock:.0f}")
        return (
            f"period {now.t} of {self.world.periods}: stock {', '.join(held)}; unmet"
            f" {now.unmet[0].sum():.0f}; in transit {now.transit[0].sum():.0f}"
        )


class InventoryVectorEnv(VectorEnv[Float, Float, Any]):
    """B episodes stepped together; all end in the same period and start anew with the next step."""

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(
        self, num_envs: int = 1024, world: Scenario | None = None, draws: Draws = "quantile"
    ) -> None:
        self.world, self.draws, self.num_envs = world or scenario(), draws, num_envs
        self.single_observation_space, self.single_action_space = _spaces(self.world)
        self.observation_space = gymnasium.vector.utils.batch_space(
            self.single_observation_space, num_envs
        )
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, num_envs)
        self._reset(range(num_envs))

    def _reset(self, seeds: Any) -> None:
        self.simulation = Simulation(self.world, list(seeds), self.draws)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float, dict[str, Any]]:
        """A number seeds the episodes with it and the following ones."""
        if isinstance(seed, int):
            self._np_random = np.random.default_rng(seed)
            self._reset(range(seed, seed + self.num_envs))
        else:
            self._reset(map(self._own, seed or [None] * self.num_envs))
        return self.simulation.observation(), {}

    def _own(self, seed: int | None) -> int:
        """The seed itself, or one that the generator draws."""
        if seed is None:
            return int(self.np_random.integers(2**31))
        return seed

    def step(self, actions: Float) -> tuple[Float, Float, Any, Any, dict[str, Any]]:
        ended = np.zeros(self.num_envs, dtype=bool)
        if self.simulation.t >= self.world.periods:
            observation, info = self.reset()
            return observation, np.zeros(self.num_envs), ended, ended, info
        reward = self.simulation.step(actions)
        return (
            self.simulation.observation(),
            reward,
            ended,
            ended | (self.simulation.t >= self.world.periods),
            {},
        )


gymnasium.register(
    "policyrank/Inventory-v0",
    entry_point=f"{__name__}:InventoryEnv",
    vector_entry_point=f"{__name__}:InventoryVectorEnv",
)
