"""Learned controllers of the inventory world: their networks, and how they are saved.

Needs the extra ``control``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from gymnasium.spaces import Box
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from policyrank.errors import EvidenceError, OptionError
from policyrank.files import written
from policyrank.worlds.inventory import HEURISTICS, Scenario, View
from policyrank.worlds.inventory.networks import Float, Network
from policyrank.worlds.inventory.simulator import Information

Architecture = Literal["mlp", "transformer", "graph"]


def _tokens(net: Network) -> np.ndarray:
    """Which observations make up a node's token: (d, n, f) of 0 and 1.

    Stock, unmet and last demand of its markets, period, goodwill, arrivals by period.
    """
    nodes, markets = len(net.names), len(net.markets)
    slots = int(net.lead.max(initial=0))
    size = 2 * markets + nodes + int(net.lead.sum()) + 2
    found = np.zeros((size, nodes, 5 + slots), dtype=np.float32)
    for market, node in enumerate(net.retailer):
        found[market, node, 2] = found[markets + market, node, 1] = 1
    for node in range(nodes):
        found[2 * markets + node, node, 0] = 1
    found[-2, :, 3] = found[-1, :, 4] = 1
    at = 2 * markets + nodes
    for node, lead in zip(net.buyer, net.lead, strict=True):
        for slot in range(lead):
            found[at + slot, node, 5 + slot] = 1
        at += lead
    return found


class NodeEncoder(BaseFeaturesExtractor):
    """A token a node, mixed by attention (transformer) or along the edges (graph).

    The tokens are laid side by side.

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
            for supplier, buyer in zip(network.supplier, network.buyer, strict=True):
                if supplier >= 0:
                    adjacency[buyer, supplier] = 1.0
            self.register_buffer("up", _mean_over(adjacency), persistent=False)
            self.register_buffer("down", _mean_over(adjacency.T), persistent=False)
            self.layers: Any = torch.nn.ModuleList()
            for _ in range(3):
                linear = [torch.nn.Linear(width, width) for _ in range(3)]
                self.layers.append(torch.nn.ModuleList(linear))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """(batch, d) -> (batch, n * width)"""
        x = self.enter(torch.einsum("bd,dnf->bnf", observations, self.tokens)) + self.names
        if self.kind == "transformer":
            return torch.as_tensor(self.mix(x).flatten(1))
        for own, up, down in self.layers:
            x = x + torch.relu(own(x) + up(self.up @ x) + down(self.down @ x))
        return x.flatten(1)


def _mean_over(adjacency: torch.Tensor) -> torch.Tensor:
    """Rows that average over neighbours; 0 where there are none."""
    return adjacency / adjacency.sum(1, keepdim=True).clamp(min=1)


def largest_orders(world: Scenario) -> Float:
    """The largest order that a learned controller places: (E,).

    Four times the mean demand that can pass through the edge.
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
        found, _ = self.policy.predict(self.normed(observations), deterministic=True)
        return np.clip(found.astype(float), -1, 1)

    def normed(self, observations: Float) -> np.ndarray:
        """Observations as the policy sees them, float32 in [-10, 10]."""
        apart = (observations - self.mean) / np.sqrt(self.var + 1e-8)
        return np.clip(apart, -10, 10).astype(np.float32)

    def __call__(self, view: View) -> Float:
        actions = self.actions(view.simulation.observation())
        return orders_of(actions, self.scale, self.base, self.reach, view)

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
        with written(path) as part:
            torch.save(state, part)

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
            policy = policy_of(network, state["architecture"])
            policy.load_state_dict(state.pop("policy"))
            for name in ("mean", "var", "scale"):
                state[name] = state[name].numpy()
            return cls(policy, **state)
        except OSError as error:
            raise EvidenceError(f"{path}: {error.strerror}.") from error
        except EvidenceError:
            raise
        except Exception as error:
            why = str(error).splitlines()[0]
            raise EvidenceError(f"{path} holds no controller: {why}") from error


def orders_of(actions: Float, scale: Float, base: str | None, reach: float, view: View) -> Float:
    """Orders of actions in [-1, 1]: up to the scale, or as a correction of a heuristic."""
    if base is None:
        return (actions + 1) / 2 * scale
    return HEURISTICS[base][0](view) * (1 + reach * actions)


def policy_options(network: Network, architecture: Architecture) -> dict[str, Any]:
    """Layers of a policy.

    Raises
    ------
    OptionError
        For an unknown architecture.
    """
    if architecture not in ("mlp", "transformer", "graph"):
        raise OptionError(f"architecture={architecture!r}: use mlp, transformer or graph.")
    own: dict[str, Any] = {"net_arch": [256, 128]}
    if architecture != "mlp":
        own |= {
            "features_extractor_class": NodeEncoder,
            "features_extractor_kwargs": {"network": network, "kind": architecture},
        }
    return own


def spaces(network: Network) -> tuple[Box, Box]:
    """Of observations and of actions."""
    seen = Box(-np.inf, np.inf, (len(_tokens(network)),), np.float32)
    return seen, Box(-1.0, 1.0, (len(network.edges),), np.float32)


def policy_of(network: Network, architecture: Architecture) -> ActorCriticPolicy:
    """An untrained policy."""
    options = policy_options(network, architecture)
    policy = ActorCriticPolicy(*spaces(network), lambda _: 3e-4, **options)
    policy.set_training_mode(False)
    return policy
