"""Train controllers of the inventory world: PPO (stable-baselines3), directly or as a correction of
a heuristic, and imitation of a planner (DAgger); needs the extra ``control``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from policyrank.errors import EvidenceError
from policyrank.worlds.inventory import HEURISTICS, PLANS, Controller, Scenario, Simulation, View
from policyrank.worlds.inventory.networks import Float, Network
from policyrank.worlds.inventory.simulator import Information

try:
    import torch
    from gymnasium.spaces import Box
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
    from stable_baselines3.common.vec_env import VecEnv, VecNormalize
except ImportError as error:  # pragma: no cover
    raise ImportError(
        "training controllers needs stable-baselines3 and torch: pip install 'policyrank[control]'"
    ) from error

Architecture = Literal["mlp", "transformer", "graph"]


def _tokens(net: Network) -> np.ndarray:
    """(d, n, f) of 0 and 1: which observations make up a node's token: stock, unmet and last demand
    of its markets, period, goodwill, arrivals by period.
    """
    n, m, slots = len(net.names), len(net.markets), int(net.lead.max(initial=0))
    size = 2 * m + n + int(net.lead.sum()) + 2
    found = np.zeros((size, n, 5 + slots), dtype=np.float32)
    for k, j in enumerate(net.retailer):
        found[k, j, 2] = found[m + k, j, 1] = 1
    for j in range(n):
        found[2 * m + j, j, 0] = 1
    found[-2, :, 3] = found[-1, :, 4] = 1
    at = 2 * m + n
    for j, lead in zip(net.buyer, net.lead, strict=True):
        for k in range(lead):
            found[at + k, j, 5 + k] = 1
        at += lead
    return found


class NodeEncoder(BaseFeaturesExtractor):
    """A token a node, mixed by attention (transformer) or along the edges (graph), laid side by
    side.

    Parameters
    ----------
    kind
        ``"transformer"``: 3 layers of 4 heads; ``"graph"``: 3 layers, each with weights for the
        node, its suppliers and its buyers
    width
        of a token
    """

    def __init__(
        self, observation_space: Box, network: Network, kind: Architecture, width: int = 64
    ) -> None:
        n = len(network.names)
        super().__init__(observation_space, n * width)
        tokens = torch.as_tensor(_tokens(network))
        self.register_buffer("tokens", tokens, persistent=False)
        self.kind = kind
        self.enter = torch.nn.Linear(tokens.shape[2], width)
        self.names = torch.nn.Parameter(torch.randn(n, width) * 0.1)
        if kind == "transformer":
            layer = torch.nn.TransformerEncoderLayer(
                width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True
            )
            self.mix = torch.nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        else:
            adjacency = torch.zeros(n, n)
            for s, j in zip(network.supplier, network.buyer, strict=True):
                if s >= 0:
                    adjacency[j, s] = 1.0
            self.register_buffer(
                "up", adjacency / adjacency.sum(1, keepdim=True).clamp(min=1), persistent=False
            )
            self.register_buffer(
                "down",
                adjacency.T / adjacency.T.sum(1, keepdim=True).clamp(min=1),
                persistent=False,
            )
            self.layers: Any = torch.nn.ModuleList(
                [
                    torch.nn.ModuleList([torch.nn.Linear(width, width) for _ in range(3)])
                    for _ in range(3)
                ]
            )

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """(batch, d) -> (batch, n * width)"""
        x = self.enter(torch.einsum("bd,dnf->bnf", observations, self.tokens)) + self.names
        if self.kind == "transformer":
            return torch.as_tensor(self.mix(x).flatten(1))
        for own, up, down in self.layers:
            x = x + torch.relu(own(x) + up(self.up @ x) + down(self.down @ x))
        return x.flatten(1)


def _scale(world: Scenario) -> Float:
    """(E,) the largest order that a learned controller places: four times the mean demand that can
    pass through the edge.
    """
    net = world.network
    mean = world.demand.mean(np.arange(world.periods)).mean() * net.serves @ net.share
    return np.maximum(4 * mean[net.buyer], 1.0)


@dataclass(eq=False)
class LearnedController:
    """A trained controller: View -> orders, to be simulated, ranked and saved like any other.

    Attributes
    ----------
    information
        the contract that it was trained under and runs under: blind, unless it corrects an informed
        heuristic
    base, reach
        the heuristic that it corrects, order = base x (1 + delta), and the largest |delta|; None:
        it orders itself
    edges
        of the network that it was trained on
    """

    policy: Any
    mean: Float
    var: Float
    scale: Float
    architecture: Architecture
    information: Information = "blind"
    base: str | None = None
    reach: float = 0.5
    edges: str = ""

    def actions(self, observations: Float) -> Float:
        """(B, d) -> (B, E) in [-1, 1]"""
        return np.clip(
            self.policy.predict(self._normed(observations), deterministic=True)[0].astype(float),
            -1,
            1,
        )

    def _normed(self, observations: Float) -> np.ndarray:
        return np.clip((observations - self.mean) / np.sqrt(self.var + 1e-8), -10, 10).astype(
            np.float32
        )

    def __call__(self, view: View) -> Float:
        return _orders(
            self.actions(view.simulation.observation()), self.scale, self.base, self.reach, view
        )

    def save(self, path: str | Path) -> None:
        """Weights and what they need, in one file."""
        state = {
            "policy": self.policy.state_dict(),
            "mean": torch.as_tensor(self.mean),
            "var": torch.as_tensor(self.var),
            "scale": torch.as_tensor(self.scale),
            "architecture": self.architecture,
            "information": self.information,
            "base": self.base,
            "reach": self.reach,
            "edges": self.edges,
        }
        torch.save(state, path)

    @classmethod
    def load(cls, path: str | Path, network: Network) -> LearnedController:
        """From a file, for the network that it was trained on.

        Raises
        ------
        EvidenceError
            For a file that is none, or a network with other nodes or edges.
        """
        try:
            state = torch.load(path, weights_only=True)
            if state["edges"] != str(network.edges):
                raise EvidenceError(
                    f"{path} was trained on another network, with the edges {state['edges']}."
                )
            policy = _policy(network, state["architecture"])
            policy.load_state_dict(state.pop("policy"))
            arrays = {k: state.pop(k).numpy() for k in ("mean", "var", "scale")}
            return cls(policy, **arrays, **state)
        except OSError as error:
            raise EvidenceError(f"{path}: {error.strerror}.") from error
        except EvidenceError:
            raise
        except Exception as error:
            raise EvidenceError(
                f"{path} holds no controller: {str(error).splitlines()[0]}"
            ) from error


def _orders(actions: Float, scale: Float, base: str | None, reach: float, view: View) -> Float:
    if base is None:
        return (actions + 1) / 2 * scale
    return HEURISTICS[base][0](view) * (1 + reach * actions)


def _policy_kwargs(network: Network, architecture: Architecture) -> dict[str, Any]:
    if architecture not in ("mlp", "transformer", "graph"):
        raise EvidenceError(f"architecture={architecture!r}: use mlp, transformer or graph.")
    own: dict[str, Any] = {"net_arch": [256, 128]}
    if architecture != "mlp":
        own |= {
            "features_extractor_class": NodeEncoder,
            "features_extractor_kwargs": {"network": network, "kind": architecture},
        }
    return own


def _spaces(network: Network) -> tuple[Box, Box]:
    return Box(-np.inf, np.inf, (len(_tokens(network)),), np.float32), Box(
        -1.0, 1.0, (len(network.edges),), np.float32
    )


def _policy(network: Network, architecture: Architecture, rate: float = 3e-4) -> ActorCriticPolicy:
    policy = ActorCriticPolicy(
        *_spaces(network), lambda _: rate, **_policy_kwargs(network, architecture)
    )
    policy.set_training_mode(False)
    return policy


class _Worlds(VecEnv):
    """Episodes of several scenarios of one network, stepped together, with actions in [-1, 1]. An
    episode's end is its end: its value is not continued.
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
        super().__init__(episodes * len(scenarios), *_spaces(network))
        self.scenarios, self.episodes, self.base, self.reach, self.penalty = (
            scenarios,
            episodes,
            base,
            reach,
            penalty,
        )
        self.scale, self.rng = _scale(scenarios[0]), np.random.default_rng(seed)
        self.information: Information = "blind" if base is None else HEURISTICS[base][1]

    def reset(self) -> np.ndarray:
        self.simulations = [
            Simulation(s, self.rng.integers(2**62, size=self.episodes).tolist(), "quantile")
            for s in self.scenarios
        ]
        return self._observation()

    def _observation(self) -> np.ndarray:
        return np.concatenate([s.observation() for s in self.simulations]).astype(np.float32)

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = np.clip(actions.astype(float), -1, 1)

    def step_wait(self) -> Any:
        parts = np.split(self._actions, len(self.simulations))
        reward = np.concatenate(
            [
                s.step(_orders(a, self.scale, self.base, self.reach, View(s, self.information)))
                for s, a in zip(self.simulations, parts, strict=True)
            ]
        )
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
    many = [scenarios] if isinstance(scenarios, Scenario) else list(scenarios)
    if not many:
        raise EvidenceError("no scenario to train on.")
    if len({(s.network.names, s.network.edges, s.periods) for s in many}) > 1:
        raise EvidenceError(
            "a controller is trained on one network and one length of episode: give scenarios that"
            " share both."
        )
    return many


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
        raise EvidenceError(f"base={base!r}: use one of {', '.join(HEURISTICS)}.")
    worlds = _Worlds(many, max(1, episodes // len(many)), base, reach, penalty, seed)
    env = VecNormalize(worlds, gamma=0.995)
    buffer = 2 * many[0].periods * worlds.num_envs
    batch = next(b for b in range(min(512, buffer), 0, -1) if buffer % b == 0)
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
        policy_kwargs=_policy_kwargs(many[0].network, architecture),
        seed=seed,
        device="cpu",
    )
    model.learn(steps, callback=None if report is None else _Report(report, steps))
    model.policy.set_training_mode(False)
    rms: Any = env.obs_rms
    return LearnedController(
        model.policy,
        rms.mean,
        rms.var,
        worlds.scale,
        architecture,
        worlds.information,
        base,
        reach,
        str(many[0].network.edges),
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
        raise EvidenceError(f"expert={expert!r}: use one of {', '.join(experts)}.")
    torch.manual_seed(seed)
    network, scale, rng = many[0].network, _scale(many[0]), np.random.default_rng(seed)
    policy = _policy(network, architecture)
    rule, information = experts[expert]
    learner: LearnedController | None = None
    seen: list[Float] = []
    told: list[Float] = []
    for turn in range(rounds):
        for k, world in enumerate(many):
            sim = Simulation(
                world, rng.integers(2**62, size=max(1, episodes // len(many))).tolist(), "quantile"
            )
            for t in range(world.periods):
                if report is not None:
                    report(
                        f"round {turn + 1} of {rounds}: scenario {k + 1} of {len(many)}, period"
                        f" {t + 1}"
                    )
                advice = rule(View(sim, information))
                seen.append(sim.observation())
                told.append(np.clip(2 * advice / scale - 1, -1, 1))
                sim.step(advice if learner is None else learner(View(sim, "blind")))
        x, y = np.concatenate(seen), np.concatenate(told)
        learner = LearnedController(
            policy, x.mean(axis=0), x.var(axis=0), scale, architecture, edges=str(network.edges)
        )
        _fit(
            policy,
            torch.as_tensor(learner._normed(x)),
            torch.as_tensor(y, dtype=torch.float32),
            epochs,
            rng,
        )
    if learner is None:
        raise EvidenceError(f"rounds={rounds}: at least one.")
    return learner


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
