"""Rankers of features: (lists, n, d) and a mask -> scores (lists, n)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class Mlp(nn.Module):
    """Each item alone, through hidden layers (none: a linear ranker)."""

    def __init__(
        self, features: int, hidden: tuple[int, ...] = (64,), dropout: float = 0.1
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(features, size), nn.ReLU(), nn.Dropout(dropout)]
            features = size
        self.net = nn.Sequential(*layers, nn.Linear(features, 1))

    def forward(self, features: Tensor, where: Tensor) -> Tensor:
        return self.net(features).squeeze(-1)


class ListTransformer(nn.Module):
    """Items see each other by self-attention, without positions: the order of the input does not
    matter (Pobrotyn et al. 2020).
    """

    def __init__(
        self, features: int, width: int = 64, heads: int = 4, layers: int = 2, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(features, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout, batch_first=True, norm_first=True
        )
        self.body = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.leave = nn.Linear(width, 1)

    def forward(self, features: Tensor, where: Tensor) -> Tensor:
        # A list of padding only would have nothing to attend to.
        seen = where | ~where.any(dim=-1, keepdim=True)
        return self.leave(self.body(self.enter(features), src_key_padding_mask=~seen)).squeeze(-1)


def linear(features: int, **options: Any) -> Mlp:
    """A linear ranker."""
    return Mlp(features, (), **options)


RANKERS: dict[str, Callable[..., nn.Module]] = {
    "linear": linear,
    "mlp": Mlp,
    "transformer": ListTransformer,
}
