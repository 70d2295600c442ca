"""Train only the last layers of a model."""

from __future__ import annotations

from typing import Any

from torch import nn

from policyrank.errors import OptionError


def train_last(encoder: Any, layers: int | None) -> Any:
    """Freeze all but the last ``layers`` layers and what comes after them.

    Embeddings are frozen, and a head of a language model only where it shares their weights; norms
    after the layers are trained. None: nothing is frozen.

    Raises
    ------
    OptionError
        When the encoder has no list of layers, or fewer.
    """
    if layers is None:
        return encoder
    stacks = [own for own in encoder.modules() if isinstance(own, nn.ModuleList) and len(own)]
    if not stacks:
        raise OptionError(f"layers={layers}: the encoder has no list of layers.")
    stack = max(stacks, key=_weights)
    if not 0 <= layers <= len(stack):
        raise OptionError(f"layers={layers}: the encoder has {len(stack)} layers.")
    encoder.requires_grad_(True)
    for frozen in [*stack[: len(stack) - layers], *_embeddings(encoder)]:
        frozen.requires_grad_(False)
    for name, weights in encoder.named_parameters():
        if "embeddings" in name:  # their norms, too
            weights.requires_grad_(False)
    return encoder


def _embeddings(encoder: Any) -> list[nn.Module]:
    """What turns tokens, places and kinds into vectors, however an architecture calls it."""
    found = []
    for module in encoder.modules():
        if isinstance(module, nn.Embedding):
            found.append(module)
        elif hasattr(module, "get_input_embeddings"):
            try:
                found.append(module.get_input_embeddings())
            except (AttributeError, NotImplementedError):  # of a wrapper around none
                continue
    return [module for module in found if isinstance(module, nn.Module)]


def _weights(module: nn.Module) -> int:
    return sum(own.numel() for own in module.parameters())
