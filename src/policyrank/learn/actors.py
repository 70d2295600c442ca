"""What steering and training ask of policies and critics of actions: Protocols, for any class."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Generator, Tensor

__all__ = ["Critic", "Imitator", "Policy", "Scored"]


@runtime_checkable
class Policy(Protocol):
    """Acts, and offers several actions for a state: Gaussian, diffusion, tokens, a server."""

    def act(self, observations: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Observations (batch, ...) -> the action it would take: (batch, d)."""

    def sample(
        self, observations: Tensor, count: int, *, generator: Generator | None = None
    ) -> Tensor:
        """Observations (batch, ...) -> draws of its actions: (batch, count, d)."""


@runtime_checkable
class Scored(Policy, Protocol):
    """A policy that knows how likely its actions are."""

    def log_prob(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Of actions (batch, ..., d): (batch, ...)."""


@runtime_checkable
class Imitator(Policy, Protocol):
    """A policy that learns from examples by its own loss: all that improvement needs of it."""

    def loss(
        self, observations: Tensor, actions: Tensor, *, generator: Generator | None = None
    ) -> Tensor:
        """Of actions (batch, d) in observations, the lower the likelier: ()."""


@runtime_checkable
class Critic(Protocol):
    """An ensemble that values actions."""

    def q(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Of actions (batch, ..., d) in observations (batch, ...): (members, batch, ...)."""
