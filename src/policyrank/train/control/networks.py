"""Small networks: an ensemble computed as one, and blocks with normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, relu

from policyrank.errors import EvidenceError


class EnsembleMLP(nn.Module):
    """Members with layers and layer normalisation of their own, by one product a layer.

    Parameters
    ----------
    inputs, outputs
        numbers that it reads, and gives
    hidden
        widths of the hidden layers
    members
        how many
    """

    def __init__(self, inputs: int, outputs: int, hidden: Sequence[int], members: int) -> None:
        super().__init__()
        widths = [inputs, *hidden, outputs]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for before, after in pairwise(widths):
            bound = 1 / math.sqrt(before)
            weight = torch.empty(members, before, after).uniform_(-bound, bound)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(members, 1, after)))
        self.scales = nn.ParameterList(
            nn.Parameter(torch.ones(members, 1, width)) for width in hidden
        )

    def features(self, inputs: Tensor) -> Tensor:
        """Of the last hidden layer: (rows, inputs) -> (members, rows, width)."""
        x = inputs.expand(len(self.weights[0]), *inputs.shape)
        layers = zip(self.weights, self.biases, self.scales, strict=False)
        for weight, bias, scale in layers:
            x = torch.baddbmm(bias, x, weight)
            x = relu(layer_norm(x, x.shape[-1:]) * scale)
        return x

    def forward(self, inputs: Tensor) -> Tensor:
        """(rows, inputs) -> (members, rows, outputs)."""
        return torch.baddbmm(self.biases[-1], self.features(inputs), self.weights[-1])


def mlp(inputs: int, outputs: int, hidden: Sequence[int], dropout: float = 0.0) -> nn.Sequential:
    """Layers with normalisation and SiLU between."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.LayerNorm(width), nn.SiLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


@torch.no_grad()
def follow(target: nn.Module, online: nn.Module, rate: float) -> None:
    """Move a target's weights towards another's: by ``rate`` of the way (Polyak)."""
    for own, other in zip(target.parameters(), online.parameters(), strict=True):
        own.lerp_(other, rate)


class Standardised(nn.Module):
    """Reads observations standardised by those of a log, which it keeps with its weights.

    Parameters
    ----------
    observed, acted
        numbers of an observation, and of an action
    """

    def __init__(self, observed: int, acted: int) -> None:
        super().__init__()
        self.observed, self.acted = observed, acted
        self.register_buffer("mean", torch.zeros(observed))
        self.register_buffer("scale", torch.ones(observed))
        self.mean: Tensor
        self.scale: Tensor

    def fit_scale(self, observations: Tensor) -> None:
        """Standardise observations by these."""
        self.mean.copy_(observations.mean(dim=0))
        self.scale.copy_(observations.std(dim=0).clamp(min=1e-6))

    def fit_scale_of(self, other: Standardised) -> None:
        """Standardise observations as another does."""
        self.mean.copy_(other.mean)
        self.scale.copy_(other.scale)

    def seen(self, observations: Tensor) -> Tensor:
        """Observations (batch, o) as the network reads them.

        Raises
        ------
        EvidenceError
            For another number of them.
        """
        if observations.shape[-1] != self.observed:
            raise EvidenceError(
                f"this reads observations of {self.observed} numbers; they have"
                f" {observations.shape[-1]}."
            )
        return (observations - self.mean) / self.scale
