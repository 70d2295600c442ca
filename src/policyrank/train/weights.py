"""Weights told apart by what they hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from policyrank.fingerprints import hashed


def weights_hash(weights: Iterable[tuple[str, Tensor]]) -> str:
    """A hash of named weights.

    Examples
    --------
    >>> layer = torch.nn.Linear(2, 1)
    >>> before = weights_hash(layer.named_parameters())
    >>> with torch.no_grad():
    ...     _ = layer.bias.add_(1)
    >>> before == weights_hash(layer.named_parameters())
    False
    """
    parts: list[Any] = []
    for name, own in weights:
        plain = own.detach().cpu().contiguous().reshape(-1)
        parts += [(name, own.dtype, tuple(own.shape)), plain.view(torch.uint8).numpy()]
    return hashed(*parts)
